//! Lays out a section as a table that fits the page.
//!
//! A row is not wrapped, so that it can be read and grepped as one line. If the table is too wide, the intervals are dropped first,
//! then the name of each row moves to a line below its numbers, and last columns are dropped, the least important first, which the
//! page says. Where that leaves room for whole names after all, they stay beside their numbers.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::cell::Part;
use super::fit::{self, width};
use super::{ascii, cell};
use crate::report::{Row, Section, Unit};

/// Space between two columns, and left of the table.
const GAP: usize = 2;
/// Most lines of a title.
const TITLE_LINES: usize = 2;
/// Widest word in a column other than the names.
const MAX_WORD: usize = 24;
/// Width that names get at least beside the numbers, if they need it: with intervals, and without.
const KEY_ROOM: [usize; 2] = [32, 18];

/// A table that is laid out.
pub(super) struct Laid {
    /// Lines of the header.
    pub(super) header: Vec<String>,
    /// Lines of each row.
    pub(super) rows: Vec<Vec<String>>,
    /// Titles of the columns that did not fit.
    pub(super) left_out: Vec<String>,
    /// Whether a value is marked as an estimate without its interval.
    pub(super) marks: bool,
}

/// How cells are written.
#[derive(Clone, Copy)]
struct Form {
    /// Whether every estimate has its interval.
    intervals: bool,
    /// Whether to write only ASCII.
    ascii: bool,
}

impl Form {
    fn spelled(self, text: String) -> String {
        if self.ascii { ascii::spelled(&text).into_owned() } else { text }
    }
}

/// A column of a section, or a part of one, by its index.
type Shown = (usize, Part);

/// The cells of a column as text.
struct Texts {
    title: String,
    cells: Vec<String>,
    left: bool,
}

impl Texts {
    fn width(&self) -> usize {
        let values = self.cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
        let least = values.max(self.title.split(' ').map(width).max().unwrap_or(0));
        // A title of three lines costs more than the width that it saves.
        let is_low = |room: &usize| fit::lines(&self.title, *room).len() <= TITLE_LINES;
        (least..=width(&self.title)).find(is_low).unwrap_or(least)
    }

    /// The title, broken into lines so that it does not make the column wider.
    fn header(&self) -> Vec<String> {
        fit::lines(&self.title, self.width())
    }
}

/// Lays out the shown columns of `rows` in a width of `room`. With `intervals` every estimate has its interval; else only shares have
/// one, if it fits.
pub(super) fn lay_out(section: &Section, rows: &[&Row], room: usize, intervals: bool, ascii: bool) -> Laid {
    let form = Form { intervals, ascii };
    let is_shown = |index: &usize| section.columns.get(*index).is_some_and(|column| column.shown);
    let key = section.name_column().filter(is_shown);
    let mut names = key.map(|key| texts(section, rows, (key, Part::Whole), false, form));
    let columns = (0..section.columns.len()).filter(|index| is_shown(index) && Some(*index) != key);
    let of_column = |index| cell::parts(rows, index).iter().map(move |part| (index, *part));
    let others: Vec<Shown> = columns.flat_map(of_column).collect();
    let before = others.iter().filter(|(index, _)| key.is_some_and(|key| *index < key)).count();
    let want = |least: usize| names.as_ref().map_or(0, |names| names.width().min(least));

    for (with, least) in [(true, KEY_ROOM[0]), (false, KEY_ROOM[1])] {
        let columns = all(section, rows, &others, with, form);
        let left = room.saturating_sub(total(&columns));
        if total(&columns) <= room && (names.is_none() || left >= want(least) + GAP) {
            let beside = names.map(|names| shortened(names, left.saturating_sub(GAP)));
            return draw(columns, beside, before, None, vec![]);
        }
    }
    let mut kept = others;
    let mut left_out: Vec<Shown> = Vec::new();
    loop {
        let with_intervals = all(section, rows, &kept, true, form);
        let columns = match total(&with_intervals) <= room {
            true => with_intervals,
            false => all(section, rows, &kept, false, form),
        };
        if total(&columns) <= room || kept.len() <= 1 {
            left_out.sort_by_key(|(index, _)| *index);
            let title = |(index, part)| Some(cell::title_of(section.columns.get(index)?, part));
            let has_lost = !left_out.is_empty();
            let left_out = left_out.into_iter().filter_map(title).collect();
            let is_room = |names: &Texts| has_lost && total(&columns) + GAP + names.width() <= room;
            if let Some(whole) = names.take_if(|names| is_room(names)) {
                return draw(columns, Some(whole), before, None, left_out);
            }
            let below = names.map(|names| shortened(names, room.saturating_sub(2 * GAP)));
            return draw(columns, None, 0, below, left_out);
        }
        if let Some(place) = least_used(section, &kept) {
            left_out.push(kept.remove(place));
        }
    }
}

