//! `--gate`: its options, and the exit code of a run.

use std::path::PathBuf;

use clap::Args;
use profiler::{
    error::Result,
    exit::ExitCode,
    gate::{Gate, Known},
    report::{FileId, Report},
    units,
};

use super::output::Kept;

/// What makes a job fail.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Fail if a problem is found, or if the command fails (exit code 1), or if that is not decided (3).
    #[arg(long, help_heading = "For CI")]
    pub(crate) gate: bool,
}

/// Which leaks do not make it fail.
#[derive(Debug, Default, Args)]
pub(crate) struct LeakArgs {
    /// Leaks that grow by less do not fail, e.g. 1MiB/h. They are still reported. 0: every leak fails.
    #[arg(long, value_name = "SIZE/h", requires = "gate", value_parser = growth, help_heading = "For CI")]
    pub(crate) gate_above: Option<u64>,
    /// Leaks that do not fail: a file with one site a line, as the table names it; * and ? are wildcards, # a comment.
    #[arg(long, value_name = "FILE", requires = "gate", help_heading = "For CI")]
    pub(crate) known: Option<PathBuf>,
}

impl LeakArgs {
    /// The file of known leaks, which must stay as it is.
    pub(crate) fn kept(&self) -> Kept {
        (self.known.as_deref().and_then(FileId::at), "it is the file of known leaks (--known)")
    }
}

impl GateArgs {
    /// The gate, if one was asked for. Reads the file of known leaks, so this is called before an observation.
    pub(crate) fn gate(&self, leaks: &LeakArgs) -> Result<Option<Gate>> {
        if !self.gate {
            return Ok(None);
        }
        let known = leaks.known.as_deref().map(Known::open).transpose()?.unwrap_or_default();
        Ok(Some(Gate { above_bytes_per_hour: leaks.gate_above.map(|bytes| bytes as f64), known }))
    }
}

/// The exit code for a report; with a gate, the report gets its findings.
pub(crate) fn decide(gate: Option<&Gate>, report: &mut Report) -> ExitCode {
    match gate {
        Some(gate) => gate.decide(report),
        None => report.exit_code(),
    }
}

fn growth(text: &str) -> Result<u64, String> {
    units::parse_bytes_per_hour(text).map_err(|error| error.to_string())
}
