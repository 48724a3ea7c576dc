//! Channels last in the graph, channels first in ONNX. Operators on images and volumes read and give
//! their tensors channels first; a Transpose of the graph that only changes between the two layouts is
//! no node then, and one that the graph lacks is written where somebody needs it.

use litesmith_graph::{Node, Op, Shape, TensorId};

use super::Refusal;
use super::drafts::Attribute;
use super::graph::Frame;
use super::spelling::Spelling;
use super::values::Value;
use super::writer::Writer;

/// For each axis of a channels-first tensor of this rank, the axis of the channels-last one.
pub(super) fn to_first(rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    axes[1..].rotate_right(1);
    axes
}

/// The inverse of [`to_first`].
fn to_last(rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    axes[1..].rotate_left(1);
    axes
}

/// Whether the node only changes between the layouts, so that it is no node in ONNX. Its output is
/// written down.
pub(super) fn absorb<'a>(writer: &mut Writer<'a>, frame: &mut Frame<'a>, node: &Node) -> bool {
    let Op::Transpose(transpose) = &node.op else { return false };
    let (Some(Some(input)), Some(output)) = (node.inputs.first().copied(), node.outputs.first().copied())
    else {
        return false;
    };
    let rank = transpose.permutation.len();
    let graph = frame.graph;
    if !(3..=5).contains(&rank) || graph[input].quantization != graph[output].quantization {
        return false;
    }
    // For sequences one permutation is both.
    if transpose.permutation == to_first(rank)
        && let Some(first) = frame.first[input.index()]
    {
        frame.values[output.index()] = Some(first);
        writer.values.call(first, &graph[output].name);
        let facts = &frame.facts[output.index()];
        writer.values.describe(first, facts.dtype, facts.shape.clone());
        return true;
    }
    if transpose.permutation == to_last(rank) && writer.model.data(&graph[input]).is_none() {
        let Ok(first) = Spelling::of_graph(writer, frame).stored(input) else { return false };
        frame.first[output.index()] = Some(first);
        return true;
    }
    false
}

impl Spelling<'_, '_> {
    /// An image or a volume as [`Spelling::input`] gives it, channels first.
    pub fn image(&mut self, index: usize) -> Result<Value, Refusal> {
        let tensor = self.tensor(index)?;
        let first = match self.frame.first[tensor.index()] {
            Some(first) => first,
            None => {
                let last = self.stored(tensor)?;
                let first = self.turned(tensor, last, &to_first(self.rank(tensor)?));
                self.frame.first[tensor.index()] = Some(first);
                first
            }
        };
        self.real(tensor, first)
    }

    /// Gives an output as [`Spelling::output`] takes it, channels first.
    pub fn output_image(&mut self, index: usize, value: Value) -> Result<(), Refusal> {
        let tensor = self.output_tensor(index)?;
        let first = self.quantize(tensor, value)?;
        self.frame.first[tensor.index()] = Some(first);
        let order = to_first(self.rank(tensor)?);
        let facts = &self.frame.facts[tensor.index()];
        let shape = Shape(order.iter().map(|axis| facts.shape.0[*axis].clone()).collect());
        self.writer.values.describe(first, facts.dtype, shape);
        Ok(())
    }

    /// An input as [`Spelling::input`] gives it, channels first where it is written so and not otherwise,
    /// and the axis of its channels: for operators that work along them wherever they are.
    pub fn along_channels(&mut self, index: usize) -> Result<(Value, i64), Refusal> {
        let tensor = self.tensor(index)?;
        let place = tensor.index();
        if self.frame.values[place].is_none() && self.frame.first[place].is_some() {
            return Ok((self.image(index)?, 1));
        }
        Ok((self.input(index)?, -1))
    }

    /// Gives an output whose channels have the axis that [`Spelling::along_channels`] told.
    pub fn output_along_channels(&mut self, index: usize, value: Value, axis: i64) -> Result<(), Refusal> {
        if axis == 1 { self.output_image(index, value) } else { self.output(index, value) }
    }

    /// A tensor channels last, where only its channels-first form is written.
    pub fn channels_last(&mut self, tensor: TensorId, first: Value) -> Value {
        let rank = self.frame.facts[tensor.index()].shape.rank();
        let last = self.turned(tensor, first, &to_last(rank));
        let facts = &self.frame.facts[tensor.index()];
        self.writer.values.describe(last, facts.dtype, facts.shape.clone());
        self.writer.values.call(last, &self.frame.graph[tensor].name);
        self.frame.values[tensor.index()] = Some(last);
        last
    }

    /// A stored tensor with its axes in another order. Integers are moved as they are.
    pub fn turned(&mut self, tensor: TensorId, value: Value, order: &[usize]) -> Value {
        let name = &self.frame.graph[tensor].name;
        let turned =
            self.writer.shared(name, "Transpose", &[value], Some(("perm", Attribute::sizes(order))))[0];
        if let Some((dtype, shape)) = self.writer.values.get(value).kind.clone()
            && shape.rank() == order.len()
        {
            let shape = Shape(order.iter().map(|axis| shape.0[*axis].clone()).collect());
            self.writer.values.describe(turned, dtype, shape);
        }
        turned
    }

    /// Says that a value holds what a tensor stores, in another shape.
    pub fn describe_like(&mut self, tensor: TensorId, value: Value, shape: Shape) {
        self.writer.values.describe(value, self.frame.facts[tensor.index()].dtype, shape);
    }

    fn rank(&self, tensor: TensorId) -> Result<usize, Refusal> {
        match self.frame.facts[tensor.index()].shape.rank() {
            rank @ 3..=5 => Ok(rank),
            rank => Err(Refusal(format!("an image or volume has 3 to 5 dimensions, this one has {rank}"))),
        }
    }
}
