//! `--gate`: derives an exit code from a report, for CI jobs that fail if there is a problem.
//!
//! It is a pure function of the report, and works for every tool: it uses the findings, the rows that they are based on, and the column of
//! growth.

mod known;
mod limit;

pub use self::known::Known;

use crate::{
    exit::ExitCode,
    naming,
    report::{Finding, Phrase, Report, Severity, Site, Target},
    text::Text,
    units,
};

/// There is a problem.
pub const FAILED: &str = "gate.failed";
/// There is no problem, but the answer is open or limited.
pub const UNDECIDED: &str = "gate.undecided";
/// There is no problem.
pub const PASSED: &str = "gate.passed";
/// A problem that does not count, because it is known or grows slowly.
pub const EXCUSED: &str = "gate.excused";
/// An entry of the file of known problems that matches nothing.
pub const STALE: &str = "gate.stale";
/// All rules of the gate.
pub const RULES: [&str; 5] = [FAILED, UNDECIDED, PASSED, EXCUSED, STALE];

/// Findings whose rule ends in this are remarks and do not make the answer undecided.
const REMARK: &str = ".note";

/// Which problems do not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Problems that grow by less do not count, in bytes per hour.
    pub above_bytes_per_hour: Option<f64>,
    /// Known problems.
    pub known: Known,
}

/// Number of entries without a match that are named. An old file may have thousands.
const STALE_NAMED: usize = 3;

impl Gate {
    /// Decides, and adds findings with the decision and its reasons. They replace those of an earlier decision.
    ///
    /// The exit code is the first that applies: 5 if a target died of a breakpoint or the safety guard stopped the observation;
    /// 1 if a problem counts; 6 if the data are incomplete; 3 if a finding limits the answer; 0.
    pub fn decide(&self, report: &mut Report) -> ExitCode {
        report.findings.retain(|finding| !finding.is_of_gate());
        let problems = report.findings.iter().filter(|finding| finding.severity == Severity::Problem);
        let sites_of: Vec<Vec<Site>> = problems.map(|finding| report.sites_of(finding)).collect();
        // A problem without a site cannot be excused.
        let mut counting = sites_of.iter().filter(|sites| sites.is_empty()).count();
        let mut used = vec![false; self.known.entries().len()];
        let (mut found, mut leaks) = (Vec::new(), Vec::new());
        for site in sites_of.into_iter().flatten() {
            match self.known_as(report, &site, &mut used) {
                Some(why) => found.push(excused(&site, why)),
                None => leaks.push(site),
            }
        }
        let mut together = None;
        match self.above_bytes_per_hour {
            None => counting += leaks.len(),
            Some(above) => {
                let groups = limit::groups(report, &leaks);
                for (place, site) in leaks.iter().enumerate() {
                    let mut of_it = groups.iter().filter(|group| group.members.contains(&place));
                    match of_it.clone().all(|group| group.is_below(above)) {
                        true => found.extend(of_it.next().map(|group| excused(site, group.excuse(above)))),
                        false => counting += 1,
                    }
                }
                together = groups.into_iter().find(|group| group.counts_together(&leaks, above));
            }
        }
        let number_excused = found.len();
        found.extend(self.stale(&used));
        let (code, decision) = decision(report, counting, number_excused, together.as_ref());
        report.findings.push(decision);
        report.findings.append(&mut found);
        report.sum_up();
        code
    }

