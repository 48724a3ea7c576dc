//! Element types of tensors.

use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Four-bit signed integer, two to a byte, low half first.
    I4,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// One byte, 0 or 1.
    Bool,
    /// Text of any length.
    Text,
    /// A handle of a variable; it has no bytes.
    Resource,
}

impl DType {
    /// Every type with its name in the text form.
    pub const ALL: [(DType, &'static str); 15] = [
        (DType::F16, "f16"),
        (DType::F32, "f32"),
        (DType::F64, "f64"),
        (DType::I4, "i4"),
        (DType::I8, "i8"),
        (DType::I16, "i16"),
        (DType::I32, "i32"),
        (DType::I64, "i64"),
        (DType::U8, "u8"),
        (DType::U16, "u16"),
        (DType::U32, "u32"),
        (DType::U64, "u64"),
        (DType::Bool, "bool"),
        (DType::Text, "text"),
        (DType::Resource, "resource"),
    ];

    /// Bits of one element; `None` where elements have no fixed size.
    #[must_use]
    pub fn bits(self) -> Option<usize> {
        match self {
            DType::I4 => Some(4),
            DType::I8 | DType::U8 | DType::Bool => Some(8),
            DType::F16 | DType::I16 | DType::U16 => Some(16),
            DType::F32 | DType::I32 | DType::U32 => Some(32),
            DType::F64 | DType::I64 | DType::U64 => Some(64),
            DType::Text | DType::Resource => None,
        }
    }

    /// Bytes that `elements` elements take; `None` on overflow or where they have no fixed size.
    #[must_use]
    pub fn bytes(self, elements: usize) -> Option<usize> {
        elements.checked_mul(self.bits()?).map(|bits| bits.div_ceil(8))
    }

    /// Whether elements are floating-point numbers.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32 | DType::F64)
    }

    /// Whether elements are integers.
    #[must_use]
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool | DType::Text | DType::Resource)
    }

    /// The name that NumPy and Keras give this type (`float32`, `int8`, …).
    #[must_use]
    pub fn numpy_name(self) -> &'static str {
        match self {
            DType::F16 => "float16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::I4 => "int4",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::U8 => "uint8",
            DType::U16 => "uint16",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::Bool => "bool",
            DType::Text => "string",
            DType::Resource => "resource",
        }
    }

    /// The type with this NumPy name.
    #[must_use]
    pub fn from_numpy_name(name: &str) -> Option<DType> {
        DType::ALL.iter().map(|(dtype, _)| *dtype).find(|dtype| dtype.numpy_name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DType::ALL.iter().find(|(dtype, _)| dtype == self).map_or("?", |(_, name)| name))
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(name: &str) -> Result<DType, String> {
        DType::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(dtype, _)| *dtype)
            .ok_or_else(|| format!("'{name}' is no element type"))
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DType, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bit_elements_share_bytes() {
        assert_eq!(DType::I4.bytes(3), Some(2));
        assert_eq!(DType::F32.bytes(usize::MAX), None);
        assert_eq!(DType::Text.bytes(1), None);
    }

    #[test]
    fn names_go_both_ways() {
        for (dtype, name) in DType::ALL {
            assert_eq!(name.parse(), Ok(dtype));
            assert_eq!(DType::from_numpy_name(dtype.numpy_name()), Some(dtype));
        }
    }
}
