//! Variables that survive from run to run: which tensors stand for which of them, and what they hold
//! before the first run.

use std::collections::HashMap;

use litesmith_graph::{Data, Signature, State, StateId, Tensor, TensorId, TensorKind};

use super::graph::{Context, Raw};
use super::tensors::{Role, read_tensor};
use super::unsupported;
use crate::error::FormatError;
use crate::tflite::schema::{self, Builtin, options};

/// Most times that the graphs are gone through to find where handles are handed on.
const MOST_PASSES: usize = 16;

/// The states of a file.
#[derive(Default)]
pub(super) struct States {
    /// For each subgraph, the tensors that stand for a state.
    handles: Vec<HashMap<TensorId, StateId>>,
    /// The states.
    pub all: Vec<State>,
    /// For each subgraph, whether all that it does is known as states' first values.
    pub initial: Vec<bool>,
}

impl States {
    /// The state that a tensor of a subgraph stands for.
    pub fn of(&self, subgraph: usize, tensor: TensorId) -> Option<(StateId, &State)> {
        let id = *self.handles.get(subgraph)?.get(&tensor)?;
        Some((id, self.all.get(id.0 as usize)?))
    }
}

/// What is known of a state while it is looked for.
#[derive(Default)]
struct Found {
    name: String,
    /// The tensor that tells its type and shape.
    tensor: Option<Tensor>,
    initial: Option<Data>,
}

impl<'a> Context<'a> {
    /// Finds all states. What cannot be represented is added to the list.
    pub fn read_states(&mut self, signatures: &[Signature]) -> Result<(), FormatError> {
        let count = self.subgraphs.len();
        self.states.handles = vec![HashMap::new(); count];
        self.states.initial = vec![false; count];
        let mut found = self.find_handles()?;
        if found.is_empty() {
            return Ok(());
        }
        self.hand_on()?;
        self.find_first_values(&mut found, signatures)?;
        self.find_types(&mut found)?;
        for state in found {
            let name = super::display_name(&state.name);
            let Some(Tensor { dtype, shape, .. }) = state.tensor else {
                self.refused.push(unsupported(
                    &name,
                    "VAR_HANDLE",
                    "its type is not known: nothing reads it",
                ));
                continue;
            };
            let bytes = shape.elements().and_then(|elements| dtype.bytes(elements));
            if bytes.is_none() || state.initial.as_ref().is_some_and(|data| Some(data.len()) != bytes) {
                let reason = format!("its shape {shape} must be fixed and that of its first value");
                self.refused.push(unsupported(&name, "VAR_HANDLE", reason));
            }
            // Zeros are what a state holds without being told.
            let initial = state.initial.filter(|data| data.bytes().iter().any(|byte| *byte != 0));
            self.states.all.push(State { name: state.name, dtype, shape, initial });
        }
        self.model.states = self.states.all.clone();
        Ok(())
    }

    /// For each subgraph, whether an operator runs it.
    pub fn called(&self) -> Vec<bool> {
        let mut called = vec![false; self.subgraphs.len()];
        for raw in self.subgraphs.iter().flat_map(|subgraph| &subgraph.operators) {
            for index in self.callees(raw).into_iter().flatten() {
                called[index] = true;
            }
        }
        called
    }

    /// The subgraphs that an operator runs, as far as they exist.
    fn callees(&self, raw: &Raw<'_>) -> Option<[usize; 2]> {
        use options::{if_else, while_loop};
        let (kind, slots) = match self.builtin(raw)? {
            Builtin::IF => (if_else::KIND, [if_else::THEN_SUBGRAPH_INDEX, if_else::ELSE_SUBGRAPH_INDEX]),
            Builtin::WHILE => {
                (while_loop::KIND, [while_loop::COND_SUBGRAPH_INDEX, while_loop::BODY_SUBGRAPH_INDEX])
            }
            _ => return None,
        };
        let index = |slot| {
            let index: i32 = options_of(raw, kind).ok()??.scalar(slot, 0).ok()?;
            usize::try_from(index).ok().filter(|index| *index < self.subgraphs.len())
        };
        Some([index(slots[0])?, index(slots[1])?])
    }

