//! A dense array with a type, a shape and perhaps a name.

use std::borrow::Cow;
use std::fmt;

use crate::buffer::Buffer;
use crate::element::sealed::Sealed;
use crate::element::{Number, with_element};
use crate::{DataError, Element, ElementType};

/// A dense array in C order (the last axis runs fastest).
#[derive(Clone, PartialEq)]
pub struct Array {
    name: Option<String>,
    dtype: ElementType,
    shape: Vec<usize>,
    data: Buffer,
}

impl Array {
    /// An array of `values`.
    ///
    /// # Errors
    /// [`DataError::Length`] if the shape does not have as many elements.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<Self, DataError> {
        Self::from_bytes(T::TYPE, shape, bytemuck::cast_slice(values))
    }

    /// An array of little-endian `bytes`.
    ///
    /// # Errors
    /// [`DataError::Length`] if shape and type do not have as many bytes.
    pub fn from_bytes(dtype: ElementType, shape: &[usize], bytes: &[u8]) -> Result<Self, DataError> {
        Self::from_buffer(dtype, shape.to_vec(), Buffer::from_bytes(bytes))
    }

    pub(crate) fn from_buffer(
        dtype: ElementType,
        shape: Vec<usize>,
        data: Buffer,
    ) -> Result<Self, DataError> {
        if byte_length(dtype, &shape) != Some(data.len()) {
            return Err(DataError::Length { dtype, shape, got: data.len() });
        }
        Ok(Self { name: None, dtype, shape, data })
    }

    /// The same array with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> ElementType {
        self.dtype
    }

    /// The size of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The elements, if they are of type `T`. Boolean arrays are seen as `u8`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.holds::<T>().then(|| self.data.elements())
    }

    /// The elements to change, if they are of type `T`. Boolean arrays are seen as `u8`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        self.holds::<T>().then(|| self.data.elements_mut())
    }

    fn holds<T: Element>(&self) -> bool {
        T::TYPE == self.dtype || (T::TYPE == ElementType::U8 && self.dtype == ElementType::Bool)
    }

    /// The elements as `f32`, rounded to nearest where they are wider; borrowed if they are `f32`.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match self.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(with_element!(self.dtype, T => {
                self.data.elements::<T>().iter().map(|value| value.to_f32()).collect()
            })),
        }
    }

    /// The same values in another type. Floating-point types round to nearest; integer types and
    /// booleans take only values that they hold exactly.
    ///
    /// # Errors
    /// [`DataError::DoesNotFit`] with the first value that does not fit.
    pub fn convert(self, dtype: ElementType) -> Result<Self, DataError> {
        if dtype == self.dtype {
            return Ok(self);
        }
        let len = self.len() * dtype.size();
        let mut data = Buffer::zeroed(len, "a converted array")?;
        let failed = if dtype == ElementType::F32 {
            with_element!(self.dtype, From => {
                let from = self.data.elements::<From>();
                data.elements_mut().iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
                None
            })
        } else {
            with_element!(self.dtype, From => with_element!(dtype, To => {
                convert_elements::<From, To>(self.data.elements(), data.elements_mut())
            }))
        };
        if let Some((index, value)) = failed {
            return Err(DataError::DoesNotFit {
                input: self.name.unwrap_or_default(),
                sample: self
                    .shape
                    .first()
                    .map_or(0, |&samples| index / (self.data.len() / self.dtype.size() / samples)),
                value: value.to_string(),
                dtype,
            });
        }
        Ok(Self { data, dtype, ..self })
    }

    /// The same elements under another shape of the same size.
    pub(crate) fn reshaped(self, shape: Vec<usize>) -> Result<Self, DataError> {
        let mut array = Self::from_buffer(self.dtype, shape, self.data)?;
        array.name = self.name;
        Ok(array)
    }

    pub(crate) fn into_buffer(self) -> Buffer {
        self.data
    }

    /// The entries at `indices` of the first axis, which are below its size, in that order.
    pub(crate) fn select(&self, indices: &[usize]) -> Result<Self, DataError> {
        let entry = self.shape.iter().skip(1).product::<usize>() * self.dtype.size();
        let mut data = Buffer::zeroed(indices.len() * entry, "a selection of samples")?;
        if entry > 0 {
            for (to, &index) in data.bytes_mut().chunks_exact_mut(entry).zip(indices) {
                to.copy_from_slice(&self.bytes()[index * entry..(index + 1) * entry]);
            }
        }
        let shape = [&[indices.len()], &self.shape[1..]].concat();
        let mut array = Self::from_buffer(self.dtype, shape, data)?;
        array.name.clone_from(&self.name);
        Ok(array)
    }

    /// Every element without loss, in order.
    pub(crate) fn numbers(&self) -> Vec<Number> {
        with_element!(self.dtype, T => self.data.elements::<T>().iter().map(|v| v.number()).collect())
    }

    /// The flat index of the first NaN or infinity.
    pub fn first_non_finite(&self) -> Option<usize> {
        match self.dtype {
            ElementType::F16 => self.data.elements::<half::f16>().iter().position(|v| !v.is_finite()),
            ElementType::F32 => self.data.elements::<f32>().iter().position(|v| !v.is_finite()),
            ElementType::F64 => self.data.elements::<f64>().iter().position(|v| !v.is_finite()),
            _ => None,
        }
    }

    /// Checks that no element is NaN or infinite; integers never are.
    ///
    /// # Errors
    /// [`DataError::NotFinite`] with the place of the first one.
    pub fn check_finite(&self) -> Result<(), DataError> {
        let Some(index) = self.first_non_finite() else { return Ok(()) };
        let value = with_element!(self.dtype, T => f64::from(self.data.elements::<T>()[index].to_f32()));
        Err(DataError::NotFinite {
            input: self.name.clone().unwrap_or_default(),
            position: position(index, &self.shape),
            value,
        })
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} {} {:?})", self.name.as_deref().unwrap_or("unnamed"), self.dtype, self.shape)
    }
}

