//! The end of a launched command: it is ended when the observation is over, and the report says how.

use std::{
    future::Future,
    os::unix::process::ExitStatusExt as _,
    pin::{Pin, pin},
    process::ExitStatus,
    time::Duration,
};

use super::{
    observation::monotonic_ns,
    rules::{COMMAND_FAILED, COMMAND_KILLED},
    run::{Event, Run},
};
use crate::{
    report::{Finding, Report, Severity, Target},
    target::{
        family::MOST_NAMED,
        launch::{self, Ending, Grace},
        process::name_of,
        status::Status,
    },
    text::Text,
    units,
};

impl Run<'_> {
    /// Notes which targets have ended, and how.
    pub(super) fn note_ends(&mut self) {
        let launched = self.on.launched.as_mut().map(|launched| (launched.pid(), launched.ended()));
        let mut gone = Vec::new();
        for space in self.on.spaces.iter_mut().filter(|s| s.ended.is_none()) {
            if space.process.ended() {
                let of_command = launched.filter(|(pid, _)| *pid == space.process.pid());
                let status = of_command.and_then(|(_, status)| status);
                let status = status.or_else(|| space.process.exit_status());
                space.end(status.map_or_else(|| "ended".to_owned(), how), monotonic_ns());
                space.killed_by = status.and_then(|status| status.signal());
                space.release();
                gone.push(space.number);
            }
        }
        self.joining.passing.retain(|_, process| !process.ended());
        for number in gone {
            self.on.tracker.forget(number);
            self.forget(number);
        }
    }

    /// Ends a launched command, unless it is to be left running, and writes into the report how it ended. Call this after the
    /// probes were detached and names were looked up: a command that ends frees its memory.
    ///
    /// `stop` cuts the grace short.
    pub(super) async fn end_command(
        &mut self,
        report: &mut Report,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Event<'_>),
    ) {
        let Some(launched) = &mut self.on.launched else { return };
        let ending = end(launched, pin!(stop), tell).await;
        let pid = launched.pid();
        let of_command = report.meta.targets.iter_mut().rev().find(|target| target.pid == pid);
        // If it ended under observation, that is already in the report.
        if let Some(target) = of_command.filter(|target| target.ended.is_none())
            && let Some(words) = words(ending)
        {
            target.ended = Some(words);
            target.killed_by = signal(ending);
        }
        // If our breakpoints killed it, there is a finding for that.
        if report.meta.targets.iter().any(Target::died_of_breakpoint) {
            return;
        }
        if let Some(finding) = finding(ending, report.meta.length()) {
            report.add_finding(finding);
        }
    }
}

