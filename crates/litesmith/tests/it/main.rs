//! Whole flows through the library, on the embedded model.

mod convert;
mod damage;
mod interpreter;
mod layout;
mod learner;
mod onnx;
mod onnx_read;
mod prune;
mod recurrent;
mod run;
mod zoo;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use litesmith::{DataOptions, Observer};

/// A file of the embedded demo.
pub fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

/// A few calibration images.
pub fn calibration() -> DataOptions {
    DataOptions::new(asset("fashion-calibration.npz")).with_samples(Some(20))
}

/// Stops the work at the given step.
pub struct StopAt {
    left: AtomicUsize,
}

impl StopAt {
    /// Stops when it is asked for the `step`-th time, from 0.
    pub fn step(step: usize) -> StopAt {
        StopAt { left: AtomicUsize::new(step) }
    }
}

impl Observer for StopAt {
    fn stopped(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
    }
}
