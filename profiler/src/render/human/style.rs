//! Colours. They repeat what the words say and never stand alone.

use std::ffi::OsStr;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    /// Whether to use colours. `no_color` is the variable `NO_COLOR`, which is ignored if it is empty. `terminal` is whether the output
    /// is a terminal.
    pub fn decide(self, no_color: Option<&OsStr>, terminal: bool) -> bool {
        match self {
            Colour::Auto => terminal && no_color.is_none_or(OsStr::is_empty),
            Colour::Always => true,
            Colour::Never => false,
        }
    }
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// A problem was found.
    Bad,
    /// The answer is limited.
    Warn,
    /// Titles.
    Strong,
    /// Less important text.
    Dim,
}

impl Style {
    /// Puts `text` in this style if `on`.
    pub(super) fn paint(self, text: &str, on: bool) -> String {
        let code = match self {
            Style::Bad => "1;31",
            Style::Warn => "33",
            Style::Strong => "1",
            Style::Dim => "2",
            Style::Plain => return text.to_owned(),
        };
        if on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{Colour, Style};

    #[test]
    fn no_color_and_pipes_are_honoured() {
        let set = Some(OsStr::new("1"));
        assert!(Colour::Auto.decide(None, true));
        assert!(Colour::Auto.decide(Some(OsStr::new("")), true));
        assert!(!Colour::Auto.decide(set, true));
        assert!(!Colour::Auto.decide(None, false));
        assert!(Colour::Always.decide(set, false));
        assert!(!Colour::Never.decide(None, true));
    }

    #[test]
    fn style_is_an_escape_sequence_or_nothing() {
        assert_eq!(Style::Bad.paint("LEAK", true), "\x1b[1;31mLEAK\x1b[0m");
        assert_eq!(Style::Bad.paint("LEAK", false), "LEAK");
    }
}
