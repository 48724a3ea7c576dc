//! Progress on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{printable, shows_progress};

/// A progress bar, drawn only if standard error is a terminal and `CI` is not set. It disappears
/// when it is dropped, so that results stand alone.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

const BAR: &str = "{prefix} [{bar:30}] {human_pos}/{human_len} {msg} ({eta} left)";
const SPINNER: &str = "{prefix} {spinner} {msg} ({elapsed})";

impl Progress {
    /// A bar for `total` steps.
    pub fn new(label: &str, total: u64) -> Self {
        Self::with_template(label, Some(total), BAR)
    }

    /// A sign of life for work of unknown length.
    pub fn endless(label: &str) -> Self {
        let progress = Self::with_template(label, None, SPINNER);
        if shows_progress() {
            progress.bar.enable_steady_tick(Duration::from_millis(120));
        }
        progress
    }

    fn with_template(label: &str, total: Option<u64>, template: &str) -> Self {
        let target =
            if shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, target).with_style(style.progress_chars("=> "));
        bar.set_prefix(printable(label));
        Self { bar }
    }

    /// Some more steps are done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// So many steps are done in all.
    pub fn set(&self, steps: u64) {
        self.bar.set_position(steps);
    }

    /// The steps that are done.
    pub fn done(&self) -> u64 {
        self.bar.position()
    }

    /// A remark beside the bar, such as the current loss.
    pub fn remark(&self, text: &str) {
        self.bar.set_message(printable(text));
    }

    /// Runs `print` while the bar is not on the screen, so that lines do not mix with it.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_whether_shown_or_not() {
        let progress = Progress::new("calibrating", 10);
        progress.advance(2);
        progress.advance(1);
        assert_eq!(progress.done(), 3);
        progress.set(9);
        progress.remark("loss 0.5");
        assert_eq!((progress.done(), progress.aside(|| 7)), (9, 7));
        assert_eq!(Progress::endless("reading").done(), 0);
    }

    #[test]
    fn templates_are_valid() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
