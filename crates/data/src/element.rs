//! Element types and exact conversion between them.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use half::f16;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it all
pub enum ElementType {
    F16,
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    /// One byte, 0 or 1.
    Bool,
}

impl ElementType {
    /// Every type.
    pub const ALL: [Self; 12] = [
        Self::F16,
        Self::F32,
        Self::F64,
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::Bool,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// NumPy's name: `float32`, `int8`, `bool`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value of any element type, without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i128),
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

impl Number {
    /// The integer that it is, or `None` for a fraction, a NaN or an infinity.
    pub(crate) fn integer(self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(value),
            Self::Float(value) => (value.fract() == 0.0).then_some(value as i128),
        }
    }
}

/// A Rust type that arrays hold. Implemented for the ten numbers of Rust that arrays know and `f16`.
pub trait Element: Pod + sealed::Sealed {
    /// Its element type.
    const TYPE: ElementType;
}

pub(crate) mod sealed {
    use super::Number;

    /// Conversions by value; not for users.
    pub trait Sealed: Sized {
        fn number(self) -> Number;
        /// The same value in this type; `None` if an integer type does not hold it. Floating-point
        /// types round to nearest.
        fn from_number(number: Number) -> Option<Self>;
        fn to_f32(self) -> f32;
    }
}

macro_rules! integer_element {
    ($($native:ty => $kind:ident),*) => {$(
        impl Element for $native {
            const TYPE: ElementType = ElementType::$kind;
        }
        impl sealed::Sealed for $native {
            fn number(self) -> Number {
                Number::Integer(self.into())
            }
            fn from_number(number: Number) -> Option<Self> {
                number.integer()?.try_into().ok()
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
        }
    )*};
}

integer_element!(i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, u64 => U64);

macro_rules! float_element {
    ($($native:ty => $kind:ident, $from:expr, $to_f32:expr);*) => {$(
        impl Element for $native {
            const TYPE: ElementType = ElementType::$kind;
        }
        impl sealed::Sealed for $native {
            fn number(self) -> Number {
                Number::Float(self.into())
            }
            fn from_number(number: Number) -> Option<Self> {
                Some(match number {
                    Number::Integer(value) => $from(value as f64),
                    Number::Float(value) => $from(value),
                })
            }
            fn to_f32(self) -> f32 {
                $to_f32(self)
            }
        }
    )*};
}

float_element!(
    f16 => F16, f16::from_f64, f16::to_f32;
    f32 => F32, |value: f64| value as f32, |value: f32| value;
    f64 => F64, |value: f64| value, |value: f64| value as f32
);

/// A byte of a boolean array: anything but 0 is true.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Truth(u8);

impl Element for Truth {
    const TYPE: ElementType = ElementType::Bool;
}
impl sealed::Sealed for Truth {
    fn number(self) -> Number {
        Number::Integer((self.0 != 0).into())
    }
    fn from_number(number: Number) -> Option<Self> {
        match number.integer()? {
            0 => Some(Self(0)),
            1 => Some(Self(1)),
            _ => None,
        }
    }
    fn to_f32(self) -> f32 {
        f32::from(self.0 != 0)
    }
}

/// Runs `$body` with `$native` standing for the Rust type of the [`ElementType`] `$kind`.
macro_rules! with_element {
    ($kind:expr, $native:ident => $body:expr) => {
        match $kind {
            $crate::ElementType::F16 => {
                type $native = half::f16;
                $body
            }
            $crate::ElementType::F32 => {
                type $native = f32;
                $body
            }
            $crate::ElementType::F64 => {
                type $native = f64;
                $body
            }
            $crate::ElementType::I8 => {
                type $native = i8;
                $body
            }
            $crate::ElementType::U8 => {
                type $native = u8;
                $body
            }
            $crate::ElementType::I16 => {
                type $native = i16;
                $body
            }
            $crate::ElementType::U16 => {
                type $native = u16;
                $body
            }
            $crate::ElementType::I32 => {
                type $native = i32;
                $body
            }
            $crate::ElementType::U32 => {
                type $native = u32;
                $body
            }
            $crate::ElementType::I64 => {
                type $native = i64;
                $body
            }
            $crate::ElementType::U64 => {
                type $native = u64;
                $body
            }
            $crate::ElementType::Bool => {
                type $native = $crate::element::Truth;
                $body
            }
        }
    };
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::sealed::Sealed;
    use super::*;

    #[test]
    fn sizes_and_names_agree_with_the_rust_types() {
        for kind in ElementType::ALL {
            let (size, name) = with_element!(kind, T => (size_of::<T>(), <T as Element>::TYPE.name()));
            assert_eq!((kind.size(), kind.name()), (size, name));
        }
    }

    #[test]
    fn integers_take_only_what_they_hold() {
        assert_eq!(i8::from_number(200_u8.number()), None);
        assert_eq!(i8::from_number(Number::Float(-128.0)), Some(-128));
        assert_eq!(u8::from_number(Number::Float(0.5)), None);
        assert_eq!(i64::from_number(Number::Float(f64::NAN)), None);
        assert_eq!(i64::from_number(Number::Float(f64::INFINITY)), None);
        assert_eq!(u64::from_number(u64::MAX.number()), Some(u64::MAX));
        assert_eq!(i64::from_number(u64::MAX.number()), None);
        assert!(Truth::from_number(Number::Integer(2)).is_none());
    }

    #[test]
    fn floats_round() {
        assert_eq!(f32::from_number(16_777_217_i32.number()), Some(16_777_216.0));
        assert_eq!(f16::from_number(Number::Float(1.0 / 3.0)), Some(f16::from_f64(1.0 / 3.0)));
        assert_eq!(f32::from_number(Number::Float(1e300)), Some(f32::INFINITY));
    }
}
