//! How layers are called: the arguments of each call, in the two spellings of Keras 3 and Keras 2.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::FormatError;

/// Deepest nesting of arguments.
const DEEPEST: usize = 16;

/// An output of a call of a layer of the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TensorRef {
    /// Index of the layer.
    pub layer: usize,
    /// Which call of it.
    pub call: usize,
    /// Which output of the call.
    pub output: usize,
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    /// An output of another call.
    Tensor(TensorRef),
    /// Several arguments.
    List(Vec<Argument>),
    /// Named arguments.
    Map(Vec<(String, Argument)>),
    /// Anything else: a number, a slice, an array.
    Value(Value),
}

/// One call of a layer.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Call {
    /// Arguments by place.
    pub arguments: Vec<Argument>,
    /// Arguments by name.
    pub keywords: Vec<(String, Argument)>,
}

impl Argument {
    /// Applies `f` to every tensor inside.
    pub fn for_each_tensor(&mut self, f: &mut impl FnMut(&mut TensorRef)) {
        match self {
            Argument::Tensor(tensor) => f(tensor),
            Argument::List(items) => items.iter_mut().for_each(|item| item.for_each_tensor(f)),
            Argument::Map(items) => items.iter_mut().for_each(|(_, item)| item.for_each_tensor(f)),
            Argument::Value(_) => {}
        }
    }
}

impl Call {
    /// Applies `f` to every tensor among the arguments.
    pub fn for_each_tensor(&mut self, f: &mut impl FnMut(&mut TensorRef)) {
        self.arguments.iter_mut().for_each(|argument| argument.for_each_tensor(f));
        self.keywords.iter_mut().for_each(|(_, argument)| argument.for_each_tensor(f));
    }
}

/// Reads calls; knows the names of the model's layers.
pub(super) struct CallReader<'a> {
    /// Index of each layer by name.
    pub layers: &'a HashMap<String, usize>,
    /// Where in the file.
    pub place: &'a str,
}

