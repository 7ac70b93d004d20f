//! What profiler itself is allowed to do.

use std::fs;

use aya_obj::generated::bpf_map_type;
use rustix::process::{Resource, getrlimit};

use super::check::{Answer, Area, Check, Need, Question};
use crate::{
    kernel::bpf::{self, BareMap},
    observe::{initial_pid_namespace, limits},
    target::status::Status,
};

/// Numbers of include/uapi/linux/capability.h.
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// Descriptors that an observation takes besides the files of the target: maps, programs, links, the ring.
const OWN_DESCRIPTORS: u64 = 128;
/// Descriptors per probed function if every probe is a perf event: event and link, at entry and return.
const DESCRIPTORS_PER_FUNCTION: u64 = 4;
/// Functions to probe in an unknown target.
const USUAL_FUNCTIONS: u64 = 64;
/// Files that an unknown target maps.
const USUAL_FILES: u64 = 64;

const IN_A_CONTAINER: &str = "docker run --pid=host --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE \
    --cap-add SYS_ADMIN --security-opt seccomp=unconfined IMAGE profiler doctor";

const ROOT: Question = Question {
    name: "root",
    area: Area::Privileges,
    title: "root",
    need: Need::Required,
    disables: "observing: probes are put into the kernel",
    remedy: "run it as root",
    fix: Some("sudo profiler doctor"),
};
const BPF: Question = Question {
    name: "cap_bpf_perfmon",
    area: Area::Privileges,
    title: "BPF capabilities",
    need: Need::Required,
    disables: "maps, programs and probes",
    remedy: "both capabilities, or CAP_SYS_ADMIN; root on the host has them",
    fix: Some("sudo profiler doctor   # in a container: --cap-add BPF --cap-add PERFMON"),
};
const PTRACE: Question = Question {
    name: "cap_sys_ptrace",
    area: Area::Privileges,
    title: "CAP_SYS_PTRACE",
    need: Need::Useful,
    disables: "observing processes of other users: what they map cannot be read",
    remedy: "the capability; root on the host has it",
    fix: Some("sudo profiler doctor   # in a container: --cap-add SYS_PTRACE"),
};
const MAP_FILES: Question = Question {
    name: "map_files",
    area: Area::Privileges,
    title: "mapped files",
    need: Need::Useful,
    disables: "names from files that were deleted or replaced after they were mapped",
    remedy: "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN",
    fix: Some("sudo profiler doctor   # in a container: --cap-add CHECKPOINT_RESTORE"),
};
const PID_NAMESPACE: Question = Question {
    name: "pid_namespace",
    area: Area::Privileges,
    title: "the host's pids",
    need: Need::Useful,
    disables: "syscalls, `-- COMMAND`, and noticing that a target replaces itself by exec",
    remedy: "run profiler on the host, or in a container that shares the host's pids",
    fix: Some(IN_A_CONTAINER),
};
const USER_NAMESPACE: Question = Question {
    name: "user_namespace",
    area: Area::Privileges,
    title: "the host's users",
    need: Need::Required,
    disables: "maps, programs and probes: capabilities of a user namespace do not count for BPF",
    remedy: "run profiler as root of the host, not in a rootless container",
    fix: Some("sudo profiler doctor   # on the host"),
};
const FILES: Question = Question {
    name: "open_files",
    area: Area::Privileges,
    title: "open files",
    need: Need::Useful,
    disables: "probing all functions, if the target has many files or the kernel no multi links",
    remedy: "a higher limit on open files (RLIMIT_NOFILE)",
    fix: Some("ulimit -n 65536   # in the shell that starts profiler"),
};
/// The same for a limit with which nothing is observed.
const TOO_FEW_FILES: Question = Question { need: Need::Required, disables: "every observation", ..FILES };
const MEMLOCK: Question = Question {
    name: "locked_memory",
    area: Area::Privileges,
    title: "memory for maps",
    need: Need::Useful,
    disables: "large targets: tables of live blocks and unwind tables take tens of MiB",
    remedy: "more memory for profiler's cgroup, or a higher limit on locked memory (RLIMIT_MEMLOCK)",
    fix: Some("ulimit -l unlimited   # in the shell that starts profiler"),
};
/// The same for a limit of address space with which nothing is observed.
const TOO_LITTLE_SPACE: Question = Question {
    need: Need::Required,
    disables: "every observation",
    remedy: "a higher limit on address space (RLIMIT_AS)",
    fix: Some("ulimit -v unlimited   # in the shell that starts profiler"),
    ..MEMLOCK
};
const CONFINEMENT: Question = Question {
    name: "confinement",
    area: Area::Privileges,
    title: "not confined",
    need: Need::Useful,
    disables: "what the filter or the security module refuses, here bpf(2)",
    remedy: "run profiler on the host, or let its container use bpf(2) and perf_event_open(2)",
    fix: Some(IN_A_CONTAINER),
};
const SYSCTLS: Question = Question {
    name: "sysctls",
    area: Area::Privileges,
    title: "sysctls",
    need: Need::Informative,
    disables: "nothing by themselves: capabilities override all of them",
    remedy: "run it as root; they need not be changed",
    fix: Some("sudo profiler doctor"),
};

