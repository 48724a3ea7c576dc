//! From data sets to the inputs of a model.

use std::path::PathBuf;

use litesmith_data::{
    Array as SampleArray, Batch, Crop, DataError, Dataset, ElementType, InputSpec, Options, Preprocess, npz,
};
use litesmith_graph::{DType, Model};
use litesmith_runtime::{Array, Interpreter, TensorInfo};

use crate::error::Error;

/// Samples that one run takes where the model leaves the batch free.
const USUAL_BATCH: usize = 16;

/// Where samples come from and how they are treated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DataOptions {
    /// A folder of images, or an npz, npy, idx or CSV file.
    pub path: PathBuf,
    /// Samples in memory, instead of a file's.
    held: Option<Held>,
    /// Arithmetic on real-valued inputs.
    pub preprocess: Preprocess,
    /// The part of images that is used.
    pub crop: Option<Crop>,
    /// Height and width that images get where the model leaves them free.
    pub image_size: Option<[usize; 2]>,
    /// How many samples to use; all where left out.
    pub samples: Option<usize>,
    /// How many samples go into one run where the model leaves that free; 16 where left out. Results
    /// do not depend on it.
    pub batch: Option<usize>,
}

/// Samples in memory; clones share them.
#[derive(Clone, Debug)]
struct Held {
    inputs: Vec<SampleArray>,
    targets: Vec<SampleArray>,
}

impl DataOptions {
    /// All samples of a path, as they are.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> DataOptions {
        DataOptions {
            path: path.into(),
            held: None,
            preprocess: Preprocess::None,
            crop: None,
            image_size: None,
            samples: None,
            batch: None,
        }
    }

    /// Samples in memory: one array for each input of the model, in order, the first axis counting samples; and
    /// what the outputs should give, under their names where there are several.
    #[must_use]
    pub fn from_arrays(inputs: Vec<SampleArray>, targets: Vec<SampleArray>) -> DataOptions {
        DataOptions { held: Some(Held { inputs, targets }), ..DataOptions::new("arrays") }
    }

    /// The samples that fit these inputs.
    pub(crate) fn open(&self, specs: &[InputSpec], outputs: Vec<String>) -> Result<Dataset, DataError> {
        let mut options = Options::default();
        (options.preprocess, options.crop, options.samples) = (self.preprocess, self.crop, self.samples);
        options.outputs = outputs;
        match &self.held {
            Some(held) => Dataset::from_arrays(held.inputs.clone(), held.targets.clone(), specs, &options),
            None => Dataset::open(&self.path, specs, &options),
        }
    }

    /// With this arithmetic on real-valued inputs.
    #[must_use]
    pub fn with_preprocess(mut self, preprocess: Preprocess) -> DataOptions {
        self.preprocess = preprocess;
        self
    }

    /// With this part of images.
    #[must_use]
    pub fn with_crop(mut self, crop: Option<Crop>) -> DataOptions {
        self.crop = crop;
        self
    }

    /// With this height and width of images where the model leaves them free.
    #[must_use]
    pub fn with_image_size(mut self, size: Option<[usize; 2]>) -> DataOptions {
        self.image_size = size;
        self
    }

    /// With at most this many samples.
    #[must_use]
    pub fn with_samples(mut self, samples: Option<usize>) -> DataOptions {
        self.samples = samples;
        self
    }

    /// With this many samples in one run.
    #[must_use]
    pub fn with_batch(mut self, batch: Option<usize>) -> DataOptions {
        self.batch = batch;
        self
    }
}

/// A data set that fits a model.
pub(crate) struct Feed {
    pub(crate) dataset: Dataset,
    inputs: Vec<TensorInfo>,
    /// Samples for one run.
    batch: usize,
    /// Whether the model takes no other number.
    fixed: bool,
}

impl Feed {
    /// Opens data for the inputs of a model.
    ///
    /// Quantized inputs take integers of their own type as they are; everything else is read as real
    /// numbers and quantized by the input's scale.
    pub(crate) fn open(model: &Model, inputs: &[TensorInfo], data: &DataOptions) -> Result<Feed, Error> {
        let inputs = &signed(model, inputs);
        let types = |quantized: ElementType| -> Result<Vec<InputSpec>, Error> {
            inputs.iter().map(|input| spec(input, quantized, data.image_size)).collect()
        };
        let mut specs = types(ElementType::F32)?;
        let mut dataset = data.open(&specs, Vec::new())?;
        let own: Vec<Option<ElementType>> = inputs.iter().map(|input| element_type(input.dtype)).collect();
        let as_they_are = |((input, own), source): ((&TensorInfo, &Option<ElementType>), ElementType)| {
            input.quantization.is_some() && *own == Some(source)
        };
        let raw: Vec<bool> = inputs.iter().zip(&own).zip(dataset.source_types()).map(as_they_are).collect();
        // Pictures have no scale of their own, so they are real numbers unless the model takes bytes.
        if raw.contains(&true) && data.preprocess == Preprocess::None {
            for ((spec, own), _) in specs.iter_mut().zip(&own).zip(&raw).filter(|(_, raw)| **raw) {
                spec.dtype = own.unwrap_or(spec.dtype);
            }
            dataset = data.open(&specs, Vec::new())?;
        }
        let first = |input: &TensorInfo| input.shape.dims().first().and_then(|dim| dim.fixed());
        let fixed = inputs.iter().find_map(first);
        Ok(Feed {
            dataset,
            inputs: inputs.to_vec(),
            batch: fixed.unwrap_or(USUAL_BATCH),
            fixed: fixed.is_some(),
        })
    }

