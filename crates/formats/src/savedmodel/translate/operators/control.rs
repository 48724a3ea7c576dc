//! Conditionals, and graphs of their own for the flows that operations run.

use litesmith_graph::infer::common;
use litesmith_graph::ops::{Compare, CompareKind, If};
use litesmith_graph::{DType, Facts, GraphId, Tensor, TensorId, TensorKind};

use crate::emit::Emit;
use crate::refusal::{Built, Refusal, unsupported};
use crate::savedmodel::flow::Flow;
use crate::savedmodel::translate::draft::{Bound, Draft};
use crate::savedmodel::translate::lists::List;
use crate::savedmodel::translate::scope::Scope;

/// Deepest flow inside flows.
const DEEPEST: usize = 32;

/// What a flow that is called gets in the place of one of its inputs.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    /// A value of the caller that is the same in every run: it is put into the graph.
    Fixed(TensorId),
    /// An input of the graph, of which this is known.
    Tensor(Facts),
    /// A list whose elements are an input of the graph, of which this is known.
    List(Facts),
    /// A list whose elements are not known yet.
    Unplaced(List),
}

pub(super) fn conditional(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let node = scope.node;
    let [then, otherwise] = node.branches.as_slice() else {
        return Err(scope.broken("it does not have two branches").into());
    };
    let condition = scope.input(0)?;
    let given = scope.inputs[1..].to_vec();
    if let Some([holds]) = scope.known_truths(condition).as_deref() {
        let branch = if *holds { then } else { otherwise };
        return scope.inlined(branch, &given);
    }
    let condition = truth(scope, condition)?;
    let (mut arguments, mut passed) = (Vec::new(), vec![Some(condition)]);
    for bound in &given {
        let argument = scope.argument(bound)?;
        if let (Argument::Tensor(_), Bound::Tensor(id)) = (&argument, bound) {
            passed.push(Some(*id));
        } else if !matches!(argument, Argument::Fixed(_)) {
            unsupported!("a list of tensors goes into a conditional, which is not supported");
        }
        arguments.push(argument);
    }
    let mut graphs = Vec::new();
    let mut outputs: Option<Vec<Facts>> = None;
    for branch in [then, otherwise] {
        let mut made = scope.called(branch, &arguments, false)?;
        let facts = made.finish()?;
        outputs = Some(match outputs {
            None => facts,
            Some(known) if known.len() == facts.len() => known
                .into_iter()
                .zip(&facts)
                .map(|(one, other)| common(one, other))
                .collect::<Result<_, _>>()
                .map_err(|reason| scope.broken(reason))?,
            Some(_) => return Err(scope.broken("its branches give different numbers of values").into()),
        });
        graphs.push(scope.add_graph(made.draft));
    }
    let op = If { then_graph: graphs[0], else_graph: graphs[1] };
    let name = scope.target.names.tensor(&node.name);
    let ids = scope.add_node(op.into(), passed, outputs.unwrap_or_default(), &name, false)?;
    Ok(ids.into_iter().map(Bound::Tensor).collect())
}

/// A condition as one truth value: numbers hold where they are not 0.
fn truth(scope: &mut Scope<'_>, condition: TensorId) -> Built<TensorId> {
    if scope.dtype(condition) == DType::Bool {
        return Ok(condition);
    }
    let zero = scope.number("zero", scope.dtype(condition), 0.0)?;
    scope.emit(Compare { kind: CompareKind::NotEqual }, &[condition, zero])
}

/// A flow that has become a graph.
pub(super) struct Made {
    pub draft: Draft,
    pub outputs: Vec<Bound>,
}

impl Made {
    /// Makes all outputs, which must be tensors or lists in place, those of the graph, and gives what is
    /// known of them.
    pub fn finish(&mut self) -> Built<Vec<Facts>> {
        let mut facts = Vec::new();
        for output in &self.outputs {
            let id = match output {
                Bound::Tensor(id) | Bound::List(List { items: Some(id), .. }) => *id,
                Bound::List(_) => unsupported!("a list of tensors that nothing was put into is given back"),
                Bound::Refused => return Err(Refusal::Listed),
            };
            facts.push(self.draft.facts[id.index()].clone());
            self.draft.graph.outputs.push(id);
        }
        Ok(facts)
    }
}

impl Scope<'_> {
    /// What a flow that is called gets for a value of the caller.
    pub(super) fn argument(&self, bound: &Bound) -> Built<Argument> {
        let facts = |id: TensorId| self.facts(id).clone();
        Ok(match bound {
            Bound::Tensor(id) if self.draft.graph[*id].is_fixed() => Argument::Fixed(*id),
            Bound::Tensor(id) => Argument::Tensor(facts(*id)),
            Bound::List(List { items: Some(items), .. }) => Argument::List(facts(*items)),
            Bound::List(list) => Argument::Unplaced(list.clone()),
            Bound::Refused => return Err(Refusal::Listed),
        })
    }

    /// A flow translated into the graph itself.
    fn inlined(&mut self, flow: &Flow, inputs: &[Bound]) -> Built<Vec<Bound>> {
        self.deeper()?;
        let outputs = super::run(self.target, self.draft, flow, inputs);
        self.target.depth -= 1;
        Ok(outputs?)
    }

    fn deeper(&mut self) -> Built<()> {
        if self.target.depth >= DEEPEST {
            return Err(self.broken("conditionals and loops lie too deep in others").into());
        }
        self.target.depth += 1;
        Ok(())
    }

    /// A flow translated into a graph of its own. In a trial, lists may be without a place.
    pub(super) fn called(&mut self, flow: &Flow, arguments: &[Argument], trial: bool) -> Built<Made> {
        self.deeper()?;
        let name = format!("{}/{}", self.layer, flow.name);
        let mut draft = Draft::new(&name);
        draft.trial = trial || self.draft.trial;
        let mut inputs = Vec::new();
        for (index, (argument, input)) in arguments.iter().zip(&flow.inputs).enumerate() {
            let mut tensor = |facts: &Facts| {
                let tensor = Tensor::input(&input.name, facts.dtype, facts.shape.clone());
                draft.add(&self.target.model, tensor)
            };
            inputs.push(match argument {
                Argument::Tensor(facts) => Bound::Tensor(tensor(facts)),
                Argument::List(facts) => Bound::List(List::placed(tensor(facts), facts.dtype)),
                Argument::Unplaced(list) => Bound::List(List { carried: Some(index), ..list.clone() }),
                Argument::Fixed(id) => {
                    let copy = self.draft.graph[*id].clone();
                    Bound::Tensor(draft.add(&self.target.model, copy))
                }
            });
        }
        let outputs = super::run(self.target, &mut draft, flow, &inputs);
        self.target.depth -= 1;
        Ok(Made { draft, outputs: outputs? })
    }

    /// Adds a finished graph to the model.
    pub(super) fn add_graph(&mut self, mut draft: Draft) -> GraphId {
        draft.graph.remove_dead();
        debug_assert!(draft.graph.inputs.iter().all(|id| draft.graph[*id].kind == TensorKind::Input));
        self.target.model.graphs.push(draft.graph);
        GraphId(self.target.model.graphs.len() as u32 - 1)
    }
}
