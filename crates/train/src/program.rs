//! From a model to the graph of one step of training: forward, backward, and which input and output of
//! it is what.

use litesmith_graph::ops::{
    Activation, BatchNormTraining, DropoutTraining, FakeQuantTraining, RangeRule, Unary, UnaryKind,
};
use litesmith_graph::{
    DType, Dim, Graph, GraphId, Model, NodeId, Op, ParameterId, Shape, Tensor, TensorId, TensorKind,
    infer_shapes,
};
use litesmith_passes::prepare_training;
use litesmith_runtime::Roles;

use crate::arrangement::Arrangement;
use crate::differentiate::{Builder, differentiate};
use crate::error::{TrainError, Unsupported};
use crate::loss::LastActivation;

/// What a step of training computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepOptions {
    /// Number of samples.
    pub batch: usize,
    /// What the step is for.
    pub phase: Phase,
    /// Whether batch normalization uses the statistics of the batch, and learns them; else the running
    /// ones, which stay.
    pub batch_statistics: bool,
    /// What tells the random numbers of one training from those of another.
    pub seed: u64,
    /// What each output of the model is for.
    pub outputs: Vec<Use>,
}

/// What an output of the model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// For nothing: it is not computed.
    None,
    /// For a loss, and the activation that the loss undoes: it is cut off where it comes last.
    Loss(Option<LastActivation>),
}

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// To learn.
    Train,
    /// To see what the model gives; there is no backward half.
    Evaluate,
}

/// The graph of a step.
pub(crate) struct Program {
    /// Its model.
    pub model: Model,
    /// Which of its inputs and outputs are what.
    pub roles: Roles,
    /// Whether the last given input is the number of the step, an int64.
    pub counts_steps: bool,
    /// The parameter of the trained model that each variable is, and how its elements are arranged.
    pub variables: Vec<(ParameterId, Arrangement)>,
    /// What each output behind the seeded ones is.
    pub results: Vec<Outcome>,
    /// What the seeded outputs are.
    pub predictions: Vec<Prediction>,
}

/// A seeded output of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prediction {
    /// Its place among the model's outputs.
    pub output: usize,
    /// The activation that was cut off.
    pub cut: Option<LastActivation>,
}

/// What an output of a step is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The loss' gradient with respect to the variable of this index.
    Gradient(usize),
    /// A statistic of the batch, of which the parameter keeps a moving average with this share of the
    /// old one.
    Statistic(ParameterId, f32),
    /// What the parameter is from now on.
    Value(ParameterId),
}

impl Outcome {
    /// The parameter whose gradient it is.
    pub(crate) fn gradient_of(&self, program: &Program) -> Option<ParameterId> {
        match self {
            Outcome::Gradient(variable) => Some(program.variables[*variable].0),
            Outcome::Statistic(..) | Outcome::Value(_) => None,
        }
    }
}

impl Program {
    /// The step of a model.
    ///
    /// # Errors
    /// If the model has an operator that cannot be trained, or sizes that are not known.
    pub(crate) fn new(model: &Model, options: &StepOptions) -> Result<Program, TrainError> {
        let mut drafting = Drafting::new(model, options)?;
        drafting.cut_activations();
        if options.phase == Phase::Train {
            drafting.rewrite_nodes();
        } else {
            drafting.keep_ranges();
        }
        let variables = drafting.arrange_variables();
        drafting.finish(variables)
    }
}

/// A program in the making.
struct Drafting<'a> {
    source: &'a Model,
    options: &'a StepOptions,
    graph: Graph,
    /// Outputs of the graph that update parameters.
    updates: Vec<(TensorId, Outcome)>,
    /// The number of the step, where something random asks for it.
    step: Option<TensorId>,
    predictions: Vec<Prediction>,
}

