//! Einstein sums: products of two tensors whose axes are letters.

use std::collections::HashMap;

use litesmith_graph::TensorId;
use litesmith_graph::ops::{BatchMatMul, BinaryKind, Reduce, ReduceKind, Reshape, ReshapeDim, Transpose};

use crate::composed::dense::product;
use crate::emit::Emit;
use crate::refusal::{Built, unsupported};

/// Letters of the axes of a tensor.
type Axes = Vec<char>;

/// An equation with ellipses written out.
pub(crate) struct Equation {
    /// Axes of each tensor.
    pub inputs: Vec<Vec<char>>,
    /// Axes of the result.
    pub output: Vec<char>,
}

impl Equation {
    /// Reads `text`; an ellipsis stands for as many axes as the inputs have beyond their letters.
    pub fn read(scope: &impl Emit, text: &str, ranks: &[Option<usize>]) -> Built<Equation> {
        let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let Some((left, right)) = text.split_once("->") else {
            unsupported!("the equation '{text}' names no output; write it with '->'");
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            let reason = format!("the equation '{text}' takes {} tensors, not {}", terms.len(), ranks.len());
            return Err(scope.broken(reason).into());
        }
        let letters = |term: &str| term.chars().filter(|letter| *letter != '.').count();
        let hidden = terms
            .iter()
            .zip(ranks)
            .filter(|(term, _)| term.contains("..."))
            .filter_map(|(term, rank)| rank.map(|rank| rank.saturating_sub(letters(term))))
            .max()
            .unwrap_or(0)
            .min(16);
        // Letters for private use stand in no equation.
        let ellipsis: String =
            (0..hidden).filter_map(|i| char::from_u32('\u{E000}' as u32 + i as u32)).collect();
        let written = |term: &str| -> Built<Axes> {
            let axes: Axes = term.replace("...", &ellipsis).chars().collect();
            let twice = (0..axes.len()).any(|i| axes[..i].contains(&axes[i]));
            if twice || axes.contains(&'.') {
                unsupported!(
                    "the equation '{text}' takes a diagonal or is malformed, which is not supported"
                );
            }
            Ok(axes)
        };
        let inputs = terms.iter().map(|term| written(term)).collect::<Built<Vec<_>>>()?;
        let equation = Equation { inputs, output: written(right)? };
        for (axes, rank) in equation.inputs.iter().zip(ranks) {
            if rank.is_some_and(|rank| rank != axes.len()) {
                let reason = format!("the equation '{text}' does not fit an input of {rank:?} axes");
                return Err(scope.broken(reason).into());
            }
        }
        if equation.output.iter().any(|axis| !equation.inputs.iter().any(|axes| axes.contains(axis))) {
            return Err(scope.broken(format!("the equation '{text}' makes axes of nothing")).into());
        }
        Ok(equation)
    }
}

impl Equation {
    /// Whether the second tensor shares some axes with the first, none of them with the result, which has
    /// all its others, and the first keeps some.
    fn is_connection(&self) -> bool {
        let [input, kernel] = self.inputs.as_slice() else { return false };
        let (shared, made): (Vec<char>, Vec<char>) = kernel.iter().partition(|axis| input.contains(axis));
        !shared.is_empty()
            && !shared.iter().any(|axis| self.output.contains(axis))
            && made.iter().all(|axis| self.output.contains(axis))
            && input.iter().any(|axis| self.output.contains(axis))
    }
}

/// What an equation makes of one or two tensors; `kernel` says that the second one is made of weights.
pub(crate) fn evaluate(
    scope: &mut impl Emit,
    text: &str,
    inputs: &[TensorId],
    kernel: bool,
) -> Built<TensorId> {
    let ranks: Vec<_> = inputs.iter().map(|input| Some(scope.rank(*input))).collect();
    let equation = Equation::read(scope, text, &ranks)?;
    match inputs {
        [x] => {
            let (x, axes) = summed(scope, *x, &equation.inputs[0], |axis| equation.output.contains(&axis))?;
            in_order(scope, x, &axes, &equation.output)
        }
        [a, b] if kernel && equation.is_connection() => connected(scope, *a, *b, None, &equation),
        [a, b] => two(scope, [*a, *b], [&equation.inputs[0], &equation.inputs[1]], &equation.output),
        _ => unsupported!("einsum of {} tensors is not supported; take two at a time", inputs.len()),
    }
}

