//! The loops over some rows, `[rows, channels]`: a few rows at a time, of these a register of channels after
//! the other, so that what belongs to channels is loaded once for all of these rows.

use crate::Isa;
use crate::float::lanes::{Lanes, for_each_isa, table_by_isa};

/// Rows that are taken at a time.
const ROWS: usize = 8;

/// Floats that are asked for ahead, at least: channel by channel, the processor would not guess the order.
const AHEAD: usize = 1024;

/// From a row to the one that is asked for meanwhile, in floats.
fn ahead(channels: usize) -> usize {
    let rows = ROWS * channels;
    AHEAD.div_ceil(rows) * rows
}

/// What is known of each channel.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    pub(super) mean: &'a [f32],
    pub(super) factor: &'a [f32],
    pub(super) beta: &'a [f32],
}

impl Channels<'_> {
    fn check(&self, len: usize) -> usize {
        let channels = self.mean.len();
        assert!(self.factor.len() == channels && self.beta.len() == channels, "vectors of one length");
        assert!(channels > 0 && len.is_multiple_of(channels), "whole rows");
        channels
    }
}

/// A grid of integers: its step, the inverse of that, and the range in steps from 0.
#[derive(Clone, Copy)]
pub(super) struct Rounding {
    pub(super) scale: f32,
    pub(super) inverse: f32,
    pub(super) range: [f32; 2],
}

/// `output = clamp((input - mean) * factor + beta)`, rounded to a grid if there is one.
pub(super) fn normalize(
    isa: Isa,
    of: Channels<'_>,
    bounds: [f32; 2],
    rounding: Option<Rounding>,
    input: &[f32],
    output: &mut [f32],
) {
    let channels = of.check(input.len());
    assert_eq!(input.len(), output.len(), "an output for each input");
    let rows = Normalize { of, bounds, rounding, x: input.as_ptr(), y: output.as_mut_ptr(), channels };
    let function = functions(isa).normalize[usize::from(rounding.is_some())];
    // SAFETY: `functions` checked the instruction set; lengths were just checked.
    unsafe { function(&(rows, input.len() / channels)) };
}

/// Adds the gradients `d` of normalized rows that pass the bounds, and their products with `x - mean`, to the
/// sums. What passes lies between the bounds, which are outside; `None` lets everything pass.
pub(super) fn add_sums(
    isa: Isa,
    of: Channels<'_>,
    between: Option<[f32; 2]>,
    x: &[f32],
    d: &[f32],
    sum: &mut [f32],
    product: &mut [f32],
) {
    let channels = of.check(x.len());
    assert!(x.len() == d.len() && sum.len() == channels && product.len() == channels, "lengths");
    let rows = Gradient {
        of,
        between: between.unwrap_or_default(),
        x: x.as_ptr(),
        d: d.as_ptr(),
        channels,
        sum: sum.as_mut_ptr(),
        product: product.as_mut_ptr(),
        centre: &[],
        slope: &[],
    };
    let function = functions(isa).add_sums[usize::from(between.is_some())];
    // SAFETY: as above.
    unsafe { function(&(rows, x.len() / channels)) };
}

/// `output = (d that passes - centre - (x - mean) * slope) * factor`.
// Each is one of the formula's operands.
#[allow(clippy::too_many_arguments)]
pub(super) fn go_through(
    isa: Isa,
    of: Channels<'_>,
    between: Option<[f32; 2]>,
    centre: &[f32],
    slope: &[f32],
    x: &[f32],
    d: &[f32],
    output: &mut [f32],
) {
    let channels = of.check(x.len());
    assert!(x.len() == d.len() && x.len() == output.len(), "tensors of one length");
    assert!(centre.len() == channels && slope.len() == channels, "vectors of one length");
    let rows = Gradient {
        of,
        between: between.unwrap_or_default(),
        x: x.as_ptr(),
        d: d.as_ptr(),
        channels,
        sum: output.as_mut_ptr(),
        product: std::ptr::null_mut(),
        centre,
        slope,
    };
    let function = functions(isa).go_through[usize::from(between.is_some())];
    // SAFETY: as above.
    unsafe { function(&(rows, x.len() / channels)) };
}

/// Rows to normalize.
struct Normalize<'a> {
    of: Channels<'a>,
    bounds: [f32; 2],
    rounding: Option<Rounding>,
    x: *const f32,
    y: *mut f32,
    channels: usize,
}

/// Rows whose gradients go through a normalization.
struct Gradient<'a> {
    of: Channels<'a>,
    between: [f32; 2],
    x: *const f32,
    d: *const f32,
    channels: usize,
    /// The sums, or what comes out.
    sum: *mut f32,
    product: *mut f32,
    centre: &'a [f32],
    slope: &'a [f32],
}

