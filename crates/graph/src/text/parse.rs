use std::collections::HashMap;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::data::Data;
use crate::dtype::DType;
use crate::graph::{Graph, TensorId};
use crate::model::{Model, Origin, Parameter, ParameterId, State, StateId};
use crate::op::Op;
use crate::quantization::Quantization;
use crate::shape::{Dim, Dims, Shape};
use crate::tensor::{Tensor, TensorKind};

/// What the text form says wrongly, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Most elements that `splat` and `random` make.
const MOST_ELEMENTS: usize = 1 << 24;

/// Reads the text form of a model.
///
/// # Errors
/// The first mistake with its line.
pub fn parse(text: &str) -> Result<Model, TextError> {
    let mut reader = Reader { model: Model::default(), parameters: HashMap::new(), scope: None };
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        last = index + 1;
        reader.line(line.trim()).map_err(|reason| TextError { line: index + 1, reason })?;
    }
    if reader.scope.is_some() {
        return Err(TextError { line: last, reason: "the graph is not closed by '}'".into() });
    }
    Ok(reader.model)
}

struct Reader {
    model: Model,
    parameters: HashMap<String, ParameterId>,
    scope: Option<Scope>,
}

/// The graph that is being read.
struct Scope {
    graph: Graph,
    tensors: HashMap<String, TensorId>,
    outputs: Vec<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut cursor = Cursor { rest: line };
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        match self.scope.take() {
            None if cursor.take("parameter @") => self.parameter(&mut cursor),
            None if cursor.take("state $") => self.state(&mut cursor),
            None if cursor.take("graph ") => {
                self.scope = Some(header(&mut cursor)?);
                Ok(())
            }
            None => Err("'parameter', 'state' or 'graph' is expected".into()),
            Some(scope) if line == "}" => self.close(scope),
            Some(mut scope) => {
                let result = self.statement(&mut scope, &mut cursor);
                self.scope = Some(scope);
                result
            }
        }
    }

    fn parameter(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        let name = cursor.name()?;
        cursor.expect(":")?;
        let (dtype, shape) = cursor.typed_shape()?;
        let trainable = cursor.take("trainable");
        cursor.expect("=")?;
        let data = cursor.literal(dtype, &shape)?;
        let shape = shape.to_fixed().ok_or("a parameter's shape must be fixed")?;
        let (layer, variable) = name.rsplit_once('/').unwrap_or(("", &name));
        let origin = Origin { layer: layer.to_owned(), variable: variable.to_owned(), path: String::new() };
        let id =
            self.model.add_parameter(Parameter { origin, dtype, shape, data, trainable, regularizer: None });
        self.parameters.insert(name, id);
        Ok(())
    }

    fn state(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        let name = cursor.name()?;
        cursor.expect(":")?;
        let (dtype, shape) = cursor.typed_shape()?;
        let initial = if cursor.take("=") { Some(cursor.literal(dtype, &shape)?) } else { None };
        self.model.states.push(State { name, dtype, shape, initial });
        Ok(())
    }

    fn statement(&self, scope: &mut Scope, cursor: &mut Cursor<'_>) -> Result<(), String> {
        let mut outputs = Vec::new();
        while cursor.rest.starts_with('%') {
            outputs.push(cursor.tensor()?);
            if !cursor.take(",") {
                cursor.expect("=")?;
            }
        }
        if cursor.rest.starts_with(['[', '<'])
            || cursor.rest.starts_with("splat(")
            || cursor.rest.starts_with("random(")
        {
            let [(name, mut tensor)] =
                <[_; 1]>::try_from(outputs).map_err(|_| "a constant has one name".to_owned())?;
            tensor.kind = TensorKind::Constant(cursor.literal(tensor.dtype, &tensor.shape)?);
            scope.declare(name, tensor);
            return Ok(());
        }
        let operator = cursor.word();
        cursor.expect("(")?;
        let mut inputs = Vec::new();
        while !cursor.take(")") {
            inputs.push(self.operand(scope, cursor)?);
            cursor.take(",");
        }
        let attributes =
            if cursor.rest.starts_with('{') { cursor.json::<Map<String, Value>>()? } else { Map::new() };
        let op = Op::from_attributes(&operator, attributes)?;
        let layer = if cursor.take("#") { cursor.rest.trim().to_owned() } else { String::new() };
        let outputs = outputs.into_iter().map(|(name, tensor)| scope.declare(name, tensor)).collect();
        scope.graph.add_node(&layer, op, inputs, outputs);
        Ok(())
    }

    fn operand(&self, scope: &mut Scope, cursor: &mut Cursor<'_>) -> Result<Option<TensorId>, String> {
        if cursor.take("_") {
            return Ok(None);
        }
        if cursor.take("@") {
            let name = cursor.name()?;
            let id =
                *self.parameters.get(&name).ok_or_else(|| format!("parameter '{name}' is not declared"))?;
            return Ok(Some(scope.parameter(&self.model, &name, id)));
        }
        if cursor.take("$") {
            let name = cursor.name()?;
            let index = self.model.states.iter().position(|state| state.name == name);
            let index = index.ok_or_else(|| format!("state '{name}' is not declared"))?;
            return Ok(Some(scope.state(&self.model.states[index], StateId(index as u32))));
        }
        cursor.expect("%")?;
        let name = cursor.name()?;
        scope.tensors.get(&name).copied().map(Some).ok_or_else(|| format!("tensor '{name}' is not declared"))
    }

    fn close(&mut self, mut scope: Scope) -> Result<(), String> {
        for name in &scope.outputs {
            let id = *scope.tensors.get(name).ok_or_else(|| format!("output '{name}' is never computed"))?;
            scope.graph.outputs.push(id);
        }
        self.model.graphs.push(scope.graph);
        Ok(())
    }
}

