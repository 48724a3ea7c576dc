//! Finding out what a path holds and matching it with a model's inputs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::fit::{Fit, fit};
use crate::images::{self, Images};
use crate::npz::Archive;
use crate::store::{Header, Stored};
use crate::{Array, DataError, InputSpec, Options, csv, idx, npy, pixels};

/// Where samples come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// One array per input, all with the same number of samples.
    Arrays(Vec<Stored>),
    /// Image files for the only input.
    Images(Images),
}

/// Samples that fit the inputs, and what else the source tells about them.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) source: Source,
    /// The shape of one sample of every input.
    pub(crate) shapes: Vec<Vec<usize>>,
    pub(crate) targets: Vec<Array>,
    pub(crate) class_names: Option<Vec<String>>,
}

/// What the start of a file shows it to be.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Npy,
    Npz,
    Idx { gzipped: bool },
    Csv { gzipped: bool },
    Image,
}

/// Bytes of a file that are looked at to tell its kind.
const START: u64 = 512;

pub(crate) fn open(path: &Path, inputs: &[InputSpec], options: &Options) -> Result<Opened, DataError> {
    let failed = |error| DataError::reading(path, error);
    if path.metadata().map_err(failed)?.is_dir() {
        let listing = images::list(path)?;
        let images = Images::new(listing.files, only(inputs, "images")?, options.crop, options.threads)?;
        let labels = listing.labels.map(|labels| Array::from_slice(&[labels.len()], &labels));
        return Ok(Opened {
            shapes: vec![images.shape.clone()],
            source: Source::Images(images),
            targets: labels.transpose()?.into_iter().collect(),
            class_names: listing.class_names,
        });
    }
    let kind = kind_of(path)?;
    if options.crop.is_some() && kind != Kind::Image {
        return Err(DataError::usage(format!("{}: only images can be cropped", path.display())));
    }
    match kind {
        Kind::Npz => open_npz(path, inputs, options),
        Kind::Npy => {
            only(inputs, "an npy file")?;
            from_stored(vec![npy::open(path, options.max_memory)?], vec![], inputs, Fit::UpToUnitAxis)
        }
        Kind::Idx { gzipped } => open_idx(path, gzipped, inputs, options.max_memory),
        Kind::Csv { gzipped } => open_csv(path, gzipped, inputs, options.max_memory),
        Kind::Image => {
            let input = only(inputs, "an image")?;
            let images = Images::new(vec![path.to_owned()], input, options.crop, options.threads)?;
            Ok(Opened {
                shapes: vec![images.shape.clone()],
                source: Source::Images(images),
                targets: vec![],
                class_names: None,
            })
        }
    }
}

fn only<'i>(inputs: &'i [InputSpec], what: &str) -> Result<&'i InputSpec, DataError> {
    match inputs {
        [input] => Ok(input),
        _ => Err(DataError::usage(format!(
            "{what} can fill one input, the model has {}: use an npz file with one array per input",
            inputs.len()
        ))),
    }
}

fn kind_of(path: &Path) -> Result<Kind, DataError> {
    let failed = |error| DataError::reading(path, error);
    let start = first_bytes(File::open(path).map_err(failed)?).map_err(failed)?;
    if start.is_empty() {
        return Err(DataError::Empty { path: path.to_owned(), what: "an empty file".to_owned() });
    }
    let gzipped = start.starts_with(b"\x1F\x8B");
    let start = if gzipped {
        first_bytes(MultiGzDecoder::new(BufReader::new(File::open(path).map_err(failed)?))).map_err(failed)?
    } else {
        start
    };
    if idx::recognizes(&start) {
        return Ok(Kind::Idx { gzipped });
    }
    if is_text(&start) {
        return Ok(Kind::Csv { gzipped });
    }
    let unrecognized = || DataError::Unrecognized { path: path.to_owned() };
    match &start {
        _ if gzipped => Err(unrecognized()),
        // An empty archive starts with the end of its directory.
        start if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") => Ok(Kind::Npz),
        start if start.starts_with(npy::MAGIC) => Ok(Kind::Npy),
        start if pixels::format_of(start).is_some() => Ok(Kind::Image),
        _ => Err(unrecognized()),
    }
}

fn first_bytes(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(START).read_to_end(&mut start)?;
    Ok(start)
}

/// Printable UTF-8, perhaps cut in the middle of a character.
fn is_text(start: &[u8]) -> bool {
    let utf8 = match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && start.len() as u64 == START,
    };
    utf8 && !start.is_empty()
        && !start.iter().any(|byte| byte.is_ascii_control() && !b"\t\r\n".contains(byte))
}

