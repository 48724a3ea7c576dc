use std::num::NonZero;
use std::thread::available_parallelism;

use litesmith_kernels::Isa;

use crate::error::RuntimeError;

/// How a model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Number of threads, at least 1. `None`: the environment variable `LITESMITH_THREADS`, else
    /// one for each core.
    pub threads: Option<usize>,
    /// The best instruction set that kernels may use. `None`: the environment variable
    /// `LITESMITH_ISA`, else the best that the machine has.
    pub isa: Option<Isa>,
    /// Most bytes that activations (and each constant computed while loading) may take. `None`: as
    /// many as the system gives.
    pub max_memory: Option<usize>,
}

impl Options {
    /// The default options with this number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Options {
        self.threads = Some(threads);
        self
    }

    /// The default options with this instruction set.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Options {
        self.isa = Some(isa);
        self
    }

    /// The default options with this limit of memory in bytes.
    #[must_use]
    pub fn with_max_memory(mut self, bytes: usize) -> Options {
        self.max_memory = Some(bytes);
        self
    }

    pub(crate) fn threads(&self) -> Result<usize, RuntimeError> {
        match (self.threads, std::env::var("LITESMITH_THREADS")) {
            (Some(0), _) => Err(RuntimeError::Setting("the number of threads must be at least 1".into())),
            (Some(threads), _) => Ok(threads),
            (None, Ok(text)) => text.parse().map(NonZero::get).map_err(|_| {
                RuntimeError::Setting(format!("LITESMITH_THREADS must be a number above 0, it is '{text}'"))
            }),
            (None, Err(_)) => Ok(available_parallelism().map_or(1, NonZero::get)),
        }
    }

    pub(crate) fn isa(&self) -> Result<Isa, RuntimeError> {
        match (self.isa, std::env::var("LITESMITH_ISA")) {
            (Some(isa), _) if isa.available() => Ok(isa),
            (Some(isa), _) => Err(RuntimeError::Setting(format!("this machine cannot run '{isa}'"))),
            (None, Ok(text)) => {
                text.parse().map_err(|error| RuntimeError::Setting(format!("LITESMITH_ISA: {error}")))
            }
            (None, Err(_)) => Ok(Isa::detect()),
        }
    }
}
