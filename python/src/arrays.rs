//! NumPy's arrays as ours, and back.

use bytemuck::{AnyBitPattern, NoUninit};
use half::f16;
use litesmith::{Array, DType, ElementType, SampleArray};
use numpy::prelude::*;
use numpy::{Element, PyArray1, PyReadonlyArrayDyn, PyUntypedArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// Calls a macro with each of our element types, NumPy's kind and size of it, and Rust's type.
macro_rules! each_type {
    ($call:ident) => {
        $call! {
            F32 b'f' 4 f32, F64 b'f' 8 f64, F16 b'f' 2 f16,
            I8 b'i' 1 i8, I16 b'i' 2 i16, I32 b'i' 4 i32, I64 b'i' 8 i64,
            U8 b'u' 1 u8, U16 b'u' 2 u16, U32 b'u' 4 u32, U64 b'u' 8 u64
        }
    };
}

/// The elements of an array in row-major order, borrowed where they lie so.
pub(crate) fn with_elements<R>(
    array: &Bound<'_, PyAny>,
    look: impl FnOnce(DType, &[usize], &[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let array = array.cast::<PyUntypedArray>()?;
    let dtype = array.dtype();
    if !array.is_c_contiguous() || dtype.is_native_byteorder() == Some(false) {
        let native = dtype.call_method1("newbyteorder", ("=",))?;
        let copy = array.call_method1("astype", (native, "C"))?;
        let copy = copy.cast::<PyUntypedArray>()?;
        return if copy.is_c_contiguous() && copy.dtype().is_native_byteorder() != Some(false) {
            with_elements(copy, look)
        } else {
            Err(PyTypeError::new_err("the elements of the array have no order in memory"))
        };
    }
    macro_rules! look_as {
        ($($dtype:ident $kind:literal $size:literal $type:ty),*) => {
            match (dtype.kind(), dtype.itemsize()) {
                (b'b', 1) => borrowed::<bool, R>(array, DType::Bool, look),
                $(($kind, $size) => borrowed::<$type, R>(array, DType::$dtype, look),)*
                _ => {
                    let name = dtype.repr()?;
                    Err(PyTypeError::new_err(format!("elements of type {} are not supported", name.to_string_lossy())))
                }
            }
        };
    }
    each_type!(look_as)
}

fn borrowed<T: Element + NoUninit, R>(
    array: &Bound<'_, PyUntypedArray>,
    dtype: DType,
    look: impl FnOnce(DType, &[usize], &[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let typed: PyReadonlyArrayDyn<'_, T> = array.extract()?;
    let elements = typed.as_slice().map_err(|error| PyTypeError::new_err(error.to_string()))?;
    look(dtype, typed.shape(), bytemuck::cast_slice(elements))
}

/// A copy of ours.
pub(crate) fn from_numpy(array: &Bound<'_, PyAny>) -> PyResult<Array> {
    with_elements(array, |dtype, shape, bytes| {
        Ok(Array { dtype, shape: shape.to_vec(), data: bytes.to_vec() })
    })
}

/// A copy to learn from or to calibrate on.
pub(crate) fn samples(array: &Bound<'_, PyAny>, name: Option<&str>) -> PyResult<SampleArray> {
    with_elements(array, |dtype, shape, bytes| {
        let element = ElementType::ALL.into_iter().find(|element| element.to_string() == dtype.numpy_name());
        let element =
            element.ok_or_else(|| PyTypeError::new_err(format!("{dtype} is no type of samples")))?;
        let made = SampleArray::from_bytes(element, shape, bytes);
        let made = made.map_err(|error| PyTypeError::new_err(error.to_string()))?;
        Ok(match name {
            Some(name) => made.named(name),
            None => made,
        })
    })
}

/// An array of NumPy's with these elements.
pub(crate) fn to_numpy<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyAny>> {
    macro_rules! make {
        ($($dtype:ident $kind:literal $size:literal $type:ty),*) => {
            match array.dtype {
                DType::Bool => {
                    let truths: Vec<bool> = array.data.iter().map(|byte| *byte != 0).collect();
                    Ok(PyArray1::from_vec(py, truths).reshape(array.shape.as_slice())?.into_any())
                }
                $(DType::$dtype => typed::<$type>(py, array),)*
                other => Err(PyTypeError::new_err(format!("NumPy has no elements of type {other}"))),
            }
        };
    }
    each_type!(make)
}

fn typed<'py, T: Element + AnyBitPattern + NoUninit>(
    py: Python<'py>,
    array: &Array,
) -> PyResult<Bound<'py, PyAny>> {
    let flat = PyArray1::from_slice(py, &array.elements::<T>());
    Ok(flat.reshape(array.shape.as_slice())?.into_any())
}
