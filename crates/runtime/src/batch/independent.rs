//! Whether the samples of a batch go through a graph side by side. That is shown, not assumed: operators
//! that may mix samples are not on the list, and the others are held against the shapes of the whole
//! batch and of a part of it.

use litesmith_graph::ops::{Gather, StridedSlice};
use litesmith_graph::{Facts, Graph, Node, Op, TensorId};

use crate::plan::{Mode, known, needed, reads};

/// A graph whose shapes are known for a batch and for a part of it.
pub(super) struct Parts<'a> {
    pub graph: &'a Graph,
    /// What is known of each tensor for all samples.
    pub whole: &'a [Facts],
    /// The same for some of them.
    pub part: &'a [Facts],
    /// Number of all samples.
    pub samples: usize,
    /// Number of some.
    pub size: usize,
}

/// What a tensor is to its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same for all of them.
    Fixed,
    /// Made of them: behind one another along the first axis, each of the same number of rows.
    Rows,
    /// Anything else.
    Other,
}

impl Parts<'_> {
    /// Whether every output, for all samples together, is made of what it is for parts of this size.
    pub(super) fn are_independent(&self) -> bool {
        let graph = self.graph;
        let needed = needed(graph, self.whole, Mode::Inference);
        let start = |id| if self.is_fixed(id) { Kind::Fixed } else { Kind::Other };
        let mut kinds: Vec<Kind> = graph.tensor_ids().map(start).collect();
        for input in graph.inputs.iter().filter(|input| needed[input.index()]) {
            if self.lead(*input) != Some(self.samples) || !self.is_made_of_samples(*input) {
                return false;
            }
            kinds[input.index()] = Kind::Rows;
        }
        for node in &graph.nodes {
            let computed = |id: &TensorId| {
                let of_shapes = known(&self.whole[id.index()]).is_some();
                needed[id.index()] && !of_shapes && kinds[id.index()] != Kind::Fixed
            };
            if !node.outputs.iter().any(computed) && !node.op.has_effect() {
                continue;
            }
            let apart = NodeOfParts { parts: self, kinds: &kinds, node }.keeps_samples_apart();
            if !apart || !node.outputs.iter().all(|output| self.is_made_of_samples(*output)) {
                return false;
            }
            node.outputs.iter().for_each(|output| kinds[output.index()] = Kind::Rows);
        }
        graph.outputs.iter().all(|output| kinds[output.index()] == Kind::Rows)
    }

    /// Whether a tensor has the same elements for all samples and for some.
    fn is_fixed(&self, id: TensorId) -> bool {
        let value = |facts: &[Facts]| known(&facts[id.index()]).and(facts[id.index()].integers());
        self.graph[id].is_fixed()
            || value(self.whole).is_some_and(|value_of_all| Some(value_of_all) == value(self.part))
    }

    /// Whether a tensor has as many elements for each sample, and rows of them for each, as its shapes tell.
    fn is_made_of_samples(&self, id: TensorId) -> bool {
        let [whole, part] = [self.whole, self.part].map(|facts| &facts[id.index()]);
        let (Some(all), Some(some)) = (whole.shape.to_fixed(), part.shape.to_fixed()) else { return false };
        let ([rows, inner @ ..], [fewer, same @ ..]) = (&all[..], &some[..]) else { return false };
        let bytes = |facts: &Facts| facts.dtype.bytes(facts.shape.elements()?);
        let (Some(of_all), Some(of_some)) = (bytes(whole), bytes(part)) else { return false };
        let in_proportion = |all: usize, some: usize| {
            all > 0
                && all.is_multiple_of(self.samples)
                && (all / self.samples).checked_mul(self.size) == Some(some)
        };
        inner == same && in_proportion(*rows, *fewer) && in_proportion(of_all, of_some)
    }

    fn dims(&self, id: TensorId) -> Vec<usize> {
        self.whole[id.index()].shape.to_fixed().unwrap_or_default()
    }

    fn lead(&self, id: TensorId) -> Option<usize> {
        self.dims(id).first().copied()
    }
}

/// A node all of whose inputs have been looked at.
struct NodeOfParts<'a> {
    parts: &'a Parts<'a>,
    kinds: &'a [Kind],
    node: &'a Node,
}

