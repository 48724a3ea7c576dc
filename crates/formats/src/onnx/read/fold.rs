//! Arithmetic on few constants while a graph is read: shapes, indices and conditions that exporters spell
//! out in nodes.

use litesmith_graph::ops::{BinaryKind, CompareKind, LogicalKind, ReduceKind, UnaryKind};
use litesmith_graph::{DType, Data, Facts, Graph, Model, Op, TensorId, TensorKind};

/// Most elements that are computed with.
const MOST_ELEMENTS: usize = 1024;

/// Elements of a constant.
#[derive(Clone, Debug)]
enum Elements {
    /// Integers and truth values.
    Whole(Vec<i64>),
    /// Real numbers.
    Real(Vec<f64>),
}

struct Constant {
    elements: Elements,
    shape: Vec<usize>,
}

/// What a node computes, if its inputs are few constants that are no weights. `output` is what is known of
/// its output.
pub(super) fn evaluate(
    model: &Model,
    graph: &Graph,
    op: &Op,
    inputs: &[Option<TensorId>],
    output: &Facts,
) -> Option<Data> {
    let shape = output.shape.to_fixed()?;
    let count = output.shape.elements().filter(|count| *count <= MOST_ELEMENTS)?;
    let constants: Vec<Constant> =
        inputs.iter().map(|input| constant(model, graph, (*input)?)).collect::<Option<_>>()?;
    let elements = match (op, constants.as_slice()) {
        (Op::Reshape(_) | Op::Squeeze(_) | Op::ExpandDims(_) | Op::Identity(_), [x, ..]) => {
            x.elements.clone()
        }
        (Op::Cast(_), [x]) => cast(&x.elements, output.dtype)?,
        (Op::Unary(op), [x]) => unary(op.kind, &x.elements)?,
        (Op::Binary(op), [a, b]) if op.activation.is_none() => {
            let (places_a, places_b) = (places(&a.shape, &shape), places(&b.shape, &shape));
            binary(op.kind, &taken(&a.elements, &places_a)?, &taken(&b.elements, &places_b)?)?
        }
        (Op::Compare(op), [a, b]) => {
            let (places_a, places_b) = (places(&a.shape, &shape), places(&b.shape, &shape));
            compare(op.kind, &taken(&a.elements, &places_a)?, &taken(&b.elements, &places_b)?)?
        }
        (Op::Logical(op), [a, b]) => {
            let (places_a, places_b) = (places(&a.shape, &shape), places(&b.shape, &shape));
            let (a, b) = (whole(&taken(&a.elements, &places_a)?)?, whole(&taken(&b.elements, &places_b)?)?);
            let both = a.iter().zip(&b).map(|(a, b)| match op.kind {
                LogicalKind::And => a & b,
                LogicalKind::Or => a | b,
            });
            Elements::Whole(both.collect())
        }
        (Op::Select(_), [condition, yes, no]) => {
            let condition = whole(&taken(&condition.elements, &places(&condition.shape, &shape))?)?;
            let (places_yes, places_no) = (places(&yes.shape, &shape), places(&no.shape, &shape));
            select(&condition, &taken(&yes.elements, &places_yes)?, &taken(&no.elements, &places_no)?)?
        }
        (Op::Reduce(op), [x]) if op.axes.len() == x.shape.len() => reduce(op.kind, &x.elements)?,
        (Op::Concat(op), all) if op.activation.is_none() => concat(all, op.axis, &shape)?,
        (Op::Fill(_), [_, value]) | (Op::BroadcastTo(_), [value] | [value, _]) => {
            taken(&value.elements, &places(&value.shape, &shape))?
        }
        (Op::Gather(_), [table, indices]) if table.shape.len() == 1 => gather(table, indices)?,
        (Op::StridedSlice(op), [x]) => {
            let slices = op.resolve(&x.shape).ok()?;
            let sizes: Vec<usize> = slices.iter().map(|slice| slice.length).collect();
            let from = |axis: usize, at: usize| {
                usize::try_from(slices[axis].start as i64 + at as i64 * slices[axis].step)
                    .unwrap_or(usize::MAX)
            };
            taken(&x.elements, &walked(&sizes, &x.shape, |axis, at| (axis, from(axis, at))))?
        }
        (Op::Transpose(op), [x]) => {
            taken(&x.elements, &walked(&shape, &x.shape, |axis, at| (op.permutation[axis], at)))?
        }
        _ => return None,
    };
    data(&elements, output.dtype).filter(|data| output.dtype.bytes(count) == Some(data.len()))
}

