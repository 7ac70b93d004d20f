//! Invariants of a report that its types do not express. They are checked whenever a report is read, because the file may
//! come from anybody.

use thiserror::Error;

use super::{Frame, Ledger, Report, Section, Value, identity::is_id};

/// An invariant that a report breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Defect {
    /// The report has no finding.
    #[error("there is no finding")]
    NoFinding,
    /// A row has more or fewer cells than the table has columns.
    #[error("section {section}, row {row}: {cells} cells for {columns} columns")]
    Ragged {
        /// Index of the section.
        section: usize,
        /// Index of the row.
        row: usize,
        /// Number of its cells.
        cells: usize,
        /// Number of the columns of the table.
        columns: usize,
    },
    /// An index points to something that does not exist.
    #[error("{0} refers to a {1} that does not exist")]
    Dangling(String, &'static str),
    /// A number is infinite, not a number, or outside its interval.
    #[error("{0} is not a finite number inside its interval")]
    NotANumber(String),
    /// Two rows of a section have the same key.
    #[error("section {section}: rows {first} and {second} are two rows with one key")]
    OneKey {
        /// Index of the section.
        section: usize,
        /// Index of the first of the rows.
        first: usize,
        /// Index of the second.
        second: usize,
    },
    /// A stack has no id or no key, or one that is not 16 hex digits.
    #[error("stack {0} has no valid id and key")]
    NoId(usize),
    /// The hits of a ledger are not the sum of their outcomes.
    #[error("the ledger of probe {0} does not add up: hits = outcomes + unaccounted does not hold")]
    Ledger(usize),
    /// The walks do not add up to those that were complete and those that were cut.
    #[error("the walks of stacks do not add up: all = complete + cut does not hold")]
    Walks,
    /// The report is marked complete and gives a reason why it is not.
    #[error("it is marked complete and says why it is not")]
    NotComplete,
    /// A frame has functions and a reason for having none.
    #[error("frame {0} has a name and a reason for having none")]
    Frame(usize),
}

impl Report {
    /// Checks all invariants that the types do not express.
    pub fn check(&self) -> Result<(), Defect> {
        if self.findings.is_empty() {
            return Err(Defect::NoFinding);
        }
        for (index, section) in self.sections.iter().enumerate() {
            self.check_section(index, section)?;
        }
        for (index, stack) in self.stacks.iter().enumerate() {
            if stack.frames.iter().any(|&frame| frame >= self.frames.len()) {
                return Err(Defect::Dangling(format!("stack {index}"), "frame"));
            }
            if !is_id(&stack.id) || !is_id(&stack.key) {
                return Err(Defect::NoId(index));
            }
        }
        for (index, finding) in self.findings.iter().enumerate() {
            if finding.rows.iter().any(|&at| self.row(at).is_none()) {
                return Err(Defect::Dangling(format!("finding {index}"), "row"));
            }
            if let Some(evidence) = finding.evidence.iter().position(|of| !is_sound(&of.value)) {
                return Err(Defect::NotANumber(format!("finding {index}, evidence {evidence}")));
            }
        }
        let contradicts = |frame: &Frame| !frame.functions.is_empty() && frame.unresolved.is_some();
        if let Some(index) = self.frames.iter().position(contradicts) {
            return Err(Defect::Frame(index));
        }
        let coverage = &self.coverage;
        if let Some(index) = coverage.ledger.iter().position(|ledger| !adds_up(ledger)) {
            return Err(Defect::Ledger(index));
        }
        if coverage.walks.as_ref().is_some_and(|walks| !walks.adds_up()) {
            return Err(Defect::Walks);
        }
        if coverage.complete && !coverage.incomplete_because.is_empty() {
            return Err(Defect::NotComplete);
        }
        self.check_numbers()
    }

    /// Mends what would make readers refuse the report, so that a defect of profiler does not cost the user all of it: invalid values
    /// (NaN, infinity) become [`Value::Unknown`], and rows with the same key get different ones.
    /// [`Value::estimate`] and [`Section::number_rows`] prevent both in the first place.
    pub(crate) fn mend(&mut self) {
        let cells =
            self.sections.iter_mut().flat_map(|section| &mut section.rows).flat_map(|row| &mut row.cells);
        let evidence = self.findings.iter_mut().flat_map(|of| &mut of.evidence).map(|of| &mut of.value);
        for cell in cells.chain(evidence).filter(|cell| !is_sound(cell)) {
            *cell = Value::Unknown("the value was not valid, which is a defect of profiler".to_owned());
        }
        self.tell_rows_apart();
    }

    /// Adds a key column to sections in which rows have the same key.
    pub(super) fn tell_rows_apart(&mut self) {
        for section in self.sections.iter_mut().filter(|section| section.rows_with_one_key().is_some()) {
            section.number_rows();
        }
    }

    fn check_section(&self, index: usize, section: &Section) -> Result<(), Defect> {
        let columns = section.columns.len();
        for (row_index, row) in section.rows.iter().enumerate() {
            let place = || format!("section {index}, row {row_index}");
            if row.cells.len() != columns {
                return Err(Defect::Ragged {
                    section: index,
                    row: row_index,
                    cells: row.cells.len(),
                    columns,
                });
            }
            if row.stacks.iter().any(|of| of.stack >= self.stacks.len()) {
                return Err(Defect::Dangling(place(), "stack"));
            }
            if let Some(cell) = row.cells.iter().position(|value| !is_sound(value)) {
                return Err(Defect::NotANumber(format!("{}, cell {cell}", place())));
            }
        }
        if let Some((first, second)) = section.rows_with_one_key() {
            return Err(Defect::OneKey { section: index, first, second });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Defect> {
        let cost = &self.meta.cost;
        for (name, number) in [
            ("hits_per_s", cost.hits_per_s),
            ("busiest_thread_share", cost.busiest_thread_share),
            ("worst_second_share", cost.worst_second_share),
            ("taken_share", cost.taken_share),
            ("predicted_share", cost.predicted_share),
            ("bpf_ns_per_hit", cost.bpf_ns_per_hit),
            ("trap_ns_per_hit", cost.trap_ns_per_hit),
            ("cold_share", cost.cold_share),
            ("call_ns", cost.call_ns),
            ("own_cpu_share", cost.own_cpu_share),
        ] {
            if number.is_some_and(|number| !number.is_finite() || number < 0.0) {
                return Err(Defect::NotANumber(name.to_owned()));
            }
        }
        Ok(())
    }
}

fn is_sound(value: &Value) -> bool {
    match value {
        Value::Estimate { value, low, high } => {
            value.is_finite()
                && low.is_finite()
                && low <= value
                && high.is_none_or(|high| high.is_finite() && *value <= high)
        }
        Value::Histogram(histogram) => histogram.check().is_ok(),
        Value::Series(series) => series.step_ns > 0 && series.values.iter().flatten().all(|n| n.is_finite()),
        Value::Unknown(_) | Value::Word(_) | Value::Name(_) | Value::Exact(_) => true,
    }
}

fn adds_up(ledger: &Ledger) -> bool {
    let outcomes: i128 = ledger.outcomes.iter().map(|outcome| i128::from(outcome.count)).sum();
    i128::from(ledger.hits) == outcomes + i128::from(ledger.unaccounted)
}
