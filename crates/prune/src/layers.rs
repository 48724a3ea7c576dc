//! The layers of a model that have weights to prune, and how to get at these.

use std::collections::HashSet;

use half::f16;
use litesmith_graph::{
    DType, Data, Facts, Graph, GraphId, Model, Node, NodeId, Op, ParameterId, TensorId, TensorKind,
    infer_graphs,
};
use litesmith_kernels::ThreadPool;
use litesmith_train::Arrangement;

use crate::error::PruneError;
use crate::mask::Matrix;

/// A layer with weights.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// TFLite's name of its operator.
    pub operator: String,
    /// How its weights are arranged once they are `[out, taps, in]`.
    pub matrix: Matrix,
    /// What it computes, where it is a convolution or matrix product.
    pub product: Option<Product>,
    /// Whether it is pruned where nobody says anything of it.
    pub usual: bool,
    /// All that recipes know it by.
    pub(crate) names: Vec<String>,
    home: Home,
    dtype: DType,
    arrangement: Arrangement,
}

/// The height and width that images are taken to have where the model leaves them free.
const FREE: usize = 28;

/// What a convolution or matrix product computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Height and width of the kernel; 1 for a matrix product.
    pub kernel: [usize; 2],
    /// Step between outputs.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Height and width of the input; rows and 1 for a matrix product. 28 stands for sizes that are free.
    pub image: [usize; 2],
    /// Rows and columns of zeros before and after the image.
    pub padding: [[usize; 2]; 2],
    /// Whether it is a matrix product rather than a convolution.
    pub dense: bool,
}

/// Where weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Home {
    Parameter(ParameterId),
    Constant(GraphId, TensorId),
}

/// A weight of a node: which input, and which of its axes become `[out, taps, in]`.
struct Place {
    input: usize,
    /// Axes in the order `[out, taps…, in]`.
    order: Vec<usize>,
    usual: bool,
}

/// All layers of a model that have weights which can be pruned, in the order of its nodes. Weights that several
/// layers share are those of the first.
///
/// # Errors
/// If the model contradicts itself.
pub fn layers(model: &Model) -> Result<Vec<Layer>, PruneError> {
    let facts = infer_graphs(model)?;
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for (index, graph) in model.graphs.iter().enumerate() {
        let finder =
            Finder { graph, id: GraphId(index as u32), facts: &facts[index], producers: graph.producers() };
        for node in &graph.nodes {
            for place in places(node, |input| finder.rank(node, input)) {
                found.extend(finder.layer(node, &place).filter(|layer| known.insert(layer.home)));
            }
        }
    }
    Ok(found)
}

/// The weights of a node. TensorFlow's registry (`prune_registry.py`) lists the same: kernels of convolutions,
/// dense and recurrent layers and embeddings, but no depthwise kernels, which a recipe can ask for.
fn places(node: &Node, rank: impl Fn(usize) -> usize) -> Vec<Place> {
    let usual = |input, order: &[usize]| vec![Place { input, order: order.to_vec(), usual: true }];
    match &node.op {
        Op::Conv2D(_) | Op::TransposeConv2D(_) => usual(1, &[0, 1, 2, 3]),
        Op::Conv3D(_) => usual(1, &[4, 0, 1, 2, 3]),
        Op::TransposeConv3D(_) => usual(1, &[3, 0, 1, 2, 4]),
        Op::FullyConnected(_) => usual(1, &[0, 1]),
        Op::DepthwiseConv2D(_) => vec![Place { input: 1, order: vec![3, 1, 2, 0], usual: false }],
        Op::BatchMatMul(op) => match (rank(1), op.adjoint_b) {
            (2, true) => usual(1, &[0, 1]),
            (2, false) => usual(1, &[1, 0]),
            _ => Vec::new(),
        },
        Op::Recurrent(_) => [1, 2].iter().flat_map(|input| usual(*input, &[1, 0])).collect(),
        Op::Gather(op) if op.batch_dims == 0 && rank(0) == 2 => usual(0, &[0, 1]),
        _ => Vec::new(),
    }
}

struct Finder<'a> {
    graph: &'a Graph,
    id: GraphId,
    facts: &'a [Facts],
    producers: Vec<Option<NodeId>>,
}

