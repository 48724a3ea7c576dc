//! The graph of a model and the functions that it calls, ready to be looked up by name.

use std::collections::HashMap;

use super::proto::{ArgDef, ArgumentAttributes, AttrValue, Attribute, FunctionDef, GraphDef, NodeDef, OpDef};
use crate::error::FormatError;

/// A graph and its functions.
pub(super) struct Program<'a> {
    /// The graph that signatures name nodes of.
    pub graph: Body<'a>,
    functions: HashMap<&'a str, Function<'a>>,
    operations: HashMap<&'a str, &'a [ArgDef]>,
}

/// Nodes that refer to each other by name.
pub(super) struct Body<'a> {
    /// What it is, for errors.
    pub name: &'a str,
    /// In no particular order.
    pub nodes: &'a [NodeDef],
    /// Whether a `Switch` decides which of its nodes run.
    pub switches: bool,
    places: HashMap<&'a str, usize>,
    arguments: HashMap<&'a str, usize>,
}

/// A function of the library.
pub(super) struct Function<'a> {
    /// Its nodes.
    pub body: Body<'a>,
    /// Its arguments in order.
    pub arguments: &'a [ArgDef],
    /// Which tensor each of its results is, in order.
    pub results: Vec<&'a str>,
    declared: &'a [ArgDef],
    notes: HashMap<u32, &'a ArgumentAttributes>,
}

/// What an input of a node, or a result of a function, refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    /// The function's argument of this number.
    Argument(usize),
    /// An output of a node.
    Node {
        /// The node's place.
        node: usize,
        /// Which output.
        output: Output<'a>,
    },
    /// A node that must run before.
    Control(usize),
}

/// Which output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output<'a> {
    /// By its place among all.
    Place(usize),
    /// By the name of the result that it is, and its place in it.
    Named(&'a str, usize),
}

/// Operations with several named results, each with them, for files that do not describe theirs. The
/// result of any other operation starts at its first output.
const RESULTS: [(&str, &[&str]); 14] = [
    ("FusedBatchNorm", &["y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"]),
    ("FusedBatchNormV2", &["y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"]),
    (
        "FusedBatchNormV3",
        &["y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"],
    ),
    ("ListDiff", &["out", "idx"]),
    ("MaxPoolWithArgmax", &["output", "argmax"]),
    ("Merge", &["output", "value_index"]),
    ("NonMaxSuppressionV4", &["selected_indices", "valid_outputs"]),
    ("NonMaxSuppressionV5", &["selected_indices", "selected_scores", "valid_outputs"]),
    ("Switch", &["output_false", "output_true"]),
    ("TensorListPopBack", &["output_handle", "tensor"]),
    ("TopK", &["values", "indices"]),
    ("TopKV2", &["values", "indices"]),
    ("Unique", &["y", "idx"]),
    ("UniqueWithCounts", &["y", "idx", "count"]),
];

impl<'a> Program<'a> {
    /// A graph with its library; `operations` describes what its nodes do, as far as known.
    ///
    /// # Errors
    /// If two nodes of a graph, or two functions, have one name, or a function has no name.
    pub fn new(graph: &'a GraphDef, operations: &'a [OpDef]) -> Result<Program<'a>, FormatError> {
        let mut functions = HashMap::new();
        for function in graph.library.iter().flat_map(|library| &library.functions) {
            let (name, function) = Function::new(function)?;
            if functions.insert(name, function).is_some() {
                return Err(FormatError::broken(format!("function '{name}'"), "it is there twice"));
            }
        }
        let graph = Body::new("the graph", &graph.nodes, &[])?;
        let operations = operations.iter().map(|op| (op.name.as_str(), op.outputs.as_slice())).collect();
        Ok(Program { graph, functions, operations })
    }

    /// A function by name.
    pub fn function(&self, name: &str) -> Option<&Function<'a>> {
        self.functions.get(name)
    }

    /// A function that a node calls.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn called(&self, name: &str, node: &str) -> Result<&Function<'a>, FormatError> {
        let missing =
            || FormatError::broken(format!("node '{node}'"), format!("there is no function '{name}'"));
        self.functions.get(name).ok_or_else(missing)
    }

    /// Which of a node's outputs is meant.
    ///
    /// # Errors
    /// If its operation has no result of that name.
    pub fn output(&self, node: &NodeDef, output: Output<'_>) -> Result<usize, FormatError> {
        let (name, place) = match output {
            Output::Place(place) => return Ok(place),
            Output::Named(name, place) => (name, place),
        };
        let function = self.function(&node.op);
        let declared = match function {
            Some(function) => function.declared,
            None => self.operations.get(node.op.as_str()).copied().unwrap_or_default(),
        };
        let missing = || {
            let reason = format!("'{}' has no result '{name}'", node.op);
            FormatError::broken(format!("node '{}'", node.name), reason)
        };
        if declared.is_empty() {
            let Ok(known) = RESULTS.binary_search_by_key(&node.op.as_str(), |(op, _)| op) else {
                return Ok(place);
            };
            let before = RESULTS[known].1.iter().position(|result| *result == name).ok_or_else(missing)?;
            return before.checked_add(place).ok_or_else(missing);
        }
        let mut before = 0usize;
        for result in declared {
            if result.name == name {
                return before.checked_add(place).ok_or_else(missing);
            }
            before = before.checked_add(tensors(node, result)).ok_or_else(missing)?;
        }
        Err(missing())
    }
}

