//! What the running kernel has, found by trying.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::AsFd as _,
};

use aya_obj::generated::{BPF_F_NO_PREALLOC, bpf_map_type};

use super::{
    check::{Answer, Area, Check, Need, Question},
    helpers,
    refusal::tried,
};
use crate::{
    capture::{trial, uprobe::Method},
    kernel::{
        bpf::{self, BareMap},
        lockdown,
    },
    unwind::returns::Returns,
};

/// A command that shows how the running kernel was built.
macro_rules! kernel_config {
    ($options:literal) => {
        Some(concat!(
            "grep -E '",
            $options,
            "' /boot/config-$(uname -r) || zgrep -E '",
            $options,
            "' /proc/config.gz"
        ))
    };
}

const BTF: Question = Question {
    name: "btf",
    area: Area::Kernel,
    title: "types (BTF)",
    need: Need::Required,
    disables: "every tool: state per thread needs the kernel's types",
    remedy: "a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions ship it",
    fix: kernel_config!("DEBUG_INFO_BTF="),
};
const MAPS: Question = Question {
    name: "bpf",
    area: Area::Kernel,
    title: "BPF maps",
    need: Need::Required,
    disables: "every tool",
    remedy: "a kernel built with CONFIG_BPF_SYSCALL=y; in a container, permission to use bpf(2)",
    fix: kernel_config!("BPF_SYSCALL|BPF_EVENTS"),
};
const RING: Question = Question {
    name: "ring_buffer",
    area: Area::Kernel,
    title: "ring buffer",
    need: Need::Required,
    disables: "every tool: stacks come through it",
    remedy: "Linux 5.8 or newer (6.1 is the oldest that is supported)",
    fix: Some("uname -r"),
};
const TASK_STORAGE: Question = Question {
    name: "task_storage",
    area: Area::Kernel,
    title: "task storage",
    need: Need::Required,
    disables: "every tool: a call in progress is kept there",
    remedy: "Linux 5.11 or newer (6.1 is the oldest that is supported)",
    fix: Some("uname -r"),
};
const RETURNS: Question = Question {
    name: "return_addresses",
    area: Area::Kernel,
    title: "return addresses",
    need: Need::Useful,
    disables: "whole stacks through functions with a return probe: they end there, and say so",
    remedy: "a kernel whose types have the members where return probes keep the addresses that they replace",
    fix: Some("bpftool btf dump file /sys/kernel/btf/vmlinux | grep -A9 return_instance"),
};
const JIT: Question = Question {
    name: "bpf_jit",
    area: Area::Kernel,
    title: "BPF compiler",
    need: Need::Useful,
    disables: "speed: programs are interpreted, several times as slow",
    remedy: "the sysctl net.core.bpf_jit_enable=1",
    fix: Some("sudo sysctl net.core.bpf_jit_enable=1"),
};
const PERF: Question = Question {
    name: "uprobe_perf",
    area: Area::Kernel,
    title: "uprobes by perf",
    need: Need::Useful,
    disables: "probes, where the kernel has no multi links either",
    remedy: "a kernel built with CONFIG_UPROBE_EVENTS=y; in a container, permission to use perf_event_open(2)",
    fix: kernel_config!("CONFIG_UPROBE"),
};
const MULTI: Question = Question {
    name: "uprobe_multi",
    area: Area::Kernel,
    title: "uprobe_multi",
    need: Need::Useful,
    disables: "quick detaching: without it each probe takes about 0.1 s to go, and two descriptors",
    remedy: "Linux 6.6 or newer",
    fix: Some("uname -r"),
};
const SESSION: Question = Question {
    name: "uprobe_session",
    area: Area::Kernel,
    title: "uprobe sessions",
    need: Need::Useful,
    disables: "following an allocator's `operator new`, which may throw, and leaving out return probes that are not needed",
    remedy: "Linux 6.13 or newer",
    fix: Some("uname -r"),
};
const EXEC: Question = Question {
    name: "exec_tracepoint",
    area: Area::Kernel,
    title: "exec tracepoint",
    need: Need::Required,
    disables: "every tool: it would not notice that a target becomes another program",
    remedy: "a kernel built with CONFIG_TRACEPOINTS=y and CONFIG_BPF_EVENTS=y",
    fix: kernel_config!("CONFIG_TRACEPOINTS|BPF_EVENTS"),
};
const STATISTICS: Question = Question {
    name: "run_statistics",
    area: Area::Kernel,
    title: "run statistics",
    need: Need::Useful,
    disables: "the cost in reports: time per hit, share of the busiest thread",
    remedy: "CAP_SYS_ADMIN",
    fix: Some("sudo profiler doctor   # in a container: --cap-add SYS_ADMIN"),
};
const LOCKDOWN: Question = Question {
    name: "lockdown",
    area: Area::Kernel,
    title: "not locked down",
    need: Need::Informative,
    disables: "disk, sockets, and the files of single calls (syscalls --slow): they read the kernel's memory",
    remedy: "boot without lockdown=confidentiality (integrity is enough for secure boot)",
    fix: Some("cat /sys/kernel/security/lockdown /proc/cmdline"),
};

