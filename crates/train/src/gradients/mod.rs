//! The rule of each operator: how the loss' gradients with respect to its inputs follow from those with
//! respect to its outputs. One file per family; the only `match` over all operators is here.

mod elementwise;
mod gather;
mod movement;
mod normalize;
mod products;
mod reduce;
mod volume;

use litesmith_graph::ops::{
    Activation, BinaryKind, Gradient, PoolKind, Reduce, ReduceKind, Reshape, ReshapeDim, Unary, UnaryKind,
};
use litesmith_graph::{Node, Op, TensorId, ops};

use crate::differentiate::Builder;
use crate::error::{Refusal, refuse};

/// The gradients with respect to the inputs of a node; `None` where there is none, or nobody asked.
pub(crate) type Gradients = Result<Vec<Option<TensorId>>, Refusal>;

/// A node that the chain rule has come to.
pub(crate) struct Chain<'a> {
    /// The graph, to which the rule adds nodes.
    pub builder: &'a mut Builder,
    /// The node.
    pub node: &'a Node,
    /// The loss' gradient with respect to each output, where it depends on that.
    pub received: Vec<Option<TensorId>>,
    /// For each input, whether its gradient is asked for.
    pub wanted: Vec<bool>,
}

/// Adds the nodes that differentiate a node.
pub(crate) fn differentiate_node(mut chain: Chain<'_>) -> Gradients {
    let c = &mut chain;
    match &c.node.op {
        Op::BatchMatMul(op) => products::batch_matmul(c, op),
        Op::Conv2D(op) => {
            let plain = ops::Conv2D { activation: Activation::None, ..op.clone() };
            products::layer(c, plain.into(), op.activation)
        }
        Op::DepthwiseConv2D(op) => {
            let plain = ops::DepthwiseConv2D { activation: Activation::None, ..op.clone() };
            products::layer(c, plain.into(), op.activation)
        }
        Op::FullyConnected(op) => {
            let plain = ops::FullyConnected { activation: Activation::None, ..op.clone() };
            products::layer(c, plain.into(), op.activation)
        }
        Op::Conv3D(op) => volume::conv_3d(c, op),
        Op::TransposeConv2D(op) => products::transpose_conv_2d(c, op),
        Op::TransposeConv3D(op) => volume::transpose_conv_3d(c, op),

        Op::Binary(op) => elementwise::binary(c, op),
        Op::Cast(_) => elementwise::cast(c),
        Op::Prelu(_) => elementwise::prelu(c),
        Op::Select(_) => elementwise::select(c),
        Op::Unary(op) => elementwise::unary(c, op.kind),

        Op::BatchNorm(_) | Op::BatchNormTraining(_) => normalize::batch_norm(c),
        Op::FakeQuantTraining(_) => c.of_first_input(),
        Op::L2Norm(_) => normalize::l2_norm(c),
        Op::Softmax(_) => c.of_first_input(),

        Op::BatchToSpace(op) => movement::batch_to_space(c, op),
        Op::BroadcastTo(_) => movement::broadcast_to(c),
        Op::Concat(op) => movement::concat(c, op),
        Op::DepthToSpace(op) => movement::depth_to_space(c, op),
        Op::Dropout(_) | Op::ExpandDims(_) | Op::Identity(_) | Op::Reshape(_) | Op::Squeeze(_) => {
            movement::reshape(c)
        }
        Op::DropoutTraining(_) => c.of_first_input(),
        Op::Gather(_) => gather::gather(c),
        Op::Pack(op) => movement::pack(c, op),
        Op::Pad(op) => movement::pad(c, op),
        Op::Pool2D(op) => {
            if op.kind == PoolKind::Max && !op.activation.is_none() {
                refuse!("a maximum with an activation of its own cannot be trained");
            }
            let plain = ops::Pool2D { activation: Activation::None, ..op.clone() };
            let received = c.before(op.activation)?;
            let gradient = c.gradient(plain.into(), &[0], received)?[0];
            c.only_first(gradient)
        }
        Op::Resize(_) => c.of_first_input(),
        Op::Reverse(op) => movement::reverse(c, op),
        Op::Slice(op) => movement::slice(c, op),
        Op::SpaceToBatch(op) => movement::space_to_batch(c, op),
        Op::SpaceToDepth(op) => movement::space_to_depth(c, op),
        Op::Split(op) => movement::split(c, op),
        Op::StridedSlice(op) => movement::strided_slice(c, op),
        Op::Tile(op) => movement::tile(c, op),
        Op::TopK(op) => gather::top_k(c, op),
        Op::Transpose(op) => movement::transpose(c, op),
        Op::Unpack(op) => movement::unpack(c, op),

        Op::CumSum(op) => reduce::cum_sum(c, op),
        Op::Reduce(op) => reduce::reduce(c, op),

        // Their results are no real numbers, or do not change with the operand but at steps.
        Op::ArgReduce(_)
        | Op::Compare(_)
        | Op::Logical(_)
        | Op::OneHot(_)
        | Op::Range(_)
        | Op::ShapeOf(_) => Ok(vec![None; c.node.inputs.len()]),

        Op::Dequantize(_) | Op::Quantize(_) => {
            refuse!("a quantized model cannot be trained: start from the model that it was made of")
        }
        Op::FakeQuant(_) => refuse!("its grid is fixed: train the model that it was made of"),
        Op::Gradient(_) => refuse!("a gradient is not differentiated again"),
        Op::If(_) | Op::Recurrent(_) | Op::While(_) => {
            refuse!("recurrent layers and loops cannot be trained yet; train with Keras, then convert")
        }
        Op::AssignState(_) | Op::ReadState(_) => refuse!("models with states cannot be trained"),
        Op::Custom(_) | Op::Fill(_) | Op::GatherNd(_) | Op::UpdateSlice(_) => {
            refuse!("it has no gradient here yet; freeze the layers before it, or train with Keras")
        }
    }
}

