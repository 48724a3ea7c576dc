//! Samples of any source, as batches that fit a model.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::batches::Batches;
use crate::open::{self, Opened, Source};
use crate::targets::{self, Target};
use crate::{Array, DataError, ElementType, InputSpec, Options, Preprocess};

/// Samples that fit a model's inputs. Cheap to clone; clones share the source.
#[derive(Clone, Debug)]
pub struct Dataset {
    shared: Arc<Shared>,
    /// The samples of the source that belong to this data set, in order.
    order: Arc<[usize]>,
    targets: Arc<[Target]>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    inputs: Vec<InputSpec>,
    shapes: Vec<Vec<usize>>,
    class_names: Option<Vec<String>>,
    preprocess: Preprocess,
    max_memory: u64,
}

impl Dataset {
    /// Opens `path` for a model with `inputs`. What it holds is told by its content:
    ///
    /// - **A folder of images** (PNG, JPEG): sub-folders are classes, numbered by rank of their names;
    ///   images directly in the folder have no labels. Files are sorted by name, other files skipped.
    ///   A single image is a set of one. Images are cropped if the options say so, resized as
    ///   `tf.image.resize` does by default and brought to the input's channels (1 or 3, last or first).
    ///   PNG pixels are exact; JPEG decoders are allowed to differ: against libjpeg's accurate mode
    ///   (Pillow) values are off by 1 here and there, by up to 4 where colours are subsampled.
    ///   TensorFlow's default is a faster, coarser mode that is itself off by more.
    /// - **npz**: arrays named as the inputs; or `x`, or the only array, for a single input; or
    ///   `arr_0`, `arr_1` ... by place. The array `y` (or `label`, `labels`) holds the targets; or those
    ///   named as the [outputs](Options::outputs), or `y_0`, `y_1` ... by place. The first axis counts
    ///   samples. A missing or additional axis of 1 is mended; any other difference from the input's
    ///   shape is an error. Stored members of more than 256 MiB are not read as a whole, and their
    ///   checksum is not checked.
    /// - **npy**: one such array, without targets.
    /// - **idx** (MNIST's format, perhaps gzipped): `…images-idx3…` finds its `…labels-idx1…` beside it.
    /// - **CSV** (perhaps gzipped): a row has as many numbers as the input has elements, perhaps
    ///   one more: the column called `label` or `y`, else the last one, is the target.
    ///
    /// # Errors
    /// [`DataError`] says what is wrong with the path, the file, or its fit with the model.
    pub fn open(path: impl AsRef<Path>, inputs: &[InputSpec], options: &Options) -> Result<Self, DataError> {
        check_options(inputs, options)?;
        Self::new(open::open(path.as_ref(), inputs, options)?, inputs, options)
    }

    /// A data set of `arrays` in memory, one per input in the inputs' order, with the samples along
    /// the first axis, and perhaps targets.
    ///
    /// # Errors
    /// [`DataError`] if the arrays do not fit the inputs or each other.
    pub fn from_arrays(
        arrays: Vec<Array>,
        targets: Vec<Array>,
        inputs: &[InputSpec],
        options: &Options,
    ) -> Result<Self, DataError> {
        check_options(inputs, options)?;
        if options.crop.is_some() {
            return Err(DataError::usage("only images can be cropped"));
        }
        Self::new(open::from_arrays(arrays, targets, inputs)?, inputs, options)
    }

    fn new(opened: Opened, inputs: &[InputSpec], options: &Options) -> Result<Self, DataError> {
        let samples = match &opened.source {
            Source::Arrays(arrays) => arrays.first().map_or(0, |array| array.samples),
            Source::Images(images) => images.len(),
        };
        for (input, shape) in inputs.iter().zip(&opened.shapes) {
            if input.dtype.is_float() {
                options.preprocess.check(&input.name, shape)?;
            }
        }
        let targets: Arc<[Target]> = opened.targets.into_iter().map(Target::new).collect();
        let labels = targets.first().and_then(|target| target.labels.as_deref());
        let order = selection(samples, options.samples, labels);
        let shared = Shared {
            source: opened.source,
            inputs: inputs.to_vec(),
            shapes: opened.shapes,
            class_names: opened.class_names,
            preprocess: options.preprocess,
            max_memory: options.max_memory,
        };
        Self { shared: Arc::new(shared), order: (0..samples).collect(), targets }.subset(&order)
    }

