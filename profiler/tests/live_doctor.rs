//! `profiler doctor` as root: what it predicts is what `memleak` does, and the process is not disturbed.

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use profiler::doctor::{Answer, Diagnosis, Readiness};
use profiler::tool::foresight::CallEnd;
use serde_json::{Value, json};
use support::compile::Build;
use support::kernel::{Feature, has};
use support::observer::{Observer, Outcome, program};
use support::process;
use support::workload::{PATIENCE, Workload};
use testbed::{place, skip};

fn doctor(pid: u32) -> (Outcome, Diagnosis) {
    let outcome =
        Observer::spawn(&["doctor", "--format", "json", "--pid", &pid.to_string()]).finish(PATIENCE);
    let diagnosis = serde_json::from_slice(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", outcome.text(), outcome.stderr));
    (outcome, diagnosis)
}

fn ready(pid: u32) -> Diagnosis {
    let (outcome, diagnosis) = doctor(pid);
    assert_eq!(outcome.status.code(), Some(0), "{:?}", diagnosis.verdict);
    assert_ne!(diagnosis.verdict.readiness, Readiness::NotReady);
    diagnosis
}

fn answer(diagnosis: &Diagnosis, name: &str) -> Answer {
    diagnosis.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}")).answer
}

/// Asserts that `memleak` probes the same instructions that `doctor` names, in the order that it names them.
fn assert_predicted(pid: u32) -> Diagnosis {
    let diagnosis = ready(pid);
    let predicted: Vec<Value> = diagnosis.tools[0]
        .sites
        .iter()
        .filter(|site| site.left_out.is_none())
        .map(|site| {
            json!({
                "function": site.function, "module": site.module, "offset_bytes": site.offset_bytes,
                "emulated": site.emulated, "reason": site.reason,
            })
        })
        .collect();
    let report = Observer::attach("memleak", pid, &["--for", "100ms"]).finish(PATIENCE).report(0);
    let probed = report["meta"]["targets"][0]["probes"].as_array().expect("probes").clone();
    assert!(!probed.is_empty());
    assert_eq!(predicted, probed);
    diagnosis
}

/// A process that is killed when the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_sites_of_redis_are_those_that_memleak_takes() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket).current_dir(folder.path());
    let child = command.stdout(Stdio::null()).spawn().expect("to run redis-server; install it");
    let server = Server(child);
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let diagnosis = assert_predicted(server.0.id());
    let names: Vec<&str> = diagnosis.tools[0].allocators.iter().map(|found| found.name.as_str()).collect();
    assert!(names.contains(&"jemalloc") && names.contains(&"glibc"), "{names:?}");
    let code = diagnosis.target.expect("a target").code.expect("its code");
    assert_eq!(code.with_tables, code.files, "{:?}", code.without_tables);
}

#[test]
fn the_sites_of_a_program_with_operators_of_its_own_are_those_that_memleak_takes() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn(&Build::cpp("own_new.cpp").build(), &["--rounds", "1"]);
    let diagnosis = assert_predicted(target.pid());
    let own = diagnosis.tools[0].sites.iter().find(|site| site.function.terminal() == "_Znwm");
    let own = own.expect("operator new of the program");
    assert_eq!(own.end, CallEnd::RetInstructions);
    assert!(own.returns >= 1);
}

#[test]
fn a_healthy_target_is_described_in_full_and_not_changed() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let diagnosis = assert_predicted(target.pid());
    for name in ["btf", "bpf", "ring_buffer", "task_storage", "helpers", "exec_tracepoint", "uprobe_perf"] {
        assert_eq!(answer(&diagnosis, name), Answer::Yes, "{name}");
    }
    for name in ["root", "program", "mappings", "symbols", "seccomp", "not_traced", "not_stopped", "own_work"]
    {
        assert_eq!(answer(&diagnosis, name), Answer::Yes, "{name}");
    }
    let cost = diagnosis.cost.expect("the cost of a hit");
    for figure in [cost.emulated, cost.stepped, cost.call] {
        assert!(figure.low_ns <= figure.median_ns && figure.median_ns <= figure.high_ns, "{figure:?}");
        assert!(figure.median_ns > 10.0 && figure.calls > 0, "{figure:?}");
    }
    assert!(cost.stepped.median_ns > cost.emulated.median_ns, "{cost:?}");
    process::assert_code_unchanged(target.pid());
    assert!(target.lives());
    target.quit();
}

