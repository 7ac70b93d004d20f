//! The report: all results of an observation in one value, from which every output format is made.
//!
//! No type here is specific to a tool. Sections declare the unit and the role of each column, so renderers, exporters and comparisons
//! also work for new tools. `schema/report.schema.json` is the published schema.

use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;

mod check;
mod coverage;
mod file;
mod finding;
pub(crate) mod identity;
mod meta;
mod names;
#[cfg(test)]
pub(crate) mod sample;
mod scan;
#[cfg(test)]
mod schema;
mod section;
mod select;
mod source;
mod stack;
mod summary;
mod upgrade;
mod walks;

pub use self::check::Defect;
pub use self::coverage::{Coverage, Ledger, Outcome, OutcomeClass};
pub use self::file::{MAX_FILE_BYTES, read};
pub use self::finding::{Evidence, Finding, Phrase, RowRef, Severity};
pub use self::meta::{Cost, Ended, Meta, Probed, THREADS_THAT_ENDED, Target};
pub use self::names::FileNames;
pub use self::section::{Column, Folded, Form, Role, Row, Section, Series, StackRef, StackRole, Unit, Value};
pub(crate) use self::section::{ColumnSpec, WHOSE};
pub use self::select::Selection;
pub use self::source::{FileId, Source};
pub use self::stack::{Frame, Frames, Function, Made, Stack};
pub(crate) use self::summary::Site;
pub use self::summary::Summary;
pub use self::walks::{Complete, Cut, EndedIn, Unnamed, WalkMethod, Walks};

/// Version of the report format. It stays the same when a field is added, and is raised when one is removed or changes its meaning.
pub const SCHEMA: u32 = 2;

/// The oldest version that can be read.
const OLDEST_SCHEMA: u32 = 1;

/// One observation: what was observed, what was found, and how far the results can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// Version of this format.
    pub schema: u32,
    /// What was observed, where, when, and what it cost.
    pub meta: Meta,
    /// The answer in one object, for scripts. [`Report::sum_up`] derives it from the findings and their rows.
    #[serde(default)]
    pub verdict: Summary,
    /// The answer: one sentence per finding, the most important first. Never empty.
    pub findings: Vec<Finding>,
    /// Tables with the evidence.
    pub sections: Vec<Section>,
    /// The call stacks that rows refer to by index.
    pub stacks: Vec<Stack>,
    /// The frames that stacks refer to by index.
    pub frames: Vec<Frame>,
    /// How every hit ended, and how good the stacks and names are.
    pub coverage: Coverage,
}

impl Report {
    /// The row that a finding is based on; `None` if the index is out of range, which [`Report::check`] reports.
    pub fn row(&self, at: RowRef) -> Option<&Row> {
        self.sections.get(at.section)?.rows.get(at.row)
    }

    /// The detail rows of a row, with their sections: the rows whose link column (`column_of`) contains the index of this row.
    pub fn details(&self, at: RowRef) -> Vec<(&Section, &Row)> {
        let Some(section) = self.sections.get(at.section) else { return Vec::new() };
        let details = self.sections.iter().filter_map(|detail| Some((detail, detail.column_of(section)?)));
        let behind = details.flat_map(|(detail, column)| {
            let is_behind = move |row: &&Row| row.cells.get(column) == Some(&Value::Exact(at.row as u64));
            detail.rows.iter().filter(is_behind).map(move |row| (detail, row))
        });
        behind.collect()
    }

    /// Rows of detail sections that have all keys of a row and more: parts of what it stands for.
    pub(crate) fn with_keys_of(&self, at: RowRef) -> Vec<(&Section, &Row)> {
        let (Some(section), Some(row)) = (self.sections.get(at.section), self.row(at)) else {
            return Vec::new();
        };
        let keys: Vec<(&str, &Value)> =
            section.key(row).map(|(column, value)| (column.name.as_str(), value)).collect();
        let has_them = |detail: &Section, of: &Row| {
            let own: Vec<(&str, &Value)> =
                detail.key(of).map(|(column, value)| (column.name.as_str(), value)).collect();
            own.len() > keys.len() && keys.iter().all(|key| own.contains(key))
        };
        let details = self.sections.iter().filter(|detail| detail.detail);
        let rows = details.flat_map(|detail| detail.rows.iter().map(move |row| (detail, row)));
        rows.filter(|(detail, row)| has_them(detail, row)).collect()
    }

    /// The frames of a stack, innermost first. Indices out of range, which [`Report::check`] reports, are skipped.
    pub fn frames_of<'a>(&'a self, stack: &'a Stack) -> impl DoubleEndedIterator<Item = &'a Frame> + 'a {
        stack.frames.iter().filter_map(|&index| self.frames.get(index))
    }

    /// The exit code that follows from the report alone: whether the safety guard stopped the observation, whether a probe killed
    /// a target, and whether the data are complete.
    pub fn exit_code(&self) -> ExitCode {
        let stopped = self.meta.ended == Ended::StoppedByGuard;
        if stopped || self.meta.targets.iter().any(Target::died_of_breakpoint) {
            return ExitCode::SafetyStop;
        }
        if self.coverage.complete { ExitCode::Ok } else { ExitCode::Incomplete }
    }

    /// The call stack of a row for formats that show one: the user stack, or else the first.
    pub fn stack_of(&self, row: &Row) -> Option<&Stack> {
        self.stacks.get(row.stack()?)
    }
}
