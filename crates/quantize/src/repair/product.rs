//! Nodes with weights, seen as products: an output is the sum over its taps of weight times input.

use std::borrow::Cow;

use litesmith_graph::ops::Padding;
use litesmith_graph::{DType, Graph, NodeId, Op, TensorId, TensorKind};

/// How the window of a product moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
}

/// A node with weights that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) node: NodeId,
    /// What the weights are multiplied with.
    pub(crate) input: TensorId,
    pub(crate) weights: TensorId,
    pub(crate) bias: Option<TensorId>,
    /// Channels of the output: rows of weights.
    pub(crate) rows: usize,
    /// Weights in a row.
    pub(crate) taps: usize,
    /// Channels of the input.
    pub(crate) channels: usize,
    /// Output channels for each input channel of a depthwise convolution, whose rows see one channel
    /// each; `None` for rows that see all channels of their group.
    pub(super) multiplier: Option<usize>,
    groups: usize,
    pub(super) window: Window,
}

const POINT: Window = Window { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], padding: Padding::Valid };

impl Product {
    /// The product that a node is, if its input is computed and its weights are constant.
    pub(crate) fn of(graph: &Graph, node: NodeId) -> Option<Product> {
        let place = |place: usize| graph[node].inputs.get(place).copied().flatten();
        let (input, weights, bias) = (place(0)?, place(1)?, place(2));
        let constant =
            |id: TensorId| graph[id].dtype == DType::F32 && matches!(graph[id].kind, TensorKind::Constant(_));
        if graph[input].dtype != DType::F32 || graph[input].is_fixed() || !constant(weights) {
            return None;
        }
        if bias.is_some_and(|bias| !constant(bias)) {
            return None;
        }
        let shape = graph[weights].shape.to_fixed()?;
        let (groups, multiplier, window) = match &graph[node].op {
            Op::FullyConnected(_) => (1, None, POINT),
            Op::Conv2D(op) => (op.groups, None, window(op.stride, op.dilation, op.padding, &shape)?),
            Op::DepthwiseConv2D(op) => {
                (1, Some(op.multiplier), window(op.stride, op.dilation, op.padding, &shape)?)
            }
            _ => return None,
        };
        let size = |axis: usize| shape.get(axis).copied();
        let (rows, depth) = match multiplier {
            Some(_) => (size(3)?, 1),
            None => (size(0)?, *shape.last()?),
        };
        let channels = match multiplier {
            Some(multiplier) => rows.checked_div(multiplier)?,
            None => depth.checked_mul(groups)?,
        };
        let taps = window.kernel[0].checked_mul(window.kernel[1])?.checked_mul(depth)?;
        let whole = rows > 0 && taps > 0 && channels > 0 && groups > 0 && rows.is_multiple_of(groups);
        let fits = graph[weights].shape.elements() == rows.checked_mul(taps);
        let product =
            Product { node, input, weights, bias, rows, taps, channels, multiplier, groups, window };
        (whole && fits).then_some(product)
    }

    /// All products of a graph.
    pub(crate) fn all(graph: &Graph) -> impl Iterator<Item = Product> + '_ {
        graph.node_ids().filter_map(|id| Product::of(graph, id))
    }

    /// Whether all rows see the same taps.
    pub(super) fn is_dense(&self) -> bool {
        self.multiplier.is_none() && self.groups == 1
    }

    /// Where a weight lies in memory.
    pub(super) fn index(&self, row: usize, tap: usize) -> usize {
        match self.multiplier {
            Some(_) => tap * self.rows + row,
            None => row * self.taps + tap,
        }
    }

    /// The weights of a row, of all that lie in memory.
    pub(super) fn row<'a>(&self, weights: &'a [f32], row: usize) -> Cow<'a, [f32]> {
        match self.multiplier {
            Some(_) => (0..self.taps).map(|tap| weights[self.index(row, tap)]).collect(),
            None => Cow::Borrowed(&weights[row * self.taps..][..self.taps]),
        }
    }

    /// The input channel that a weight is multiplied with.
    pub(super) fn channel(&self, row: usize, tap: usize) -> usize {
        match self.multiplier {
            Some(multiplier) => row / multiplier,
            None => {
                let depth = self.channels / self.groups;
                row / (self.rows / self.groups) * depth + tap % depth
            }
        }
    }

    /// The place in the kernel that a tap stands at.
    fn place(&self, tap: usize) -> usize {
        match self.multiplier {
            Some(_) => tap,
            None => tap / (self.channels / self.groups),
        }
    }

    /// For each tap, the share of outputs for which it lies inside of the image rather than on its
    /// padding; 1 where the size of images is free.
    pub(super) fn coverage(&self, graph: &Graph) -> Vec<f64> {
        let image: Option<Vec<usize>> =
            graph[self.input].shape.dims().iter().map(|dim| dim.fixed()).skip(1).take(2).collect();
        let Window { kernel, .. } = self.window;
        let inside = match image.as_deref() {
            Some([height, width]) if self.window != POINT => self.window.inside([*height, *width]),
            _ => [vec![1.0; kernel[0]], vec![1.0; kernel[1]]],
        };
        let at = |tap: usize| {
            let place = self.place(tap);
            inside[0][place / kernel[1]] * inside[1][place % kernel[1]]
        };
        (0..self.taps).map(at).collect()
    }

    /// The weights, in the order in which they lie in memory.
    pub(crate) fn weights<'a>(&self, graph: &'a Graph) -> Cow<'a, [f32]> {
        constant(graph, self.weights)
    }

    /// The bias, zeros where there is none.
    pub(crate) fn bias<'a>(&self, graph: &'a Graph) -> Cow<'a, [f32]> {
        match self.bias {
            Some(bias) => constant(graph, bias),
            None => vec![0.0; self.rows].into(),
        }
    }
}

