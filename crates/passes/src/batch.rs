//! Another batch: frees, or changes, a batch that a file has baked into its operators.

use litesmith_graph::infer::{infer_node, stated_facts};
use litesmith_graph::ops::{Concat, Reshape, ReshapeDim, ShapeOf, StridedSlice};
use litesmith_graph::{
    Dim, Facts, Graph, GraphId, Model, ModelError, Node, Op, Shape, Tensor, TensorId, TensorKind,
    infer_model, infer_shapes,
};
use thiserror::Error;

/// Why a model cannot take another batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// An input has no axes.
    #[error("input '{0}' is a scalar and has no batch")]
    Scalar(String),
    /// A layer has the old batch built in, in a way that cannot be changed.
    #[error("layer '{layer}' ({operator}) is made for a batch of {batch}: {reason}")]
    Layer {
        /// Name of the layer.
        layer: String,
        /// TFLite name of its operator.
        operator: String,
        /// The old batch.
        batch: usize,
        /// What stands in the way.
        reason: String,
    },
    /// The model does not fit itself.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Gives the first axis of every input this size and rewrites operators of the main graph that state
/// the old one: new shapes of reshapes, sizes of slices, output shapes of transposed convolutions.
///
/// # Errors
/// If a layer cannot be rewritten; it is named, and the model is not usable any more.
pub fn set_batch(model: &mut Model, size: &Dim) -> Result<(), BatchError> {
    let old = infer_shapes(model, GraphId(0), None)?;
    let graph = model.main_mut();
    let sizes = graph.inputs.iter().filter_map(|id| graph[*id].shape.dims().first()?.fixed());
    let batch = sizes.max().unwrap_or(1).max(1);
    for id in graph.inputs.clone() {
        let tensor = &mut graph[id];
        match tensor.shape.0.first_mut() {
            Some(first) => *first = size.clone(),
            None => return Err(BatchError::Scalar(tensor.name.clone())),
        }
    }
    let facts = graph_facts(model);
    let mut change = Change { batch, old, facts, nodes: Vec::new() };
    for node in std::mem::take(&mut model.main_mut().nodes) {
        change.node(model, node)?;
    }
    model.main_mut().nodes = change.nodes.into();
    Ok(infer_model(model)?)
}

fn graph_facts(model: &Model) -> Vec<Facts> {
    model.main().tensors.iter().map(|tensor| stated_facts(model, tensor)).collect()
}

/// Walks over the nodes in order, with what was known of each tensor before and what is known now.
struct Change {
    /// The old batch.
    batch: usize,
    old: Vec<Facts>,
    facts: Vec<Facts>,
    nodes: Vec<Node>,
}

impl Change {
    fn node(&mut self, model: &mut Model, mut node: Node) -> Result<(), BatchError> {
        if let Some(input) = node.inputs.first().copied().flatten() {
            match &node.op {
                Op::Reshape(_) => self.reshape(input, &mut node)?,
                Op::Slice(_) | Op::StridedSlice(_) => self.slice(input, &mut node),
                Op::TransposeConv2D(_) | Op::TransposeConv3D(_) => self.output_shape(model, &mut node)?,
                _ => {}
            }
        }
        self.push(model, node)
    }