/// Everything that is written satisfies the published schema.
#[test]
fn the_json_satisfies_the_published_schema() {
    let Some(_live) = support::live() else { return };
    let schema = place::checkout().join("schema/doctor.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let (outcome, _) = doctor(target.pid());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&outcome.json()).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    target.quit();
}

#[test]
fn a_process_with_a_filter_is_ready() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn::<&str>(&Build::c("seccomp.c").build(), &[]);
    let diagnosis = ready(target.pid());
    let seen = &diagnosis.checks.iter().find(|check| check.name == "seccomp").expect("seccomp").seen;
    assert!(seen.starts_with("a filter"), "{seen}");
    assert_eq!(answer(&diagnosis, "seccomp"), answer(&diagnosis, "seccomp_safe"));
}

#[test]
fn refusals_of_memleak_come_first() {
    let Some(_live) = support::live() else { return };
    let bare = Build::plain_c("bare.c").flags(&["-O1", "-nostdlib", "-static", "-ffreestanding"]);
    let narrow = Build::plain_c("idle.c").named("idle32").flags(&["-m32", "-O1", "-D_FILE_OFFSET_BITS=64"]);
    let mut builds = vec![(bare, "allocator"), (narrow, "32-bit")];
    match Build::go("hello.go") {
        Some(build) => builds.push((build, "Go program")),
        None => skip::skip("go is not installed"),
    }
    for (build, word) in builds {
        let target = Workload::spawn::<&str>(&build.build(), &[]);
        let (outcome, diagnosis) = doctor(target.pid());
        assert_eq!(outcome.status.code(), Some(0), "{word}: {:?}", diagnosis.verdict);
        let answer = diagnosis.verdict.headline();
        assert!(answer.contains(", NOT for memleak: "), "{answer}");
        assert!(diagnosis.verdict.reasons.iter().any(|why| why.contains(word)), "{:?}", diagnosis.verdict);
        assert!(diagnosis.tools[0].sites.is_empty());
        let refusal = Observer::start("memleak", target.pid(), &[]).finish(PATIENCE);
        assert_eq!(refusal.status.code(), Some(4), "{}", refusal.stderr);
        let why = diagnosis.tools[0].why.clone().unwrap_or_default();
        assert!(refusal.stderr.contains(&format!("error: {why}\n")), "{why}\n{}", refusal.stderr);
        target.quit();
    }
}

#[test]
fn a_pid_namespace_is_seen() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(program()).args(["doctor", "--format", "json"]);
    let outcome = Observer::spawn_command(command).finish(PATIENCE);
    let diagnosis: Diagnosis = serde_json::from_slice(&outcome.stdout).expect("a diagnosis");
    assert_eq!(answer(&diagnosis, "pid_namespace"), Answer::No);
    assert_eq!(diagnosis.verdict.readiness, Readiness::ReadyWithLimits);
}

/// Root without the capabilities of BPF: a definite no, and nothing is blamed on the kernel.
#[test]
fn root_without_capabilities_is_not_taken_for_an_old_kernel() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(program());
    command.args(["doctor", "--format", "json"]);
    let outcome = Observer::spawn_command(command).finish(PATIENCE);
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.stderr);
    let diagnosis: Diagnosis = serde_json::from_slice(&outcome.stdout).expect("a diagnosis");
    assert_eq!(answer(&diagnosis, "root"), Answer::Yes);
    assert_eq!(answer(&diagnosis, "cap_bpf_perfmon"), Answer::No);
    for name in ["bpf", "ring_buffer", "uprobe_multi", "seccomp_safe"] {
        assert_eq!(answer(&diagnosis, name), Answer::CannotTell, "{name}");
    }
}

