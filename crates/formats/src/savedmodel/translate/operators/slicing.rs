//! Parts of a tensor.

use litesmith_graph::TensorId;
use litesmith_graph::ops::{ExpandDims, Slice, StridedSlice};

use crate::emit::Emit;
use crate::refusal::{Built, unsupported};
use crate::savedmodel::translate::scope::Scope;

pub(super) fn slice(scope: &mut Scope<'_>) -> Built<TensorId> {
    let (x, begin, size) = (scope.input(0)?, scope.input(1)?, scope.input(2)?);
    match (scope.known_integers(begin), scope.known_integers(size)) {
        (Some(begin), Some(size)) => {
            let begin = begin
                .into_iter()
                .map(|index| scope.size_from(index, "the begin of its part"))
                .collect::<Built<Vec<_>>>()?;
            scope.emit(Slice { begin, size }, &[x])
        }
        _ => scope.emit(Slice::default(), &[x, begin, size]),
    }
}

/// The masks of a strided slice: bit `i` is about entry `i` of begin, end and strides.
struct Masks {
    begin: i64,
    end: i64,
    ellipsis: i64,
    new_axis: i64,
    shrink: i64,
}

impl Masks {
    fn of(scope: &Scope<'_>) -> Masks {
        let mask = |key: &str| scope.node.attributes.integer(key).unwrap_or(0);
        Masks {
            begin: mask("begin_mask"),
            end: mask("end_mask"),
            ellipsis: mask("ellipsis_mask"),
            new_axis: mask("new_axis_mask"),
            shrink: mask("shrink_axis_mask"),
        }
    }
}

fn bit(mask: i64, place: usize) -> bool {
    place < 63 && mask >> place & 1 == 1
}

pub(super) fn strided(scope: &mut Scope<'_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let given = [1, 2, 3].map(|index| scope.input(index));
    let [begin, end, strides] = given;
    let [begin, end, strides] = [begin?, end?, strides?];
    let masks = Masks::of(scope);
    let known = [begin, end, strides].map(|id| scope.known_integers(id));
    let [Some(begin_values), Some(end_values), Some(stride_values)] = known else {
        return computed(scope, x, [begin, end, strides], &masks);
    };
    let entries = begin_values.len();
    if end_values.len() != entries || stride_values.len() != entries || entries > 32 {
        return Err(scope.broken("its begin, end and strides are of different lengths").into());
    }
    let rank = scope.rank(x);
    let (mut slice, mut new_axes) = (StridedSlice::default(), Vec::new());
    let named =
        (0..entries).filter(|place| !bit(masks.new_axis, *place) && !bit(masks.ellipsis, *place)).count();
    let Some(hidden) = rank.checked_sub(named) else {
        return Err(scope.broken(format!("it slices {named} axes, its input has {rank}")).into());
    };
    let mut kept = 0;
    let mut ellipses = 0;
    for place in 0..entries {
        if bit(masks.ellipsis, place) {
            ellipses += 1;
            for _ in 0..hidden {
                whole_axis(&mut slice);
                kept += 1;
            }
        } else if bit(masks.new_axis, place) {
            new_axes.push(kept);
            kept += 1;
        } else {
            let axis = slice.begin.len();
            slice.begin.push(begin_values[place]);
            slice.end.push(end_values[place]);
            slice.strides.push(stride_values[place]);
            slice.begin_mask |= u32::from(bit(masks.begin, place)) << axis;
            slice.end_mask |= u32::from(bit(masks.end, place)) << axis;
            if bit(masks.shrink, place) {
                slice.shrink_axis_mask |= 1 << axis;
                // One element, whatever the masks say.
                slice.begin_mask &= !(1 << axis);
            } else {
                kept += 1;
            }
        }
    }
    if ellipses > 1 {
        return Err(scope.broken("it has two ellipses").into());
    }
    let mut result = scope.emit(slice, &[x])?;
    for axis in new_axes {
        result = scope.emit(ExpandDims { axis }, &[result])?;
    }
    Ok(result)
}

fn whole_axis(slice: &mut StridedSlice) {
    let axis = slice.begin.len();
    slice.begin.push(0);
    slice.end.push(0);
    slice.strides.push(1);
    slice.begin_mask |= 1 << axis;
    slice.end_mask |= 1 << axis;
}

/// A slice whose begin, end or strides are computed.
fn computed(scope: &mut Scope<'_>, x: TensorId, given: [TensorId; 3], masks: &Masks) -> Built<TensorId> {
    if masks.ellipsis != 0 || masks.new_axis != 0 {
        unsupported!("a slice with an ellipsis or new axes whose places are computed is not supported");
    }
    let narrow = |mask: i64| u32::try_from(mask).unwrap_or(u32::MAX);
    let slice = StridedSlice {
        begin_mask: narrow(masks.begin),
        end_mask: narrow(masks.end),
        shrink_axis_mask: narrow(masks.shrink),
        ..StridedSlice::default()
    };
    let [begin, end, strides] = given;
    scope.emit(slice, &[x, begin, end, strides])
}