impl CallReader<'_> {
    fn broken(&self, reason: impl Into<String>) -> FormatError {
        FormatError::broken(self.place, reason)
    }

    /// A layer's `inbound_nodes`.
    ///
    /// # Errors
    /// If they are malformed or name a layer that does not exist.
    pub fn calls(&self, nodes: &Value) -> Result<Vec<Call>, FormatError> {
        let Value::Array(nodes) = nodes else {
            return Err(self.broken("'inbound_nodes' is no list"));
        };
        nodes
            .iter()
            .map(|node| match node {
                Value::Object(call) => self.modern(call),
                Value::Array(references) => self.legacy(references),
                _ => Err(self.broken("a call is neither an object nor a list")),
            })
            .collect()
    }

    /// `{"args": […], "kwargs": {…}}`, in which tensors are objects of their own.
    fn modern(&self, call: &Map<String, Value>) -> Result<Call, FormatError> {
        let arguments = match call.get("args") {
            Some(Value::Array(items)) => {
                items.iter().map(|item| self.argument(item, 0)).collect::<Result<_, _>>()?
            }
            _ => return Err(self.broken("a call has no list 'args'")),
        };
        let keywords = match call.get("kwargs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(items)) => {
                let keyword = |(name, item): (&String, &Value)| Ok((name.clone(), self.argument(item, 0)?));
                items.iter().map(keyword).collect::<Result<_, FormatError>>()?
            }
            Some(_) => return Err(self.broken("'kwargs' of a call is no object")),
        };
        Ok(Call { arguments, keywords })
    }

    fn argument(&self, value: &Value, depth: usize) -> Result<Argument, FormatError> {
        if depth > DEEPEST {
            return Err(self.broken("arguments are nested too deeply"));
        }
        match value {
            Value::Array(items) => {
                let items = items.iter().map(|item| self.argument(item, depth + 1));
                Ok(Argument::List(items.collect::<Result<_, _>>()?))
            }
            Value::Object(object) => match object.get("class_name").and_then(Value::as_str) {
                Some("__keras_tensor__") => {
                    let history = object.get("config").and_then(|config| config.get("keras_history"));
                    let history = history.ok_or_else(|| self.broken("a tensor has no 'keras_history'"))?;
                    Ok(Argument::Tensor(self.reference(history)?))
                }
                Some(_) => Ok(Argument::Value(value.clone())),
                None => {
                    let item =
                        |(name, item): (&String, &Value)| Ok((name.clone(), self.argument(item, depth + 1)?));
                    Ok(Argument::Map(object.iter().map(item).collect::<Result<_, FormatError>>()?))
                }
            },
            plain => Ok(Argument::Value(plain.clone())),
        }
    }

    /// `[[name, call, output, {keywords}], …]`, or one such reference by itself.
    fn legacy(&self, references: &[Value]) -> Result<Call, FormatError> {
        let single = references.first().is_some_and(Value::is_string);
        let whole = Value::Array(references.to_vec());
        let references = if single { std::slice::from_ref(&whole) } else { references };
        let mut call = Call::default();
        for reference in references {
            let Value::Array(items) = reference else {
                return Err(self.broken("an input of a call is no list"));
            };
            call.arguments.push(self.legacy_argument(items)?);
            if let Some(keywords) = items.get(3) {
                let Value::Object(keywords) = keywords else {
                    return Err(self.broken("the keywords of a call are no object"));
                };
                for (name, value) in keywords {
                    if !call.keywords.iter().any(|(known, _)| known == name) {
                        call.keywords.push((name.clone(), self.legacy_keyword(value, 0)?));
                    }
                }
            }
        }
        Ok(call)
    }

    fn legacy_argument(&self, items: &[Value]) -> Result<Argument, FormatError> {
        match items {
            [Value::String(name), _, value, ..] if name == "_CONSTANT_VALUE" => {
                Ok(Argument::Value(value.clone()))
            }
            [name, call, output, ..] => {
                let reference = Value::Array(vec![name.clone(), call.clone(), output.clone()]);
                Ok(Argument::Tensor(self.reference(&reference)?))
            }
            _ => Err(self.broken("an input of a call has fewer than three parts")),
        }
    }

    fn legacy_keyword(&self, value: &Value, depth: usize) -> Result<Argument, FormatError> {
        if depth > DEEPEST {
            return Err(self.broken("keywords are nested too deeply"));
        }
        match value {
            Value::Array(items) => match items.as_slice() {
                [Value::String(name), Value::Number(_), _]
                    if name == "_CONSTANT_VALUE" || self.layers.contains_key(name) =>
                {
                    self.legacy_argument(items)
                }
                _ => {
                    let items = items.iter().map(|item| self.legacy_keyword(item, depth + 1));
                    Ok(Argument::List(items.collect::<Result<_, _>>()?))
                }
            },
            Value::Object(object) => {
                let item = |(name, item): (&String, &Value)| {
                    Ok((name.clone(), self.legacy_keyword(item, depth + 1)?))
                };
                Ok(Argument::Map(object.iter().map(item).collect::<Result<_, FormatError>>()?))
            }
            plain => Ok(Argument::Value(plain.clone())),
        }
    }

    /// `[name, call, output]`.
    ///
    /// # Errors
    /// If it is malformed or names a layer that does not exist.
    pub fn reference(&self, value: &Value) -> Result<TensorRef, FormatError> {
        let parts = value.as_array().map(Vec::as_slice);
        let Some([Value::String(name), call, output]) = parts else {
            return Err(self.broken(format!("{value} is no reference to a tensor")));
        };
        let Some(layer) = self.layers.get(name) else {
            return Err(self.broken(format!("it refers to layer '{name}', which does not exist")));
        };
        let index = |part: &Value| part.as_u64().and_then(|index| usize::try_from(index).ok());
        match (index(call), index(output)) {
            (Some(call), Some(output)) => Ok(TensorRef { layer: *layer, call, output }),
            _ => Err(self.broken(format!("{value} is no reference to a tensor"))),
        }
    }
}
