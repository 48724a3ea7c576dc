//! Pixels that nobody reads are not computed.
//!
//! A 1x1 convolution with a stride of 2 looks at every second row and column. Where only such
//! convolutions read a tensor, it is computed there alone: the node that computes it steps over the other
//! pixels, and its readers need not any more. What that node reads may have been read by others like it
//! alone in turn, and so on. An operand of an element-wise node that others read whole is cut down by a
//! strided slice.
//!
//! Every pixel that is left has the value that it had. Layers that quantize their input by its range
//! (dynamic range) see all pixels, so they count as readers of all of them.

use std::collections::HashMap;

use litesmith_graph::ops::{Padding, StridedSlice};
use litesmith_graph::{DType, Dim, Facts, Graph, Node, Op, Symbol, Tensor, TensorId, TensorKind};

/// Rows and columns from one pixel to the next.
type Step = [usize; 2];

/// To every pixel.
const EACH: Step = [1, 1];

/// Rewrites the main graph, of whose tensors this is known. Tensor ids stay; nodes do not keep their numbers.
pub(crate) fn skip_dead_pixels(graph: &mut Graph, facts: &[Facts]) {
    let images = Images { graph, facts, sizes: Sizes::of(graph, facts) };
    let steps = images.steps();
    if steps.iter().any(|step| *step != EACH) {
        let nodes = images.thinned(&steps);
        let sizes = images.sizes.of_image;
        rewrite(graph, facts, &sizes, &steps, nodes);
    }
}

/// A graph with what is known of its images.
struct Images<'a> {
    graph: &'a Graph,
    facts: &'a [Facts],
    sizes: Sizes,
}

/// The kernel of a convolution: how far it reaches, and its padding.
struct Kernel {
    reach: Step,
    before: [usize; 2],
    after: [usize; 2],
}

/// How a node uses one of its inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The pixel at the place of the output's pixel.
    Pixel,
    /// The pixels at a multiple of the output's.
    Every(Step),
    /// In another way.
    Whole,
}

