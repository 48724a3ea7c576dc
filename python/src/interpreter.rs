//! The interpreter, with the exceptions and texts of TensorFlow Lite's.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use litesmith::{Array, DType, TensorDetails};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::arrays;
use crate::errors::raised;
use crate::options::run_options;

/// The native part of `litesmith.lite.Interpreter`.
#[pyclass(module = "litesmith._litesmith", subclass, frozen)]
pub(crate) struct Interpreter(Mutex<Held>);

struct Held {
    interpreter: litesmith::Interpreter,
    /// Whether the shapes that inputs have now were planned for.
    allocated: bool,
    keep_all: bool,
}

/// What the dictionary of a tensor holds, in its order; the last part, how zeros are left out, is JSON.
type Details =
    (String, usize, Vec<i64>, Vec<i64>, &'static str, (f32, i32), (Vec<f32>, Vec<i32>, i32), String);

#[pymethods]
impl Interpreter {
    /// Reads a model file, or the bytes of one.
    #[new]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        content: Option<PyBackedBytes>,
        threads: Option<usize>,
        keep_all: bool,
    ) -> PyResult<Interpreter> {
        let options = run_options(threads);
        let made = py.detach(|| match (path, content) {
            (Some(path), _) => litesmith::Interpreter::open(&path, options),
            (None, content) => {
                let content = content.map(Bytes::from_owner).unwrap_or_default();
                litesmith::Interpreter::from_bytes(content, options)
            }
        });
        let mut interpreter = made.map_err(|error| raised(&error))?;
        interpreter.keep_all(keep_all);
        Ok(Interpreter(Mutex::new(Held { interpreter, allocated: false, keep_all })))
    }

    /// Plans for the inputs' shapes.
    fn allocate_tensors(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.locked(|held| held.allocate())).map_err(|error| raised(&error))
    }

    /// Copies an array into an input.
    fn set_tensor(&self, tensor_index: i64, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if value.is_instance_of::<numpy::PyUntypedArray>() {
            return self.set(tensor_index, value);
        }
        let array = value.py().import("numpy")?.call_method1("asarray", (value,))?;
        self.set(tensor_index, &array)
    }

    /// Computes the outputs.
    fn invoke(&self, py: Python<'_>) -> PyResult<()> {
        let run = py.detach(|| self.locked(|held| held.allocated.then(|| held.interpreter.run())));
        match run {
            Some(result) => result.map_err(|error| raised(&error)),
            None => Err(PyRuntimeError::new_err("Invoke called on model that is not ready.")),
        }
    }

    /// A copy of a tensor.
    fn get_tensor<'py>(&self, py: Python<'py>, tensor_index: i64) -> PyResult<Bound<'py, PyAny>> {
        self.locked(|held| {
            let tensor = held.index(tensor_index)?;
            if let Some(array) = held.interpreter.borrowed(tensor).filter(|_| held.allocated) {
                return arrays::to_numpy(py, array);
            }
            match held.interpreter.value(tensor).or_else(|| held.not_yet(tensor)) {
                Some(array) if held.allocated || !held.is_input(tensor) => arrays::to_numpy(py, &array),
                _ => Err(PyValueError::new_err("Tensor data is null. Run allocate_tensors() first")),
            }
        })
    }

    /// Gives an input another shape.
    fn resize(&self, py: Python<'_>, tensor_index: i64, shape: Vec<i64>, strict: bool) -> PyResult<()> {
        let sizes = shape.iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<usize>, _>>();
        let sizes = sizes.map_err(|_| PyValueError::new_err(format!("{shape:?} is no shape")))?;
        let tensor = self.locked(|held| held.index(tensor_index))?;
        py.detach(|| {
            self.locked(|held| {
                if strict && !held.interpreter.takes(tensor, &sizes) {
                    return Ok(false);
                }
                held.allocated = false;
                held.interpreter.resize(tensor, &sizes).map(|()| true)
            })
        })
        .map_err(|error| raised(&error))
        .and_then(|done| match done {
            true => Ok(()),
            false => Err(PyRuntimeError::new_err(
                "ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1.",
            )),
        })
    }

    /// The tensors of the inputs and of the outputs.
    fn interface(&self) -> (Vec<usize>, Vec<usize>) {
        self.locked(|held| (held.interpreter.inputs().to_vec(), held.interpreter.outputs().to_vec()))
    }

    /// Number of tensors.
    fn tensor_count(&self) -> usize {
        self.locked(|held| held.interpreter.tensors())
    }

    /// What the dictionary of a tensor holds.
    fn details(&self, tensor: usize) -> Option<Details> {
        self.locked(|held| held.interpreter.details(tensor)).map(told)
    }

    /// Key, inputs and outputs of each entry point.
    #[allow(clippy::type_complexity, reason = "one tuple that one line of Python takes apart")]
    fn entry_points(&self) -> Vec<(String, Vec<(String, usize)>, Vec<(String, usize)>)> {
        let points = self.locked(|held| held.interpreter.entry_points());
        points.into_iter().map(|point| (point.key, point.inputs, point.outputs)).collect()
    }

    /// Gives variables the values that they have before the first run.
    fn reset_all_variables(&self) {
        self.locked(|held| held.interpreter.reset());
    }
}

impl Interpreter {
    fn locked<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, index: i64, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.locked(|held| {
            let tensor = held.index(index)?;
            if !held.allocated {
                let reason = "Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first";
                return Err(PyValueError::new_err(reason));
            }
            let (name, dtype) = held.kind(tensor);
            let set = arrays::with_elements(value, |got, shape, bytes| {
                if got != dtype {
                    return Err(wrong_type(lite_name(Some(got)), dtype, tensor, &name));
                }
                held.fill(tensor, shape, bytes)
            });
            set.map_err(|error| match error.is_instance_of::<pyo3::exceptions::PyTypeError>(value.py()) {
                true => wrong_type(lite_name_of(value), dtype, tensor, &name),
                false => error,
            })
        })
    }
}