    /// The same data with at most this many samples in one run.
    pub(crate) fn with_batch(mut self, batch: usize) -> Feed {
        if !self.fixed {
            self.batch = batch.max(1);
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.dataset.len()
    }

    /// All samples, in the batches that the model takes.
    pub(crate) fn batches(&self) -> Result<impl Iterator<Item = Result<Fed, Error>> + '_, Error> {
        let batches = self.dataset.batches(self.batch.max(1))?;
        Ok(batches.map(|batch| self.fed(batch?)))
    }

    fn fed(&self, batch: Batch) -> Result<Fed, Error> {
        let samples = batch.len();
        let mut arrays = Vec::with_capacity(self.inputs.len());
        for (info, array) in self.inputs.iter().zip(&batch.inputs) {
            let mut array = to_runtime(info, array)?;
            if self.fixed {
                fill_up(&mut array, self.batch);
            }
            arrays.push(array);
        }
        Ok(Fed { arrays, samples, labels: batch.labels().map(<[u32]>::to_vec) })
    }
}

/// The inputs under the names that the signature gives them: users know those, not the tensors'.
fn signed(model: &Model, inputs: &[TensorInfo]) -> Vec<TensorInfo> {
    let signature = model.signatures.iter().find(|signature| signature.graph.0 == 0);
    let name = |place: usize| {
        signature?.inputs.iter().find(|(_, input)| *input == place).map(|(name, _)| name.clone())
    };
    let renamed = |(place, info): (usize, &TensorInfo)| TensorInfo {
        name: name(place).unwrap_or_else(|| info.name.clone()),
        ..info.clone()
    };
    inputs.iter().enumerate().map(renamed).collect()
}

/// Inputs that do not share an axis of samples, such as a number beside a sequence: each is one array of a
/// file, and there is one run.
pub(crate) struct Whole(Vec<Array>);

impl Whole {
    /// Opens the arrays of an npz file that have the inputs' names; `None` where inputs share their first
    /// axis.
    pub(crate) fn open(
        model: &Model,
        inputs: &[TensorInfo],
        data: &DataOptions,
    ) -> Result<Option<Whole>, Error> {
        let first = |input: &TensorInfo| input.shape.dims().first().cloned();
        let shared = inputs.first().is_some_and(|input| {
            first(input).is_some() && inputs.iter().all(|other| first(other) == first(input))
        });
        if shared {
            return Ok(None);
        }
        let found = npz::read(&data.path, Options::default().max_memory)?;
        let mut arrays = Vec::with_capacity(inputs.len());
        for input in signed(model, inputs) {
            let Some(array) = found.iter().find(|array| array.name() == Some(input.name.as_str())) else {
                return Err(Error::Broken(format!(
                    "{}: there is no array '{}'; inputs without a common axis of samples are given whole",
                    data.path.display(),
                    input.name
                )));
            };
            let Some(own) = element_type(input.dtype) else {
                return Err(Error::Usage(format!(
                    "data cannot fill input '{}' of {}",
                    input.name, input.dtype
                )));
            };
            let scalar = input.shape.rank() == 0 && array.shape() == [1];
            let mut sizes = array.shape().iter().zip(input.shape.dims());
            let alike = array.shape().len() == input.shape.rank();
            let fits =
                scalar || (alike && sizes.all(|(size, dim)| dim.fixed().is_none_or(|own| own == *size)));
            if !fits {
                let (name, shape) = (&input.name, &input.shape);
                return Err(Error::Broken(format!(
                    "{}: input '{name}' takes shape {shape}, the array has {:?}",
                    data.path.display(),
                    array.shape()
                )));
            }
            let quantized = input.quantization.is_some() && array.dtype() != own;
            let array = if quantized { array.clone() } else { array.clone().convert(own)? };
            let mut array = to_runtime(&input, &array)?;
            if scalar {
                array.shape.clear();
            }
            arrays.push(array);
        }
        Ok(Some(Whole(arrays)))
    }

    pub(crate) fn arrays(&self) -> &[Array] {
        &self.0
    }
}

/// One batch, ready to run.
#[derive(Clone)]
pub(crate) struct Fed {
    pub(crate) arrays: Vec<Array>,
    /// Number of samples that count: a fixed batch may be filled up.
    pub(crate) samples: usize,
    pub(crate) labels: Option<Vec<u32>>,
}

impl Fed {
    /// Runs the batch; outputs hold the samples that count.
    pub(crate) fn run(&self, interpreter: &mut Interpreter) -> Result<Vec<Array>, Error> {
        let mut outputs = interpreter.run(&self.arrays)?;
        let filled = self.arrays.first().and_then(|array| array.shape.first()).copied();
        if filled.is_some_and(|filled| filled != self.samples) {
            outputs.iter_mut().for_each(|output| cut(output, filled, self.samples));
        }
        Ok(outputs)
    }
}

