//! What a process is, and what that means for observing it.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{
    activity,
    check::{Answer, Area, Check, Need, Question},
    code::{self, Code},
    container, names,
};
use crate::{
    elf::{Image, runtime::Runtime},
    symbolize::Location,
    target::{
        modules::{Layout, Modules},
        process::Process,
        start::Start,
        status::Status,
    },
    text::Text,
};

const PROGRAM: Question = Question {
    name: "program",
    area: Area::Target,
    title: "64-bit x86 program",
    need: Need::Required,
    disables: "tools with probes on its functions, and its stacks: arguments and stacks lie elsewhere",
    remedy: "run a 64-bit build of the server for x86_64",
    fix: Some("file -L /proc/PID/exe"),
};
const MAPPINGS: Question = Question {
    name: "mappings",
    area: Area::Target,
    title: "readable mappings",
    need: Need::Required,
    disables: "every tool: what the process maps is what is probed",
    remedy: "run it as root, with CAP_SYS_PTRACE",
    fix: Some("sudo profiler doctor"),
};
const TABLES: Question = Question {
    name: "unwind_tables",
    area: Area::Target,
    title: "unwind tables",
    need: Need::Useful,
    disables: "whole stacks through the files named: there, frame pointers have to do",
    remedy: "build them with unwind tables",
    fix: Some("gcc -fasynchronous-unwind-tables ...   # or -fno-omit-frame-pointer"),
};
const MADE_CODE: Question = Question {
    name: "jit_names",
    area: Area::Target,
    title: "names of JIT code",
    need: Need::Useful,
    disables: "names of functions that the runtime compiled while it ran",
    remedy: "let the runtime write /tmp/perf-PID.map, if it can",
    fix: None,
};
const FILTER: Question = Question {
    name: "seccomp",
    area: Area::Target,
    title: "seccomp",
    need: Need::Required,
    disables: "every tool with return probes: the filter would kill the target",
    remedy: "a kernel whose return probes pass filters: older than 6.11, or with the fix of 6.14",
    fix: Some("uname -r"),
};
const OWN_HEAP: Question = Question {
    name: "own_heap",
    area: Area::Target,
    title: "heap in sight",
    need: Need::Useful,
    disables: "part of the heap",
    remedy: "the runtime's own tools",
    fix: None,
};
const TRACER: Question = Question {
    name: "not_traced",
    area: Area::Target,
    title: "no debugger",
    need: Need::Useful,
    disables: "trust in times: a debugger stops the target",
    remedy: "detach the debugger or tracer first",
    fix: Some("ps -o pid,args -p $(awk '/TracerPid/ {print $2}' /proc/PID/status)"),
};

/// The process asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// Process id in profiler's own pid namespace.
    pub pid: u32,
    /// Its name.
    pub name: Text,
    /// Its executable as the target sees it; absent if it may not be read.
    pub exe: Option<Text>,
    /// Effective user id.
    pub uid: Option<u32>,
    /// Threads.
    pub threads: Option<u64>,
    /// Its pid inside its own pid namespace, if it differs.
    pub inner_pid: Option<u32>,
    /// Its container: manager and first digits of the id, if it is in one that its cgroup shows.
    pub container: Option<Text>,
    /// Anonymous memory that is resident, in bytes: allocated before the observation began.
    pub anonymous_bytes: Option<u64>,
    /// Runtimes and engines in it.
    pub runtimes: Vec<RuntimeFound>,
    /// Its code: files, symbols, unwind tables; absent if its mappings may not be read.
    pub code: Option<Code>,
}

/// A runtime or an engine in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuntimeFound {
    /// Its name.
    pub name: String,
    /// What it means for an observation.
    pub meaning: String,
}

/// A process under examination.
pub(super) struct Examined {
    pub(super) target: Target,
    pub(super) checks: Vec<Check>,
    pub(super) modules: Modules,
    /// Files that it maps executable.
    pub(super) files: Option<u64>,
}