fn open_npz(path: &Path, inputs: &[InputSpec], options: &Options) -> Result<Opened, DataError> {
    let max_memory = options.max_memory;
    let mut archive = Archive::open(path)?;
    let names: Vec<String> = archive.names().map(str::to_owned).collect();
    let chosen = arrays_for(inputs, &names).map_err(|input| DataError::MissingInput {
        path: path.to_owned(),
        input: input.name.clone(),
        found: names.clone(),
    })?;
    let stored: Result<Vec<_>, _> = chosen.iter().map(|name| archive.array(name, max_memory)).collect();
    let left: Vec<&str> = names.iter().filter(|name| !chosen.contains(name)).map(String::as_str).collect();
    let targets = targets_for(&options.outputs, &left);
    let targets = targets.into_iter().map(|(array, output)| {
        let targets = archive.array(array, max_memory)?.whole()?;
        Ok::<_, DataError>(targets.named(output))
    });
    let targets = targets.collect::<Result<_, _>>()?;
    from_stored(stored?, targets, inputs, Fit::UpToUnitAxis)
}

/// The arrays that are targets, and the names they go by.
///
/// By the outputs' names; else the one with a usual name; else, for several outputs, `y_0`, `y_1` ... in
/// the outputs' order.
fn targets_for<'a>(outputs: &'a [String], arrays: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let find = |wanted: &str| arrays.iter().copied().find(|array| plain_name(array) == plain_name(wanted));
    let named: Vec<_> = outputs.iter().filter_map(|output| Some((find(output)?, output.as_str()))).collect();
    if !named.is_empty() {
        return named;
    }
    if let Some(usual) = arrays.iter().copied().find(|array| is_target(array)) {
        return vec![(usual, usual)];
    }
    let by_place = outputs.iter().enumerate().filter(|_| outputs.len() > 1);
    by_place.filter_map(|(place, output)| Some((find(&format!("y_{place}"))?, output.as_str()))).collect()
}

fn is_target(name: &str) -> bool {
    ["y", "Y", "label", "labels"].contains(&name)
}

/// The array for every input, or the first input that has none.
///
/// By the inputs' names; else `x`, or the only array besides the labels, for a model with one input;
/// else `arr_0`, `arr_1` ... in the inputs' order, which is how `numpy.savez` names arrays given
/// without names.
fn arrays_for<'i, 'n>(
    inputs: &'i [InputSpec],
    names: &'n [String],
) -> Result<Vec<&'n String>, &'i InputSpec> {
    let exact = |wanted: &str| names.iter().find(|name| *name == wanted);
    let named = |input: &InputSpec| {
        let same = |name: &&String| plain_name(name) == plain_name(&input.name);
        exact(&input.name).or_else(|| names.iter().find(same))
    };
    let by_name: Option<Vec<_>> = inputs.iter().map(named).collect();
    if let Some(chosen) = by_name.filter(|chosen| all_different(chosen)) {
        return Ok(chosen);
    }
    if inputs.len() == 1 {
        let mut others = names.iter().filter(|name| !is_target(name));
        let sole = others.next().filter(|_| others.next().is_none());
        return exact("x").or_else(|| exact("X")).or(sole).map(|name| vec![name]).ok_or(&inputs[0]);
    }
    let by_place: Option<Vec<_>> = (0..inputs.len()).map(|place| exact(&format!("arr_{place}"))).collect();
    by_place.ok_or_else(|| inputs.iter().find(|&input| named(input).is_none()).unwrap_or(&inputs[0]))
}

fn all_different(names: &[&String]) -> bool {
    names.iter().enumerate().all(|(place, name)| !names[..place].contains(name))
}

/// A tensor's name without what TensorFlow adds to it: `serving_default_x:0` is `x`.
fn plain_name(name: &str) -> &str {
    let name = name.strip_prefix("serving_default_").unwrap_or(name);
    match name.rsplit_once(':') {
        Some((bare, output)) if output.parse::<u32>().is_ok() => bare,
        _ => name,
    }
}

fn open_idx(path: &Path, gzipped: bool, inputs: &[InputSpec], max_memory: u64) -> Result<Opened, DataError> {
    only(inputs, "an idx file")?;
    let images = idx::open(path, gzipped, max_memory)?;
    let labels = idx::labels_beside(path).map(|path| {
        let gzipped = match kind_of(&path)? {
            Kind::Idx { gzipped } => gzipped,
            _ => return Err(DataError::broken(&path, "no idx file, though its name says so")),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(idx::open(&path, gzipped, max_memory)?.whole()?.named(name))
    });
    from_stored(vec![images], labels.transpose()?.into_iter().collect(), inputs, Fit::Flattened)
}

fn open_csv(path: &Path, gzipped: bool, inputs: &[InputSpec], max_memory: u64) -> Result<Opened, DataError> {
    let input = only(inputs, "a table")?;
    let file = File::open(path).map_err(|error| DataError::reading(path, error))?;
    let reader: Box<dyn BufRead> = if gzipped {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file))))
    } else {
        Box::new(BufReader::new(file))
    };
    let table = csv::read(reader, path, input, max_memory)?;
    let opened = from_arrays(vec![table.values], table.targets.into_iter().collect(), inputs)?;
    Ok(Opened { class_names: table.class_names, ..opened })
}

