//! Selects and sorts the rows of a report.

mod sort;

use std::collections::HashMap;

use self::sort::{by, order, title};
use super::{Phrase, Report, Row, RowRef, Section, Severity, Unit, Value};
use crate::{
    error::{Error, ErrorKind, Result},
    text::{Pattern, Text},
    units,
};

/// Which rows to keep, and in which order. By default all rows are kept in their order. Tables without call stacks keep all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Name of the only section to keep; `None` keeps all.
    pub section: Option<String>,
    /// Keeps rows of which the name, or a function or file of the stack, matches ([`Pattern::anywhere`]).
    pub matching: Option<String>,
    /// Name or title of the column to sort by, or the heading of a part of a histogram such as `Took p99`: numbers in descending
    /// order, words in alphabetical order.
    pub sort: Option<String>,
    /// Drops rows of which no shown size has at least this many bytes, except problems.
    pub min_bytes: u64,
}

impl Selection {
    /// The options that drop rows, as the user types them.
    fn asked(&self) -> String {
        let asked = [
            self.matching.as_ref().map(|pattern| format!("--match '{pattern}'")),
            (self.min_bytes > 0).then(|| format!("--min-bytes {}", units::exact_bytes(self.min_bytes))),
        ];
        asked.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Report {
    /// Keeps the selected rows, and adds a note to each section that had more. Stacks and frames stay.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is no such section, or no section has the column, or none has sizes and some are asked for.
    pub fn select(&mut self, wanted: &Selection) -> Result<()> {
        if let Some(name) = &wanted.section {
            self.keep_section(name)?;
        }
        if let Some(column) = &wanted.sort {
            self.require_column(column)?;
        }
        if wanted.min_bytes > 0 && !self.sections.iter().any(has_sizes) {
            return Err(Error::new(ErrorKind::Usage, "tried to leave out small rows (--min-bytes)")
                .because("no table has a column of bytes")
                .hint("leave it out"));
        }
        let pattern = wanted.matching.as_deref().map(Pattern::anywhere);
        let mut some_are_left_out = false;
        for index in 0..self.sections.len() {
            let Some(section) = self.sections.get(index) else { break };
            // A table without stacks adds up to a whole, so it needs all rows.
            let is_account = section.rows.iter().all(|row| row.stacks.is_empty());
            let rows = section.rows.iter().enumerate();
            let mut kept: Vec<usize> = rows
                .filter(|(_, row)| {
                    is_account || pattern.as_ref().is_none_or(|pattern| self.fits(section, row, pattern))
                })
                .filter(|(_, row)| is_account || !has_sizes(section) || holds(section, row, wanted.min_bytes))
                .map(|(index, _)| index)
                .collect();
            let sorted_by = wanted.sort.as_deref().and_then(|name| by(section, name));
            if let Some(by) = &sorted_by {
                kept.sort_by(|a, b| order(&section.rows, *a, *b, by));
            }
            some_are_left_out |= kept.len() < section.rows.len();
            self.keep(index, &kept, wanted);
            if let (Some(by), Some(section)) = (sorted_by, self.sections.get_mut(index)) {
                section.title = title(&section.title, &by.heading(section));
            }
        }
        if some_are_left_out {
            self.say_what_it_is_about(wanted);
        }
        Ok(())
    }

    /// Keeps one section. Findings keep those of their rows that are in it.
    fn keep_section(&mut self, name: &str) -> Result<()> {
        let Some(kept) = self.sections.iter().position(|section| section.name == name) else {
            let names: Vec<&str> = self.sections.iter().map(|section| section.name.as_str()).collect();
            return Err(Error::on(ErrorKind::Usage, "tried to show the section", name)
                .because("there is none of this name")
                .hint(format_args!("the sections are {}", names.join(", "))));
        };
        // Without its parent it is not a detail, and human output must show it.
        let section = Section { detail: false, ..self.sections.swap_remove(kept) };
        self.sections = vec![section];
        for rows in self.findings.iter_mut().map(|finding| &mut finding.rows) {
            rows.retain(|at| at.section == kept);
            rows.iter_mut().for_each(|at| at.section = 0);
        }
        Ok(())
    }

    /// Says in the answer that it is about all rows.
    fn say_what_it_is_about(&mut self, wanted: &Selection) {
        if let Some(answer) = self.findings.first_mut() {
            let words = format!(" This is about the whole report, not only about {}.", wanted.asked());
            answer.sentence.push(Phrase::Plain(words));
        }
        self.sum_up();
    }

    fn require_column(&self, name: &str) -> Result<()> {
        if self.sections.iter().any(|section| by(section, name).is_some()) {
            return Ok(());
        }
        let mut names: Vec<String> = Vec::new();
        for section in &self.sections {
            for (place, column) in section.columns.iter().enumerate() {
                let name = format!("{}{}", column.name, sort::parts(section, place));
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Err(Error::on(ErrorKind::Usage, "tried to sort by the column", name)
            .because("there is none of this name")
            .hint(format_args!("the columns are {}", names.join(", "))))
    }

    fn fits(&self, section: &Section, row: &Row, pattern: &Pattern) -> bool {
        let is = |text: &Text| pattern.fits(&text.terminal());
        let named = section.columns.iter().zip(&row.cells).any(|(_, value)| match value {
            Value::Name(name) => is(name),
            _ => false,
        });
        let mut frames = self.stack_of(row).into_iter().flat_map(|stack| self.frames_of(stack));
        named
            || frames.any(|frame| {
                frame
                    .functions
                    .iter()
                    .any(|function| is(&function.name) || function.file.as_ref().is_some_and(is))
                    || frame.module.as_ref().is_some_and(is)
            })
    }

    /// Keeps these rows of a section, in this order. Findings keep those of their rows that are left.
    fn keep(&mut self, index: usize, kept: &[usize], wanted: &Selection) {
        let Some(section) = self.sections.get_mut(index) else { return };
        let all = section.rows.len();
        // If rows were dropped or moved, the folded rows are no longer the last ones.
        section.folded = section.folded.take().filter(|_| kept.iter().copied().eq(0..all));
        section.rows = kept.iter().filter_map(|row| section.rows.get(*row).cloned()).collect();
        if kept.len() < all {
            section.notes.push(format!("{} of {all} rows: {}", kept.len(), wanted.asked()));
        }
        let places: HashMap<usize, usize> =
            kept.iter().enumerate().map(|(place, row)| (*row, place)).collect();
        self.move_references(index, &places);
        for finding in &mut self.findings {
            let moved = |of: &RowRef| match of.section == index {
                true => Some(RowRef { row: *places.get(&of.row)?, ..*of }),
                false => Some(*of),
            };
            finding.rows = finding.rows.iter().filter_map(moved).collect();
        }
    }

    /// Updates the links of detail rows to the rows of this section.
    fn move_references(&mut self, index: usize, places: &HashMap<usize, usize>) {
        let Some(section) = self.sections.get(index) else { return };
        let columns: Vec<_> = self.sections.iter().map(|detail| detail.column_of(section)).collect();
        for (detail, column) in self.sections.iter_mut().zip(columns) {
            let Some(column) = column else { continue };
            for cell in detail.rows.iter_mut().filter_map(|row| row.cells.get_mut(column)) {
                let Value::Exact(row) = cell else { continue };
                let moved = usize::try_from(*row).ok().and_then(|row| places.get(&row));
                *cell = match moved {
                    Some(place) => Value::Exact(*place as u64),
                    None => Value::Unknown("its row was not selected".to_owned()),
                };
            }
        }
    }
}

/// Whether people see sizes in a table.
fn has_sizes(section: &Section) -> bool {
    section.columns.iter().any(|column| column.shown && column.unit == Unit::Bytes)
}

fn holds(section: &Section, row: &Row, bytes: u64) -> bool {
    let mut sizes = section.columns.iter().zip(&row.cells).filter(|(c, _)| c.shown && c.unit == Unit::Bytes);
    bytes == 0
        || row.severity == Some(Severity::Problem)
        || sizes.any(|(_, value)| value.number().is_some_and(|size| size >= bytes as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn functions(report: &Report) -> Vec<String> {
        let name = |row: &Row| match &row.cells[1] {
            Value::Name(name) => name.terminal(),
            other => panic!("{other:?}"),
        };
        report.sections[0].rows.iter().map(name).collect()
    }

    fn selected(wanted: Selection) -> Report {
        let mut report = sample::pong();
        report.select(&wanted).unwrap();
        assert_eq!(report.check(), Ok(()));
        report
    }

    fn matching(pattern: &str) -> Vec<String> {
        functions(&selected(Selection { matching: Some(pattern.into()), ..Selection::default() }))
    }

    #[test]
    fn a_pattern_fits_the_name_of_the_row_or_of_any_frame_or_file() {
        assert_eq!(matching("history"), ["chat::History::push"]);
        assert_eq!(matching("room::*tick"), ["chat::History::push"]);
        assert_eq!(matching("net::accept"), ["player::Session::new"]);
        assert_eq!(matching("LIBFOO"), ["asset::TextureCache::insert"]);
        assert_eq!(matching("").len(), 3);
        assert_eq!(matching("[c]hat").len(), 0);
    }

    #[test]
    fn numbers_are_sorted_in_descending_order_and_unknown_values_come_last() {
        let by = |column: &str| {
            functions(&selected(Selection { sort: Some(column.into()), ..Selection::default() }))
        };
        let [chat, asset, player] =
            ["chat::History::push", "asset::TextureCache::insert", "player::Session::new"];
        assert_eq!(by("hazard_per_hour"), [asset, player, chat]);
        assert_eq!(by("live > 30m"), [chat, player, asset]);
        for growth in ["growth_bytes_per_hour", "Growth", "Growth/h", "growth/h"] {
            assert_eq!(by(growth), [chat, player, asset], "{growth}");
        }
        assert_eq!(by("Live >  30m"), [chat, player, asset]);
        assert_eq!(by("function"), [asset, chat, player]);
        let error = sample::pong().select(&Selection { sort: Some("size".into()), ..Selection::default() });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.advice().unwrap().starts_with("the columns are verdict, function, old_bytes"));
        let mut twice = sample::pong();
        twice.sections.push(twice.sections[0].clone());
        let hint =
            twice.select(&Selection { sort: Some("size".into()), ..Selection::default() }).unwrap_err();
        assert_eq!(hint.advice(), error.advice(), "each name once");
    }

    #[test]
    fn rows_without_sizes_are_not_chosen_by_size() {
        let mut report = sample::timed();
        let wanted = Selection { min_bytes: 1, ..Selection::default() };
        let error = report.select(&wanted).unwrap_err();
        assert_eq!((error.kind(), report.sections[0].rows.len()), (ErrorKind::Usage, 2));
        assert!(error.to_string().contains("no table has a column of bytes"), "{error}");
        report.sections.push(sample::pong().sections[0].clone());
        report.select(&wanted).unwrap();
        assert_eq!(report.sections[0].rows.len(), 2, "a table without sizes stays whole");
    }

    #[test]
    fn small_rows_are_dropped_with_a_note_unless_they_are_problems() {
        let report = selected(Selection { min_bytes: 1 << 40, ..Selection::default() });
        assert_eq!(functions(&report), ["chat::History::push"]);
        assert_eq!(report.sections[0].notes.last().unwrap(), "1 of 3 rows: --min-bytes 1TiB");
        assert_eq!(
            selected(Selection { min_bytes: 137 << 20, ..Selection::default() }).sections[0].rows.len(),
            3
        );
        let all = selected(Selection::default());
        assert_eq!(all, sample::pong());
    }

    #[test]
    fn a_section_is_left_alone_with_the_findings_about_its_rows() {
        let only = |name: &str| {
            let mut report = sample::grouped();
            report.findings[1].rows = vec![RowRef { section: 1, row: 2 }];
            report.select(&Selection { section: Some(name.into()), ..Selection::default() }).map(|()| report)
        };
        let report = only("stacks").unwrap();
        assert_eq!(report.check(), Ok(()));
        assert_eq!((report.sections.len(), report.sections[0].name.as_str()), (1, "stacks"));
        assert!(!report.sections[0].detail, "people see it");
        assert_eq!(report.findings[0].rows, []);
        assert_eq!(report.findings[1].rows, [RowRef { section: 0, row: 2 }]);
        assert_eq!(only("sites").unwrap().findings[0].rows.len(), 2);
        assert_eq!(only("site").unwrap_err().advice(), Some("the sections are sites, stacks"));
    }

    #[test]
    fn a_table_without_stacks_stays_whole() {
        let mut report = sample::pong();
        let mut account = report.sections[0].clone();
        account.rows.iter_mut().for_each(|row| row.stacks.clear());
        report.sections.push(account);
        let wanted =
            Selection { matching: Some("history".into()), min_bytes: 1 << 40, ..Selection::default() };
        report.select(&wanted).unwrap();
        let rows: Vec<usize> = report.sections.iter().map(|section| section.rows.len()).collect();
        assert_eq!(rows, [1, 3]);
    }

    #[test]
    fn findings_keep_their_rows() {
        let mut report = sample::pong();
        report.findings[0].rows = vec![RowRef { section: 0, row: 2 }, RowRef { section: 0, row: 0 }];
        let by_hazard = Selection { sort: Some("hazard_per_hour".into()), ..Selection::default() };
        report.select(&by_hazard).unwrap();
        assert_eq!(report.findings[0].rows, [RowRef { section: 0, row: 0 }, RowRef { section: 0, row: 2 }]);
        report.select(&Selection { matching: Some("chat".into()), ..Selection::default() }).unwrap();
        assert_eq!(report.findings[0].rows, [RowRef { section: 0, row: 0 }]);
    }
    #[test]
    fn detail_rows_keep_their_links() {
        let mut report = sample::grouped();
        report.sections[0].rows.swap(0, 1);
        for cell in report.sections[1].rows.iter_mut().filter_map(|row| row.cells.last_mut()) {
            *cell = Value::Exact(1 - cell.number().unwrap() as u64);
        }
        let before = report.clone();
        report.select(&Selection { matching: Some("what it calls".into()), ..Selection::default() }).unwrap();
        assert_eq!(functions(&report), ["room::Room::tick and what it calls"]);
        let all = |report: &Report, row| report.details(RowRef { section: 0, row }).len();
        assert_eq!((all(&before, 0), all(&before, 1)), (1, 3));
        assert_eq!(all(&report, 0), 0, "no stack has this in a name");
        let mut report = before;
        report.select(&Selection { sort: Some("live_bytes".into()), ..Selection::default() }).unwrap();
        assert_eq!((all(&report, 0), all(&report, 1)), (3, 1));
    }

    #[test]
    fn the_answer_says_that_it_is_about_all_rows_if_some_are_dropped() {
        let said = |wanted: Selection| selected(wanted).findings[0].text.clone();
        let whole = sample::pong().findings[0].text.clone();
        let matching = |pattern: &str| Selection { matching: Some(pattern.into()), ..Selection::default() };
        assert_eq!(
            said(matching("net::accept")),
            format!("{whole} This is about the whole report, not only about --match 'net::accept'.")
        );
        assert_eq!(said(Selection::default()), whole);
        assert_eq!(said(matching("")), whole, "nothing is left out");
        assert_eq!(said(Selection { sort: Some("live_bytes".into()), ..Selection::default() }), whole);
    }
}
