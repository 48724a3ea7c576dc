//! Operands in the form that a node of another order takes.

use litesmith_graph::ops::{Dequantize, Gather, Reshape, ReshapeDim, Transpose};
use litesmith_graph::{Data, Dim, NodeId, Op, Shape, Tensor, TensorId};

use super::Rewriter;
use crate::constants;
use crate::layout::order::{Order, moved, permutation, permuted_shape};
use crate::layout::reorder::{Operand, reshape_to};

/// A form that an operand has been brought into.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Made {
    /// With this many axes, permuted.
    Permuted(Vec<usize>),
    /// A list with permuted entries.
    Entries(Vec<usize>),
    /// Weights of a convolution of single pixels.
    PixelWeights,
}

impl Rewriter<'_> {
    /// An input as a node of another order takes it.
    pub(super) fn operand(&mut self, id: TensorId, operand: Operand, from: Order, to: Order) -> TensorId {
        let fixed = self.graph[id].is_fixed();
        let (made, rank) = match operand {
            Operand::Same => return self.as_in_source(id),
            Operand::Ordered if !fixed => return self.read(id, to),
            Operand::Ordered => {
                let rank = self.graph[id].shape.rank();
                (Made::Permuted(permutation(rank, from, to)), rank)
            }
            Operand::Broadcast(rank) => (Made::Permuted(permutation(rank, from, to)), rank),
            Operand::Entries(rank) => (Made::Entries(permutation(rank, from, to)), rank),
            Operand::PixelWeights => (Made::PixelWeights, 4),
        };
        if let Some(known) = self.made.get(&(id, made.clone())) {
            return *known;
        }
        let new = match &made {
            Made::Permuted(by) if fixed => self.constant(id, rank, by),
            Made::Permuted(by) => self.vector(id, rank, by),
            Made::Entries(by) => self.entries(id, by),
            Made::PixelWeights => self.pixel_weights(id),
        };
        self.made.insert((id, made), new);
        new
    }

    /// A constant that is broadcast to `rank` axes, permuted as they are.
    fn constant(&mut self, id: TensorId, rank: usize, by: &[usize]) -> TensorId {
        let tensor = &self.graph[id];
        let added = rank - tensor.shape.rank();
        let padded = padded(&tensor.shape, rank);
        let (shape, dropped) = without_leading_ones(permuted_shape(by, &padded), added > 0);
        let data = padded.to_fixed().and_then(|sizes| {
            let data = constants::data(tensor, self.parameters)?;
            constants::transposed(tensor.dtype, data, &sizes, by)
        });
        let Some(data) = data else { return self.computed(id, &padded, by) };
        let mut new = Tensor::constant(&tensor.name, tensor.dtype, shape, data);
        new.quantization.clone_from(&tensor.quantization);
        if let Some(axis) = new.quantization.as_mut().and_then(|quantization| quantization.axis.as_mut()) {
            *axis = moved(by, *axis + added) - dropped;
        }
        self.graph.add_tensor(new)
    }

    /// A constant whose elements cannot be moved here: nodes do it.
    fn computed(&mut self, id: TensorId, padded: &Shape, by: &[usize]) -> TensorId {
        let mut source = id;
        if let (true, Some(reshape)) = (padded.rank() > self.graph[id].shape.rank(), reshape_to(padded)) {
            source = self.step(id, reshape, padded.clone());
        }
        let shape = permuted_shape(by, padded);
        self.step(source, Transpose::by(by), shape)
    }

    /// Elements along a single axis, that axis put into its new place among `rank` ones.
    fn vector(&mut self, id: TensorId, rank: usize, by: &[usize]) -> TensorId {
        let shape = permuted_shape(by, &padded(&self.source[id.index()], rank));
        let (shape, _) = without_leading_ones(shape, true);
        let (place, _) = self.anyhow(id);
        let open = Reshape::to(vec![ReshapeDim::Infer]);
        let reshape = reshape_to(&shape).unwrap_or(open);
        self.step(place, reshape, shape)
    }

    /// A list with an entry for each axis, which says the same of the permuted axes.
    fn entries(&mut self, id: TensorId, by: &[usize]) -> TensorId {
        let tensor = &self.graph[id];
        let data = constants::data(tensor, self.parameters);
        if let Some(rows) = data.map(|data| data.bytes()).filter(|bytes| bytes.len() % by.len() == 0) {
            let size = rows.len() / by.len();
            let moved: Vec<u8> =
                by.iter().flat_map(|axis| &rows[axis * size..(axis + 1) * size]).copied().collect();
            let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
            return self.graph.add_tensor(Tensor::constant(&name, dtype, shape, Data::from_vec(moved)));
        }
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let axes = self.axes(&name, by);
        let list = self.graph.add_tensor(Tensor::activation(
            &format!("{name}/reordered"),
            self.graph[id].dtype,
            shape,
        ));
        let layer = self.layer.clone();
        self.graph.add_node(&layer, Gather::default(), vec![Some(id), Some(axes)], vec![list]);
        list
    }

    /// Weights `[out, in]` as `[out, 1, 1, in]`.
    fn pixel_weights(&mut self, id: TensorId) -> TensorId {
        let dims = self.graph[id].shape.dims();
        let [out, depth] = [0, 1].map(|axis| dims.get(axis).cloned().unwrap_or(Dim::Unknown));
        let shape = Shape::from([out, 1.into(), 1.into(), depth]);
        if let Some(data) = constants::data(&self.graph[id], self.parameters).cloned() {
            let old = &self.graph[id];
            let mut new = Tensor::constant(&old.name, old.dtype, shape, data);
            new.quantization.clone_from(&old.quantization);
            if let Some(axis) = new.quantization.as_mut().and_then(|quantization| quantization.axis.as_mut())
            {
                *axis *= 3;
            }
            return self.graph.add_tensor(new);
        }
        // Weights that are stored in fewer bits stay constants behind their conversion.
        let stored = self.graph.producers()[id.index()].and_then(|node: NodeId| match &self.graph[node].op {
            Op::Dequantize(_) => self.graph[node].inputs[0].filter(|input| self.graph[*input].is_fixed()),
            _ => None,
        });
        match stored {
            Some(stored) => {
                let weights = self.pixel_weights(stored);
                self.step(weights, Dequantize::default(), shape)
            }
            None => {
                let reshape = reshape_to(&shape).unwrap_or_default();
                self.step(id, reshape, shape)
            }
        }
    }

    /// A new node of one input; its output has the input's name and type.
    fn step(&mut self, input: TensorId, op: impl Into<Op>, shape: Shape) -> TensorId {
        let op = op.into();
        let tensor = &self.graph[input];
        let name = format!("{}/{}", tensor.name, op.name().to_lowercase());
        let mut output = Tensor::activation(&name, tensor.dtype, shape);
        if let Op::Dequantize(_) = op {
            output.dtype = litesmith_graph::DType::F32;
        } else {
            output.quantization =
                tensor.quantization.clone().filter(|quantization| quantization.axis.is_none());
        }
        let output = self.graph.add_tensor(output);
        let layer = self.layer.clone();
        self.graph.add_node(&layer, op, vec![Some(input)], vec![output]);
        output
    }

    /// A constant list of axes.
    pub(super) fn axes(&mut self, name: &str, axes: &[usize]) -> TensorId {
        let axes: Vec<i32> = axes.iter().map(|axis| *axis as i32).collect();
        self.graph.add_tensor(Tensor::integers(&format!("{name}/axes"), &axes))
    }
}

/// The shape with axes of size 1 in front.
fn padded(shape: &Shape, rank: usize) -> Shape {
    let ones = std::iter::repeat_n(Dim::Fixed(1), rank.saturating_sub(shape.rank()));
    Shape(ones.chain(shape.0.iter().cloned()).collect())
}

/// The shape without the axes of size 1 in front of it, and how many those were.
fn without_leading_ones(mut shape: Shape, drop: bool) -> (Shape, usize) {
    let ones = shape.dims().iter().take_while(|dim| **dim == Dim::Fixed(1)).count();
    let dropped = if drop { ones.min(shape.rank() - 1) } else { 0 };
    shape.0.drain(..dropped);
    (shape, dropped)
}