/// Arrays that are in memory already.
pub(crate) fn from_arrays(
    arrays: Vec<Array>,
    targets: Vec<Array>,
    inputs: &[InputSpec],
) -> Result<Opened, DataError> {
    let held = |array: Array| {
        let name = array.name().unwrap_or("array").to_owned();
        let header = Header {
            dtype: array.dtype(),
            shape: array.shape().to_vec(),
            big_endian: false,
            fortran_order: false,
        };
        Stored::in_memory(header, array.into_buffer(), Path::new(&name))
    };
    let stored: Result<Vec<_>, _> = arrays.into_iter().map(held).collect();
    from_stored(stored?, targets, inputs, Fit::UpToUnitAxis)
}

fn from_stored(
    stored: Vec<Stored>,
    targets: Vec<Array>,
    inputs: &[InputSpec],
    how: Fit,
) -> Result<Opened, DataError> {
    if stored.len() != inputs.len() {
        let (arrays, inputs) = (stored.len(), inputs.len());
        return Err(DataError::usage(format!("{arrays} arrays for {inputs} inputs")));
    }
    let Some(first) = stored.first() else { return Err(DataError::usage("the model has no inputs")) };
    let target_counts = targets.iter().map(|targets| {
        let name = targets.name().unwrap_or("labels");
        (name, targets.shape().first().copied().unwrap_or(0))
    });
    let counts = inputs.iter().zip(&stored).map(|(input, array)| (input.name.as_str(), array.samples));
    for (name, count) in counts.chain(target_counts) {
        if count != first.samples {
            return Err(DataError::SampleCounts {
                first: inputs[0].name.clone(),
                first_count: first.samples,
                second: name.to_owned(),
                second_count: count,
            });
        }
    }
    let shapes: Result<Vec<_>, _> =
        inputs.iter().zip(&stored).map(|(input, array)| fit(input, &array.shape, how)).collect();
    Ok(Opened { shapes: shapes?, source: Source::Arrays(stored), targets, class_names: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType;

    fn chosen(inputs: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
        let inputs: Vec<_> = inputs.iter().map(|name| InputSpec::new(*name, &[], ElementType::F32)).collect();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        arrays_for(&inputs, &names)
            .map(|chosen| chosen.into_iter().cloned().collect())
            .map_err(|input| input.name.clone())
    }

    #[test]
    fn arrays_are_found_by_name_then_by_custom() {
        let ok = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(chosen(&["b", "a"], &["a", "b", "y"]), ok(&["b", "a"]));
        assert_eq!(chosen(&["serving_default_ids:0", "mask"], &["ids", "mask:0"]), ok(&["ids", "mask:0"]));
        assert_eq!(chosen(&["image"], &["z", "x", "y"]), ok(&["x"]));
        assert_eq!(chosen(&["image"], &["y", "pixels"]), ok(&["pixels"]));
        assert_eq!(chosen(&["a", "b"], &["arr_1", "arr_0"]), ok(&["arr_0", "arr_1"]));
        assert_eq!(chosen(&["y"], &["x", "y"]), ok(&["y"]));
    }

    #[test]
    fn a_missing_array_is_told_by_its_input() {
        assert_eq!(chosen(&["image"], &["x_train", "x_test"]), Err("image".to_owned()));
        assert_eq!(chosen(&["a", "b"], &["a", "y"]), Err("b".to_owned()));
        assert_eq!(chosen(&["a:0", "a:1"], &["a"]), Err("a:0".to_owned()));
    }

    #[test]
    fn targets_are_found_by_output_then_by_custom() {
        let outputs = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let pair = outputs(&["kind", "size"]);
        let of = |arrays: &'static [&str]| targets_for(&pair, arrays);
        assert_eq!(of(&["size", "kind:0", "y"]), [("kind:0", "kind"), ("size", "size")]);
        assert_eq!(of(&["size", "other"]), [("size", "size")]);
        assert_eq!(of(&["y_1", "y_0"]), [("y_0", "kind"), ("y_1", "size")]);
        assert_eq!(of(&["labels", "y_0"]), [("labels", "labels")]);
        assert_eq!(targets_for(&[], &["y", "a"]), [("y", "y")]);
        assert_eq!(targets_for(&outputs(&["one"]), &["y_0"]), []);
    }

    #[test]
    fn text_is_told_from_bytes() {
        assert!(is_text(b"1,2\r\n3\t4"));
        assert!(is_text("größe,y".as_bytes()));
        assert!(!is_text(b"1,\x002"));
        assert!(!is_text(b"\xFF\xFE1"));
        assert!(!is_text(b""));
        let cut: Vec<u8> = b"a".iter().copied().chain("ä".bytes().cycle()).take(START as usize).collect();
        assert!(std::str::from_utf8(&cut).is_err() && is_text(&cut));
    }
}
