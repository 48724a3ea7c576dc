//! Layers that multiply by weights, and matrix products.

use litesmith_graph::ops::{Activation, BatchMatMul, Conv2D, Gradient, Transpose, TransposeConv2D};
use litesmith_graph::{Op, TensorId};

use super::{Chain, Gradients};
use crate::error::{Refusal, refuse};

/// A convolution or dense layer, without its activation: inputs image, weights `[…, out]` of any layout,
/// bias.
pub(super) fn layer(c: &mut Chain<'_>, plain: Op, activation: Activation) -> Gradients {
    let received = c.before(activation)?;
    let mut gradients = vec![None; c.node.inputs.len()];
    if c.wants(0) {
        gradients[0] = Some(c.gradient(plain.clone(), &[0], received)?[0]);
    }
    // The sums of both go through the received gradient.
    let learnt: Vec<usize> = (1..gradients.len()).filter(|input| c.wants(*input)).collect();
    match learnt[..] {
        [] => {}
        [2] => gradients[2] = Some(bias(c, received, 2)?),
        _ => {
            let outputs = c.gradient(plain, &learnt, received)?;
            learnt.into_iter().zip(outputs).for_each(|(input, output)| gradients[input] = Some(output));
        }
    }
    Ok(gradients)
}

/// The sum over everything but channels.
pub(super) fn bias(c: &mut Chain<'_>, received: TensorId, input: usize) -> Result<TensorId, Refusal> {
    let shape = c.input_shape(input)?;
    c.sum_to(received, &shape)
}

/// Being the gradient of a convolution itself, it has one as its gradient: inputs output shape, weights
/// `[out, height, width, in]`, image, bias.
pub(super) fn transpose_conv_2d(c: &mut Chain<'_>, op: &TransposeConv2D) -> Gradients {
    let received = c.before(op.activation)?;
    let plain = Conv2D { stride: op.stride, padding: op.padding, ..Conv2D::default() };
    let (weights, image) = (c.input(1)?, c.input(2)?);
    let mut gradients = vec![None; c.node.inputs.len()];
    let swap = Transpose { permutation: vec![3, 1, 2, 0] };
    if c.wants(1) || c.wants(2) {
        let swapped = c.emit(swap.clone(), &[weights])?;
        if c.wants(2) {
            gradients[2] = Some(c.emit(plain.clone(), &[received, swapped])?);
        }
        if c.wants(1) {
            let op = Gradient { of: Box::new(plain.into()), inputs: vec![1] };
            // What the image would be to the convolution as its gradient, and the other way round.
            let gradient = c.emit(op, &[received, swapped, image, image])?;
            gradients[1] = Some(c.emit(swap, &[gradient])?);
        }
    }
    if c.wants(3) {
        gradients[3] = Some(bias(c, received, 3)?);
    }
    Ok(gradients)
}

/// `C = A B`: `dA = dC B^T`, `dB = A^T dC`, with the operands in the order that their adjoints ask for.
pub(super) fn batch_matmul(c: &mut Chain<'_>, op: &BatchMatMul) -> Gradients {
    let (a, b, dy) = (c.input(0)?, c.input(1)?, c.dy()?);
    let (adjoint_a, adjoint_b) = (op.adjoint_a, op.adjoint_b);
    if c.input_shape(0)?.len() < 2 || c.input_shape(1)?.len() < 2 {
        refuse!("its operands are no matrices");
    }
    let product = |adjoint_a, adjoint_b| BatchMatMul { adjoint_a, adjoint_b, ..BatchMatMul::default() };
    let mut gradients = vec![None; 2];
    if c.wants(0) {
        let gradient = match adjoint_a {
            false => c.emit(product(false, !adjoint_b), &[dy, b])?,
            true => c.emit(product(adjoint_b, true), &[b, dy])?,
        };
        let shape = c.input_shape(0)?;
        gradients[0] = Some(c.sum_to(gradient, &shape)?);
    }
    if c.wants(1) {
        let gradient = match adjoint_b {
            false => c.emit(product(!adjoint_a, false), &[a, dy])?,
            true => c.emit(product(true, adjoint_a), &[dy, a])?,
        };
        let shape = c.input_shape(1)?;
        gradients[1] = Some(c.sum_to(gradient, &shape)?);
    }
    Ok(gradients)
}