impl<'a> Drafting<'a> {
    fn new(source: &'a Model, options: &'a StepOptions) -> Result<Drafting<'a>, TrainError> {
        let mut graph = source.main().clone();
        let used = options.outputs.iter().enumerate().filter(|(_, used)| **used != Use::None);
        let predictions: Vec<Prediction> = used.map(|(output, _)| Prediction { output, cut: None }).collect();
        graph.outputs = predictions.iter().map(|prediction| graph.outputs[prediction.output]).collect();
        graph.remove_dead();
        let calling = graph.nodes.iter().filter(|node| !node.op.calls().is_empty() || node.op.has_effect());
        let refused: Vec<Unsupported> = calling
            .map(|node| Unsupported {
                layer: node.name.clone(),
                operator: node.op.builtin_name().to_owned(),
                reason: "loops, branches and states cannot be trained".into(),
            })
            .collect();
        if !refused.is_empty() {
            return Err(TrainError::Unsupported(refused));
        }
        Ok(Drafting { source, options, graph, updates: Vec::new(), step: None, predictions })
    }

    fn parameter(&self, tensor: Option<TensorId>) -> Option<ParameterId> {
        match self.graph[tensor?].kind {
            TensorKind::Parameter(id) => Some(id),
            _ => None,
        }
    }

    /// Cuts off activations that losses undo, where they come last and have no other use.
    fn cut_activations(&mut self) {
        for place in 0..self.predictions.len() {
            if let Use::Loss(Some(undone)) = self.options.outputs[self.predictions[place].output] {
                self.cut_activation(place, undone);
            }
        }
        self.graph.remove_dead();
    }

    fn cut_activation(&mut self, place: usize, undone: LastActivation) {
        let output = self.graph.outputs[place];
        let read = self.graph.nodes.iter().any(|node| node.present_inputs().any(|id| id == output));
        let shared = self.graph.outputs.iter().filter(|id| **id == output).count() > 1;
        let Some(last) = self.graph.nodes.iter().find(|node| node.outputs[0] == output) else { return };
        if read || shared {
            return;
        }
        let found = match &last.op {
            Op::Softmax(op) if op.beta == 1.0 && !op.log => LastActivation::Softmax,
            Op::Unary(Unary { kind: UnaryKind::Logistic }) => LastActivation::Sigmoid,
            _ => return,
        };
        if let (true, Some(input)) = (undone == found, last.inputs[0]) {
            self.graph.outputs[place] = input;
            self.predictions[place].cut = Some(found);
        }
    }

    /// Gives nodes that act differently in training their operators of training.
    fn rewrite_nodes(&mut self) {
        for id in self.graph.node_ids() {
            match self.graph[id].op.clone() {
                Op::BatchNorm(op) if self.learns_statistics(id) => {
                    self.use_batch_statistics(id, op.epsilon, op.momentum);
                }
                Op::Dropout(dropout) => {
                    let step = self.step_number();
                    let seed = self.options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(id.0);
                    let node = &mut self.graph[id];
                    node.op = DropoutTraining { dropout, seed }.into();
                    node.inputs.push(Some(step));
                }
                Op::FakeQuantTraining(op) => self.learn_range(id, op),
                _ => {}
            }
        }
    }

    /// Whether a batch normalization takes part in training: with all of its weights frozen it does not,
    /// as in Keras.
    fn learns_statistics(&self, id: NodeId) -> bool {
        let weights = [1, 2].map(|input| self.parameter(self.graph[id].inputs[input]));
        let mut weights = weights.into_iter().flatten().peekable();
        let trainable = |id: ParameterId| self.source.parameter(id).is_some_and(|own| own.trainable);
        self.options.batch_statistics && (weights.peek().is_none() || weights.any(trainable))
    }

    fn use_batch_statistics(&mut self, id: NodeId, epsilon: f32, momentum: f32) {
        let node = &self.graph[id];
        let running = [3, 4].map(|input| self.parameter(node.inputs[input]));
        let (y, statistic) = (node.outputs[0], node.inputs[3]);
        let Some(statistic) = statistic.map(|id| self.graph[id].clone()) else { return };
        let outputs = running.map(|parameter| {
            let tensor = Tensor::activation(&statistic.name, statistic.dtype, statistic.shape.clone());
            let output = self.graph.add_tensor(tensor);
            if let Some(parameter) = parameter {
                self.updates.push((output, Outcome::Statistic(parameter, momentum)));
            }
            output
        });
        let activation = self.only_activation(y);
        let node = &mut self.graph[id];
        node.inputs.truncate(3);
        node.outputs.extend(outputs);
        let fused = activation.map_or(Activation::None, |(_, activation)| activation);
        node.op = BatchNormTraining { epsilon, activation: fused }.into();
        if let Some((reader, _)) = activation {
            // The activation's own node is left without readers, and goes with what is dead.
            let output = self.graph[reader].outputs[0];
            self.graph.replace_uses(output, y);
        }
    }

    /// The clamp that alone reads a tensor.
    fn only_activation(&self, id: TensorId) -> Option<(NodeId, Activation)> {
        let mut readers =
            self.graph.node_ids().filter(|node| self.graph[*node].present_inputs().any(|input| input == id));
        let (reader, None) = (readers.next()?, readers.next()) else { return None };
        let activation = match self.graph[reader].op {
            Op::Unary(Unary { kind: UnaryKind::Relu }) => Activation::Relu,
            Op::Unary(Unary { kind: UnaryKind::Relu6 }) => Activation::Relu6,
            Op::Unary(Unary { kind: UnaryKind::ReluN1To1 }) => Activation::ReluN1To1,
            _ => return None,
        };
        (!self.graph.is_output(id)).then_some((reader, activation))
    }

    fn step_number(&mut self) -> TensorId {
        let input = || Tensor::input("step", DType::I64, Shape::fixed(&[1]));
        *self.step.get_or_insert_with(|| self.graph.add_tensor(input()))
    }

    /// A range that follows what is seen is a parameter; or it stays as it is.
    fn learn_range(&mut self, id: NodeId, op: FakeQuantTraining) {
        if let (RangeRule::MovingAverage { .. }, Some(parameter)) =
            (op.range, self.parameter(self.graph[id].inputs.get(1).copied().flatten()))
        {
            self.updates.push((self.graph[id].outputs[1], Outcome::Value(parameter)));
        }
    }

    /// Ranges that follow what is seen stay as they are.
    fn keep_ranges(&mut self) {
        for id in self.graph.node_ids() {
            if let Op::FakeQuantTraining(op) = &mut self.graph[id].op
                && let RangeRule::MovingAverage { .. } = op.range
            {
                op.range = RangeRule::Given;
            }
        }
    }

    /// Makes parameters inputs, in the layout that operators take them in: nodes that only arrange them
    /// go.
    fn arrange_variables(&mut self) -> Vec<(TensorId, ParameterId, Arrangement)> {
        let mut variables: Vec<(TensorId, ParameterId, Arrangement)> = Vec::new();
        for index in 0..self.source.parameters.len() as u32 {
            let parameter = ParameterId(index);
            let same = self.graph.tensor_ids();
            let same = same.filter(|id| self.graph[*id].kind == TensorKind::Parameter(parameter));
            let same: Vec<TensorId> = same.collect();
            let Some((first, others)) = same.split_first() else { continue };
            others.iter().for_each(|other| self.graph.replace_uses(*other, *first));
            let (tensor, arrangement) = self.arranged(*first);
            self.graph[tensor].kind = TensorKind::Input;
            variables.push((tensor, parameter, arrangement));
        }
        variables
    }

    /// The tensor that all readers of a parameter have arranged in one way, and that way.
    fn arranged(&mut self, mut tensor: TensorId) -> (TensorId, Arrangement) {
        let mut arrangement = Arrangement::default();
        loop {
            let readers: Vec<NodeId> = self
                .graph
                .node_ids()
                .filter(|node| self.graph[*node].present_inputs().any(|input| input == tensor))
                .collect();
            let Some(first) = readers.first().map(|reader| self.graph[*reader].clone()) else { break };
            let alike = readers.iter().all(|reader| self.graph[*reader].op == first.op);
            let shape = self.graph[tensor].shape.to_fixed();
            let (true, Some(shape), false) = (
                alike && first.inputs.len() == 1 && Arrangement::takes(&first.op),
                shape,
                self.graph.is_output(tensor),
            ) else {
                break;
            };
            arrangement = arrangement.then(&first.op, &shape);
            for reader in &readers {
                let output = self.graph[*reader].outputs[0];
                self.graph.replace_uses(output, first.outputs[0]);
            }
            let dead = |node: &litesmith_graph::Node| {
                readers.iter().any(|reader| node.outputs == self.graph[*reader].outputs)
            };
            let kept: Vec<_> = self.graph.nodes.iter().filter(|node| !dead(node)).cloned().collect();
            self.graph.nodes = kept.into();
            tensor = first.outputs[0];
        }
        (tensor, arrangement)
    }

    /// Fixes the batch, simplifies, differentiates, and orders inputs and outputs.
    fn finish(mut self, variables: Vec<(TensorId, ParameterId, Arrangement)>) -> Result<Program, TrainError> {
        let given = self.graph.inputs.len();
        let outputs = self.graph.outputs.len();
        self.graph.inputs.extend(variables.iter().map(|(tensor, ..)| *tensor));
        self.graph.outputs.extend(self.updates.iter().map(|(tensor, _)| *tensor));
        for place in 0..given {
            let input = self.graph.inputs[place];
            fix_batch(&mut self.graph[input], self.options.batch)?;
        }
        // Inputs and outputs keep their places from here on, tensors do not: those that are left of parameters go.
        self.graph.remove_dead();
        let mut model = Model::new(self.graph);
        prepare_training(&mut model)?;
        let facts = infer_shapes(&model, GraphId(0), None)?;
        let graph = std::mem::take(model.main_mut());
        let mut builder = Builder { graph, facts };
        let results: Vec<TensorId> = builder.graph.outputs[..outputs].to_vec();
        let mut seeds = Vec::with_capacity(outputs);
        for result in &results {
            let unsized_result = |refusal: crate::error::Refusal| TrainError::Output(refusal.0);
            let shape = builder.shape(*result).map_err(unsized_result)?;
            let name = format!("{}/seed", builder.graph[*result].name);
            let dtype = builder.dtype(*result);
            seeds.push(builder.add_input(&name, dtype, &shape));
        }
        let own: Vec<TensorId> = builder.graph.inputs[given..given + variables.len()].to_vec();
        let trainable =
            |id: ParameterId| self.source.parameter(id).is_some_and(|parameter| parameter.trainable);
        let trained: Vec<usize> =
            (0..variables.len()).filter(|index| trainable(variables[*index].1)).collect();
        let wanted: Vec<TensorId> = trained.iter().map(|index| own[*index]).collect();
        let gradients = match self.options.phase {
            Phase::Train => differentiate(&mut builder, &results, &seeds, &wanted)?,
            Phase::Evaluate => Vec::new(),
        };

        let mut graph = builder.graph;
        let mut outcomes: Vec<Outcome> = self.updates.iter().map(|(_, outcome)| *outcome).collect();
        for (variable, gradient) in trained.into_iter().zip(gradients) {
            if let Some(gradient) = gradient {
                graph.outputs.push(gradient);
                outcomes.push(Outcome::Gradient(variable));
            }
        }
        graph.inputs = graph.inputs[..given].iter().chain(&seeds).chain(&own).copied().collect();
        *model.main_mut() = graph;
        Ok(Program {
            model,
            roles: Roles { given, seeds: outputs },
            counts_steps: self.step.is_some(),
            variables: variables.into_iter().map(|(_, id, arrangement)| (id, arrangement)).collect(),
            results: outcomes,
            predictions: self.predictions,
        })
    }
}

/// Gives the first axis of an input a size, if it has none.
fn fix_batch(input: &mut Tensor, batch: usize) -> Result<(), TrainError> {
    for (axis, dim) in input.shape.0.iter_mut().enumerate() {
        if dim.fixed().is_none() {
            if axis > 0 {
                return Err(TrainError::InputSize(input.name.clone()));
            }
            *dim = Dim::Fixed(batch);
        }
    }
    Ok(())
}
