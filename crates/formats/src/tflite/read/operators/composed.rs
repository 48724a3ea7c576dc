//! Builtins that are read as several operators, or as what others do.

use litesmith_graph::ops::{
    Activation, Binary, BinaryKind, Conv2D, Fill, Gather, Identity, Pool2D, PoolKind, Reshape, ReshapeDim,
    Select, ShapeOf, Unary, UnaryKind,
};
use litesmith_graph::{DType, Data, Dim, Op, Shape, Tensor};

use super::{Decode, Decoded, Link, Source, whole};
use crate::tflite::read::call::{Call, unsupported};
use crate::tflite::schema::options;

/// Most channels of a local response normalization, whose sums are a square of weights.
const MOST_CHANNELS: usize = 2048;

/// A step of a chain that gives real numbers.
fn link(op: impl Into<Op>, inputs: Vec<Source>) -> Link {
    Link { op: op.into(), dtype: DType::F32, inputs }
}

fn constant(tensor: Tensor) -> Source {
    Source::Constant(Box::new(tensor))
}

fn scalar(name: &str, value: f32) -> Source {
    constant(Tensor::floats(name, &[], vec![value]))
}

/// ADD_N: one sum after the other.
pub(super) fn add_n(call: &Call<'_>) -> Decode {
    let dtype = call.tensor(0)?.dtype;
    let [_, others @ ..] = call.inputs else { return Err(call.broken("it has no inputs")) };
    if others.is_empty() {
        return whole(call, Identity {});
    }
    // Each sum in between bears the operator's name.
    call.table.file().charge(others.len().saturating_mul(call.name.len()))?;
    let mut links = Vec::with_capacity(others.len());
    for (place, _) in others.iter().enumerate() {
        let sum = if place == 0 { Source::Tensor(call.input(0)?) } else { Source::Result(place - 1) };
        let inputs = vec![sum, Source::Tensor(call.input(place + 1)?)];
        links.push(Link { op: Binary::from(BinaryKind::Add).into(), dtype, inputs });
    }
    Ok(Decoded::Chain(links))
}

/// LOCAL_RESPONSE_NORMALIZATION: `x * (bias + alpha * sum of squares of the channels around) ^ -beta`;
/// the sums are a convolution of one pixel.
pub(super) fn local_response_normalization(call: &Call<'_>) -> Decode {
    use options::local_response_normalization as slot;
    call.takes(1)?;
    let options = call.options(slot::KIND)?;
    let radius = call.size(options.int(slot::RADIUS)?, "radius")?;
    let numbers = [slot::BIAS, slot::ALPHA, slot::BETA].map(|slot| options.get(slot, 0f32));
    let [bias, alpha, beta] = numbers;
    let (bias, alpha, beta) = (bias?, alpha?, beta?);
    let Some(channels) = call.facts(0)?.shape.last().and_then(Dim::fixed).filter(|c| *c <= MOST_CHANNELS)
    else {
        return unsupported(format!("only up to {MOST_CHANNELS} channels, a fixed number, are supported"));
    };
    // What the file makes us allocate is paid for, at a rate that allows the channels of small files.
    call.table.file().charge(channels * channels / 100)?;
    let near = |place: usize| (place / channels).abs_diff(place % channels) <= radius;
    let weights = (0..channels * channels).map(|place| if near(place) { alpha } else { 0.0 }).collect();
    let weights = Tensor::floats("squares", &[channels, 1, 1, channels], weights);
    let bias = Tensor::floats("bias", &[channels], vec![bias; channels]);
    let x = call.input(0)?;
    Ok(Decoded::Chain(vec![
        link(Unary::from(UnaryKind::Square), vec![Source::Tensor(x)]),
        link(Conv2D::default(), vec![Source::Result(0), constant(weights), constant(bias)]),
        link(Binary::from(BinaryKind::Pow), vec![Source::Result(1), scalar("exponent", -beta)]),
        link(Binary::from(BinaryKind::Mul), vec![Source::Tensor(x), Source::Result(2)]),
    ]))
}