    /// The samples at `indices`, in that order, as a data set of their own.
    ///
    /// # Errors
    /// [`DataError::Usage`] if an index is not below [`Dataset::len`].
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        self.check_indices(indices)?;
        let targets: Result<_, _> = self.targets.iter().map(|target| target.select(indices)).collect();
        Ok(Self {
            shared: Arc::clone(&self.shared),
            order: indices.iter().map(|&i| self.order[i]).collect(),
            targets: targets?,
        })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no samples, which only a [subset](Dataset::subset) can have.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The inputs that the data set was opened for.
    pub fn inputs(&self) -> &[InputSpec] {
        &self.shared.inputs
    }

    /// The shape of one sample of every input: the input's, with the free dimensions filled.
    pub fn sample_shapes(&self) -> &[Vec<usize>] {
        &self.shared.shapes
    }

    /// The type that the values of every input have in the source; 8-bit unsigned for images.
    pub fn source_types(&self) -> Vec<ElementType> {
        match &self.shared.source {
            Source::Arrays(arrays) => arrays.iter().map(|array| array.dtype).collect(),
            Source::Images(_) => vec![ElementType::U8; self.shared.inputs.len()],
        }
    }

    /// The class of every sample, if the first target is classes: integers of at least 0, one a sample,
    /// or one-hot rows.
    pub fn labels(&self) -> Option<&[u32]> {
        self.targets.first()?.labels.as_deref()
    }

    /// What the outputs should give: one target, of whatever name; or those of the
    /// [outputs](Options::outputs), under their names, that the source has something for.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The names of the classes in the order of their numbers, where the source has names.
    pub fn class_names(&self) -> Option<&[String]> {
        self.shared.class_names.as_deref()
    }

    /// The samples of `range`: one array per input, `[samples, ...]`, of the input's type and name.
    ///
    /// # Errors
    /// As [`Dataset::gather`].
    pub fn batch(&self, range: Range<usize>) -> Result<Vec<Array>, DataError> {
        self.gather(&range.collect::<Vec<_>>())
    }

    /// The samples at `indices` in that order, like [`Dataset::batch`].
    ///
    /// # Errors
    /// [`DataError::Usage`] for an index that is not below [`Dataset::len`]; a file that cannot be read
    /// (the error names it); a value that the input's type does not hold, NaN and infinities included.
    pub fn gather(&self, indices: &[usize]) -> Result<Vec<Array>, DataError> {
        self.check_indices(indices)?;
        let indices: Vec<usize> = indices.iter().map(|&index| self.order[index]).collect();
        self.shared.gather(&indices)
    }

    /// All samples in batches of `size` (the last one may be smaller), prepared on another thread
    /// while the caller works.
    ///
    /// # Errors
    /// [`DataError::Usage`] if `size` is 0.
    pub fn batches(&self, size: usize) -> Result<Batches, DataError> {
        self.batches_of((0..self.len()).collect(), size)
    }

    /// The samples at `indices` in batches; for shuffled passes. See [`Dataset::batches`].
    ///
    /// # Errors
    /// [`DataError::Usage`] if `size` is 0 or an index is not below [`Dataset::len`].
    pub fn batches_of(&self, indices: Vec<usize>, size: usize) -> Result<Batches, DataError> {
        if size == 0 {
            return Err(DataError::usage("a batch must have at least one sample"));
        }
        self.check_indices(&indices)?;
        Ok(Batches::start(self.clone(), indices, size))
    }