    /// The states that the file names, with their handles noted.
    fn find_handles(&mut self) -> Result<Vec<Found>, FormatError> {
        let mut known: HashMap<(String, String), StateId> = HashMap::new();
        let mut found = Vec::new();
        for (index, subgraph) in self.subgraphs.iter().enumerate() {
            for raw in &subgraph.operators {
                if self.builtin(raw) != Some(Builtin::VAR_HANDLE) {
                    continue;
                }
                use options::var_handle as slot;
                let (container, name) = match options_of(raw, slot::KIND)? {
                    Some(options) => (options.text(slot::CONTAINER)?, options.text(slot::SHARED_NAME)?),
                    None => Default::default(),
                };
                let id = *known.entry((container, name.clone())).or_insert_with(|| {
                    found.push(Found { name, ..Found::default() });
                    StateId(found.len() as u32 - 1)
                });
                if let Some(output) = raw.outputs.first() {
                    self.states.handles[index].insert(*output, id);
                }
            }
        }
        Ok(found)
    }

    /// Follows handles into the subgraphs that are given them, and out again.
    fn hand_on(&mut self) -> Result<(), FormatError> {
        let mut ways = Vec::new();
        for (caller, subgraph) in self.subgraphs.iter().enumerate() {
            for raw in &subgraph.operators {
                let Some(callees) = self.callees(raw) else { continue };
                let skipped = usize::from(self.builtin(raw) == Some(Builtin::IF));
                for callee in callees {
                    let inputs = raw.inputs.iter().skip(skipped).zip(&self.subgraphs[callee].inputs);
                    let entering = inputs.filter_map(|(from, to)| Some(((caller, (*from)?), (callee, *to))));
                    ways.extend(entering);
                    let gives = skipped == 1 || callee == callees[1];
                    let outputs = raw.outputs.iter().zip(&self.subgraphs[callee].outputs);
                    ways.extend(outputs.filter(|_| gives).map(|(to, from)| ((callee, *from), (caller, *to))));
                }
            }
        }
        for _ in 0..MOST_PASSES {
            let mut changed = false;
            for ((graph, from), (other, to)) in &ways {
                let Some(id) = self.states.handles[*graph].get(from).copied() else { continue };
                match self.states.handles[*other].insert(*to, id) {
                    None => changed = true,
                    Some(old) if old == id => {}
                    Some(_) => {
                        let name = &self.subgraphs[*other].name;
                        let reason = "it is given several variables at one place, which is not supported";
                        self.refused.push(unsupported(name, "subgraph", reason));
                        return Ok(());
                    }
                }
            }
            if !changed {
                return Ok(());
            }
        }
        self.refused.push(unsupported("", "VAR_HANDLE", "variables are handed through too many subgraphs"));
        Ok(())
    }