/// L2_POOL_2D: the root of the mean of the squares.
pub(super) fn l2_pool(call: &Call<'_>) -> Decode {
    use options::pool_2d as slot;
    call.takes(1)?;
    let options = call.options(slot::KIND)?;
    let pool = Pool2D {
        kind: PoolKind::Average,
        kernel: call.pair(&options, slot::FILTER_HEIGHT, slot::FILTER_WIDTH, 0, "window")?,
        stride: call.pair(&options, slot::STRIDE_H, slot::STRIDE_W, 0, "stride")?,
        padding: call.padding(&options, slot::PADDING)?,
        activation: Activation::None,
    };
    let mut links = vec![
        link(Unary::from(UnaryKind::Square), vec![Source::Tensor(call.input(0)?)]),
        link(pool, vec![Source::Result(0)]),
        link(Unary::from(UnaryKind::Sqrt), vec![Source::Result(1)]),
    ];
    let clamp = match options.activation(slot::ACTIVATION)? {
        Activation::None => None,
        Activation::Relu => Some(UnaryKind::Relu),
        Activation::Relu6 => Some(UnaryKind::Relu6),
        Activation::ReluN1To1 => Some(UnaryKind::ReluN1To1),
    };
    links.extend(clamp.map(|kind| link(Unary::from(kind), vec![Source::Result(2)])));
    Ok(Decoded::Chain(links))
}

/// ZEROS_LIKE: a tensor of its input's shape filled with 0.
pub(super) fn zeros_like(call: &Call<'_>) -> Decode {
    call.takes(1)?;
    let dtype = call.tensor(0)?.dtype;
    let Some(bytes) = dtype.bytes(1) else { return unsupported(format!("it gives {dtype}")) };
    let zero = Tensor::constant("zero", dtype, Shape::default(), Data::from_vec(vec![0u8; bytes]));
    let shape = ShapeOf { dtype: DType::I32 };
    Ok(Decoded::Chain(vec![
        Link { op: shape.into(), dtype: DType::I32, inputs: vec![Source::Tensor(call.input(0)?)] },
        Link { op: Fill {}.into(), dtype, inputs: vec![Source::Result(0), constant(zero)] },
    ]))
}

/// RANK, which is known.
pub(super) fn rank(call: &Call<'_>) -> Decode {
    call.takes(1)?;
    // The number of axes is bounded.
    Ok(Decoded::Constant(Data::from_vec(vec![call.facts(0)?.shape.rank() as i32])))
}

/// BROADCAST_ARGS of known shapes: the shape that both broadcast to.
pub(super) fn broadcast_args(call: &Call<'_>) -> Decode {
    call.takes(2)?;
    let [a, b] = [call.integers(0, "first shape")?, call.integers(1, "second shape")?];
    let rank = a.len().max(b.len());
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        let size = |of: &[i64]| (axis + of.len()).checked_sub(rank).map_or(1, |own| of[own]);
        shape.push(match (size(&a), size(&b)) {
            (1, size) | (size, 1) => size,
            (a, b) if a == b => a,
            (a, b) => return Err(call.broken(format!("sizes {a} and {b} do not broadcast"))),
        });
    }
    Ok(Decoded::Constant(match call.output()?.dtype {
        DType::I64 => Data::from_vec(shape),
        _ => Data::from_vec(shape.into_iter().map(|size| size as i32).collect::<Vec<i32>>()),
    }))
}

/// EMBEDDING_LOOKUP: rows of the second input.
pub(super) fn embedding_lookup(call: &Call<'_>) -> Decode {
    call.takes(2)?;
    let inputs = vec![Some(call.input(1)?), Some(call.input(0)?)];
    Ok(Decoded::Node(Gather { axis: 0, batch_dims: 0 }.into(), inputs))
}

/// SELECT, whose condition may be a scalar or have the values' shape, or may choose whole rows.
pub(super) fn select(call: &Call<'_>) -> Decode {
    let (rank, values) = (call.facts(0)?.shape.rank(), call.facts(1)?.shape.rank());
    if rank == 0 || rank == values {
        return whole(call, Select {});
    }
    if rank != 1 {
        return unsupported(format!("a condition of {rank} axes for values of {values} is not supported"));
    }
    let mut rows = vec![ReshapeDim::Infer];
    rows.resize(values, ReshapeDim::Fixed(1));
    let reshape = Reshape::to(rows);
    let dtype = call.tensor(1)?.dtype;
    let [condition, then, otherwise] = [0, 1, 2].map(|input| call.input(input));
    let values = vec![Source::Result(0), Source::Tensor(then?), Source::Tensor(otherwise?)];
    Ok(Decoded::Chain(vec![
        Link { op: reshape.into(), dtype: DType::Bool, inputs: vec![Source::Tensor(condition?)] },
        Link { op: Select {}.into(), dtype, inputs: values },
    ]))
}
