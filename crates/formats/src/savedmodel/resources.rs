//! Which variable a handle is, and what it holds.

use std::collections::{BTreeSet, HashMap};

use litesmith_graph::{DType, Data};
use prost::Message;

use super::attributes::Constant;
use super::bundle::{self, Bundle};
use super::flow::Variable;
use super::proto::{Attribute, NodeDef, SavedObject, SavedObjectGraph, TrackableObjectGraph};
use super::tensor;
use crate::error::{FormatError, Unsupported};

/// The bundle's key of what is said about the objects that were saved.
const OBJECTS: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
/// What an object calls its value there.
const VALUE: &str = "VARIABLE_VALUE";

/// The variables of a model.
pub(super) struct Resources<'a> {
    bundle: Option<Bundle>,
    objects: &'a [SavedObject],
    stored: Stored,
    /// The object that a node of the graph is, by the node's name.
    object_of: HashMap<&'a str, usize>,
    handles: Vec<Handle<'a>>,
    handle_of: HashMap<&'a str, usize>,
    variables: Vec<Variable>,
    variable_of: HashMap<usize, usize>,
    /// Variables that the program multiplies by another before it reads them, by their handles.
    masks: HashMap<usize, usize>,
}

/// A node that makes the handle of a variable.
struct Handle<'a> {
    node: &'a NodeDef,
    name: &'a str,
}

/// Where the bundle has the values of objects.
#[derive(Default)]
struct Stored {
    /// By the object's number: the variable's name and the bundle's key.
    values: HashMap<usize, (String, String)>,
    /// Objects by the variable's name; `None` where several have it.
    by_name: HashMap<String, Option<usize>>,
}

impl Stored {
    fn read(bundle: &mut Bundle) -> Result<Stored, FormatError> {
        let mut stored = Stored::default();
        if !bundle.contains(OBJECTS) {
            return Ok(stored);
        }
        let broken = |reason: String| FormatError::broken(format!("variable '{OBJECTS}'"), reason);
        let texts = bundle.texts(OBJECTS)?;
        let [text] = texts.as_slice() else { return Err(broken(format!("it has {} texts", texts.len()))) };
        crate::messages::check(text, &super::limits::TRACKABLE_OBJECTS, OBJECTS)?;
        let graph = TrackableObjectGraph::decode(text.clone()).map_err(|error| broken(error.to_string()))?;
        for (object, node) in graph.nodes.into_iter().enumerate() {
            let value = node.attributes.into_iter().find(|attribute| attribute.name == VALUE);
            let Some(value) = value else { continue };
            let same_name = stored.by_name.entry(value.full_name.clone());
            same_name.and_modify(|object| *object = None).or_insert(Some(object));
            stored.values.insert(object, (value.full_name, value.checkpoint_key));
        }
        Ok(stored)
    }
}

