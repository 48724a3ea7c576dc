//! Layers and operator nodes of Einstein sums.

use std::collections::HashMap;

use litesmith_graph::TensorId;
use litesmith_graph::ops::BinaryKind;

use crate::composed::einsum::{self, Equation, connected, two};
use crate::emit::Emit;
use crate::keras::activations;
use crate::keras::config::{Built, Config, Refusal};
use crate::keras::scope::{Operand, Scope};
use crate::keras::weights::Variable;

/// Operator node `einsum` of one or two tensors.
pub(super) fn operation(scope: &mut Scope<'_>) -> Built<TensorId> {
    let text = match scope.attribute("subscripts").or_else(|| scope.attribute("equation")) {
        Some(text) => text,
        None => match scope.arguments.first() {
            Some(Operand::Value(text)) => text.clone(),
            _ => return Err(scope.config().broken("it has no equation").into()),
        },
    };
    let inputs = scope.all_floats()?;
    einsum::evaluate(scope, text.as_str().unwrap_or(""), &inputs, false)
}

pub(super) fn dense_variables(config: Config<'_>) -> Built<Vec<Variable>> {
    let mut variables = vec![Variable::trained("kernel", "kernel_regularizer")];
    if config.text("bias_axes")?.is_some_and(|axes| !axes.is_empty()) {
        variables.push(Variable::trained("bias", "bias_regularizer"));
    }
    Ok(variables)
}

/// EinsumDense: a fully connected layer where input and kernel share no axis that the output keeps, else
/// a batch of products.
pub(super) fn dense(scope: &mut Scope<'_>) -> Built<TensorId> {
    let input = scope.floats()?;
    let config = scope.config();
    let text = config.text("equation")?.unwrap_or("");
    let equation = Equation::read(scope, text, &[Some(scope.rank(input)), None])?;
    let (axes, kernel_axes) = (&equation.inputs[0], &equation.inputs[1]);
    let made = made_sizes(scope, &equation, text.starts_with("..."))?;
    let size = |axis: &char| match axes.iter().position(|known| known == axis) {
        Some(place) => scope.size(input, place),
        None => made.get(axis).copied().ok_or_else(|| {
            Refusal::Unsupported(format!("the size of axis '{axis}' must be fixed in output_shape"))
        }),
    };
    let kernel_shape = kernel_axes.iter().map(&size).collect::<Built<Vec<_>>>()?;
    let bias_shape = bias_shape(config.text("bias_axes")?, &equation.output, &size)?;
    let kernel = scope.weight("kernel", &kernel_shape)?;
    let bias = match &bias_shape {
        Some(shape) => Some(scope.weight("bias", shape)?),
        None => None,
    };
    let shared = |axis: &&char| kernel_axes.contains(axis) && equation.output.contains(axis);
    let result = if axes.iter().any(|axis| shared(&axis)) {
        let product = two(scope, [input, kernel], [axes, kernel_axes], &equation.output)?;
        match bias {
            Some(bias) => scope.binary(BinaryKind::Add, product, bias)?,
            None => product,
        }
    } else {
        connected(scope, input, kernel, bias, &equation)?
    };
    activations::of_layer(scope, result)
}

/// The sizes that `output_shape` gives to the axes of the output; an ellipsis in front hides the first.
fn made_sizes(scope: &Scope<'_>, equation: &Equation, from_end: bool) -> Built<HashMap<char, usize>> {
    let sizes = scope.config().sizes("output_shape")?;
    let axes = &equation.output;
    let start = if from_end { axes.len().saturating_sub(sizes.len()) } else { 1.min(axes.len()) };
    Ok(axes[start..].iter().zip(sizes).filter_map(|(axis, size)| Some((*axis, size?))).collect())
}

/// A bias has the sizes of its axes from the first one on, and 1 for the others.
fn bias_shape(
    bias: Option<&str>,
    output: &[char],
    size: &impl Fn(&char) -> Built<usize>,
) -> Built<Option<Vec<usize>>> {
    let Some(bias) = bias.filter(|axes| !axes.is_empty()) else { return Ok(None) };
    let start = output.iter().position(|axis| bias.contains(*axis)).unwrap_or(output.len());
    let one = |axis: &char| if bias.contains(*axis) { size(axis) } else { Ok(1) };
    output[start..].iter().map(one).collect::<Built<Vec<_>>>().map(Some)
}
