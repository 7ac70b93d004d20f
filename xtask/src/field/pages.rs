//! `cargo xtask field --syscalls`, `--disk`, `--sockets`: a tool on healthy servers under load, and a page of its reports. It fails if
//! a problem is found, if the answer is limited, or if what was moved has no name.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    names::Moved,
    observe::Rig,
    report::unaccounted,
    running::Running,
    server::{Place, Server, Side},
    stop::Stop,
    subjects::Subject,
};
use crate::{process, workspace};

/// Share of the bytes that has to have a name.
const NAMED: f64 = 0.95;

/// What came out of a visit to one server.
struct Visit {
    /// Everything that is wrong.
    faults: Vec<String>,
    /// The report as text.
    text: String,
    /// The bytes in it, if the tool counts bytes.
    moved: Option<Moved>,
}

/// Observes each server, and writes the page if that is asked for.
pub(super) fn run(
    rig: &Rig,
    subject: &Subject,
    servers: &[&'static Server],
    write_docs: bool,
    stop: &Stop,
) -> Result<()> {
    let mut page = format!("{}\n{}\n", subject.head, how(rig, subject));
    let mut failed = Vec::new();
    for server in servers {
        println!("\n== {}: {}", server.name, server.does);
        let faults = match visit(rig, subject, server, stop) {
            Ok(visit) => {
                let section = section(subject, server, &visit);
                println!("{section}");
                page.push_str(&section);
                visit.faults
            }
            Err(error) => {
                stop.check()?;
                vec![format!("{error:#}")]
            }
        };
        faults.iter().for_each(|fault| println!("! {fault}"));
        if !faults.is_empty() {
            failed.push(server.name);
        }
    }
    if !failed.is_empty() {
        bail!("not as expected: {}", failed.join(", "));
    }
    if write_docs {
        let file = workspace::root().join(format!("docs/field-{}.md", subject.tool));
        fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

/// The command and the kernel, for the page.
fn how(rig: &Rig, subject: &Subject) -> String {
    let release = process::ask(process::command("uname").arg("-r")).unwrap_or_default();
    // What follows the version is the name of a build.
    let kernel = release.trim().split('-').next().unwrap_or_default().to_owned();
    let options: String = subject.options.iter().map(|option| format!("{option} ")).collect();
    format!(
        "`profiler {} --children --max-cost 100% {options}--for {}s`, Linux {kernel}; the stacks are left out here.",
        subject.tool,
        rig.length.as_secs()
    )
}

/// What the page says about one server.
fn section(subject: &Subject, server: &Server, visit: &Visit) -> String {
    let version = server.packages.first().map(|package| super::version(package.name()));
    let (name, version) = (server.name, version.unwrap_or_default());
    let mut section =
        format!("\n## {name} {version}\n\n{}.\n\n{}\n", sentence(server.does), shown(&visit.text));
    if let Some(moved) = visit.moved {
        let _ = writeln!(section, "\nNamed: {} of the bytes.", percent(moved.share()));
    }
    if let Some(judged) = subject.judged(server.name) {
        let _ = writeln!(section, "\n{}.", judged.because);
    }
    section
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn visit(rig: &Rig, subject: &Subject, server: &Server, stop: &Stop) -> Result<Visit> {
    let place = Place::new(server.name, &rig.pong)?;
    let mut running = Running::start(server.name, &mut (server.start)(&place)?)?;
    running.wait_until(&server.ready, place.port, stop)?;
    let mut load = match server.load {
        Some(load) => Some(Running::start("the load", &mut load(&place)?)?),
        None => None,
    };
    if let Some(load) = &mut load {
        load.wait_until(&server.loaded, place.port, stop)?;
    }
    let name = format!("{}-{}", subject.tool, server.name);
    let observed = match (server.observed, &load) {
        (Side::Load, Some(load)) => load.pid(),
        _ => running.pid(),
    };
    let status = rig.run(&name, rig.tool(subject.tool, subject.options, observed), stop)?;
    let read = |kind: &str| {
        let file = rig.output.join(format!("{name}.{kind}"));
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let report = serde_json::from_str(&read("json")?)?;
    let judged = subject.judged(server.name).map_or(&[][..], |judged| judged.rules);
    let mut faults = faults(&report, subject.answer, judged);
    let moved = subject.bytes.as_ref().map(|bytes| bytes.of(&report)).transpose()?;
    faults.extend(
        moved
            .filter(|moved| moved.share() < NAMED)
            .map(|moved| format!("only {} of {} bytes have a name", percent(moved.share()), moved.all)),
    );
    if !status.success() {
        faults.push(format!("profiler ended with {status}"));
    }
    if let Some(load) = &mut load {
        load.check_lives()?;
    }
    running.check_answers(&server.question, place.port, stop)?;
    Ok(Visit { faults, text: read("txt")?, moved })
}

/// What is wrong with a report on a healthy server. `answer`: the rule of its first finding, unless that is one of `judged`.
fn faults(report: &Value, answer: &str, judged: &[&str]) -> Vec<String> {
    let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let of =
        |finding: &Value, key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut faults: Vec<String> = findings
        .iter()
        .filter(|finding| {
            of(finding, "severity") != "info" && !judged.contains(&of(finding, "rule").as_str())
        })
        .map(|finding| {
            format!("a finding on a healthy server: {}: {}", of(finding, "rule"), of(finding, "text"))
        })
        .collect();
    let is_expected = |rule: String| rule == answer || judged.contains(&rule.as_str());
    if !findings.first().is_some_and(|first| is_expected(of(first, "rule"))) {
        faults.push(format!("the first finding is not {answer}"));
    }
    let unaccounted = unaccounted(report);
    if unaccounted > 0 {
        faults.push(format!("{unaccounted} hits are unaccounted"));
    }
    faults
}

/// The answer and the tables, indented as code: without the stacks, and without what is the same in each report.
fn shown(report: &str) -> String {
    let mut is_of_stacks = false;
    let tables = report.lines().take_while(|line| !line.starts_with("coverage")).filter(|line| {
        // A heading begins at the margin, what is under it does not.
        if line.starts_with(|first: char| !first.is_whitespace()) {
            is_of_stacks = line.starts_with("Call stacks");
        }
        !is_of_stacks
    });
    let text = tables.collect::<Vec<_>>().join("\n").trim_end().to_owned();
    let ledger = report.lines().find(|line| line.starts_with("coverage"));
    let indented = text.lines().chain([""]).chain(ledger).map(|line| match line {
        "" => String::new(),
        line => format!("    {line}"),
    });
    indented.collect::<Vec<_>>().join("\n")
}

fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ANSWER: &str = "syscalls.time";

    #[test]
    fn only_information_is_said_of_a_healthy_server() {
        let time = || json!({"rule": "syscalls.time", "severity": "info", "text": "read takes 90 %."});
        assert_eq!(faults(&json!({"findings": [time()]}), ANSWER, &[]), [""; 0]);
        let storm =
            || json!({"rule": "syscalls.futex_storm", "severity": "problem", "text": "Threads wake."});
        assert_eq!(
            faults(&json!({"findings": [storm(), time()]}), ANSWER, &[]),
            [
                "a finding on a healthy server: syscalls.futex_storm: Threads wake.",
                "the first finding is not syscalls.time"
            ]
        );
        let judged = faults(&json!({"findings": [storm(), time()]}), ANSWER, &["syscalls.futex_storm"]);
        assert_eq!(judged, [""; 0]);
        assert_eq!(faults(&json!({}), ANSWER, &[]).len(), 1);
    }

    #[test]
    fn the_page_has_the_answer_the_table_and_the_ledger() {
        let report = "read takes it.\n\nSystem calls\n\n  Call\n  read\n\nCall stacks, innermost call first\n\n  read\n\n\
                      Waits\n\n  lock\n\ncoverage  complete, 2 hits\ncost      little\n";
        let expected = "    read takes it.\n\n    System calls\n\n      Call\n      read\n\n    Waits\n\n      lock\n\n    coverage  complete, 2 hits";
        assert_eq!(shown(report), expected);
    }
}