    /// Adds a node and infers what it gives.
    fn push(&mut self, model: &mut Model, node: Node) -> Result<(), BatchError> {
        let mut graph = Graph::new(&model.main().name);
        std::mem::swap(&mut graph.tensors, &mut model.main_mut().tensors);
        graph.nodes.push(node);
        let inferred = infer_node(model, &graph, litesmith_graph::NodeId(0), &self.facts);
        std::mem::swap(&mut graph.tensors, &mut model.main_mut().tensors);
        let node = graph.nodes.remove(0);
        let outputs = inferred.map_err(|error| self.refusal(&node, &reason_of(error)))?;
        self.check_meeting(&node, &outputs)?;
        for (tensor, output) in node.outputs.iter().zip(outputs) {
            self.facts[tensor.index()] = output;
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Where operands meet element by element, a fixed one must not hold the batch back.
    fn check_meeting(&self, node: &Node, outputs: &[Facts]) -> Result<(), BatchError> {
        let meeting = matches!(
            node.op,
            Op::Binary(_) | Op::Compare(_) | Op::Concat(_) | Op::Logical(_) | Op::Pack(_) | Op::Select(_)
        );
        let (Some(id), Some(output)) = (node.outputs.first(), outputs.first()) else { return Ok(()) };
        let before = &self.old[id.index()].shape;
        let follows = output.shape.dims().first() != before.dims().first();
        if meeting && !follows && node.present_inputs().any(|input| self.follows(input)) {
            let reason = format!("it joins the batch with something whose shape is fixed, {before}");
            return Err(self.refusal(node, &reason));
        }
        Ok(())
    }

    /// Whether the first axis of a tensor is another one than before.
    fn follows(&self, id: TensorId) -> bool {
        let (old, new) = (&self.old[id.index()].shape, &self.facts[id.index()].shape);
        old.dims().first().is_some_and(|dim| dim.fixed().is_some())
            && old.dims().first() != new.dims().first()
    }

    /// The first axis of the new shape follows the batch; the others stay.
    fn reshape(&self, input: TensorId, node: &mut Node) -> Result<(), BatchError> {
        let computed = node.inputs.get(1).copied().flatten();
        let baked = computed.is_none_or(|shape| self.facts[shape.index()].integers().is_some());
        if !baked || !self.follows(input) {
            return Ok(());
        }
        let batch = self.batch;
        let Some(target) = self.old[node.outputs[0].index()].shape.to_fixed() else { return Ok(()) };
        let Some((first, rest)) = target.split_first().filter(|(first, _)| *first % batch == 0) else {
            return Err(
                self.refusal(node, &format!("its new shape {target:?} does not begin with the batch"))
            );
        };
        // Where the input's first axis holds more than the batch, only the rest tells what it becomes.
        let pure = self.old[input.index()].shape.dims().first() == Some(&Dim::Fixed(batch));
        let first = if pure && *first == batch { ReshapeDim::Copy(0) } else { ReshapeDim::Infer };
        let shape = std::iter::once(first).chain(rest.iter().map(|size| ReshapeDim::Fixed(*size)));
        node.op = Reshape::to(shape.collect()).into();
        node.inputs.truncate(1);
        Ok(())
    }

    /// A slice of the whole batch stays one.
    fn slice(&self, input: TensorId, node: &mut Node) {
        let Some(size) = self.old[input.index()].shape.dims().first().and_then(Dim::fixed) else { return };
        let whole = Some(&(size as i64));
        match &mut node.op {
            _ if !self.follows(input) => {}
            Op::Slice(op) if op.begin.first() == Some(&0) && op.size.first() == whole => {
                op.size[0] = -1;
            }
            Op::StridedSlice(op)
                if op.end.first() == whole
                    && op.strides.first().is_some_and(|stride| *stride > 0)
                    && op.shrink_axis_mask & 1 == 0 =>
            {
                op.end_mask |= 1;
            }
            _ => {}
        }
    }

    /// A constant shape of an output becomes `[batch of the input, the rest]`.
    fn output_shape(&mut self, model: &mut Model, node: &mut Node) -> Result<(), BatchError> {
        let (Some(Some(shape)), Some(Some(input))) = (node.inputs.first(), node.inputs.get(2)) else {
            return Ok(());
        };
        let known = self.facts[shape.index()].integers().filter(|sizes| !sizes.is_empty());
        let (Some(sizes), true) = (known, self.follows(*input)) else { return Ok(()) };
        let rest: Vec<i32> = sizes[1..].iter().map(|size| *size as i32).collect();
        let first = StridedSlice { begin: vec![0], end: vec![1], strides: vec![1], ..Default::default() };
        let rest = Tensor::integers(&format!("{}/output_shape/rest", node.name), &rest);
        let rest = self.add_tensor(model, rest);
        let sizes = self.step(model, node, "input_shape", ShapeOf::default().into(), vec![*input])?;
        let batch = self.step(model, node, "batch", first.into(), vec![sizes])?;
        let shape = self.step(model, node, "output_shape", Concat::default().into(), vec![batch, rest])?;
        node.inputs[0] = Some(shape);
        Ok(())
    }

    fn step(
        &mut self,
        model: &mut Model,
        of: &Node,
        name: &str,
        op: Op,
        inputs: Vec<TensorId>,
    ) -> Result<TensorId, BatchError> {
        let tensor =
            Tensor::activation(&format!("{}/{name}", of.name), litesmith_graph::DType::I32, Shape::default());
        let output = self.add_tensor(model, tensor);
        let inputs = inputs.into_iter().map(Some).collect();
        self.push(model, Node { name: of.name.clone(), op, inputs, outputs: vec![output] })?;
        Ok(output)
    }

    fn add_tensor(&mut self, model: &mut Model, tensor: Tensor) -> TensorId {
        let facts = stated_facts(model, &tensor);
        debug_assert!(!matches!(tensor.kind, TensorKind::Input));
        self.old.push(facts.clone());
        self.facts.push(facts);
        model.main_mut().add_tensor(tensor)
    }

    fn refusal(&self, node: &Node, reason: &str) -> BatchError {
        BatchError::Layer {
            layer: node.name.clone(),
            operator: node.op.builtin_name().to_owned(),
            batch: self.batch,
            reason: reason.to_owned(),
        }
    }
}

/// What a node complains of, without its name.
fn reason_of(error: ModelError) -> String {
    match error {
        ModelError::Node { reason, .. } => reason,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litesmith_graph::{text, validate};

    fn freed(text: &str) -> Result<Model, BatchError> {
        let mut model = text::parse(text).unwrap();
        set_batch(&mut model, &Dim::free("batch"))?;
        validate(&model)?;
        Ok(model)
    }

    fn output_shape(model: &Model) -> String {
        model.main()[model.main().outputs[0]].shape.to_string()
    }

    #[test]
    fn baked_reshapes_and_slices_follow_the_batch() {
        let model = freed(
            r#"graph main(%x: f32[1,4,4,3]) -> (%d) {
              %s: i32[2] = [1,48]
              %a: f32[1,48] = Reshape(%x, %s)
              %b: f32[1,24] = Slice(%a) {"begin":[0,8],"size":[1,24]}
              %c: f32[6,4] = Reshape(%b) {"shape":[6,4]}
              %d: f32[1,24] = Reshape(%c) {"shape":[1,24]}
            }"#,
        )
        .unwrap();
        assert_eq!(output_shape(&model), "[?,24]");
        let shapes: Vec<String> =
            model.main().nodes.iter().map(|node| model.main()[node.outputs[0]].shape.to_string()).collect();
        assert_eq!(shapes[..2], ["[batch,48]", "[batch,24]"]);
        let facts = infer_shapes(&model, GraphId(0), Some(&[Shape::from([5, 4, 4, 3])])).unwrap();
        assert_eq!(facts[model.main().outputs[0].index()].shape.to_string(), "[5,24]");
    }

    #[test]
    fn the_shape_of_a_transposed_convolution_is_computed() {
        let model = freed(
            r#"graph main(%x: f32[1,4,4,3]) -> (%y) {
              %s: i32[4] = [1,8,8,2]
              %w: f32[2,3,3,3] = random(1)
              %y: f32[1,8,8,2] = TransposeConv2D(%s, %w, %x) {"stride":[2,2],"padding":"same"}
            }"#,
        )
        .unwrap();
        assert_eq!(output_shape(&model), "[batch,8,8,2]");
        let names: Vec<&str> = model.main().nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["ShapeOf", "StridedSlice", "Concat", "TransposeConv2D"]);
    }

    #[test]
    fn what_cannot_follow_is_named() {
        let error = freed(
            r#"graph main(%x: f32[2,3]) -> (%y) {
              %t: f32[2,3] = random(1)
              %y: f32[4,3] = Concat(%x, %t) {"axis":1} # join
            }"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("'join' (CONCATENATION) is made for a batch of 2"), "{error}");
    }
}