/// Examines a process. `filters`: whether processes with a seccomp filter survive return probes.
pub(super) fn examine(process: &Process, filters: Answer) -> Examined {
    let pid = process.pid();
    let status = Status::read(pid).unwrap_or_default();
    let mut modules = Modules::default();
    let layout = Layout::read(pid, &mut modules);
    let cgroup = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let container = container::of_cgroup(&String::from_utf8_lossy(&cgroup)).map(Text::from);
    let mut checks = vec![program(pid).of_uprobe_tools()];
    let mut found = Vec::new();
    let mut code = None;
    match &layout {
        Ok(layout) => {
            found = runtimes(layout, &modules);
            let its = code::examine(layout, &modules, process);
            checks.push(MAPPINGS.answered(Answer::Yes, format!("{} files", its.files)));
            // In another root, packages are not those of this machine.
            let exe = process.exe().ok().filter(|_| container.is_none());
            let exe = exe.as_ref().and_then(|exe| exe.to_str());
            checks.extend([names::check(&its, exe, names::Packages::here()), tables(&its)]);
            if its.made_bytes > 0 && found.iter().any(|runtime| runtime.makes_code()) {
                checks.push(made_code(perf_map(process), &found));
            }
            let start = Start::of_process(process.pid());
            let used = found.iter().filter(|runtime| !runtime.is_refused());
            checks.extend(used.filter_map(|runtime| Some(own_heap(*runtime, start.limit(*runtime)?))));
            code = Some(its);
        }
        Err(error) => checks.push(MAPPINGS.answered(Answer::No, format!("/proc/{pid}/maps: {error}"))),
    }
    checks.extend([seccomp(status.seccomp, filters), traced(status.tracer)]);
    checks.extend(activity::checks(pid, &status));
    let target = Target {
        pid,
        name: process.name().clone(),
        exe: crate::target::program::path(pid).ok().map(|exe| Text::from(exe.as_path())),
        uid: status.uid,
        threads: status.threads,
        inner_pid: status.own_pid().filter(|inner| *inner != pid),
        container,
        anonymous_bytes: status.anonymous_bytes,
        runtimes: found
            .iter()
            .map(|runtime| RuntimeFound {
                name: runtime.name().to_owned(),
                meaning: runtime.limit().to_owned(),
            })
            .collect(),
        code,
    };
    Examined { files: target.code.as_ref().map(|code| code.files), target, checks, modules }
}

fn program(pid: u32) -> Check {
    let exe = format!("/proc/{pid}/exe");
    let bytes = match fs::File::open(&exe) {
        // SAFETY: the mapping is private and only read; the executable of a running process cannot be written.
        Ok(file) => unsafe { memmap2::Mmap::map(&file) },
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => match Image::parse(&bytes) {
            Ok(_) => PROGRAM.answered(Answer::Yes, "an ELF file for x86_64"),
            Err(error) => PROGRAM.answered(Answer::No, format!("it is {error}")),
        },
        Err(error) => PROGRAM.answered(Answer::CannotTell, format!("{exe}: {error}")).untried(),
    }
}

