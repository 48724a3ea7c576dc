//! Variables that survive from one run to the next.

use litesmith_graph::{Model, StateId};

use crate::buffer::Buffer;
use crate::error::RuntimeError;
use crate::plan::enter;

/// What the states of a model hold, in the plan's form.
#[derive(Default)]
pub(crate) struct States(Vec<Buffer>);

impl States {
    /// The states of a model before its first run.
    pub(crate) fn new(model: &Model, limit: Option<usize>) -> Result<States, RuntimeError> {
        let mut states = States::default();
        let mut total = 0usize;
        for state in &model.states {
            let bytes = state.shape.elements().and_then(|elements| state.dtype.bytes(elements));
            let bytes = bytes.unwrap_or(usize::MAX);
            total = total.saturating_add(bytes);
            let fits = limit.is_none_or(|limit| total <= limit);
            let Some(buffer) = Buffer::zeroed(bytes).filter(|_| fits) else {
                let what = format!("state '{}'", state.name);
                return Err(RuntimeError::Resource { what, needed: total, limit });
            };
            states.0.push(buffer);
        }
        states.reset(model);
        Ok(states)
    }

    /// Gives every state the value that it has before the first run.
    pub(crate) fn reset(&mut self, model: &Model) {
        for (state, buffer) in model.states.iter().zip(&mut self.0) {
            match &state.initial {
                Some(data) => enter(state.dtype, data.bytes(), buffer.bytes_mut()),
                None => {
                    // Zero in the plan's form, too.
                    let zeros = vec![0; buffer.len()];
                    enter(state.dtype, &zeros, buffer.bytes_mut());
                }
            }
        }
    }

    /// The bytes of a state, in the plan's form.
    pub(crate) fn get(&self, id: StateId) -> &[u8] {
        self.0.get(id.0 as usize).map_or(&[], Buffer::bytes)
    }

    /// The bytes of a state, to be written.
    pub(crate) fn get_mut(&mut self, id: StateId) -> &mut [u8] {
        self.0.get_mut(id.0 as usize).map_or(&mut [], Buffer::bytes_mut)
    }
}
