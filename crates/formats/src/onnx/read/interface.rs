//! Inputs and outputs of the main graph.

use std::collections::HashSet;

use litesmith_graph::ops::Cast;
use litesmith_graph::{
    DType, Dim, Facts, Graph, GraphId, Op, Shape, Signature, Tensor, TensorId, TensorKind,
};

use super::ReadOptions;
use super::draft::{Bound, Draft, Environment, Target};
use super::tensor::dtype_of;
use crate::error::{FormatError, Unsupported};
use crate::inputs::open_shapes;
use crate::onnx::proto::{GraphProto, Size, TensorType, ValueInfoProto};

/// Most axes that an input may have.
const MOST_AXES: usize = 8;

/// The name of the only entry point.
const KEY: &str = "serving_default";

/// An input as the file states it.
pub(super) struct Input<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub shape: Shape,
}

/// The inputs that the caller gives: those that are no constants.
///
/// # Errors
/// If one is no tensor, of a type that is not supported, or of unknown rank.
pub(super) fn inputs<'a>(
    graph: &'a GraphProto,
    options: &ReadOptions,
) -> Result<Vec<Input<'a>>, FormatError> {
    let constants: HashSet<&str> =
        graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).collect();
    let given: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|input| !constants.contains(name_of(input))).collect();
    for (name, _) in &options.input_shapes {
        if !given.iter().any(|input| name_of(input) == name) {
            let names: Vec<&str> = given.iter().map(|input| name_of(input)).collect();
            return Err(refused(name, "there is no such input; the model has ", &names.join(", ")));
        }
    }
    let mut stated: Vec<(&str, Vec<Option<usize>>)> = Vec::new();
    let mut symbols: Vec<Vec<Option<&str>>> = Vec::new();
    let mut types = Vec::new();
    for input in given {
        let name = name_of(input);
        let Some(kind) = tensor_type(input) else {
            return Err(refused(name, "it is no tensor; give the model tensors alone", ""));
        };
        types.push(dtype_of(kind.elem_type.unwrap_or(0)).map_err(|reason| refused(name, &reason, ""))?);
        let (sizes, names) = sizes_of(name, kind, options)?;
        stated.push((name, sizes));
        symbols.push(names);
    }
    let sizes: Vec<(&str, &[Option<usize>])> =
        stated.iter().map(|(name, sizes)| (*name, sizes.as_slice())).collect();
    let mut shapes = open_shapes(&sizes);
    for (shape, symbols) in shapes.iter_mut().zip(&symbols) {
        for (dim, symbol) in shape.0.iter_mut().zip(symbols) {
            if let (None, Some(symbol)) = (dim.fixed(), symbol) {
                *dim = Dim::free(symbol);
            }
        }
    }
    let inputs = stated.iter().zip(types).zip(shapes);
    Ok(inputs.map(|((stated, dtype), shape)| Input { name: stated.0, dtype, shape }).collect())
}

fn name_of(value: &ValueInfoProto) -> &str {
    value.name.as_deref().unwrap_or("")
}

fn tensor_type(value: &ValueInfoProto) -> Option<&TensorType> {
    value.r#type.as_ref()?.tensor_type.as_ref()
}

/// Sizes of an input's axes, and the names of those that are open.
#[allow(clippy::type_complexity, reason = "two lists, taken apart at once")]
fn sizes_of<'a>(
    name: &str,
    kind: &'a TensorType,
    options: &ReadOptions,
) -> Result<(Vec<Option<usize>>, Vec<Option<&'a str>>), FormatError> {
    let asked = options.input_shapes.iter().find(|(own, _)| own == name).map(|(_, sizes)| sizes);
    let rank = kind.shape.as_ref().map(|shape| shape.dim.len());
    if let Some(sizes) = asked {
        if rank.is_some_and(|rank| rank != sizes.len()) {
            return Err(refused(
                name,
                &format!("it has {} axes, not {}", rank.unwrap_or(0), sizes.len()),
                "",
            ));
        }
        return Ok((sizes.iter().copied().map(Some).collect(), vec![None; sizes.len()]));
    }
    let Some(shape) = &kind.shape else {
        let reason = "the number of its axes is not stated; state a shape (--input-shape)";
        return Err(refused(name, reason, ""));
    };
    if shape.dim.len() > MOST_AXES {
        let place = format!("input '{name}'");
        return Err(FormatError::broken(place, format!("its shape has {} axes", shape.dim.len())));
    }
    let size = |size: &Option<Size>| match size {
        Some(Size::Value(value)) => usize::try_from(*value).ok().filter(|size| *size > 0),
        _ => None,
    };
    let symbol = |size: &'a Option<Size>| match size {
        Some(Size::Symbol(symbol)) if !symbol.is_empty() && symbol != "?" => Some(symbol.as_str()),
        _ => None,
    };
    let dims = || shape.dim.iter().map(|dim| &dim.value);
    Ok((dims().map(size).collect(), dims().map(symbol).collect()))
}