fn convert_elements<From: Element, To: Element>(from: &[From], to: &mut [To]) -> Option<(usize, Number)> {
    for (index, (from, to)) in from.iter().zip(to).enumerate() {
        match To::from_number(from.number()) {
            Some(value) => *to = value,
            None => return Some((index, from.number())),
        }
    }
    None
}

/// The index along every axis of the element at flat `index`.
fn position(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position = vec![0; shape.len()];
    for (place, &size) in position.iter_mut().zip(shape).rev() {
        *place = index % size;
        index /= size;
    }
    position
}

/// The bytes that an array has; `None` if that overflows.
pub(crate) fn byte_length(dtype: ElementType, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size(), |bytes, &size| bytes.checked_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_access_is_by_type() {
        let mut array = Array::from_slice(&[2, 2], &[1_f32, 2.0, 3.0, 4.0]).unwrap().named("x");
        assert_eq!(array.as_slice::<f32>(), Some([1.0, 2.0, 3.0, 4.0].as_slice()));
        assert_eq!(array.as_slice::<i32>(), None);
        array.as_mut_slice::<f32>().unwrap()[0] = 9.0;
        assert_eq!((array.name(), array.len(), array.to_f32()[0]), (Some("x"), 4, 9.0));
        let flags = Array::from_bytes(ElementType::Bool, &[3], &[0, 1, 1]).unwrap();
        assert_eq!(flags.as_slice::<u8>(), Some([0, 1, 1].as_slice()));
    }

    #[test]
    fn a_shape_that_lies_is_an_error() {
        for shape in [vec![3], vec![usize::MAX, 2], vec![0]] {
            let error = Array::from_slice(&shape, &[1_u8, 2]).unwrap_err();
            assert!(matches!(error, DataError::Length { got: 2, .. }), "{error}");
        }
    }

    #[test]
    fn conversion_keeps_values_or_says_which_does_not_fit() {
        let array = Array::from_slice(&[2, 2], &[0_u8, 127, 128, 255]).unwrap().named("x");
        assert_eq!(*array.to_f32(), [0.0, 127.0, 128.0, 255.0]);
        let wide = array.clone().convert(ElementType::I64).unwrap();
        assert_eq!(wide.as_slice::<i64>(), Some([0, 127, 128, 255].as_slice()));
        assert_eq!(wide.name(), Some("x"));
        let error = array.convert(ElementType::I8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input `x`, sample 1: 128 is no int8 value (integer inputs take data as they are)"
        );
    }

    #[test]
    fn every_pair_of_types_converts_zero_and_one() {
        for from in ElementType::ALL {
            let array = Array::from_slice(&[2], &[0_u8, 1]).unwrap().convert(from).unwrap();
            for to in ElementType::ALL {
                let there = array.clone().convert(to).unwrap();
                assert_eq!(there.dtype(), to);
                assert_eq!(*there.to_f32(), [0.0, 1.0], "{from} to {to}");
            }
        }
    }

    #[test]
    fn the_first_bad_value_is_located() {
        let array = Array::from_slice(&[2, 3], &[0_f32, 1.0, 2.0, 3.0, f32::NEG_INFINITY, f32::NAN]).unwrap();
        assert_eq!(array.first_non_finite(), Some(4));
        match array.check_finite() {
            Err(DataError::NotFinite { position, value, .. }) => {
                assert_eq!((position, value), (vec![1, 1], f64::NEG_INFINITY));
            }
            other => panic!("{other:?}"),
        }
        assert!(Array::from_slice(&[2], &[1_i32, 2]).unwrap().check_finite().is_ok());
        let half = Array::from_slice(&[1], &[half::f16::NAN]).unwrap();
        assert_eq!(half.first_non_finite(), Some(0));
    }
}
