//! How much of what was moved belongs to something with a name, by a report.

use anyhow::Result;
use serde_json::Value;

use super::report::Table;

/// Where a report says to what name bytes belong.
pub(super) struct Bytes {
    /// The name of the table.
    pub(super) table: &'static str,
    /// Its column of names.
    pub(super) name: &'static str,
    /// Its columns of bytes.
    pub(super) moved: &'static [&'static str],
}

/// Bytes that were moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) all: u64,
    /// Those in rows with a name.
    pub(super) named: u64,
}

impl Moved {
    /// From 0 to 1; 0 if nothing was moved: then nothing is shown.
    pub(super) fn share(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.named as f64 / self.all as f64 }
    }
}

impl Bytes {
    /// Sums up the rows of a report.
    ///
    /// # Errors
    /// The report has no such table, no such column, or a number in it is not known.
    pub(super) fn of(&self, report: &Value) -> Result<Moved> {
        let table = Table::find(report, self.table)?;
        let mut sum = Moved { all: 0, named: 0 };
        for row in table.rows() {
            let bytes: u64 = self.moved.iter().map(|column| row.exact(column)).sum::<Result<u64>>()?;
            sum.all += bytes;
            if row.name(self.name)?.is_some() {
                sum.named += bytes;
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_of_rows_without_a_name_have_none() {
        let bytes = Bytes { table: "peers", name: "service", moved: &["received_bytes", "sent_bytes"] };
        let column = |name: &str| json!({ "name": name });
        let row = |service: Value, received: u64, sent: u64| json!({"cells": [service, {"exact": received}, {"exact": sent}]});
        let report = json!({"sections": [{"name": "other"}, {
            "name": "peers",
            "columns": [column("service"), column("received_bytes"), column("sent_bytes")],
            "rows": [
                row(json!({"name": "tcp :80"}), 60, 30),
                row(json!({"unknown": "its descriptor was closed"}), 7, 3),
            ],
        }]});
        let moved = bytes.of(&report).unwrap();
        assert_eq!(moved, Moved { all: 100, named: 90 });
        assert!((moved.share() - 0.9).abs() < 1e-9);
        assert!(bytes.of(&json!({"sections": []})).is_err());
        assert!(Bytes { name: "peer", ..bytes }.of(&report).is_err());
    }
}
