//! The output file.

use std::io::{self, Write};
use std::path::Path;

use litesmith_formats::{keras, mapping, output, tflite};
use litesmith_graph::{Format, Model};

use super::ConvertOptions;
use crate::Quantization;
use crate::error::{Error, Unsupported};

/// The format that is written, by the output's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tflite,
    Keras,
}

impl Target {
    pub(super) fn of(path: &Path, options: &ConvertOptions) -> Result<Target, Error> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "tflite" => Ok(Target::Tflite),
            "keras" if matches!(options.quantize, Quantization::Keep | Quantization::None) => {
                Ok(Target::Keras)
            }
            "keras" => {
                Err(Error::Usage("a .keras file cannot hold a quantized model; write a .tflite file".into()))
            }
            "onnx" => Err(not_supported("ONNX", "writing ONNX is not supported yet; write a .tflite file")),
            _ => Err(Error::Usage(format!(
                "{}: the extension tells the format to write; use .tflite or .keras",
                path.display()
            ))),
        }
    }
}

fn not_supported(operator: &str, reason: &str) -> Error {
    let layer = Unsupported { layer: "output".into(), operator: operator.into(), reason: reason.into() };
    Error::Unsupported { what: "not supported".into(), layers: vec![layer] }
}

/// Writes the file and returns its size.
pub(super) fn write(
    input: &Path,
    output: &Path,
    target: Target,
    source: &Model,
    model: &Model,
) -> Result<u64, Error> {
    match target {
        Target::Tflite => {
            let file = tflite::encode(model)?;
            put_by(output, |output| file.write_to(output))?;
            Ok(file.len())
        }
        Target::Keras if source.source.format == Format::Keras => {
            let bytes = keras::write_keras(&mapping::open(input)?, source, &[])?;
            put(output, &bytes)?;
            Ok(bytes.len() as u64)
        }
        Target::Keras => Err(not_supported("Keras", "only a .keras source can be written as .keras")),
    }
}

/// Puts a complete file into place: whoever looks sees the old one or the new one.
///
/// # Errors
/// [`Error::Failed`], whatever the system refuses: a missing folder is the machine's failure too.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    put_by(path, |file| file.write_all(bytes))
}

fn put_by(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    output::write_atomically(path, write).map_err(|error| Error::Failed(error.to_string()))
}
