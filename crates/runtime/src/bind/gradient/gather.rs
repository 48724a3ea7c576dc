//! The gradient of taking slices by index.

use litesmith_graph::DType;
use litesmith_graph::ops::Gather;
use litesmith_kernels::gradient::gather as kernel;

use super::super::movement::resolve_axis;
use super::super::{Bound, Site, Task};
use super::{Places, by_float};
use crate::error::{Refusal, refuse};

pub(super) fn gather(site: &Site<'_>, op: &Gather, places: Places) -> Result<Bound, Refusal> {
    let (table, indices) = (site.output()?, site.input(1)?);
    let axis = resolve_axis(op.axis, table.shape.len())?;
    let shape: [usize; 4] = [
        table.shape[..op.batch_dims].iter().product(),
        table.shape[op.batch_dims..axis].iter().product(),
        table.shape[axis],
        table.shape[axis + 1..].iter().product(),
    ];
    let count: usize = indices.shape[op.batch_dims..].iter().product();
    if site.input(places.dy)?.elements != shape[0] * shape[1] * count * shape[3] {
        refuse!("its operands do not fit");
    }
    macro_rules! with_indices {
        ($I:ty) => {
            by_float!(table.dtype, T => Task::new(move |machine, mut io| {
                let (indices, dy) = (io.inputs.get::<$I>(1), io.inputs.get::<T>(places.dy));
                kernel::gather(machine.pool, shape, indices, dy, io.output_as());
                Ok(())
            })
            .into())
        };
    }
    match indices.dtype {
        DType::I16 => with_indices!(i16),
        DType::I32 => with_indices!(i32),
        DType::I64 => with_indices!(i64),
        dtype => refuse!("indices of {dtype} are not supported"),
    }
}