const FILTERS: Question = Question {
    name: "seccomp_safe",
    area: Area::Kernel,
    title: "seccomp filters",
    need: Need::Useful,
    disables: "targets with a seccomp filter: it would kill them at a return probe",
    remedy: "a kernel with the fix that lets return probes pass (6.14, and backports)",
    fix: Some("uname -r"),
};

/// All checks of the kernel. `may_bpf`: whether a refusal says something about the kernel.
pub(super) fn checks(may_bpf: bool) -> Vec<Check> {
    let tried = |question: &Question, result, yes: &str| tried(question, result, may_bpf, yes);
    let session = tried(&SESSION, trial::attach(Method::Session), "attached to ourselves: entry and return");
    let multi = tried(&MULTI, trial::attach(Method::Multi), "attached to ourselves: many sites, one link");
    // One way of attaching is enough; without multi links it has to be this one.
    let need = if multi.answer == Answer::Yes { Need::Useful } else { Need::Required };
    let perf = Question { need, ..PERF };
    vec![
        types(),
        return_addresses().of_uprobe_tools(),
        tried(&MAPS, create(ARRAY), "created one"),
        tried(&RING, create(RING_BUFFER), "created one"),
        tried(&TASK_STORAGE, create_task_storage(), "created one"),
        helpers::check(may_bpf),
        compiler(&fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")),
        tried(&perf, trial::attach(Method::Perf), "attached to ourselves").of_uprobe_tools(),
        multi.of_uprobe_tools(),
        session.of_uprobe_tools(),
        tried(&EXEC, trial::exec_tracepoint(), "attached"),
        tried(&STATISTICS, bpf::enable_run_stats().map(drop), "switched on and off"),
        lockdown(&fs::read_to_string(lockdown::FILE)),
    ]
}

/// The best way of attaching that works according to these checks.
pub(super) fn best_method(checks: &[Check]) -> Option<Method> {
    let works = |name| checks.iter().any(|check| check.name == name && check.answer == Answer::Yes);
    [(SESSION, Method::Session), (MULTI, Method::Multi), (PERF, Method::Perf)]
        .into_iter()
        .find(|(question, _)| works(question.name))
        .map(|(_, method)| method)
}

/// Whether a map could be created according to these checks.
pub(super) fn bpf_works(checks: &[Check]) -> Answer {
    checks.iter().find(|check| check.name == MAPS.name).map_or(Answer::CannotTell, |check| check.answer)
}

/// Whether programs can be attached to tracepoints according to these checks.
pub(super) fn tracepoints_work(checks: &[Check]) -> Answer {
    checks.iter().find(|check| check.name == EXEC.name).map_or(Answer::CannotTell, |check| check.answer)
}

/// Whether processes with a seccomp filter survive return probes, which the tools have tried.
pub(super) fn filters_check(filters: Answer, may_bpf: bool) -> Check {
    let check = match filters {
        Answer::Yes => FILTERS.answered(filters, "a process of our own under a filter lived, and was seen"),
        Answer::No => {
            FILTERS.answered(filters, "a process of our own under a filter was killed, or not seen")
        }
        Answer::CannotTell if may_bpf => FILTERS.answered(filters, "it could not be tried"),
        Answer::CannotTell => FILTERS.answered(filters, "trying takes privileges that are missing").untried(),
    };
    check.of_uprobe_tools()
}

const ARRAY: BareMap = BareMap {
    kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
    key_bytes: 4,
    value_bytes: 8,
    entries: 1,
    flags: 0,
};
const RING_BUFFER: BareMap = BareMap {
    kind: bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32,
    key_bytes: 0,
    value_bytes: 0,
    entries: 4096,
    flags: 0,
};
/// The kernel takes no other flags for task storage.
const STORAGE: BareMap = BareMap {
    kind: bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as u32,
    key_bytes: 4,
    value_bytes: 4,
    entries: 0,
    flags: BPF_F_NO_PREALLOC,
};

fn create(map: BareMap) -> io::Result<()> {
    bpf::create_map(map, None).map(drop)
}

fn create_task_storage() -> io::Result<()> {
    let types = bpf::load_btf(&TYPE_INT)?;
    bpf::create_map(STORAGE, Some((types.as_fd(), 1))).map(drop)
}

/// BTF (Documentation/bpf/btf.rst) with one type, `int`: a header of 24 bytes, one `struct btf_type` of kind 1 with
/// size 4 and 32 signed bits, and its name.
const TYPE_INT: [u8; 45] = [
    0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0, // header
    1, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 32, 0, 0, 1, // type
    0, b'i', b'n', b't', 0,
];

fn types() -> Check {
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    const MAGIC: [u8; 2] = [0x9f, 0xeb];
    let mut start = [0u8; 2];
    match File::open(FILE).and_then(|mut file| file.read_exact(&mut start).map(|()| file.metadata())) {
        Ok(about) if start == MAGIC => {
            let bytes = about.map_or(0, |about| about.len());
            BTF.answered(Answer::Yes, format!("{FILE}, {}", crate::units::bytes(bytes as f64)))
        }
        Ok(_) => BTF.answered(Answer::No, format!("{FILE} is not BTF")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            BTF.answered(Answer::No, format!("there is no {FILE}"))
        }
        Err(error) => BTF.answered(Answer::CannotTell, format!("{FILE}: {error}")),
    }
}

fn return_addresses() -> Check {
    match Returns::look_up() {
        Ok(_) => RETURNS.answered(Answer::Yes, "found in the types"),
        Err(error) if error.kind() == io::ErrorKind::Other => RETURNS.answered(Answer::No, error.to_string()),
        Err(error) => RETURNS.answered(Answer::CannotTell, error.to_string()),
    }
}

fn compiler(file: &io::Result<String>) -> Check {
    match file.as_deref().map(str::trim) {
        Ok("0") => JIT.answered(Answer::No, "switched off"),
        Ok(value) => JIT.answered(Answer::Yes, format!("net.core.bpf_jit_enable={value}")),
        // The file does not exist without CONFIG_BPF_JIT.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            JIT.answered(Answer::CannotTell, "no sysctl net.core.bpf_jit_enable here")
        }
        Err(error) => JIT.answered(Answer::CannotTell, format!("net.core.bpf_jit_enable: {error}")),
    }
}

