//! Attributes of operations, decoded.

use std::collections::BTreeMap;

use litesmith_graph::{DType, Data};

/// The attributes of one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attributes(pub BTreeMap<String, Attribute>);

/// A shape as far as it is known: its axes where their number is known, each with its size where that
/// is known.
pub(super) type PartialShape = Option<Vec<Option<usize>>>;

/// One attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f32),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(String),
    /// An element type.
    Type(DType),
    /// A shape.
    Shape(PartialShape),
    /// The value of a constant.
    Tensor(Constant),
    /// Several integers.
    Integers(Vec<i64>),
    /// Several element types.
    Types(Vec<DType>),
}

/// The value of a constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
    /// As many elements as the shape says, row-major.
    pub data: Data,
}

impl Attributes {
    fn get(&self, key: &str) -> Option<&Attribute> {
        self.0.get(key)
    }

    /// An integer, if there is one of this name.
    pub fn integer(&self, key: &str) -> Option<i64> {
        if let Some(Attribute::Integer(value)) = self.get(key) { Some(*value) } else { None }
    }

    /// A number, if there is one of this name.
    pub fn number(&self, key: &str) -> Option<f32> {
        if let Some(Attribute::Number(value)) = self.get(key) { Some(*value) } else { None }
    }

    /// A truth value; false where there is none of this name.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Attribute::Flag(true)))
    }

    /// A truth value, or `default` where there is none of this name.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        if let Some(Attribute::Flag(flag)) = self.get(key) { *flag } else { default }
    }

    /// A text, if there is one of this name.
    pub fn text(&self, key: &str) -> Option<&str> {
        if let Some(Attribute::Text(text)) = self.get(key) { Some(text) } else { None }
    }

    /// An element type, if there is one of this name.
    pub fn dtype(&self, key: &str) -> Option<DType> {
        if let Some(Attribute::Type(dtype)) = self.get(key) { Some(*dtype) } else { None }
    }

    /// The value of a constant, if there is one of this name.
    pub fn tensor(&self, key: &str) -> Option<&Constant> {
        if let Some(Attribute::Tensor(constant)) = self.get(key) { Some(constant) } else { None }
    }

    /// Several integers; none where there are none of this name.
    pub fn integers(&self, key: &str) -> &[i64] {
        if let Some(Attribute::Integers(values)) = self.get(key) { values } else { &[] }
    }
}
