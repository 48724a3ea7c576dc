//! The weights of a network: random ones, or those of a file.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use litesmith_formats::keras::{Array, Place, Skeleton, Stored, WeightFile};
use litesmith_formats::{FormatError, mapping};
use litesmith_zoo::{Layer, Network, Options, Variable};
use serde_json::Value;

use super::initialize;
use crate::error::Error;

/// A network and the file that it becomes.
pub(super) struct Filled {
    pub(super) network: Network,
    /// The bytes of its `.keras` file.
    pub(super) file: Vec<u8>,
    /// What the user should know of it.
    pub(super) note: Option<String>,
}

/// A network with weights that its initializers draw.
pub(super) fn random(name: &str, options: &Options, seed: u64) -> Result<Filled, Error> {
    let wanted = Wanted::of(litesmith_zoo::build(name, options)?)?;
    let mut variables = wanted.variables.iter();
    let file = wanted.skeleton.keras(&mut |place| {
        let Some(variable) = variables.next() else { return Err(unknown(place)) };
        let name = format!("{}/{}", place.layer, variable.name);
        let numbers = initialize::values(variable.initializer, &variable.shape, seed, &name);
        Ok(Array::from_f32(&variable.shape, numbers))
    })?;
    Ok(Filled { network: wanted.network, file, note: None })
}

/// A network with the weights of a file.
pub(super) fn from_file(name: &str, options: &Options, path: &Path) -> Result<Filled, Error> {
    let file = WeightFile::open(mapping::open(path)?).map_err(|error| Error::from(error).about(path))?;
    read(name, options, &file).map_err(|error| error.about(path))
}

fn read(name: &str, options: &Options, file: &WeightFile) -> Result<Filled, Error> {
    let built = |imagenet| Wanted::of(litesmith_zoo::build(name, &Options { imagenet, ..*options })?);
    let (plain, published) = (built(false)?, built(true)?);
    if plain.network.layers().len() == published.network.layers().len() {
        return plain.filled(file, None);
    }
    if is_published(file, &plain, &published)? {
        let note = "the network is the one that Keras gives its own ImageNet weights: behind the normalization \
                    of colours a second Rescaling divides them by the roots of their deviations";
        return published.filled(file, Some(note));
    }
    let note = "the network is the one that Keras makes with weights=None: without the second Rescaling, which \
                networks with Keras' own ImageNet weights have";
    plain.filled(file, Some(note))
}

/// Whether a file is of the network that Keras gives its own ImageNet weights, where that has a layer more. A whole
/// model says so; of weights alone, those that follow from Keras' own have statistics of colours in their
/// normalization, where a network that was made without them has means of 0 and variances of 1.
fn is_published(file: &WeightFile, plain: &Wanted, published: &Wanted) -> Result<bool, Error> {
    if let Some(configuration) = file.configuration() {
        let configuration: Value = serde_json::from_str(configuration)
            .map_err(|error| Error::Broken(format!("its configuration: {error}")))?;
        return Ok(rescalings(&configuration) == rescalings(&published.network.configuration()));
    }
    let stored = plain.stored(file)?;
    for (index, place) in plain.skeleton.places().iter().enumerate() {
        let untouched = match place.variable {
            "mean" => 0.0,
            "variance" => 1.0,
            _ => continue,
        };
        if stored.array(index)?.data.elements::<f32>().iter().any(|number| *number != untouched) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many layers of a configuration rescale.
fn rescalings(configuration: &Value) -> usize {
    let layers = configuration.pointer("/config/layers").and_then(Value::as_array);
    let rescales = |layer: &&Value| layer.get("class_name").and_then(Value::as_str) == Some("Rescaling");
    layers.map_or(0, |layers| layers.iter().filter(rescales).count())
}

/// A network that needs weights.
struct Wanted {
    network: Network,
    skeleton: Skeleton,
    /// Those of the skeleton's places, in order.
    variables: Vec<Variable>,
}

impl Wanted {
    fn of(network: Network) -> Result<Wanted, Error> {
        let skeleton = Skeleton::new(network.configuration())?;
        let mut by_layer = HashMap::new();
        network.layers().iter().for_each(|layer| collect(layer, "", &mut by_layer));
        // Both sides have the variables of a layer in Keras' order; their names differ between versions of Keras.
        let next = |place: &Place| {
            let variables = by_layer.get_mut(&place.layer).and_then(VecDeque::pop_front);
            variables.cloned().ok_or_else(|| unknown(place))
        };
        let variables = skeleton.places().iter().map(next).collect::<Result<_, _>>()?;
        Ok(Wanted { network, skeleton, variables })
    }

    fn stored<'a>(&self, file: &'a WeightFile) -> Result<Stored<'a>, Error> {
        let shapes: Vec<Vec<usize>> = self.variables.iter().map(|own| own.shape.clone()).collect();
        file.of(&self.skeleton, &shapes).map_err(|error| self.advised(error))
    }

    /// The error, with what to do where the classifier alone is for another number of classes.
    fn advised(&self, error: FormatError) -> Error {
        if let FormatError::Misfit { place, wanted, found, .. } = &error
            && self.skeleton.places().last().is_some_and(|last| last.described == *place)
            && let (Some((_, inner)), Some((classes, same))) = (wanted.split_last(), found.split_last())
            && inner == same
        {
            return Error::Broken(format!("{error}; --classes {classes} makes the network fit"));
        }
        error.into()
    }

    fn filled(self, file: &WeightFile, note: Option<&str>) -> Result<Filled, Error> {
        let stored = self.stored(file)?;
        let mut place = 0;
        let file = self.skeleton.keras(&mut |_| {
            place += 1;
            stored.array(place - 1)
        })?;
        Ok(Filled { network: self.network, file, note: note.map(str::to_owned) })
    }
}

fn collect<'a>(layer: &'a Layer, outer: &str, by_layer: &mut HashMap<String, VecDeque<&'a Variable>>) {
    let path = format!("{outer}{}", layer.name);
    layer.inner.iter().for_each(|inner| collect(inner, &format!("{path}/"), by_layer));
    by_layer.insert(path, layer.variables.iter().collect());
}

fn unknown(place: &Place) -> FormatError {
    let reason = format!("the zoo knows no variable '{}' of it", place.variable);
    FormatError::Broken { place: place.described.clone(), reason }
}
