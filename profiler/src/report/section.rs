//! Tables of evidence that explain themselves: every column declares name, unit and role.

use serde::{Deserialize, Serialize};

use super::Severity;
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
    /// The rows, the most important first. Complete: limits such as `--top` are applied by renderers.
    pub rows: Vec<Row>,
    /// Remarks below the table.
    pub notes: Vec<String>,
    /// True for the evidence behind another section: people see its table with `--verbose` only.
    #[serde(default)]
    pub detail: bool,
    /// The rows at the end that a line sums up for people.
    #[serde(default)]
    pub folded: Option<Folded>,
}

/// Rows that matter too little for one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Folded {
    /// Index of the first of them; all that follow belong to them.
    pub from_row: usize,
    /// What they are together, for people.
    pub text: String,
}

impl Section {
    /// Index of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Index of the column that links a detail row to its parent row in another section: the other's name in the singular
    /// (`site` for `sites`). `None` if this is no section of detail.
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
    /// What the values are to the table.
    pub role: Role,
    /// Whether the narrow human table shows it.
    pub shown: bool,
}

impl Column {
    /// The title that people see: with the unit where the values do not carry it.
    pub(crate) fn shown_title(&self) -> String {
        let unit = match self.unit {
            Unit::BytesPerHour | Unit::PerHour => "/h",
            Unit::PerSecond => "/s",
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
    /// No unit: a word.
    None,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes per hour.
    BytesPerHour,
    /// Nanoseconds.
    Nanos,
    /// Events per second.
    PerSecond,
    /// Events per hour.
    PerHour,
    /// A fraction of 1.
    Ratio,
}

/// What a column is to its table: tells comparison, merge, export and live view what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Identifies the row.
    Key,
    /// Adds up over rows and time.
    Sum,
    /// The largest counts.
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
    /// The row's call stack: index into [`Report::stacks`](super::Report::stacks).
    pub stack: Option<usize>,
    /// How bad the row is, for colours and annotations; absent if it is just a fact.
    pub severity: Option<Severity>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not available, and why.
    Unknown(String),
    /// Our own word.
    Word(String),
    /// A name from the target.
    Name(Text),
    /// An exact whole number.
    Exact(u64),
    /// An estimate with its 95 % interval. Shown with `~`. Made by [`Value::estimate`].
    Estimate {
        /// Best value.
        value: f64,
        /// Lower end.
        low: f64,
        /// Upper end; absent if unbounded.
        high: Option<f64>,
    },
}

impl Value {
    /// An estimate with its interval; `high` is absent if there is no upper bound.
    ///
    /// A number that is none, and an interval that does not hold its value, become [`Value::Unknown`]: JSON has no
    /// NaN, and half an hour of observation must not be lost for one.
    pub fn estimate(value: f64, low: f64, high: Option<f64>) -> Value {
        let high = high.filter(|high| *high != f64::INFINITY);
        if value.is_finite() && low <= value && low.is_finite() && high.is_none_or(|high| value <= high) {
            Value::Estimate { value, low, high }
        } else {
            Value::Unknown("not enough data for an estimate".to_owned())
        }
    }

    /// The number, exact or estimated, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Exact(number) => Some(*number as f64),
            Value::Estimate { value, .. } => Some(*value),
            Value::Unknown(_) | Value::Word(_) | Value::Name(_) => None,
        }
    }
}
