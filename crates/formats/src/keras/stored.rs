//! The weights of a model that another file describes, or that none does.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use litesmith_graph::DType;

use crate::error::FormatError;
use crate::keras::architecture::Layer;
use crate::keras::archive::Archive;
use crate::keras::create::{Place, Skeleton};
use crate::keras::hdf5::{Array, Hdf5};
use crate::keras::weights::{self, Variable, assigned, leaves};
use crate::keras::{CONFIGURATION, WEIGHTS};

/// First bytes of a zip file with members.
const ZIP: &[u8] = b"PK\x03\x04";
/// Where random layers keep the state of their generator, which nothing depends on.
const GENERATOR: &str = "/seed_generator/";

/// A file with weights: `.weights.h5` of Keras 3, weights of Keras 2 in `.h5`, or a whole model in `.keras` or
/// `.h5`.
pub struct WeightFile {
    file: Hdf5,
    configuration: Option<String>,
}

/// The arrays of a [`WeightFile`] that belong to the variables of a [`Skeleton`].
pub struct Stored<'a> {
    file: &'a Hdf5,
    /// By the skeleton's places.
    paths: Vec<String>,
}

/// An array of a file that stands for a variable.
struct Found<'a> {
    place: &'a Place,
    shape: &'a [usize],
    path: String,
}

/// A layer of an older file.
struct StoredLayer {
    name: String,
    group: String,
    /// Names of its arrays, which are paths below its group.
    variables: Vec<String>,
}

/// A layer with all variables that it and the layers in it have.
type WantedLayer<'a> = (&'a Layer, Vec<(&'a Layer, Variable)>);

impl WeightFile {
    /// Opens a file, which is told by content.
    ///
    /// # Errors
    /// If it is damaged, or neither an HDF5 file nor a `.keras` archive.
    pub fn open(bytes: Bytes) -> Result<WeightFile, FormatError> {
        if !bytes.starts_with(ZIP) {
            let file = Hdf5::open(bytes)?;
            let configuration = file.text("/", "model_config")?;
            return Ok(WeightFile { file, configuration });
        }
        let mut archive = Archive::open(bytes)?;
        let weights = archive.member(WEIGHTS)?.ok_or_else(|| {
            FormatError::broken("zip file", format!("it has no member '{WEIGHTS}', as a .keras file has"))
        })?;
        let configuration = archive.member(CONFIGURATION)?;
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        Ok(WeightFile { file: Hdf5::open(weights)?, configuration: configuration.map(text) })
    }

    /// How the file describes its layers, as JSON, if it holds a whole model.
    #[must_use]
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// Which array belongs to which variable. `shapes` are those of the skeleton's places.
    ///
    /// Files of Keras 3 name layers by their classes and order; in older ones layers with weights are taken by
    /// their order alone, as `load_weights` of Keras takes them: names need not agree.
    ///
    /// # Errors
    /// If the file is of another network: the first layer that does not fit is named. If only the last layers are
    /// missing, it says that the file was saved without a classifier.
    pub fn of<'a>(&'a self, skeleton: &Skeleton, shapes: &[Vec<usize>]) -> Result<Stored<'a>, FormatError> {
        let root = if self.file.has_group("model_weights") { "model_weights" } else { "" };
        let legacy = self.file.texts(root, "layer_names");
        let found = match legacy {
            Ok(names) => self.by_order(skeleton, shapes, root, &names)?,
            Err(_) if self.file.has_group(weights::container(&self.file)) => {
                self.by_group(skeleton, shapes)?
            }
            Err(_) => return Err(FormatError::broken("HDF5 file", "it holds no weights of a Keras model")),
        };
        for Found { place, shape, path } in &found {
            self.check(place, shape, path)?;
        }
        Ok(Stored { file: &self.file, paths: found.into_iter().map(|found| found.path).collect() })
    }

    fn by_group<'a>(
        &self,
        skeleton: &'a Skeleton,
        shapes: &'a [Vec<usize>],
    ) -> Result<Vec<Found<'a>>, FormatError> {
        let slots = weights::slots(&skeleton.architecture, &self.file)?;
        let places = skeleton.places().iter().zip(shapes).zip(slots);
        let found = places.map(|((place, shape), slot)| Found { place, shape, path: slot.path });
        let found: Vec<Found<'_>> = found.collect();
        if let Some(missing) = found.iter().position(|found| !self.file.has_array(&found.path)) {
            let (there, rest) = found.split_at(missing);
            let last = rest.iter().all(|found| !self.file.has_array(&found.path));
            if last && self.all_fit(there) {
                return Err(no_classifier(&rest[0].place.described));
            }
            let Found { place, path, .. } = &rest[0];
            let (variable, hint) = (place.variable, "the file is of another network");
            let reason = format!(
                "its variable '{variable}' is missing from the file (looked for at '{path}'): {hint}"
            );
            return Err(FormatError::broken(&place.described, reason));
        }
        let all = self.file.arrays_below(weights::container(&self.file))?;
        let known: HashSet<&str> = found.iter().map(|found| found.path.as_str()).collect();
        match all.iter().find(|path| !known.contains(path.as_str()) && !path.contains(GENERATOR)) {
            Some(path) => {
                let reason = "no layer of the network has this variable: the file is of another network";
                Err(FormatError::broken(format!("HDF5 object '{path}'"), reason))
            }
            None => Ok(found),
        }
    }

    fn by_order<'a>(
        &self,
        skeleton: &'a Skeleton,
        shapes: &'a [Vec<usize>],
        root: &str,
        names: &[String],
    ) -> Result<Vec<Found<'a>>, FormatError> {
        let stored = self.stored_layers(root, names)?;
        let wanted = wanted_layers(skeleton)?;
        let mut paths = paired(&wanted, &stored)?;
        let places = skeleton.places().iter().zip(shapes);
        let found: Vec<Found<'_>> = places
            .filter_map(|(place, shape)| {
                let path = paths.remove(&(place.id, place.variable))?;
                Some(Found { place, shape, path })
            })
            .collect();
        if wanted.len() == stored.len() {
            let mut places = skeleton.places().iter().enumerate();
            let lost = places.find(|(index, place)| found.get(*index).is_none_or(|own| own.place != *place));
            return match lost {
                Some((_, place)) => {
                    let reason = format!("older files have no variable '{}'", place.variable);
                    Err(FormatError::broken(&place.described, reason))
                }
                None => Ok(found),
            };
        }
        if let Some(misfit) = self.first_misfit(&found) {
            return Err(misfit);
        }
        let (has, needs) = (stored.len(), wanted.len());
        match wanted.get(has) {
            Some((layer, _)) if has > 0 => Err(no_classifier(&layer.place)),
            _ => {
                let reason = format!(
                    "it holds weights of {has} layers, the network has {needs} with weights: the file is of another \
                     network"
                );
                Err(FormatError::broken("attribute 'layer_names'", reason))
            }
        }
    }

    /// The layers of an older file that have weights, in order.
    fn stored_layers(&self, root: &str, names: &[String]) -> Result<Vec<StoredLayer>, FormatError> {
        let mut stored = Vec::new();
        for name in names {
            let group = if root.is_empty() { name.clone() } else { format!("{root}/{name}") };
            let variables = self.file.texts(&group, "weight_names")?;
            if !variables.is_empty() {
                stored.push(StoredLayer { name: name.clone(), group, variables });
            }
        }
        Ok(stored)
    }

    fn all_fit(&self, found: &[Found<'_>]) -> bool {
        self.first_misfit(found).is_none()
    }

    fn first_misfit(&self, found: &[Found<'_>]) -> Option<FormatError> {
        found.iter().find_map(|found| self.check(found.place, found.shape, &found.path).err())
    }

    /// Whether an array has the variable's shape and type.
    fn check(&self, place: &Place, shape: &[usize], path: &str) -> Result<(), FormatError> {
        let (dtype, found) = self.file.form(path)?;
        if found != shape {
            return Err(FormatError::Misfit {
                place: place.described.clone(),
                variable: place.variable.to_owned(),
                wanted: shape.to_vec(),
                found,
            });
        }
        if dtype != DType::F32 && place.variable != "count" {
            let reason = format!("its variable '{}' is {dtype} in the file, not f32", place.variable);
            return Err(FormatError::broken(&place.described, reason));
        }
        Ok(())
    }
}

impl Stored<'_> {
    /// The values of the variable at this place among those of the skeleton; nothing is copied where the file holds
    /// them as they are.
    ///
    /// # Errors
    /// If the file is damaged there, or there is no such place.
    pub fn array(&self, place: usize) -> Result<Array, FormatError> {
        match self.paths.get(place) {
            Some(path) => self.file.array(path),
            None => Err(FormatError::broken("weights", format!("there is no variable {place}"))),
        }
    }
}

