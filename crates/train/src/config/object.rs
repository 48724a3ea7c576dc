//! A named object with options, read from any of the forms.

use serde_json::{Map, Value, json};

use super::ConfigError;

/// The values that a number may have; it is always finite.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Any.
    Finite,
    /// 0 or more.
    NotNegative,
    /// Above 0.
    Positive,
    /// From 0 to 1.
    Share,
    /// From 0 to below 1.
    BelowOne,
}

impl Bound {
    fn holds(self, x: f64) -> bool {
        let inside = match self {
            Bound::Finite => true,
            Bound::NotNegative => x >= 0.0,
            Bound::Positive => x > 0.0,
            Bound::Share => (0.0..=1.0).contains(&x),
            Bound::BelowOne => (0.0..1.0).contains(&x),
        };
        // Options end up in single precision.
        inside && (x as f32).is_finite()
    }

    fn expected(self) -> &'static str {
        match self {
            Bound::Finite => "a number",
            Bound::NotNegative => "a number of at least 0",
            Bound::Positive => "a number above 0",
            Bound::Share => "a number from 0 to 1",
            Bound::BelowOne => "a number from 0 to below 1",
        }
    }
}

/// A name without case, underscores and hyphens.
pub(crate) fn normalized(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// A named object, the options of which are taken one by one.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    what: &'static str,
    name: String,
    /// Keras' name of this very instance, from its serialized form.
    own_name: Option<String>,
    options: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Object {
    /// Reads `text`, which is a name or JSON.
    pub(crate) fn parse(what: &'static str, text: &str) -> Result<Object, ConfigError> {
        let text = text.trim();
        if !text.starts_with('{') {
            return Object::read(what, &Value::String(text.to_owned()));
        }
        let value = serde_json::from_str(text).map_err(|error| form(what, format!("'{text}': {error}")))?;
        Object::read(what, &value)
    }

    /// Reads a name, an object with `name`, or Keras' serialized form.
    pub(crate) fn read(what: &'static str, value: &Value) -> Result<Object, ConfigError> {
        let object = |name: &str, own_name: Option<String>, options: Map<String, Value>| Object {
            what,
            name: name.to_owned(),
            own_name,
            options,
            known: Vec::new(),
        };
        match value {
            Value::String(name) if !name.is_empty() => Ok(object(name, None, Map::new())),
            Value::Object(fields) if fields.contains_key("class_name") => {
                match (fields.get("class_name").and_then(Value::as_str), fields.get("config")) {
                    // A function is kept by its name.
                    (Some("function"), Some(Value::String(name))) => Ok(object(name, None, Map::new())),
                    (Some(class), None | Some(Value::Null)) => Ok(object(class, None, Map::new())),
                    (Some(class), Some(Value::Object(config))) => {
                        let mut options = config.clone();
                        let own_name = options.remove("name");
                        Ok(object(class, own_name.and_then(|n| n.as_str().map(str::to_owned)), options))
                    }
                    _ => Err(form(what, format!("'{value}' is not Keras' serialized form"))),
                }
            }
            Value::Object(fields) => {
                let mut options = fields.clone();
                match options.remove("name") {
                    Some(Value::String(name)) => Ok(object(&name, None, options)),
                    _ => Err(form(what, format!("'{value}' has no \"name\""))),
                }
            }
            _ => Err(form(what, format!("{value} is neither a name nor an object"))),
        }
    }

    /// The object named `name` with these options: for what needs no name.
    pub(crate) fn named(what: &'static str, name: &str, value: &Value) -> Result<Object, ConfigError> {
        match value {
            Value::Null => Object::read(what, &Value::String(name.to_owned())),
            Value::Object(fields) if !fields.contains_key("class_name") => {
                let mut fields = fields.clone();
                fields.insert("name".to_owned(), json!(name));
                Object::read(what, &Value::Object(fields))
            }
            _ => Object::read(what, value),
        }
    }

    /// The name that says what it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keras' name of this instance, if it says one.
    pub(crate) fn own_name(&self) -> Option<&str> {
        self.own_name.as_deref()
    }

    /// The error of a name that is none of `known`.
    pub(crate) fn unknown(&self, known: impl IntoIterator<Item = &'static str>) -> ConfigError {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        ConfigError::Unknown { what: self.what.to_owned(), name: self.name.clone(), known }
    }

    /// The error of something that Keras can do and this crate cannot.
    pub(crate) fn unsupported(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Unsupported {
            what: self.what.to_owned(),
            name: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// The error of an option with a value that it cannot have.
    pub(crate) fn wrong(&self, option: &str, expected: &str, got: &Value) -> ConfigError {
        ConfigError::Value {
            what: self.what.to_owned(),
            name: self.name.clone(),
            option: option.to_owned(),
            expected: expected.to_owned(),
            got: got.to_string(),
        }
    }

    /// An option as it is; `None` where it is left out or null.
    pub(crate) fn value(&mut self, option: &'static str) -> Option<Value> {
        self.known.push(option);
        self.options.remove(option).filter(|value| !value.is_null())
    }

    pub(crate) fn optional_number(
        &mut self,
        option: &'static str,
        bound: Bound,
    ) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.value(option) else { return Ok(None) };
        match value.as_f64().filter(|x| bound.holds(*x)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(option, bound.expected(), &value)),
        }
    }

    pub(crate) fn number(
        &mut self,
        option: &'static str,
        default: f64,
        bound: Bound,
    ) -> Result<f64, ConfigError> {
        Ok(self.optional_number(option, bound)?.unwrap_or(default))
    }

    pub(crate) fn required_number(&mut self, option: &'static str, bound: Bound) -> Result<f64, ConfigError> {
        self.optional_number(option, bound)?
            .ok_or_else(|| self.wrong(option, bound.expected(), &json!("left out")))
    }

    pub(crate) fn flag(&mut self, option: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.value(option) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => Err(self.wrong(option, "true or false", &value)),
        }
    }

    /// A whole number of at least `least`.
    pub(crate) fn count(
        &mut self,
        option: &'static str,
        default: u64,
        least: u64,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.value(option) else { return Ok(default) };
        match value.as_u64().filter(|count| *count >= least) {
            Some(count) => Ok(count),
            None => Err(self.wrong(option, &format!("a whole number of at least {least}"), &value)),
        }
    }

    pub(crate) fn text(&mut self, option: &'static str) -> Result<Option<String>, ConfigError> {
        match self.value(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(option, "a text", &value)),
        }
    }

    /// The axis of the classes, of which only the last can be.
    pub(crate) fn last_axis(&mut self) -> Result<(), ConfigError> {
        match self.value("axis") {
            None => Ok(()),
            Some(value) if value.as_i64() == Some(-1) => Ok(()),
            Some(value) => Err(self.wrong("axis", "-1, the last axis", &value)),
        }
    }

    /// The type in which Keras computes, which is always single precision here.
    pub(crate) fn single_precision(&mut self) -> Result<(), ConfigError> {
        let Some(value) = self.value("dtype") else { return Ok(()) };
        let name = value.as_str().or_else(|| value.pointer("/config/name").and_then(Value::as_str));
        if name == Some("float32") { Ok(()) } else { Err(self.wrong("dtype", "float32", &value)) }
    }

    /// An option of Keras that changes nothing here while it is false, 0 or left out.
    pub(crate) fn must_be_off(&mut self, option: &'static str) -> Result<(), ConfigError> {
        match self.value(option) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(()),
            Some(_) => Err(self.unsupported(format!("'{option}' is not supported; leave it out"))),
        }
    }

    /// Ends the reading: what is left was not asked for.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        match self.options.keys().next() {
            None => Ok(()),
            Some(option) => Err(ConfigError::UnknownOption {
                what: self.what.to_owned(),
                name: self.name.clone(),
                option: option.clone(),
                known: if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") },
            }),
        }
    }
}