async fn end(
    launched: &mut launch::Waiting,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    tell: &mut impl FnMut(Event<'_>),
) -> Ending {
    let by_itself = launched.ended();
    let (pid, grace) = (launched.pid(), launched.manner().grace);
    if launched.manner().leave_running {
        if by_itself.is_none() {
            let is_stopped = Status::read(pid).is_ok_and(|status| status.state == Some('T'));
            tell(Event::Notice(&goes_on(pid, is_stopped)));
        }
        return by_itself.map_or(Ending::Running, Ending::ByItself);
    }
    let mut killed = None;
    if launched.ask_to_end() {
        let who = if by_itself.is_some() { "what the command started" } else { "the command" };
        let time = units::duration(grace);
        tell(Event::Notice(&format!(
            "{who} is asked to end (SIGTERM), and has {time} for it; Ctrl-C ends it at once"
        )));
        let asked = Grace::begin(grace);
        while let Some(pause) = asked.wait(launched.gone()) {
            if tokio::time::timeout(pause, stop.as_mut()).await.is_ok() {
                break;
            }
        }
        if !launched.gone() {
            killed = launched.ended().is_none().then(|| asked.had());
            launched.kill();
        }
    }
    let ended = launched.ended();
    // Processes that have left the group of the command are not asked to end.
    if let Some(line) = ended.and_then(|_| left_the_group(&launched.left_behind())) {
        tell(Event::Notice(&line));
    }
    match (by_itself, killed, ended) {
        (Some(status), ..) => Ending::ByItself(status),
        (None, None, Some(status)) => Ending::Asked(status),
        (None, after, _) => Ending::Killed(after.unwrap_or(grace)),
    }
}

/// Says that a command keeps running. A stopped process acts on a signal only when it is resumed.
fn goes_on(pid: u32, is_stopped: bool) -> String {
    if is_stopped {
        return format!(
            "the command stays as process {pid}, stopped; end it with: kill {pid} && kill -CONT {pid}"
        );
    }
    format!("the command goes on as process {pid}; end it with: kill {pid}")
}

/// Says which processes of a command outlive it. Daemons have a process group of their own and are not ended.
fn left_the_group(pids: &[u32]) -> Option<String> {
    let first = *pids.first()?;
    let name = Text::from(name_of(first).unwrap_or_default().as_slice()).terminal();
    let (more, go) = match pids.len() - 1 {
        0 => (String::new(), "goes"),
        more => (format!(" and {more} more"), "go"),
    };
    let typed: Vec<String> = pids.iter().take(MOST_NAMED).map(u32::to_string).collect();
    Some(format!(
        "{name} (pid {first}){more} left the process group of the command, and {go} on; to end: kill {}",
        typed.join(" ")
    ))
}

/// What the report says of the command; nothing while it runs.
fn words(ending: Ending) -> Option<String> {
    Some(match ending {
        Ending::Running => return None,
        Ending::ByItself(status) => how(status),
        Ending::Asked(status) if status.signal() == Some(libc::SIGTERM) => {
            "ended by profiler (SIGTERM)".to_owned()
        }
        Ending::Asked(status) => format!("{} after SIGTERM from profiler", how(status)),
        Ending::Killed(after) => {
            let after = units::duration(after);
            format!("ended by profiler (SIGKILL), since it did not end within {after} of SIGTERM")
        }
    })
}

/// The signal that killed it after the observation. Not SIGTRAP: in a report that means one of our breakpoints, and they are gone
/// by then.
fn signal(ending: Ending) -> Option<i32> {
    match ending {
        Ending::ByItself(status) | Ending::Asked(status) => {
            status.signal().filter(|signal| *signal != libc::SIGTRAP)
        }
        Ending::Killed(_) => Some(libc::SIGKILL),
        Ending::Running => None,
    }
}

/// How a process ended, in words.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some(name) => format!("killed by signal {signal} ({name})"),
            None => format!("killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// How a process ended, after its name.
pub(crate) fn predicate(how: &str) -> String {
    let was = if how.starts_with("killed") { "was " } else { "" };
    format!("{was}{how}")
}

/// The finding about the end of a command. There is none if its exit code is 0. A command that was asked to end may end with any
/// exit code, but not by a fault.
fn finding(ending: Ending, length: Duration) -> Option<Finding> {
    let failed = |status, when: String| {
        let words = format!("The command {} {when}.", predicate(&how(status)));
        Some(Finding::plain(COMMAND_FAILED, Severity::Problem, words))
    };
    match ending {
        Ending::ByItself(status) if !status.success() => {
            failed(status, format!("after {}", units::duration(length)))
        }
        Ending::Asked(status) if status.signal().is_some_and(|signal| signal != libc::SIGTERM) => {
            failed(status, "when it was asked to end".to_owned())
        }
        Ending::Killed(after) => {
            let after = units::duration(after);
            let words = format!("The command did not end within {after} of SIGTERM, and was killed.");
            Some(Finding::plain(COMMAND_KILLED, Severity::Info, words))
        }
        _ => None,
    }
}

/// The names of signals that end processes.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(12);

    fn said(ending: Ending) -> (Option<String>, Option<String>) {
        (words(ending), finding(ending, LENGTH).map(|finding| finding.text))
    }

    #[test]
    fn only_a_failure_is_a_finding() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = ExitStatus::from_raw;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said(Ending::ByItself(exit(0))), (some("ended with exit code 0"), None));
        assert_eq!(
            said(Ending::ByItself(exit(3))),
            (some("ended with exit code 3"), some("The command ended with exit code 3 after 12s."))
        );
        assert_eq!(
            said(Ending::ByItself(signal(11))).1,
            some("The command was killed by signal 11 (SIGSEGV) after 12s.")
        );
        assert_eq!(said(Ending::Asked(signal(15))), (some("ended by profiler (SIGTERM)"), None));
        assert_eq!(
            said(Ending::Asked(exit(143))),
            (some("ended with exit code 143 after SIGTERM from profiler"), None)
        );
        assert_eq!(
            said(Ending::Asked(signal(6))).1,
            some("The command was killed by signal 6 (SIGABRT) when it was asked to end.")
        );
        assert_eq!(
            said(Ending::Killed(Duration::from_secs(10))),
            (
                some("ended by profiler (SIGKILL), since it did not end within 10s of SIGTERM"),
                some("The command did not end within 10s of SIGTERM, and was killed.")
            )
        );
        assert_eq!(said(Ending::Running), (None, None));
    }

    #[test]
    fn processes_that_keep_running_are_named_with_the_command_that_ends_them() {
        assert_eq!(goes_on(7, false), "the command goes on as process 7; end it with: kill 7");
        assert!(goes_on(7, true).ends_with("stopped; end it with: kill 7 && kill -CONT 7"));
        assert_eq!(left_the_group(&[]), None);
        let own = std::process::id();
        let one = left_the_group(&[own]).unwrap();
        assert!(
            one.contains(&format!("(pid {own}) left the process group of the command, and goes on; ")),
            "{one}"
        );
        assert!(one.ends_with(&format!("to end: kill {own}")), "{one}");
        let two = left_the_group(&[own, 1]).unwrap();
        assert!(two.contains(" and 1 more left ") && two.ends_with(&format!("kill {own} 1")), "{two}");
    }

    #[test]
    fn a_sigtrap_after_the_probes_are_gone_is_not_ours() {
        let trap = Ending::Asked(ExitStatus::from_raw(libc::SIGTRAP));
        assert_eq!(signal(trap), None);
        assert_eq!(
            said(trap),
            (
                Some("killed by signal 5 (SIGTRAP) after SIGTERM from profiler".to_owned()),
                Some("The command was killed by signal 5 (SIGTRAP) when it was asked to end.".to_owned())
            )
        );
        assert_eq!(signal(Ending::Asked(ExitStatus::from_raw(libc::SIGABRT))), Some(libc::SIGABRT));
    }
}