/// The layers with weights, in the order of `model.layers`.
fn wanted_layers(skeleton: &Skeleton) -> Result<Vec<WantedLayer<'_>>, FormatError> {
    let mut wanted = Vec::new();
    for layer in skeleton.architecture.layers.iter().filter(|layer| !layer.is_operation()) {
        let mut variables = Vec::new();
        leaves(layer, &mut variables)?;
        if !variables.is_empty() {
            wanted.push((layer, variables));
        }
    }
    Ok(wanted)
}

/// The arrays of the variables, by layer and name, as far as there are layers on both sides.
fn paired<'a>(
    wanted: &[WantedLayer<'a>],
    stored: &[StoredLayer],
) -> Result<HashMap<(usize, &'a str), String>, FormatError> {
    let mut paths = HashMap::new();
    for ((layer, variables), stored) in wanted.iter().zip(stored) {
        let (has, needs) = (stored.variables.len(), variables.len());
        if has != needs {
            let reason = format!(
                "it has {needs} variables, '{}' in its place in the file has {has}: the file is of another network",
                stored.name
            );
            return Err(FormatError::broken(&layer.place, reason));
        }
        for ((layer, variable), name) in assigned(variables.clone(), &stored.variables) {
            paths.insert((layer.id, variable.name), format!("{}/{name}", stored.group));
        }
    }
    Ok(paths)
}

fn no_classifier(place: &str) -> FormatError {
    let reason = "the file has no weights for it and what follows: it was saved without a classifier (notop); take \
                  the file of the whole network";
    FormatError::broken(place, reason)
}