fn constant(model: &Model, graph: &Graph, id: TensorId) -> Option<Constant> {
    let tensor = &graph[id];
    if !matches!(tensor.kind, TensorKind::Constant(_)) || tensor.quantization.is_some() {
        return None;
    }
    let shape = tensor.shape.to_fixed()?;
    tensor.shape.elements().filter(|count| *count <= MOST_ELEMENTS)?;
    let data = model.data(tensor)?;
    let elements = match tensor.dtype {
        DType::F64 => Elements::Real(data.elements::<f64>().to_vec()),
        DType::U64 | DType::I4 => return None,
        dtype if dtype.is_float() => {
            Elements::Real(data.floats(dtype)?.iter().map(|x| f64::from(*x)).collect())
        }
        dtype => Elements::Whole(data.integers(dtype)?),
    };
    Some(Constant { elements, shape })
}

/// For each element of `shape`, the place of the one that broadcasts to it.
fn places(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let count = shape.iter().product();
    let missing = shape.len().saturating_sub(own.len());
    let place = |index: usize| {
        let (mut rest, mut place, mut stride) = (index, 0, 1);
        for (axis, size) in shape.iter().enumerate().rev() {
            let at = rest % size;
            rest /= size;
            if let Some(own) = axis.checked_sub(missing).map(|axis| own[axis]) {
                place += if own == 1 { 0 } else { at * stride };
                stride *= own;
            }
        }
        place
    };
    (0..count).map(place).collect()
}

/// For each element of `sizes`, in order, the place of an element of `shape`: `source` says, for an index along
/// an axis of `sizes`, which axis of `shape` it goes along and where.
fn walked(sizes: &[usize], shape: &[usize], source: impl Fn(usize, usize) -> (usize, usize)) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    let place = |index: usize| {
        let (mut rest, mut place) = (index, 0usize);
        for (axis, size) in sizes.iter().enumerate().rev() {
            let (own, at) = source(axis, rest % size);
            rest /= size;
            place = place.saturating_add(at.saturating_mul(strides.get(own).copied().unwrap_or(usize::MAX)));
        }
        place
    };
    (0..sizes.iter().product()).map(place).collect()
}

fn taken(elements: &Elements, places: &[usize]) -> Option<Elements> {
    Some(match elements {
        Elements::Whole(values) => {
            Elements::Whole(places.iter().map(|place| values.get(*place).copied()).collect::<Option<_>>()?)
        }
        Elements::Real(values) => {
            Elements::Real(places.iter().map(|place| values.get(*place).copied()).collect::<Option<_>>()?)
        }
    })
}

fn whole(elements: &Elements) -> Option<Vec<i64>> {
    if let Elements::Whole(values) = elements { Some(values.clone()) } else { None }
}

fn cast(elements: &Elements, to: DType) -> Option<Elements> {
    Some(match (elements, to) {
        (Elements::Whole(values), DType::Bool) => {
            Elements::Whole(values.iter().map(|value| i64::from(*value != 0)).collect())
        }
        (Elements::Real(values), DType::Bool) => {
            Elements::Whole(values.iter().map(|value| i64::from(*value != 0.0)).collect())
        }
        (Elements::Whole(values), to) if to.is_float() => {
            Elements::Real(values.iter().map(|value| *value as f64).collect())
        }
        (Elements::Real(values), to) if !to.is_float() => {
            let fits = |value: &f64| value.is_finite() && value.abs() < 9e15;
            if !values.iter().all(fits) {
                return None;
            }
            Elements::Whole(values.iter().map(|value| value.trunc() as i64).collect())
        }
        (elements, _) => elements.clone(),
    })
}