impl Chain<'_> {
    /// An input that must be there.
    pub(crate) fn input(&self, index: usize) -> Result<TensorId, Refusal> {
        match self.node.inputs.get(index).copied().flatten() {
            Some(id) => Ok(id),
            None => refuse!("input {index} is missing"),
        }
    }

    /// Whether the gradient of an input is asked for.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// The sizes of an input.
    pub(crate) fn input_shape(&self, index: usize) -> Result<Vec<usize>, Refusal> {
        self.builder.shape(self.input(index)?)
    }

    /// The gradient with respect to the first output.
    pub(crate) fn dy(&self) -> Result<TensorId, Refusal> {
        match self.received[0] {
            Some(id) => Ok(id),
            None => refuse!("only outputs other than the first are used"),
        }
    }

    /// The first output.
    pub(crate) fn y(&self) -> TensorId {
        self.node.outputs[0]
    }

    /// Adds a node of one output.
    pub(crate) fn emit(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId, Refusal> {
        let inputs: Vec<Option<TensorId>> = inputs.iter().copied().map(Some).collect();
        self.builder.emit(&self.node.name, op, &inputs)
    }

    /// Adds a function of two operands.
    pub(crate) fn binary(&mut self, kind: BinaryKind, a: TensorId, b: TensorId) -> Result<TensorId, Refusal> {
        self.emit(ops::Binary { kind, activation: Activation::None }, &[a, b])
    }

    /// Adds a product.
    pub(crate) fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Refusal> {
        self.binary(BinaryKind::Mul, a, b)
    }

    /// Adds a product with a number.
    pub(crate) fn scale(&mut self, a: TensorId, factor: f64) -> Result<TensorId, Refusal> {
        let factor = self.builder.number(factor, a)?;
        self.mul(a, factor)
    }

    /// Adds a function of one operand.
    pub(crate) fn unary(&mut self, kind: UnaryKind, a: TensorId) -> Result<TensorId, Refusal> {
        self.emit(Unary { kind }, &[a])
    }

    /// Adds a reshape, where the shape is another one.
    pub(crate) fn reshape(&mut self, a: TensorId, shape: &[usize]) -> Result<TensorId, Refusal> {
        if self.builder.shape(a)? == shape {
            return Ok(a);
        }
        let dims = shape.iter().map(|size| ReshapeDim::Fixed(*size)).collect();
        self.emit(Reshape::to(dims), &[a])
    }

    /// Adds a sum over axes, which stay with size 1.
    pub(crate) fn sum(&mut self, a: TensorId, axes: &[usize]) -> Result<TensorId, Refusal> {
        if axes.is_empty() {
            return Ok(a);
        }
        let axes = axes.iter().map(|axis| *axis as i32).collect();
        self.emit(Reduce { kind: ReduceKind::Sum, axes, keep_dims: true }, &[a])
    }

    /// Adds up what broadcasting a tensor of this shape has repeated.
    pub(crate) fn sum_to(&mut self, a: TensorId, shape: &[usize]) -> Result<TensorId, Refusal> {
        let own = self.builder.shape(a)?;
        let more = own.len() - shape.len();
        let repeated = |axis: &usize| *axis < more || (shape[*axis - more] == 1 && own[*axis] != 1);
        let axes: Vec<usize> = (0..own.len()).filter(repeated).collect();
        let sum = self.sum(a, &axes)?;
        self.reshape(sum, shape)
    }

    /// The gradient before an activation that the node has applied.
    pub(crate) fn before(&mut self, activation: Activation) -> Result<TensorId, Refusal> {
        let (y, dy) = (self.y(), self.dy()?);
        let kind = match activation {
            Activation::None => return Ok(dy),
            Activation::Relu => UnaryKind::Relu,
            Activation::Relu6 => UnaryKind::Relu6,
            Activation::ReluN1To1 => UnaryKind::ReluN1To1,
        };
        // They are differentiated by their results, so the operand lends its shape alone.
        let op = Gradient { of: Box::new(Unary { kind }.into()), inputs: vec![0] };
        self.emit(op, &[y, y, dy])
    }

    /// The gradients with respect to some inputs by one gradient operator, given that with respect to what
    /// `of` computes.
    pub(crate) fn gradient(
        &mut self,
        of: Op,
        wanted: &[usize],
        received: TensorId,
    ) -> Result<Vec<TensorId>, Refusal> {
        let op = Gradient { of: Box::new(of), inputs: wanted.to_vec() };
        let mut inputs = self.node.inputs.clone();
        inputs.extend(self.node.outputs.iter().copied().map(Some));
        inputs.push(Some(received));
        inputs.extend(vec![None; self.node.outputs.len() - 1]);
        self.builder.emit_all(&self.node.name, op, &inputs)
    }

    /// The gradient operator of this very node, with respect to its first input alone.
    pub(crate) fn of_first_input(&mut self) -> Gradients {
        let dy = self.dy()?;
        let gradient = self.gradient(self.node.op.clone(), &[0], dy)?[0];
        self.only_first(gradient)
    }

    /// The gradients with respect to inputs, of which only the first is asked for.
    pub(crate) fn only_first(&self, gradient: TensorId) -> Gradients {
        let mut gradients = vec![None; self.node.inputs.len()];
        gradients[0] = Some(gradient);
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests;