/// The index in `kept` of the least important column; the last of several. Most important are the words before the name, rates, and
/// sizes; other columns are evidence for these.
fn least_used(section: &Section, kept: &[Shown]) -> Option<usize> {
    let key = section.name_column().unwrap_or_default();
    let rank = |index: usize| match section.columns.get(index) {
        Some(column) if cell::is_word(column) && index < key => 0,
        Some(column) if is_rate(column.unit) => 1,
        Some(column) if column.unit == Unit::Bytes => 2,
        _ => 3,
    };
    (0..kept.len()).max_by_key(|place| kept.get(*place).map(|(index, _)| rank(*index)))
}

/// Whether values of this unit are rates of growth or of use.
fn is_rate(unit: Unit) -> bool {
    matches!(unit, Unit::BytesPerHour | Unit::BytesPerSecond | Unit::NanosPerSecond)
}

fn all(section: &Section, rows: &[&Row], columns: &[Shown], with: bool, form: Form) -> Vec<Texts> {
    let interval = |index: usize| {
        with && (form.intervals
            || section.columns.get(index).is_some_and(|column| column.unit == Unit::Ratio))
    };
    columns.iter().map(|&shown| texts(section, rows, shown, interval(shown.0), form)).collect()
}

fn texts(section: &Section, rows: &[&Row], (index, part): Shown, interval: bool, form: Form) -> Texts {
    let names = section.name_column();
    let Some(column) = section.columns.get(index) else {
        return Texts { title: String::new(), cells: vec![], left: true };
    };
    let cells = rows.iter().map(|row| {
        let cell = row.cells.get(index);
        let text = cell.map(|value| cell::text_of(value, part, column.unit, interval)).unwrap_or_default();
        let text = form.spelled(text);
        if Some(index) == names { text } else { fit::name(&text, MAX_WORD) }
    });
    let title = fit::name(&form.spelled(cell::title_of(column, part)), MAX_WORD);
    Texts { title, cells: cells.collect(), left: cell::is_word(column) }
}

fn shortened(mut names: Texts, room: usize) -> Texts {
    for cell in &mut names.cells {
        *cell = fit::name(cell, room);
    }
    names.title = fit::name(&names.title, room);
    names
}

fn total(columns: &[Texts]) -> usize {
    columns.iter().map(|column| GAP + column.width()).sum()
}

fn draw(
    mut columns: Vec<Texts>,
    beside: Option<Texts>,
    at: usize,
    below: Option<Texts>,
    left_out: Vec<String>,
) -> Laid {
    if let Some(names) = beside {
        columns.insert(at.min(columns.len()), names);
    }
    let titles: Vec<Vec<String>> = columns.iter().map(Texts::header).collect();
    let height = titles.iter().map(Vec::len).max().unwrap_or(0);
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.load_style(comfy_table::presets::NOTHING);
    // Titles are aligned at the bottom: short ones get empty lines above.
    table.set_header(
        titles.iter().map(|title| ["\n".repeat(height - title.len()), title.join("\n")].concat()),
    );
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| column.cells.get(row).map_or("", String::as_str)));
    }
    for (texts, column) in columns.iter().zip(table.column_iter_mut()) {
        column.set_padding((GAP as u16, 0));
        column.set_cell_alignment(if texts.left { CellAlignment::Left } else { CellAlignment::Right });
    }
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    let mut header: Vec<String> = lines.by_ref().take(height).collect();
    let mut rows: Vec<Vec<String>> = lines.map(|line| vec![line]).collect();
    if let Some(names) = below {
        header.push(format!("{:indent$}{}", "", names.title, indent = 2 * GAP));
        for (row, name) in rows.iter_mut().zip(names.cells) {
            row.push(format!("{:indent$}{name}", "", indent = 2 * GAP));
        }
    }
    let marks = columns.iter().flat_map(|column| &column.cells).any(|cell| cell.starts_with('~'));
    Laid { header, rows, left_out, marks }
}

#[cfg(test)]
mod tests {
    use super::{Row, lay_out};
    use crate::report::sample;

    #[test]
    fn a_narrow_page_keeps_the_most_important_columns() {
        let report = sample::pong();
        let section = &report.sections[0];
        let rows: Vec<&Row> = section.rows.iter().collect();
        for (room, gone) in [
            (50, &["Freed late/h"][..]),
            (40, &["Live", "Survive 30m", "Freed late/h"]),
            (24, &["Live > 30m", "Live", "Survive 30m", "Freed late/h"]),
            (14, &["Live > 30m", "Live", "Survive 30m", "Freed late/h", "Growth/h"]),
        ] {
            let laid = lay_out(section, &rows, room, false, false);
            assert_eq!(laid.left_out, gone, "{room}");
            let header = laid.header.join(" ");
            assert!(header.contains("Verdict") && header.contains("Growth/h") == (room > 14), "{header}");
        }
    }
}
