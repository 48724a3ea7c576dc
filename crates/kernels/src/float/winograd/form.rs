//! The ways to convolve, and which dense one is the fastest.

use crate::Window;
use crate::float::planes::Planes;
use crate::sparse::cost::{self, Layer, Zeros};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is written: one chain of products for each output.
    Direct,
    /// Winograd's minimal filtering for tiles of 2x2 outputs of a 3x3 window: 16 products instead of 36.
    Winograd2,
    /// The same for tiles of 4x4 outputs: 36 products instead of 144.
    Winograd4,
    /// As it is written, without the steps at which 16 output channels in a row have zero weights.
    Blocks,
    /// As it is written, without the weights that are zero.
    Scattered,
}

/// The time to fetch a weight from memory, in products.
const FETCH: f64 = 11.0;
/// The time to transform an element of a tile, on the way in or out, in products.
const TRANSFORM: f64 = 6.0;
/// The time to pack a weight, in products.
const PACK: f64 = 25.0;

impl Form {
    /// The form that should take the least time for an image of this height and width. It depends on
    /// neither the batch nor the machine, nor on the instruction set.
    ///
    /// Time is counted in products: those of all tiles, where every weight costs at least as much as it
    /// takes to fetch it (transformed weights are 1.8 or 4 times as many), and the transforms.
    #[must_use]
    pub fn best(
        window: &Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        image: [usize; 2],
    ) -> Form {
        fastest(window, groups, [in_channels, out_channels], [1, image[0], image[1]], 0.0)
    }

    /// The form that should take the least time for these weights, `[out_channels, kernel height, kernel
    /// width, in_channels / groups]`: [`best`](Form::best) for dense ones, or one that leaves zeros out. It
    /// depends on neither the batch nor the machine, nor on the instruction set.
    #[must_use]
    pub fn best_for(
        weights: &[f32],
        window: &Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        image: [usize; 2],
    ) -> Form {
        let layer = Layer { window: *window, groups, in_channels, out_channels, image };
        let zeros =
            if groups == 1 { Zeros::of_floats(weights, window.taps() * in_channels) } else { Zeros::NONE };
        let sparse = cost::sparse_form(&layer, zeros).map(|(form, _)| form);
        sparse.unwrap_or_else(|| Form::best(window, groups, in_channels, out_channels, image))
    }

    /// The form that should take the least time where weights are packed anew for each input, of `shape` =
    /// batch, height, width. It depends on neither the machine nor the instruction set.
    #[must_use]
    pub fn best_repacked(
        window: &Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        shape: [usize; 3],
    ) -> Form {
        fastest(window, groups, [in_channels, out_channels], shape, PACK)
    }

    /// Whether a convolution can be computed like this.
    #[must_use]
    pub fn fits(self, window: &Window, groups: usize) -> bool {
        let three = window.kernel == [3; 2] && window.stride == [1; 2] && window.dilation == [1; 2];
        match self {
            Form::Direct => true,
            Form::Winograd2 | Form::Winograd4 => three && groups == 1,
            Form::Blocks | Form::Scattered => groups == 1,
        }
    }

    /// Outputs of a tile along one side, and its products along one side.
    pub(crate) fn tile(self) -> [usize; 2] {
        match self {
            Form::Direct | Form::Blocks | Form::Scattered => [1, 3],
            Form::Winograd2 => [2, 4],
            Form::Winograd4 => [4, 6],
        }
    }
}

/// The fastest form for an input of `shape`, where packing a weight takes as long as `pack` products.
fn fastest(window: &Window, groups: usize, channels: [usize; 2], shape: [usize; 3], pack: f64) -> Form {
    if !Form::Winograd2.fits(window, groups) || Planes::takes(window, groups, channels, shape[2]) {
        return Form::Direct;
    }
    let time = |form: Form| time_of_form(form, window, channels, shape, pack);
    let forms = [Form::Direct, Form::Winograd2, Form::Winograd4];
    forms.into_iter().min_by(|a, b| time(*a).total_cmp(&time(*b))).unwrap_or(Form::Direct)
}

/// The time of a dense form for a window of 3x3, in products.
pub(crate) fn time_of_form(
    form: Form,
    window: &Window,
    channels: [usize; 2],
    [batch, height, width]: [usize; 3],
    pack: f64,
) -> f64 {
    let [side, seen] = form.tile();
    let output = window.output([height, width]);
    let tiles: f64 = output.map(|size| size.div_ceil(side) as f64).iter().product();
    let (tiles, points) = (tiles * batch as f64, (seen * seen) as f64);
    let [inputs, outputs] = channels.map(|channels| channels as f64);
    let transforms = if form == Form::Direct { 0.0 } else { TRANSFORM * tiles * (inputs + outputs) };
    points * (inputs * outputs * (tiles.max(FETCH) + pack) + transforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_take_large_tiles_and_streamed_weights_small_ones() {
        let window = Window { kernel: [3; 2], pad_before: [1; 2], pad_after: [1; 2], ..Window::POINT };
        let best = |channels, size| Form::best(&window, 1, channels, channels, [size; 2]);
        assert_eq!(best(64, 56), Form::Winograd4);
        assert_eq!(best(256, 14), Form::Winograd4);
        assert_eq!(best(512, 7), Form::Winograd2);
        assert_eq!(best(512, 2), Form::Direct);
        assert_eq!(best(1, 56), Form::Direct);
    }

    #[test]
    fn other_windows_are_computed_as_they_are_written() {
        let three = Window { kernel: [3; 2], ..Window::POINT };
        let others = [
            Window { kernel: [3, 5], ..Window::POINT },
            Window { stride: [1, 2], ..three },
            Window { dilation: [2, 1], ..three },
        ];
        for window in others {
            assert_eq!(Form::best(&window, 1, 64, 64, [56; 2]), Form::Direct);
        }
        assert_eq!(Form::best(&three, 2, 64, 64, [56; 2]), Form::Direct);
    }
}
