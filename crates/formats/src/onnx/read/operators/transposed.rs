//! Transposed convolutions of sequences, images and volumes.

use litesmith_graph::ops::{
    BinaryKind, Concat, ExpandDims, Pad, Padding, Reshape, ReshapeDim, ShapeOf, Slice, Squeeze, StridedSlice,
    Transpose, TransposeConv2D, TransposeConv3D,
};
use litesmith_graph::{DType, TensorId};

use super::window::three;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// Most groups of channels, each of which becomes an operator.
const MOST_GROUPS: usize = 64;

/// How one axis grows: `out = in * stride + added`, of which `cut` elements are cut off before and after.
#[derive(Clone, Copy, Debug)]
struct Growth {
    stride: usize,
    added: i64,
    cut: [usize; 2],
    /// Whether the output is longer than the kernel reaches.
    longer: bool,
}

pub(super) fn convolution(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let [x, kernel] = scope.pair()?;
    let bias = scope.optional(2)?;
    scope.expect_floats(x)?;
    let sizes = scope.sizes(kernel)?;
    let axes = sizes.len().wrapping_sub(2);
    if scope.rank(x) != sizes.len() || !(1..=3).contains(&axes) || sizes.contains(&0) {
        let (x, kernel) = (scope.shape(x), scope.shape(kernel));
        unsupported!(
            "a transposed convolution of {x} with {kernel} is not supported; 1 to 3 axes of space are"
        );
    }
    let groups = scope.attributes.integer("group")?.unwrap_or(1);
    let groups = scope.size_from(groups, "the number of its groups")?;
    if groups == 0 || sizes[0] % groups != 0 {
        return Err(scope
            .broken(format!("{} channels cannot be split into {groups} groups", sizes[0]))
            .into());
    }
    if groups > MOST_GROUPS {
        unsupported!("{groups} groups are not supported, at most {MOST_GROUPS} are");
    }
    let mut growth = growth(scope, x, &sizes[2..])?;
    let mut image = scope.channels_to_last(x)?;
    // [in, out, …] to [out, …, in], or [in, out, …] to […, out, in] for volumes.
    let order: &[usize] = match axes {
        1 => &[1, 2, 0],
        2 => &[1, 2, 3, 0],
        _ => &[2, 3, 4, 1, 0],
    };
    let mut kernel = scope.laid_out(kernel, Transpose::by(order))?;
    kernel = spread(scope, kernel, axes, if axes == 3 { 0 } else { 1 })?;
    if axes == 1 {
        image = scope.emit(ExpandDims { axis: 1 }, &[image])?;
        kernel = scope.laid_out(kernel, ExpandDims { axis: 1 })?;
        growth.insert(0, Growth { stride: 1, added: 0, cut: [0, 0], longer: false });
    }
    let padding = pad_by_operator(&mut growth);
    let (inputs, filters) = (sizes[0] / groups, sizes[1]);
    let last = scope.rank(image) - 1;
    let mut results = Vec::with_capacity(groups);
    for group in 0..groups {
        let own = if groups == 1 { image } else { scope.part(image, last, group * inputs, inputs)? };
        let weights = if groups == 1 {
            kernel
        } else {
            let (mut begin, mut size) = (vec![0; last + 1], vec![-1; last + 1]);
            (begin[last], size[last]) = (group * inputs, inputs as i64);
            scope.laid_out(kernel, Slice { begin, size })?
        };
        let bias = match bias {
            Some(bias) if groups > 1 => {
                let slice = Slice { begin: vec![group * filters], size: vec![filters as i64] };
                Some(scope.laid_out(bias, slice)?)
            }
            bias => bias,
        };
        let shape = output_shape(scope, own, &growth, filters)?;
        let operands = vec![Some(shape), Some(weights), Some(own), bias];
        let strides: Vec<usize> = growth.iter().map(|growth| growth.stride).collect();
        results.push(if axes == 3 {
            let op = TransposeConv3D { stride: three(&strides), padding, ..TransposeConv3D::default() };
            scope.emit_some(op, operands)?
        } else {
            let op =
                TransposeConv2D { stride: [strides[0], strides[1]], padding, ..TransposeConv2D::default() };
            scope.emit_some(op, operands)?
        });
    }
    let mut result = match results.as_slice() {
        [one] => *one,
        _ => scope.emit(Concat { axis: last as i32, ..Concat::default() }, &results)?,
    };
    result = cut_off(scope, result, &growth)?;
    if axes == 1 {
        result = scope.emit(Squeeze { axes: vec![1] }, &[result])?;
    }
    scope.channels_to_first(result)
}

