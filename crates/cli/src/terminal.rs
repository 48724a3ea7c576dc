//! Progress and notes on standard error, and Ctrl-C.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use litesmith::{Error, Interrupt, Observer};
use litesmith_report::Progress;

/// Set when the user presses Ctrl-C; loops inside models end by it, too.
pub(crate) fn interrupt() -> &'static Interrupt {
    static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();
    INTERRUPT.get_or_init(Interrupt::default)
}

/// Shows progress to a person and passes Ctrl-C on to the work.
pub(crate) struct Terminal {
    quiet: bool,
    progress: Mutex<Option<Progress>>,
    dumps: Option<Dumps>,
}

/// Where the model is written between rewrites.
struct Dumps {
    folder: PathBuf,
    count: AtomicUsize,
    failure: OnceLock<String>,
}

impl Terminal {
    /// Catches Ctrl-C: the first asks the work to stop, the second ends the program at once.
    pub(crate) fn new(quiet: bool) -> Terminal {
        let handler = ctrlc::set_handler(|| {
            if interrupt().is_set() {
                std::process::exit(130);
            }
            interrupt().set();
        });
        if let Err(error) = handler {
            eprintln!("warning: Ctrl-C cannot be caught: {error}");
        }
        Terminal { quiet, progress: Mutex::new(None), dumps: None }
    }

    /// Also writes the model between rewrites into a folder.
    pub(crate) fn with_dumps(mut self, folder: Option<PathBuf>) -> Result<Terminal, Error> {
        if let Some(folder) = folder {
            std::fs::create_dir_all(&folder)
                .map_err(|error| Error::Failed(format!("{}: {error}", folder.display())))?;
            self.dumps = Some(Dumps { folder, count: AtomicUsize::new(0), failure: OnceLock::new() });
        }
        Ok(self)
    }

    /// Clears the progress bar; fails where a dump could not be written.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        *self.bar() = None;
        match self.dumps.as_ref().and_then(|dumps| dumps.failure.get()) {
            Some(failure) => Err(Error::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    fn bar(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Terminal {
    fn stage(&self, name: &str, steps: usize) {
        if !self.quiet {
            let progress =
                if steps > 0 { Progress::new(name, steps as u64) } else { Progress::endless(name) };
            *self.bar() = Some(progress);
        }
    }

    fn step(&self) {
        if let Some(progress) = self.bar().as_ref() {
            progress.advance(1);
        }
    }

    fn status(&self, text: &str) {
        if let Some(progress) = self.bar().as_ref() {
            progress.remark(text);
        }
    }

    fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.bar().as_ref() {
            Some(progress) => progress.aside(|| eprintln!("note: {text}")),
            None => eprintln!("note: {text}"),
        }
    }

    fn dump(&self, pass: &str, text: &str) {
        let Some(dumps) = &self.dumps else { return };
        let number = dumps.count.fetch_add(1, Ordering::Relaxed);
        let path = dumps.folder.join(format!("{number:02}-{pass}.txt"));
        if let Err(error) = std::fs::write(&path, text) {
            // The first failure is the one that is told.
            let _ = dumps.failure.set(format!("{}: {error}", path.display()));
        }
    }

    fn wants_dumps(&self) -> bool {
        self.dumps.is_some()
    }

    fn stopped(&self) -> bool {
        interrupt().is_set()
    }
}
