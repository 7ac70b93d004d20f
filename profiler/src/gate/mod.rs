//! `--gate`: from a report to an exit code, for jobs that fail when something leaks.
//!
//! A pure function of the report that knows no tool: what a tool found is in its findings, the rows that they rest on,
//! and the column with a growth.

mod known;

pub use self::known::Known;

use crate::{
    exit::ExitCode,
    report::{Finding, Phrase, Report, Severity, Site, Target},
    text::Text,
    units,
};

/// The gate is shut.
pub const FAILED: &str = "gate.failed";
/// Nothing fails, but the answer is open or limited.
pub const UNDECIDED: &str = "gate.undecided";
/// Nothing fails.
pub const PASSED: &str = "gate.passed";
/// A problem that does not count, because it is known or grows slowly enough.
pub const EXCUSED: &str = "gate.excused";
/// An entry of the file of known leaks that nothing matches.
pub const STALE: &str = "gate.stale";
/// Every rule of the gate.
pub const RULES: [&str; 5] = [FAILED, UNDECIDED, PASSED, EXCUSED, STALE];

/// Findings whose rule ends so are remarks: they do not make an answer undecided.
const REMARK: &str = ".note";

/// What does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Growth up to which a leak does not count, in bytes per hour.
    pub above_bytes_per_hour: Option<f64>,
    /// Leaks that are accepted.
    pub known: Known,
}

/// Lines of the file of known leaks that match none, and are named: an old file may have thousands.
const STALE_NAMED: usize = 3;

impl Gate {
    /// Decides, and adds findings that say what was decided and why. Those of an earlier decision are replaced.
    ///
    /// The codes, the first that holds: 5 if a target died of a breakpoint or the safety guard stopped the observation;
    /// 1 if a problem counts; 6 if the data are incomplete; 3 if a finding limits the answer; 0.
    pub fn decide(&self, report: &mut Report) -> ExitCode {
        report.findings.retain(|finding| !finding.is_of_gate());
        let mut found = Vec::new();
        let mut used = vec![false; self.known.entries().len()];
        let mut counting = 0;
        for finding in report.findings.iter().filter(|finding| finding.severity == Severity::Problem) {
            let sites = report.sites_of(finding);
            if sites.is_empty() {
                counting += 1;
            }
            for site in sites {
                match self.excuse(report, &site, &mut used) {
                    Some(why) => found.push(excused(&site, why)),
                    None => counting += 1,
                }
            }
        }
        found.extend(self.stale(&used));
        let (code, decision) = decision(report, counting, found.iter().any(|f| f.rule == EXCUSED));
        report.findings.push(decision);
        report.findings.append(&mut found);
        report.sum_up();
        code
    }

    /// Why a site does not count.
    fn excuse(&self, report: &Report, site: &Site, used: &mut [bool]) -> Option<String> {
        let spellings = known::spellings(report, site);
        let mut known = None;
        for (entry, used) in self.known.entries().iter().zip(used) {
            if entry.means(&spellings) {
                *used = true;
                known.get_or_insert(entry.line);
            }
        }
        if let Some(line) = known {
            return Some(format!("it is known ({}, line {line})", self.known.file().terminal()));
        }
        let above = self.above_bytes_per_hour?;
        let growth = site.growth_bytes_per_hour?;
        (growth < above).then(|| {
            let shown = units::bytes_per_hour(above);
            if units::bytes_per_hour(growth) != shown {
                return format!("it grows by less than {} (--gate-above)", shown.trim_start_matches('+'));
            }
            // Rounded, they would be the same.
            let (growth, above) = units::apart(growth, above);
            format!("it grows by {growth}/h, less than {above}/h (--gate-above)")
        })
    }

    fn stale(&self, used: &[bool]) -> Vec<Finding> {
        let stale: Vec<&known::Entry> = self
            .known
            .entries()
            .iter()
            .zip(used)
            .filter(|(_, used)| !**used)
            .map(|(entry, _)| entry)
            .collect();
        let note = |words: String| {
            vec![Phrase::Plain("Note: ".to_owned()), Phrase::Name(self.known.file()), Phrase::Plain(words)]
        };
        let finding = |entry: &&known::Entry| {
            let mut sentence = note(format!(", line {}, matches no leak: ", entry.line));
            sentence.push(Phrase::Name(Text::from(entry.words.as_str())));
            Finding::new(STALE, Severity::Info, sentence)
        };
        let mut findings: Vec<Finding> = stale.iter().take(STALE_NAMED).map(finding).collect();
        if stale.len() > STALE_NAMED {
            let more = units::plural(stale.len() - STALE_NAMED, "more line matches", "more lines match");
            findings.push(Finding::new(STALE, Severity::Info, note(format!(": {more} no leak."))));
        }
        findings
    }
}

/// The code, and the sentence about it.
fn decision(report: &Report, counting: usize, some_excused: bool) -> (ExitCode, Finding) {
    let own = report.exit_code();
    let limited = report.findings.iter().enumerate().find(|(place, finding)| limits(*place, finding));
    let (code, rule, severity, why) = if own == ExitCode::SafetyStop {
        let died = report.meta.targets.iter().any(Target::died_of_breakpoint);
        let guard = "the safety guard ended the observation";
        let why = if died { "a target died of SIGTRAP under observation" } else { guard };
        (own, FAILED, Severity::Problem, why.to_owned())
    } else if counting > 0 {
        let problems = if counting == 1 { "1 problem counts" } else { "problems count" };
        let number = if counting == 1 { String::new() } else { format!("{counting} ") };
        (ExitCode::Refuted, FAILED, Severity::Problem, format!("{number}{problems}"))
    } else if own != ExitCode::Ok {
        (own, UNDECIDED, Severity::Limit, "the data are incomplete".to_owned())
    } else if limited.is_some() {
        (ExitCode::Inconclusive, UNDECIDED, Severity::Limit, "the answer is open or limited".to_owned())
    } else {
        let why = if some_excused { "no problem counts" } else { "no problem was found" };
        (ExitCode::Ok, PASSED, Severity::Info, why.to_owned())
    };
    let word = match rule {
        FAILED => "failed",
        PASSED => "passed",
        _ => "undecided",
    };
    (code, Finding::plain(rule, severity, format!("Gate {word} (exit code {}): {why}.", code.code())))
}

/// Whether a finding leaves the answer open. In reports of versions without rules, remarks are known by their place.
fn limits(place: usize, finding: &Finding) -> bool {
    let remark = if finding.rule.is_empty() { place > 0 } else { finding.rule.ends_with(REMARK) };
    finding.severity == Severity::Limit && !remark
}

fn excused(site: &Site, why: String) -> Finding {
    let name =
        site.label.clone().map_or_else(|| Phrase::Plain("a site without a name".to_owned()), Phrase::Name);
    let sentence =
        vec![Phrase::Plain("Does not count: ".to_owned()), name, Phrase::Plain(format!(": {why}."))];
    Finding::new(EXCUSED, Severity::Info, sentence)
}

#[cfg(test)]
mod tests;
