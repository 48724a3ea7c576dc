//! What can go wrong, by whom it can be mended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use litesmith_data::{Category, DataError};
use litesmith_formats::FormatError;
use litesmith_graph::ModelError;
use litesmith_passes::LegalizeError;
use litesmith_prune::PruneError;
use litesmith_quantize::{QuantizeError, RecipeError, StatisticsError};
use litesmith_runtime::RuntimeError;
use litesmith_train::TrainError;
use litesmith_zoo::ZooError;
use serde::Serialize;
use thiserror::Error;

/// One layer or operator that is not supported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsupported {
    /// Name of the layer.
    pub layer: String,
    /// Its class or operator.
    pub operator: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What went wrong. Each kind has an exit code of its own.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine failed: a full disk, a path that cannot be written.
    #[error("{0}")]
    Failed(String),
    /// The request cannot be met as it stands.
    #[error("{0}")]
    Usage(String),
    /// Layers or operators that are not supported, all of them.
    #[error("{what}:{}", list(layers))]
    Unsupported {
        /// What was tried.
        what: String,
        /// The layers.
        layers: Vec<Unsupported>,
    },
    /// A check or gate was not met; no file was written.
    #[error("{0}")]
    Check(String),
    /// A file is broken or does not fit.
    #[error("{0}")]
    Broken(String),
    /// A resource limit was hit.
    #[error("{0}")]
    Limit(String),
    /// The user stopped the work; nothing was written.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// The user stopped training; the file holds what is needed to go on.
    #[error("interrupted; '{}' holds the state: the same command with --resume goes on", .0.display())]
    Paused(PathBuf),
}

fn list(layers: &[Unsupported]) -> String {
    let line =
        |layer: &Unsupported| format!("\n  layer '{}' ({}): {}", layer.layer, layer.operator, layer.reason);
    layers.iter().map(line).collect()
}