impl Finder<'_> {
    fn rank(&self, node: &Node, input: usize) -> usize {
        let id = node.inputs.get(input).copied().flatten();
        id.map_or(0, |id| self.facts[id.index()].shape.rank())
    }

    /// The layer with these weights, if they are fixed and of a type that can be pruned.
    fn layer(&self, node: &Node, place: &Place) -> Option<Layer> {
        let weights = node.inputs.get(place.input).copied().flatten()?;
        let (tensor, steps) = self.origin(weights)?;
        let stored = &self.graph[tensor];
        let home = match &stored.kind {
            TensorKind::Parameter(id) => Home::Parameter(*id),
            // Tables of numbers that are looked up are no weights where the source has none of its own.
            TensorKind::Constant(_) if !matches!(node.op, Op::Gather(_)) => Home::Constant(self.id, tensor),
            _ => return None,
        };
        let prunable = stored.dtype.is_float() || stored.dtype == DType::I8 && stored.quantization.is_some();
        if !prunable || stored.sparsity.is_some() {
            return None;
        }
        let mut arrangement = Arrangement::default();
        for step in steps.iter().rev() {
            let input = self.graph[*step].inputs[0]?;
            arrangement =
                arrangement.then(&self.graph[*step].op, &self.facts[input.index()].shape.to_fixed()?);
        }
        let shape = self.facts[weights.index()].shape.to_fixed()?;
        let sizes: Vec<usize> =
            place.order.iter().map(|axis| shape.get(*axis).copied()).collect::<Option<_>>()?;
        if sizes.len() != shape.len() {
            return None;
        }
        let identity: Vec<usize> = (0..shape.len()).collect();
        if place.order != identity {
            let turn = litesmith_graph::ops::Transpose { permutation: place.order.clone() };
            arrangement = arrangement.then(&turn.into(), &shape);
        }
        let (rows, columns) = (*sizes.first()?, *sizes.last()?);
        let taps = sizes[1..sizes.len() - 1].iter().product();
        let outputs = node.outputs.iter().map(|id| self.graph[*id].name.clone());
        Some(Layer {
            name: node.name.clone(),
            operator: node.op.builtin_name().to_owned(),
            matrix: Matrix { rows, taps, columns },
            product: self.product(node, &shape),
            usual: place.usual,
            names: std::iter::once(node.name.clone()).chain(outputs).collect(),
            home,
            dtype: stored.dtype,
            arrangement,
        })
    }

    /// The fixed tensor that a tensor is an arrangement of, and the nodes on the way back to it.
    fn origin(&self, mut tensor: TensorId) -> Option<(TensorId, Vec<NodeId>)> {
        let mut steps = Vec::new();
        while !self.graph[tensor].is_fixed() {
            let id = self.producers[tensor.index()]?;
            let node = &self.graph[id];
            // Half-precision weights are widened where they are used.
            let widens = matches!(node.op, Op::Dequantize(_) | Op::Cast(_)) && steps.is_empty();
            if !(Arrangement::takes(&node.op) || widens && self.halves(node)) {
                return None;
            }
            steps.push(id);
            tensor = (*node.inputs.first()?)?;
        }
        Some((tensor, steps))
    }

    fn halves(&self, node: &Node) -> bool {
        let input = node.inputs.first().copied().flatten();
        input.is_some_and(|id| self.graph[id].dtype == DType::F16 && self.graph[id].quantization.is_none())
    }

    fn product(&self, node: &Node, weights: &[usize]) -> Option<Product> {
        let sizes = |id: Option<TensorId>, axes: std::ops::Range<usize>, free: usize| -> Option<Vec<usize>> {
            let dims = self.facts[id?.index()].shape.dims().get(axes)?;
            Some(dims.iter().map(|dim| dim.fixed().unwrap_or(free)).collect())
        };
        match &node.op {
            Op::Conv2D(op) => {
                let image: [usize; 2] = sizes(node.inputs[0], 1..3, FREE)?.try_into().ok()?;
                let kernel = [*weights.get(1)?, *weights.get(2)?];
                let reach = [0, 1].map(|axis| (kernel[axis].max(1) - 1) * op.dilation[axis] + 1);
                let (before, after) = op.padding.amounts(image, reach, op.stride);
                Some(Product {
                    kernel,
                    stride: op.stride,
                    dilation: op.dilation,
                    groups: op.groups,
                    image,
                    padding: [before, after],
                    dense: false,
                })
            }
            Op::FullyConnected(_) | Op::BatchMatMul(_) => {
                let output = node.outputs.first().copied();
                let rank = self.facts[output?.index()].shape.rank();
                let rows = sizes(output, 1..rank.saturating_sub(1).max(1), 1)?.iter().product();
                let (one, none) = ([1, 1], [[0, 0]; 2]);
                let image = [rows, 1];
                Some(Product {
                    kernel: one,
                    stride: one,
                    dilation: one,
                    groups: 1,
                    image,
                    padding: none,
                    dense: true,
                })
            }
            _ => None,
        }
    }
}

impl Layer {
    /// The parameter that its weights are, where the source keeps them as one.
    #[must_use]
    pub fn parameter(&self) -> Option<ParameterId> {
        match self.home {
            Home::Parameter(id) => Some(id),
            Home::Constant(..) => None,
        }
    }

