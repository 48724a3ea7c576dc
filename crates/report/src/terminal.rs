//! What the streams of this process can show.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

/// How text for a stream may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// ASCII without escape sequences, one line a row: for files, pipes and `NO_COLOR`.
    Plain,
    /// Lines, bold headers and wrapping to the terminal's width.
    Terminal,
}

impl Look {
    /// What suits standard output.
    pub fn of_stdout() -> Self {
        Self::of(io::stdout().is_terminal(), |name| env::var_os(name))
    }

    fn of(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        if terminal && !dumb && !is_set(variable("NO_COLOR")) { Self::Terminal } else { Self::Plain }
    }
}

/// Whether progress may be drawn on standard error: on a terminal, outside continuous integration.
pub(crate) fn shows_progress() -> bool {
    draws(io::stderr().is_terminal(), env::var_os("CI"))
}

fn draws(terminal: bool, ci: Option<OsString>) -> bool {
    terminal && !is_set(ci)
}

/// Variables such as `NO_COLOR` and `CI` count when they are not empty.
fn is_set(value: Option<OsString>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// `text` without control characters, which a name from a file could use to write over the screen.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible_control(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks that turn the direction of writing.
fn is_invisible_control(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_without_no_color_get_more_than_plain_text() {
        let with = |terminal, name: &'static str, value: &'static str| {
            Look::of(terminal, |asked| (asked == name).then(|| value.into()))
        };
        assert_eq!(with(true, "TERM", "xterm"), Look::Terminal);
        assert_eq!(with(true, "NO_COLOR", ""), Look::Terminal);
        assert_eq!(with(true, "NO_COLOR", "1"), Look::Plain);
        assert_eq!(with(true, "TERM", "dumb"), Look::Plain);
        assert_eq!(with(false, "TERM", "xterm"), Look::Plain);
    }

    #[test]
    fn progress_is_for_terminals_outside_ci() {
        assert!(draws(true, None) && draws(true, Some("".into())));
        assert!(!draws(true, Some("true".into())) && !draws(false, None));
    }

    #[test]
    fn escape_sequences_of_names_are_shown_not_obeyed() {
        assert_eq!(printable("conv\x1b[2J/é\n\u{202E}x"), "conv\\u{1b}[2J/é\\n\\u{202e}x");
    }
}
