//! Adds nodes to a graph in the name of a layer.

use litesmith_graph::{DType, Data, Facts, Graph, Inputs, Op, Shape, Tensor, TensorId};

/// A graph that grows by what a layer becomes.
pub(super) struct Writer<'a> {
    pub graph: &'a mut Graph,
    layer: String,
    prefix: String,
}

impl<'a> Writer<'a> {
    /// Nodes will have the name of `layer`, tensors will start with `prefix`.
    pub fn new(graph: &'a mut Graph, layer: &str, prefix: &str) -> Writer<'a> {
        Writer { graph, layer: layer.to_owned(), prefix: prefix.to_owned() }
    }

    /// The same for a part of the layer, whose tensors are told apart by a name of its own.
    pub fn part(&mut self, name: &str) -> Writer<'_> {
        let prefix = self.name(name);
        Writer { graph: self.graph, layer: self.layer.clone(), prefix }
    }

    /// A writer of the same layer for another graph.
    pub fn elsewhere<'b>(&self, graph: &'b mut Graph, name: &str) -> Writer<'b> {
        Writer { graph, layer: self.layer.clone(), prefix: self.name(name) }
    }

    /// The name of a tensor or graph of the layer.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}/{suffix}", self.prefix)
    }

    /// A node of one output, which has the shape and type that it infers.
    pub fn push(&mut self, suffix: &str, op: impl Into<Op>, inputs: &[TensorId]) -> TensorId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.push_some(suffix, op, &inputs)[0]
    }

    /// A node some of whose inputs may be left out, with all its outputs: at least one.
    pub fn push_some(
        &mut self,
        suffix: &str,
        op: impl Into<Op>,
        inputs: &[Option<TensorId>],
    ) -> Vec<TensorId> {
        let op = op.into();
        let facts = |id: TensorId| Facts::new(self.graph[id].dtype, self.graph[id].shape.clone());
        let given: Vec<Option<Facts>> = inputs.iter().map(|input| input.map(facts)).collect();
        let present: Vec<_> = given.iter().map(Option::as_ref).collect();
        // What does not infer is found by the validation that follows every pass.
        let outputs = op.infer(Inputs(&present)).unwrap_or_default();
        let unknown = || Facts::new(DType::F32, Shape::default());
        let outputs = if outputs.is_empty() { vec![unknown()] } else { outputs };
        self.push_as(suffix, op, inputs, outputs)
    }

    /// A node whose outputs have these types and shapes.
    pub fn push_as(
        &mut self,
        suffix: &str,
        op: impl Into<Op>,
        inputs: &[Option<TensorId>],
        outputs: Vec<Facts>,
    ) -> Vec<TensorId> {
        let mut ids = Vec::with_capacity(outputs.len());
        for (place, facts) in outputs.into_iter().enumerate() {
            let name = self.name(suffix);
            let name = if place == 0 { name } else { format!("{name}:{place}") };
            ids.push(self.graph.add_tensor(Tensor::activation(&name, facts.dtype, facts.shape)));
        }
        self.graph.add_node(&self.layer, op, inputs.to_vec(), ids.clone());
        ids
    }

    /// A constant number.
    pub fn number(&mut self, suffix: &str, value: f32) -> TensorId {
        self.floats(suffix, &[], vec![value])
    }

    /// Constant numbers.
    pub fn floats(&mut self, suffix: &str, shape: &[usize], values: Vec<f32>) -> TensorId {
        let name = self.name(suffix);
        self.graph.add_tensor(Tensor::floats(&name, shape, values))
    }

    /// A constant integer.
    pub fn integer(&mut self, suffix: &str, value: i32) -> TensorId {
        let (name, data) = (self.name(suffix), Data::from_vec(vec![value]));
        self.graph.add_tensor(Tensor::constant(&name, DType::I32, Shape::default(), data))
    }

    /// An input of the graph that is given a tensor like this one.
    pub fn input(&mut self, suffix: &str, facts: &Facts) -> TensorId {
        let name = self.name(suffix);
        self.graph.add_tensor(Tensor::input(&name, facts.dtype, facts.shape.clone()))
    }
}
