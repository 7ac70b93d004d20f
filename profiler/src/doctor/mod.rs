//! `doctor`: can this machine and this process be observed, and if not, what would change that?
//!
//! No fact is concluded from a version number: it is tried, or read where the kernel says it. Each has three possible answers. Looking and
//! judging are apart: the parts of this module look, the verdict and the renderers are pure. What would be probed in the
//! process asked about comes from the same plan that an observation follows. Nothing is attached to it, but for a moment
//! programs that count its calls, if the caller wants to know what an observation would cost.

mod activity;
mod check;
mod code;
mod container;
mod cost;
mod helpers;
mod kernel;
mod names;
mod privileges;
mod refusal;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema;
mod target;
mod tools;
mod verdict;

use serde::{Deserialize, Serialize};

use self::privileges::Wanted;
pub use self::{
    check::{Answer, Area, Check, Need},
    code::{Code, WithoutTables},
    cost::{Cost, Figure},
    target::{RuntimeFound, Target},
    tools::ToolState,
    verdict::{Readiness, Verdict},
};
use crate::{
    capture::{cost::prices::Traps, uprobe::Method},
    error::{Error, ErrorKind, Result},
    exit::ExitCode,
    target::process::Process,
    text::Text,
};

/// Version of the form of a diagnosis. Adding a field keeps it; removing one or changing a meaning raises it.
pub const SCHEMA: u32 = 1;

const SAFETY_STOP: u8 = ExitCode::SafetyStop.code();

/// Everything that was found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// Version of this form.
    pub schema: u32,
    /// Version of profiler.
    pub version: String,
    /// Host name.
    pub host: Text,
    /// Kernel release.
    pub kernel: String,
    /// The answer.
    pub verdict: Verdict,
    /// Every question that was asked, and its answer.
    pub checks: Vec<Check>,
    /// The process, if one was asked about.
    pub target: Option<Target>,
    /// What each tool can do here.
    pub tools: Vec<ToolState>,
    /// What a hit of a probe costs here; absent if it could not be measured.
    pub cost: Option<Cost>,
    /// Why it could not be measured.
    pub cost_unknown: Option<String>,
}

impl Diagnosis {
    /// The exit code of the run that made this: the one with which the tools would refuse the process, if they would.
    pub fn exit_code(&self) -> ExitCode {
        match self.verdict.readiness {
            Readiness::Ready | Readiness::ReadyWithLimits => ExitCode::Ok,
            Readiness::NotReady => {
                let unsafe_alone = self.tools.iter().all(|tool| tool.refused_with == Some(SAFETY_STOP));
                let blocked = self.checks.iter().any(Check::blocks);
                if unsafe_alone && !blocked { ExitCode::SafetyStop } else { ExitCode::CannotObserve }
            }
        }
    }
}

/// Finds out everything about this machine and, if `pid` is given, about that process. `count`: its calls are counted
/// for less than a second, which tells what an observation would cost.
///
/// # Errors
/// If there is no such process, or if it is a thread or a kernel thread. That it cannot be observed is no error, but the
/// diagnosis.
pub fn examine(pid: Option<u32>, count: bool) -> Result<Diagnosis> {
    let process = pid.map(Process::open).transpose()?;
    let may_bpf = privileges::may_bpf();
    let mut checks = kernel::checks(may_bpf);
    let method = kernel::best_method(&checks);
    let mut tools = tools::trials(method);
    let filters = tools::filters(&tools);
    checks.push(kernel::filters_check(filters, may_bpf));
    let examined = process.as_ref().map(|process| target::examine(process, filters));
    let (cost, traps, cost_unknown) = match method {
        Some(method) => cost::measure(method),
        None => (None, Traps::ASSUMED, Some("no probe can be attached".to_owned())),
    };
    let (mut files, mut target_checks, mut target) = (None, Vec::new(), None);
    if let (Some(process), Some(mut examined)) = (&process, examined) {
        for tool in &mut tools {
            tool.foresee(process.pid(), &mut examined.modules, method);
            if count {
                tool.predict(process.pid(), &mut examined.modules, method, &traps);
            }
        }
        (files, target_checks, target) = (examined.files, examined.checks, Some(examined.target));
    }
    let functions =
        tools.iter().map(|tool| tool.state.sites.len() as u64).max().filter(|_| process.is_some());
    let multi = method.is_some_and(|method| method >= Method::Multi);
    let wanted = Wanted { files, functions, multi, bpf: kernel::bpf_works(&checks) };
    checks.extend(privileges::checks(wanted));
    checks.extend(target_checks);
    name_process(&mut checks, pid);
    if let Some(process) = process.filter(Process::ended) {
        return Err(ended(process.pid()));
    }
    let tools: Vec<ToolState> = tools.into_iter().map(|tool| tool.state).collect();
    let system = rustix::system::uname();
    Ok(Diagnosis {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: Text::from(system.nodename().to_bytes()),
        kernel: system.release().to_string_lossy().into_owned(),
        verdict: Verdict::of(&checks, &tools),
        checks,
        target,
        tools,
        cost,
        cost_unknown,
    })
}

/// Makes the commands those for this process.
fn name_process(checks: &mut [Check], pid: Option<u32>) {
    const ASK: &str = "profiler doctor";
    let Some(pid) = pid else { return };
    for fix in checks.iter_mut().filter_map(|check| check.fix.as_mut()) {
        *fix = fix.replace("PID", &pid.to_string()).replace(ASK, &format!("{ASK} --pid {pid}"));
    }
}

fn ended(pid: u32) -> Error {
    Error::new(ErrorKind::NoSuchProcess, format_args!("tried to examine process {pid}"))
        .because("it ended meanwhile")
        .hint("start it again, and give its new pid")
}
