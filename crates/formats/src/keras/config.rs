//! Typed access to Keras configurations.

use litesmith_graph::DType;
use serde_json::{Map, Value};

use crate::error::FormatError;
pub(super) use crate::refusal::{Built, Refusal, unsupported};

/// Which generation of Keras wrote a file: some functions changed their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Keras 2, which lives on as tf_keras.
    Keras2,
    /// Keras 3.
    Keras3,
}

impl Version {
    /// By the number that the file states.
    pub fn of(number: &str) -> Version {
        match number.split('.').next().and_then(|major| major.trim().parse::<u32>().ok()) {
            Some(major) if major < 3 => Version::Keras2,
            _ => Version::Keras3,
        }
    }
}

/// The configuration of a layer.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    values: &'a Map<String, Value>,
    place: &'a str,
}

impl<'a> Config<'a> {
    /// Wraps an object; `place` says whose it is.
    pub fn new(values: &'a Map<String, Value>, place: &'a str) -> Config<'a> {
        Config { values, place }
    }

    fn wrong(&self, key: &str, wanted: &str) -> FormatError {
        FormatError::broken(self.place, format!("its setting '{key}' must be {wanted}"))
    }

    /// All settings.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key; `null` counts as missing.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A key that must be there.
    pub fn required(&self, key: &str) -> Result<&'a Value, FormatError> {
        self.get(key)
            .ok_or_else(|| FormatError::broken(self.place, format!("its setting '{key}' is missing")))
    }

    /// A truth value.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, FormatError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a text")),
        }
    }

    /// A finite number.
    pub fn number(&self, key: &str, default: f32) -> Result<f32, FormatError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A finite number that may be missing.
    pub fn optional_number(&self, key: &str) -> Result<Option<f32>, FormatError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match numbers(value).as_ref().map(|numbers| numbers.values.as_slice()) {
            Some([number]) if number.is_finite() => Ok(Some(*number)),
            _ => Err(self.wrong(key, "a finite number")),
        }
    }

    /// A number of things, at least 1.
    pub fn count(&self, key: &str) -> Result<usize, FormatError> {
        positive(self.required(key)?).ok_or_else(|| self.wrong(key, "a positive integer"))
    }

    /// A number of things, at least 1, or `default` where it is missing.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, FormatError> {
        if self.get(key).is_some() { self.count(key) } else { Ok(default) }
    }

    /// One positive integer for each of `N` axes, or one for all.
    pub fn counts<const N: usize>(&self, key: &str) -> Result<[usize; N], FormatError> {
        let value = self.required(key)?;
        let counts = match value {
            Value::Array(items) if items.len() == N => items.iter().map(positive).collect::<Option<Vec<_>>>(),
            Value::Array(_) => None,
            single => positive(single).map(|count| vec![count; N]),
        };
        counts
            .and_then(|counts| <[usize; N]>::try_from(counts).ok())
            .ok_or_else(|| self.wrong(key, &format!("{N} positive integers")))
    }

    /// As [`Config::counts`], or `default` where it is missing.
    pub fn counts_or<const N: usize>(
        &self,
        key: &str,
        default: [usize; N],
    ) -> Result<[usize; N], FormatError> {
        if self.get(key).is_some() { self.counts(key) } else { Ok(default) }
    }

    /// An integer that fits 32 bits.
    pub fn integer(&self, key: &str, default: i32) -> Result<i32, FormatError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => match integers(value).as_deref() {
                Some([single]) => i32::try_from(*single).map_err(|_| self.wrong(key, "a small integer")),
                _ => Err(self.wrong(key, "an integer")),
            },
        }
    }

    /// A list of integers; a single one counts as a list of one.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => integers(value).map(Some).ok_or_else(|| self.wrong(key, "a list of integers")),
        }
    }

    /// A list of sizes, some of which may be open (`null`).
    pub fn sizes(&self, key: &str) -> Result<Vec<Option<usize>>, FormatError> {
        let size = |value: &Value| match value {
            Value::Null => Ok(None),
            value => positive(value).map(Some).ok_or_else(|| self.wrong(key, "a list of sizes")),
        };
        match self.required(key)? {
            Value::Array(items) => items.iter().map(size).collect(),
            single => Ok(vec![size(single)?]),
        }
    }

    /// Numbers of any shape.
    pub fn numbers(&self, key: &str) -> Result<Option<Numbers>, FormatError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => numbers(value).map(Some).ok_or_else(|| self.wrong(key, "numbers")),
        }
    }

    /// A contradiction in this configuration.
    pub fn broken(&self, reason: impl Into<String>) -> FormatError {
        FormatError::broken(self.place, reason)
    }
}

fn positive(value: &Value) -> Option<usize> {
    // Beyond 32 bits no size is honest, and sums and products of them could overflow.
    value.as_u64().filter(|count| (1..=u64::from(u32::MAX)).contains(count)).map(|count| count as usize)
}