    /// Whether its weights are integers.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        self.dtype.is_integer()
    }

    /// Its weights as real numbers, `[out, taps, in]`.
    #[must_use]
    pub fn values(&self, model: &Model, pool: &ThreadPool) -> Vec<f32> {
        self.arrange(self.stored(model), pool)
    }

    /// Elements in the source's layout, as `[out, taps, in]`.
    #[must_use]
    pub fn arrange<T: Copy + Default + Send + Sync>(&self, elements: Vec<T>, pool: &ThreadPool) -> Vec<T> {
        self.arrangement.apply(pool, elements)
    }

    /// Elements as `[out, taps, in]`, in the source's layout.
    #[must_use]
    pub fn in_source<T: Copy + Default + Send + Sync>(&self, elements: Vec<T>, pool: &ThreadPool) -> Vec<T> {
        self.arrangement.undo(pool, elements)
    }

    fn stored(&self, model: &Model) -> Vec<f32> {
        let (data, quantization) = match self.home {
            Home::Parameter(id) => (model.parameter(id).map(|own| &own.data), None),
            Home::Constant(graph, id) => {
                let tensor = &model.graphs[graph.0 as usize][id];
                (model.data(tensor), tensor.quantization.as_ref().map(|own| (own, &tensor.shape)))
            }
        };
        let Some(data) = data else { return Vec::new() };
        if let Some(values) = data.floats(self.dtype) {
            return values.into_owned();
        }
        let (Some(integers), Some((quantization, shape))) = (data.integers(self.dtype), quantization) else {
            return Vec::new();
        };
        // Elements of one slice of the quantized axis, and how many slices there are.
        let sizes = shape.to_fixed().unwrap_or_default();
        let axis = quantization.axis.unwrap_or(0);
        let inner: usize = sizes.iter().skip(axis + 1).product::<usize>().max(1);
        let count = quantization.scales.len().max(1);
        let real = |(place, integer): (usize, &i64)| {
            let slice = place / inner % count;
            let zero = quantization.zero_points.get(slice).copied().unwrap_or(0);
            (integer - i64::from(zero)) as f32 * quantization.scales.get(slice).copied().unwrap_or(1.0)
        };
        integers.iter().enumerate().map(real).collect()
    }

    /// Makes the weights zero that do not stay; `mask` is `[out, taps, in]`.
    pub fn clear(&self, model: &mut Model, mask: Vec<bool>, pool: &ThreadPool) {
        let mask = self.in_source(mask, pool);
        let (data, zero) = match self.home {
            Home::Parameter(id) => match model.parameters.get_mut(id.0 as usize) {
                Some(parameter) => (&mut parameter.data, None),
                None => return,
            },
            Home::Constant(graph, id) => {
                let tensor = &mut model.graphs[graph.0 as usize][id];
                // Weights of one zero point; those of several are symmetric, all zero points are 0.
                let zero = tensor.quantization.as_ref().and_then(|own| own.zero_points.first().copied());
                match &mut tensor.kind {
                    TensorKind::Constant(data) => (data, zero),
                    _ => return,
                }
            }
        };
        match self.dtype {
            DType::F32 => fill(data, &mask, 0.0f32),
            DType::F64 => fill(data, &mask, 0.0f64),
            DType::F16 => fill(data, &mask, f16::ZERO),
            _ => fill(data, &mask, zero.unwrap_or(0) as i8),
        }
    }
}

fn fill<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(data: &mut Data, mask: &[bool], zero: T) {
    data.change(|elements: &mut [T]| {
        elements.iter_mut().zip(mask).filter(|(_, kept)| !**kept).for_each(|(element, _)| *element = zero);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::text;

    #[test]
    fn weights_are_found_behind_what_arranges_them() {
        let model = text::parse(
            "parameter @kernel: f32[1,1,2,3] trainable = [1,2,3,4,5,6]
             graph main(%x: f32[1,4,4,2]) -> (%y) {
               %w: f32[3,1,1,2] = Transpose(@kernel) {\"permutation\":[3,0,1,2]}
               %y: f32[1,4,4,3] = Conv2D(%x, %w, _) # conv
             }",
        )
        .unwrap();
        let found = layers(&model).unwrap();
        assert_eq!(found.len(), 1);
        let pool = ThreadPool::new(1);
        assert_eq!((found[0].name.as_str(), found[0].operator.as_str()), ("conv", "CONV_2D"));
        assert_eq!(found[0].matrix, Matrix { rows: 3, taps: 1, columns: 2 });
        assert_eq!(found[0].product.unwrap().image, [4, 4]);
        assert_eq!(found[0].values(&model, &pool), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let mut pruned = model.clone();
        found[0].clear(&mut pruned, vec![true, true, false, true, false, false], &pool);
        let kernel = pruned.parameters[0].data.elements::<f32>().into_owned();
        assert_eq!(kernel, [1.0, 0.0, 0.0, 4.0, 5.0, 0.0]);
    }

    #[test]
    fn integers_are_weighed_by_their_scales() {
        let mut model = text::parse(
            "graph main(%x: f32[1,2]) -> (%y) {
               %w: i8[2,2] = [1,-2,3,4]
               %y: f32[1,2] = FullyConnected(%x, %w, _) # dense
             }",
        )
        .unwrap();
        let weights = model.main().nodes[0].inputs[1].unwrap();
        let quantization = litesmith_graph::Quantization::per_channel(vec![10.0, 1.0], 0);
        model.main_mut()[weights].quantization = Some(quantization);
        let found = layers(&model).unwrap();
        let pool = ThreadPool::new(1);
        assert_eq!(found[0].values(&model, &pool), [10.0, -20.0, 3.0, 4.0]);
        found[0].clear(&mut model, vec![true, true, false, true], &pool);
        assert_eq!(found[0].values(&model, &pool), [10.0, -20.0, 0.0, 4.0]);
    }
}