for_each_isa!(
    /// Normalizes; `R` is 1 if it rounds too.
    ///
    /// # Safety
    /// The processor has the instruction set; there are as many rows as the number says.
    unsafe fn normalize<const R: usize>(argument: &(super::Normalize<'_>, usize)) = normalize_rows;
    /// Adds up; `B` is 1 if there are bounds.
    ///
    /// # Safety
    /// As above.
    unsafe fn add_sums<const B: usize>(argument: &(super::Gradient<'_>, usize)) = add_rows;
    /// Goes through; `B` is 1 if there are bounds.
    ///
    /// # Safety
    /// As above.
    unsafe fn go_through<const B: usize>(argument: &(super::Gradient<'_>, usize)) = go_rows
);

/// The functions of one instruction set.
struct Functions {
    normalize: [unsafe fn(&(Normalize<'_>, usize)); 2],
    add_sums: [unsafe fn(&(Gradient<'_>, usize)); 2],
    go_through: [unsafe fn(&(Gradient<'_>, usize)); 2],
}

macro_rules! functions {
    ($lanes:ty, $isa:ident) => {
        Functions {
            normalize: [$isa::normalize::<0>, $isa::normalize::<1>],
            add_sums: [$isa::add_sums::<0>, $isa::add_sums::<1>],
            go_through: [$isa::go_through::<0>, $isa::go_through::<1>],
        }
    };
}

table_by_isa!(
    /// The functions for an instruction set, which the machine must have.
    fn functions -> Functions = functions
);

/// Calls a piece for each register of channels of some rows at a time: with the first row, the number of
/// rows, the first channel and how many channels there are from there on.
macro_rules! for_each_piece {
    ($lanes:ident, $rows:expr, $channels:expr, |$row:ident, $count:ident, $channel:ident, $left:ident| $body:expr) => {
        let mut $row = 0;
        while $row < $rows {
            let $count = ROWS.min($rows - $row);
            let mut $channel = 0;
            while $channel < $channels {
                let $left = $channels - $channel;
                $body;
                $channel += $lanes::COUNT;
            }
            $row += $count;
        }
    };
}

/// A register of channels, or what is left of them.
#[inline(always)]
unsafe fn load<L: Lanes, const WHOLE: bool>(from: *const f32, left: usize) -> L {
    // SAFETY: handed on.
    unsafe { if WHOLE { L::load(from) } else { L::load_first(from, left) } }
}

#[inline(always)]
unsafe fn store<L: Lanes, const WHOLE: bool>(value: L, to: *mut f32, left: usize) {
    // SAFETY: handed on.
    unsafe { if WHOLE { value.store(to) } else { value.store_first(to, left) } }
}

#[inline(always)]
unsafe fn normalize_rows<L: Lanes, const R: usize>((rows, count): &(Normalize<'_>, usize)) {
    for_each_piece!(L, *count, rows.channels, |row, number, channel, left| {
        // SAFETY: of all: handed on, the channels are there.
        unsafe {
            if left >= L::COUNT {
                normalize_piece::<L, R, true>(rows, row * rows.channels + channel, number, channel, left);
            } else {
                normalize_piece::<L, R, false>(rows, row * rows.channels + channel, number, channel, left);
            }
        }
    });
}

#[inline(always)]
unsafe fn normalize_piece<L: Lanes, const R: usize, const WHOLE: bool>(
    rows: &Normalize<'_>,
    at: usize,
    number: usize,
    channel: usize,
    left: usize,
) {
    let &Normalize { of, bounds: [low, high], rounding, x, y, channels } = rows;
    let next = x.wrapping_add(ahead(channels));
    // The largest numbers whose neighbours are integers: what is added to them is rounded to even.
    const TO_EVEN: f32 = 12_582_912.0;
    // SAFETY: of every access: in bounds by the caller's promise. Prefetched addresses may lie anywhere.
    unsafe {
        let mean = load::<L, WHOLE>(of.mean.as_ptr().add(channel), left);
        let factor = load::<L, WHOLE>(of.factor.as_ptr().add(channel), left);
        let beta = load::<L, WHOLE>(of.beta.as_ptr().add(channel), left);
        for i in 0..number {
            let at = at + i * channels;
            L::prefetch(next.wrapping_add(at));
            let value = load::<L, WHOLE>(x.add(at), left).sub(mean).mul(factor).add(beta).clamp(low, high);
            let value = match rounding {
                Some(Rounding { scale, inverse, range: [low, high] }) if R == 1 => {
                    let held = value.mul(L::splat(inverse)).hold(L::splat(low), L::splat(high));
                    held.add(L::splat(TO_EVEN)).sub(L::splat(TO_EVEN)).mul(L::splat(scale))
                }
                _ => value,
            };
            store::<L, WHOLE>(value, y.add(at), left);
        }
    }
}

#[inline(always)]
unsafe fn add_rows<L: Lanes, const B: usize>((rows, count): &(Gradient<'_>, usize)) {
    for_each_piece!(L, *count, rows.channels, |row, number, channel, left| {
        // SAFETY: of all: handed on, the channels are there.
        unsafe {
            if left >= L::COUNT {
                add_piece::<L, B, true>(rows, row * rows.channels + channel, number, channel, left);
            } else {
                add_piece::<L, B, false>(rows, row * rows.channels + channel, number, channel, left);
            }
        }
    });
}

/// What passes of the gradients of some channels of a row, and how far its input lies from the mean.
#[inline(always)]
unsafe fn passing<L: Lanes, const B: usize, const WHOLE: bool>(
    rows: &Gradient<'_>,
    [mean, factor, beta]: [L; 3],
    at: usize,
    left: usize,
) -> [L; 2] {
    let [low, high] = rows.between;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let apart = load::<L, WHOLE>(rows.x.add(at), left).sub(mean);
        let d = load::<L, WHOLE>(rows.d.add(at), left);
        if B == 0 {
            return [d, apart];
        }
        let value = apart.mul(factor).add(beta);
        [d.between(value, L::splat(low), L::splat(high)), apart]
    }
}

#[inline(always)]
unsafe fn add_piece<L: Lanes, const B: usize, const WHOLE: bool>(
    rows: &Gradient<'_>,
    at: usize,
    number: usize,
    channel: usize,
    left: usize,
) {
    let &Gradient { of, channels, sum, product, .. } = rows;
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let own = [of.mean, of.factor, of.beta].map(|own| load::<L, WHOLE>(own.as_ptr().add(channel), left));
        // Two chains, since one would wait for itself.
        let (mut sums, mut products) = ([L::zero(); 2], [L::zero(); 2]);
        let mut i = 0;
        while i + 2 <= number {
            let [first, apart] = passing::<L, B, WHOLE>(rows, own, at + i * channels, left);
            (sums[0], products[0]) = (sums[0].add(first), products[0].add_product(first, apart));
            let [second, apart] = passing::<L, B, WHOLE>(rows, own, at + (i + 1) * channels, left);
            (sums[1], products[1]) = (sums[1].add(second), products[1].add_product(second, apart));
            i += 2;
        }
        if i < number {
            let [last, apart] = passing::<L, B, WHOLE>(rows, own, at + i * channels, left);
            (sums[0], products[0]) = (sums[0].add(last), products[0].add_product(last, apart));
        }
        for (to, [first, second]) in [(sum, sums), (product, products)] {
            let to = to.add(channel);
            store::<L, WHOLE>(load::<L, WHOLE>(to, left).add(first.add(second)), to, left);
        }
    }
}

#[inline(always)]
unsafe fn go_rows<L: Lanes, const B: usize>((rows, count): &(Gradient<'_>, usize)) {
    for_each_piece!(L, *count, rows.channels, |row, number, channel, left| {
        // SAFETY: of all: handed on, the channels are there.
        unsafe {
            if left >= L::COUNT {
                go_piece::<L, B, true>(rows, row * rows.channels + channel, number, channel, left);
            } else {
                go_piece::<L, B, false>(rows, row * rows.channels + channel, number, channel, left);
            }
        }
    });
}

#[inline(always)]
unsafe fn go_piece<L: Lanes, const B: usize, const WHOLE: bool>(
    rows: &Gradient<'_>,
    at: usize,
    number: usize,
    channel: usize,
    left: usize,
) {
    let &Gradient { of, x, d, channels, sum: output, centre, slope, .. } = rows;
    let next = [x, d].map(|tensor| tensor.wrapping_add(ahead(channels)));
    // SAFETY: of every access: in bounds by the caller's promise.
    unsafe {
        let own = [of.mean, of.factor, of.beta].map(|own| load::<L, WHOLE>(own.as_ptr().add(channel), left));
        let [centre, slope] = [centre, slope].map(|own| load::<L, WHOLE>(own.as_ptr().add(channel), left));
        for i in 0..number {
            let at = at + i * channels;
            L::prefetch(next[0].wrapping_add(at));
            L::prefetch(next[1].wrapping_add(at));
            let [through, apart] = passing::<L, B, WHOLE>(rows, own, at, left);
            let value = through.sub(centre).sub(apart.mul(slope)).mul(own[1]);
            store::<L, WHOLE>(value, output.add(at), left);
        }
    }
}
