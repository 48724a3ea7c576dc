//! Attributes of a node. Each one that is looked at is noted: what nobody asks for is not understood.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::error::FormatError;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type as kind};

/// The attributes of one node.
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
    place: String,
    asked: RefCell<HashSet<&'static str>>,
}

/// Defines how an attribute of one kind is asked for.
macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $type:ty, $read:expr) => {
        $(#[$doc])*
        pub fn $name(&self, key: &'static str) -> Result<Option<$type>, FormatError> {
            let Some(attribute) = self.find(key, $kind)? else { return Ok(None) };
            let read: fn(&'a AttributeProto) -> Option<$type> = $read;
            match read(attribute) {
                Some(value) => Ok(Some(value)),
                None => Err(self.broken(key, "has no value")),
            }
        }
    };
}

impl<'a> Attributes<'a> {
    pub fn new(node: &'a NodeProto, place: String) -> Attributes<'a> {
        Attributes { node, place, asked: RefCell::default() }
    }

    getter!(
        /// A number, 0 where the field is left out.
        integer, kind::INT, i64, |attribute| Some(attribute.i.unwrap_or(0))
    );
    getter!(
        /// A floating-point number.
        number, kind::FLOAT, f32, |attribute| Some(attribute.f.unwrap_or(0.0))
    );
    getter!(
        /// A text.
        text, kind::STRING, &'a str, |attribute| {
            attribute.s.as_deref().map_or(Some(""), |text| std::str::from_utf8(text).ok())
        }
    );
    getter!(
        /// A list of integers.
        integers, kind::INTS, &'a [i64], |attribute| Some(&attribute.ints)
    );
    getter!(
        /// A list of floating-point numbers.
        numbers, kind::FLOATS, &'a [f32], |attribute| Some(&attribute.floats)
    );
    getter!(
        /// A constant.
        tensor, kind::TENSOR, &'a TensorProto, |attribute| attribute.t.as_deref()
    );
    getter!(
        /// A graph.
        graph, kind::GRAPH, &'a GraphProto, |attribute| attribute.g.as_deref()
    );

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Result<Option<Vec<&'a str>>, FormatError> {
        let Some(attribute) = self.find(key, kind::STRINGS)? else { return Ok(None) };
        let texts = attribute.strings.iter().map(|text| std::str::from_utf8(text));
        texts.collect::<Result<_, _>>().map(Some).map_err(|_| self.broken(key, "is no text"))
    }

    /// Whether an attribute says 1.
    pub fn flag(&self, key: &'static str, default: bool) -> Result<bool, FormatError> {
        Ok(self.integer(key)?.map_or(default, |value| value != 0))
    }

    /// Whether there is such an attribute.
    pub fn has(&self, key: &'static str) -> bool {
        self.node.attribute.iter().any(|attribute| attribute.name.as_deref() == Some(key))
    }

    /// Notes attributes that change nothing here.
    pub fn ignore(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
    }

    /// The attributes that nobody has asked for.
    pub fn left_over(&self) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let names = self.node.attribute.iter().map(|attribute| attribute.name.as_deref().unwrap_or(""));
        names.filter(|name| !asked.contains(name)).collect()
    }

    fn find(&self, key: &'static str, kind: i32) -> Result<Option<&'a AttributeProto>, FormatError> {
        self.asked.borrow_mut().insert(key);
        let found = self.node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(key));
        let Some(attribute) = found else { return Ok(None) };
        // Files of the first version of the format say no kind.
        match attribute.r#type.unwrap_or(kind) {
            0 => Ok(Some(attribute)),
            stated if stated == kind => Ok(Some(attribute)),
            stated => Err(self.broken(key, &format!("is of kind {stated} instead of {kind}"))),
        }
    }

    fn broken(&self, key: &str, what: &str) -> FormatError {
        FormatError::broken(self.place.clone(), format!("its attribute '{key}' {what}"))
    }
}