/// Whether trying BPF says something about the kernel.
pub(super) fn may_bpf() -> bool {
    let status = Status::read(std::process::id()).unwrap_or_default();
    status.has(CAP_SYS_ADMIN) || status.has(CAP_BPF) && status.has(CAP_PERFMON)
}

/// What determines the limits that we need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Files that the target maps, if there is one.
    pub(super) files: Option<u64>,
    /// Functions that would be probed in it.
    pub(super) functions: Option<u64>,
    /// Whether the kernel has links for many sites.
    pub(super) multi: bool,
    /// Whether a map could be created.
    pub(super) bpf: Answer,
}

/// All checks of our own privileges.
pub(super) fn checks(wanted: Wanted) -> Vec<Check> {
    let status = Status::read(std::process::id()).unwrap_or_default();
    let admin = status.has(CAP_SYS_ADMIN);
    let may_bpf = may_bpf();
    let effective = |yes: bool| if yes { "effective" } else { "not among the effective capabilities" };
    let root = status.uid == Some(0);
    let who = status.uid.map_or_else(|| "unknown user".to_owned(), |uid| format!("effective user id {uid}"));
    let ptrace = status.has(CAP_SYS_PTRACE);
    let restore = admin || status.has(CAP_CHECKPOINT_RESTORE);
    vec![
        ROOT.decided(root, who),
        BPF.decided(may_bpf, format!("CAP_BPF and CAP_PERFMON: {}", effective(may_bpf))),
        PTRACE.decided(ptrace, effective(ptrace)),
        MAP_FILES.decided(restore, if restore { "opened by mapping" } else { "opened by their path" }),
        pid_namespace(),
        user_namespace(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default()),
        confinement(status.seccomp, &label(), wanted.bpf),
        open_files(wanted),
        memory(may_bpf),
        sysctls(may_bpf),
    ]
}

fn pid_namespace() -> Check {
    match fs::read_link("/proc/self/ns/pid") {
        Ok(_) if initial_pid_namespace() => PID_NAMESPACE.answered(Answer::Yes, "the first pid namespace"),
        Ok(_) => {
            PID_NAMESPACE.answered(Answer::No, "profiler is in a pid namespace of its own (a container)")
        }
        Err(error) => PID_NAMESPACE.answered(Answer::CannotTell, format!("/proc/self/ns/pid: {error}")),
    }
}

/// The first user namespace maps every id to itself.
fn user_namespace(uid_map: &str) -> Check {
    let fields: Vec<&str> = uid_map.split_ascii_whitespace().collect();
    match fields.as_slice() {
        [] => USER_NAMESPACE.answered(Answer::CannotTell, "/proc/self/uid_map cannot be read"),
        ["0", "0", "4294967295"] => USER_NAMESPACE.answered(Answer::Yes, "every user id is that of the host"),
        _ => USER_NAMESPACE.answered(Answer::No, "profiler is in a user namespace of its own"),
    }
}

/// Our label from the security module (AppArmor, SELinux); empty without one.
fn label() -> String {
    // Without such a module, reading the file fails.
    let bytes = fs::read("/proc/self/attr/current").unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n']).to_owned()
}

/// Whether confinement has an effect: it matters only then.
fn confinement(seccomp: Option<u32>, label: &str, bpf: Answer) -> Check {
    let filter = match seccomp {
        Some(0) => "no seccomp filter",
        Some(_) => "a seccomp filter",
        None => "status unreadable",
    };
    let label = if label.is_empty() { "no security label".to_owned() } else { format!("label {label}") };
    let confined =
        seccomp != Some(0) || !label.starts_with("label unconfined") && label.starts_with("label ");
    let answer = if confined { bpf } else { Answer::Yes };
    let shows = if confined && answer == Answer::Yes { ", which let bpf(2) through" } else { "" };
    CONFINEMENT.answered(answer, format!("{filter}, {label}{shows}"))
}