impl Error {
    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failed(_) => 1,
            Error::Usage(_) => 2,
            Error::Unsupported { .. } => 3,
            Error::Check(_) => 4,
            Error::Broken(_) => 5,
            Error::Limit(_) => 6,
            Error::Interrupted | Error::Paused(_) => 130,
        }
    }

    /// The same error with what it is about in front.
    pub(crate) fn about(self, subject: &Path) -> Error {
        let prefix = |text: String| format!("{}: {text}", subject.display());
        match self {
            Error::Broken(text) => Error::Broken(prefix(text)),
            Error::Unsupported { what, layers } => Error::Unsupported { what: prefix(what), layers },
            other => other,
        }
    }

    pub(crate) fn io(path: &Path, source: &std::io::Error) -> Error {
        let text = format!("{}: {source}", path.display());
        match source.kind() {
            std::io::ErrorKind::NotFound => Error::Usage(text),
            _ => Error::Failed(text),
        }
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Error {
        match error {
            FormatError::Io { path, source } => Error::io(&path, &source),
            FormatError::Unsupported(items) => {
                let layer = |item: litesmith_formats::Unsupported| {
                    let litesmith_formats::Unsupported { layer, operator, reason } = item;
                    Unsupported { layer, operator, reason }
                };
                let layers = items.into_iter().map(layer).collect();
                Error::Unsupported { what: "not supported".into(), layers }
            }
            FormatError::UnsupportedFormat { format, .. } => {
                let reason = "such files are not read; give a Keras, SavedModel, ONNX or TFLite file".into();
                let layer = Unsupported { layer: "input".into(), operator: format!("{format:?}"), reason };
                Error::Unsupported { what: "not supported".into(), layers: vec![layer] }
            }
            FormatError::Opset { asked, .. } => {
                let reason = error.to_string();
                let layer =
                    Unsupported { layer: "output".into(), operator: format!("opset {asked}"), reason };
                Error::Unsupported { what: "not supported".into(), layers: vec![layer] }
            }
            other => Error::Broken(other.to_string()),
        }
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Error {
        let text = error.to_string();
        match error.category() {
            Category::Usage => Error::Usage(text),
            Category::Data => Error::Broken(text),
            Category::Limit => Error::Limit(text),
            Category::Failed => Error::Failed(text),
        }
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Error {
        Error::Broken(error.to_string())
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Error {
        match error {
            RuntimeError::Unsupported(items) => {
                let layer = |item: litesmith_runtime::Unsupported| Unsupported {
                    layer: item.node,
                    operator: item.operator,
                    reason: item.reason,
                };
                let layers = items.into_iter().map(layer).collect();
                Error::Unsupported { what: "the model cannot be run".into(), layers }
            }
            RuntimeError::Resource { .. } => Error::Limit(error.to_string()),
            RuntimeError::Setting(_) => Error::Usage(error.to_string()),
            RuntimeError::Interrupted => Error::Interrupted,
            _ => Error::Broken(error.to_string()),
        }
    }
}

impl From<TrainError> for Error {
    fn from(error: TrainError) -> Error {
        match error {
            TrainError::Unsupported(items) => {
                let layer = |item: litesmith_train::Unsupported| Unsupported {
                    layer: item.layer,
                    operator: item.operator,
                    reason: item.reason,
                };
                let layers = items.into_iter().map(layer).collect();
                Error::Unsupported { what: "the model cannot be trained".into(), layers }
            }
            TrainError::Runtime(error) => error.into(),
            TrainError::Data(error) => match Arc::try_unwrap(error) {
                Ok(error) => error.into(),
                Err(error) => Error::Broken(error.to_string()),
            },
            TrainError::Hook(text) => Error::Failed(text),
            TrainError::InputSize(_)
            | TrainError::NoLoss
            | TrainError::ClassWeights
            | TrainError::NoTargets(_)
            | TrainError::Watched(_)
            | TrainError::Checkpoint(_) => Error::Usage(error.to_string()),
            error => Error::Broken(error.to_string()),
        }
    }
}

impl From<LegalizeError> for Error {
    fn from(error: LegalizeError) -> Error {
        match error {
            LegalizeError::Refused(items) => {
                let layers = items
                    .into_iter()
                    .map(|item| Unsupported {
                        layer: item.layer,
                        operator: item.operator,
                        reason: item.reason,
                    })
                    .collect();
                Error::Unsupported { what: "TFLite cannot express it".into(), layers }
            }
            LegalizeError::Model(error) => error.into(),
        }
    }
}

impl From<QuantizeError> for Error {
    fn from(error: QuantizeError) -> Error {
        match error {
            QuantizeError::NoStatistics(_) => Error::Usage(error.to_string()),
            QuantizeError::FloatLeft(outcomes) => {
                let layer = |outcome: litesmith_quantize::Outcome| Unsupported {
                    layer: outcome.layer,
                    operator: outcome.operator,
                    reason: outcome.reason.unwrap_or_default(),
                };
                let layers = outcomes.into_iter().map(layer).collect();
                let what = "int8-only leaves no operator in float, but these have no integer kernel (use int8 to \
                            keep them float)";
                Error::Unsupported { what: what.into(), layers }
            }
            QuantizeError::Runtime(error) => error.into(),
            other => Error::Broken(other.to_string()),
        }
    }
}

impl From<PruneError> for Error {
    fn from(error: PruneError) -> Error {
        match error {
            PruneError::Model(error) => error.into(),
            error => Error::Usage(error.to_string()),
        }
    }
}

impl From<ZooError> for Error {
    fn from(error: ZooError) -> Error {
        Error::Usage(error.to_string())
    }
}

impl From<RecipeError> for Error {
    fn from(error: RecipeError) -> Error {
        Error::Usage(error.to_string())
    }
}

impl From<StatisticsError> for Error {
    fn from(error: StatisticsError) -> Error {
        Error::Broken(error.to_string())
    }
}
