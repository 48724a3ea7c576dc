//! A model held ready to run, tensor by tensor, as TensorFlow Lite's interpreter does it.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use litesmith_graph::{DType, GraphId, Model, Shape, TensorId, infer_shapes};
use litesmith_runtime::{Ahead, Array, Interpreter as Engine, Options as RunOptions};

use crate::error::Error;
use crate::inspect::{TensorDetails, describe};
use crate::shapes::set_input_shapes;
use crate::source::read_ahead;

/// A named entry point of a model: tensors under the names that its signature gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Its key, such as `serving_default`.
    pub key: String,
    /// Name and tensor of each input.
    pub inputs: Vec<(String, usize)>,
    /// Name and tensor of each output.
    pub outputs: Vec<(String, usize)>,
}

/// Runs a model again and again: tensors are set, computed and read one by one.
///
/// ```no_run
/// use litesmith::{Array, Interpreter, RunOptions};
///
/// let mut interpreter = Interpreter::open("model.tflite".as_ref(), RunOptions::default())?;
/// let input = interpreter.inputs()[0];
/// // Three samples, if the model leaves the batch free.
/// interpreter.set(input, Array::from_f32(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))?;
/// interpreter.run()?;
/// let output = interpreter.value(interpreter.outputs()[0]);
/// # Ok::<(), litesmith::Error>(())
/// ```
pub struct Interpreter {
    /// As it was read.
    source: Model,
    /// With the input shapes that were asked for, where the source fixes others.
    model: Model,
    options: RunOptions,
    /// Whether [`Interpreter::value`] knows every tensor behind a run.
    keep_all: bool,
    engine: Engine,
    /// For the weights, until they are packed.
    ahead: Option<Ahead>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    arrays: Vec<Array>,
    results: Vec<Array>,
    /// With `keep_all`: what else the last run computed.
    kept: HashMap<usize, Array>,
    /// Sizes of all tensors for the inputs' shapes; made when they are asked for.
    shapes: Option<Vec<Shape>>,
}

impl Interpreter {
    /// Reads a model file of any format.
    ///
    /// # Errors
    /// If the file cannot be read, or the model cannot be run.
    pub fn open(path: &Path, options: RunOptions) -> Result<Interpreter, Error> {
        let (model, ahead) = read_ahead(path, &options)?;
        Ok(Interpreter { ahead, ..Interpreter::of(model, options)? })
    }

    /// Reads the bytes of a `.tflite`, `.keras` or `.h5` file.
    ///
    /// # Errors
    /// As [`Interpreter::open`].
    pub fn from_bytes(bytes: Bytes, options: RunOptions) -> Result<Interpreter, Error> {
        Interpreter::of(litesmith_formats::read_bytes(bytes)?, options)
    }

    pub(crate) fn of(model: Model, options: RunOptions) -> Result<Interpreter, Error> {
        let engine = Engine::unplanned(&model, &options)?;
        let graph = model.main();
        let places = |ids: &[TensorId]| ids.iter().map(|id| id.index()).collect();
        let (inputs, outputs) = (places(&graph.inputs), places(&graph.outputs));
        let mut interpreter = Interpreter {
            source: model.clone(),
            model,
            options,
            keep_all: false,
            engine,
            ahead: None,
            inputs,
            outputs,
            arrays: Vec::new(),
            results: Vec::new(),
            kept: HashMap::new(),
            shapes: None,
        };
        interpreter.arrays = (0..interpreter.inputs.len())
            .map(|place| interpreter.zeros(place, &interpreter.usual_shape(place)))
            .collect::<Result<_, _>>()?;
        Ok(interpreter)
    }

    /// Whether every tensor can be read behind a run, not only inputs, outputs and constants: slower, and with
    /// room for all of them.
    pub fn keep_all(&mut self, keep: bool) {
        self.keep_all = keep;
        self.kept.clear();
    }