/// The runtimes of a process, by the names of the mapped files and by the symbols that these files define.
fn runtimes(layout: &Layout, modules: &Modules) -> Vec<Runtime> {
    let mut found = Runtime::of_files(layout.files().map(|(mapping, _)| mapping.path.as_path()));
    for (_, id) in layout.files() {
        let bytes = modules.get(id).and_then(|module| module.bytes().ok());
        let image = bytes.as_ref().and_then(|bytes| Image::parse(bytes).ok());
        found.extend(image.iter().flat_map(Image::runtimes));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn own_heap(runtime: Runtime, limit: &str) -> Check {
    let mut check = OWN_HEAP.answered(Answer::No, format!("{} keeps a heap of its own", runtime.name()));
    check.disables = Some(limit.to_owned());
    check
}

fn tables(code: &Code) -> Check {
    let share = crate::units::percent(code.covered_bytes as f64 / (code.code_bytes.max(1)) as f64);
    let mut seen = format!("{} of {} files, {share} of their code", code.with_tables, code.files);
    if !code.without_tables.is_empty() {
        let names: Vec<String> = code.without_tables.iter().take(3).map(|f| f.file.terminal()).collect();
        let more = if code.without_tables.len() > names.len() { " and more" } else { "" };
        seen.push_str(&format!("; none: {}{more}", names.join(", ")));
    }
    TABLES.decided(code.with_tables == code.files, seen)
}

/// The trusted file with names of code made at run time: its path, or why there is none.
fn perf_map(process: &Process) -> io::Result<Result<String, String>> {
    let location = Location::of(process)?;
    Ok(location.open().map(|_| location.path()))
}

fn made_code(map: io::Result<Result<String, String>>, runtimes: &[Runtime]) -> Check {
    let mut check = match map {
        Ok(Ok(path)) => MADE_CODE.answered(Answer::Yes, format!("{path} is there")),
        Ok(Err(why)) => MADE_CODE.answered(Answer::No, why),
        Err(error) => MADE_CODE.answered(Answer::CannotTell, error.to_string()),
    };
    if let Some(advice) = runtimes.iter().find_map(|runtime| runtime.callers_advice()) {
        check.seen.push_str(&format!("; {advice}"));
    }
    if check.answer != Answer::Yes {
        check.fix = runtimes.iter().find_map(|runtime| runtime.naming()).map(str::to_owned);
    }
    check
}

/// `filters`: whether processes with a filter survive return probes here.
fn seccomp(mode: Option<u32>, filters: Answer) -> Check {
    let check = match (mode, filters) {
        (Some(0), _) => FILTER.answered(Answer::Yes, "no filter"),
        (None, _) => FILTER.answered(Answer::CannotTell, "its status cannot be read"),
        (Some(_), Answer::Yes) => {
            FILTER.answered(Answer::Yes, "a filter; return probes passed one on a process of our own")
        }
        (Some(_), Answer::No) => FILTER
            .answered(Answer::No, "a filter, and return probes did not pass one on a process of our own"),
        (Some(_), Answer::CannotTell) => {
            FILTER.answered(Answer::CannotTell, "a filter, and whether probes pass one could not be tried")
        }
    };
    check.of_uprobe_tools()
}

fn traced(tracer: Option<u32>) -> Check {
    match tracer {
        Some(0) => TRACER.answered(Answer::Yes, "nobody traces it"),
        Some(pid) => TRACER.answered(Answer::No, format!("process {pid} traces it")),
        None => TRACER.answered(Answer::CannotTell, "its status cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matters_only_where_there_is_one() {
        assert_eq!(seccomp(Some(0), Answer::No).answer, Answer::Yes);
        let refused = seccomp(Some(2), Answer::No);
        assert!(refused.limits() && !refused.blocks(), "tools without uprobes can do without");
        assert_eq!(seccomp(Some(2), Answer::Yes).answer, Answer::Yes);
        assert!(seccomp(Some(2), Answer::CannotTell).limits());
    }

    #[test]
    fn names_of_jit_code_come_with_what_switches_them_on() {
        let of = |runtime| made_code(Ok(Err("there is no /tmp/perf-7.map".to_owned())), &[runtime]);
        for (runtime, switch) in [
            (Runtime::V8, "--perf-basic-prof"),
            (Runtime::Jvm, "Compiler.perfmap"),
            (Runtime::DotNet, "DOTNET_PerfMapEnabled=1"),
            (Runtime::LuaJit, "-DLUAJIT_USE_PERFTOOLS"),
        ] {
            let check = of(runtime);
            assert!(check.limits() && check.fix.unwrap().contains(switch), "{runtime:?}");
        }
        let lua = of(Runtime::LuaJit);
        assert!(lua.seen.contains("LuaJIT keeps no frame pointer"), "{lua:?}");
        let there = made_code(Ok(Ok("/tmp/perf-7.map".to_owned())), &[Runtime::V8]);
        assert!(there.answer == Answer::Yes && there.fix.is_none());
        let unknown = made_code(Err(io::ErrorKind::PermissionDenied.into()), &[Runtime::V8]);
        assert_eq!(unknown.answer, Answer::CannotTell);
    }

    #[test]
    fn every_managed_heap_says_what_is_out_of_sight() {
        for runtime in [Runtime::V8, Runtime::Jvm, Runtime::DotNet, Runtime::Unreal, Runtime::Wine] {
            let check = own_heap(runtime, runtime.limit());
            assert!(check.limits() && check.disables.as_deref() == Some(runtime.limit()));
        }
    }

    #[test]
    fn this_process_is_a_program_with_names() {
        let own = Process::open(std::process::id()).unwrap();
        let examined = examine(&own, Answer::CannotTell);
        let answer = |name: &str| examined.checks.iter().find(|check| check.name == name).unwrap().answer;
        assert_eq!(answer("program"), Answer::Yes);
        assert_eq!(answer("symbols"), Answer::Yes);
        assert_eq!(answer("not_traced"), Answer::Yes);
        let code = examined.target.code.unwrap();
        assert!(code.files >= 2 && code.with_tables == code.files, "{code:?}");
        assert!(
            code.covered_bytes * 10 > code.code_bytes * 9 && code.covered_bytes <= code.code_bytes,
            "{code:?}"
        );
    }
}
