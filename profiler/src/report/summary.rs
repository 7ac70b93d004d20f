//! Fields that are derived from the rest of a report, for scripts: the verdict in one object, and times that readers with floating
//! point numbers can hold (nanoseconds since 1970 exceed 2^53).

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Finding, Report, Row, RowRef, Section, Severity, Unit, Value};
use crate::text::Text;
use crate::units;

/// The answer in one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Summary {
    /// The answer in one word: the last part of the rule (`leak`, `clean`, `undecided`) of the first problem, or of the first finding if
    /// there is no problem; the severity if it has no rule. Decisions of `--gate` do not count.
    pub word: String,
    /// The rule of that finding.
    pub rule: String,
    /// Its text.
    pub text: String,
    /// Number of sites that problems are based on. Rows with the same name are one site.
    pub problem_sites: usize,
    /// Total growth of those sites in bytes per hour. Absent if there are none, or if the growth of one is unknown.
    pub growth_bytes_per_hour: Option<f64>,
}

/// Rows with the same name that a finding is based on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Site {
    /// The name that the rows have.
    pub(crate) label: Option<Text>,
    /// The rows.
    pub(crate) rows: Vec<RowRef>,
    /// Their total growth in bytes per hour; `None` if the growth of one is unknown.
    pub(crate) growth_bytes_per_hour: Option<f64>,
}

impl Report {
    /// Fills the derived fields. Call it when all other fields are set, and again after findings have changed.
    pub fn sum_up(&mut self) {
        self.findings.iter_mut().for_each(Finding::spell);
        self.identify_stacks();
        self.meta.started = units::rfc3339(self.meta.started_unix_ns);
        self.meta.length_ms = self.meta.length_ns / 1_000_000;
        self.verdict = self.summary();
    }

    /// Inserts a finding behind those that are as severe or more severe.
    pub fn add_finding(&mut self, finding: Finding) {
        let place = self.findings.iter().position(|other| other.severity > finding.severity);
        self.findings.insert(place.unwrap_or(self.findings.len()), finding);
        self.sum_up();
    }

    fn summary(&self) -> Summary {
        let answers = || self.findings.iter().filter(|finding| !finding.is_of_gate());
        let problems = || answers().filter(|finding| finding.severity == Severity::Problem);
        let Some(first) = problems().next().or_else(|| answers().next()) else { return Summary::default() };
        let word = match first.rule.rsplit_once('.') {
            Some((_, word)) => word,
            None => first.severity.name(),
        };
        let mut seen = HashSet::new();
        let all = problems().flat_map(|finding| self.sites_of(finding));
        let sites: Vec<Site> = all.filter(|site| seen.insert(site.label.clone())).collect();
        let growth = || sites.iter().map(|site| site.growth_bytes_per_hour).sum();
        Summary {
            word: word.to_owned(),
            rule: first.rule.clone().into_owned(),
            text: first.text.clone(),
            problem_sites: sites.len(),
            growth_bytes_per_hour: if sites.is_empty() { None } else { growth() },
        }
    }

    /// The sites that a finding is based on, in the order of its rows. In reports of old versions, whose findings have no rows, the
    /// rows with severity `problem` stand in.
    pub(crate) fn sites_of(&self, finding: &Finding) -> Vec<Site> {
        let rows = if finding.rows.is_empty() && finding.rule.is_empty() {
            self.sections.iter().enumerate().flat_map(marked).collect()
        } else {
            finding.rows.clone()
        };
        let mut sites: Vec<Site> = Vec::new();
        let mut places: HashMap<Option<&Text>, usize> = HashMap::new();
        for at in rows {
            let Some(row) = self.row(at) else { continue };
            let label = label(row);
            let growth = self.growth(at, row);
            match places.get(&label).and_then(|place| sites.get_mut(*place)) {
                Some(site) => {
                    site.rows.push(at);
                    site.growth_bytes_per_hour = self.growth_of_all(&site.rows);
                }
                None => {
                    places.insert(label, sites.len());
                    sites.push(Site { label: label.cloned(), rows: vec![at], growth_bytes_per_hour: growth });
                }
            }
        }
        sites
    }

    /// The growth of rows with the same name, in bytes per hour; `None` if the growth of one is unknown. Several rows of one process are
    /// programs that it executed one after the other. They never grew at the same time, so only the fastest counts.
    fn growth_of_all(&self, rows: &[RowRef]) -> Option<f64> {
        let (mut apart, mut of_process) = (0.0, HashMap::new());
        for at in rows {
            let row = self.row(*at)?;
            let growth = self.growth(*at, row)?;
            match self.process(*at, row).filter(|_| label(row).is_some()) {
                Some(process) => {
                    let fastest = of_process.entry(process).or_insert(growth);
                    *fastest = growth.max(*fastest);
                }
                None => apart += growth,
            }
        }
        Some(apart + of_process.values().sum::<f64>())
    }