fn lockdown(file: &io::Result<String>) -> Check {
    let Ok(text) = file else {
        return LOCKDOWN.answered(
            Answer::CannotTell,
            "no /sys/kernel/security/lockdown: not built in, or securityfs is not mounted here",
        );
    };
    match lockdown::active(text) {
        Some(mode @ ("none" | "integrity")) => LOCKDOWN.answered(Answer::Yes, format!("mode {mode}")),
        Some("confidentiality") => LOCKDOWN.answered(Answer::No, "mode confidentiality"),
        _ => LOCKDOWN.answered(Answer::CannotTell, format!("an unknown mode: {}", text.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockdown_mode_is_the_word_in_brackets() {
        let answer = |text: &str| lockdown(&Ok(text.to_owned())).answer;
        assert_eq!(answer("none [integrity] confidentiality\n"), Answer::Yes);
        assert_eq!(answer("[none] integrity confidentiality\n"), Answer::Yes);
        assert_eq!(answer("none integrity [confidentiality]\n"), Answer::No);
        assert_eq!(answer(""), Answer::CannotTell);
        assert_eq!(lockdown(&Err(io::ErrorKind::NotFound.into())).answer, Answer::CannotTell);
    }

    #[test]
    fn an_interpreter_is_a_limit() {
        assert_eq!(compiler(&Ok("0\n".to_owned())).answer, Answer::No);
        assert_eq!(compiler(&Ok("1\n".to_owned())).answer, Answer::Yes);
        assert!(compiler(&Err(io::ErrorKind::PermissionDenied.into())).limits());
    }

    #[test]
    fn the_best_way_of_attaching_is_found() {
        let checks = |answers: [Answer; 3]| {
            let questions = [PERF, MULTI, SESSION];
            questions.iter().zip(answers).map(|(q, a)| q.answered(a, "")).collect::<Vec<_>>()
        };
        let (yes, no, unknown) = (Answer::Yes, Answer::No, Answer::CannotTell);
        assert_eq!(best_method(&checks([yes, yes, yes])), Some(Method::Session));
        assert_eq!(best_method(&checks([yes, yes, no])), Some(Method::Multi));
        assert_eq!(best_method(&checks([yes, unknown, no])), Some(Method::Perf));
        assert_eq!(best_method(&checks([unknown, unknown, unknown])), None);
    }

    #[test]
    fn the_types_are_as_long_as_their_header_says() {
        let word = |at: usize| u32::from_le_bytes(TYPE_INT[at..at + 4].try_into().unwrap()) as usize;
        let (header, types, strings, names) = (word(4), word(12), word(16), word(20));
        assert_eq!(types, strings, "the names follow the types");
        assert_eq!(header + strings + names, TYPE_INT.len());
    }
}
