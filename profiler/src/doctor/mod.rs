//! `doctor`: can this machine and this process be observed, and if not, what would change that?
//!
//! Nothing is concluded from version numbers: everything is tried, or read where the kernel says it, and has one of
//! three answers. Looking is separate from judging: most modules look, the verdict and the renderers are pure. The
//! probes for a process come from the same plan that an observation follows. Nothing is attached to the process, except
//! for a moment programs that count its calls, if the caller wants to know the cost of an observation.

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

/// Version of the form of a diagnosis. New fields keep it; removing a field or changing its meaning raises it.
pub const SCHEMA: u32 = 1;

const SAFETY_STOP: u8 = ExitCode::SafetyStop.code();

/// All findings of a run.
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
    /// Every question that was asked, with its answer.
    pub checks: Vec<Check>,
    /// The process, if one was asked about.
    pub target: Option<Target>,
    /// What each tool can do here.
    pub tools: Vec<ToolState>,
    /// What a hit of a probe costs here; absent if it could not be measured.
    pub cost: Option<Cost>,
    /// Why the cost could not be measured.
    pub cost_unknown: Option<String>,
}

impl Diagnosis {
    /// The exit code of the run that made this: if the tools would refuse the process, the code with which they would.
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

/// Examines this machine and, if `pid` is given, that process. `count`: counts its calls for less than a second, to
/// estimate the cost of an observation.
///
/// # Errors
/// If there is no such process, or if it is a thread or a kernel thread. A process that cannot be observed is not an
/// error: the diagnosis says so.
pub fn examine(pid: Option<u32>, count: bool) -> Result<Diagnosis> {
    let process = pid.map(Process::open).transpose()?;
    let may_bpf = privileges::may_bpf();
    let mut checks = kernel::checks(may_bpf);
    let method = kernel::best_method(&checks);
    let mut tools = tools::trials(method, kernel::tracepoints_work(&checks));
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

/// Puts the pid of this process into the commands.
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