    /// The process of a row, if the table has that column.
    fn process(&self, at: RowRef, row: &Row) -> Option<u64> {
        let columns = &self.sections.get(at.section)?.columns;
        match row.cells.get(columns.iter().position(|column| column.name == "pid")?)? {
            Value::Exact(pid) => Some(*pid),
            // Schema 1 had words.
            Value::Word(pid) => pid.parse().ok(),
            _ => None,
        }
    }

    /// The growth of a row, in bytes per hour.
    fn growth(&self, at: RowRef, row: &Row) -> Option<f64> {
        let columns = &self.sections.get(at.section)?.columns;
        let place = columns.iter().position(|column| column.unit == Unit::BytesPerHour)?;
        row.cells.get(place)?.number()
    }
}

fn marked((section, of): (usize, &Section)) -> Vec<RowRef> {
    let marked = of.rows.iter().enumerate().filter(|(_, row)| row.severity == Some(Severity::Problem));
    marked.map(|(row, _)| RowRef { section, row }).collect()
}

/// The name of a row: its first cell that is a name.
fn label(row: &Row) -> Option<&Text> {
    row.cells.iter().find_map(|cell| match cell {
        Value::Name(name) => Some(name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, sample};

    const MIB: f64 = 1_048_576.0;

    #[test]
    fn the_verdict_is_that_of_the_first_finding() {
        let report = sample::pong();
        let Summary { word, rule, text, problem_sites, growth_bytes_per_hour } = &report.verdict;
        assert_eq!((word.as_str(), rule.as_str(), *problem_sites), ("leak", "sample.leak", 1));
        assert_eq!(text, &report.findings[0].text);
        assert_eq!(*growth_bytes_per_hour, Some(549.0 * MIB));
        assert_eq!(report.meta.length_ms, 2_700_000);
        assert_eq!(report.meta.started, "2026-11-22T08:02:14.000Z");
    }

    #[test]
    fn the_first_problem_is_the_verdict_even_behind_other_findings() {
        let mut report = sample::pong();
        report.findings.insert(0, Finding::plain("sample.children", Severity::Limit, "Children work."));
        report.findings.push(Finding::plain("gate.failed", Severity::Problem, "Gate failed."));
        report.sum_up();
        assert_eq!((report.verdict.word.as_str(), report.verdict.rule.as_str()), ("leak", "sample.leak"));
        assert_eq!(report.verdict.text, report.findings[1].text);
        report.findings.remove(1);
        report.sum_up();
        assert_eq!(report.verdict.word, "children", "the decision of the gate is not the answer");
    }

    #[test]
    fn rows_with_the_same_name_are_one_site() {
        let mut report = sample::pong();
        report.sections[0].rows = vec![report.sections[0].rows[0].clone(); 3];
        report.findings[0].rows = (0..3).map(|row| RowRef { section: 0, row }).collect();
        report.sum_up();
        assert_eq!(report.verdict.problem_sites, 1);
        assert_eq!(report.verdict.growth_bytes_per_hour, Some(3.0 * 549.0 * MIB));
        report.sections[0].rows[2].cells[11] = Value::Unknown("too short".into());
        report.sum_up();
        assert_eq!(report.verdict.growth_bytes_per_hour, None, "not a part of it for the whole");
    }

    #[test]
    fn growth_of_successive_programs_of_a_process_is_not_added() {
        let mut report = sample::pong();
        let row = report.sections[0].rows[0].clone();
        let pid = report.sections[0].columns[0].clone();
        report.sections[0].columns.insert(0, Column { name: "pid".into(), unit: Unit::None, ..pid });
        let of = |pid: u64| {
            let cells = std::iter::once(Value::Exact(pid)).chain(row.cells.clone());
            Row { cells: cells.collect(), ..row.clone() }
        };
        report.sections[0].rows = vec![of(7), of(7), of(8)];
        report.findings[0].rows = (0..3).map(|row| RowRef { section: 0, row }).collect();
        report.sum_up();
        assert_eq!(report.verdict.problem_sites, 1);
        assert_eq!(report.verdict.growth_bytes_per_hour, Some(2.0 * 549.0 * MIB));
    }

    #[test]
    fn without_problems_there_are_no_sites_and_no_growth() {
        let mut report = sample::pong();
        report.findings = vec![Finding::plain("sample.clean", Severity::Info, "No leak found.")];
        report.sum_up();
        assert_eq!((report.verdict.word.as_str(), report.verdict.problem_sites), ("clean", 0));
        assert_eq!(report.verdict.growth_bytes_per_hour, None);
        report.add_finding(Finding::plain("command.failed", Severity::Problem, "Exit code 3."));
        assert_eq!((report.verdict.word.as_str(), report.verdict.problem_sites), ("failed", 0));
    }
}
