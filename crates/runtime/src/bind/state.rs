//! States read and written, at the place that their nodes have in the graph's order.

use super::{Bound, Site, Task};
use crate::error::{Refusal, refuse};

pub(super) fn read(site: &Site<'_>) -> Result<Bound, Refusal> {
    let state = site.input(0)?;
    let Some(id) = state.state else { refuse!("it reads what is no state") };
    site.same_parameters()?;
    Ok(Task::new(move |_, io| {
        io.output.copy_from_slice(io.states.get(id));
        Ok(())
    })
    .into())
}

pub(super) fn assign(site: &Site<'_>) -> Result<Bound, Refusal> {
    let (state, value) = (site.input(0)?, site.input(1)?);
    let Some(id) = state.state else { refuse!("it writes to what is no state") };
    if state.dtype != value.dtype || state.shape != value.shape {
        refuse!("a state of {}{:?} cannot hold {}{:?}", state.dtype, state.shape, value.dtype, value.shape);
    }
    Ok(Task::new(move |_, io| {
        io.states.get_mut(id).copy_from_slice(io.inputs.bytes(1));
        Ok(())
    })
    .for_all_outputs()
    .into())
}
