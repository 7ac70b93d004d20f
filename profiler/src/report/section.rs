//! Tables whose columns declare their name, unit and role.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Severity;
use crate::stats::Histogram;
use crate::text::Text;

/// One table of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Section {
    /// Stable name for programs.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// All rows, the most important first. Renderers apply limits such as `--top`.
    pub rows: Vec<Row>,
    /// Remarks below the table.
    pub notes: Vec<String>,
    /// Whether it is the detail of another section. Human output shows it only with `--verbose`.
    #[serde(default)]
    pub detail: bool,
    /// The last rows, if human output shows them as one line.
    #[serde(default)]
    pub folded: Option<Folded>,
}

/// Rows that human output shows as one line together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Folded {
    /// Index of the first of them; all later rows belong to them.
    pub from_row: usize,
    /// The line.
    pub text: String,
}

/// A column as the tools write it down: its stable name, its title, its unit, its role, and whether it is shown to people.
pub(crate) type ColumnSpec = (&'static str, &'static str, Unit, Role, bool);

/// The columns of whose a row is: the process, and which of its programs, if it has executed several in turn.
pub(crate) const WHOSE: [ColumnSpec; 2] =
    [("pid", "PID", Unit::None, Role::Key, true), ("program", "Program", Unit::Count, Role::Key, false)];

impl Section {
    /// A table without remarks, which is no detail of another.
    pub(crate) fn new(name: &str, title: &str, columns: Vec<Column>, rows: Vec<Row>) -> Section {
        Section {
            name: name.to_owned(),
            title: title.to_owned(),
            columns,
            rows,
            notes: Vec::new(),
            detail: false,
            folded: None,
        }
    }

    /// Index of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Index of the column with the names of the rows: the shown column with [`Role::Name`], else the last shown key, else the
    /// last key.
    pub(crate) fn name_column(&self) -> Option<usize> {
        let last = |is: &dyn Fn(&Column) -> bool| self.columns.iter().rposition(is);
        last(&|column| column.shown && column.role == Role::Name)
            .or_else(|| last(&|column| column.shown && column.role == Role::Key))
            .or_else(|| last(&|column| column.role == Role::Key))
    }

    /// The cells that identify a row.
    pub fn key<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (&'a Column, &'a Value)> {
        self.columns.iter().zip(&row.cells).filter(|(column, _)| column.role == Role::Key)
    }

    /// The first two rows with the same key.
    pub(super) fn rows_with_one_key(&self) -> Option<(usize, usize)> {
        let mut seen = HashMap::new();
        let keys = self.rows.iter().map(|row| self.key_text(row)).enumerate();
        keys.into_iter().find_map(|(index, key)| seen.insert(key, index).map(|first| (first, index)))
    }

    /// Appends a hidden key column `nth`: 0 for the first row with its key, 1 for the second row with the same key, and so on. For
    /// tables in which rows can have the same key otherwise.
    pub fn number_rows(&mut self) {
        let mut seen: HashMap<String, u64> = HashMap::new();
        let numbers: Vec<u64> = self
            .rows
            .iter()
            .map(|row| {
                let next = seen.entry(self.key_text(row)).or_default();
                let number = *next;
                *next += 1;
                number
            })
            .collect();
        self.columns.push(Column {
            name: "nth".to_owned(),
            title: "Nth of the same".to_owned(),
            unit: Unit::Count,
            role: Role::Key,
            shown: false,
            form: Some(Form::Single),
        });
        for (row, number) in self.rows.iter_mut().zip(numbers) {
            row.cells.push(Value::Exact(number));
        }
    }

    /// The key cells as one text, for comparing.
    fn key_text(&self, row: &Row) -> String {
        self.key(row).map(|(_, value)| format!("{value:?};")).collect()
    }

    /// Index of the column that links rows of this detail section to rows of `other`. Its name is that of the other section in
    /// the singular, such as `site` for `sites`. `None` if this is not its detail section.
    pub(crate) fn column_of(&self, other: &Section) -> Option<usize> {
        self.column(other.name.strip_suffix('s')?).filter(|_| self.detail)
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Column {
    /// Stable name for programs, with the unit at its end.
    pub name: String,
    /// Short title for people; the unit comes from `unit`.
    pub title: String,
    /// Unit of the values.
    pub unit: Unit,
    /// How the values are used.
    pub role: Role,
    /// Whether human output shows it.
    pub shown: bool,
    /// What its known values are, if the tool says so; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// What the known values of a column are. Comma-separated values get their fields from it, so that these do not depend on the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Form {
    /// One number, word, name or series, which is certain.
    Single,
    /// A number that may be an estimate, with its interval.
    Interval,
    /// A histogram.
    Histogram,
}

impl Column {
    /// The column of a [`ColumnSpec`].
    pub(crate) fn of(&(name, title, unit, role, shown): &ColumnSpec, form: Form) -> Column {
        Column { name: name.to_owned(), title: title.to_owned(), unit, role, shown, form: Some(form) }
    }

    /// The title in human output, with the unit if the values are shown without it.
    pub(crate) fn shown_title(&self) -> String {
        let unit = match self.unit {
            Unit::BytesPerHour | Unit::PerHour => "/h",
            Unit::BytesPerSecond | Unit::PerSecond | Unit::NanosPerSecond => "/s",
            _ => "",
        };
        let title = self.title.as_str();
        if title.ends_with(unit) { title.to_owned() } else { format!("{title}{unit}") }
    }
}

/// Unit of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// No unit: words, or numbers that identify something, such as process ids.
    None,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Bytes per hour.
    BytesPerHour,
    /// Nanoseconds.
    Nanos,
    /// Nanoseconds per second. 10^9 is one thread all the time.
    NanosPerSecond,
    /// Events per second.
    PerSecond,
    /// Events per hour.
    PerHour,
    /// A fraction of 1.
    Ratio,
}

/// How a column is used when reports are compared, merged, exported or shown live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Identifies the row, together with the other keys. No two rows of a section have the same keys.
    Key,
    /// Name of the row in human output. Unlike a key, it may depend on which other rows there are.
    Name,
    /// Adds up over rows and time.
    Sum,
    /// The largest value is the total.
    Max,
    /// A state at one moment, or a rate.
    Gauge,
    /// A word about the row.
    Label,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Row {
    /// One value per column.
    pub cells: Vec<Value>,
    /// The call stacks of the row, at most one for each role.
    pub stacks: Vec<StackRef>,
    /// How bad the row is; absent if it is neither good nor bad.
    pub severity: Option<Severity>,
}

impl Row {
    /// The user stack of the row, or else its first stack, as an index into [`Report::stacks`](super::Report::stacks).
    pub fn stack(&self) -> Option<usize> {
        self.stack_of_role(StackRole::User).or_else(|| Some(self.stacks.first()?.stack))
    }

