//! `cargo xtask field --syscalls`: `profiler syscalls` on healthy servers under load. It fails if anything is called pointless, or
//! if the answer is limited.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    databases::{MARIADB, POSTGRES, REDIS, REDIS_PIPELINED},
    games::TEEWORLDS_LOADED,
    observe::Rig,
    running::Running,
    server::{Place, Server},
    stop::Stop,
    web::{NGINX, NODE_HTTP},
};
use crate::workspace;

/// Servers that do nothing pointless.
pub(super) const SERVERS: [&Server; 7] =
    [&REDIS, &REDIS_PIPELINED, &POSTGRES, &MARIADB, &NGINX, &NODE_HTTP, &TEEWORLDS_LOADED];

/// The rule that the first finding on a healthy server must have.
const ANSWER: &str = "syscalls.time";

/// Observes each server, and writes the page if that is asked for.
pub(super) fn run(rig: &Rig, servers: &[&'static Server], write_docs: bool, stop: &Stop) -> Result<()> {
    let mut page = String::from(HEAD);
    let mut failed = Vec::new();
    for server in servers {
        println!("\n== {}: {}", server.name, server.does);
        let faults = match visit(rig, server, stop) {
            Ok((faults, text)) => {
                let version = server.packages.first().map(|package| super::version(package.name()));
                let version = version.unwrap_or_default();
                let shown = shown(&text);
                let _ =
                    writeln!(page, "\n## {} {version}\n\n{}.\n\n{shown}", server.name, sentence(server.does));
                println!("{shown}");
                faults
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
        let file = workspace::root().join("docs/field-syscalls.md");
        fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

/// Everything that is wrong about one server, and the report as text.
fn visit(rig: &Rig, server: &Server, stop: &Stop) -> Result<(Vec<String>, String)> {
    let place = Place::new(server.name, &rig.pong)?;
    let mut running = Running::start(server.name, &mut (server.start)(&place)?)?;
    running.wait_until(&server.ready, place.port, stop)?;
    let load = server.load.with_context(|| format!("{} has no load", server.name))?;
    let mut load = Running::start("the load", &mut load(&place)?)?;
    load.wait_until(&server.loaded, place.port, stop)?;
    let name = format!("syscalls-{}", server.name);
    let status = rig.run(&name, rig.syscalls(running.pid()), stop)?;
    let read = |kind: &str| {
        let file = rig.output.join(format!("{name}.{kind}"));
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let mut faults = faults(&serde_json::from_str(&read("json")?)?);
    if !status.success() {
        faults.push(format!("profiler ended with {status}"));
    }
    load.check_lives()?;
    running.check_answers(&server.question, place.port, stop)?;
    Ok((faults, read("txt")?))
}

/// What is wrong with a report on a healthy server.
fn faults(report: &Value) -> Vec<String> {
    let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let of =
        |finding: &Value, key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut faults: Vec<String> = findings
        .iter()
        .filter(|finding| of(finding, "severity") != "info")
        .map(|finding| {
            format!("a finding on a healthy server: {}: {}", of(finding, "rule"), of(finding, "text"))
        })
        .collect();
    if findings.first().is_none_or(|first| of(first, "rule") != ANSWER) {
        faults.push(format!("the first finding is not {ANSWER}"));
    }
    faults
}

/// The answer and the table, indented as code: without the stacks, and without what is the same in each report.
fn shown(report: &str) -> String {
    let is_over = |line: &&str| !line.starts_with("Call stacks") && !line.starts_with("coverage");
    let lines: Vec<&str> = report.lines().take_while(is_over).collect();
    let ledger = report.lines().find(|line| line.starts_with("coverage"));
    let text = lines.join("\n").trim_end().to_owned();
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

const HEAD: &str = "\
# System calls of real servers

What `profiler syscalls` says about servers as their packages bring them, under load. The page is written by
`cargo xtask field --syscalls --write-docs`, which installs the servers by apt, runs them on the loopback interface only, and fails
if anything is called pointless, if the answer is limited, or if a server does not live and answer afterwards.

`profiler syscalls --children --max-cost 100% --for 4s`; the stacks are left out here.
";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_information_is_said_of_a_healthy_server() {
        let time = || json!({"rule": "syscalls.time", "severity": "info", "text": "read takes 90 %."});
        assert_eq!(faults(&json!({"findings": [time()]})), [""; 0]);
        let storm = json!({"rule": "syscalls.futex_storm", "severity": "problem", "text": "Threads wake."});
        assert_eq!(
            faults(&json!({"findings": [storm, time()]})),
            [
                "a finding on a healthy server: syscalls.futex_storm: Threads wake.",
                "the first finding is not syscalls.time"
            ]
        );
        assert_eq!(faults(&json!({})).len(), 1);
    }

    #[test]
    fn the_page_has_the_answer_the_table_and_the_ledger() {
        let report = "read takes it.\n\nSystem calls\n\n  Call\n  read\n\nCall stacks, innermost call first\n\n  read\n\n\
                      coverage  complete, 2 hits\ncost      little\n";
        let expected = "    read takes it.\n\n    System calls\n\n      Call\n      read\n\n    coverage  complete, 2 hits";
        assert_eq!(shown(report), expected);
    }
}
