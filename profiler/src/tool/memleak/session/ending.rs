//! The end of a launched command: it is ended when the observation is over, and the report says how it ended.

use std::{
    future::Future,
    os::unix::process::ExitStatusExt as _,
    pin::Pin,
    process::ExitStatus,
    time::{Duration, Instant},
};

use super::{Event, Session};
use crate::{
    exit::ExitCode,
    report::{Ended, Finding, Report, Severity},
    target::launch::{self, Ending},
    units,
};

/// How often the end of a command is looked for while it may take its time.
const PAUSE: Duration = Duration::from_millis(10);

/// The command ended by itself, and not well.
pub(super) const FAILED: &str = "command.failed";
/// The command did not end when it was asked to.
pub(super) const KILLED: &str = "command.killed";

impl Session<'_> {
    /// Ends a launched command, unless it is to be left running, and writes into the report how it ended. Until then
    /// the probes are taken away and names are looked up: a command that ends frees what it held.
    ///
    /// `stop` cuts the grace short, where it was not what ended the observation.
    pub(super) async fn end_command(
        &mut self,
        report: &mut Report,
        stop: Pin<&mut impl Future<Output = ()>>,
        tell: &mut impl FnMut(Event<'_>),
    ) {
        let stop = (report.meta.ended != Ended::Interrupted).then_some(stop);
        let Some(launched) = &mut self.launched else { return };
        let ending = end(launched, stop, tell).await;
        let pid = launched.pid();
        if let Some(target) = report.meta.targets.iter_mut().rev().find(|target| target.pid == pid)
            && let Some(words) = words(ending, launched.manner().grace)
        {
            target.ended = Some(words);
            target.killed_by = signal(ending);
        }
        // One that died of our breakpoints has its finding.
        if report.exit_code() == ExitCode::SafetyStop {
            return;
        }
        if let Some(finding) = finding(ending, report.meta.length(), launched.manner().grace) {
            report.add_finding(finding);
        }
    }
}

async fn end(
    launched: &mut launch::Waiting,
    mut stop: Option<Pin<&mut impl Future<Output = ()>>>,
    tell: &mut impl FnMut(Event<'_>),
) -> Ending {
    let by_itself = launched.ended();
    let (pid, grace) = (launched.pid(), launched.manner().grace);
    if launched.manner().leave_running {
        if by_itself.is_none() {
            tell(Event::Notice(&format!("the command goes on as process {pid}; end it with: kill {pid}")));
        }
        return by_itself.map_or(Ending::Running, Ending::ByItself);
    }
    let mut killed = false;
    if launched.ask_to_end() {
        let who = if by_itself.is_some() { "what the command started" } else { "the command" };
        let time = units::duration(grace);
        tell(Event::Notice(&format!("{who} is asked to end (SIGTERM), and has {time} for it")));
        let deadline = Instant::now() + grace;
        while !launched.gone() && !killed {
            killed = Instant::now() >= deadline;
            match &mut stop {
                Some(stop) => killed |= tokio::time::timeout(PAUSE, stop.as_mut()).await.is_ok(),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        if killed {
            killed = launched.ended().is_none();
            launched.kill();
        }
    }
    match (by_itself, launched.ended()) {
        (Some(status), _) => Ending::ByItself(status),
        (None, Some(status)) if !killed => Ending::Asked(status),
        _ => Ending::Killed,
    }
}

/// What the report says of the command; nothing while it runs.
fn words(ending: Ending, grace: Duration) -> Option<String> {
    Some(match ending {
        Ending::Running => return None,
        Ending::ByItself(status) => how(status),
        Ending::Asked(status) if status.signal() == Some(libc::SIGTERM) => {
            "ended by profiler (SIGTERM)".to_owned()
        }
        Ending::Asked(status) => format!("asked to by profiler (SIGTERM), {}", how(status)),
        Ending::Killed => {
            format!(
                "ended by profiler (SIGKILL), since it did not within {} of SIGTERM",
                units::duration(grace)
            )
        }
    })
}

/// The signal that it died of.
fn signal(ending: Ending) -> Option<i32> {
    match ending {
        Ending::ByItself(status) | Ending::Asked(status) => status.signal(),
        Ending::Killed => Some(libc::SIGKILL),
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

/// What is to be known of the end of a command before its exit code is 0. One that is asked to end may end with any
/// code, but not by a fault.
fn finding(ending: Ending, length: Duration, grace: Duration) -> Option<Finding> {
    let failed = |status, when: String| {
        let how = how(status);
        let was = if how.starts_with("killed") { "was " } else { "" };
        Some(Finding::plain(FAILED, Severity::Problem, format!("The command {was}{how} {when}.")))
    };
    match ending {
        Ending::ByItself(status) if !status.success() => {
            failed(status, format!("after {}", units::duration(length)))
        }
        Ending::Asked(status) if status.signal().is_some_and(|signal| signal != libc::SIGTERM) => {
            failed(status, "when it was asked to end".to_owned())
        }
        Ending::Killed => {
            let grace = units::duration(grace);
            let words = format!("The command did not end within {grace} of SIGTERM, and was killed.");
            Some(Finding::plain(KILLED, Severity::Info, words))
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
    const GRACE: Duration = Duration::from_secs(10);

    fn said(ending: Ending) -> (Option<String>, Option<String>) {
        (words(ending, GRACE), finding(ending, LENGTH, GRACE).map(|finding| finding.text))
    }

    #[test]
    fn only_an_end_that_is_not_well_is_a_finding() {
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
            (some("asked to by profiler (SIGTERM), ended with exit code 143"), None)
        );
        assert_eq!(
            said(Ending::Asked(signal(6))).1,
            some("The command was killed by signal 6 (SIGABRT) when it was asked to end.")
        );
        assert_eq!(
            said(Ending::Killed).1,
            some("The command did not end within 10s of SIGTERM, and was killed.")
        );
        assert_eq!(said(Ending::Running), (None, None));
    }
}