/// Sums over the axes that are not wanted.
fn summed(
    scope: &mut impl Emit,
    x: TensorId,
    axes: &[char],
    wanted: impl Fn(char) -> bool,
) -> Built<(TensorId, Axes)> {
    let gone: Vec<i32> =
        (0..axes.len()).filter(|place| !wanted(axes[*place])).map(|place| place as i32).collect();
    if gone.is_empty() {
        return Ok((x, axes.to_vec()));
    }
    let x = scope.emit(Reduce { kind: ReduceKind::Sum, axes: gone, keep_dims: false }, &[x])?;
    Ok((x, axes.iter().copied().filter(|axis| wanted(*axis)).collect()))
}

/// The axes in another order.
fn in_order(scope: &mut impl Emit, x: TensorId, axes: &[char], wanted: &[char]) -> Built<TensorId> {
    if axes == wanted {
        return Ok(x);
    }
    let places: Option<Vec<usize>> =
        wanted.iter().map(|axis| axes.iter().position(|known| known == axis)).collect();
    match places {
        Some(places) if places.len() == axes.len() => scope.emit(Transpose::by(&places), &[x]),
        _ => Err(scope.broken("its equation does not fit").into()),
    }
}

/// Products of two tensors: what both have and the output keeps is a batch, what it does not keep is
/// summed over.
pub(crate) fn two(
    scope: &mut impl Emit,
    [a, b]: [TensorId; 2],
    [axes_a, axes_b]: [&[char]; 2],
    output: &[char],
) -> Built<TensorId> {
    let (a, axes_a) = summed(scope, a, axes_a, |axis| output.contains(&axis) || axes_b.contains(&axis))?;
    let (b, axes_b) = summed(scope, b, axes_b, |axis| output.contains(&axis) || axes_a.contains(&axis))?;
    let of = |axes: &[char], keep: &dyn Fn(char) -> bool| -> Axes {
        axes.iter().copied().filter(|axis| keep(*axis)).collect()
    };
    let batch = of(&axes_a, &|axis| axes_b.contains(&axis) && output.contains(&axis));
    let inner = of(&axes_a, &|axis| axes_b.contains(&axis) && !output.contains(&axis));
    let left = of(&axes_a, &|axis| !axes_b.contains(&axis));
    let right = of(&axes_b, &|axis| !axes_a.contains(&axis));
    if inner.is_empty() && left.is_empty() && right.is_empty() {
        let b = in_order(scope, b, &axes_b, &axes_a)?;
        let product = scope.binary(BinaryKind::Mul, a, b)?;
        return in_order(scope, product, &axes_a, output);
    }
    let sizes = sizes(scope, [(a, &axes_a), (b, &axes_b)]);
    let a = in_order(scope, a, &axes_a, &[&batch[..], &left, &inner].concat())?;
    let b = in_order(scope, b, &axes_b, &[&batch[..], &right, &inner].concat())?;
    let a = as_matrix(scope, a, batch.len(), &left, &inner, &sizes)?;
    let b = as_matrix(scope, b, batch.len(), &right, &inner, &sizes)?;
    let op = BatchMatMul { adjoint_b: true, ..BatchMatMul::default() };
    let product = scope.emit(op, &[a, b])?;
    // Apart again what was one axis.
    let mut shape: Vec<ReshapeDim> = (0..batch.len()).map(ReshapeDim::Copy).collect();
    let mut open = 0;
    for axis in left.iter().chain(&right) {
        shape.push(match sizes.get(axis).copied().flatten() {
            Some(size) => ReshapeDim::Fixed(size),
            None => ReshapeDim::Infer,
        });
        open += usize::from(shape.last() == Some(&ReshapeDim::Infer));
    }
    if open > 1 {
        unsupported!("an einsum that keeps several axes of open size is not supported; fix all but one");
    }
    let apart = if (left.len(), right.len()) == (1, 1) {
        product
    } else {
        scope.emit(Reshape::to(shape), &[product])?
    };
    in_order(scope, apart, &[&batch[..], &left, &right].concat(), output)
}

