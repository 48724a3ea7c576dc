//! The product at the heart of quantized convolutions: packed weights, and the walk over tiles of
//! pixels and panels of output channels.
//!
//! An instruction set brings a [`Layout`] of weights and a [`Kernel`] over it; everything else is
//! shared, also with the products of 16-bit activations, which have kernels of their own.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
#[cfg(target_arch = "aarch64")]
mod neondot;
pub(crate) mod portable;
pub(super) mod sparse;
#[cfg(any(target_arch = "x86_64", test))]
mod tiled;
#[cfg(any(target_arch = "x86_64", test))]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vnni;

#[cfg(target_arch = "aarch64")]
pub(crate) use neondot::dot;
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::{granted as tiles_are_granted, products as tile_products};

use std::borrow::Borrow;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::{Isa, ThreadPool, Window};

use super::epilogue::Finish;
use super::filter::{Filter, WeightOrder};
use super::gather::{Cursor, Geometry, STEP, Source, Tile};
use super::lane::Lane;
use super::split::{Grid, MANY_WEIGHTS, Target, Work, share};
use crate::aligned::Aligned;

/// Weights of panels that are worked through before the next pixels are looked at: a part of the
/// second-level cache.
const BLOCK_BYTES: usize = 256 << 10;

/// Some output channels of one group, side by side in the kernel's vectors.
pub(crate) struct Panel {
    group: usize,
    /// The first output channel, and how many there are (at most `width`).
    pub(crate) channel: usize,
    pub(crate) channels: usize,
    /// The first lane in arrays by lane.
    pub(crate) lane: usize,
    /// Lanes of this panel.
    pub(crate) width: usize,
    /// Where its weights start.
    pub(crate) weights: usize,
    /// Its part of the list of steps; empty where all steps have weights.
    pub(crate) list: Range<usize>,
}

/// A step at which a panel of a sparse [`Layout`] has weights.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) tap: u32,
    /// The first byte of input at the tap.
    pub(crate) at: u32,
}

/// What tiles are computed from, besides the input.
pub(crate) struct Operands<'a, W, S> {
    pub(crate) weights: &'a [W],
    /// What sums start from, by lane.
    pub(crate) initial: &'a [S],
    /// What they start from in addition, by lane, where the kernel takes something off its inputs.
    #[cfg_attr(
        not(target_arch = "aarch64"),
        expect(dead_code, reason = "others multiply bytes as they are")
    )]
    pub(crate) taken: &'a [i32],
    /// Steps of [`STEP`] bytes of input at each tap.
    pub(crate) steps: usize,
    /// The steps of each panel, where not all have weights.
    pub(crate) list: &'a [Step],
}

/// How weights are laid out for one instruction set.
pub(crate) trait Layout {
    /// The form in which weights are kept.
    type Weight: Pod + From<i8> + Send + Sync;

    /// Input channels of one step: [`STEP`] over the bytes of an element of the input.
    const INPUTS: usize;

    /// Most pixels of a tile where a kernel knows no better (see [`Kernel::rows`]).
    const ROWS: usize;

    /// Pixels of which the part of a task should have a multiple, because fewer take as long.
    const UNIT: usize = 1;

    /// Bytes of weights from which on a small image is dealt out by channels, so that not every thread reads them.
    const MANY_WEIGHTS: usize = MANY_WEIGHTS;

    /// How many times as many products as others the kernel computes in the same time.
    const PACE: usize = 1;

    /// Weights (zeros) that must stand behind the last, because the kernel reads that far.
    const SLACK: usize = 0;

    /// Bytes that taps over several pixels are read in units of.
    const LONG: usize = STEP;

    /// What the kernel takes off each input before it multiplies.
    const TAKEN: i32 = 0;

    /// Whether a panel has the weights of listed steps alone: those at which not all are zero.
    const SPARSE: bool = false;

    /// Lanes of a panel that is to hold `channels` channels, or the first of them.
    fn width(channels: usize) -> usize;

    /// Which channel of the panel a lane holds: its own, where the kernel knows no other order.
    fn channel(lane: usize, width: usize, packed: bool) -> usize {
        let _ = (width, packed);
        lane
    }

    /// Where the weight of a lane for input `input` (below [`Layout::INPUTS`]) stands within one step
    /// of a panel, which has `INPUTS * width` weights.
    fn position(input: usize, lane: usize, width: usize) -> usize;

