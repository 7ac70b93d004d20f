//! The page that a report is written to: lines of a known width, with or without colours, in UTF-8 or ASCII.

use std::borrow::Cow;

use super::style::Style;
use super::{HumanOptions, MIN_WIDTH, ascii, fit};

/// Columns that text gets at least beside its label. If there are fewer, the label gets a line of its own.
const LEAST_BESIDE: usize = 24;
/// Indent of text below its label, in columns.
const BELOW: usize = 4;
/// Stands for the rest of a line in ASCII.
const DOTS: &str = "...";

/// Text under construction.
pub(super) struct Page {
    /// Width of a line in columns.
    pub(super) width: usize,
    /// Whether to write only ASCII.
    pub(super) ascii: bool,
    colour: bool,
    /// Whether to cut wider lines, which occur only where words are not broken.
    crop: bool,
    out: String,
}

impl Page {
    pub(super) fn new(options: &HumanOptions) -> Page {
        let HumanOptions { width, colour, ascii, .. } = *options;
        Page { width: width.max(MIN_WIDTH), ascii, colour, crop: false, out: String::new() }
    }

    /// A page that cuts lines at this width.
    pub(super) fn cropped(options: &HumanOptions) -> Page {
        Page { width: options.width.max(1), crop: true, ..Page::new(options) }
    }

    /// Writes a line without breaking it.
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

    /// Writes text, broken into lines. `label` begins the first line, and the others are indented by its width; on a narrow page it has
    /// a line of its own.
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

    /// Writes the lines of a paragraph.
    fn lines(&mut self, style: Style, label: &str, indent: usize, text: &str) {
        for (number, line) in fit::lines(text, self.width.saturating_sub(indent)).iter().enumerate() {
            match number {
                0 if !label.is_empty() => self.line(style, &format!("{label}{line}")),
                _ => self.line(style, &format!("{:indent$}{line}", "")),
            }
        }
    }

    /// Writes an empty line, unless the page is empty or ends in one.
    pub(super) fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Number of lines so far.
    pub(super) fn height(&self) -> usize {
        self.out.matches('\n').count()
    }

    /// Keeps the first `lines` lines.
    pub(super) fn truncate(&mut self, lines: usize) {
        if let Some((end, _)) = self.out.match_indices('\n').nth(lines.saturating_sub(1)) {
            self.out.truncate(end + 1);
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}