impl NodeOfParts<'_> {
    /// Whether each row of its outputs follows from the same row of its inputs (of one that changes the
    /// number of rows, each sample from the same sample), given that its outputs are made of samples.
    fn keeps_samples_apart(&self) -> bool {
        let Some(output) = self.node.outputs.first().copied() else { return false };
        let same_rows = self.rows_equal(output);
        let first = self.is_rows(0);
        let rank = self.input(0).map_or(0, |id| self.parts.dims(id).len());
        // An axis that is not the first one.
        let inner = |axis: i32, rank: usize| i64::from(axis) + if axis < 0 { rank as i64 } else { 0 } > 0;
        match &self.node.op {
            Op::Cast(_)
            | Op::DepthToSpace(_)
            | Op::Dequantize(_)
            | Op::Dropout(_)
            | Op::FakeQuant(_)
            | Op::Identity(_)
            | Op::Pool2D(_)
            | Op::Quantize(_)
            | Op::SpaceToDepth(_)
            | Op::Unary(_)
            // What these read beside their first input are sizes, which the shapes of the outputs tell.
            | Op::BroadcastTo(_)
            | Op::Resize(_)
            | Op::Tile(_) => first && same_rows,
            // The order of elements stays, so those of a sample stay together.
            Op::ExpandDims(_) | Op::Reshape(_) | Op::Squeeze(_) => first,
            Op::L2Norm(_) | Op::Softmax(_) | Op::TopK(_) => first && same_rows && rank > 1,
            Op::BatchNorm(_) => first && same_rows && rank > 1 && self.others_are_fixed(0),
            Op::Conv2D(_) | Op::Conv3D(_) | Op::DepthwiseConv2D(_) => {
                first && same_rows && self.others_are_fixed(0)
            }
            Op::TransposeConv2D(_) | Op::TransposeConv3D(_) => {
                self.is_rows(2) && same_rows && self.is_known(0) && self.is_fixed(1) && self.is_fixed(3)
            }
            Op::FullyConnected(_) => first && self.others_are_fixed(0) && self.samples_are_rows_of_weights(),
            Op::Recurrent(_) => {
                let weights = (1..4).all(|index| self.is_fixed(index));
                let rest = (4..7).all(|index| self.input(index).is_none() || self.is_rows(index));
                first && same_rows && weights && rest
            }
            Op::ArgReduce(op) => first && same_rows && inner(op.axis, rank),
            Op::CumSum(op) => first && same_rows && inner(op.axis, rank),
            Op::Reduce(op) => first && same_rows && op.axes.iter().all(|axis| inner(*axis, rank)),
            Op::Reverse(op) => first && same_rows && op.axes.iter().all(|axis| inner(*axis, rank)),
            Op::Split(op) => first && same_rows && inner(op.axis, rank),
            Op::Unpack(op) => first && same_rows && inner(op.axis, rank),
            Op::Concat(op) => self.all_rows() && same_rows && inner(op.axis, rank),
            Op::Pack(op) => self.all_rows() && same_rows && inner(op.axis, rank + 1),
            Op::Pad(op) => first && same_rows && op.amounts.first() == Some(&[0, 0]),
            Op::Transpose(op) => first && same_rows && op.permutation.first() == Some(&0),
            // As many rows as there are: all of them.
            Op::Slice(_) => first && same_rows && self.is_known(1) && self.is_known(2),
            Op::StridedSlice(op) => first && same_rows && self.goes_forward(op),
            Op::OneHot(op) => {
                first && same_rows && op.axis != 0 && self.is_fixed(1) && self.is_fixed(2)
            }
            Op::Gather(op) => same_rows && self.gathers_within_rows(op, rank),
            Op::Binary(_) | Op::Compare(_) | Op::Logical(_) | Op::Prelu(_) | Op::Select(_) => {
                self.meet_row_by_row(output)
            }
            Op::BatchMatMul(_) => self.parts.dims(output).len() > 2 && self.meet_row_by_row(output),
            _ => false,
        }
    }

    fn input(&self, index: usize) -> Option<TensorId> {
        self.node.inputs.get(index).copied().flatten()
    }

    fn kind(&self, id: TensorId) -> Kind {
        self.kinds[id.index()]
    }

    fn is_rows(&self, index: usize) -> bool {
        self.input(index).is_some_and(|id| self.kind(id) == Kind::Rows)
    }

    /// Whether an input is fixed or left out.
    fn is_fixed(&self, index: usize) -> bool {
        self.input(index).is_none_or(|id| self.kind(id) == Kind::Fixed)
    }

    /// Whether an input is left out or follows from shapes, so that what it does shows in those of outputs.
    fn is_known(&self, index: usize) -> bool {
        let integers = |facts: &[Facts], id: TensorId| facts[id.index()].integers().is_some();
        self.input(index).is_none_or(|id| integers(self.parts.whole, id) && integers(self.parts.part, id))
    }

    fn others_are_fixed(&self, index: usize) -> bool {
        (0..self.node.inputs.len()).all(|other| other == index || self.is_fixed(other))
    }

    fn all_rows(&self) -> bool {
        self.node.present_inputs().all(|id| self.kind(id) == Kind::Rows)
    }

    /// Whether outputs have as many rows as the inputs that are made of rows and looked at.
    fn rows_equal(&self, output: TensorId) -> bool {
        let rows = self.parts.lead(output);
        let read = self.node.inputs.iter().enumerate().filter(|(index, _)| reads(self.node, *index));
        let mut rows_read =
            read.filter_map(|(_, input)| *input).filter(|input| self.kind(*input) == Kind::Rows);
        rows_read.all(|input| self.parts.lead(input) == rows)
            && self.node.outputs.iter().all(|other| self.parts.lead(*other) == rows)
    }

    /// Whether operands that broadcast do so within rows, of which at least one is made.
    fn meet_row_by_row(&self, output: TensorId) -> bool {
        let (rank, rows) = (self.parts.dims(output).len(), self.parts.lead(output));
        let fits = |id: TensorId| {
            let dims = self.parts.dims(id);
            match self.kind(id) {
                Kind::Rows => dims.len() == rank && dims.first().copied() == rows,
                Kind::Fixed => dims.len() < rank || dims.first() == Some(&1),
                Kind::Other => false,
            }
        };
        self.node.present_inputs().all(fits)
            && self.node.present_inputs().any(|id| self.kind(id) == Kind::Rows)
    }

    /// Whether no row that the weights are multiplied with reaches into two samples.
    fn samples_are_rows_of_weights(&self) -> bool {
        let (Some(input), Some(weights)) = (self.input(0), self.input(1)) else { return false };
        let elements: Option<usize> =
            self.parts.dims(input).iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let depth = self.parts.dims(weights).get(1).copied().filter(|depth| *depth > 0);
        elements.zip(depth).is_some_and(|(all, depth)| (all / self.parts.samples).is_multiple_of(depth))
    }

    /// Whether rows are taken one by one; as there are as many as before, none is left out.
    fn goes_forward(&self, op: &StridedSlice) -> bool {
        let given = |index: usize| self.input(index).and_then(|id| self.parts.whole[id.index()].integers());
        let strides = if self.node.inputs.len() > 1 { given(3) } else { Some(op.strides.clone()) };
        (1..4).all(|index| self.is_known(index))
            && strides.is_some_and(|strides| strides.first().is_none_or(|stride| *stride == 1))
    }

    /// Whether an index picks from a table that all samples share, or from its own sample.
    fn gathers_within_rows(&self, op: &Gather, rank: usize) -> bool {
        let axis = i64::from(op.axis) + if op.axis < 0 { rank as i64 } else { 0 };
        match (self.is_rows(0), self.is_rows(1)) {
            (false, true) => self.is_fixed(0) && axis == 0 && op.batch_dims == 0,
            (true, false) => self.is_fixed(1) && axis > 0 && op.batch_dims == 0,
            (true, true) => axis > 0 && op.batch_dims > 0,
            (false, false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;
    use litesmith_graph::text;

    /// Whether the samples of a graph of this body stay apart; `%y` is what it gives for `%x`.
    fn are_independent(x: &str, body: &str) -> bool {
        let model = text::parse(&format!("graph main(%x: f32[batch{x}]) -> (%y) {{\n{body}\n}}")).unwrap();
        let inner: Vec<usize> =
            x.split(',').filter(|size| !size.is_empty()).map(|size| size.parse().unwrap()).collect();
        let (samples, size) = (6, 2);
        let facts = |batch: usize| plan::facts(&model, &[[&[batch], inner.as_slice()].concat()]);
        let (Ok(whole), Ok(part)) = (facts(samples), facts(size)) else { return false };
        Parts { graph: model.main(), whole: &whole, part: &part, samples, size }.are_independent()
    }

    #[test]
    fn layers_and_functions_keep_samples_apart() {
        for (x, body) in [
            (",4", "%y: f32[?,4] = Unary(%x)"),
            (",4", "%y: f32[?,4] = Softmax(%x)"),
            (",4", r#"%y: f32[?] = Reduce(%x) {"axes":[-1]}"#),
            (",2,2,3", r#"%y: f32[?,3] = Reduce(%x) {"axes":[1,2]}"#),
            (",4", "%c: f32[4] = splat(1)\n%y: f32[?,4] = Binary(%x, %c)"),
            (",4", "%c: f32[1,4] = splat(1)\n%y: f32[?,4] = Binary(%c, %x)"),
            (",2,2,3", "%w: f32[5,1,1,3] = splat(1)\n%y: f32[?,2,2,5] = Conv2D(%x, %w)"),
            (",2,6", "%w: f32[5,6] = splat(1)\n%y: f32[?,5] = FullyConnected(%x, %w)"),
            (",2,6", "%w: f32[5,12] = splat(1)\n%y: f32[?,5] = FullyConnected(%x, %w)"),
            (",2,6", r#"%y: f32[?,6] = Reshape(%x) {"shape":["infer",6]}"#),
            (",2,6", r#"%y: f32[?,6,2] = Transpose(%x) {"permutation":[0,2,1]}"#),
            (",4", r#"%y: f32[?,8] = Concat(%x, %x) {"axis":-1}"#),
            (",4", r#"%y: f32[?,2,4] = Pack(%x, %x) {"axis":1}"#),
            (",4", r#"%y: f32[?,2] = Slice(%x) {"begin":[0,1],"size":[-1,2]}"#),
            (",2,3", "%w: f32[3,5] = splat(1)\n%y: f32[?,2,5] = BatchMatMul(%x, %w)"),
            (",2,2", "%y: f32[?,2,2] = BatchMatMul(%x, %x)"),
            // Sizes that follow the batch are no numbers to compute with, but tell shapes.
            (",2,3", "%s: i32[3] = ShapeOf(%x)\n%y: f32[?,2,3] = Reshape(%x, %s)"),
        ] {
            assert!(are_independent(x, body), "{body}");
        }
    }

    #[test]
    fn what_may_mix_samples_is_found() {
        for (x, body) in [
            ("", "%y: f32[?] = Softmax(%x)"),
            (",4", r#"%y: f32[1,4] = Reduce(%x) {"axes":[0],"keep_dims":true}"#),
            (
                ",4",
                "%m: f32[1,4] = Reduce(%x) {\"axes\":[0],\"keep_dims\":true}\n%y: f32[?,4] = Binary(%x, %m)",
            ),
            (",4", r#"%y: f32[?,4] = Reverse(%x) {"axes":[0]}"#),
            (",4", r#"%y: f32[?,4] = CumSum(%x) {"axis":0}"#),
            (",4", r#"%y: f32[?,4] = Concat(%x, %x) {"axis":0}"#),
            (",4", r#"%y: f32[2,?,4] = Pack(%x, %x) {"axis":0}"#),
            (",4", r#"%y: f32[?,4] = Tile(%x) {"multiples":[2,1]}"#),
            (",4", r#"%y: f32[?,4] = Pad(%x) {"amounts":[[1,0],[0,0]]}"#),
            (
                ",4",
                r#"%y: f32[?,4] = StridedSlice(%x) {"strides":[-1],"begin":[0],"end":[0],"begin_mask":1,"end_mask":1}"#,
            ),
            (",4", r#"%y: f32[1,4] = Slice(%x) {"begin":[1,0],"size":[1,-1]}"#),
            (",4", r#"%y: f32[4,?] = Reshape(%x) {"shape":[4,"infer"]}"#),
            (",4", r#"%y: f32[1,?,4] = ExpandDims(%x) {"axis":0}"#),
            (",4", r#"%y: f32[4,?] = Transpose(%x) {"permutation":[1,0]}"#),
            (",4,4,1", r#"%y: f32[?,2,2,1] = SpaceToBatch(%x) {"block":[2,2],"padding":[[0,0],[0,0]]}"#),
            (
                ",2,3",
                "%r: f32[?,2] = Reshape(%x) {\"shape\":[\"infer\",2]}\n%w: f32[5,6] = splat(1)\n%f: f32[?,5] = FullyConnected(%r, %w)\n%y: f32[?,5] = Reverse(%f) {\"axes\":[0]}",
            ),
            // Each row of the weights' takes two samples.
            (",3", "%w: f32[5,6] = splat(1)\n%y: f32[?,5] = FullyConnected(%x, %w)"),
            (",3", r#"%y: f32[?,?] = BatchMatMul(%x, %x) {"adjoint_b":true}"#),
            // Divides by the size of the batch.
            (
                ",4",
                "%s: i32[2] = ShapeOf(%x)\n%f: f32[2] = Cast(%s) {\"to\":\"f32\"}\n%n: f32[1] = Slice(%f) {\"begin\":[0],\"size\":[1]}\n%y: f32[?,4] = Binary(%x, %n)",
            ),
        ] {
            assert!(!are_independent(x, body), "{body}");
        }
    }
}