    /// Puts the weights of all lanes for some steps in their places: `rows` has those of each lane, or
    /// none for a lane without a channel; the last step may be cut off.
    fn put(rows: &[&[i8]], out: &mut [Self::Weight]) {
        let width = rows.len();
        for (lane, row) in rows.iter().enumerate() {
            let steps = out.chunks_exact_mut(Self::INPUTS * width);
            for (inputs, step) in row.chunks(Self::INPUTS).zip(steps) {
                for (input, weight) in inputs.iter().enumerate() {
                    step[Self::position(input, lane, width)] = (*weight).into();
                }
            }
        }
    }
}

/// How one instruction set multiplies inputs by weights, for sums that `F` makes outputs of.
pub(crate) trait Kernel<F: Finish>: Layout {
    /// Pixels of a tile where a panel has `steps` steps, all taps counted in.
    fn rows(steps: usize) -> usize {
        let _ = steps;
        Self::ROWS
    }

    /// Computes all panels (of one group) for the tile's pixels.
    ///
    /// # Safety
    /// The instruction set must be there. The tile's pointers must be readable for [`STEP`] `*
    /// steps` bytes each and stand for the panels' group; panels, operands, finish and target must
    /// belong together, and no one else may write these panels of these pixels meanwhile.
    unsafe fn tile(
        tile: &Tile,
        panels: &[Panel],
        operands: &Operands<Self::Weight, F::Sum>,
        finish: &F,
        target: &Target<F::Out>,
    );

    /// Computes a part, tile by tile; a kernel that looks at several tiles at once does it in its own way.
    ///
    /// # Safety
    /// The instruction set must be there; part, operands, finish and target must belong together, and
    /// no one else may write these panels of these pixels meanwhile.
    unsafe fn part(
        part: &Part,
        operands: &Operands<Self::Weight, F::Sum>,
        finish: &F,
        target: &Target<F::Out>,
    ) {
        part.each_tile(size_of::<Self::Weight>(), |tile, panels| {
            // SAFETY: the part's tiles are readable and stand for the panels' group, and no two of them
            // overlap; the rest is the caller's promise.
            unsafe { Self::tile(tile, panels, operands, finish, target) };
        });
    }
}

/// Some panels of some pixels: what one task computes.
pub(crate) struct Part<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) pixels: Range<usize>,
    /// Panels, of one group or several.
    panels: &'a [Panel],
    /// Where the weights of the last panel end.
    end: usize,
    /// Bytes of the input channels of one group.
    group_bytes: usize,
    /// Most pixels of a tile.
    rows: usize,
}

impl Part<'_> {
    /// The panels of each group, and the first byte of the group in a pixel of the input.
    #[cfg(any(target_arch = "x86_64", test))]
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&[Panel], usize)> {
        let same = |a: &Panel, b: &Panel| a.group == b.group;
        self.panels.chunk_by(same).map(|panels| (panels, panels[0].group * self.group_bytes))
    }

    /// The same in tiles of other sizes.
    #[cfg(target_arch = "x86_64")]
    fn with_rows(&self, rows: usize) -> Part<'_> {
        Part { rows, pixels: self.pixels.clone(), ..*self }
    }

    /// Calls `tile` for all pixels with all panels: up to `rows` pixels, which can be read, and panels of
    /// one group, no pixel twice with the same panel. A weight has `size` bytes.
    fn each_tile(&self, size: usize, mut tile: impl FnMut(&Tile, &[Panel])) {
        let Part { source, ref pixels, rows, .. } = *self;
        let mut cursor = Cursor::new(source);
        // Tiles are of like size, in steps of the power of two by which kernels take their rows.
        let unit = 1 << rows.trailing_zeros();
        let (units, tiles) = (pixels.len().div_ceil(unit), pixels.len().div_ceil(rows));
        let mut panels = self.panels;
        while !panels.is_empty() {
            let (block, rest) = panels.split_at(self.block(panels, size));
            panels = rest;
            cursor.seek(pixels.start);
            for index in 0..tiles {
                let part = share(units, tiles, index);
                let rows = pixels.len().min(part.end * unit) - part.start * unit;
                tile(&cursor.gather(rows, block[0].group * self.group_bytes), block);
            }
        }
    }

    /// How many of the first panels, which are the last of the part, share a group and fit a block.
    fn block(&self, panels: &[Panel], size: usize) -> usize {
        let Panel { group, weights: start, .. } = panels[0];
        let ends = panels[1..].iter().map(|panel| panel.weights).chain([self.end]);
        let fits =
            |(panel, end): &(&Panel, usize)| panel.group == group && (end - start) * size <= BLOCK_BYTES;
        panels.iter().zip(ends).take_while(fits).count().max(1)
    }
}

