//! What a caller hears of long work, and how it stops it.

use crate::error::Error;

/// Hears of the progress of a pipeline and may stop it. All methods have an empty default.
pub trait Observer: Sync {
    /// A stage of the work begins; it has this many steps (0: not known).
    fn stage(&self, _name: &str, _steps: usize) {}

    /// A step of the stage is done.
    fn step(&self) {}

    /// How the stage stands, to be shown beside its progress.
    fn status(&self, _text: &str) {}

    /// Something that the user should know.
    fn note(&self, _text: &str) {}

    /// Something that is good to know and asks for nothing; a note unless said otherwise.
    fn detail(&self, text: &str) {
        self.note(text);
    }

    /// A readable form of the model between two rewrites, if [`Observer::wants_dumps`].
    fn dump(&self, _pass: &str, _text: &str) {}

    /// Whether to print the model between rewrites for [`Observer::dump`].
    fn wants_dumps(&self) -> bool {
        false
    }

    /// Whether the user wants the work to stop. Asked between steps.
    fn stopped(&self) -> bool {
        false
    }
}

/// Hears nothing and stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Goes on unless the user wants the work to stop.
pub(crate) fn go_on(observer: &dyn Observer) -> Result<(), Error> {
    if observer.stopped() { Err(Error::Interrupted) } else { Ok(()) }
}
