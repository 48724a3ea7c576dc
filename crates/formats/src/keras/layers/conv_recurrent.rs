//! LSTM over images: products are convolutions (Shi et al. 2015). One copy of the cell for each step.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    BinaryKind, Conv2D, Conv3D, ExpandDims, Pack, Padding, Split, Squeeze, Transpose, Unpack,
};

use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, unsupported};
use crate::keras::layers::convolution::{bias, padding};
use crate::keras::layers::recurrent::{Call, Run};
use crate::keras::scope::Scope;

/// Most steps that the cell is copied for.
const MOST_STEPS: usize = 256;

/// How the kernels move.
struct Window {
    /// Number of spatial axes: 1, 2 or 3.
    axes: usize,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    padding: Padding,
    filters: usize,
    channels_first: bool,
}

impl Window {
    fn of<const N: usize>(config: Config<'_>) -> Built<Window> {
        let filters = config.count("filters")?;
        if filters.checked_mul(4).is_none() {
            return Err(config.broken("it has too many filters").into());
        }
        Ok(Window {
            axes: N,
            kernel: config.counts::<N>("kernel_size")?.to_vec(),
            stride: config.counts_or::<N>("strides", [1; N])?.to_vec(),
            dilation: config.counts_or::<N>("dilation_rate", [1; N])?.to_vec(),
            padding: padding(config)?,
            filters,
            channels_first: config.text("data_format")? == Some("channels_first"),
        })
    }

    /// The recurrent one: it keeps the size.
    fn recurrent(&self) -> Window {
        Window {
            kernel: self.kernel.clone(),
            stride: vec![1; self.axes],
            dilation: vec![1; self.axes],
            padding: Padding::Same,
            ..*self
        }
    }

    /// The convolution of images of two axes (of height 1 where there is one) or volumes.
    fn convolve(
        &self,
        scope: &mut Scope<'_>,
        image: TensorId,
        kernel: TensorId,
        bias: Option<TensorId>,
    ) -> Built<TensorId> {
        let inputs = vec![Some(image), Some(kernel), bias];
        match (self.stride.as_slice(), self.dilation.as_slice()) {
            (&[a, b, c], &[d, e, f]) => {
                let op = Conv3D {
                    stride: [a, b, c],
                    dilation: [d, e, f],
                    padding: self.padding,
                    ..Conv3D::default()
                };
                scope.emit_some(op, inputs)
            }
            (stride, dilation) => {
                let two = |sizes: &[usize]| match *sizes {
                    [height, width] => [height, width],
                    _ => [1, sizes[0]],
                };
                let (stride, dilation) = (two(stride), two(dilation));
                let op = Conv2D { stride, dilation, padding: self.padding, ..Conv2D::default() };
                scope.emit_some(op, inputs)
            }
        }
    }

    /// A kernel of the file in the layout of the convolution.
    fn laid_out(&self, scope: &mut Scope<'_>, variable: &'static str, channels: usize) -> Built<TensorId> {
        let shape = [self.kernel.as_slice(), &[channels, 4 * self.filters]].concat();
        let kernel = scope.weight(variable, &shape)?;
        match self.axes {
            1 => {
                let rows = scope.laid_out(kernel, Transpose::by(&[2, 0, 1]))?;
                scope.laid_out(rows, ExpandDims { axis: 1 })
            }
            2 => scope.laid_out(kernel, Transpose::by(&[3, 0, 1, 2])),
            _ => Ok(kernel),
        }
    }

    /// An image of the model as the convolution takes it.
    fn enter(&self, scope: &mut Scope<'_>, image: TensorId) -> Built<TensorId> {
        let image = if self.channels_first { scope.channels_to_last(image)? } else { image };
        if self.axes == 1 { scope.emit(ExpandDims { axis: 1 }, &[image]) } else { Ok(image) }
    }

    /// The way back.
    fn leave(&self, scope: &mut Scope<'_>, image: TensorId) -> Built<TensorId> {
        let image = if self.axes == 1 { scope.emit(Squeeze { axes: vec![1] }, &[image])? } else { image };
        if self.channels_first { scope.channels_to_first(image) } else { Ok(image) }
    }
}

