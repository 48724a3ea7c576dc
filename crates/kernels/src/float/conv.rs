//! Convolution and dense layers.

use super::direct::Direct;
use super::filters::{Filters, Order};
use super::packed::{Addend, Output};
use super::planes::Planes;
use super::rectifier::Rectifier;
use super::taps::{Image, Reading};
use super::winograd::{Form, Winograd};
use super::{Clamp, assert_convolution, volume};
use crate::aligned::Aligned;
use crate::pool::DisjointSlice;
use crate::{Isa, ThreadPool, Window};

/// A 2-D convolution, channels last, with its weights packed for one instruction set.
///
/// `output[n, y, x, o] = clamp(bias[o] + sum over taps and channels of input * weight)`, with
/// zeros outside the input. In [`Form::Direct`] a tile of output pixels by output channels stays in
/// registers while all taps and input channels pass by; input pixels are read in place.
/// [`Form::Blocks`] and [`Form::Scattered`] leave zeros out; the other forms need fewer products, and more
/// weights.
pub struct Conv2d {
    pub(super) window: Window,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) clamp: Clamp,
    method: Method,
    /// The order of the weights that are packed.
    order: Order,
    zeros: Aligned<f32>,
}

enum Method {
    Direct(Direct),
    Winograd(Winograd),
}

impl Method {
    fn fill(&mut self, pool: &ThreadPool, filters: Filters<'_>, bias: Option<&[f32]>) {
        match self {
            Method::Direct(direct) => direct.fill(pool, filters, bias),
            Method::Winograd(winograd) => winograd.fill(pool, filters, bias),
        }
    }
}