impl Images<'_> {
    /// For each tensor, the step between the pixels that are to be computed.
    fn steps(&self) -> Vec<Step> {
        let mut read: Vec<Option<Step>> = vec![None; self.graph.tensors.len()];
        let ask = |read: &mut Vec<Option<Step>>, id: TensorId, step: Step| {
            let asked = &mut read[id.index()];
            *asked = Some(if asked.is_none_or(|asked| asked == step) { step } else { EACH });
        };
        self.graph.outputs.iter().for_each(|id| ask(&mut read, *id, EACH));
        let mut steps = vec![EACH; self.graph.tensors.len()];
        for node in self.graph.nodes.iter().rev() {
            let mut own = EACH;
            if let [output] = node.outputs[..] {
                own = read[output.index()].filter(|step| self.can_step(node, *step)).unwrap_or(EACH);
                steps[output.index()] = own;
            }
            for (place, input) in node.inputs.iter().enumerate() {
                let Some(input) = input else { continue };
                let step = match self.use_of(node, place) {
                    Use::Pixel => own,
                    Use::Every(step) => times(step, own),
                    Use::Whole => EACH,
                };
                ask(&mut read, *input, step);
            }
        }
        // Element-wise nodes alone save less than cutting their operands down costs.
        for node in &self.graph.nodes {
            let [output] = node.outputs[..] else { continue };
            let saves = node.present_inputs().any(|input| steps[input.index()] != EACH);
            if is_elementwise(&node.op) && !saves {
                steps[output.index()] = EACH;
            }
        }
        steps
    }

    fn use_of(&self, node: &Node, place: usize) -> Use {
        let Some(input) = node.inputs[place] else { return Use::Whole };
        match window_of(&node.op) {
            Some((stride, ..)) if place == 0 => match self.kernel(node) {
                Some(Kernel { reach: EACH, before: [0, 0], after: [0, 0] }) if !self.sees_all(node) => {
                    Use::Every(stride)
                }
                _ => Use::Whole,
            },
            None if is_elementwise(&node.op) => {
                let sizes = |id: TensorId| self.sizes.of_image[id.index()];
                let same = sizes(input).is_some() && sizes(input) == sizes(node.outputs[0]);
                if same { Use::Pixel } else { Use::Whole }
            }
            _ => Use::Whole,
        }
    }

    /// Whether a layer quantizes its input by its range.
    fn sees_all(&self, node: &Node) -> bool {
        let dtype = |place: usize| node.inputs[place].map(|id| self.facts[id.index()].dtype);
        dtype(0) == Some(DType::F32) && dtype(1) != Some(DType::F32)
    }

    /// Whether a node can compute pixels this step apart.
    fn can_step(&self, node: &Node, step: Step) -> bool {
        if let Some((stride, ..)) = window_of(&node.op) {
            let fits = [0, 1].iter().all(|i| stride[*i].checked_mul(step[*i]).is_some());
            return fits && self.kernel(node).is_some();
        }
        let per_pixel = |place: usize| self.use_of(node, place) == Use::Pixel;
        let places = 0..node.inputs.len();
        is_elementwise(&node.op)
            && places.clone().any(per_pixel)
            && places.into_iter().all(|place| per_pixel(place) || self.is_spread(node, place))
    }

    /// Whether an operand has one value for all pixels.
    fn is_spread(&self, node: &Node, place: usize) -> bool {
        let Some(input) = node.inputs[place] else { return true };
        match self.facts[input.index()].shape.dims() {
            [] | [_] => true,
            [_, height, width, _] => [height, width].iter().all(|dim| dim.fixed() == Some(1)),
            _ => false,
        }
    }

    /// The kernel of a convolution whose padding does not depend on the image.
    fn kernel(&self, node: &Node) -> Option<Kernel> {
        let (stride, dilation, padding) = window_of(&node.op)?;
        let [_, height, width, _] = self.facts[node.inputs.get(1)?.as_ref()?.index()].shape.dims() else {
            return None;
        };
        let kernel = [height.fixed()?, width.fixed()?];
        let mut reach = EACH;
        for axis in 0..2 {
            reach[axis] = kernel[axis].checked_sub(1)?.checked_mul(dilation[axis])?.checked_add(1)?;
        }
        let (before, after) = match padding {
            Padding::Valid => ([0; 2], [0; 2]),
            Padding::Explicit { before, after } => (before, after),
            Padding::Same if (0..2).all(|axis| reach[axis] == 1 || stride[axis] == 1) => {
                let total = reach.map(|reach| reach - 1);
                (total.map(|total| total / 2), total.map(|total| total - total / 2))
            }
            Padding::Same => return None,
        };
        Some(Kernel { reach, before, after })
    }

    /// The nodes, each with the stride and padding that its steps ask for.
    fn thinned(&self, steps: &[Step]) -> Vec<Node> {
        let thinned = |node: &Node| {
            let mut node = node.clone();
            let (Some(kernel), Some(Some(input))) = (self.kernel(&node), node.inputs.first()) else {
                return node;
            };
            let (given, own) = (steps[input.index()], steps[node.outputs[0].index()]);
            let Kernel { before, after, .. } = kernel;
            let explicit = Padding::Explicit { before, after };
            let (stride, padding) = match &mut node.op {
                Op::Conv2D(op) => (&mut op.stride, &mut op.padding),
                Op::DepthwiseConv2D(op) => (&mut op.stride, &mut op.padding),
                _ => return node,
            };
            *stride = [0, 1].map(|axis| stride[axis] * own[axis] / given[axis]);
            if own != EACH {
                *padding = if (before, after) == ([0; 2], [0; 2]) { Padding::Valid } else { explicit };
            }
            node
        };
        self.graph.nodes.iter().map(thinned).collect()
    }
}

/// Puts nodes in place, with slices before element-wise ones that compute fewer pixels than an operand
/// has.
fn rewrite(
    graph: &mut Graph,
    facts: &[Facts],
    sizes: &[Option<[usize; 2]>],
    steps: &[Step],
    nodes: Vec<Node>,
) {
    let mut slices: HashMap<(TensorId, Step), TensorId> = HashMap::new();
    graph.nodes.clear();
    for mut node in nodes {
        let own = if let [output] = node.outputs[..] { steps[output.index()] } else { EACH };
        if is_elementwise(&node.op) && own != EACH {
            let output = node.outputs[0];
            for input in node.inputs.iter_mut().flatten() {
                if steps[input.index()] == EACH && sizes[input.index()] == sizes[output.index()] {
                    let slice = slices.entry((*input, own));
                    *input = *slice.or_insert_with(|| add_slice(graph, *input, own, &node.name));
                }
            }
        }
        if own != EACH {
            graph[node.outputs[0]].shape = facts[node.outputs[0].index()].shape.clone();
            thin(&mut graph[node.outputs[0]], own);
        }
        graph.nodes.push(node);
    }
}

/// Adds a node that takes pixels this step apart.
fn add_slice(graph: &mut Graph, of: TensorId, step: Step, name: &str) -> TensorId {
    let mut tensor = Tensor { kind: TensorKind::Activation, ..graph[of].clone() };
    tensor.name = format!("{}/pixels", tensor.name);
    thin(&mut tensor, step);
    let output = graph.add_tensor(tensor);
    let strides = vec![1, step[0] as i64, step[1] as i64, 1];
    // The masks say that all axes are taken from their beginning to their end.
    let (begin, end, whole) = (vec![0; 4], vec![0; 4], 0b1111);
    let op = StridedSlice { begin, end, strides, begin_mask: whole, end_mask: whole, shrink_axis_mask: 0 };
    graph.add_node(name, op, vec![Some(of)], vec![output]);
    output
}