/// How many tensors one argument or result of a node is.
fn tensors(node: &NodeDef, argument: &ArgDef) -> usize {
    let attribute = |name: &str| node.attributes.get(name).and_then(|value| value.value.as_ref());
    if !argument.number_attribute.is_empty() {
        return match attribute(&argument.number_attribute) {
            Some(Attribute::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
            _ => 1,
        };
    }
    if !argument.types_attribute.is_empty() {
        return match attribute(&argument.types_attribute) {
            Some(Attribute::List(list)) => list.types.len(),
            _ => 1,
        };
    }
    1
}

impl<'a> Body<'a> {
    fn new(name: &'a str, nodes: &'a [NodeDef], arguments: &'a [ArgDef]) -> Result<Body<'a>, FormatError> {
        let twice = |node: &str| FormatError::broken(format!("node '{node}' of {name}"), "it is there twice");
        let mut places = HashMap::with_capacity(nodes.len());
        for (place, node) in nodes.iter().enumerate() {
            if places.insert(node.name.as_str(), place).is_some() {
                return Err(twice(&node.name));
            }
        }
        let mut numbers = HashMap::with_capacity(arguments.len());
        for (number, argument) in arguments.iter().enumerate() {
            if numbers.insert(argument.name.as_str(), number).is_some() {
                return Err(twice(&argument.name));
            }
        }
        let switches = nodes.iter().any(|node| matches!(node.op.as_str(), "Switch" | "RefSwitch"));
        Ok(Body { name, nodes, switches, places, arguments: numbers })
    }

    /// What a name refers to: `node`, `node:1`, `node:result:1`, `argument` or `^node`.
    ///
    /// # Errors
    /// If there is nothing of that name.
    pub fn reference(&self, text: &'a str) -> Result<Reference<'a>, FormatError> {
        let missing =
            || FormatError::broken(format!("input '{text}' in {}", self.name), "there is no such node");
        if let Some(name) = text.strip_prefix('^') {
            // What a control edge of an argument waits for is there when the function starts.
            return match self.places.get(name) {
                Some(node) => Ok(Reference::Control(*node)),
                None => {
                    self.arguments.get(name).map(|number| Reference::Argument(*number)).ok_or_else(missing)
                }
            };
        }
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        if let Some(number) = self.arguments.get(name) {
            return Ok(Reference::Argument(*number));
        }
        let node = *self.places.get(name).ok_or_else(missing)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| missing());
        let output = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => Output::Place(0),
            (Some(place), None, _) => Output::Place(number(place)?),
            (Some(result), Some(place), None) => Output::Named(result, number(place)?),
            _ => return Err(missing()),
        };
        Ok(Reference::Node { node, output })
    }
}

impl<'a> Function<'a> {
    fn new(function: &'a FunctionDef) -> Result<(&'a str, Function<'a>), FormatError> {
        let signature = function.signature.as_ref().filter(|signature| !signature.name.is_empty());
        let signature =
            signature.ok_or_else(|| FormatError::broken("function library", "a function has no name"))?;
        let name = signature.name.as_str();
        let body = Body::new(name, &function.nodes, &signature.inputs)?;
        let result = |result: &ArgDef| {
            let tensor = function.results.get(&result.name).map(String::as_str);
            let reason = || format!("its result '{}' is nothing", result.name);
            tensor.ok_or_else(|| FormatError::broken(format!("function '{name}'"), reason()))
        };
        let results = signature.outputs.iter().map(result).collect::<Result<_, _>>()?;
        let notes = function.arguments.iter().map(|(number, notes)| (*number, notes)).collect();
        Ok((
            name,
            Function { body, arguments: &signature.inputs, results, declared: &signature.outputs, notes },
        ))
    }

    /// What the program that wrote the file noted about an argument.
    pub fn note(&self, argument: usize, key: &str) -> Option<&'a AttrValue> {
        self.notes.get(&u32::try_from(argument).ok()?)?.attributes.get(key)
    }
}