/// How the axes of space grow by a node's attributes.
fn growth(scope: &mut Scope<'_, '_>, x: TensorId, kernel: &[usize]) -> Built<Vec<Growth>> {
    let axes = kernel.len();
    let stated = scope.attributes.integers("kernel_shape")?;
    if stated.is_some_and(|stated| !stated.iter().copied().eq(kernel.iter().map(|size| *size as i64))) {
        return Err(scope.broken(format!("its kernel is {kernel:?}, it says {stated:?}")).into());
    }
    let list = |key: &'static str, usual: usize, length: usize| -> Built<Vec<usize>> {
        match scope.attributes.integers(key)? {
            None => Ok(vec![usual; length]),
            Some(values) if values.len() == length => scope.sizes_from(values, key),
            Some(values) => Err(scope.broken(format!("its attribute '{key}' is {values:?}")).into()),
        }
    };
    let (strides, dilations) = (list("strides", 1, axes)?, list("dilations", 1, axes)?);
    let (more, pads) = (list("output_padding", 0, axes)?, list("pads", 0, 2 * axes)?);
    let asked = scope.attributes.integers("output_shape")?;
    let mode = scope.attributes.text("auto_pad")?.unwrap_or("NOTSET");
    if strides.contains(&0) || dilations.contains(&0) || asked.is_some_and(|asked| asked.len() < axes) {
        return Err(scope.broken("its strides, dilations or output shape do not fit").into());
    }
    let mut all = Vec::with_capacity(axes);
    for axis in 0..axes {
        let (stride, reach) =
            (strides[axis], (kernel[axis] - 1).saturating_mul(dilations[axis]).saturating_add(1));
        if reach > u32::MAX as usize {
            return Err(scope.broken(format!("its kernel reaches over {reach} elements")).into());
        }
        // How long the output is before it is cut.
        let added = reach as i64 - stride as i64 + more[axis] as i64;
        let total = match asked {
            Some(asked) => {
                let size = scope.size(x, axis + 2)? as i128;
                let whole = size * stride as i128 + i128::from(added);
                // The output shape may state batch and channels too.
                let total = whole - i128::from(asked[asked.len() - axes + axis]);
                match i64::try_from(total) {
                    Ok(total) => Some(total),
                    Err(_) => return Err(scope.broken("its output shape does not fit").into()),
                }
            }
            None if mode.starts_with("SAME") => Some(added),
            None => None,
        };
        let cut = match total {
            Some(total) if total >= 0 => {
                let (less, rest) = ((total / 2) as usize, (total - total / 2) as usize);
                if mode == "SAME_UPPER" { [less, rest] } else { [rest, less] }
            }
            Some(_) => {
                unsupported!("an output that is longer than its inputs reach is not supported; pad it")
            }
            None => [pads[axis], pads[axes + axis]],
        };
        if more[axis] >= stride.max(dilations[axis]) || (more[axis] >= stride && more[axis] > 0) {
            unsupported!("an output padding of {} with steps of {stride} is not supported", more[axis]);
        }
        all.push(Growth { stride, added, cut, longer: more[axis] > 0 });
    }
    Ok(all)
}

/// The padding of the operator; where it cuts as asked, nothing else needs to.
fn pad_by_operator(growth: &mut [Growth]) -> Padding {
    let alike = |growth: &Growth| {
        !growth.longer && growth.added >= 0 && {
            let total = growth.added as usize;
            growth.cut == [total / 2, total - total / 2]
        }
    };
    if growth.iter().any(|growth| growth.cut != [0, 0]) && growth.iter().all(alike) {
        for growth in growth {
            (growth.added, growth.cut) = (0, [0, 0]);
        }
        return Padding::Same;
    }
    Padding::Valid
}