/// Takes pixels out of a tensor's shape.
fn thin(tensor: &mut Tensor, step: Step) {
    if let [_, height, width, _] = &mut tensor.shape.0[..] {
        for (dim, step) in [height, width].into_iter().zip(step) {
            if step != 1 {
                *dim = dim.map(|size| size.div_ceil(step));
            }
        }
    }
}

fn times(a: Step, b: Step) -> Step {
    [a[0] * b[0], a[1] * b[1]]
}

/// Stride, dilation and padding of a convolution.
fn window_of(op: &Op) -> Option<(Step, Step, Padding)> {
    match op {
        Op::Conv2D(op) => Some((op.stride, op.dilation, op.padding)),
        Op::DepthwiseConv2D(op) => Some((op.stride, op.dilation, op.padding)),
        _ => None,
    }
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Binary(_) | Op::Unary(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::Cast(_))
}

/// Heights and widths by number: what has the same number has the same size, also where it is not known
/// before the model runs.
struct Sizes {
    numbers: HashMap<Size, usize>,
    /// Of each tensor that is an image.
    of_image: Vec<Option<[usize; 2]>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Size {
    Fixed(usize),
    Free(Symbol),
    /// `(size + offset) / stride + 1`, rounded down, of the size of this number.
    Window {
        of: usize,
        offset: i64,
        stride: usize,
    },
    /// The size of an axis of a tensor.
    Own(TensorId, usize),
}

impl Sizes {
    fn of(graph: &Graph, facts: &[Facts]) -> Sizes {
        let mut sizes = Sizes { numbers: HashMap::new(), of_image: vec![None; graph.tensors.len()] };
        for id in &graph.inputs {
            sizes.add(*id, &facts[id.index()], [None; 2]);
        }
        for node in &graph.nodes {
            let derived = [0, 1].map(|axis| sizes.derived(node, facts, axis));
            for output in &node.outputs {
                sizes.add(*output, &facts[output.index()], derived);
            }
        }
        sizes
    }

    fn number(&mut self, size: Size) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(size).or_insert(next)
    }

    fn add(&mut self, id: TensorId, facts: &Facts, derived: [Option<usize>; 2]) {
        let [_, height, width, _] = facts.shape.dims() else { return };
        let number = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => Size::Fixed(*size),
            Dim::Free(symbol) => Size::Free(symbol.clone()),
            Dim::Unknown => Size::Own(id, axis),
        };
        let sizes = [(0, height), (1, width)].map(|(axis, dim)| match (dim, derived[axis]) {
            (Dim::Unknown, Some(known)) => known,
            _ => self.number(number((axis, dim))),
        });
        self.of_image[id.index()] = Some(sizes);
    }

    /// The number of an output's height or width, as far as it follows from the first input's.
    fn derived(&mut self, node: &Node, facts: &[Facts], axis: usize) -> Option<usize> {
        let image = |place: usize| {
            let id = node.inputs.get(place)?.as_ref()?;
            self.of_image[id.index()].map(|sizes| sizes[axis])
        };
        let of = image(0);
        let (kernel, stride, dilation, padding) = match &node.op {
            Op::Pool2D(op) => (op.kernel[axis], op.stride, EACH, op.padding),
            Op::Conv2D(_) | Op::DepthwiseConv2D(_) => {
                let (stride, dilation, padding) = window_of(&node.op)?;
                let weights = node.inputs.get(1)?.as_ref()?;
                let kernel = facts[weights.index()].shape.dims().get(1 + axis)?.fixed()?;
                (kernel, stride, dilation, padding)
            }
            Op::Binary(_) => {
                let spread =
                    |place: usize| node.inputs[place].is_some_and(|id| facts[id.index()].shape.rank() <= 1);
                return match (of, image(1)) {
                    (Some(a), Some(b)) if a == b => Some(a),
                    (Some(a), None) if spread(1) => Some(a),
                    (None, Some(b)) if spread(0) => Some(b),
                    _ => None,
                };
            }
            op if is_elementwise(op) => return of,
            _ => return None,
        };
        let reach = kernel.checked_sub(1)?.checked_mul(dilation[axis])?.checked_add(1)?;
        let reach = i64::try_from(reach).ok()?;
        let offset = match padding {
            Padding::Same => -1,
            Padding::Valid => -reach,
            Padding::Explicit { before, after } => {
                i64::try_from(before[axis].checked_add(after[axis])?).ok()?.checked_sub(reach)?
            }
        };
        match (of?, offset, stride[axis]) {
            (of, -1, 1) => Some(of),
            (of, offset, stride) => Some(self.number(Size::Window { of, offset, stride })),
        }
    }
}

#[cfg(test)]
mod tests;