impl Held {
    fn allocate(&mut self) -> Result<(), litesmith::Error> {
        self.interpreter.allocate()?;
        self.allocated = true;
        Ok(())
    }

    fn index(&self, index: i64) -> PyResult<usize> {
        let count = self.interpreter.tensors();
        let known = usize::try_from(index).ok().filter(|index| *index < count);
        known.ok_or_else(|| {
            PyValueError::new_err(format!("Invalid tensor index {index} exceeds max tensor index {count}"))
        })
    }

    fn is_input(&self, tensor: usize) -> bool {
        self.interpreter.inputs().contains(&tensor)
    }

    fn kind(&self, tensor: usize) -> (String, DType) {
        let kind = self.interpreter.kind(tensor);
        kind.map_or_else(|| (String::new(), DType::F32), |(name, dtype)| (name.to_owned(), dtype))
    }

    /// Copies elements of the right type into an input; a shape that the model leaves free becomes this one.
    fn fill(&mut self, tensor: usize, shape: &[usize], bytes: &[u8]) -> PyResult<()> {
        let takes = self.interpreter.takes(tensor, shape);
        let Some(array) = self.interpreter.input_mut(tensor) else {
            return Err(PyValueError::new_err(format!("Cannot set tensor: tensor {tensor} is no input")));
        };
        if array.shape == shape && array.data.len() == bytes.len() {
            array.data.copy_from_slice(bytes);
            return Ok(());
        }
        if !takes {
            return Err(wrong_shape(&array.shape, shape, tensor));
        }
        let array = Array { dtype: array.dtype, shape: shape.to_vec(), data: bytes.to_vec() };
        self.interpreter.set(tensor, array).map_err(|error| raised(&error))
    }

    /// An output before the first run: zeros, as they lie in memory that was just allocated.
    fn not_yet(&mut self, tensor: usize) -> Option<Array> {
        if !self.allocated || !(self.interpreter.outputs().contains(&tensor) || self.keep_all) {
            return None;
        }
        let (_, dtype) = self.kind(tensor);
        let shape = self.interpreter.details(tensor)?.shape;
        let sizes = shape.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().ok()?;
        Array::zeros(dtype, &sizes)
    }
}

fn told(details: TensorDetails) -> Details {
    let TensorDetails { name, index, shape, shape_signature, dtype, quantization, .. } = details;
    let parameters = &details.quantization_parameters;
    let scales: Vec<f32> = serde_json::from_value(parameters["scales"].clone()).unwrap_or_default();
    let zero_points: Vec<i32> = serde_json::from_value(parameters["zero_points"].clone()).unwrap_or_default();
    let axis = parameters["quantized_dimension"].as_i64().unwrap_or(0);
    let axis = i32::try_from(axis).unwrap_or(0);
    let parameters = (scales, zero_points, axis);
    (
        name,
        index,
        shape,
        shape_signature,
        dtype,
        quantization,
        parameters,
        details.sparsity_parameters.to_string(),
    )
}

fn wrong_type(got: &str, expected: DType, tensor: usize, name: &str) -> PyErr {
    let expected = lite_name(Some(expected));
    PyValueError::new_err(format!(
        "Cannot set tensor: Got value of type {got} but expected type {expected} for input {tensor}, name: {name} "
    ))
}

fn wrong_shape(expected: &[usize], got: &[usize], tensor: usize) -> PyErr {
    let ranks = (got.len(), expected.len());
    let sizes = got.iter().zip(expected).enumerate().find(|(_, (got, expected))| got != expected);
    PyValueError::new_err(match sizes {
        Some((axis, (got, expected))) if ranks.0 == ranks.1 => format!(
            "Cannot set tensor: Dimension mismatch. Got {got} but expected {expected} for dimension {axis} of input \
             {tensor}."
        ),
        _ => format!(
            "Cannot set tensor: Dimension mismatch. Got {} but expected {} for input {tensor}.",
            ranks.0, ranks.1
        ),
    })
}

/// What TensorFlow Lite calls the type of an array that we have none for.
fn lite_name_of(value: &Bound<'_, PyAny>) -> &'static str {
    let kind: Option<String> = value.getattr("dtype").and_then(|dtype| dtype.getattr("kind")?.extract()).ok();
    match kind.as_deref() {
        Some("U" | "S" | "O") => "STRING",
        Some("c") => "COMPLEX64",
        _ => lite_name(None),
    }
}

/// What TensorFlow Lite calls a type.
fn lite_name(dtype: Option<DType>) -> &'static str {
    match dtype {
        Some(DType::F32) => "FLOAT32",
        Some(DType::F64) => "FLOAT64",
        Some(DType::F16) => "FLOAT16",
        Some(DType::I4) => "INT4",
        Some(DType::I8) => "INT8",
        Some(DType::I16) => "INT16",
        Some(DType::I32) => "INT32",
        Some(DType::I64) => "INT64",
        Some(DType::U8) => "UINT8",
        Some(DType::U16) => "UINT16",
        Some(DType::U32) => "UINT32",
        Some(DType::U64) => "UINT64",
        Some(DType::Bool) => "BOOL",
        Some(DType::Text) => "STRING",
        Some(DType::Resource) => "RESOURCE",
        None => "NOTYPE",
    }
}