    /// The tensors of the inputs, in order.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// The tensors of the outputs, in order.
    #[must_use]
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// Number of tensors of the main graph: each is told by its place among them.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.source.main().tensors.len()
    }

    /// The entry points into the main graph.
    #[must_use]
    pub fn entry_points(&self) -> Vec<EntryPoint> {
        let named = |names: &[(String, usize)], tensors: &[usize]| -> Vec<(String, usize)> {
            let tensor = |(name, place): &(String, usize)| Some((name.clone(), *tensors.get(*place)?));
            names.iter().filter_map(tensor).collect()
        };
        let main = self.source.signatures.iter().filter(|signature| signature.graph == GraphId(0));
        let entry = |signature: &litesmith_graph::Signature| EntryPoint {
            key: signature.key.clone(),
            inputs: named(&signature.inputs, &self.inputs),
            outputs: named(&signature.outputs, &self.outputs),
        };
        main.map(entry).collect()
    }

    /// How TensorFlow Lite's interpreter describes a tensor, with the sizes that it has for the inputs' shapes
    /// (1 where they depend on values); `None` where there is none of this number.
    pub fn details(&mut self, tensor: usize) -> Option<TensorDetails> {
        let own = self.source.main().tensors.get(tensor)?;
        let mut details = describe(TensorId(u32::try_from(tensor).ok()?), own);
        if let Some(shape) = self.shapes().get(tensor) {
            let sizes = shape.dims().iter().map(|dim| dim.fixed().map_or(1, |size| size as i64));
            details.shape = sizes.collect();
        }
        if let Some(result) = self.result(tensor) {
            details.shape = result.shape.iter().map(|size| *size as i64).collect();
        }
        Some(details)
    }

    /// Its name and the type of its elements; `None` where there is no such tensor.
    #[must_use]
    pub fn kind(&self, tensor: usize) -> Option<(&str, DType)> {
        let tensor = self.source.main().tensors.get(tensor)?;
        Some((&tensor.name, tensor.dtype))
    }

    /// Whether an input may have this shape as the model stands, fixed sizes untouched.
    #[must_use]
    pub fn takes(&self, tensor: usize, shape: &[usize]) -> bool {
        let Some(place) = self.input_place(tensor) else { return false };
        let own = &self.engine.inputs()[place].shape;
        let fits = |(dim, size): (&litesmith_graph::Dim, &usize)| dim.fixed().is_none_or(|own| own == *size);
        own.rank() == shape.len() && own.dims().iter().zip(shape).all(fits)
    }

    /// Gives an input another shape, and zeros. Sizes that the model leaves free take any value; where it fixes
    /// others, the model is changed, if it computes for several samples what it computes for each.
    ///
    /// # Errors
    /// If the tensor is no input, or the model cannot have this shape.
    pub fn resize(&mut self, tensor: usize, shape: &[usize]) -> Result<(), Error> {
        let place = self.input_place(tensor).ok_or_else(|| no_input(tensor))?;
        if !self.takes(tensor, shape) {
            let name = self.source.main()[self.source.main().inputs[place]].name.clone();
            let mut changed = self.source.clone();
            set_input_shapes(&mut changed, &[(name, shape.to_vec())], &self.options)?;
            self.engine = Engine::unplanned(&changed, &self.options)?;
            self.model = changed;
            // A batch that was fixed is another one at every input.
            for other in (0..self.inputs.len()).filter(|other| *other != place) {
                if !self.takes(self.inputs[other], &self.arrays[other].shape) {
                    self.arrays[other] = self.zeros(other, &self.usual_shape(other))?;
                }
            }
        }
        if self.arrays[place].shape != shape {
            self.arrays[place] = self.zeros(place, shape)?;
        }
        self.forget();
        Ok(())
    }

    /// Plans for the inputs' shapes and packs weights, so that the first run need not.
    ///
    /// # Errors
    /// If the shapes do not fit each other or the model, or memory does not suffice.
    pub fn allocate(&mut self) -> Result<(), Error> {
        self.forget();
        self.engine.prepare(self.arrays.iter().map(|array| array.shape.clone()).collect())?;
        self.ahead = None;
        Ok(())
    }

    /// Sets an input. Its shape may differ from what it had where the model leaves sizes free.
    ///
    /// # Errors
    /// If the tensor is no input, or the array has another type or shape than it takes.
    pub fn set(&mut self, tensor: usize, array: Array) -> Result<(), Error> {
        let place = self.input_place(tensor).ok_or_else(|| no_input(tensor))?;
        let info = &self.engine.inputs()[place];
        if array.dtype != info.dtype || !self.takes(tensor, &array.shape) {
            let got = format!("{}{}", array.dtype, Shape::fixed(&array.shape));
            let (name, dtype, shape) = (&info.name, info.dtype, &info.shape);
            return Err(Error::Broken(format!("input '{name}' takes {dtype}{shape}, it was given {got}")));
        }
        if self.arrays[place].shape != array.shape {
            self.forget();
        }
        self.arrays[place] = array;
        Ok(())
    }

    /// The elements of an input in memory, to be overwritten in place: as many as its shape says.
    pub fn input_mut(&mut self, tensor: usize) -> Option<&mut Array> {
        let place = self.input_place(tensor)?;
        Some(&mut self.arrays[place])
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// If inputs do not fit each other, or a layer meets values that it cannot compute with.
    pub fn run(&mut self) -> Result<(), Error> {
        if !self.keep_all {
            self.results = self.engine.run(&self.arrays)?;
            self.ahead = None;
            return Ok(());
        }
        let kept = &mut self.kept;
        let mut keep = |tensor: TensorId, view: &litesmith_runtime::TensorView<'_>| {
            kept.insert(tensor.index(), view.to_array());
        };
        self.results = self.engine.observe(&self.arrays, &mut keep)?;
        Ok(())
    }

    /// The value of an input as it was set, an output as the last run left it, or a constant. `None` for all
    /// others, unless every tensor [is kept](Interpreter::keep_all), and before a run.
    #[must_use]
    pub fn value(&self, tensor: usize) -> Option<Array> {
        if let Some(array) = self.borrowed(tensor) {
            return Some(array.clone());
        }
        let own = self.model.main().tensors.get(tensor)?;
        let data = self.model.data(own)?;
        let shape = own.shape.to_fixed()?;
        // What is stored without its zeros is not an array of its shape.
        let whole = Shape::fixed(&shape).elements().and_then(|elements| own.dtype.bytes(elements));
        let array = Array { dtype: own.dtype, shape, data: data.bytes().to_vec() };
        (whole == Some(array.data.len())).then_some(array)
    }

    /// The same without a copy; `None` for constants, too.
    #[must_use]
    pub fn borrowed(&self, tensor: usize) -> Option<&Array> {
        match self.input_place(tensor) {
            Some(place) => self.arrays.get(place),
            None => self.result(tensor).or_else(|| self.kept.get(&tensor)),
        }
    }

    /// Gives every variable of the model the value that it has before the first run.
    pub fn reset(&mut self) {
        self.engine.reset_states();
    }

    fn result(&self, tensor: usize) -> Option<&Array> {
        let place = self.outputs.iter().position(|output| *output == tensor)?;
        self.results.get(place)
    }

    fn input_place(&self, tensor: usize) -> Option<usize> {
        self.inputs.iter().position(|input| *input == tensor)
    }

    /// An input's shape with 1 for sizes that are free.
    fn usual_shape(&self, place: usize) -> Vec<usize> {
        let dims = self.engine.inputs()[place].shape.dims().iter();
        dims.map(|dim| dim.fixed().unwrap_or(1)).collect()
    }

    fn zeros(&self, place: usize, shape: &[usize]) -> Result<Array, Error> {
        let info = &self.engine.inputs()[place];
        Array::zeros(info.dtype, shape).ok_or_else(|| {
            Error::Limit(format!(
                "input '{}' of type {} and shape {shape:?} cannot be held",
                info.name, info.dtype
            ))
        })
    }

    /// What the last run gave is of other shapes.
    fn forget(&mut self) {
        (self.results, self.shapes) = (Vec::new(), None);
        self.kept.clear();
    }

    /// The shapes of all tensors for those of the inputs; those that the model states where they do not fit.
    fn shapes(&mut self) -> &[Shape] {
        if self.shapes.is_none() {
            let inputs: Vec<Shape> = self.arrays.iter().map(|array| Shape::fixed(&array.shape)).collect();
            let stated = || self.model.main().tensors.iter().map(|tensor| tensor.shape.clone()).collect();
            let inferred = infer_shapes(&self.model, GraphId(0), Some(&inputs));
            let shapes = inferred.map(|facts| facts.into_iter().map(|facts| facts.shape).collect());
            self.shapes = Some(shapes.unwrap_or_else(|_| stated()));
        }
        self.shapes.as_deref().unwrap_or_default()
    }
}

fn no_input(tensor: usize) -> Error {
    Error::Usage(format!("tensor {tensor} is no input of the model"))
}