pub(super) fn layer(scope: &mut Scope<'_>) -> Built<Vec<TensorId>> {
    let (call, run) = (Call::of(scope)?, Run::of(scope.config())?);
    outputs(scope, &call, run)
}

/// The outputs of a layer: its output, then `h` and `c` if they are asked for.
pub(super) fn outputs(scope: &mut Scope<'_>, call: &Call, run: Run) -> Built<Vec<TensorId>> {
    let config = scope.config();
    let window = match scope.layer.class.as_str() {
        "ConvLSTM1D" => Window::of::<1>(config)?,
        "ConvLSTM2D" => Window::of::<2>(config)?,
        _ => Window::of::<3>(config)?,
    };
    if call.mask.is_some() {
        unsupported!("a mask is not supported here");
    }
    if scope.rank(call.x) != window.axes + 3 {
        let shape = scope.shape(call.x);
        return Err(config.broken(format!("a sequence of shape {shape} is none of its images")).into());
    }
    let time = scope.size(call.x, 1)?;
    if time == 0 || time > MOST_STEPS {
        unsupported!(
            "{time} steps are not supported; the cell is copied for each, {MOST_STEPS} times at most"
        );
    }
    let mut states = [None, None];
    match call.states.as_slice() {
        [] => {}
        [h, c] => states = [Some(window.enter(scope, *h)?), Some(window.enter(scope, *c)?)],
        other => return Err(config.broken(format!("it is called with {} states", other.len())).into()),
    }
    let mut steps = scope.emit_several(Unpack { axis: 1, parts: time }, vec![Some(call.x)])?;
    if run.backwards {
        steps.reverse();
    }
    let mut outputs = Vec::with_capacity(time);
    for x in steps {
        let x = window.enter(scope, x)?;
        let [h, c] = step(scope, &window, x, states)?;
        states = [Some(h), Some(c)];
        outputs.push(h);
    }
    let last = outputs.last().copied().unwrap_or(call.x);
    let output = if run.sequences {
        let outputs = outputs.into_iter().map(|h| window.leave(scope, h)).collect::<Built<Vec<_>>>()?;
        scope.emit(Pack { axis: 1 }, &outputs)?
    } else {
        window.leave(scope, last)?
    };
    let mut all = vec![output];
    if run.states {
        for state in states.into_iter().flatten() {
            all.push(window.leave(scope, state)?);
        }
    }
    Ok(all)
}

/// `h` and `c` after a step.
fn step(
    scope: &mut Scope<'_>,
    window: &Window,
    x: TensorId,
    [h, c]: [Option<TensorId>; 2],
) -> Built<[TensorId; 2]> {
    let channels = scope.channels(x)?;
    let kernel = window.laid_out(scope, "kernel", channels)?;
    let bias = bias(scope, 4 * window.filters)?;
    let mut sums = window.convolve(scope, x, kernel, bias)?;
    let kernel = window.laid_out(scope, "recurrent_kernel", window.filters)?;
    if let Some(h) = h {
        let recurrent = window.recurrent().convolve(scope, h, kernel, None)?;
        sums = scope.binary(BinaryKind::Add, sums, recurrent)?;
    }
    let split = Split { axis: -1, parts: 4, sizes: Vec::new() };
    let [input, forget, candidate, output] = *scope.emit_several(split, vec![Some(sums)])?.as_slice() else {
        return Err(scope.config().broken("it has no four gates").into());
    };
    let input = activations::of_setting(scope, "recurrent_activation", input)?;
    let candidate = activations::of_setting(scope, "activation", candidate)?;
    let mut after = scope.binary(BinaryKind::Mul, input, candidate)?;
    if let Some(c) = c {
        let forget = activations::of_setting(scope, "recurrent_activation", forget)?;
        let kept = scope.binary(BinaryKind::Mul, forget, c)?;
        after = scope.binary(BinaryKind::Add, kept, after)?;
    }
    let output = activations::of_setting(scope, "recurrent_activation", output)?;
    let shown = activations::of_setting(scope, "activation", after)?;
    Ok([scope.binary(BinaryKind::Mul, output, shown)?, after])
}
