//! The terminal and what it can show. No other module asks the environment about it.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd,
};

use profiler::render::{Colour, DEFAULT_WIDTH, HumanOptions, MAX_WIDTH, MIN_WIDTH};

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// An output for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Columns of a line.
    pub(crate) width: usize,
    /// Rows of the screen; `None` if it is not a terminal, or does not report its size.
    pub(crate) rows: Option<usize>,
    /// Whether only ASCII can be shown.
    pub(crate) ascii: bool,
    /// Whether the cursor can be moved, so that lines can be redrawn.
    pub(crate) redraws: bool,
    /// Whether to use colours.
    pub(crate) colour: bool,
}

impl Terminal {
    /// The terminal of standard output.
    pub(crate) fn stdout(no_color: bool) -> Terminal {
        let out = io::stdout();
        Terminal::of(out.is_terminal(), size(&out), no_color, |name| env::var_os(name))
    }

    /// The terminal of standard error.
    pub(crate) fn stderr() -> Terminal {
        let out = io::stderr();
        Terminal::of(out.is_terminal(), size(&out), true, |name| env::var_os(name))
    }

    /// The options for text on it.
    pub(crate) fn options(&self) -> HumanOptions {
        let Terminal { width, colour, ascii, .. } = *self;
        HumanOptions { width, colour, ascii, ..HumanOptions::default() }
    }

    /// Writes a message to standard error, in as many lines as it takes.
    pub(crate) fn say(&self, label: &str, words: &str) {
        // If standard error is gone as well, the exit code is all that is left.
        let _ = io::stderr().write_all(self.lines(label, words).as_bytes());
    }

    /// The lines of a message.
    pub(crate) fn lines(&self, label: &str, words: &str) -> String {
        // Programs read a pipe by lines, and a log may be wider than we know.
        let width = if self.rows.is_some() { self.width } else { usize::MAX };
        profiler::render::message(label, words, &HumanOptions { width, ..self.options() })
    }

    /// The text, and the answer again at its end if the beginning will have left the screen.
    pub(crate) fn with_answer_last(&self, mut text: String, answer: impl FnOnce() -> String) -> String {
        // The last row is the prompt's.
        if self.rows.is_some_and(|rows| text.lines().count() >= rows) {
            text.push('\n');
            text.push_str(&answer());
        }
        text
    }

    /// From its properties: whether it is a terminal, its size, and the environment.
    fn of(
        is_terminal: bool,
        size: Option<Size>,
        no_color: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Terminal {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let number = |name: &str| set(name)?.to_str()?.parse::<usize>().ok().filter(|n| *n > 0);
        // TERM=dumb also counts for a pipe; a missing TERM only for a terminal.
        let is_dumb = set("TERM").is_some_and(|term| term == "dumb");
        let dumb = is_dumb || set("TERM").is_none();
        let size = size.filter(|_| is_terminal);
        let columns = size.map(|size| size.columns).or_else(|| number("COLUMNS")).unwrap_or(DEFAULT_WIDTH);
        let colour = if no_color || dumb { Colour::Never } else { Colour::Auto };
        Terminal {
            width: columns.clamp(MIN_WIDTH, MAX_WIDTH),
            rows: size.map(|size| size.rows),
            ascii: is_terminal && dumb || is_dumb || !is_utf8(set),
            redraws: is_terminal && !dumb && size.is_some(),
            colour: colour.decide(variable("NO_COLOR").as_deref(), is_terminal),
        }
    }
}

/// Whether the locale has more characters than ASCII, by the variable that decides (POSIX: the first of these that is
/// set). Without any, it is assumed: most systems have, and `sudo` and service managers remove the variables.
fn is_utf8(set: impl Fn(&str) -> Option<OsString>) -> bool {
    let Some(locale) = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)) else { return true };
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The size of the screen that standard output is, if it is one.
pub(crate) fn stdout_size() -> Option<Size> {
    size(&io::stdout())
}

