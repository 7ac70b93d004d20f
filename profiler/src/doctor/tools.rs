//! What each tool can do here, as the registry of tools has it.

use serde::{Deserialize, Serialize};

use super::check::Answer;
use crate::{
    capture::{cost::prices::Traps, uprobe::Method},
    error::{Error, ErrorKind},
    exit::ExitCode,
    target::{modules::Modules, process::Process},
    tool::{
        About, TOOLS,
        foresight::{AllocatorFound, Forecast, Foresight, Site},
    },
};

/// What a tool can do here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ToolState {
    /// Its name on the command line.
    pub name: String,
    /// The question that it answers.
    pub question: String,
    /// Whether it can observe here, and the process, if one was asked about.
    pub answer: Answer,
    /// Why, if the answer is not yes.
    pub why: Option<String>,
    /// What would change the answer.
    pub remedy: Option<String>,
    /// Exit code with which the tool would refuse the process, as it is and with the default options; absent if it would
    /// not, or if no process was asked about.
    #[serde(default)]
    pub refused_with: Option<u8>,
    /// How it would attach probes to functions; absent if it has none, or if no way works.
    pub attached_by: Option<String>,
    /// Allocators that were found in the process, and where.
    pub allocators: Vec<AllocatorFound>,
    /// The functions of the process that it would probe or leave out.
    pub sites: Vec<Site>,
    /// What it would tell about the process.
    pub notes: Vec<String>,
    /// What it would cost the process; absent with the reason in `forecast_unknown`.
    #[serde(default)]
    pub forecast: Option<Forecast>,
    /// Why that is not known, if a process was asked about.
    #[serde(default)]
    pub forecast_unknown: Option<String>,
    /// What it sees.
    pub sees: Vec<String>,
    /// What it never sees.
    pub cannot_see: Vec<String>,
    /// What it does not find out on this kernel, and why.
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// A tool that was tried.
pub(super) struct Tried {
    tool: &'static About,
    pub(super) state: ToolState,
    /// Whether its probes let a process with a seccomp filter live.
    filters: Answer,
}

/// Tries every tool on processes of our own. `method`: the best way of attaching to functions, if one works.
/// `tracepoints`: whether programs can be attached to tracepoints.
pub(super) fn trials(method: Option<Method>, tracepoints: Answer) -> Vec<Tried> {
    TOOLS.iter().map(|tool| trial(tool, method, tracepoints)).collect()
}

fn trial(tool: &'static About, method: Option<Method>, tracepoints: Answer) -> Tried {
    // A tool without probes on functions needs no way of attaching them, but tracepoints.
    let without_uprobes = || (tracepoints == Answer::Yes).then(|| method.unwrap_or(Method::Perf));
    let tried = if tool.has_uprobes { method } else { without_uprobes() }.map(tool.trial);
    let (answer, why, filters) = match &tried {
        None => (Answer::CannotTell, Some("no probe could be attached".to_owned()), Answer::CannotTell),
        Some(Ok(_)) => (Answer::Yes, None, Answer::Yes),
        // It is about processes under a filter: others can be observed.
        Some(Err(error)) if error.kind() == ErrorKind::Safety => (Answer::Yes, None, Answer::No),
        Some(Err(error)) => (Answer::No, Some(error.to_string()), Answer::CannotTell),
    };
    let (lacks, advice) = match tried {
        Some(Ok(lacks)) => (lacks, None),
        Some(Err(error)) => (Vec::new(), error.advice().map(str::to_owned)),
        None => (Vec::new(), None),
    };
    let words = |list: &[&str]| list.iter().map(|&words| words.to_owned()).collect();
    let state = ToolState {
        name: tool.name.to_owned(),
        question: tool.question.to_owned(),
        answer,
        remedy: advice.filter(|_| why.is_some()),
        why,
        refused_with: None,
        attached_by: method.filter(|_| tool.has_uprobes).map(|method| method.name().to_owned()),
        allocators: Vec::new(),
        sites: Vec::new(),
        notes: Vec::new(),
        forecast: None,
        forecast_unknown: None,
        sees: words(tool.sees),
        cannot_see: words(tool.cannot_see),
        lacks,
    };
    Tried { tool, state, filters }
}

/// Whether return probes let processes with a seccomp filter live, as far as the tools found out.
pub(super) fn filters(tools: &[Tried]) -> Answer {
    let with_uprobes = || tools.iter().filter(|tried| tried.tool.has_uprobes);
    let any = |answer| with_uprobes().any(|tried| tried.filters == answer);
    match () {
        () if any(Answer::No) => Answer::No,
        () if any(Answer::Yes) => Answer::Yes,
        () => Answer::CannotTell,
    }
}

impl Tried {
    /// Asks the tool what it would do with a process.
    pub(super) fn foresee(&mut self, pid: u32, modules: &mut Modules, method: Option<Method>) {
        let foreseen = Process::open(pid).and_then(|process| (self.tool.foresee)(process, modules, method));
        match foreseen {
            Ok(Foresight { allocators, sites, refused, notes }) => {
                (self.state.allocators, self.state.sites, self.state.notes) = (allocators, sites, notes);
                if let Some(error) = refused {
                    self.refuse(&error);
                }
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Counts what the process does for a moment, and says what it would cost it. A process that is refused is left
    /// alone.
    pub(super) fn predict(&mut self, pid: u32, modules: &mut Modules, method: Option<Method>, traps: &Traps) {
        let Some(method) = method.filter(|_| self.state.answer == Answer::Yes) else {
            self.state.forecast_unknown = Some("it cannot be observed".to_owned());
            return;
        };
        if self.tool.has_uprobes && method < Method::Multi {
            let why = "before Linux 6.6 calls cannot be counted without costing more than the count saves; the first two \
                       seconds of an observation tell";
            self.state.forecast_unknown = Some(why.to_owned());
            return;
        }
        let predicted =
            Process::open(pid).and_then(|process| (self.tool.predict)(process, modules, method, traps));
        match predicted {
            Ok(Some(forecast)) => {
                if forecast.is_over() {
                    self.state.refused_with = Some(ExitCode::SafetyStop.code());
                }
                self.state.forecast = Some(forecast);
            }
            Ok(None) => {
                let why = if self.tool.has_uprobes {
                    "no thread of it ran for a hundredth of the time while calls were counted"
                } else {
                    "it is measured when the tool starts, which ends with exit code 5 if it is above --max-cost"
                };
                self.state.forecast_unknown = Some(why.to_owned());
            }
            Err(error) => self.state.forecast_unknown = Some(error.to_string()),
        }
    }

    fn refuse(&mut self, error: &Error) {
        // Without privileges, what may not be read may still be observable with them.
        let unknown = error.kind() == ErrorKind::Permission && !rustix::process::geteuid().is_root();
        self.state.answer = if unknown { Answer::CannotTell } else { Answer::No };
        self.state.refused_with = (!unknown).then(|| error.exit_code().code());
        self.state.why = Some(error.to_string());
        self.state.remedy = error.advice().map(str::to_owned);
    }
}