/// Defines [`Product`] with a kernel for each set of levels that has one of its own.
macro_rules! product {
    ($($name:ident($Kernel:ident): $level:pat,)*) => {
        /// A product for the best kernel of an instruction set, of those for one type of input.
        pub(crate) enum Product<P: Layout $(, $Kernel: Layout)*> {
            Portable(Packed<P>),
            $($name(Packed<$Kernel>),)*
        }

        impl<P: Layout $(, $Kernel: Layout)*> Product<P $(, $Kernel)*> {
            /// Packs a filter, lanes in `packed` order or not (see [`Layout::channel`]).
            pub(crate) fn new(isa: Isa, filter: &Filter, packed: bool) -> Self {
                filter.check();
                assert!(isa.available(), "this machine cannot run '{isa}'");
                match isa {
                    $($level => Product::$name(Packed::new(filter, packed)),)*
                    _ => Product::Portable(Packed::new(filter, packed)),
                }
            }

            /// The taps it reads.
            pub(crate) fn geometry(&self) -> &Geometry {
                match self {
                    Product::Portable(packed) => &packed.geometry,
                    $(Product::$name(packed) => &packed.geometry,)*
                }
            }

            /// The output channel at each lane.
            pub(crate) fn lanes(&self) -> &[Lane] {
                match self {
                    Product::Portable(packed) => &packed.lanes,
                    $(Product::$name(packed) => &packed.lanes,)*
                }
            }

            /// Computes all outputs: for each channel `initial` (by lane) plus the products, finished.
            pub(crate) fn run<F: Finish + Sync>(
                &self,
                pool: &ThreadPool,
                source: &Source,
                initial: &[F::Sum],
                finish: &F,
                output: &mut [F::Out],
            ) where
                P: Kernel<F>,
                $($Kernel: Kernel<F>,)*
            {
                self.run_each::<F, &F>(pool, source, initial, || finish, output);
            }

            /// The same, where each task has a finish of its own, which is dropped when the task ends.
            pub(crate) fn run_each<F: Finish, B: Borrow<F>>(
                &self,
                pool: &ThreadPool,
                source: &Source,
                initial: &[F::Sum],
                begin: impl Fn() -> B + Sync,
                output: &mut [F::Out],
            ) where
                P: Kernel<F>,
                $($Kernel: Kernel<F>,)*
            {
                match self {
                    Product::Portable(packed) => packed.run_each::<F, B>(pool, source, initial, begin, output),
                    $(Product::$name(packed) => packed.run_each::<F, B>(pool, source, initial, begin, output),)*
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
product! {
    Avx2(A): Isa::Avx2 | Isa::Avx512,
    AvxVnni(D): Isa::AvxVnni,
    Vnni(V): Isa::Vnni,
    Amx(T): Isa::Amx,
}
#[cfg(target_arch = "aarch64")]
product! {
    Neon(N): Isa::Neon,
    NeonDot(D): Isa::NeonDot,
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
product! {}

/// The product of bytes.
#[cfg(target_arch = "x86_64")]
pub(super) type ByteProduct =
    Product<portable::Portable<u8>, avx2::Avx2, avxvnni::AvxVnni, vnni::Vnni<i8>, tiled::Tiled<tiles::Amx>>;
#[cfg(target_arch = "aarch64")]
pub(super) type ByteProduct = Product<portable::Portable<u8>, neon::Neon, neondot::NeonDot>;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) type ByteProduct = PortableProduct<portable::Portable<u8>>;

/// A product of one kernel, whatever the level.
#[cfg(target_arch = "aarch64")]
pub(crate) type PortableProduct<P> = Product<P, P, P>;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) type PortableProduct<P> = Product<P>;

/// Steps whose weights stay in the first-level cache while all lanes are put into them.
const PACKED_TOGETHER: usize = 64;

/// Packs the weights of a panel, whose lanes have these (none where there is no channel): `run` inputs at each
/// tap, in `steps` steps. A long tap is several taps of the filter, one after the other as there.
fn pack<L: Layout>(lanes: &[&[i8]], [taps, steps, run]: [usize; 3], weights: &mut [L::Weight]) {
    let mut rows = Vec::with_capacity(lanes.len());
    let step = L::INPUTS * lanes.len();
    for (tap, weights) in weights.chunks_exact_mut(steps * step).enumerate().take(taps) {
        let inputs = tap * run..(tap + 1) * run;
        for (block, weights) in weights.chunks_mut(PACKED_TOGETHER * step).enumerate() {
            let start = inputs.start + block * PACKED_TOGETHER * L::INPUTS;
            let end = inputs.end.min(start + PACKED_TOGETHER * L::INPUTS);
            rows.clear();
            rows.extend(lanes.iter().map(|lane| lane.get(start..end).unwrap_or_default()));
            L::put(&rows, weights);
        }
    }
}

/// Makes outputs of the sums of a tile's pixels with a panel.
///
/// # Safety
/// The pixels and the panel's channels must exist, and only the caller may write them.
#[inline(always)]
pub(crate) unsafe fn finish_rows<F: Finish, const WIDTH: usize>(
    tile: &Tile,
    panel: &Panel,
    sums: &[[F::Sum; WIDTH]],
    finish: &F,
    target: &Target<F::Out>,
) {
    for (row, sums) in sums.iter().enumerate().take(tile.rows) {
        // SAFETY: as the caller promises.
        let out = unsafe { target.slice(tile.pixel + row, panel.channel, panel.channels) };
        finish.row(tile.samples[row], panel.lane, &sums[..panel.channels], out);
    }
}

/// The weights of a product, packed for one kernel.
pub(crate) struct Packed<L: Layout> {
    geometry: Geometry,
    /// Bytes of the input channels of one group.
    group_bytes: usize,
    out_channels: usize,
    /// Steps at each tap.
    steps: usize,
    panels: Vec<Panel>,
    lanes: Aligned<Lane>,
    weights: Aligned<L::Weight>,
    /// The steps of each panel, where the layout is sparse.
    list: Vec<Step>,
    /// See [`Operands::taken`].
    taken: Vec<i32>,
}

/// Keeps the weights of a panel at those steps, of `step` weights each, where not all are zero. Gives where
/// they begin, and the panel's part of the list; there are `of_tap` steps at each tap.
fn keep<W: Pod>(
    all: &[W],
    step: usize,
    of_tap: usize,
    kept: &mut Vec<W>,
    list: &mut Vec<Step>,
) -> (usize, Range<usize>) {
    let [weights, first] = [kept.len(), list.len()];
    for (index, step) in all.chunks_exact(step).enumerate() {
        if bytemuck::cast_slice::<W, u8>(step).iter().any(|byte| *byte != 0) {
            kept.extend_from_slice(step);
            let (tap, at) = (index / of_tap, index % of_tap * STEP);
            list.push(Step { tap: tap as u32, at: at as u32 });
        }
    }
    (weights, first..list.len())
}

/// A kernel's window and weights with so many rows at a time as one: the pixels of their columns in turn, and
/// zeros where there are no more rows. `None` for single rows.
fn folded(filter: &Filter, fold: usize) -> Option<(Window, Vec<i8>)> {
    if fold == 1 {
        return None;
    }
    let ([height, width], channels) = (filter.window.kernel, filter.in_channels);
    let rows = height.div_ceil(fold);
    let mut weights = vec![0; filter.out_channels * rows * width * fold * channels];
    let own = filter.rows();
    let own = own.chunks_exact(filter.depth());
    for (row, folded) in own.zip(weights.chunks_exact_mut(rows * width * fold * channels)) {
        for (tap, from) in row.chunks_exact(channels).enumerate() {
            let (y, x) = (tap / width, tap % width);
            let to = ((y / fold * width + x) * fold + y % fold) * channels;
            folded[to..to + channels].copy_from_slice(from);
        }
    }
    Some((Window { kernel: [rows, width], ..filter.window }, weights))
}

/// What sums lack, by lane, where a kernel takes something off its inputs. Wraps around, as they do.
fn taken<L: Layout>(filter: &Filter, lanes: &[Lane]) -> Vec<i32> {
    if L::TAKEN == 0 {
        return Vec::new();
    }
    let sums = filter.weight_sums();
    let of_channel = |channel: usize| sums[channel].wrapping_mul(L::TAKEN);
    lanes.iter().map(|lane| lane.channel().map_or(0, of_channel)).collect()
}

impl<L: Layout> Packed<L> {
    /// Packs a filter that has been checked, lanes in `packed` order or not.
    fn new(filter: &Filter, packed: bool) -> Packed<L> {
        let size = STEP / L::INPUTS;
        let geometry = Geometry::of_product(filter, size, L::LONG);
        let (run, steps, taps) = (geometry.run() / size, geometry.read() / STEP, geometry.slots());
        let group_bytes = filter.group_in() * size;
        let (mut panels, mut lanes) = (Vec::new(), Vec::with_capacity(filter.out_channels));
        for group in 0..filter.groups {
            let end = (group + 1) * filter.group_out();
            let mut channel = group * filter.group_out();
            while channel < end {
                let width = L::width(end - channel);
                let channels = width.min(end - channel);
                let (lane, weights) = (lanes.len(), lanes.len() * taps * steps * L::INPUTS);
                panels.push(Panel { group, channel, channels, lane, width, weights, list: 0..0 });
                let lane = |lane| Lane::new(channel + L::channel(lane, width, packed), channel + channels);
                lanes.extend((0..width).map(lane));
                channel += channels;
            }
        }
        let folded = folded(filter, geometry.fold());
        let filter = &folded.as_ref().map_or(*filter, |(window, weights)| Filter {
            window: *window,
            in_channels: geometry.fold() * filter.in_channels,
            order: WeightOrder::OutputFirst,
            weights,
            ..*filter
        });
        let (rows, depth) = (filter.rows(), filter.depth());
        let of_lane =
            |lane: &Lane| lane.channel().map_or(&[][..], |channel| &rows[channel * depth..][..depth]);
        // For one panel at a time: for all lanes they would take new pages of memory.
        let mut of_lanes = Vec::new();
        let mut pack = |panel: &Panel, weights: &mut [L::Weight]| {
            filter.fetch(panel.channel..panel.channel + panel.channels);
            of_lanes.clear();
            of_lanes.extend(lanes[panel.lane..][..panel.width].iter().map(of_lane));
            pack::<L>(&of_lanes, [taps, steps, run], weights);
        };
        let mut list = Vec::new();
        let weights = if L::SPARSE {
            let mut kept = Vec::new();
            for panel in &mut panels {
                let mut all = vec![L::Weight::zeroed(); panel.width * taps * steps * L::INPUTS];
                pack(panel, &mut all);
                (panel.weights, panel.list) =
                    keep(&all, L::INPUTS * panel.width, steps, &mut kept, &mut list);
            }
            let mut weights = Aligned::lasting(kept.len());
            weights.copy_from_slice(&kept);
            weights
        } else {
            let mut weights = Aligned::lasting(lanes.len() * taps * steps * L::INPUTS + L::SLACK);
            for panel in &panels {
                pack(panel, &mut weights[panel.weights..][..panel.width * taps * steps * L::INPUTS]);
            }
            weights
        };
        let out_channels = filter.out_channels;
        let taken = taken::<L>(filter, &lanes);
        let lanes = Aligned::lasting_from(lanes.into_iter());
        panels.shrink_to_fit();
        Packed { geometry, group_bytes, out_channels, steps, panels, lanes, weights, list, taken }
    }

    /// Computes all outputs, with a finish for each task.
    fn run_each<F: Finish, B: Borrow<F>>(
        &self,
        pool: &ThreadPool,
        source: &Source,
        initial: &[F::Sum],
        begin: impl Fn() -> B + Sync,
        output: &mut [F::Out],
    ) where
        L: Kernel<F>,
    {
        assert_eq!(initial.len(), self.lanes.len(), "initial sums");
        let count = source.pixels().checked_mul(self.out_channels);
        assert_eq!(Some(output.len()), count, "length of the output");
        let operands = &Operands {
            weights: &self.weights,
            initial,
            taken: &self.taken,
            steps: self.steps,
            list: &self.list,
        };
        let target = &Target::new(output, self.out_channels);
        let all = self.geometry.slots() * self.steps;
        let rows = L::rows(if L::SPARSE { self.list.len() / self.panels.len() } else { all });
        let pixels = source.pixels();
        if pixels == 0 {
            return;
        }
        let work = Work {
            pixels,
            rows,
            unit: L::UNIT,
            panels: self.panels.len(),
            weights: size_of_val(&self.weights[..]),
            many_weights: L::MANY_WEIGHTS,
            products: pixels.saturating_mul(self.weights.len()) / L::PACE,
        };
        let grid = Grid::new(&work, pool.threads());
        pool.run(grid.tasks(), &|task| {
            let (pixels, panels) = grid.part(task);
            let part = self.part(source, rows, pixels, panels);
            // SAFETY: the product was made for an instruction set that is there; no two tasks have the
            // same panels of the same pixels; operands and target fit the panels.
            unsafe { L::part(&part, operands, begin().borrow(), target) };
        });
    }

    /// Some panels of some pixels.
    fn part<'a>(
        &'a self,
        source: &'a Source<'a>,
        rows: usize,
        pixels: Range<usize>,
        panels: Range<usize>,
    ) -> Part<'a> {
        let end = self.panels.get(panels.end).map_or(self.weights.len(), |next| next.weights);
        let panels = &self.panels[panels];
        Part { source, pixels, panels, end, group_bytes: self.group_bytes, rows }
    }
}
