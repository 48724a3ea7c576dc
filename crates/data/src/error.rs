//! What can go wrong with data, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::ElementType;

/// Who has to act on a [`DataError`]; a command line maps it to its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The request is wrong: a missing path, an option that cannot apply.
    Usage,
    /// The file is broken or does not fit the model.
    Data,
    /// A memory limit was hit.
    Limit,
    /// The machine failed: reading or writing a file did not work.
    Failed,
}

/// An error of reading, converting or writing data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path does not exist.
    #[error("{}: there is no such file or folder", path.display())]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// An option that cannot apply here, or an argument out of range.
    #[error("{what}")]
    Usage {
        /// What is wrong and what to do.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file contradicts itself, is cut short, or holds something that cannot be read.
    #[error("{}: {what}", path.display())]
    Broken {
        /// The broken file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The file is sound but holds something that is not read.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported, and what to do instead.
        what: String,
    },
    /// The content is none of the known kinds.
    #[error(
        "{}: not a folder of images, nor an npz, npy, idx, CSV, PNG or JPEG file (judged by its content)",
        path.display()
    )]
    Unrecognized {
        /// The file.
        path: PathBuf,
    },
    /// There are no samples.
    #[error("{}: no samples: {what}", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// The samples do not have the shape of the model's input.
    #[error("input `{input}` needs samples of shape {}, got {}", shape_text(expected), shape_text(got))]
    WrongShape {
        /// The model's input.
        input: String,
        /// Its shape without the batch axis; `None` is a free dimension.
        expected: Vec<Option<usize>>,
        /// The shape of one sample of the data.
        got: Vec<usize>,
    },
    /// No array of the file belongs to an input of the model.
    #[error(
        "{}: no array for input `{input}`; the file holds {}",
        path.display(),
        if found.is_empty() { "no arrays".to_owned() } else { found.join(", ") }
    )]
    MissingInput {
        /// The file.
        path: PathBuf,
        /// The model's input.
        input: String,
        /// The arrays that are there.
        found: Vec<String>,
    },
    /// A value that the input's type cannot hold.
    #[error(
        "input `{input}`, sample {sample}: {value} is no {dtype} value (integer inputs take data as they are)"
    )]
    DoesNotFit {
        /// The model's input.
        input: String,
        /// The sample, counted from 0.
        sample: usize,
        /// The value, as text.
        value: String,
        /// The input's type.
        dtype: ElementType,
    },
    /// A NaN or an infinity among floating-point data.
    #[error("input `{input}`: {value} at position {position:?} (sample first)")]
    NotFinite {
        /// The model's input or the array's name; empty where there is none.
        input: String,
        /// The index along every axis; the first one is the sample.
        position: Vec<usize>,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// Two arrays that belong together have different numbers of samples.
    #[error("`{first}` has {first_count} samples, but `{second}` has {second_count}")]
    SampleCounts {
        /// One array.
        first: String,
        /// Its samples.
        first_count: usize,
        /// The other array.
        second: String,
        /// Its samples.
        second_count: usize,
    },
    /// More memory would be needed than is allowed or there.
    #[error("{what} needs {bytes} bytes of memory, allowed are {limit}")]
    TooLarge {
        /// What needs the memory.
        what: String,
        /// How much it needs.
        bytes: u64,
        /// How much it may take.
        limit: u64,
    },
    /// The number of bytes or values given for an array is not what its shape says.
    #[error("an array of {dtype} and shape {} does not hold {got} bytes", shape_text(shape))]
    Length {
        /// The type.
        dtype: ElementType,
        /// The shape.
        shape: Vec<usize>,
        /// The bytes that were given.
        got: usize,
    },
}

impl DataError {
    /// Who has to act.
    pub fn category(&self) -> Category {
        match self {
            Self::NotFound { .. } | Self::Usage { .. } => Category::Usage,
            Self::TooLarge { .. } => Category::Limit,
            Self::Io { .. } => Category::Failed,
            _ => Category::Data,
        }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    pub(crate) fn broken(path: &Path, what: impl Into<String>) -> Self {
        Self::Broken { path: path.to_owned(), what: what.into() }
    }

    /// An error of reading `path`: a missing file, a stream that ends too early or does not decode
    /// (the file is broken), or a refusal of the system.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::UnexpectedEof => Self::Broken { path, what: "the file ends too early".to_owned() },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Broken { path, what: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// A dimension of a shape, free or fixed, as text.
pub(crate) trait Dimension {
    fn text(&self) -> String;
}

impl Dimension for usize {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Dimension for Option<usize> {
    fn text(&self) -> String {
        self.map_or_else(|| "?".to_owned(), |size| size.to_string())
    }
}

/// `[28, ?, 1]`.
pub(crate) fn shape_text<D: Dimension>(shape: &[D]) -> String {
    let sizes: Vec<String> = shape.iter().map(Dimension::text).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shape_names_input_expected_and_got() {
        let error = DataError::WrongShape {
            input: "image".into(),
            expected: vec![Some(28), None, Some(1)],
            got: vec![32, 32, 3],
        };
        assert_eq!(error.to_string(), "input `image` needs samples of shape [28, ?, 1], got [32, 32, 3]");
        assert_eq!(error.category(), Category::Data);
    }

    #[test]
    fn categories_follow_the_cause() {
        let path = Path::new("x.npz");
        let of = |kind| DataError::reading(path, io::Error::from(kind)).category();
        assert_eq!(of(io::ErrorKind::NotFound), Category::Usage);
        assert_eq!(of(io::ErrorKind::UnexpectedEof), Category::Data);
        assert_eq!(of(io::ErrorKind::InvalidData), Category::Data);
        assert_eq!(of(io::ErrorKind::PermissionDenied), Category::Failed);
        let limit = DataError::TooLarge { what: "x".into(), bytes: 2, limit: 1 };
        assert_eq!(limit.category(), Category::Limit);
    }
}