    /// The stack in this role, as an index into [`Report::stacks`](super::Report::stacks).
    pub fn stack_of_role(&self, role: StackRole) -> Option<usize> {
        self.stacks.iter().find(|of| of.role == role).map(|of| of.stack)
    }
}

/// A call stack of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StackRef {
    /// Whose stack it is.
    pub role: StackRole,
    /// Index into [`Report::stacks`](super::Report::stacks).
    pub stack: usize,
}

impl StackRef {
    /// The list with this user stack; empty if there is none.
    pub fn user(stack: Option<usize>) -> Vec<StackRef> {
        stack.map(|stack| StackRef { role: StackRole::User, stack }).into_iter().collect()
    }
}

/// What a call stack is to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StackRole {
    /// The user stack of the thread that the row is about.
    User,
    /// The kernel stack of that thread.
    Kernel,
    /// The stack of the thread that woke it.
    Waker,
    /// The stack of the thread that held what it waited for.
    Holder,
}

impl StackRole {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            StackRole::User => "user",
            StackRole::Kernel => "kernel",
            StackRole::Waker => "waker",
            StackRole::Holder => "holder",
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not available, and why.
    Unknown(String),
    /// A word of profiler's own.
    Word(String),
    /// A name from the target.
    Name(Text),
    /// An exact whole number.
    Exact(u64),
    /// An estimate with its 95 % interval. [`Value::estimate`] makes it, and [`Value::known`] one that is certain.
    Estimate {
        /// Best value.
        value: f64,
        /// Lower end.
        low: f64,
        /// Upper end; absent if unbounded.
        high: Option<f64>,
    },
    /// The distribution of values in the unit of the column. Renderers derive quantiles from it.
    Histogram(Histogram),
    /// Values over time.
    Series(Series),
}

/// One value for each of several intervals of equal length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Series {
    /// What is measured.
    pub name: String,
    /// Unit of the values.
    pub unit: Unit,
    /// Beginning of the first interval, in nanoseconds from the start of the observation.
    pub start_ns: u64,
    /// Length of an interval in nanoseconds; not 0.
    pub step_ns: u64,
    /// One value per interval; null where it is not known.
    pub values: Vec<Option<f64>>,
}

impl Series {
    /// The largest value that is known.
    pub fn max(&self) -> Option<f64> {
        self.values.iter().flatten().copied().reduce(f64::max)
    }

    /// The last value that is known.
    pub fn last(&self) -> Option<f64> {
        self.values.iter().rev().flatten().next().copied()
    }
}

impl Value {
    /// A length of time, in nanoseconds.
    pub fn nanos(length: std::time::Duration) -> Value {
        Value::Exact(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Makes an estimate with its interval; `high` is absent if there is no upper bound.
    ///
    /// NaN, infinity, and a value outside its interval become [`Value::Unknown`], because JSON cannot hold the first two and one bad
    /// number must not cost the user the whole report.
    pub fn estimate(value: f64, low: f64, high: Option<f64>) -> Value {
        let high = high.filter(|high| *high != f64::INFINITY);
        if value.is_finite() && low <= value && low.is_finite() && high.is_none_or(|high| value <= high) {
            Value::Estimate { value, low, high }
        } else {
            Value::Unknown("not enough data for an estimate".to_owned())
        }
    }

    /// A number that is known and not whole, such as a share of things that were all counted: its interval is the number itself.
    pub fn known(value: f64) -> Value {
        Value::estimate(value, value, Some(value))
    }

    /// Whether it is an estimate: a number that may be another one. Those of [`Value::known`] may not.
    pub fn is_estimated(&self) -> bool {
        matches!(self, Value::Estimate { low, high, .. } if Some(*low) != *high)
    }

    /// The number, if the value is an exact or estimated number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Exact(number) => Some(*number as f64),
            Value::Estimate { value, .. } => Some(*value),
            Value::Unknown(_) | Value::Word(_) | Value::Name(_) | Value::Histogram(_) | Value::Series(_) => {
                None
            }
        }
    }
}