impl<'a> Resources<'a> {
    /// The variables of a model whose graph has `nodes`, whose objects are `objects`, and whose values
    /// are in `bundle`.
    ///
    /// # Errors
    /// If what the bundle says about objects is damaged.
    pub fn new(
        nodes: &'a [NodeDef],
        objects: Option<&'a SavedObjectGraph>,
        mut bundle: Option<Bundle>,
    ) -> Result<Resources<'a>, FormatError> {
        let stored = bundle.as_mut().map_or_else(|| Ok(Stored::default()), Stored::read)?;
        Ok(Resources {
            bundle,
            objects: objects.map_or(&[], |objects| &objects.nodes),
            stored,
            object_of: objects.map_or_else(HashMap::new, |objects| captured(nodes, objects)),
            handles: Vec::new(),
            handle_of: HashMap::new(),
            variables: Vec::new(),
            variable_of: HashMap::new(),
            masks: HashMap::new(),
        })
    }

    /// The number of the variable that a node makes the handle of. Nodes of functions are known by the
    /// name that they share, those of the graph by their own.
    pub fn handle(&mut self, node: &'a NodeDef, in_function: bool) -> usize {
        let shared = match node.attributes.get("shared_name").and_then(|value| value.value.as_ref()) {
            Some(Attribute::Bytes(name)) => std::str::from_utf8(name).unwrap_or_default(),
            _ => "",
        };
        let name = if shared.is_empty() { node.name.as_str() } else { shared };
        let identity = if in_function { name } else { node.name.as_str() };
        let handles = &mut self.handles;
        *self.handle_of.entry(identity).or_insert_with(|| {
            handles.push(Handle { node, name });
            handles.len() - 1
        })
    }

    /// The variable of a handle, by its place in [`Resources::into_variables`].
    ///
    /// # Errors
    /// If its value is not in the bundle, or is not what the node says.
    pub fn variable(&mut self, handle: usize) -> Result<usize, FormatError> {
        if let Some(variable) = self.variable_of.get(&handle) {
            return Ok(*variable);
        }
        let mask = match self.masks.get(&handle).copied() {
            Some(mask) => Some(self.value_of(mask)?.1),
            None => None,
        };
        let (full_name, mut value, object) = self.value_of(handle)?;
        if let Some(mask) = mask {
            value.data = masked(&value, &mask).ok_or_else(|| self.changed(handle))?;
        }
        let saved = object.and_then(|object| self.objects.get(object)?.variable.as_ref());
        self.variables.push(Variable {
            name: full_name,
            trainable: saved.map_or(value.dtype.is_float(), |saved| saved.trainable),
            dtype: value.dtype,
            shape: value.shape,
            data: value.data,
        });
        let variable = self.variables.len() - 1;
        self.variable_of.insert(handle, variable);
        Ok(variable)
    }

    /// The name of a handle's variable, its value, and which object it is.
    fn value_of(&mut self, handle: usize) -> Result<(String, Constant, Option<usize>), FormatError> {
        let Handle { node, name } = &self.handles[handle];
        let Some(bundle) = &mut self.bundle else {
            return Err(FormatError::broken("variables.index", "it is missing, and variables are in it"));
        };
        let object = self
            .object_of
            .get(node.name.as_str())
            .copied()
            .filter(|object| self.stored.values.contains_key(object));
        let by_name =
            || [name, node.name.as_str()].iter().find_map(|name| *self.stored.by_name.get(*name)?);
        let (full_name, key, object) = match object {
            None if bundle.contains(name) => (*name, *name, None),
            None if bundle.contains(&node.name) => (node.name.as_str(), node.name.as_str(), None),
            object => match object.or_else(by_name) {
                Some(object) => {
                    let (full_name, key) = &self.stored.values[&object];
                    (if full_name.is_empty() { name } else { full_name.as_str() }, key.as_str(), Some(object))
                }
                None if name.rsplit_once("/part_").is_some_and(|(whole, _)| bundle.contains(whole)) => {
                    return Err(bundle::in_pieces(name));
                }
                None => {
                    let place = format!("variable '{name}'");
                    return Err(FormatError::broken(place, "the variables' index does not have it"));
                }
            },
        };
        let value = bundle.tensor(key)?;
        check_shape(node, &value.shape)?;
        Ok((full_name.to_owned(), value, object))
    }

    /// Notes that the program multiplies a variable by another, its mask, before it reads it.
    pub fn mask(&mut self, handle: usize, mask: usize) {
        self.masks.insert(handle, mask);
    }

    /// Variables whose masks are among those that change.
    pub fn masked_by(&self, changed: &BTreeSet<usize>) -> Vec<usize> {
        let masks =
            self.masks.iter().filter(|(_, mask)| changed.contains(mask) || self.masks.contains_key(mask));
        masks.map(|(handle, _)| *handle).collect()
    }

    /// That the program changes a variable that its results depend on.
    pub fn changed(&self, handle: usize) -> FormatError {
        FormatError::Unsupported(vec![Unsupported {
            layer: self.handles[handle].name.to_owned(),
            operator: "AssignVariableOp".to_owned(),
            reason:
                "it changes from one call to the next; save a model that keeps no state, such as one with \
                     stateful=False"
                    .to_owned(),
        }])
    }

    /// All variables that were asked for.
    pub fn into_variables(self) -> Vec<Variable> {
        self.variables
    }
}

/// A variable multiplied by its mask; `None` if it is not one of zeros and ones, by which another
/// multiplication would change nothing.
fn masked(value: &Constant, mask: &Constant) -> Option<Data> {
    if value.dtype != DType::F32 || mask.dtype != DType::F32 || value.shape != mask.shape {
        return None;
    }
    let (value, mask) = (value.data.elements::<f32>(), mask.data.elements::<f32>());
    if !mask.iter().all(|mask| *mask == 0.0 || *mask == 1.0) {
        return None;
    }
    Some(Data::from_vec(value.iter().zip(mask.iter()).map(|(value, mask)| value * mask).collect()))
}

/// The objects that nodes of the graph are: functions note which objects their last arguments are, and
/// the graph's nodes call them.
fn captured<'a>(nodes: &'a [NodeDef], objects: &'a SavedObjectGraph) -> HashMap<&'a str, usize> {
    let mut captured = HashMap::new();
    for node in nodes {
        let Some(Attribute::Function(function)) = node.attributes.get("f").and_then(|f| f.value.as_ref())
        else {
            continue;
        };
        let Some(function) = objects.functions.get(&function.name) else { continue };
        let data = node.inputs.iter().filter(|input| !input.starts_with('^'));
        let bound = function.bound_inputs.iter().rev();
        for (input, object) in data.rev().zip(bound) {
            if let Ok(object) = usize::try_from(*object) {
                captured.insert(input.strip_suffix(":0").unwrap_or(input), object);
            }
        }
    }
    captured
}

/// Checks that a variable has the shape that its node says.
fn check_shape(node: &NodeDef, shape: &[usize]) -> Result<(), FormatError> {
    let Some(Attribute::Shape(declared)) =
        node.attributes.get("shape").and_then(|shape| shape.value.as_ref())
    else {
        return Ok(());
    };
    let place = format!("node '{}'", node.name);
    let Some(declared) = tensor::sizes(declared, &place)? else { return Ok(()) };
    let fits = declared.len() == shape.len()
        && declared
            .iter()
            .zip(shape)
            .all(|(declared, size)| declared.is_none_or(|declared| declared == *size));
    if fits { Ok(()) } else { Err(FormatError::broken(place, format!("its variable has shape {shape:?}"))) }
}
