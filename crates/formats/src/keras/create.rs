//! New `.keras` files, from a configuration and the values of its variables.

use std::io::Write;

use litesmith_graph::{DType, Data};
use serde_json::{Value, json};

use crate::error::{FormatError, Unsupported};
use crate::keras::architecture::{Architecture, Layer};
use crate::keras::archive::NewArchive;
use crate::keras::hdf5::{Array, NewHdf5};
use crate::keras::layers::tfmot;
use crate::keras::parts::Part;
use crate::keras::weights::{self, Contents};
use crate::keras::{CONFIGURATION, METADATA, Version, WEIGHTS, supported};

/// The version of Keras that new files are as if written by.
const KERAS_VERSION: &str = "3.15.1";
/// Bytes that HDF5 needs for each layer, and for the zip file, beside the weights. A wrong guess costs a copy.
const BESIDE: usize = 1 << 12;

/// The model that a configuration of Keras 3 describes, without weights.
pub struct Skeleton {
    pub(super) architecture: Architecture,
    configuration: String,
    /// Whether it is a `Sequential`, whose input layer has no group.
    sequential: bool,
    places: Vec<Place>,
}

/// A variable of a [`Skeleton`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of its layer, behind those of the models and layers around it, separated by `/`.
    pub layer: String,
    /// Its own name: `kernel`, `gamma`, …
    pub variable: &'static str,
    /// The array in the weights of a `.keras` file.
    pub path: String,
    /// What errors call the layer.
    pub described: String,
    /// The layer's number in its architecture.
    pub(super) id: usize,
}

/// A file that has nothing yet: every group gets its present name.
struct Nothing;

impl Contents for Nothing {
    fn has_group(&self, _: &str) -> bool {
        false
    }

    fn has_array(&self, _: &str) -> bool {
        false
    }
}

impl Skeleton {
    /// Reads a configuration, as `config.json` of a `.keras` file holds it.
    ///
    /// # Errors
    /// If it contradicts itself, or holds layers that are not supported: those are listed, all of them.
    pub fn new(configuration: Value) -> Result<Skeleton, FormatError> {
        let text = configuration.to_string();
        let sequential = configuration.get("class_name").and_then(Value::as_str) == Some("Sequential");
        let architecture = supported(configuration, Version::of(KERAS_VERSION))?;
        let wrapped: Vec<Unsupported> = weights::groups(&architecture, "")
            .into_iter()
            .filter(|(layer, _)| tfmot::wrapped(layer).is_some() || tfmot::is_pruned(layer))
            .map(|(layer, _)| refused(layer))
            .collect();
        if !wrapped.is_empty() {
            return Err(FormatError::Unsupported(wrapped));
        }
        let slots = weights::slots(&architecture, &Nothing)?;
        let places = slots.into_iter().map(|slot| Place {
            layer: slot.layer.path.clone(),
            variable: slot.variable.name,
            path: slot.path,
            id: slot.layer.id,
            described: slot.layer.place.clone(),
        });
        let places = places.collect();
        Ok(Skeleton { architecture, configuration: text, sequential, places })
    }

    /// Its variables, in the order of `model.weights`.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The bytes of a new `.keras` file, as Keras 3.15 writes it but for the date. `values` is asked once for each
    /// variable, in order, for its values in Keras' own layout; counters become 64-bit integers.
    ///
    /// The weights are in memory twice at most, beside the one array that was asked for last.
    ///
    /// # Errors
    /// Those of `values`; if an array is not of `f32`, or has not as many elements as its shape says.
    pub fn keras(
        &self,
        values: &mut dyn FnMut(&Place) -> Result<Array, FormatError>,
    ) -> Result<Vec<u8>, FormatError> {
        let mut weights = NewHdf5::default();
        self.name_groups(&mut weights);
        for place in &self.places {
            let array = values(place)?;
            let (dtype, bytes) = stored(place, &array)?;
            weights.add_array(&place.path, dtype, &array.shape, bytes)?;
        }
        let metadata = json!({ "keras_version": KERAS_VERSION }).to_string();
        let beside = BESIDE * (self.architecture.layers.len() + 1) + self.configuration.len();
        let size = weights.array_bytes() + beside;
        let mut archive = NewArchive::with_capacity(size);
        archive.add(METADATA, metadata.len(), |to| write(to, &metadata))?;
        archive.add(CONFIGURATION, self.configuration.len(), |to| write(to, &self.configuration))?;
        archive.add(WEIGHTS, size, |to| weights.write(to))?;
        archive.finish()
    }

    /// Every layer has a group with its name, whether or not it has variables.
    fn name_groups(&self, weights: &mut NewHdf5) {
        weights.set_text("vars", "name", &self.architecture.name);
        let mut inputs_left_out = Vec::new();
        if self.sequential {
            inputs_left_out.push("layers/input_layer".to_owned());
        }
        for (layer, group) in weights::groups(&self.architecture, "") {
            if layer.class == "Sequential" && layer.model.is_some() {
                inputs_left_out.push(format!("{group}/layers/input_layer"));
            }
            if !inputs_left_out.contains(&group) {
                name_group(weights, &group, layer);
            }
        }
    }
}

fn name_group(weights: &mut NewHdf5, group: &str, layer: &Layer) {
    weights.set_text(&format!("{group}/vars"), "name", &layer.name);
    for Part { group: part, layer } in &layer.parts {
        name_group(weights, &format!("{group}/{part}"), layer);
    }
}

/// How an array is stored: as `f32`, and counters as `i64`.
fn stored(place: &Place, array: &Array) -> Result<(DType, Vec<u8>), FormatError> {
    let integers = |integers: Vec<i64>| (DType::I64, integers.iter().flat_map(|n| n.to_le_bytes()).collect());
    let Array { dtype, data, .. } = array;
    match (dtype, place.variable) {
        (DType::I64, "count") => Ok((DType::I64, data.bytes().to_vec())),
        (DType::I32, "count") => Ok(integers(data.elements::<i32>().iter().map(|n| i64::from(*n)).collect())),
        (DType::F32, "count") => Ok(integers(data.elements::<f32>().iter().map(|n| *n as i64).collect())),
        (DType::F32, _) => Ok((DType::F32, data.bytes().to_vec())),
        _ => {
            let reason = format!("its variable '{}' is {dtype}, not f32", place.variable);
            Err(FormatError::broken(&place.described, reason))
        }
    }
}

fn write(to: &mut dyn Write, text: &str) -> Result<(), FormatError> {
    to.write_all(text.as_bytes()).map_err(|error| FormatError::broken("zip file", error.to_string()))
}

fn refused(layer: &Layer) -> Unsupported {
    let reason = "new files with wrappers of the model optimization toolkit are not written".to_owned();
    Unsupported { layer: layer.path.clone(), operator: layer.class.clone(), reason }
}

impl Array {
    /// An array of real numbers.
    #[must_use]
    pub fn from_f32(shape: &[usize], numbers: Vec<f32>) -> Array {
        Array { dtype: DType::F32, shape: shape.to_vec(), data: Data::from_vec(numbers) }
    }
}