fn unary(kind: UnaryKind, elements: &Elements) -> Option<Elements> {
    let real = |function: fn(f64) -> f64, values: &[f64]| values.iter().map(|x| function(*x)).collect();
    Some(match (kind, elements) {
        (UnaryKind::LogicalNot, Elements::Whole(values)) => {
            Elements::Whole(values.iter().map(|value| 1 - value).collect())
        }
        (UnaryKind::Neg, Elements::Whole(values)) => {
            Elements::Whole(values.iter().map(|value| value.checked_neg()).collect::<Option<_>>()?)
        }
        (UnaryKind::Neg, Elements::Real(values)) => Elements::Real(real(|x| -x, values)),
        (UnaryKind::Floor, Elements::Real(values)) => Elements::Real(real(f64::floor, values)),
        (UnaryKind::Ceil, Elements::Real(values)) => Elements::Real(real(f64::ceil, values)),
        (UnaryKind::Round, Elements::Real(values)) => Elements::Real(real(f64::round_ties_even, values)),
        (UnaryKind::Abs, Elements::Real(values)) => Elements::Real(real(f64::abs, values)),
        (UnaryKind::Sqrt, Elements::Real(values)) => Elements::Real(real(f64::sqrt, values)),
        _ => return None,
    })
}

fn binary(kind: BinaryKind, a: &Elements, b: &Elements) -> Option<Elements> {
    match (a, b) {
        (Elements::Whole(a), Elements::Whole(b)) => {
            let compute = |(a, b): (&i64, &i64)| match kind {
                BinaryKind::Add => a.checked_add(*b),
                BinaryKind::Sub => a.checked_sub(*b),
                BinaryKind::Mul => a.checked_mul(*b),
                BinaryKind::Div => a.checked_div(*b),
                BinaryKind::Maximum => Some(*a.max(b)),
                BinaryKind::Minimum => Some(*a.min(b)),
                BinaryKind::FloorMod if *b > 0 => Some(a.rem_euclid(*b)),
                BinaryKind::FloorDiv if *b > 0 => Some(a.div_euclid(*b)),
                _ => None,
            };
            Some(Elements::Whole(a.iter().zip(b).map(compute).collect::<Option<_>>()?))
        }
        (Elements::Real(a), Elements::Real(b)) => {
            let compute = |(a, b): (&f64, &f64)| match kind {
                BinaryKind::Add => Some(a + b),
                BinaryKind::Sub => Some(a - b),
                BinaryKind::Mul => Some(a * b),
                BinaryKind::Div => Some(a / b),
                BinaryKind::Maximum => Some(a.max(*b)),
                BinaryKind::Minimum => Some(a.min(*b)),
                _ => None,
            };
            Some(Elements::Real(a.iter().zip(b).map(compute).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn compare(kind: CompareKind, a: &Elements, b: &Elements) -> Option<Elements> {
    fn holds<T: PartialOrd>(kind: CompareKind, a: &[T], b: &[T]) -> Vec<i64> {
        let holds = |(a, b): (&T, &T)| match kind {
            CompareKind::Equal => a == b,
            CompareKind::NotEqual => a != b,
            CompareKind::Less => a < b,
            CompareKind::LessEqual => a <= b,
            CompareKind::Greater => a > b,
            CompareKind::GreaterEqual => a >= b,
        };
        a.iter().zip(b).map(|pair| i64::from(holds(pair))).collect()
    }
    match (a, b) {
        (Elements::Whole(a), Elements::Whole(b)) => Some(Elements::Whole(holds(kind, a, b))),
        (Elements::Real(a), Elements::Real(b)) => Some(Elements::Whole(holds(kind, a, b))),
        _ => None,
    }
}

fn select(condition: &[i64], yes: &Elements, no: &Elements) -> Option<Elements> {
    fn choose<T: Copy>(condition: &[i64], yes: &[T], no: &[T]) -> Vec<T> {
        let values = yes.iter().zip(no).zip(condition);
        values.map(|((yes, no), holds)| if *holds != 0 { *yes } else { *no }).collect()
    }
    match (yes, no) {
        (Elements::Whole(yes), Elements::Whole(no)) => Some(Elements::Whole(choose(condition, yes, no))),
        (Elements::Real(yes), Elements::Real(no)) => Some(Elements::Real(choose(condition, yes, no))),
        _ => None,
    }
}

/// Over all elements.
fn reduce(kind: ReduceKind, elements: &Elements) -> Option<Elements> {
    let Elements::Whole(values) = elements else { return None };
    let value = match kind {
        ReduceKind::Sum => values.iter().try_fold(0i64, |sum, value| sum.checked_add(*value)),
        ReduceKind::Prod => values.iter().try_fold(1i64, |product, value| product.checked_mul(*value)),
        ReduceKind::Max => values.iter().max().copied(),
        ReduceKind::Min => values.iter().min().copied(),
        ReduceKind::Mean => None,
    };
    Some(Elements::Whole(vec![value?]))
}

/// Constants behind one another along an axis of a result of this shape.
fn concat(all: &[Constant], axis: i32, shape: &[usize]) -> Option<Elements> {
    let axis = if axis < 0 { axis + shape.len() as i32 } else { axis };
    let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.len())?;
    let outer: usize = shape[..axis].iter().product();
    let (mut integers, mut reals) = (Vec::new(), Vec::new());
    for row in 0..outer {
        for constant in all {
            let run: usize = constant.shape.get(axis..)?.iter().product();
            let places = row * run..(row + 1) * run;
            match &constant.elements {
                Elements::Whole(values) => integers.extend_from_slice(values.get(places)?),
                Elements::Real(values) => reals.extend_from_slice(values.get(places)?),
            }
        }
    }
    Some(if reals.is_empty() { Elements::Whole(integers) } else { Elements::Real(reals) })
}

fn gather(table: &Constant, indices: &Constant) -> Option<Elements> {
    let places: Vec<usize> = whole(&indices.elements)?
        .into_iter()
        .map(|index| usize::try_from(index).ok())
        .collect::<Option<_>>()?;
    taken(&table.elements, &places)
}

/// The elements as bytes; `None` where one does not fit its type.
fn data(elements: &Elements, dtype: DType) -> Option<Data> {
    fn narrow<T: TryFrom<i64> + bytemuck::NoUninit>(values: &[i64]) -> Option<Data> {
        let values = values.iter().map(|value| T::try_from(*value).ok()).collect::<Option<Vec<T>>>()?;
        Some(Data::from_vec(values))
    }
    match (elements, dtype) {
        (Elements::Real(values), DType::F32) => {
            Some(Data::from_vec(values.iter().map(|value| *value as f32).collect()))
        }
        (Elements::Real(values), DType::F64) => Some(Data::from_vec(values.clone())),
        // An empty list does not say of what.
        (Elements::Whole(values), DType::F32 | DType::F64) if values.is_empty() => Some(Data::default()),
        (Elements::Whole(values), DType::Bool | DType::U8) => narrow::<u8>(values),
        (Elements::Whole(values), DType::I8) => narrow::<i8>(values),
        (Elements::Whole(values), DType::I16) => narrow::<i16>(values),
        (Elements::Whole(values), DType::U16) => narrow::<u16>(values),
        (Elements::Whole(values), DType::I32) => narrow::<i32>(values),
        (Elements::Whole(values), DType::U32) => narrow::<u32>(values),
        (Elements::Whole(values), DType::I64) => narrow::<i64>(values),
        _ => None,
    }
}
