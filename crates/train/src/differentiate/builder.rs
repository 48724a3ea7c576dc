use litesmith_graph::operator::{Inputs, Number};
use litesmith_graph::{DType, Data, Facts, Graph, Op, Shape, Tensor, TensorId};

use crate::error::{Refusal, refuse};

/// A graph of fixed shapes to which nodes are added, with what is known of its tensors.
pub(crate) struct Builder {
    /// The graph.
    pub graph: Graph,
    /// Facts of each tensor.
    pub facts: Vec<Facts>,
}

impl Builder {
    /// The sizes of a tensor.
    pub(crate) fn shape(&self, id: TensorId) -> Result<Vec<usize>, Refusal> {
        match self.facts[id.index()].shape.to_fixed() {
            Some(shape) => Ok(shape),
            None => refuse!("'{}' has a shape that is not fixed", self.graph[id].name),
        }
    }

    /// The element type of a tensor.
    pub(crate) fn dtype(&self, id: TensorId) -> DType {
        self.facts[id.index()].dtype
    }

    /// Adds a node of one output.
    pub(crate) fn emit(
        &mut self,
        layer: &str,
        op: impl Into<Op>,
        inputs: &[Option<TensorId>],
    ) -> Result<TensorId, Refusal> {
        Ok(self.emit_all(layer, op, inputs)?[0])
    }

    /// Adds a node, and gives its outputs.
    pub(crate) fn emit_all(
        &mut self,
        layer: &str,
        op: impl Into<Op>,
        inputs: &[Option<TensorId>],
    ) -> Result<Vec<TensorId>, Refusal> {
        let op = op.into();
        let facts: Vec<Option<&Facts>> =
            inputs.iter().map(|id| id.map(|id| &self.facts[id.index()])).collect();
        let inferred = op.infer(Inputs(&facts))?;
        let mut outputs = Vec::with_capacity(inferred.len());
        for facts in inferred {
            let name = format!("{layer}/gradient/{}", self.graph.tensors.len());
            let tensor = Tensor::activation(&name, facts.dtype, facts.shape.clone());
            outputs.push(self.graph.add_tensor(tensor));
            self.facts.push(facts);
        }
        self.graph.add_node(layer, op, inputs.to_vec(), outputs.clone());
        Ok(outputs)
    }

    /// Adds an input of the graph.
    pub(crate) fn add_input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> TensorId {
        self.facts.push(Facts::new(dtype, Shape::fixed(shape)));
        self.graph.add_tensor(Tensor::input(name, dtype, Shape::fixed(shape)))
    }

    /// Adds a constant vector of sizes.
    pub(crate) fn sizes(&mut self, sizes: &[usize]) -> TensorId {
        let numbers = sizes.iter().map(|size| Number::Int(*size as i64)).collect();
        let shape = Shape::fixed(&[sizes.len()]);
        self.facts.push(Facts::new(DType::I32, shape.clone()).with_value(Some(numbers)));
        let data = Data::from_vec(sizes.iter().map(|size| *size as i32).collect::<Vec<_>>());
        self.graph.add_tensor(Tensor::constant("sizes", DType::I32, shape, data))
    }

    /// Adds a constant real number of the type of another tensor.
    pub(crate) fn number(&mut self, value: f64, like: TensorId) -> Result<TensorId, Refusal> {
        let data = match self.dtype(like) {
            DType::F32 => Data::from_vec(vec![value as f32]),
            DType::F64 => Data::from_vec(vec![value]),
            dtype => refuse!("numbers of {dtype} cannot be trained, only float32 can"),
        };
        let dtype = self.dtype(like);
        self.facts.push(Facts::new(dtype, Shape::default()));
        Ok(self.graph.add_tensor(Tensor::constant("number", dtype, Shape::default(), data)))
    }
}
