//! The page that the report is written on: lines of a known width, with or without colours, in ASCII if need be.

use std::borrow::Cow;

use super::style::Style;
use super::{HumanOptions, MIN_WIDTH, ascii, fit};

/// Columns that text gets at least beside its label; with fewer, the label has a line of its own.
const LEAST_BESIDE: usize = 24;
/// Columns of space left of text below its label.
const BELOW: usize = 4;
/// Stands for the rest of a line.
const DOTS: &str = "...";

/// Text under construction.
pub(super) struct Page {
    /// Columns of a line.
    pub(super) width: usize,
    /// Nothing but ASCII.
    pub(super) ascii: bool,
    colour: bool,
    /// Cuts lines that are wider, which only words that have to be read whole are.
    crop: bool,
    out: String,
}

impl Page {
    pub(super) fn new(options: &HumanOptions) -> Page {
        let HumanOptions { width, colour, ascii, .. } = *options;
        Page { width: width.max(MIN_WIDTH), ascii, colour, crop: false, out: String::new() }
    }

    /// A page of exactly this width, whatever it costs.
    pub(super) fn cropped(options: &HumanOptions) -> Page {
        Page { width: options.width.max(1), crop: true, ..Page::new(options) }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, style: Style, text: &str) {
        let body = text.trim_start_matches(' ');
        let indent = text.get(..text.len() - body.len()).unwrap_or_default();
        let mut body = Cow::Borrowed(body.trim_end());
        if self.crop && fit::width(indent) + fit::width(&body) > self.width {
            let room = self.width.saturating_sub(indent.len());
            body = Cow::Owned(if self.ascii && room > DOTS.len() {
                let start = fit::start(&body, room - DOTS.len() + 1);
                format!("{}{DOTS}", start.trim_end_matches('…'))
            } else {
                fit::start(&body, room)
            });
        }
        if self.ascii {
            body = match body.strip_prefix("… ") {
                Some(rest) => Cow::Owned(format!("... {}", ascii::of_same_width(rest))),
                None => Cow::Owned(ascii::of_same_width(&body).into_owned()),
            };
        }
        if !body.is_empty() {
            self.out.push_str(indent);
        }
        self.out.push_str(&style.paint(&body, self.colour));
        self.out.push('\n');
    }

    /// Text in as many lines as it needs. `label` starts the first line and indents the others; on a narrow page it stands above
    /// them.
    pub(super) fn paragraph(&mut self, style: Style, label: &str, text: &str) {
        let (label, text) = match self.ascii {
            true => (ascii::spelled(label), ascii::spelled(text)),
            false => (Cow::Borrowed(label), Cow::Borrowed(text)),
        };
        let indent = fit::width(&label);
        if indent > BELOW && self.width < indent + LEAST_BESIDE.min(fit::width(&text)) {
            if !label.trim().is_empty() {
                self.lines(style, "", BELOW / 2, label.trim());
            }
            return self.lines(style, "", BELOW, &text);
        }
        self.lines(style, &label, indent, &text);
    }

    /// The lines of a paragraph.
    fn lines(&mut self, style: Style, label: &str, indent: usize, text: &str) {
        for (number, line) in fit::lines(text, self.width.saturating_sub(indent)).iter().enumerate() {
            match number {
                0 if !label.is_empty() => self.line(style, &format!("{label}{line}")),
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

    /// How many lines there are.
    pub(super) fn height(&self) -> usize {
        self.out.matches('\n').count()
    }

    /// Takes away all lines but the first.
    pub(super) fn truncate(&mut self, lines: usize) {
        if let Some((end, _)) = self.out.match_indices('\n').nth(lines.saturating_sub(1)) {
            self.out.truncate(end + 1);
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}