fn form(what: &str, reason: String) -> ConfigError {
    ConfigError::Form { what: what.to_owned(), reason }
}

/// Keras' serialized form of an object.
pub(crate) fn keras_form(module: &str, class: &str, config: Value) -> Value {
    json!({"module": module, "class_name": class, "config": config, "registered_name": null})
}

/// Implements `FromStr` and `serde`'s traits by a type's `from_json` and `to_json`.
macro_rules! object_form {
    ($type:ident, $what:literal) => {
        impl std::str::FromStr for $type {
            type Err = $crate::config::ConfigError;

            /// Reads a name or JSON.
            fn from_str(text: &str) -> Result<$type, Self::Err> {
                $type::from_object($crate::config::Object::parse($what, text)?)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_json().serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                $type::from_json(&value).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use object_form;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_say_the_same() {
        let forms = [
            r#"{"name": "SGD", "momentum": 0.5}"#,
            r#"{"class_name": "SGD", "config": {"name": "sgd_1", "momentum": 0.5}, "module": "keras"}"#,
        ];
        for text in forms {
            let mut object = Object::parse("optimizer", text).unwrap();
            assert_eq!(object.name(), "SGD");
            assert_eq!(object.number("momentum", 0.0, Bound::Share), Ok(0.5));
            object.finish().unwrap();
        }
        let function = r#"{"module": "builtins", "class_name": "function", "config": "mse"}"#;
        assert_eq!(Object::parse("loss", function).unwrap().name(), "mse");
        assert_eq!(Object::parse("loss", " mse ").unwrap().name(), "mse");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |text: &str| {
            let mut object = match Object::parse("loss", text) {
                Ok(object) => object,
                Err(error) => return error.to_string(),
            };
            match object.number("delta", 1.0, Bound::Positive) {
                Err(error) => error.to_string(),
                Ok(_) => object.finish().unwrap_err().to_string(),
            }
        };
        assert_eq!(
            message(r#"{"name": "huber", "delta": 0}"#),
            "loss 'huber': 'delta' must be a number above 0, it is 0"
        );
        assert_eq!(
            message(r#"{"name": "huber", "size": 1}"#),
            "loss 'huber' has no option 'size'; it has delta"
        );
        assert!(message("{\"delta\": 1}").contains("has no \"name\""));
        assert!(message("{").starts_with("loss: '{'"));
        assert!(message("{\"class_name\": 1}").contains("serialized form"));
        assert!(message("").contains("neither a name nor an object"));
        assert!(message(r#"{"name": "huber", "delta": 1e300}"#).contains("must be"));
    }
}
