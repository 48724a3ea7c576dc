//! The layout pass: images kept channels first where the target wants it, or channels last.
//!
//! The graph's operators are channels last and stay so. What changes is in which order of axes the
//! tensors *between* them are kept: a sequence as `[batch, channels, time]`, an image as `[batch,
//! channels, height, width]`, a volume as `[batch, channels, depth, height, width]`. The model computes
//! the same before and after, number for number; only sums over axes of float tensors are added up in
//! another order where their axes lie differently in memory.
//!
//! # What the result of [`channels_first`] looks like
//!
//! - A **layout-bound** node (`Conv2D`, `DepthwiseConv2D`, `TransposeConv2D`, `Conv3D`,
//!   `TransposeConv3D`, `Pool2D`, `Resize`, `SpaceToDepth`, `DepthToSpace`) stands in a **bracket**: its
//!   image (input 0; of transposed convolutions input 2) is computed by a `Transpose` `[0,2,3,1]`
//!   (`[0,2,3,4,1]` for volumes), its output is read by a `Transpose` `[0,3,1,2]` (`[0,4,1,2,3]`), and
//!   nobody else reads the two tensors between the three, which are consecutive nodes of the same name.
//!   Weights, biases, output shapes and attributes are those of the channels-last operator. There is no
//!   layout-bound node without its bracket.
//! - **`Softmax`, `L2Norm`, `BatchNorm`** of three to five axes stand in such a bracket too (`[0,2,1]` on
//!   both sides for sequences) where that saves transpositions: they are one node over axis 1. Else they
//!   are as they were.
//! - **`FullyConnected`** of an image's pixels (four axes in and out; float weights on float, or int8 on int8)
//!   is a bracketed `Conv2D` of single pixels where that saves transpositions, weights `[out, 1, 1, in]`.
//! - **Element-wise nodes, `Concat`, `Split`, `Pad`, `Slice`, `StridedSlice`, `Tile`, `Reverse`, `CumSum`,
//!   `Gather`, `Reduce`, `ArgReduce`, `Pack`, `Unpack`, `OneHot`, `Squeeze`, `ExpandDims`, `Fill`,
//!   `BroadcastTo`, `UpdateSlice`** and reshapes of places alone stand without brackets, their axes
//!   renumbered and their lists permuted; constants that they read are permuted, `[C]` being `[C,1,1]`.
//! - What is left keeps the source's axes. Where a tensor is computed in one order and read in the other,
//!   one `Transpose` stands in between, shared by all readers; a `Reshape`, where there is just one
//!   channel or one place. Sizes of a tensor (`ShapeOf`) are brought into the source's order by a `Gather`.
//! - The number of these transpositions is the smallest that there is for that choice of nodes; of equally
//!   few, those that move the fewest bytes. Transpositions of the source take part: one that turns one
//!   order into the other vanishes, others take what they can of their neighbours.
//!
//! [`absorb_padding`](crate::absorb_padding) goes before, while convolutions still see what pads for them.
//! Passes that cancel transpositions would undo brackets behind an input's transposition: none of them
//! may follow.
//!
//! # How it is made
//!
//! [`native`] tells the order of each tensor in the source, [`roles`] (with [`reorder`]) what each node
//! can do with orders, [`choose`] finds the cheapest choice as a [`cut`], [`rewrite`] builds the nodes.

mod choose;
mod cut;
mod native;
mod order;
mod reorder;
mod rewrite;
mod roles;
#[cfg(test)]
mod tests;

use litesmith_graph::infer::called_graphs;
use litesmith_graph::{Graph, Model, ModelError, Shape, TensorId, infer_model};

use order::Order;
use roles::Roles;

/// In which order a model takes and gives images and volumes (tensors of four and five axes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Interface {
    /// As its source does.
    #[default]
    Source,
    /// `[batch, channels, …]`: inputs and outputs in another order change their shapes.
    ChannelsFirst,
    /// `[batch, …, channels]`: inputs and outputs in another order change their shapes.
    ChannelsLast,
}

/// Orders that nodes and callers insist on.
#[derive(Clone, Copy)]
struct Pinned {
    /// That of layout-bound nodes.
    preferred: Order,
    /// That of inputs and outputs, unless they stay as they are.
    interface: Option<Order>,
}

impl Pinned {
    /// The order of an input or output.
    fn order(&self, graph: &Graph, native: &[Order], id: TensorId) -> Order {
        self.asked(&graph[id].shape, native[id.index()])
    }

    fn asked(&self, shape: &Shape, native: Order) -> Order {
        let image = (4..=5).contains(&shape.rank());
        self.interface.filter(|_| image).unwrap_or(native)
    }
}

/// Keeps images channels first around layout-bound nodes, each in a bracket of transpositions.
///
/// # Errors
/// If the model does not fit itself.
pub fn channels_first(model: &mut Model, interface: Interface) -> Result<(), ModelError> {
    arrange(model, Order::First, interface)
}

/// Keeps images channels last around layout-bound nodes: what a source does to be channels first vanishes.
///
/// # Errors
/// If the model does not fit itself.
pub fn channels_last(model: &mut Model, interface: Interface) -> Result<(), ModelError> {
    arrange(model, Order::Last, interface)
}

fn arrange(model: &mut Model, preferred: Order, interface: Interface) -> Result<(), ModelError> {
    infer_model(model)?;
    let called = called_graphs(model);
    let asked = match interface {
        Interface::Source => None,
        Interface::ChannelsFirst => Some(Order::First),
        Interface::ChannelsLast => Some(Order::Last),
    };
    let Model { graphs, parameters, .. } = model;
    for (graph, called) in graphs.iter_mut().zip(called) {
        // Callers and called graphs must agree: between them nothing changes.
        let pinned = Pinned { preferred, interface: asked.filter(|_| !called) };
        let native = native::native_orders(graph);
        let roles = Roles::new(graph, native, preferred == Order::First);
        let chosen = choose::choose(graph, &roles, pinned);
        rewrite::rewrite(graph, parameters, &roles, &chosen, pinned);
    }
    infer_model(model)
}