fn open_files(Wanted { files, functions, multi, .. }: Wanted) -> Check {
    let functions = if multi { 0 } else { functions.unwrap_or(USUAL_FUNCTIONS) * DESCRIPTORS_PER_FUNCTION };
    let needed = (OWN_DESCRIPTORS + files.unwrap_or(USUAL_FILES) + functions).max(limits::OPEN_FILES);
    match getrlimit(Resource::Nofile).current {
        None => FILES.answered(Answer::Yes, "no limit"),
        Some(limit) => {
            let question = if limit < limits::OPEN_FILES { TOO_FEW_FILES } else { FILES };
            question.decided(limit >= needed, format!("at most {limit}, needed about {needed}"))
        }
    }
}

/// Tries a map that is larger than the limit, if the limit is small: since Linux 5.11 maps do not count.
fn memory(may_bpf: bool) -> Check {
    const LARGE: u64 = 64 << 20;
    const PAGE: u32 = 4096;
    if let Some(limit) = getrlimit(Resource::As).current.filter(|limit| *limit < limits::ADDRESS_SPACE) {
        let words = crate::units::bytes(limit as f64);
        return TOO_LITTLE_SPACE
            .answered(Answer::No, format!("at most {words} of address space (RLIMIT_AS)"));
    }
    let Some(limit) = getrlimit(Resource::Memlock).current.filter(|limit| *limit < LARGE) else {
        return MEMLOCK.answered(Answer::Yes, "no limit on locked memory that matters");
    };
    let words = crate::units::bytes(limit as f64);
    if !may_bpf {
        return MEMLOCK
            .answered(Answer::CannotTell, format!("trying takes CAP_BPF (RLIMIT_MEMLOCK {words})"));
    }
    let entries = (limit / u64::from(PAGE)) as u32 + 1;
    let map = BareMap {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        key_bytes: 4,
        value_bytes: PAGE,
        entries,
        flags: 0,
    };
    match bpf::create_map(map, None) {
        Ok(_) => MEMLOCK.answered(Answer::Yes, format!("RLIMIT_MEMLOCK ({words}) does not count for maps")),
        Err(error) => {
            MEMLOCK.answered(Answer::No, format!("a map of more than RLIMIT_MEMLOCK ({words}): {error}"))
        }
    }
}

fn sysctls(may_bpf: bool) -> Check {
    let values: Vec<String> = [
        ("perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid"),
        ("unprivileged_bpf_disabled", "/proc/sys/kernel/unprivileged_bpf_disabled"),
        ("kptr_restrict", "/proc/sys/kernel/kptr_restrict"),
        ("yama.ptrace_scope", "/proc/sys/kernel/yama/ptrace_scope"),
    ]
    .into_iter()
    .filter_map(|(name, file)| Some(format!("{name}={}", fs::read_to_string(file).ok()?.trim())))
    .collect();
    let seen = if values.is_empty() { "none can be read".to_owned() } else { values.join(" ") };
    SYSCTLS.decided(may_bpf, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Wanted = Wanted { files: None, functions: None, multi: true, bpf: Answer::Yes };

    #[test]
    fn another_user_namespace_than_the_first_is_recognised() {
        assert_eq!(user_namespace("         0          0 4294967295\n").answer, Answer::Yes);
        assert_eq!(user_namespace("         0       1000          1\n").answer, Answer::No);
        assert_eq!(user_namespace("").answer, Answer::CannotTell);
    }

    #[test]
    fn without_multi_links_every_function_takes_descriptors() {
        let many = Wanted { files: Some(1), functions: Some(1 << 40), ..NOTHING };
        let few = open_files(many);
        assert!(few.seen.contains("needed about 256"), "{}", few.seen);
        assert_eq!(open_files(Wanted { multi: false, ..many }).answer, Answer::No);
    }

    #[test]
    fn confinement_is_blamed_only_if_something_was_refused() {
        let (yes, no, unknown) = (Answer::Yes, Answer::No, Answer::CannotTell);
        for (seccomp, label, bpf, answer) in [
            (Some(0), "", no, yes),
            (Some(0), "unconfined", no, yes),
            (Some(2), "", no, no),
            (Some(2), "docker-default (enforce)", yes, yes),
            (Some(0), "docker-default (enforce)", no, no),
            (Some(2), "", unknown, unknown),
            (None, "", no, no),
        ] {
            assert_eq!(confinement(seccomp, label, bpf).answer, answer, "{seccomp:?} {label}");
        }
    }

    #[test]
    fn every_answer_that_is_not_yes_says_what_follows() {
        let checks = checks(NOTHING);
        for check in checks.iter().filter(|check| check.answer != Answer::Yes) {
            assert!(check.disables.is_some() && check.remedy.is_some() && check.fix.is_some(), "{check:?}");
        }
        for check in checks.iter().filter(|check| check.answer == Answer::Yes) {
            assert!(check.disables.is_none() && check.remedy.is_none() && check.fix.is_none(), "{check:?}");
        }
    }
}
