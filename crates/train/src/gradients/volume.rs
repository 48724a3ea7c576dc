//! Convolutions of volumes, by operators that there are: the image's gradient is a transposed convolution,
//! that of the weights a matrix product for each tap.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{
    Activation, BatchMatMul, Conv3D, Pack, Pad, PadMode, Padding, StridedSlice, TransposeConv3D,
};

use super::products::bias;
use super::{Chain, Gradients};
use crate::error::{Refusal, refuse};

/// Inputs volume, weights `[depth, height, width, in, out]`, bias.
pub(super) fn conv_3d(c: &mut Chain<'_>, op: &Conv3D) -> Gradients {
    let received = c.before(op.activation)?;
    let (volume, weights) = (c.input(0)?, c.input(1)?);
    let taps = Taps::new(c, volume, received, weights, op)?;
    let mut gradients = vec![None; c.node.inputs.len()];
    if c.wants(0) {
        gradients[0] = Some(match op.dilation {
            [1, 1, 1] => {
                let shape = c.builder.shape(volume)?;
                let shape = c.builder.sizes(&shape);
                let op =
                    TransposeConv3D { stride: op.stride, padding: op.padding, activation: Activation::None };
                c.emit(op, &[shape, weights, received])?
            }
            _ => taps.back(c, received, weights)?,
        });
    }
    if c.wants(1) {
        gradients[1] = Some(taps.weights(c, volume, received)?);
    }
    if c.wants(2) {
        gradients[2] = Some(bias(c, received, 2)?);
    }
    Ok(gradients)
}

/// Being the gradient of a convolution itself, it has one as its gradient: inputs output shape, weights
/// `[depth, height, width, out, in]`, volume, bias.
pub(super) fn transpose_conv_3d(c: &mut Chain<'_>, op: &TransposeConv3D) -> Gradients {
    let received = c.before(op.activation)?;
    let plain = Conv3D { stride: op.stride, padding: op.padding, ..Conv3D::default() };
    let (weights, volume) = (c.input(1)?, c.input(2)?);
    let mut gradients = vec![None; c.node.inputs.len()];
    if c.wants(1) {
        let taps = Taps::new(c, received, volume, weights, &plain)?;
        gradients[1] = Some(taps.weights(c, received, volume)?);
    }
    if c.wants(2) {
        gradients[2] = Some(c.emit(plain, &[received, weights])?);
    }
    if c.wants(3) {
        gradients[3] = Some(bias(c, received, 3)?);
    }
    Ok(gradients)
}

/// Which elements of a volume each tap of a convolution multiplies.
struct Taps {
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    /// Sizes of the volume and of what the convolution makes of it.
    volume: [usize; 3],
    result: [usize; 3],
    /// Zeros before and behind the volume.
    padding: [[usize; 2]; 3],
}

impl Taps {
    fn new(
        c: &Chain<'_>,
        volume: TensorId,
        result: TensorId,
        weights: TensorId,
        op: &Conv3D,
    ) -> Result<Taps, Refusal> {
        let three = |id: TensorId, first: usize| -> Result<[usize; 3], Refusal> {
            match c.builder.shape(id)?.get(first..first + 3) {
                Some(&[a, b, c]) => Ok([a, b, c]),
                _ => refuse!("its operands are no volumes"),
            }
        };
        let (kernel, volume, result) = (three(weights, 0)?, three(volume, 1)?, three(result, 1)?);
        let mut padding = [[0; 2]; 3];
        for axis in 0..3 {
            let reach =
                (result[axis].max(1) - 1) * op.stride[axis] + (kernel[axis] - 1) * op.dilation[axis] + 1;
            if op.padding == Padding::Same {
                let zeros = reach.saturating_sub(volume[axis]);
                padding[axis] = [zeros / 2, zeros - zeros / 2];
            }
        }
        Ok(Taps { kernel, stride: op.stride, dilation: op.dilation, volume, result, padding })
    }

    /// Where each tap begins in the padded volume.
    fn begins(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        let (kernel, dilation) = (self.kernel, self.dilation);
        let taps = (0..kernel.iter().product()).map(move |tap: usize| {
            [tap / (kernel[1] * kernel[2]), tap / kernel[2] % kernel[1], tap % kernel[2]]
        });
        taps.map(move |[d, h, w]| [d * dilation[0], h * dilation[1], w * dilation[2]])
    }