    /// The reason why a site does not count, if it is in the file of known problems.
    fn known_as(&self, report: &Report, site: &Site, used: &mut [bool]) -> Option<String> {
        let spellings = known::spellings(report, site);
        let mut known = None;
        for (entry, used) in self.known.entries().iter().zip(used) {
            if entry.matches(&spellings) {
                *used = true;
                known.get_or_insert(entry.line);
            }
        }
        known.map(|line| format!("it is known ({}, line {line})", self.known.file().terminal()))
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

/// The exit code and its finding. The sentence does not name the code, because the run may still end with another one, for example if
/// a file cannot be written.
fn decision(
    report: &Report,
    counting: usize,
    excused: usize,
    together: Option<&limit::Group>,
) -> (ExitCode, Finding) {
    let own = report.exit_code();
    let limited = why_open(report);
    let (code, rule, severity, why) = if own == ExitCode::SafetyStop {
        let died = report.meta.targets.iter().any(Target::died_of_breakpoint);
        let guard = "the safety guard ended the observation";
        let why = if died { "a target died of SIGTRAP under observation" } else { guard };
        (own, FAILED, Severity::Problem, why.to_owned())
    } else if counting > 0 {
        let problems = units::plural(counting, "problem", "problems");
        (ExitCode::Refuted, FAILED, Severity::Problem, format!("{problems} found{}", beside(excused)))
    } else if own != ExitCode::Ok {
        (own, UNDECIDED, Severity::Limit, "the data are incomplete".to_owned())
    } else if let Some(why) = limited {
        (ExitCode::Inconclusive, UNDECIDED, Severity::Limit, why)
    } else {
        (ExitCode::Ok, PASSED, Severity::Info, format!("no problem found{}", beside(excused)))
    };
    let word = match rule {
        FAILED => "failed",
        PASSED => "passed",
        _ => "undecided",
    };
    let mut sentence = vec![Phrase::Plain(format!("Gate {word}: {why}."))];
    if let Some(group) = together.filter(|_| code == ExitCode::Refuted)
        && let Some(name) = group.name()
    {
        let words = format!(" {} (--gate-above).", group.together());
        sentence.extend([Phrase::Plain(" ".to_owned()), Phrase::Name(name), Phrase::Plain(words)]);
    }
    (code, Finding::new(rule, severity, sentence))
}

/// Why the answer is open or limited, if it is: the rules of the findings that make it so.
fn why_open(report: &Report) -> Option<String> {
    let findings = report.findings.iter().enumerate();
    let open = findings.filter(|(place, finding)| limits(*place, finding));
    let mut rules: Vec<&str> = Vec::new();
    for (_, finding) in open {
        if !rules.contains(&finding.rule.as_ref()) {
            rules.push(finding.rule.as_ref());
        }
    }
    match rules.as_slice() {
        [] => None,
        // Reports of versions without rules.
        [""] => Some("the answer is open or limited".to_owned()),
        rules => Some(format!("the answer is open or limited ({})", rules.join(", "))),
    }
}

/// `, 2 excused`.
fn beside(excused: usize) -> String {
    if excused == 0 { String::new() } else { format!(", {excused} excused") }
}

/// Marks the decision in a recorded report as one that was made when the report was recorded.
pub fn mark_as_recorded(report: &mut Report) {
    const RECORDED: &str = "When recorded: ";
    for finding in report.findings.iter_mut().filter(|finding| finding.is_of_gate()) {
        let Some(Phrase::Plain(words)) = finding.sentence.first_mut() else { continue };
        if !words.starts_with(RECORDED) {
            let mut rest = words.chars();
            let first = rest.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
            *words = format!("{RECORDED}{first}{}", rest.as_str());
        }
    }
    report.sum_up();
}

/// Whether a finding leaves the answer open. In reports of versions without rules, every finding but the first is a remark.
fn limits(place: usize, finding: &Finding) -> bool {
    let remark = if finding.rule.is_empty() { place > 0 } else { finding.rule.ends_with(REMARK) };
    finding.severity == Severity::Limit && !remark
}

fn excused(site: &Site, why: String) -> Finding {
    let name = site.label.as_ref().map(naming::in_prose);
    let name = name.map_or_else(|| Phrase::Plain("a site without a name".to_owned()), Phrase::Name);
    let sentence = vec![Phrase::Plain("Excused: ".to_owned()), name, Phrase::Plain(format!(": {why}."))];
    Finding::new(EXCUSED, Severity::Info, sentence)
}

#[cfg(test)]
mod tests;