/// The size that a terminal reports. A serial line has none.
fn size(out: &impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(out).ok()?;
    let size = Size { columns: size.ws_col.into(), rows: size.ws_row.into() };
    (size.columns > 0 && size.rows > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const SIZE: Option<Size> = Some(Size { columns: 100, rows: 30 });

    fn with(is_terminal: bool, size: Option<Size>, variables: &[(&str, &str)]) -> Terminal {
        Terminal::of(is_terminal, size, false, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsStr::new(value).to_owned())
        })
    }

    #[test]
    fn a_terminal_reports_its_size_and_a_pipe_uses_columns() {
        let term = ("TERM", "xterm");
        let here = with(true, SIZE, &[term, ("COLUMNS", "70")]);
        assert_eq!((here.width, here.rows, here.redraws, here.colour), (100, Some(30), true, true));
        for (variables, width) in [
            (&[term, ("COLUMNS", "132")][..], 132),
            (&[term, ("COLUMNS", "9")], MIN_WIDTH),
            (&[term, ("COLUMNS", "9999")], MAX_WIDTH),
            (&[term, ("COLUMNS", "wide")], DEFAULT_WIDTH),
            (&[term, ("COLUMNS", "0")], DEFAULT_WIDTH),
            (&[], DEFAULT_WIDTH),
        ] {
            let piped = with(false, None, variables);
            assert_eq!((piped.width, piped.rows, piped.redraws, piped.colour), (width, None, false, false));
        }
    }

    #[test]
    fn the_answer_comes_again_if_it_has_left_the_screen() {
        let xterm = &[("TERM", "xterm")];
        let shown = |terminal: Terminal, lines: usize| {
            terminal.with_answer_last("x\n".repeat(lines), || "LEAK\n".into())
        };
        for (lines, again) in [(29, false), (30, true), (99, true)] {
            assert_eq!(shown(with(true, SIZE, xterm), lines).ends_with("x\n\nLEAK\n"), again, "{lines}");
        }
        assert!(!shown(with(false, None, xterm), 99).contains("LEAK"));
    }

    #[test]
    fn a_message_is_broken_at_words_on_a_screen_only() {
        let words = "it is kept from this root: profiler is in a container, or a security module forbids it";
        let screen = with(true, Some(Size { columns: 80, rows: 24 }), &[("TERM", "xterm")]);
        assert_eq!(
            screen.lines("error: ", words),
            "error: it is kept from this root: profiler is in a container, or a security\n       module forbids it\n"
        );
        assert_eq!(with(false, None, &[]).lines("error: ", words), format!("error: {words}\n"));
    }

    #[test]
    fn a_dumb_terminal_gets_plain_lines() {
        for term in [&[("TERM", "dumb")][..], &[]] {
            let dumb = with(true, SIZE, term);
            assert!(dumb.ascii && !dumb.redraws && !dumb.colour, "{dumb:?}");
            assert_eq!((dumb.width, dumb.rows), (100, Some(30)));
        }
        assert!(with(false, None, &[("TERM", "dumb")]).ascii, "the reader of the pipe is the dumb terminal");
        assert!(!with(false, None, &[]).ascii, "as from cron");
        let serial = with(true, None, &[("TERM", "vt102")]);
        assert!(!serial.redraws && serial.rows.is_none(), "{serial:?}");
    }

    #[test]
    fn the_first_variable_of_the_locale_decides_on_ascii() {
        for (variables, ascii) in [
            (&[("LC_ALL", "C")][..], true),
            (&[("LC_ALL", "POSIX"), ("LANG", "de_DE.UTF-8")], true),
            (&[("LC_ALL", "C.UTF-8"), ("LANG", "C")], false),
            (&[("LC_CTYPE", "en_US.utf8")], false),
            (&[("LC_ALL", ""), ("LANG", "C")], true),
            (&[("LANG", "en_US.ISO-8859-1")], true),
            (&[], false),
        ] {
            assert_eq!(with(false, None, variables).ascii, ascii, "{variables:?}");
        }
    }
}