    fn check_indices(&self, indices: &[usize]) -> Result<(), DataError> {
        match indices.iter().find(|&&index| index >= self.len()) {
            Some(index) => Err(DataError::usage(format!("no sample {index}: there are {}", self.len()))),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// The samples of the source at `indices`, which are valid.
    fn gather(&self, indices: &[usize]) -> Result<Vec<Array>, DataError> {
        self.check_memory(indices.len())?;
        let prepared = |(place, input): (usize, &InputSpec)| {
            let (array, smooth) = match &self.source {
                Source::Arrays(arrays) => (arrays[place].gather(indices)?, false),
                Source::Images(images) => (images.gather(indices)?, true),
            };
            let shape = [&[indices.len()], self.shapes[place].as_slice()].concat();
            let array = array.reshaped(shape)?.named(&input.name);
            self.prepare(array, input, &self.shapes[place], smooth)
        };
        let arrays: Result<Vec<_>, _> = self.inputs.iter().enumerate().map(prepared).collect();
        arrays.map_err(|error| in_source(error, indices))
    }

    /// Values of the input's type; `smooth` ones may be rounded to integers.
    fn prepare(
        &self,
        mut array: Array,
        input: &InputSpec,
        shape: &[usize],
        smooth: bool,
    ) -> Result<Array, DataError> {
        if input.dtype.is_float() && self.preprocess != Preprocess::None {
            array = array.convert(ElementType::F32)?;
            if let Some(values) = array.as_mut_slice() {
                self.preprocess.apply(values, shape);
            }
        }
        if smooth
            && !input.dtype.is_float()
            && let Some(values) = array.as_mut_slice::<f32>()
        {
            values.iter_mut().for_each(|value| *value = value.round_ties_even());
        }
        let array = array.convert(input.dtype)?;
        array.check_finite()?;
        Ok(array)
    }

    fn check_memory(&self, samples: usize) -> Result<(), DataError> {
        let bytes = |(input, shape): (&InputSpec, &Vec<usize>)| {
            // Images and preprocessed values are f32 on their way.
            let element = input.dtype.size().max(size_of::<f32>()) as u64;
            shape.iter().fold(element, |bytes, &size| bytes.saturating_mul(size as u64))
        };
        let sample = self.inputs.iter().zip(&self.shapes).map(bytes).fold(0, u64::saturating_add);
        let bytes = sample.saturating_mul(samples as u64);
        if bytes > self.max_memory {
            let what = format!("a batch of {samples} samples");
            return Err(DataError::TooLarge { what, bytes, limit: self.max_memory });
        }
        Ok(())
    }
}

/// The error with samples counted in the source instead of in the batch at `indices`.
fn in_source(mut error: DataError, indices: &[usize]) -> DataError {
    let sample = match &mut error {
        DataError::DoesNotFit { sample, .. } => Some(sample),
        DataError::NotFinite { position, .. } => position.first_mut(),
        _ => None,
    };
    if let Some(sample) = sample
        && let Some(&index) = indices.get(*sample)
    {
        *sample = index;
    }
    error
}

fn check_options(inputs: &[InputSpec], options: &Options) -> Result<(), DataError> {
    if inputs.is_empty() {
        return Err(DataError::usage("the model has no inputs"));
    }
    if options.samples == Some(0) {
        return Err(DataError::usage("the number of samples must be at least 1"));
    }
    if options.preprocess != Preprocess::None && !inputs.iter().any(|input| input.dtype.is_float()) {
        return Err(DataError::usage(format!(
            "preprocessing `{}` is for floating-point inputs; the model's are integers, which take data as they are",
            options.preprocess
        )));
    }
    Ok(())
}

/// The samples to use of `count`; see [`Options::samples`].
fn selection(count: usize, wanted: Option<usize>, labels: Option<&[u32]>) -> Vec<usize> {
    let wanted = wanted.unwrap_or(count).min(count);
    if labels.is_some_and(targets::grouped_by_class) {
        let spread = |i: usize| (i as u128 * count as u128 / wanted as u128) as usize;
        (0..wanted).map(spread).collect()
    } else {
        (0..wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize]) -> Array {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
        Array::from_slice(shape, &values).unwrap()
    }

    fn spec(shape: &[Option<usize>], dtype: ElementType) -> InputSpec {
        InputSpec::new("image", shape, dtype)
    }

    #[test]
    fn batches_have_the_inputs_shape_type_and_name() {
        let input = spec(&[Some(2), None, Some(1)], ElementType::F64);
        let set =
            Dataset::from_arrays(vec![floats(&[5, 2, 3])], vec![], &[input], &Options::default()).unwrap();
        assert_eq!((set.len(), set.sample_shapes()), (5, &[vec![2, 3, 1]][..]));
        let batch = set.batch(3..5).unwrap();
        assert_eq!((batch[0].shape(), batch[0].name()), (&[2, 2, 3, 1][..], Some("image")));
        assert_eq!(batch[0].as_slice::<f64>().unwrap()[..2], [18.0, 19.0]);
        assert!(matches!(set.batch(4..6), Err(DataError::Usage { .. })));
        assert!(matches!(set.batches(0), Err(DataError::Usage { .. })));
    }

    #[test]
    fn preprocessing_is_for_floats_only() {
        let pair = [spec(&[Some(2)], ElementType::F32), InputSpec::new("ids", &[], ElementType::I32)];
        let options = Options { preprocess: Preprocess::Unit, ..Options::default() };
        let arrays = vec![floats(&[2, 2]), floats(&[2])];
        let set = Dataset::from_arrays(arrays, vec![], &pair, &options).unwrap();
        let batch = set.batch(0..2).unwrap();
        assert_eq!(*batch[0].to_f32(), [0.0, 1.0 / 255.0, 2.0 / 255.0, 3.0 / 255.0]);
        assert_eq!(batch[1].as_slice::<i32>(), Some([0, 1].as_slice()));
        let alone = Dataset::from_arrays(vec![floats(&[2])], vec![], &pair[1..], &options);
        assert!(matches!(alone, Err(DataError::Usage { .. })));
    }

    #[test]
    fn the_first_samples_are_taken_unless_they_come_by_class() {
        assert_eq!(selection(10, Some(3), None), [0, 1, 2]);
        assert_eq!(selection(6, Some(3), Some(&[1, 0, 1, 0, 1, 0])), [0, 1, 2]);
        assert_eq!(selection(6, Some(3), Some(&[0, 0, 1, 1, 2, 2])), [0, 2, 4]);
        assert_eq!(selection(6, Some(4), Some(&[0, 0, 1, 1, 2, 2])), [0, 1, 3, 4]);
        assert_eq!(selection(2, Some(9), Some(&[0, 1])), [0, 1]);
    }

    #[test]
    fn subsets_carry_labels_along() {
        let targets = Array::from_slice(&[4], &[3_u8, 1, 2, 0]).unwrap();
        let input = [spec(&[Some(1)], ElementType::F32)];
        let set =
            Dataset::from_arrays(vec![floats(&[4, 1])], vec![targets], &input, &Options::default()).unwrap();
        let twice = set.subset(&[3, 1, 0]).unwrap().subset(&[2, 0]).unwrap();
        assert_eq!(twice.labels(), Some([3, 0].as_slice()));
        assert_eq!(twice.targets()[0].values.as_slice::<u8>(), Some([3, 0].as_slice()));
        assert_eq!(*twice.batch(0..2).unwrap()[0].to_f32(), [0.0, 3.0]);
        assert!(set.subset(&[]).unwrap().is_empty());
        assert!(set.subset(&[4]).is_err());
    }

    #[test]
    fn bad_values_are_located_in_the_source() {
        let input = [spec(&[Some(2)], ElementType::F32)];
        let bad = Array::from_slice(&[3, 2], &[0_f32, 0.0, 0.0, 0.0, 0.0, f32::NAN]).unwrap();
        let set = Dataset::from_arrays(vec![bad], vec![], &input, &Options::default()).unwrap();
        let error = set.subset(&[0, 2]).unwrap().batch(1..2).unwrap_err();
        assert_eq!(error.to_string(), "input `image`: NaN at position [2, 1] (sample first)");
        let bytes = [spec(&[Some(1)], ElementType::I8)];
        let high = Array::from_slice(&[2, 1], &[127_u8, 128]).unwrap();
        let set = Dataset::from_arrays(vec![high], vec![], &bytes, &Options::default()).unwrap();
        assert!(matches!(set.gather(&[1, 0]), Err(DataError::DoesNotFit { sample: 1, .. })));
        assert_eq!(set.batch(0..1).unwrap()[0].as_slice::<i8>(), Some([127].as_slice()));
    }

    #[test]
    fn counts_must_agree() {
        let pair = [spec(&[Some(2)], ElementType::F32), InputSpec::new("ids", &[], ElementType::F32)];
        let of = |arrays, targets| Dataset::from_arrays(arrays, targets, &pair, &Options::default());
        let error = of(vec![floats(&[2, 2]), floats(&[3])], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`image` has 2 samples, but `ids` has 3");
        let targets = vec![floats(&[5]).named("y")];
        let error = of(vec![floats(&[2, 2]), floats(&[2])], targets).unwrap_err();
        assert_eq!(error.to_string(), "`image` has 2 samples, but `y` has 5");
    }

    #[test]
    fn a_batch_obeys_the_limit() {
        let options = Options { max_memory: 100, ..Options::default() };
        let input = [spec(&[Some(10)], ElementType::U8)];
        let set = Dataset::from_arrays(vec![floats(&[9, 10])], vec![], &input, &options).unwrap();
        assert!(set.batch(0..2).is_ok());
        assert!(matches!(set.batch(0..3), Err(DataError::TooLarge { bytes: 120, limit: 100, .. })));
    }
}