    /// Goes through the subgraphs that CALL_ONCE runs.
    fn find_first_values(
        &mut self,
        found: &mut [Found],
        signatures: &[Signature],
    ) -> Result<(), FormatError> {
        let called = self.called();
        for (index, subgraph) in self.subgraphs.iter().enumerate() {
            let mut used = called[index];
            for raw in &subgraph.operators {
                match self.builtin(raw) {
                    Some(
                        Builtin::READ_VARIABLE | Builtin::ASSIGN_VARIABLE | Builtin::IF | Builtin::WHILE,
                    ) => {
                        used = true;
                    }
                    Some(Builtin::CALL_ONCE) => {
                        let slot = options::call_once::INIT_SUBGRAPH_INDEX;
                        let options = options_of(raw, options::call_once::KIND)?;
                        let target: i32 = options.map_or(Ok(0), |options| options.scalar(slot, 0))?;
                        let target =
                            usize::try_from(target).ok().filter(|target| *target < self.subgraphs.len());
                        let Some(target) = target.filter(|target| *target != index) else {
                            let place = format!("subgraph '{}'", subgraph.name);
                            return Err(FormatError::broken(place, "CALL_ONCE runs no other subgraph"));
                        };
                        if used {
                            let reason = "it must stand in front of all that uses variables";
                            self.refused.push(unsupported(&subgraph.name, "CALL_ONCE", reason));
                        }
                        if !std::mem::replace(&mut self.states.initial[target], true) {
                            self.read_first_values(target, found)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        // A graph that can be entered by itself stays.
        for signature in signatures {
            if let Some(initial) = self.states.initial.get_mut(signature.graph.0 as usize) {
                *initial = false;
            }
        }
        for (initial, called) in self.states.initial.iter_mut().zip(called) {
            *initial &= !called;
        }
        Ok(())
    }

    fn read_first_values(&mut self, index: usize, found: &mut [Found]) -> Result<(), FormatError> {
        let subgraph = &self.subgraphs[index];
        for raw in &subgraph.operators {
            let value = match self.builtin(raw) {
                Some(Builtin::VAR_HANDLE) => continue,
                Some(Builtin::ASSIGN_VARIABLE) => self.assigned(index, raw)?,
                _ => None,
            };
            match value {
                Some((id, tensor, data)) if tensor.sparsity.is_none() => {
                    let state = &mut found[id.0 as usize];
                    state.tensor = Some(tensor);
                    state.initial = Some(data);
                }
                _ => {
                    let reason = "the subgraph that it runs does more than give variables constant values";
                    self.refused.push(unsupported(&subgraph.name, "CALL_ONCE", reason));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The state and the constant that an ASSIGN_VARIABLE gives it.
    fn assigned(
        &mut self,
        index: usize,
        raw: &Raw<'_>,
    ) -> Result<Option<(StateId, Tensor, Data)>, FormatError> {
        let [Some(handle), Some(value)] = raw.inputs[..] else { return Ok(None) };
        let Some(id) = self.states.handles[index].get(&handle).copied() else { return Ok(None) };
        let table = &self.subgraphs[index].tensors[value.index()];
        let tensor = read_tensor(self, table, Role::Other)?;
        let TensorKind::Constant(data) = &tensor.kind else { return Ok(None) };
        let data = data.clone();
        Ok(Some((id, tensor, data)))
    }

    /// Types and shapes of states without first values: those of what is read from them or, where the
    /// file leaves that open, written to them.
    fn find_types(&mut self, found: &mut [Found]) -> Result<(), FormatError> {
        for (index, subgraph) in self.subgraphs.iter().enumerate() {
            for raw in &subgraph.operators {
                let told = match self.builtin(raw) {
                    Some(Builtin::READ_VARIABLE) => raw.outputs.first().copied(),
                    Some(Builtin::ASSIGN_VARIABLE) => raw.inputs.get(1).copied().flatten(),
                    _ => continue,
                };
                let handle = raw.inputs.first().copied().flatten();
                let id = handle.and_then(|handle| self.states.handles[index].get(&handle).copied());
                let (Some(told), Some(StateId(id))) = (told, id) else { continue };
                let known = found[id as usize].tensor.as_ref();
                if known.is_none_or(|tensor| tensor.shape.elements().is_none()) {
                    let tensor = read_tensor(self, &subgraph.tensors[told.index()], Role::Produced)?;
                    found[id as usize].tensor = Some(tensor);
                }
            }
        }
        Ok(())
    }
}

/// The options of an operator, if they are of this kind.
fn options_of<'a>(
    raw: &Raw<'a>,
    kind: schema::UnionType,
) -> Result<Option<crate::tflite::flatbuffer::reader::Table<'a>>, FormatError> {
    let found: u8 = raw.table.scalar(schema::operator::BUILTIN_OPTIONS_TYPE, 0)?;
    if found == kind { raw.table.table(schema::operator::BUILTIN_OPTIONS) } else { Ok(None) }
}
