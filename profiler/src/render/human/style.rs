//! The few colours there are: they repeat what the words say, and are never the only sign.

use std::ffi::OsStr;

/// What the user asked about colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Colours.
    Always,
    /// No colours.
    Never,
}

impl Colour {
    /// Whether to colour. `no_color` is the variable `NO_COLOR`, which counts if it is not empty; `terminal` says where
    /// the output goes.
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
    /// What was asked about was found.
    Bad,
    /// The answer is limited.
    Warn,
    /// Titles.
    Strong,
    /// What is read last.
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