/// Integers out of one or a list of them; a float counts where it is whole.
pub(super) fn integers(value: &Value) -> Option<Vec<i64>> {
    let one = |value: &Value| {
        let whole = |x: &f64| x.fract() == 0.0 && x.abs() < 9e15;
        value.as_i64().or_else(|| value.as_f64().filter(whole).map(|x| x as i64))
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        single => one(single).map(|integer| vec![integer]),
    }
}

/// Numbers of some shape; a scalar has none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The numbers in row-major order.
    pub values: Vec<f32>,
}

/// Numbers out of a scalar, nested lists, or Keras' object for an array.
pub(super) fn numbers(value: &Value) -> Option<Numbers> {
    if let Value::Object(object) = value {
        let class = object.get("class_name")?.as_str()?;
        let inner = object.get("config")?;
        return match class {
            "__numpy__" | "__tensor__" => numbers(inner.as_object()?.get("value")?),
            _ => None,
        };
    }
    let mut shape = Vec::new();
    let mut level = value;
    while let Value::Array(items) = level {
        shape.push(items.len());
        match items.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    let mut values = Vec::new();
    flatten(value, &shape, &mut values)?;
    Some(Numbers { shape, values })
}

fn flatten(value: &Value, shape: &[usize], values: &mut Vec<f32>) -> Option<()> {
    match (value, shape) {
        (Value::Array(items), [length, inner @ ..]) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(item, inner, values))
        }
        (Value::Number(number), []) => {
            values.push(number.as_f64()? as f32);
            Some(())
        }
        (Value::Bool(flag), []) => {
            values.push(f32::from(u8::from(*flag)));
            Some(())
        }
        _ => None,
    }
}

/// What a layer's dtype policy means for us.
pub(super) fn check_policy(policy: &Value) -> Result<(), String> {
    let name = match policy {
        Value::String(name) => name.as_str(),
        Value::Object(object) => match object.get("class_name").and_then(Value::as_str) {
            Some("DTypePolicy" | "Policy") => object
                .get("config")
                .and_then(|config| config.get("name"))
                .and_then(Value::as_str)
                .unwrap_or(""),
            other => {
                let other = other.unwrap_or("?");
                return Err(format!(
                    "the dtype policy {other} changes what it computes; save the model before quantizing it"
                ));
            }
        },
        _ => "",
    };
    match name {
        // Reduced precision only rounds more: single precision computes the same function.
        "float32" | "mixed_float16" | "mixed_bfloat16" | "float16" | "bfloat16" => Ok(()),
        "float64" => Err("it computes in double precision; build the model with dtype float32".to_owned()),
        other => Err(format!("the dtype policy '{other}' is not supported; build the model with float32")),
    }
}

/// The element type of an input.
pub(super) fn input_type(name: &str) -> Option<DType> {
    match name {
        // The same numbers in a type that we have.
        "bfloat16" => Some(DType::F32),
        "string" | "float64" | "int4" => None,
        name => DType::from_numpy_name(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_in_every_spelling() {
        let values = |value: Value| numbers(&value).map(|n| (n.shape, n.values));
        assert_eq!(values(json!(0.5)), Some((vec![], vec![0.5])));
        assert_eq!(values(json!([[1, 2], [3, 4]])), Some((vec![2, 2], vec![1.0, 2.0, 3.0, 4.0])));
        let array = json!({"class_name": "__numpy__", "config": {"value": [1.5], "dtype": "float64"}});
        assert_eq!(values(array), Some((vec![1], vec![1.5])));
        assert_eq!(values(json!([[1, 2], [3]])), None);
        assert_eq!(values(json!("1")), None);
    }

    #[test]
    fn settings_are_typed() {
        let object = json!({"kernel_size": [3, 5], "filters": 0, "name": null, "strides": 2});
        let config = Config::new(object.as_object().unwrap(), "layer 'c'");
        assert_eq!(config.counts::<2>("kernel_size").unwrap(), [3, 5]);
        assert_eq!(config.counts::<2>("strides").unwrap(), [2, 2]);
        assert!(config.counts::<1>("kernel_size").is_err());
        assert!(config.count("filters").is_err());
        assert_eq!(config.text("name").unwrap(), None);
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(Version::of("2.21.0"), Version::Keras2);
        assert_eq!(Version::of("3.15.1"), Version::Keras3);
        assert_eq!(Version::of(""), Version::Keras3);
    }

    #[test]
    fn policies_that_change_the_function_are_refused() {
        assert!(check_policy(&json!("mixed_float16")).is_ok());
        assert!(check_policy(&json!({"class_name": "DTypePolicy", "config": {"name": "float32"}})).is_ok());
        assert!(check_policy(&json!("float64")).is_err());
        assert!(
            check_policy(&json!({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}})).is_err()
        );
    }
}