impl Scope {
    fn declare(&mut self, name: String, tensor: Tensor) -> TensorId {
        let id = self.graph.add_tensor(tensor);
        self.tensors.insert(name, id);
        id
    }

    fn parameter(&mut self, model: &Model, name: &str, id: ParameterId) -> TensorId {
        let key = format!("@{name}");
        if let Some(known) = self.tensors.get(&key) {
            return *known;
        }
        let parameter = &model.parameters[id.0 as usize];
        let tensor = Tensor::parameter(name, parameter.dtype, Shape::fixed(&parameter.shape), id);
        self.declare(key, tensor)
    }

    fn state(&mut self, state: &State, id: StateId) -> TensorId {
        let key = format!("${}", state.name);
        if let Some(known) = self.tensors.get(&key) {
            return *known;
        }
        let tensor = Tensor::state(&state.name, state.dtype, state.shape.clone(), id);
        self.declare(key, tensor)
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<Scope, String> {
    let mut scope =
        Scope { graph: Graph::new(&cursor.name()?), tensors: HashMap::new(), outputs: Vec::new() };
    cursor.expect("(")?;
    while !cursor.take(")") {
        let (name, mut tensor) = cursor.tensor()?;
        tensor.kind = TensorKind::Input;
        scope.declare(name, tensor);
        cursor.take(",");
    }
    cursor.expect("->")?;
    cursor.expect("(")?;
    while !cursor.take(")") {
        cursor.expect("%")?;
        scope.outputs.push(cursor.name()?);
        cursor.take(",");
    }
    cursor.expect("{")?;
    Ok(scope)
}

/// What is left of a line.
struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    /// Steps over `token` and the spaces around it, if it comes next.
    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("'{token}' is expected before '{}'", self.rest)) }
    }

    fn word(&mut self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_./-?".contains(c);
        let end = self.rest.find(|c| !plain(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn name(&mut self) -> Result<String, String> {
        if self.rest.starts_with('"') {
            return self.json();
        }
        match self.word() {
            name if name.is_empty() => Err(format!("a name is expected before '{}'", self.rest)),
            name => Ok(name),
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, String> {
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<T>();
        let value = stream.next().ok_or("a value is expected")?.map_err(|error| error.to_string())?;
        self.rest = self.rest[stream.byte_offset()..].trim_start();
        Ok(value)
    }

    fn typed_shape(&mut self) -> Result<(DType, Shape), String> {
        self.rest = self.rest.trim_start();
        let dtype = self.word().parse()?;
        self.expect("[")?;
        let mut dims = Dims::new();
        while !self.take("]") {
            let word = self.word();
            dims.push(match word.parse() {
                Ok(size) => Dim::Fixed(size),
                Err(_) if word == "?" => Dim::Unknown,
                Err(_) if !word.is_empty() => Dim::free(&word),
                Err(_) => return Err(format!("a size is expected before '{}'", self.rest)),
            });
            self.take(",");
        }
        Ok((dtype, Shape(dims)))
    }

    /// A declared tensor with the name that the text knows it by.
    fn tensor(&mut self) -> Result<(String, Tensor), String> {
        self.expect("%")?;
        let name = self.name()?;
        self.expect(":")?;
        let (dtype, shape) = self.typed_shape()?;
        let mut tensor = Tensor::activation(&name, dtype, shape);
        if self.take("q") {
            tensor.quantization = Some(self.json::<Quantization>()?);
        }
        Ok((name, tensor))
    }

    /// A number up to the closing parenthesis.
    fn argument<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let (argument, rest) = self.rest.split_once(')').ok_or("')' is expected")?;
        self.rest = rest.trim_start();
        argument.trim().parse().map_err(|_| format!("'{argument}' is no number"))
    }

    fn literal(&mut self, dtype: DType, shape: &Shape) -> Result<Data, String> {
        let elements =
            shape.elements().filter(|n| *n <= MOST_ELEMENTS).ok_or("a constant's shape must be fixed")?;
        let values: Vec<f64> = if self.take("splat(") {
            vec![self.argument()?; elements]
        } else if self.take("random(") {
            random(self.argument()?, elements)
        } else {
            self.json()?
        };
        if values.len() != elements {
            return Err(format!("{} values are given for shape {shape}", values.len()));
        }
        encode(&values, dtype).ok_or_else(|| format!("constants of {dtype} cannot be written as text"))
    }
}

/// Numbers between -1 and 1 from a seed (SplitMix64).
fn random(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn encode(values: &[f64], dtype: DType) -> Option<Data> {
    let map = values.iter().copied();
    Some(match dtype {
        DType::F16 => Data::from_vec(map.map(half::f16::from_f64).collect::<Vec<_>>()),
        DType::F32 => Data::from_vec(map.map(|x| x as f32).collect::<Vec<_>>()),
        DType::F64 => Data::from_vec(values.to_vec()),
        DType::I8 => Data::from_vec(map.map(|x| x as i8).collect::<Vec<_>>()),
        DType::U8 | DType::Bool => Data::from_vec(map.map(|x| x as u8).collect::<Vec<_>>()),
        DType::I16 => Data::from_vec(map.map(|x| x as i16).collect::<Vec<_>>()),
        DType::I32 => Data::from_vec(map.map(|x| x as i32).collect::<Vec<_>>()),
        DType::I64 => Data::from_vec(map.map(|x| x as i64).collect::<Vec<_>>()),
        _ => return None,
    })
}
