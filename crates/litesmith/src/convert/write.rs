//! The output file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use litesmith_formats::{FormatError, keras, mapping, onnx, output, tflite};
use litesmith_graph::{DType, Format, Model};
use litesmith_passes as passes;

use super::{ConvertOptions, count_operators};
use crate::Quantization;
use crate::error::{Error, Unsupported};
use crate::observer::Observer;

/// The format that is written, by the output's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tflite,
    Onnx,
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
                let reason = "a .keras file cannot hold a quantized model; write a .tflite or .onnx file";
                Err(Error::Usage(reason.into()))
            }
            "onnx" => Ok(Target::Onnx),
            _ => Err(Error::Usage(format!(
                "{}: the extension tells the format to write; use .tflite, .onnx or .keras",
                path.display()
            ))),
        }
    }
}

impl Target {
    /// What passes must make a model ready for.
    pub(super) fn legal(self) -> Option<passes::Target> {
        match self {
            Target::Tflite => Some(passes::Target::Tflite),
            Target::Onnx => Some(passes::Target::Onnx),
            Target::Keras => None,
        }
    }
}

fn not_supported(operator: &str, reason: &str) -> Error {
    let layer = Unsupported { layer: "output".into(), operator: operator.into(), reason: reason.into() };
    Error::Unsupported { what: "not supported".into(), layers: vec![layer] }
}

/// What was written.
pub(super) struct Written {
    /// Size of the files.
    pub bytes: u64,
    /// How often each of the format's operators is in them.
    pub operators: BTreeMap<String, usize>,
    /// Number of weights without their zeros.
    pub sparse_tensors: usize,
    /// The version of ONNX's operators, in ONNX files.
    pub opset: Option<u32>,
}

/// Writes the converted model.
pub(super) fn write(
    input: &Path,
    output: &Path,
    target: Target,
    (source, model): (&Model, &Model),
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<Written, Error> {
    let bytes = match target {
        Target::Tflite if options.sparse => {
            let mut model = model.clone();
            let sparse_tensors = litesmith_prune::encode(&mut model);
            if sparse_tensors == 0 {
                observer.note("--sparse changes nothing: no weights have so many zeros that it pays");
            }
            let file = tflite::encode(&model)?;
            put_by(output, |output| file.write_to(output))?;
            let mut operators = count_operators(&model);
            if let Some(count) = operators.remove("IDENTITY") {
                operators.insert("DENSIFY".into(), count);
            }
            return Ok(Written { bytes: file.len(), operators, sparse_tensors, opset: None });
        }
        Target::Tflite => {
            let file = tflite::encode(model)?;
            put_by(output, |output| file.write_to(output))?;
            file.len()
        }
        Target::Onnx => return write_onnx(output, model, options, observer),
        Target::Keras if source.source.format == Format::Keras => {
            let bytes = keras::write_keras(&mapping::open(input)?, source, &[])?;
            put(output, &bytes)?;
            bytes.len() as u64
        }
        Target::Keras => {
            return Err(not_supported(
                "Keras",
                "only a .keras source can be written as .keras; write a .tflite or .onnx file",
            ));
        }
    };
    Ok(Written { bytes, operators: count_operators(model), sparse_tensors: 0, opset: None })
}

fn write_onnx(
    output: &Path,
    model: &Model,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<Written, Error> {
    if options.unsigned_activations && !has_bytes(model) {
        return Err(Error::Usage(
            "--unsigned-activations has no effect: the model has no int8 tensors".into(),
        ));
    }
    let mut how = onnx::WriteOptions::default();
    how.opset = options.opset;
    how.external_data = options.external_data;
    how.unsigned_activations = options.unsigned_activations;
    let written = onnx::write(model, &how, output).map_err(|error| match error {
        FormatError::Io { .. } => Error::Failed(error.to_string()),
        other => other.into(),
    })?;
    if let Some(reason) = written.opset_reason {
        observer.note(&format!("written for opset {}: {reason}", written.opset));
    }
    if let Some(file) = &written.data_file {
        observer.note(&format!("the weights stand in {file}, which belongs beside the model"));
    }
    let opset = Some(written.opset);
    Ok(Written { bytes: written.bytes, operators: written.operators, sparse_tensors: 0, opset })
}

/// Whether a model has int8 activations.
fn has_bytes(model: &Model) -> bool {
    let tensors = model.graphs.iter().flat_map(|graph| &graph.tensors);
    tensors.into_iter().any(|tensor| tensor.dtype == DType::I8 && !tensor.is_fixed())
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
