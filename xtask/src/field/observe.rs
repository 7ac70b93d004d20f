//! One observation as a sysadmin would make it, and its first line.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::stop::Stop;
use crate::{
    privilege::Privilege,
    process::{self, die_with_us},
};

/// How long profiler may take on top of what it was told to observe.
const PATIENCE: Duration = Duration::from_secs(90);

/// profiler, where it writes to, and how long it looks.
pub(super) struct Rig {
    pub(super) privilege: Privilege,
    pub(super) profiler: PathBuf,
    pub(super) pong: PathBuf,
    /// `target/field`: the reports, to be looked at.
    pub(super) output: PathBuf,
    pub(super) older: Duration,
    pub(super) length: Duration,
}

/// The result of an observation.
pub(super) struct Observed {
    pub(super) status: ExitStatus,
    pub(super) answer: Answer,
}

/// The first finding of a report: its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The stable name of what was found, for example `memleak.leak`.
    pub(super) rule: String,
    /// The sentence.
    pub(super) text: String,
    /// The names from the target in it.
    pub(super) names: Vec<String>,
    /// Frames of the target's executable that have no name and lie further in than the function that the sentence names:
    /// the sentence blames their caller.
    pub(super) stepped_over: Vec<String>,
}

impl Rig {
    /// `profiler memleak` on a process, to be run as root.
    pub(super) fn memleak(&self, pid: Pid) -> Command {
        let mut memleak = self.privilege.command(&self.profiler, &[]);
        memleak.args(["memleak", "--pid", &pid.as_raw_nonzero().to_string()]);
        // The cost is predicted, and no cost is refused.
        memleak.args(["--max-cost", "100%", "--older", &format!("{}s", self.older.as_secs())]);
        memleak
    }

    /// A tool on a process and on what it forks, to be run as root.
    pub(super) fn tool(&self, tool: &str, options: &[&str], pid: Pid) -> Command {
        let mut observation = self.privilege.command(&self.profiler, &[]);
        observation.args([tool, "--pid", &pid.as_raw_nonzero().to_string()]);
        // Children that are there already.
        observation.args(children(pid).iter().flat_map(|child| ["--pid", child]));
        observation.args(["--children", "--max-cost", "100%"]).args(options);
        observation
    }

    /// Observes a process by `memleak`.
    pub(super) fn observe(&self, name: &str, pid: Pid, stop: &Stop) -> Result<Observed> {
        let status = self.run(name, self.memleak(pid), stop)?;
        let answer = read(&self.output.join(format!("{name}.json")))?;
        Ok(Observed { status, answer })
    }

    /// Runs an observation for [`Rig::length`]. The reports are `target/field/NAME.json` and `.txt`.
    pub(super) fn run(&self, name: &str, mut observation: Command, stop: &Stop) -> Result<ExitStatus> {
        observation.args(["--for", &format!("{}s", self.length.as_secs())]);
        self.run_with(name, observation, &[], stop)
    }

    /// Runs an observation of a command that it starts itself, if there is one: from its beginning to its end. What the command prints
    /// is in `target/field/NAME.err`.
    pub(super) fn run_with(
        &self,
        name: &str,
        mut observation: Command,
        observed: &[OsString],
        stop: &Stop,
    ) -> Result<ExitStatus> {
        let [json, text, stderr] =
            ["json", "txt", "err"].map(|kind| self.output.join(format!("{name}.{kind}")));
        for file in [&json, &text] {
            // Files of an earlier run would be taken for results of this one.
            let _ = fs::remove_file(file);
        }
        observation.arg("-o").arg(&json).arg("-o").arg(&text);
        if !observed.is_empty() {
            observation.arg("--").args(observed);
        }
        let said = File::create(&stderr).with_context(|| format!("cannot write {}", stderr.display()))?;
        observation.stdout(Stdio::null()).stderr(said);
        println!("$ {}", process::show(&observation));
        let status = self.wait(&mut observation, stop)?;
        self.privilege.hand_back(&self.output)?;
        if !json.is_file() {
            let said = fs::read_to_string(&stderr).unwrap_or_default();
            bail!("profiler made no report of {name} ({status}):\n{said}");
        }
        Ok(status)
    }

