//! The report for people: the answer, then the evidence, then how far it can be trusted.
//!
//! It is made for someone who was just woken up: the first line is a sentence, colours only repeat what the words say, and every line
//! fits the terminal.

mod ascii;
mod cell;
mod diagnosis;
mod fit;
mod footer;
mod live;
mod names;
mod page;
mod stacks;
mod style;
mod table;
mod walks;

use std::collections::BTreeSet;

pub use self::diagnosis::{diagnosis, verdict};
pub use self::footer::divider;
pub use self::live::live;
use self::page::Page;
pub use self::style::Colour;
use self::style::Style;
use crate::report::{Finding, Phrase, Report, Row, Section, Severity, Value};
use crate::text::visible;
use crate::units;

/// Narrowest page, in columns. A narrower terminal breaks the lines itself.
pub const MIN_WIDTH: usize = 40;
/// Width of a page that is not for a terminal, in columns.
pub const DEFAULT_WIDTH: usize = 80;
/// Widest page, in columns, because longer lines are hard to read.
pub const MAX_WIDTH: usize = 160;

/// How the report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanOptions {
    /// Width of the page in columns; at least [`MIN_WIDTH`] is used.
    pub width: usize,
    /// Whether to colour; see [`Colour::decide`].
    pub colour: bool,
    /// Whether to write only ASCII.
    pub ascii: bool,
    /// Most rows of a table.
    pub top: usize,
    /// Show every interval, every stack, every probe and the whole ledger.
    pub verbose: bool,
}

impl Default for HumanOptions {
    fn default() -> HumanOptions {
        HumanOptions { width: DEFAULT_WIDTH, colour: false, ascii: false, top: 20, verbose: false }
    }
}

/// The report as text. Every line ends in a newline, and the only control characters are those of the colours.
pub fn human(report: &Report, options: &HumanOptions) -> String {
    let mut page = Page::new(options);
    for finding in &report.findings {
        page.paragraph(style_of(finding.severity), "", &sentence(finding));
    }
    footer::write_incomplete(&mut page, &report.coverage);
    for section in report.sections.iter().filter(|section| options.verbose || !section.detail) {
        write_section(&mut page, report, section, options);
    }
    footer::write(&mut page, report, options.verbose);
    page.finish()
}

/// The first sentence of the report, to be repeated at the end if the page is longer than the screen.
pub fn answer(report: &Report, options: &HumanOptions) -> String {
    let mut page = Page::new(options);
    if let Some(finding) = report.findings.first() {
        page.paragraph(style_of(finding.severity), "", &sentence(finding));
    }
    page.finish()
}

/// A message, broken into lines. `label` begins the first line, and the others are indented by its width.
pub fn message(label: &str, words: &str, options: &HumanOptions) -> String {
    let mut page = Page::new(options);
    page.paragraph(Style::Plain, label, words);
    page.finish()
}

/// The sentence of a finding as one line for a terminal.
pub fn sentence(finding: &Finding) -> String {
    let parts = finding.sentence.iter().map(|phrase| match phrase {
        Phrase::Plain(words) => visible(words).into_owned(),
        Phrase::Name(name) => name.terminal(),
    });
    parts.collect()
}

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Problem => Style::Bad,
        Severity::Limit => Style::Warn,
        Severity::Info => Style::Plain,
    }
}

fn write_section(page: &mut Page, report: &Report, section: &Section, options: &HumanOptions) {
    let folded = section.folded.as_ref().filter(|_| !options.verbose);
    let unfolded = folded.map_or(section.rows.len(), |folded| folded.from_row.min(section.rows.len()));
    let rows: Vec<&Row> = section.rows.iter().take(unfolded.min(options.top)).collect();
    page.blank();
    page.paragraph(Style::Strong, "", &visible(&section.title));
    if rows.is_empty() {
        let words = if unfolded == 0 { "nothing to show" } else { "no row was asked for" };
        page.line(Style::Dim, &format!("  {words}"));
    } else {
        write_table(page, section, &rows, unfolded, options.verbose);
    }
    if let Some(folded) = folded {
        page.paragraph(Style::Dim, "  ", &visible(&folded.text));
    }
    for note in &section.notes {
        page.paragraph(Style::Dim, "  ", &visible(note));
    }
    names::write_advice(page, report, &rows);
    stacks::write(page, report, section, &rows, options);
}

fn write_table(page: &mut Page, section: &Section, rows: &[&Row], unfolded: usize, verbose: bool) {
    let laid = table::lay_out(section, rows, page.width, verbose, page.ascii);
    page.blank();
    for line in &laid.header {
        page.line(Style::Dim, line);
    }
    for (row, lines) in rows.iter().zip(&laid.rows) {
        for line in lines {
            page.line(row.severity.map_or(Style::Plain, style_of), line);
        }
    }
    page.blank();
    let more = unfolded - rows.len();
    if more > 0 {
        page.paragraph(
            Style::Dim,
            "  ",
            &format!("{}: --top {unfolded}, or `-o FILE.json`", more_rows(more)),
        );
    }
    if !laid.left_out.is_empty() {
        let words = format!("no room for: {} (`-o FILE.json` has all)", laid.left_out.join(", "));
        page.paragraph(Style::Dim, "  ", &words);
    }
    if let Some(error) = cell::quantile_error(section, rows) {
        page.paragraph(Style::Dim, "  ", &error);
    }
    if laid.marks {
        page.paragraph(Style::Dim, "  ", "~ estimate; --verbose shows its 95 % interval");
    }
    for why in unknown(section, rows) {
        page.paragraph(Style::Dim, "  ", &format!("? {}", visible(why)));
    }
}

fn more_rows(number: usize) -> String {
    units::plural(number, "more row", "more rows")
}

/// The reasons why shown values are unknown, each once.
fn unknown<'a>(section: &'a Section, rows: &[&'a Row]) -> BTreeSet<&'a str> {
    let shown = |row: &&'a Row| section.columns.iter().zip(&row.cells).filter(|(column, _)| column.shown);
    let values = rows.iter().flat_map(|row| shown(row).map(|(_, value)| value));
    values
        .filter_map(|value| match value {
            Value::Unknown(why) => Some(why.as_str()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