fn constant(graph: &Graph, id: TensorId) -> Cow<'_, [f32]> {
    match &graph[id].kind {
        TensorKind::Constant(data) => data.elements::<f32>(),
        _ => Default::default(),
    }
}

fn window(stride: [usize; 2], dilation: [usize; 2], padding: Padding, weights: &[usize]) -> Option<Window> {
    let kernel = [*weights.get(1)?, *weights.get(2)?];
    (!kernel.contains(&0) && !stride.contains(&0)).then_some(Window { kernel, stride, dilation, padding })
}

impl Window {
    /// Rows and columns of padding before an image of this size, and how many outputs it gives.
    pub(super) fn over(&self, image: [usize; 2]) -> ([usize; 2], [usize; 2]) {
        let reach: [usize; 2] = std::array::from_fn(|i| (self.kernel[i] - 1) * self.dilation[i] + 1);
        let (before, after) = self.padding.amounts(image, reach, self.stride);
        let outputs = std::array::from_fn(|i| {
            let padded = image[i] + before[i] + after[i];
            if padded < reach[i] { 0 } else { (padded - reach[i]) / self.stride[i] + 1 }
        });
        (before, outputs)
    }

    /// For each row and each column of the kernel, the share of outputs that see it inside.
    fn inside(&self, image: [usize; 2]) -> [Vec<f64>; 2] {
        let (before, outputs) = self.over(image);
        std::array::from_fn(|i| {
            let is_inside = |tap: usize, output: usize| {
                let place = output * self.stride[i] + tap * self.dilation[i];
                place >= before[i] && place - before[i] < image[i]
            };
            let share = |tap: usize| {
                let inside = (0..outputs[i]).filter(|output| is_inside(tap, *output)).count();
                inside as f64 / outputs[i].max(1) as f64
            };
            (0..self.kernel[i]).map(share).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::text;

    #[test]
    fn taps_know_their_channel_and_how_often_they_lie_on_padding() {
        let model = text::parse(
            r#"graph main(%x: f32[1,4,4,2]) -> (%z) {
                 %w: f32[4,1,2,1] = random(1)
                 %v: f32[1,3,3,8] = random(2)
                 %y: f32[1,4,4,4] = Conv2D(%x, %w, _) {"padding":"same","groups":2}
                 %z: f32[1,4,4,8] = DepthwiseConv2D(%y, %v, _) {"padding":"same","multiplier":2}
               }"#,
        )
        .unwrap();
        let products: Vec<Product> = Product::all(model.main()).collect();
        let [conv, depthwise] = &products[..] else { panic!() };
        assert_eq!((conv.rows, conv.taps, conv.channels, conv.is_dense()), (4, 2, 2, false));
        assert_eq!((conv.channel(1, 1), conv.channel(2, 0)), (0, 1));
        assert_eq!(conv.coverage(model.main()), [1.0, 0.75]);
        assert_eq!((depthwise.rows, depthwise.taps, depthwise.channels), (8, 9, 4));
        assert_eq!((depthwise.channel(5, 3), depthwise.index(5, 3)), (2, 29));
        assert_eq!(depthwise.coverage(model.main())[..4], [0.5625, 0.75, 0.5625, 0.75]);
    }
}