    fn wait(&self, memleak: &mut Command, stop: &Stop) -> Result<ExitStatus> {
        die_with_us(memleak, Signal::INT);
        let mut child = memleak.spawn().context("cannot run profiler")?;
        let deadline = Instant::now() + self.length + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let stopped = stop.check();
            if stopped.is_err() || Instant::now() > deadline {
                // Through the privilege: sudo passes the signal on to what it runs, which takes its probes away.
                let pid = child.id().to_string();
                process::succeeds(self.privilege.command("kill", &[]).args(["-INT", &pid]));
                child.wait()?;
                stopped?;
                bail!("profiler did not end after {:?}", self.length + PATIENCE);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The processes that a process has forked and that live.
fn children(pid: Pid) -> Vec<String> {
    let pid = pid.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

fn read(report: &Path) -> Result<Answer> {
    let text = fs::read_to_string(report).with_context(|| format!("cannot read {}", report.display()))?;
    answer(&serde_json::from_str(&text)?).context("the report has no finding")
}

/// The first finding of a report.
pub(super) fn answer(report: &Value) -> Option<Answer> {
    let finding = report.pointer("/findings/0")?;
    let text = |key: &str| Some(finding.get(key)?.as_str()?.to_owned());
    let parts = finding.get("sentence")?.as_array()?;
    let names: Vec<String> =
        parts.iter().filter_map(|part| Some(part.get("name")?.as_str()?.to_owned())).collect();
    let frames = frames_of_the_first_row(report, finding).unwrap_or_default();
    let stepped_over = names.first().map(|name| stepped_over(report, &frames, name)).unwrap_or_default();
    Some(Answer { rule: text("rule")?, text: text("text")?, names, stepped_over })
}

/// The frames, innermost first, of the first row that a finding rests on.
fn frames_of_the_first_row<'r>(report: &'r Value, finding: &Value) -> Option<Vec<&'r Value>> {
    let index = |pointer: &str| finding.pointer(pointer)?.as_u64().and_then(|n| usize::try_from(n).ok());
    let row =
        report.get("sections")?.get(index("/rows/0/section")?)?.get("rows")?.get(index("/rows/0/row")?)?;
    let at = |of: &Value| of.as_u64().and_then(|n| usize::try_from(n).ok());
    let stack = report.get("stacks")?.get(at(row.pointer("/stacks/0/stack")?)?)?;
    let frames = stack.get("frames")?.as_array()?;
    frames.iter().map(|frame| report.get("frames")?.get(at(frame)?)).collect()
}

/// Frames of the executable without a name, further in than the frame of that name.
fn stepped_over(report: &Value, frames: &[&Value], name: &str) -> Vec<String> {
    let executable = report.pointer("/meta/targets/0/exe").and_then(Value::as_str);
    let is_it = |frame: &&&Value| {
        let functions = frame.get("functions").and_then(Value::as_array);
        functions.into_iter().flatten().any(|function| {
            function.get("name").and_then(Value::as_str).is_some_and(|function| name.contains(function))
        })
    };
    let Some(named) = frames.iter().position(|frame| is_it(&frame)) else { return Vec::new() };
    let unnamed = frames[..named].iter().filter(|frame| {
        let functions = frame.get("functions").and_then(Value::as_array);
        functions.is_none_or(Vec::is_empty) && frame.get("module").and_then(Value::as_str) == executable
    });
    unnamed
        .map(|frame| format!("{:#x}", frame.get("file_offset").and_then(Value::as_u64).unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(unnamed_module: &str) -> Value {
        json!({
            "meta": {"targets": [{"exe": "/usr/bin/server"}]},
            "findings": [{
                "rule": "memleak.leak",
                "text": "LEAK: chat_push grows.",
                "sentence": [{"plain": "LEAK: "}, {"name": "chat_push"}, {"plain": " grows."}],
                "rows": [{"section": 0, "row": 1}],
            }],
            "sections": [{"rows": [{"stacks": [{"stack": 1}]}, {"stacks": [{"stack": 0}]}]}],
            "stacks": [{"frames": [0, 1]}, {"frames": [1]}],
            "frames": [
                {"module": unnamed_module, "functions": [], "file_offset": 4660},
                {"module": "/usr/bin/server", "functions": [{"name": "chat_push"}]},
            ],
        })
    }

    #[test]
    fn the_first_finding_is_the_answer() {
        let answer = answer(&report("/usr/lib/libc.so.6")).unwrap();
        let expected = Answer {
            rule: "memleak.leak".into(),
            text: "LEAK: chat_push grows.".into(),
            names: vec!["chat_push".into()],
            stepped_over: Vec::new(),
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn unnamed_code_of_the_executable_further_in_was_stepped_over() {
        assert_eq!(answer(&report("/usr/bin/server")).unwrap().stepped_over, ["0x1234"]);
    }

    #[test]
    fn a_report_without_a_finding_has_no_answer() {
        assert_eq!(answer(&json!({"findings": []})), None);
    }
}
