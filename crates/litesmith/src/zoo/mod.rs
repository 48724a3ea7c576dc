//! `zoo`: the networks of `keras.applications`, made without Keras.
//!
//! - [`list`]: which there are
//! - [`check`]: what of them is supported, by doing it
//! - [`build`]: a `.keras` file of one of them, with random weights or those of a file

mod batch_norm;
mod build;
mod check;
mod initialize;
mod noise;
mod weights;

use litesmith_zoo::{Options, ZooError};
use serde::Serialize;

pub use batch_norm::{Calibrated, calibrate_batch_norm};
pub use build::{BatchNormData, BuildOptions, BuildResult, build};
pub use check::{CheckOptions, CheckResult, CheckRow, check};
pub use noise::noise_images;

use crate::error::Error;

/// The networks of the zoo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListResult {
    /// Version of this form.
    pub schema_version: u32,
    /// One after the other, by family.
    pub networks: Vec<ListedNetwork>,
}

/// A network of the zoo, with the image size that it was made for and 1000 classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListedNetwork {
    /// Its name in `keras.applications`.
    pub name: &'static str,
    /// Numbers that its weights hold, moving statistics among them.
    pub parameters: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Height and width of its images.
    pub size: usize,
    /// What pixels of 0 to 255 are brought to before, by the names of `--preprocess`.
    pub preprocessing: &'static str,
}

/// All networks of the zoo.
///
/// # Errors
/// None: every network of the table can be built.
pub fn list() -> Result<ListResult, Error> {
    let listed = |entry: &litesmith_zoo::Entry| {
        let network = litesmith_zoo::build(entry.name, &Options::default())?;
        Ok(ListedNetwork {
            name: entry.name,
            parameters: network.parameters(),
            macs: network.macs(),
            size: entry.size,
            preprocessing: entry.preprocessing.name(),
        })
    };
    let networks = litesmith_zoo::entries().iter().map(listed).collect::<Result<_, ZooError>>()?;
    Ok(ListResult { schema_version: 1, networks })
}
