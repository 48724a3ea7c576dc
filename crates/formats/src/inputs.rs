//! Shapes of a model's inputs as sources state them.

use litesmith_graph::{Dim, Shape};

/// The shapes of inputs, each with its name, whose open sizes get names: `batch` for the first axis,
/// which all inputs share, `height`, … for others, with the input's name where several are open.
pub(crate) fn open_shapes(inputs: &[(&str, &[Option<usize>])]) -> Vec<Shape> {
    let open = |shape: &[Option<usize>]| shape.iter().skip(1).any(Option::is_none);
    let several = inputs.iter().filter(|(_, shape)| open(shape)).count() > 1;
    let dims = |(name, shape): &(&str, &[Option<usize>])| {
        let dims = shape.iter().enumerate().map(|(axis, size)| match size {
            Some(size) => Dim::Fixed(*size),
            None if axis == 0 => Dim::free("batch"),
            None if several => Dim::free(&format!("{name}_{}", axis_name(axis, shape.len()))),
            None => Dim::free(&axis_name(axis, shape.len())),
        });
        Shape(dims.collect())
    };
    inputs.iter().map(dims).collect()
}

/// What an axis of open size is called.
fn axis_name(axis: usize, rank: usize) -> String {
    let names: &[&str] = match rank {
        2 => &["features"],
        3 => &["time", "features"],
        4 => &["height", "width", "channels"],
        5 => &["depth", "height", "width", "channels"],
        _ => &[],
    };
    names.get(axis.wrapping_sub(1)).map_or_else(|| format!("axis{axis}"), |name| (*name).to_owned())
}