fn sizes(scope: &impl Emit, tensors: [(TensorId, &Axes); 2]) -> HashMap<char, Option<usize>> {
    let mut sizes = HashMap::new();
    for (tensor, axes) in tensors {
        for (axis, dim) in axes.iter().zip(scope.shape(tensor).dims()) {
            let known = sizes.entry(*axis).or_insert(None);
            *known = known.or(dim.fixed());
        }
    }
    sizes
}

/// The axes behind the batch as two: those that are kept and those that are summed over.
fn as_matrix(
    scope: &mut impl Emit,
    x: TensorId,
    batch: usize,
    kept: &[char],
    inner: &[char],
    sizes: &HashMap<char, Option<usize>>,
) -> Built<TensorId> {
    if (kept.len(), inner.len()) == (1, 1) {
        return Ok(x);
    }
    let size = |axes: &[char]| {
        axes.iter().try_fold(1usize, |product, axis| product.checked_mul(sizes.get(axis).copied().flatten()?))
    };
    let dim = |size: Option<usize>| size.map_or(ReshapeDim::Infer, ReshapeDim::Fixed);
    let mut shape: Vec<ReshapeDim> = (0..batch).map(ReshapeDim::Copy).collect();
    shape.extend([dim(size(kept)), dim(size(inner))]);
    if shape[batch..] == [ReshapeDim::Infer, ReshapeDim::Infer] {
        unsupported!("an einsum over axes of open size is not supported; give the model a fixed input shape");
    }
    scope.emit(Reshape::to(shape), &[x])
}

/// What an equation makes of a tensor and a kernel that share no axis that stays: a fully connected layer,
/// with a bias along the last axes of the result.
pub(crate) fn connected(
    scope: &mut impl Emit,
    input: TensorId,
    kernel: TensorId,
    bias: Option<TensorId>,
    equation: &Equation,
) -> Built<TensorId> {
    let (axes, kernel_axes) = (&equation.inputs[0], &equation.inputs[1]);
    let (input, axes) =
        summed(scope, input, axes, |axis| equation.output.contains(&axis) || kernel_axes.contains(&axis))?;
    let kept: Axes = axes.iter().copied().filter(|axis| !kernel_axes.contains(axis)).collect();
    let inner: Axes = axes.iter().copied().filter(|axis| kernel_axes.contains(axis)).collect();
    let made: Axes = kernel_axes.iter().copied().filter(|axis| !axes.contains(axis)).collect();
    if inner.is_empty() || made.iter().any(|axis| !equation.output.contains(axis)) || kept.is_empty() {
        unsupported!(
            "the equation sums over nothing, or over axes of the kernel alone; use Multiply or Dense"
        );
    }
    let input = in_order(scope, input, &axes, &[&kept[..], &inner].concat())?;
    let wanted = [&inner[..], &made].concat();
    let places: Vec<usize> =
        wanted.iter().filter_map(|axis| kernel_axes.iter().position(|known| known == axis)).collect();
    let in_place = places.iter().copied().eq(0..kernel_axes.len());
    let kernel = if in_place { kernel } else { scope.laid_out(kernel, Transpose::by(&places))? };
    let natural = [&kept[..], &made].concat();
    // A bias along just what the kernel makes, in order, belongs to the product.
    let whole = bias.filter(|bias| {
        natural == equation.output && scope.shape(*bias).dims() == &scope.shape(kernel).dims()[inner.len()..]
    });
    let result = product(scope, input, inner.len(), kernel, whole)?;
    let result = in_order(scope, result, &natural, &equation.output)?;
    match bias {
        Some(bias) if whole.is_none() => scope.binary(BinaryKind::Add, result, bias),
        _ => Ok(result),
    }
}
