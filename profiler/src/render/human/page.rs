//! The page that the report is written on: lines of a known width, with or without colours.

use super::fit;
use super::style::Style;

/// Text under construction.
pub(super) struct Page {
    /// Columns of a line.
    pub(super) width: usize,
    colour: bool,
    out: String,
}

impl Page {
    pub(super) fn new(width: usize, colour: bool) -> Page {
        Page { width, colour, out: String::new() }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, style: Style, text: &str) {
        let body = text.trim_start_matches(' ');
        self.out.push_str(text.get(..text.len() - body.len()).unwrap_or_default());
        self.out.push_str(&style.paint(body.trim_end(), self.colour));
        self.out.push('\n');
    }

    /// Text in as many lines as it needs. `label` starts the first line and indents the others.
    pub(super) fn paragraph(&mut self, style: Style, label: &str, text: &str) {
        let indent = fit::width(label);
        for (number, line) in fit::lines(text, self.width.saturating_sub(indent)).iter().enumerate() {
            match number {
                0 => self.line(style, &format!("{label}{line}")),
                _ => self.line(style, &format!("{:indent$}{line}", "")),
            }
        }
    }

    /// An empty line, unless there is one already or nothing to separate.
    pub(super) fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}
