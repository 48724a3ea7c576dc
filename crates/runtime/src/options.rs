use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use litesmith_kernels::{Ahead, Isa};

use crate::error::RuntimeError;

/// Bytes of a model for which the system takes longer to hand out memory than to start a thread.
const LEAST_AHEAD: usize = 1 << 20;

/// Ends loops of a model early, from another thread or a signal handler. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Lets runs end with [`RuntimeError::Interrupted`] before the next round of a loop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Interrupt {
    fn eq(&self, other: &Interrupt) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Interrupt {}

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
    /// What ends loops early.
    pub interrupt: Interrupt,
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

    /// The default options with this interrupt.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Options {
        self.interrupt = interrupt;
        self
    }

    /// The number of threads that these options mean on this machine.
    ///
    /// # Errors
    /// If it is 0, or the environment variable holds none.
    pub fn threads(&self) -> Result<usize, RuntimeError> {
        match (self.threads, std::env::var("LITESMITH_THREADS")) {
            (Some(0), _) => Err(RuntimeError::Setting("the number of threads must be at least 1".into())),
            (Some(threads), _) => Ok(threads),
            (None, Ok(text)) => text.parse().map(NonZero::get).map_err(|_| {
                RuntimeError::Setting(format!("LITESMITH_THREADS must be a number above 0, it is '{text}'"))
            }),
            (None, Err(_)) => Ok(available_parallelism().map_or(1, NonZero::get)),
        }
    }

    /// What a model needs that is about to be read from this (mapped) file, asked from the system meanwhile on a
    /// second thread: the pages of the file, and memory for packed weights. To be kept until the model is prepared.
    /// `None` where it does not pay: with one thread, or for a small model.
    #[must_use]
    pub fn ahead(&self, file: impl AsRef<[u8]> + Send + 'static) -> Option<Ahead> {
        let pays = file.as_ref().len() >= LEAST_AHEAD && self.threads().is_ok_and(|threads| threads > 1);
        if pays { Ahead::new(file) } else { None }
    }

    /// The instruction set that these options mean on this machine.
    ///
    /// # Errors
    /// If the machine lacks it, or the environment variable holds none.
    pub fn isa(&self) -> Result<Isa, RuntimeError> {
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
