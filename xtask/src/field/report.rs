//! Tables of a report, and what is read from them.

use anyhow::{Context as _, Result};
use histogram::{Quantile, SparseHistogram};
use serde_json::Value;

/// A table of a report.
pub(super) struct Table<'r> {
    name: &'r str,
    columns: Vec<&'r str>,
    /// The cells of each row.
    rows: Vec<&'r Vec<Value>>,
}

/// A row of a table.
pub(super) struct Row<'t, 'r> {
    table: &'t Table<'r>,
    cells: &'r [Value],
}

impl<'r> Table<'r> {
    /// # Errors
    /// The report has no table of this name.
    pub(super) fn find(report: &'r Value, name: &str) -> Result<Self> {
        let sections = report.get("sections").and_then(Value::as_array);
        let section = sections.into_iter().flatten().find(|section| text(section, "name") == Some(name));
        let section = section.with_context(|| format!("the report has no table `{name}`"))?;
        let list = |key: &str| section.get(key).and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            name: text(section, "name").unwrap_or_default(),
            columns: list("columns").filter_map(|column| text(column, "name")).collect(),
            rows: list("rows").filter_map(|row| row.get("cells")?.as_array()).collect(),
        })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_, 'r>> {
        self.rows.iter().map(|cells| Row { table: self, cells })
    }

    /// The row with this name in a column.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn row(&self, column: &str, name: &str) -> Result<Row<'_, 'r>> {
        let is_it = |row: &Row<'_, 'r>| row.name(column).is_ok_and(|found| found == Some(name));
        self.rows().find(is_it).with_context(|| format!("the table `{}` has no row of {name}", self.name))
    }
}

impl<'r> Row<'_, 'r> {
    fn cell(&self, column: &str) -> Result<&'r Value> {
        let place = self.table.columns.iter().position(|name| *name == column);
        let cell = place.and_then(|place| self.cells.get(place));
        cell.with_context(|| format!("the table `{}` has no column `{column}`", self.table.name))
    }

    /// A name, if it is known.
    pub(super) fn name(&self, column: &str) -> Result<Option<&'r str>> {
        Ok(text(self.cell(column)?, "name"))
    }

    /// An exact number.
    ///
    /// # Errors
    /// There is no such column, or the number is not known.
    pub(super) fn exact(&self, column: &str) -> Result<u64> {
        let number = self.cell(column)?.get("exact").and_then(Value::as_u64);
        number.with_context(|| format!("`{column}` of the table `{}` is not known", self.table.name))
    }

    /// The mean of a histogram, which has the exact sum of its values.
    ///
    /// # Errors
    /// There is no such column, or it is not a histogram with values.
    pub(super) fn mean(&self, column: &str) -> Result<f64> {
        let mean = self.cell(column)?.get("histogram").and_then(mean_of);
        mean.with_context(|| format!("`{column}` of the table `{}` has no values", self.table.name))
    }

    /// A quantile of a histogram: the middle of its bucket, as profiler shows it.
    ///
    /// # Errors
    /// There is no such column, or it is not a histogram with values.
    pub(super) fn quantile(&self, column: &str, quantile: f64) -> Result<f64> {
        let bucket =
            self.cell(column)?.get("histogram").and_then(|histogram| in_histogram(histogram, quantile));
        bucket.with_context(|| format!("`{column}` of the table `{}` has no values", self.table.name))
    }
}

fn mean_of(cell: &Value) -> Option<f64> {
    let counts = cell.get("buckets")?.as_array()?.iter().filter_map(|bucket| bucket.get(1)?.as_u64());
    let count: u64 = counts.sum();
    Some(cell.get("sum")?.as_u64()? as f64 / count as f64).filter(|mean| mean.is_finite())
}

fn in_histogram(cell: &Value, quantile: f64) -> Option<f64> {
    let power = |key: &str| u8::try_from(cell.get(key)?.as_u64()?).ok();
    let config = histogram::Config::new(power("grouping_power")?, power("max_value_power")?).ok()?;
    let (mut indices, mut counts) = (Vec::new(), Vec::new());
    for bucket in cell.get("buckets")?.as_array()? {
        indices.push(u32::try_from(bucket.get(0)?.as_u64()?).ok()?);
        counts.push(bucket.get(1)?.as_u64()?);
    }
    let histogram = SparseHistogram::from_parts(config, indices, counts).ok()?;
    let found = histogram.quantile(quantile).ok()??;
    let bucket = found.get(&Quantile::new(quantile).ok()?)?;
    Some((bucket.start() as f64 + bucket.end() as f64) / 2.0)
}

/// Hits of probes whose outcome is not known.
pub(super) fn unaccounted(report: &Value) -> u64 {
    let ledger = report.pointer("/coverage/ledger").and_then(Value::as_array);
    ledger.into_iter().flatten().filter_map(|probe| probe.get("unaccounted")?.as_u64()).sum()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_found_by_the_names_of_their_table_and_column() {
        let report = json!({"sections": [{"name": "other"}, {
            "name": "services",
            "columns": [{"name": "service"}, {"name": "sent"}, {"name": "answer_ns"}],
            "rows": [{"cells": [
                {"name": "tcp :80"},
                {"exact": 7},
                // With a grouping power of 3, bucket 40 has the values from 128 to 143 and bucket 48 those from 256 to 287.
                {"histogram": {"grouping_power": 3, "max_value_power": 40, "buckets": [[40, 98], [48, 2]], "sum": 13_500}},
            ]}],
        }]});
        let table = Table::find(&report, "services").unwrap();
        let row = table.row("service", "tcp :80").unwrap();
        assert_eq!(row.exact("sent").unwrap(), 7);
        let quantiles = [0.5, 0.99].map(|quantile| row.quantile("answer_ns", quantile).unwrap());
        assert!((quantiles[0] - 135.5).abs() < 1e-9 && (quantiles[1] - 271.5).abs() < 1e-9, "{quantiles:?}");
        assert!((row.mean("answer_ns").unwrap() - 135.0).abs() < 1e-9);
        assert!(row.exact("answer_ns").is_err() && row.quantile("sent", 0.5).is_err());
        assert!(table.row("service", "tcp :81").is_err());
        assert!(Table::find(&report, "peers").is_err());
    }

    #[test]
    fn hits_without_an_outcome_are_summed_up() {
        let report = json!({"coverage": {"ledger": [{"unaccounted": 2}, {"unaccounted": 1}]}});
        assert_eq!(unaccounted(&report), 3);
    }
}