/// Zeros between the taps of a dilated kernel, whose axes of space start at `first`.
fn spread(scope: &mut Scope<'_, '_>, kernel: TensorId, axes: usize, first: usize) -> Built<TensorId> {
    let dilations = scope.attributes.integers("dilations")?.map_or_else(|| vec![1; axes], <[i64]>::to_vec);
    let mut kernel = kernel;
    for (place, dilation) in dilations.into_iter().enumerate() {
        let (axis, dilation) = (first + place, scope.size_from(dilation, "a dilation")?);
        if dilation == 1 {
            continue;
        }
        let sizes = scope.sizes(kernel)?;
        let fixed = |sizes: &[usize]| Reshape::to(sizes.iter().copied().map(ReshapeDim::Fixed).collect());
        let mut apart = sizes.clone();
        apart.insert(axis + 1, 1);
        let mut amounts = vec![[0, 0]; apart.len()];
        amounts[axis + 1] = [0, dilation - 1];
        let mut long = sizes.clone();
        long[axis] = scope.affordable(&[sizes[axis], dilation])?;
        let (begin, mut size) = (vec![0; sizes.len()], vec![-1; sizes.len()]);
        size[axis] = ((sizes[axis] - 1) * dilation + 1) as i64;
        kernel = scope.laid_out(kernel, fixed(&apart))?;
        kernel = scope.laid_out(kernel, Pad { amounts, ..Pad::default() })?;
        kernel = scope.laid_out(kernel, fixed(&long))?;
        kernel = scope.laid_out(kernel, Slice { begin, size })?;
    }
    Ok(kernel)
}

/// The output's shape before it is cut, as the operators take it.
fn output_shape(
    scope: &mut Scope<'_, '_>,
    x: TensorId,
    growth: &[Growth],
    filters: usize,
) -> Built<TensorId> {
    let rank = growth.len() + 2;
    let shape = scope.emit(ShapeOf { dtype: DType::I32 }, &[x])?;
    if let Some(sizes) = scope.known_integers(shape) {
        let mut sizes = sizes;
        for (size, growth) in sizes[1..].iter_mut().zip(growth) {
            *size = size.saturating_mul(growth.stride as i64).saturating_add(growth.added);
        }
        sizes[rank - 1] = filters as i64;
        return scope.integers("shape", DType::I32, &[rank], &sizes);
    }
    let batch = scope.part(shape, 0, 0, 1)?;
    let space = scope.part(shape, 0, 1, growth.len())?;
    let strides: Vec<i64> = growth.iter().map(|growth| growth.stride as i64).collect();
    let added: Vec<i64> = growth.iter().map(|growth| growth.added).collect();
    let strides = scope.integers("strides", DType::I32, &[growth.len()], &strides)?;
    let added = scope.integers("added", DType::I32, &[growth.len()], &added)?;
    let space = scope.binary(BinaryKind::Mul, space, strides)?;
    let space = scope.binary(BinaryKind::Add, space, added)?;
    let filters = scope.integers("filters", DType::I32, &[1], &[filters as i64])?;
    scope.emit(Concat::default(), &[batch, space, filters])
}

fn cut_off(scope: &mut Scope<'_, '_>, x: TensorId, growth: &[Growth]) -> Built<TensorId> {
    if growth.iter().all(|growth| growth.cut == [0, 0]) {
        return Ok(x);
    }
    let rank = scope.rank(x);
    let all = (1u32 << rank) - 1;
    let mut slice = StridedSlice {
        begin: vec![0; rank],
        end: vec![0; rank],
        strides: vec![1; rank],
        begin_mask: all,
        end_mask: all,
        ..StridedSlice::default()
    };
    for (axis, growth) in (1..).zip(growth) {
        let [before, after] = growth.cut;
        if before > 0 {
            slice.begin[axis] = before as i64;
            slice.begin_mask &= !(1 << axis);
        }
        if after > 0 {
            slice.end[axis] = -(after as i64);
            slice.end_mask &= !(1 << axis);
        }
    }
    scope.emit(slice, &[x])
}