impl Conv2d {
    /// Packs `weights` of shape `[out_channels, kernel height, kernel width, in_channels / groups]` for
    /// [`Form::Direct`].
    ///
    /// Output channels `g * out_channels / groups..` read input channels `g * in_channels /
    /// groups..` of group `g`. `bias` has `out_channels` elements; `None` stands for zeros.
    ///
    /// # Panics
    /// When the machine lacks `isa`, when `groups` does not divide both numbers of channels, when
    /// a number of channels, a kernel size, stride or dilation is 0, when a number of the window
    /// is 2^24 or more, or when `weights` or `bias` has another length.
    #[must_use]
    // Eight plain facts; a struct for them would only be taken apart again.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Conv2d {
        let form = Form::Direct;
        Conv2d::with_form(form, isa, window, groups, in_channels, out_channels, weights, bias, clamp)
    }

    /// The same in any form: [`Form::best`] tells the fastest for an image.
    ///
    /// # Panics
    /// As [`Conv2d::new`], and when the form does not [fit](Form::fits) the window and groups.
    #[must_use]
    // As above.
    #[allow(clippy::too_many_arguments)]
    pub fn with_form(
        form: Form,
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Conv2d {
        assert_convolution(&window, groups, [in_channels, out_channels]);
        let expected = out_channels * window.taps() * (in_channels / groups);
        assert_eq!(weights.len(), expected, "number of weights");
        let mut conv = Conv2d::blank(form, isa, window, groups, in_channels, out_channels, clamp);
        conv.repack(&ThreadPool::new(1), weights, bias);
        conv
    }

    /// A convolution whose weights and biases are all zero, until they are
    /// [`repack`](Conv2d::repack)ed.
    ///
    /// # Panics
    /// As [`Conv2d::with_form`].
    #[must_use]
    pub fn blank(
        form: Form,
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        clamp: Clamp,
    ) -> Conv2d {
        Conv2d::hollow(form, isa, window, groups, in_channels, out_channels, clamp, Aligned::lasting)
    }

    /// The same with memory for the packed weights from `memory`.
    // As above.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn hollow(
        form: Form,
        isa: Isa,
        window: Window,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        clamp: Clamp,
        memory: impl Fn(usize) -> Aligned<f32>,
    ) -> Conv2d {
        assert_convolution(&window, groups, [in_channels, out_channels]);
        assert!(form.fits(&window, groups), "{form:?} does not fit {window:?}");
        let depth = in_channels / groups;
        let steps = window.taps() * depth;

        let reading = if groups == 1 { Reading::best(&window, in_channels) } else { Reading::Taps };
        let per_group = out_channels / groups;
        let zeros = Aligned::zeroed(reading.zeros(&window, in_channels));
        let (method, order) = match form {
            Form::Direct | Form::Blocks | Form::Scattered => {
                let pointers = reading.pointers(&window);
                let taps = [pointers, steps / pointers];
                // Where weights are zero, less is done without them.
                let dense = form == Form::Direct;
                let planes = dense.then(|| Planes::new(isa, &window, groups, [in_channels, out_channels]));
                let direct = Direct::new(form, isa, reading, groups, per_group, taps, memory);
                let direct = direct.with_planes(planes.flatten());
                (Method::Direct(direct), Order::plain(per_group, 1, steps))
            }
            Form::Winograd2 | Form::Winograd4 => {
                let winograd = Winograd::new(isa, form, in_channels, out_channels, memory);
                (Method::Winograd(winograd), Order::plain(out_channels, window.taps(), depth))
            }
        };
        Conv2d { window, in_channels, out_channels, clamp, method, order, zeros }
    }

    /// Packs other weights and biases, in place of those it has: laid out as in [`Conv2d::new`]. The work
    /// is split over `pool`, and no memory is allocated in dense forms.
    ///
    /// # Panics
    /// When `weights` or `bias` has another length.
    pub fn repack(&mut self, pool: &ThreadPool, weights: &[f32], bias: Option<&[f32]>) {
        assert_eq!(weights.len(), self.out_channels * self.order.steps(), "number of weights");
        assert!(bias.is_none_or(|bias| bias.len() == self.out_channels), "number of biases");
        self.method.fill(pool, Filters { data: weights, order: &self.order }, bias);
    }

    /// Packs weights that stand in any order, without biases.
    ///
    /// # Panics
    /// When an output channel has another number of weights, or they end too soon.
    pub(crate) fn pack(&mut self, pool: &ThreadPool, filters: Filters<'_>) {
        self.method.fill(pool, filters, None);
    }

    /// Exchanges the memory of the packed weights for another; see [`floats`](Conv2d::floats). Until it
    /// is packed anew it computes something else.
    pub(crate) fn exchange(&mut self, memory: &mut Aligned<f32>) {
        match &mut self.method {
            Method::Direct(direct) => {
                if let Some(packed) = direct.dense() {
                    packed.exchange(memory);
                }
            }
            Method::Winograd(winograd) => winograd.exchange(memory),
        }
    }

    /// Numbers that the memory of the packed weights has to hold.
    pub(crate) fn floats(&self) -> usize {
        match &self.method {
            Method::Direct(direct) => direct.floats(),
            Method::Winograd(winograd) => winograd.floats(),
        }
    }

    /// A dense layer: weights `[out_channels, in_channels]`. To [`run`](Conv2d::run) it on rows,
    /// pass the shape `[rows, 1, 1]`.
    ///
    /// # Panics
    /// As [`Conv2d::new`].
    #[must_use]
    pub fn dense(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Conv2d {
        Conv2d::new(isa, Window::POINT, 1, in_channels, out_channels, weights, bias, clamp)
    }

    /// Whether it leaves zeros of the weights out.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.direct().is_some_and(Direct::is_sparse)
    }

    /// Computes the whole output `[batch, output height, output width, out_channels]` from an
    /// input of `shape` = batch, height, width (and `in_channels`); see [`Window::output`].
    ///
    /// # Panics
    /// When `input` or `output` has another length.
    pub fn run(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        self.run_with(pool, input, shape, Addend::Nothing, self.clamp, None, output);
    }

    /// [`run`](Conv2d::run) with a tensor of the output's shape added before clamping: a fused
    /// residual connection, `clamp(convolution + addend)`. The bits are those of a convolution
    /// without bounds followed by the addition and the bounds.
    ///
    /// # Panics
    /// When `input`, `addend` or `output` has another length.
    pub fn run_add(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        addend: &[f32],
        output: &mut [f32],
    ) {
        self.run_sum(pool, input, shape, Some(addend), self.clamp, output);
    }

    /// [`run_add`](Conv2d::run_add) where the addend is what `output` holds.
    ///
    /// # Panics
    /// When `input` or `output` has another length.
    pub fn run_onto(&self, pool: &ThreadPool, input: &[f32], shape: [usize; 3], output: &mut [f32]) {
        self.run_sum(pool, input, shape, None, self.clamp, output);
    }

    /// [`run_add`](Conv2d::run_add), or [`run_onto`](Conv2d::run_onto) without addend, with bounds of
    /// its own instead of the convolution's.
    ///
    /// # Panics
    /// As [`run_add`](Conv2d::run_add).
    pub fn run_sum(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        addend: Option<&[f32]>,
        clamp: Clamp,
        output: &mut [f32],
    ) {
        self.run_rectified(pool, input, shape, Some((addend, clamp)), None, output);
    }

    /// [`run_sum`](Conv2d::run_sum), or [`run`](Conv2d::run) without a sum, with what follows it.
    ///
    /// # Panics
    /// As [`run_add`](Conv2d::run_add), and when there are slopes for another number of channels.
    // The six facts of a sum, and the slopes.
    #[allow(clippy::too_many_arguments)]
    pub fn run_rectified(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        sum: Option<(Option<&[f32]>, Clamp)>,
        rectifier: Option<&Rectifier>,
        output: &mut [f32],
    ) {
        let (addend, clamp) = match sum {
            None => (Addend::Nothing, self.clamp),
            Some((None, clamp)) => (Addend::Output, clamp),
            Some((Some(addend), clamp)) => {
                assert_eq!(addend.len(), output.len(), "length of the addend");
                (Addend::Tensor(addend), clamp)
            }
        };
        self.run_with(pool, input, shape, addend, clamp, rectifier, output);
    }

    // As above.
    #[allow(clippy::too_many_arguments)]
    fn run_with(
        &self,
        pool: &ThreadPool,
        input: &[f32],
        shape: [usize; 3],
        addend: Addend<'_>,
        clamp: Clamp,
        rectifier: Option<&Rectifier>,
        output: &mut [f32],
    ) {
        let [batch, height, width] = shape;
        let [out_height, out_width] = self.window.output([height, width]);
        let out_shape = [batch, out_height, out_width, self.out_channels];
        assert_eq!(input.len(), volume(&[batch, height, width, self.in_channels]), "length of the input");
        assert_eq!(output.len(), volume(&out_shape), "length of the output");
        if output.is_empty() {
            return;
        }
        let image = self.image(input, shape);
        assert!(
            rectifier.is_none_or(|slopes| slopes.channels() == self.out_channels),
            "slopes for other channels"
        );
        let data = &DisjointSlice::new(output);
        let output = Output { data, addend, first: 0, pitch: self.out_channels, clamp, rectifier };
        match &self.method {
            Method::Winograd(winograd) => winograd.run(pool, image, &output),
            Method::Direct(direct) => direct.run(pool, image, &output),
        }
    }

    /// Its weights, if they are multiplied as they are.
    pub(super) fn direct(&self) -> Option<&Direct> {
        match &self.method {
            Method::Direct(direct) => Some(direct),
            Method::Winograd(_) => None,
        }
    }

    /// An input of `shape` as this convolution sees it.
    pub(super) fn image<'a>(&'a self, input: &'a [f32], shape: [usize; 3]) -> Image<'a> {
        let [_, height, width] = shape;
        Image {
            data: input,
            shape,
            channels: self.in_channels,
            window: self.window,
            output: self.window.output([height, width]),
            zeros: &self.zeros,
        }
    }
}
