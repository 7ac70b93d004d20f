//! The results in tables: on the terminal, and kept in `docs/field.md`.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::{loss::Loss, observe::Answer};
use crate::{process, workspace};

/// The result of a server's run.
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) does: &'static str,
    /// Why the expected first line is right.
    pub(super) because: &'static str,
    /// The package's version; empty for what we build.
    pub(super) version: String,
    /// The first line, if there was a report.
    pub(super) answer: Option<Answer>,
    pub(super) loss: Option<Loss>,
    /// Everything that is not as expected; empty if all is well.
    pub(super) faults: Vec<String>,
}

/// One line per server, and one per fault.
pub(super) fn print(outcomes: &[Outcome]) {
    println!();
    for outcome in outcomes {
        let mark = if outcome.faults.is_empty() { "ok  " } else { "FAIL" };
        println!("{mark} {:<18} {}", outcome.name, outcome.answer.as_ref().map_or("", |answer| &answer.text));
        if let Some(loss) = outcome.loss {
            println!("     {:<18} {}", "", figures(&loss));
        }
        for fault in &outcome.faults {
            println!("     {:<18} ! {fault}", "");
        }
    }
}

fn figures(loss: &Loss) -> String {
    let [measured, predicted, reported] =
        [loss.measured_share, loss.predicted_share, loss.reported_share].map(percent);
    let [without, with] = done(loss);
    format!("{without} -> {with}: lost {measured}, predicted {predicted}, reported {reported}")
}

/// The server's work without and with observation, in words.
fn done(loss: &Loss) -> [String; 2] {
    loss.work_per_s.map_or_else(
        || [loss.busy.without, loss.busy.with].map(|busy| format!("{} of a CPU", percent(busy))),
        |work| [work.without, work.with].map(|work| format!("{:.1}k/s", work / 1000.0)),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Writes `docs/field.md`.
pub(super) fn write_docs(outcomes: &[Outcome], how: &str) -> Result<()> {
    let file = workspace::root().join("docs/field.md");
    let release = process::ask(process::command("uname").arg("-r")).unwrap_or_default();
    // What follows the version is the name of a build.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    fs::write(&file, page(outcomes, how, kernel))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

/// The page, from the results of all servers.
fn page(outcomes: &[Outcome], how: &str, kernel: &str) -> String {
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "\n`{how}`, Linux {kernel}.\n\n| server | version | what it did | first line | why that is right |\n|---|---|---|---|---|\n"
    );
    for outcome in outcomes {
        let version = if outcome.version.is_empty() { "ours" } else { &outcome.version };
        let text = outcome.answer.as_ref().map_or("", |answer| &answer.text);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            outcome.name,
            version,
            outcome.does,
            cell(text),
            outcome.because
        );
    }
    page.push_str(LOSS);
    for outcome in outcomes {
        let Some(loss) = outcome.loss else { continue };
        let [without, with] = done(&loss);
        let [measured, predicted, reported] =
            [loss.measured_share, loss.predicted_share, loss.reported_share].map(percent);
        let _ = writeln!(
            page,
            "| {} | {without} | {with} | {measured} | {predicted} | {reported} |",
            outcome.name
        );
    }
    page
}

/// Text from a server, as the cell of a table in Markdown.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' => cell.extend(['\\', c]),
            '\n' => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

const HEAD: &str = "\
# First lines on real servers

What `profiler memleak` says first about servers as their packages bring them, each with a load of its own. The page is
written by `cargo xtask field --write-docs`, which installs the servers by apt, runs them on the loopback interface only,
and fails if a first line is not the one that was judged to be right, if a server does not live and answer afterwards, or if
the predicted cost is off by more than a quarter and two points.

The ages and times are short, to keep the run short: on a server of yours, `--older` is longer than anything honest lives.
No price is too high here (`--max-cost 100%`): under these loads some would be refused otherwise.
";

const LOSS: &str = "
## What it cost them

Medians of three rounds with and three without an observation, in turns. Redis and nginx: commands or requests per second,
as the server counts them, under a load that keeps it busy. pong does the same work whatever that takes: its processor time.
*Lost* is the share of the server's busy time that the probes took, by the work that it did in a second of its processor
time. *Predicted* is what was said before the probes came, *reported* what the report says.

Other programs change what a server does in a second, but hardly the share of its own
time that is lost.

| server | without | with | lost | predicted | reported |
|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::loss::Pair;

    #[test]
    fn the_page_has_a_row_per_server_and_per_loss() {
        let answer = Answer { text: "LEAK: Vec<a|b>::push grows.".into(), ..Answer::default() };
        let loss = Loss {
            work_per_s: Some(Pair { without: 92_400.0, with: 45_300.0 }),
            busy: Pair { without: 1.0, with: 1.0 },
            measured_share: 0.51,
            predicted_share: 0.489,
            reported_share: 0.5,
        };
        let paced = Loss { work_per_s: None, busy: Pair { without: 0.1, with: 0.12 }, ..loss };
        let outcome = |name, version: &str, loss| Outcome {
            name,
            does: "plays",
            because: "so",
            version: version.into(),
            answer: Some(answer.clone()),
            loss,
            faults: Vec::new(),
        };
        let page = page(
            &[outcome("a", "1.2", None), outcome("b", "", Some(loss)), outcome("c", "3", Some(paced))],
            "profiler memleak",
            "6.1",
        );
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| ["| a ", "| b ", "| c "].iter().any(|start| line.starts_with(start)))
            .collect();
        assert_eq!(
            rows,
            [
                r"| a | 1.2 | plays | LEAK: Vec\<a\|b\>::push grows. | so |",
                r"| b | ours | plays | LEAK: Vec\<a\|b\>::push grows. | so |",
                r"| c | 3 | plays | LEAK: Vec\<a\|b\>::push grows. | so |",
                "| b | 92.4k/s | 45.3k/s | 51.0 % | 48.9 % | 50.0 % |",
                "| c | 10.0 % of a CPU | 12.0 % of a CPU | 51.0 % | 48.9 % | 50.0 % |",
            ]
        );
    }
}
