//! Lists of tensors, which become one tensor each: the elements along its first axis.

use litesmith_graph::ops::{ExpandDims, Fill, Gather, Pack, ShapeOf, StridedSlice, UpdateSlice};
use litesmith_graph::{DType, Dim, Facts, Shape, TensorId};

use super::draft::Bound;
use super::scope::Scope;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};

/// A list.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// Its elements, if they have been given a place.
    pub items: Option<TensorId>,
    /// Number of elements, of a list without a place.
    pub length: Option<TensorId>,
    /// Type of the elements.
    pub dtype: DType,
    /// The input of the loop's body that it is, of a list without a place that a loop carries.
    pub carried: Option<usize>,
}

impl List {
    /// A list whose elements are in place.
    pub fn placed(items: TensorId, dtype: DType) -> List {
        List { items: Some(items), length: None, dtype, carried: None }
    }
}

pub(super) fn reserve(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let dtype = element_type(scope)?;
    let length = scope.input(1)?;
    Ok(vec![Bound::List(List { items: None, length: Some(length), dtype, carried: None })])
}

pub(super) fn from_tensor(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let items = scope.input(0)?;
    Ok(vec![Bound::List(List::placed(items, scope.dtype(items)))])
}

pub(super) fn stack(scope: &mut Scope<'_>) -> Built<TensorId> {
    match scope.list(0)?.items {
        Some(items) => Ok(items),
        None => unsupported!("the list of tensors is stacked before something is put into it"),
    }
}

pub(super) fn length(scope: &mut Scope<'_>) -> Built<TensorId> {
    let list = scope.list(0)?;
    match (list.items, list.length) {
        (Some(items), _) => size(scope, items, 0),
        (None, Some(length)) => Ok(length),
        (None, None) => unsupported!("the length of the list of tensors is not known"),
    }
}

pub(super) fn get_item(scope: &mut Scope<'_>) -> Built<TensorId> {
    let list = scope.list(0)?;
    let index = scope.input(1)?;
    match list.items {
        Some(items) => scope.emit(Gather { axis: 0, batch_dims: 0 }, &[items, index]),
        None => unsupported!("the list of tensors is read before something is put into it"),
    }
}

pub(super) fn set_item(scope: &mut Scope<'_>) -> Built<Vec<Bound>> {
    let list = scope.list(0)?;
    let (index, item) = (scope.input(1)?, scope.input(2)?);
    let items = match (list.items, list.carried) {
        (Some(items), _) => items,
        (None, Some(input)) => {
            // What is put in says what the elements are like; the graph is thrown away.
            let facts = scope.facts(item).clone();
            scope.draft.written.insert(input, facts);
            return Ok(vec![Bound::List(list)]);
        }
        (None, None) => {
            let facts = scope.facts(item).clone();
            place(scope, &list, &facts)?
        }
    };
    let element = scope.emit(ExpandDims { axis: 0 }, &[item])?;
    let zero = scope.integers("zero", scope.dtype(index), &[], &[0])?;
    let mut begin = vec![zero; scope.rank(items)];
    match begin.first_mut() {
        Some(first) => *first = index,
        None => return Err(scope.broken("its list has no axis").into()),
    }
    let begin = scope.emit(Pack { axis: 0 }, &begin)?;
    let items = scope.emit(UpdateSlice {}, &[items, element, begin])?;
    Ok(vec![Bound::List(List::placed(items, list.dtype))])
}

/// Zeros for all elements of a list, which are like `element`.
pub(super) fn place(scope: &mut Scope<'_>, list: &List, element: &Facts) -> Built<TensorId> {
    let Some(length) = list.length else {
        unsupported!("the length of the list of tensors is not known");
    };
    let mut sizes = vec![scope.reshaped_scalar(length)?];
    for dim in element.shape.dims() {
        sizes.push(dimension(scope, dim)?);
    }
    let shape = scope.emit(Pack { axis: 0 }, &sizes)?;
    let zero = scope.number("zero", list.dtype, 0.0)?;
    scope.emit(Fill {}, &[shape, zero])
}

impl Scope<'_> {
    /// A tensor of one element as a scalar.
    fn reshaped_scalar(&mut self, x: TensorId) -> Built<TensorId> {
        if self.rank(x) == 0 {
            return Ok(x);
        }
        self.emit(litesmith_graph::ops::Reshape::to(Vec::new()), &[x])
    }
}

/// A size as a scalar.
fn dimension(scope: &mut Scope<'_>, dim: &Dim) -> Built<TensorId> {
    match dim {
        Dim::Fixed(size) => scope.integers("size", DType::I32, &[], &[*size as i64]),
        Dim::Free(_) => {
            let place = |shape: &Shape| shape.dims().iter().position(|known| known == dim);
            let tensors = scope.draft.graph.tensor_ids();
            let found = tensors.into_iter().find_map(|id| Some((id, place(&scope.shape(id))?)));
            match found {
                Some((tensor, axis)) => size(scope, tensor, axis),
                None => unsupported!("the elements of the list of tensors have a size that nothing states"),
            }
        }
        Dim::Unknown => unsupported!(
            "the elements of the list of tensors are of a size that is only known while the model runs; \
             fix the shapes of the inputs"
        ),
    }
}

/// The size of an axis as a scalar.
fn size(scope: &mut Scope<'_>, x: TensorId, axis: usize) -> Built<TensorId> {
    let shape = scope.emit(ShapeOf { dtype: DType::I32 }, &[x])?;
    let slice = StridedSlice {
        begin: vec![axis as i64],
        end: vec![axis as i64 + 1],
        strides: vec![1],
        shrink_axis_mask: 1,
        ..StridedSlice::default()
    };
    scope.emit(slice, &[shape])
}

fn element_type(scope: &Scope<'_>) -> Built<DType> {
    match scope.node.attributes.dtype("element_dtype") {
        Some(dtype) => Ok(dtype),
        None => Err(scope.broken("its attribute 'element_dtype' is missing").into()),
    }
}
