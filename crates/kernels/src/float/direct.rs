//! The direct form: weights that are multiplied as they are, all of them or those that are not zero.

use std::ops::Range;

use super::filters::Filters;
use super::packed::{Output, Packed};
use super::planes::Planes;
use super::sparse::{Blocks, Scattered};
use super::split::{Split, Work};
use super::taps::{Image, Reading, Taps};
use super::tile;
use super::winograd::Form;
use crate::aligned::Aligned;
use crate::{Isa, ThreadPool};

/// Weights that are multiplied as they are.
pub(super) struct Direct {
    isa: Isa,
    pub(super) reading: Reading,
    weights: Weights,
    /// The same weights where there are few output channels, for images that are wide.
    planes: Option<Box<Planes>>,
}

enum Weights {
    Dense(Packed),
    Blocks(Blocks),
    Scattered(Scattered),
}

impl Direct {
    /// For `groups` groups of `out_per_group` channels that read `depth` floats at each of `taps` taps, all
    /// weights zero. `form` is a direct one.
    pub(super) fn new(
        form: Form,
        isa: Isa,
        reading: Reading,
        groups: usize,
        out_per_group: usize,
        [taps, depth]: [usize; 2],
        memory: impl Fn(usize) -> Aligned<f32>,
    ) -> Direct {
        let weights = match form {
            Form::Blocks => Weights::Blocks(Blocks::new(isa, out_per_group, taps, depth)),
            Form::Scattered => Weights::Scattered(Scattered::new(isa, out_per_group, taps, depth)),
            Form::Direct | Form::Winograd2 | Form::Winograd4 => {
                Weights::Dense(Packed::new(tile::tiles(isa), groups, out_per_group, taps, depth, memory))
            }
        };
        Direct { isa, reading, weights, planes: None }
    }

    /// The same with room for the same weights in another order.
    pub(super) fn with_planes(self, planes: Option<Planes>) -> Direct {
        Direct { planes: planes.map(Box::new), ..self }
    }

    /// Packs weights and the bias.
    pub(super) fn fill(&mut self, pool: &ThreadPool, filters: Filters<'_>, bias: Option<&[f32]>) {
        if let Some(planes) = &mut self.planes {
            planes.fill(self.isa, filters, bias);
        }
        match &mut self.weights {
            Weights::Dense(packed) => packed.fill(self.isa, pool, filters, bias),
            Weights::Blocks(blocks) => blocks.fill(self.isa, pool, filters, bias),
            Weights::Scattered(scattered) => scattered.fill(self.isa, pool, filters, bias),
        }
    }

    /// The weights, if all of them were packed.
    pub(super) fn dense(&mut self) -> Option<&mut Packed> {
        match &mut self.weights {
            Weights::Dense(packed) => Some(packed),
            Weights::Blocks(_) | Weights::Scattered(_) => None,
        }
    }

    /// Numbers that the memory of the packed weights has to hold.
    pub(super) fn floats(&self) -> usize {
        match &self.weights {
            Weights::Dense(packed) => packed.floats(),
            Weights::Blocks(blocks) => blocks.floats(),
            Weights::Scattered(scattered) => scattered.weights(),
        }
    }

    /// Whether zeros were left out.
    pub(super) fn is_sparse(&self) -> bool {
        !matches!(self.weights, Weights::Dense(_))
    }

    /// Most pixels in a tile.
    pub(super) fn most_pixels(&self) -> usize {
        match &self.weights {
            Weights::Dense(packed) => packed.most_pixels(),
            Weights::Blocks(blocks) => blocks.most_pixels(),
            Weights::Scattered(scattered) => scattered.most_pixels(),
        }
    }

    /// Computes all channels of one tile.
    ///
    /// # Safety
    /// No other thread writes these pixels; the pointers are those of the pixels, at most
    /// [`most_pixels`](Direct::most_pixels) of them, each to as many floats as were packed for.
    pub(super) unsafe fn run_pixels(
        &self,
        pointers: *const *const f32,
        pixels: Range<usize>,
        output: &Output<'_>,
    ) {
        // SAFETY: handed on.
        unsafe {
            match &self.weights {
                Weights::Dense(packed) => packed.run_pixels(pointers, pixels, output),
                Weights::Blocks(blocks) => blocks.run_pixels(pointers, pixels, output),
                Weights::Scattered(scattered) => scattered.run_pixels(pointers, pixels, output),
            }
        }
    }

    /// Computes the whole output of `image`.
    pub(super) fn run(&self, pool: &ThreadPool, image: Image<'_>, output: &Output<'_>) {
        if let Some(planes) = self.planes.as_ref().filter(|planes| planes.suits(&image)) {
            return planes.run(pool, &image, output);
        }
        let ([down, across], out_channels) = (image.window.stride, output.pitch);
        let (panels, unit) = match &self.weights {
            Weights::Dense(packed) => (packed.panels(), packed.most_pixels()),
            Weights::Blocks(blocks) => (blocks.panels(), blocks.most_pixels()),
            Weights::Scattered(scattered) => (scattered.panels(), scattered.unit()),
        };
        let work = Work {
            pixels: image.shape[0] * image.output[0] * image.output[1],
            most_pixels: unit,
            panels,
            work_per_pixel: self.floats(),
            floats_per_pixel: image.channels * down * across + out_channels,
            weights: self.floats(),
        };
        let split = Split::new(&work, pool.threads());
        pool.run(split.tasks(), &|task| {
            let mut taps = Taps::new(image, self.reading, self.most_pixels());
            // SAFETY: tasks of a split share no pixel and channel; taps are read as packed.
            unsafe {
                match &self.weights {
                    Weights::Dense(packed) => packed.run(&mut taps, &split, task, output),
                    Weights::Blocks(blocks) => blocks.run(&mut taps, &split, task, output),
                    Weights::Scattered(scattered) => scattered.run(&mut taps, &split, task, output),
                }
            }
        });
    }
}