    /// The gradient of the weights: for each tap `volume^T result`, over all places.
    fn weights(&self, c: &mut Chain<'_>, volume: TensorId, result: TensorId) -> Result<TensorId, Refusal> {
        let padded = self.padded(c, volume)?;
        let [rows, columns] =
            [volume, result].map(|id| c.builder.shape(id).map(|shape| (shape[0], shape[4])));
        let ((batch, channels), (_, out)) = (rows?, columns?);
        let places = batch * self.result.iter().product::<usize>();
        let result = c.reshape(result, &[places, out])?;
        let mut products = Vec::new();
        for begin in self.begins() {
            let taken = c.emit(self.slice(begin), &[padded])?;
            let taken = c.reshape(taken, &[places, channels])?;
            let product = BatchMatMul { adjoint_a: true, ..BatchMatMul::default() };
            products.push(c.emit(product, &[taken, result])?);
        }
        let all = c.emit(Pack { axis: 0 }, &products)?;
        let [d, h, w] = self.kernel;
        c.reshape(all, &[d, h, w, channels, out])
    }

    /// The gradient of the volume of a convolution whose taps lie apart: what each tap gives back, moved to
    /// where it took from, added up.
    fn back(&self, c: &mut Chain<'_>, received: TensorId, weights: TensorId) -> Result<TensorId, Refusal> {
        if self.stride != [1; 3] {
            refuse!("dilation together with a stride cannot be trained");
        }
        let (given, shape) = (c.builder.shape(received)?, c.builder.shape(weights)?);
        let (channels, out) = (shape[3], shape[4]);
        let places = given[0] * self.result.iter().product::<usize>();
        let rows = c.reshape(received, &[places, out])?;
        let matrices = c.reshape(weights, &[shape[..3].iter().product(), channels, out])?;
        let mut sum: Option<TensorId> = None;
        for (tap, begin) in self.begins().enumerate() {
            let slice = StridedSlice {
                begin: vec![tap as i64],
                end: vec![tap as i64 + 1],
                strides: vec![1],
                shrink_axis_mask: 1,
                ..StridedSlice::default()
            };
            let matrix = c.emit(slice, &[matrices])?;
            let product = BatchMatMul { adjoint_b: true, ..BatchMatMul::default() };
            let product = c.emit(product, &[rows, matrix])?;
            let [d, h, w] = self.result;
            let product = c.reshape(product, &[given[0], d, h, w, channels])?;
            let mut amounts = vec![[0; 2]; 5];
            for axis in 0..3 {
                let whole = self.volume[axis] + self.padding[axis][0] + self.padding[axis][1];
                amounts[axis + 1] = [begin[axis], whole - begin[axis] - self.result[axis]];
            }
            let moved = c.emit(Pad { amounts, mode: PadMode::Zero }, &[product])?;
            sum = Some(match sum {
                Some(sum) => c.binary(litesmith_graph::ops::BinaryKind::Add, sum, moved)?,
                None => moved,
            });
        }
        let Some(sum) = sum else { refuse!("it has no taps") };
        let begin: Vec<i64> = self.padding.iter().map(|[before, _]| *before as i64).collect();
        let end: Vec<i64> = (0..3).map(|axis| begin[axis] + self.volume[axis] as i64).collect();
        c.emit(self.inner(begin, end, vec![1; 3]), &[sum])
    }

    fn padded(&self, c: &mut Chain<'_>, volume: TensorId) -> Result<TensorId, Refusal> {
        if self.padding == [[0; 2]; 3] {
            return Ok(volume);
        }
        let mut amounts = vec![[0; 2]; 5];
        amounts[1..4].copy_from_slice(&self.padding);
        c.emit(Pad { amounts, mode: PadMode::Zero }, &[volume])
    }

    /// What a tap takes of the padded volume.
    fn slice(&self, begin: [usize; 3]) -> StridedSlice {
        let last = |axis: usize| begin[axis] + (self.result[axis] - 1) * self.stride[axis];
        let end = (0..3).map(|axis| last(axis) as i64 + 1).collect();
        let strides = self.stride.iter().map(|stride| *stride as i64).collect();
        self.inner(begin.iter().map(|begin| *begin as i64).collect(), end, strides)
    }

    /// A slice of the three inner axes.
    fn inner(&self, begin: Vec<i64>, end: Vec<i64>, strides: Vec<i64>) -> StridedSlice {
        let with_batch = |first: i64, inner: Vec<i64>| std::iter::once(first).chain(inner).collect();
        StridedSlice {
            begin: with_batch(0, begin),
            end: with_batch(0, end),
            strides: with_batch(1, strides),
            end_mask: 1,
            ..StridedSlice::default()
        }
    }
}
