//! Progress and notes for Python, and Ctrl-C.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use litesmith::{Error, Interrupt, Observer};
use pyo3::prelude::*;

use crate::errors::raised;

/// Least time between two looks at Python: it takes part in the work only so often.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells an object of Python's what goes on, and stops the work where a signal was caught. Its methods are
/// `stage(name, steps)`, `advance(done, status)` and `note(text)`.
pub(crate) struct Listener {
    listener: Option<Py<PyAny>>,
    state: Mutex<State>,
    interrupt: Interrupt,
}

struct State {
    looked: Instant,
    done: usize,
    shown: usize,
    status: String,
    /// What a signal's handler, or the listener, has raised.
    raised: Option<PyErr>,
}

impl Listener {
    pub(crate) fn new(listener: Option<Py<PyAny>>) -> Listener {
        let state = State { looked: Instant::now(), done: 0, shown: 0, status: String::new(), raised: None };
        Listener { listener, state: Mutex::new(state), interrupt: Interrupt::default() }
    }

    /// What ends loops inside models.
    pub(crate) fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Does work without holding the interpreter's lock. What was raised meanwhile goes before its error.
    pub(crate) fn attend<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Listener) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let result = py.detach(|| work(self));
        self.show();
        match self.state().raised.take() {
            Some(raised) => Err(raised),
            None => result.map_err(|error| raised(&error)),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a method of the listener; what it raises ends the work.
    fn call<'py, A: pyo3::call::PyCallArgs<'py>>(&self, py: Python<'py>, method: &str, arguments: A) {
        let Some(listener) = &self.listener else { return };
        if let Err(error) = listener.bind(py).call_method1(method, arguments) {
            self.raise(error);
        }
    }

    fn raise(&self, error: PyErr) {
        self.interrupt.set();
        self.state().raised.get_or_insert(error);
    }

    /// Shows how far the stage is, if there is news.
    fn show(&self) {
        let (done, status) = {
            let mut state = self.state();
            if state.shown == state.done && state.status.is_empty() {
                return;
            }
            state.shown = state.done;
            (state.done, std::mem::take(&mut state.status))
        };
        Python::attach(|py| self.call(py, "advance", (done, status)));
    }
}

impl Observer for Listener {
    fn stage(&self, name: &str, steps: usize) {
        self.show();
        {
            let mut state = self.state();
            (state.done, state.shown) = (0, 0);
        }
        Python::attach(|py| self.call(py, "stage", (name, steps)));
    }

    fn step(&self) {
        self.state().done += 1;
    }

    fn status(&self, text: &str) {
        text.clone_into(&mut self.state().status);
    }

    fn note(&self, text: &str) {
        Python::attach(|py| self.call(py, "note", (text,)));
    }

    /// Results say it.
    fn detail(&self, _text: &str) {}

    fn stopped(&self) -> bool {
        {
            let mut state = self.state();
            if state.raised.is_some() {
                return true;
            }
            if state.looked.elapsed() < PAUSE {
                return false;
            }
            state.looked = Instant::now();
        }
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            self.raise(error);
        }
        self.show();
        self.state().raised.is_some()
    }
}