/// Repeats the last sample until there are as many as a fixed batch takes.
fn fill_up(array: &mut Array, batch: usize) {
    let samples = array.shape[0];
    if samples == 0 || samples >= batch {
        return;
    }
    let bytes = array.data.len() / samples;
    let last = array.data[array.data.len() - bytes..].to_vec();
    (samples..batch).for_each(|_| array.data.extend_from_slice(&last));
    array.shape[0] = batch;
}

fn cut(array: &mut Array, filled: Option<usize>, samples: usize) {
    if array.shape.first().copied() == filled && array.shape[0] > 0 {
        array.data.truncate(array.data.len() / array.shape[0] * samples);
        array.shape[0] = samples;
    }
}

fn spec(
    input: &TensorInfo,
    quantized: ElementType,
    image_size: Option<[usize; 2]>,
) -> Result<InputSpec, Error> {
    let Some((_, sample)) = input.shape.dims().split_first() else {
        return Err(Error::Usage(format!("input '{}' is a scalar; data sets cannot fill it", input.name)));
    };
    let mut shape: Vec<Option<usize>> = sample.iter().map(|dim| dim.fixed()).collect();
    if let (Some([height, width]), [None, None, Some(_)]) = (image_size, &shape[..]) {
        (shape[0], shape[1]) = (Some(height), Some(width));
    }
    let own = element_type(input.dtype);
    let Some(own) = own else {
        return Err(Error::Usage(format!(
            "data sets cannot fill input '{}' of type {}",
            input.name, input.dtype
        )));
    };
    let dtype = if input.quantization.is_some() { quantized } else { own };
    Ok(InputSpec::new(input.name.as_str(), &shape, dtype))
}

pub(crate) fn element_type(dtype: DType) -> Option<ElementType> {
    Some(match dtype {
        DType::F16 => ElementType::F16,
        DType::F32 => ElementType::F32,
        DType::F64 => ElementType::F64,
        DType::I8 => ElementType::I8,
        DType::U8 => ElementType::U8,
        DType::I16 => ElementType::I16,
        DType::U16 => ElementType::U16,
        DType::I32 => ElementType::I32,
        DType::U32 => ElementType::U32,
        DType::I64 => ElementType::I64,
        DType::U64 => ElementType::U64,
        DType::Bool => ElementType::Bool,
        DType::I4 | DType::Text | DType::Resource => return None,
    })
}

/// The data set's form of an array that a model gave out.
pub(crate) fn to_data(name: &str, array: &Array) -> Result<litesmith_data::Array, Error> {
    let dtype = element_type(array.dtype)
        .ok_or_else(|| Error::Usage(format!("output '{name}' of type {} cannot be saved", array.dtype)))?;
    Ok(litesmith_data::Array::from_bytes(dtype, &array.shape, &array.data)?.named(name))
}

fn to_runtime(info: &TensorInfo, array: &litesmith_data::Array) -> Result<Array, Error> {
    if element_type(info.dtype) == Some(array.dtype()) {
        return Ok(Array { dtype: info.dtype, shape: array.shape().to_vec(), data: array.bytes().to_vec() });
    }
    quantize_input(info, array.shape(), &array.to_f32())
}

/// Real numbers as a quantized input takes them, by the rule of the `QUANTIZE` operator: nearest to
/// `x * (1 / scale)`, ties to even, clamped.
pub(crate) fn quantize_input(info: &TensorInfo, shape: &[usize], values: &[f32]) -> Result<Array, Error> {
    let Some((scale, zero_point)) = info.quantization.as_ref().and_then(|quantization| quantization.single())
    else {
        return Err(Error::Usage(format!(
            "input '{}' of type {} has no single scale",
            info.name, info.dtype
        )));
    };
    let (low, high) = match info.dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        _ => {
            return Err(Error::Usage(format!(
                "input '{}' of type {} is not supported",
                info.name, info.dtype
            )));
        }
    };
    let inverse = 1.0 / scale;
    let grid = |x: &f32| ((x * inverse).round_ties_even() + zero_point as f32).clamp(low, high);
    let data = match info.dtype {
        DType::I8 => values.iter().map(|x| grid(x) as i8 as u8).collect(),
        DType::U8 => values.iter().map(|x| grid(x) as u8).collect(),
        _ => values.iter().flat_map(|x| (grid(x) as i16).to_le_bytes()).collect(),
    };
    Ok(Array { dtype: info.dtype, shape: shape.to_vec(), data })
}

/// An output as real numbers.
pub(crate) fn dequantize_output(info: &TensorInfo, array: &Array) -> Vec<f32> {
    let values = array.floats();
    match info.quantization.as_ref().and_then(|quantization| quantization.single()) {
        Some((scale, zero_point)) if !array.dtype.is_float() => {
            values.iter().map(|q| (q - zero_point as f32) * scale).collect()
        }
        _ => values.into_owned(),
    }
}