/// A runtime that makes code: its heap is not seen, and its code has names if an option of the runtime asks for them.
#[test]
fn node_with_and_without_names() {
    let Some(_live) = support::live() else { return };
    for (flags, names) in [(&[][..], Answer::No), (&["--perf-basic-prof"], Answer::Yes)] {
        // With its names it writes a log, wherever it is.
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        let script = place::package().join("tests/workloads/keep.js");
        command.args(["--no-opt", "--always-sparkplug"]).args(flags).arg(script);
        let target = Workload::spawn_command({
            command.current_dir(folder.path());
            command
        });
        let diagnosis = assert_predicted(target.pid());
        let found = diagnosis.target.as_ref().expect("a target");
        assert!(
            found.runtimes.iter().any(|runtime| runtime.name.contains("Node.js")),
            "{:?}",
            found.runtimes
        );
        assert!(found.code.as_ref().is_some_and(|code| code.made_bytes > 0), "{:?}", found.code);
        assert_eq!(answer(&diagnosis, "own_heap"), Answer::No);
        let check = diagnosis.checks.iter().find(|check| check.name == "jit_names").expect("jit_names");
        assert_eq!(check.answer, names, "{check:?}");
        let fix = check.fix.as_deref().unwrap_or_default();
        assert_eq!(fix.contains("--perf-basic-prof"), names == Answer::No, "{check:?}");
    }
}

/// As in a container with the usual filter: a refusal of the filter is not taken for a missing feature of the kernel.
#[test]
fn a_filter_on_profiler_itself_is_blamed() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new(program());
    command.args(["doctor", "--format", "json"]);
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(refuse_bpf) };
    let outcome = Observer::spawn_command(command).finish(PATIENCE);
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.stderr);
    let diagnosis: Diagnosis = serde_json::from_slice(&outcome.stdout).expect("a diagnosis");
    assert_eq!(diagnosis.verdict.readiness, Readiness::NotReady);
    for name in ["bpf", "ring_buffer", "uprobe_perf", "uprobe_multi", "confinement"] {
        assert_eq!(answer(&diagnosis, name), Answer::No, "{name}");
    }
    let of = |name: &str| diagnosis.checks.iter().find(|check| check.name == name).expect(name);
    assert!(of("bpf").seen.contains("a seccomp filter"), "{}", of("bpf").seen);
    assert!(of("confinement").seen.starts_with("a seccomp filter"), "{}", of("confinement").seen);
    assert!(of("confinement").fix.as_ref().is_some_and(|fix| fix.contains("seccomp=unconfined")));
}

/// Installs a filter that answers bpf(2) and perf_event_open(2) as Docker's does.
fn refuse_bpf() -> std::io::Result<()> {
    // Values of linux/bpf_common.h and linux/seccomp.h: load the call's number, compare, allow or refuse.
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 2, 0, libc::SYS_bpf as u32),
        instruction(JUMP_IF_EQUAL, 1, 0, libc::SYS_perf_event_open as u32),
        instruction(RETURN, 0, 0, ALLOW),
        instruction(RETURN, 0, 0, REFUSE),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: changes what this process may do; the program lives until the call has copied it.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Tools on files and sockets can do without some of what newer kernels have, and say so before they are asked to observe.
#[test]
fn tools_say_what_they_do_not_find_out_on_this_kernel() {
    let Some(_live) = support::live() else { return };
    let outcome = Observer::spawn(&["doctor", "--format", "json"]).finish(PATIENCE);
    let diagnosis: Diagnosis = serde_json::from_slice(&outcome.stdout).expect("a diagnosis");
    let lacks = |name: &str, what: &str| {
        let tool = diagnosis.tools.iter().find(|tool| tool.name == name).expect("a tool");
        assert_eq!(tool.answer, Answer::Yes, "{tool:?}");
        tool.lacks.iter().any(|lack| lack.contains(what))
    };
    assert_eq!(lacks("sockets", "age of datagrams"), !has(Feature::ReadsOfSockets));
    assert_eq!(lacks("sockets", "why packets were dropped"), !has(Feature::SocketsOfDrops));
    assert_eq!(lacks("disk", "how long faults of mapped files take"), !has(Feature::FaultStart));
}