/// Adds the inputs to a graph. Those of half precision are widened first.
pub(super) fn add_inputs<'a>(
    target: &mut Target<'_>,
    draft: &mut Draft,
    environment: &mut Environment<'a>,
    inputs: &[Input<'a>],
) -> Result<(), FormatError> {
    for input in inputs {
        let tensor = draft.add(&target.model, Tensor::input(input.name, input.dtype, input.shape.clone()));
        let bound = if input.dtype == DType::F16 {
            cast(target, draft, tensor, DType::F32, &format!("{}/widened", input.name))
        } else {
            tensor
        };
        if environment.insert(input.name, Bound::Tensor(bound)).is_some() {
            return Err(FormatError::broken(format!("input '{}'", input.name), "there are two of this name"));
        }
    }
    Ok(())
}

fn cast(target: &Target<'_>, draft: &mut Draft, x: TensorId, to: DType, name: &str) -> TensorId {
    let shape = draft.facts[x.index()].shape.clone();
    let facts = Facts::new(to, shape.clone());
    let output = draft.add(&target.model, Tensor::activation(name, to, shape));
    draft.facts[output.index()] = facts;
    draft.graph.add_node(name, Op::from(Cast { to }), vec![Some(x)], vec![output]);
    output
}

/// Makes values the outputs of a graph, in the types that the file states.
pub(super) fn add_outputs(
    target: &mut Target<'_>,
    draft: &mut Draft,
    environment: &Environment<'_>,
    graph: &GraphProto,
) -> Result<(), FormatError> {
    for output in &graph.output {
        let name = name_of(output);
        let mut id = match environment.get(name) {
            Some(Bound::Tensor(id)) => *id,
            Some(Bound::Weight(index)) => target.weight(draft, *index)?,
            Some(Bound::Sequence(_)) => {
                return Err(refused_output(name, "it is a list of tensors; give tensors out"));
            }
            Some(Bound::Refused) | None => {
                return Err(FormatError::broken(format!("output '{name}'"), "no node computes it"));
            }
        };
        let stated = tensor_type(output).and_then(|kind| kind.elem_type).filter(|number| *number != 0);
        if let Some(number) = stated {
            let stated = dtype_of(number).map_err(|reason| refused_output(name, &reason))?;
            let own = draft.facts[id.index()].dtype;
            match (own, stated) {
                (own, stated) if own == stated => {}
                (DType::F32, DType::F16) => id = cast(target, draft, id, DType::F16, name),
                (own, stated) => {
                    let reason = format!("the file says that it is {stated}, but {own} is computed");
                    return Err(FormatError::broken(format!("output '{name}'"), reason));
                }
            }
        }
        let first = !draft.graph.outputs.contains(&id);
        if first && draft.graph[id].kind == TensorKind::Activation {
            name.clone_into(&mut draft.graph[id].name);
        }
        draft.graph.outputs.push(id);
    }
    Ok(())
}

/// The model's entry point: inputs and outputs by the names that the file gives them.
pub(super) fn signature(draft: &Graph, inputs: &[Input<'_>], graph: &GraphProto) -> Signature {
    debug_assert_eq!(draft.inputs.len(), inputs.len());
    let inputs = inputs.iter().map(|input| input.name.to_owned()).zip(0..).collect();
    let outputs = graph.output.iter().map(|output| name_of(output).to_owned()).zip(0..).collect();
    Signature { key: KEY.into(), graph: GraphId(0), inputs, outputs }
}

fn refused(name: &str, reason: &str, more: &str) -> FormatError {
    listed(name, "input", format!("{reason}{more}"))
}

fn refused_output(name: &str, reason: &str) -> FormatError {
    listed(name, "output", reason.to_owned())
}

fn listed(name: &str, operator: &str, reason: String) -> FormatError {
    FormatError::Unsupported(vec![Unsupported {
        layer: name.to_owned(),
        operator: operator.to_owned(),
        reason,
    }])
}
