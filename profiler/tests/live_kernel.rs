//! What the running kernel takes: every program of every object, and the best way of attaching that it has.
//!
//! `cargo xtask vm` runs this on older kernels, and shows the numbers that it prints.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::account;
use support::compile::Build;
use support::kernel::{self, Feature};
use support::observer::Observer;
use support::process::bpf_objects_of;
use support::remark;
use support::workload::Workload;

const POOL: [&str; 4] = ["--alloc-fn", "pool_get:size=arg1,ptr=ret", "--free-fn", "pool_put:ptr=arg0"];

/// A program is too much for the verifier from here on. The kernel gives up only after a million instructions, but one
/// branch more in the source can double what it looks at, other versions follow several times as many paths, and the
/// target's owner waits for it while profiler attaches.
const TOO_MANY_VERIFIED: u32 = 20_000;

/// Programs as the kernel names them (15 bytes), with the number of instructions that its verifier looked at.
type Verified = BTreeMap<String, u32>;

/// The programs that a process holds.
fn programs_of(pid: u32) -> Verified {
    let held: BTreeSet<u32> =
        bpf_objects_of(pid).into_iter().filter(|(kind, _)| kind == "prog_id").map(|(_, id)| id).collect();
    let loaded = aya::programs::loaded_programs().map(|program| program.expect("to list the programs"));
    loaded
        .filter(|program| held.contains(&program.id()))
        .map(|program| {
            let name = program.name_as_str().expect("a program has a name").to_owned();
            (name, program.verified_instruction_count().expect("the kernel counts them"))
        })
        .collect()
}

/// The ways of attaching that the kernel has, as they are asked for, with the programs that only they need.
fn methods() -> Vec<(&'static str, [&'static str; 2])> {
    let (alone, together) = (["entry", "return"], ["session", "session"]);
    let mut methods = vec![("perf", alone)];
    methods.extend(kernel::has(Feature::Multi).then_some(("multi", alone)));
    methods.extend(kernel::has(Feature::Session).then_some(("session", together)));
    methods
}

/// Prints how many instructions the verifier looked at, and returns the programs that had it look at too many.
fn verified(how: &str, programs: &Verified) -> Vec<String> {
    for (name, instructions) in programs {
        remark(&format!("VERIFIED {name} {instructions} {how}"));
    }
    let heavy = programs.iter().filter(|(_, instructions)| **instructions >= TOO_MANY_VERIFIED);
    heavy.map(|(name, instructions)| format!("{name} {instructions} ({how})")).collect()
}

/// Last in a test: all else about these programs is known to be right by then.
#[track_caller]
fn assert_none_is_heavy(heavy: &[String]) {
    let heavy = heavy.join(", ");
    assert!(heavy.is_empty(), "{TOO_MANY_VERIFIED} instructions to verify are too many: {heavy}");
}

/// All programs of `memleak`, on a target that needs each: it has an allocator, and a pool that throws.
#[test]
fn every_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    programs_load("exact", &[]);
}

/// Drawing adds code that is not part of the programs otherwise: the verifier sees settings as constants.
#[test]
fn every_sampling_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    programs_load("sampled", &["--sample-bytes", "64KiB"]);
}

/// What logs is more than this; what is left of it without `-vv` is not looked at.
const LEAST_OF_A_LOG: u32 = 100;

/// The programs as they are loaded with `-vv`.
fn logging_programs(target: &Workload, arguments: &[&str]) -> Verified {
    let observer = Observer::attach("memleak", target.pid(), &[arguments, ["-vv"].as_slice()].concat());
    let programs = programs_of(observer.pid());
    observer.interrupt();
    programs
}

#[track_caller]
fn programs_load(what: &str, arguments: &[&str]) {
    let program = Build::cpp("throw.cpp").build();
    let mut heavy = Vec::new();
    for (method, own) in methods() {
        let mut target = Workload::spawn(&program, &["--rounds", "101"]);
        let arguments = [&POOL, ["--method", method].as_slice(), arguments].concat();
        let logging = logging_programs(&target, &arguments);
        let observer = Observer::attach("memleak", target.pid(), &arguments);
        let programs = programs_of(observer.pid());
        for name in own.iter().chain(&["entry", "ret"]).map(|name| format!("memleak_{name}")) {
            let (with, without) = (logging[&name], programs[&name]);
            assert!(without + LEAST_OF_A_LOG < with, "{method}: {name} {without}, with -vv {with}");
        }
        heavy.extend(verified(&format!("{what} with -vv, {method}"), &logging));
        let of_tool = [own.as_slice(), &["entry", "ret", "free"]].concat();
        let of_tool = of_tool.into_iter().map(|name| format!("memleak_{name}"));
        for name in of_tool.chain(["ground_exec", "ground_exit"].map(str::to_owned)) {
            let instructions = programs.get(&name).copied().unwrap_or(0);
            assert!(instructions > 0, "{method}: {name} of {programs:?}");
        }
        heavy.extend(verified(&format!("{what}, {method}"), &programs));
        let books = target.run();
        let report = observer.interrupt().report(0);
        if what == "exact" {
            account::assert_books(&report, target.pid(), &books);
        }
        account::assert_nothing_lost(&report);
        target.quit();
    }
    assert_none_is_heavy(&heavy);
}

/// The only program that is above the limit, and a limit of its own, so that it does not become heavier.
const OVER: (&str, u32) = ("sockets_exit", 24_000);

/// Programs that find the file of each call, of each tool that has such.
const OF_FILES: [(&str, &[&str]); 2] = [
    ("disk", &["enter", "exit", "signal", "switch", "exec", "completed", "issued", "faulted"]),
    ("sockets", &["enter", "exit", "signal", "exec", "completed"]),
];

#[test]
fn every_program_that_looks_for_files_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let mut heavy = Vec::new();
    for ((tool, names), more) in OF_FILES.into_iter().flat_map(|of| [(of, &[][..]), (of, &["-vv"])]) {
        let observer = Observer::attach(tool, target.pid(), more);
        let programs = programs_of(observer.pid());
        observer.interrupt();
        for name in names.iter().map(|name| format!("{tool}_{name}")) {
            // The kernel keeps 15 bytes.
            let kept = name.get(..15).unwrap_or(&name);
            assert!(programs.contains_key(kept), "{name} of {programs:?}");
        }
        for (name, instructions) in programs {
            remark(&format!("VERIFIED {name} {instructions} with {more:?}"));
            let most = if name == OVER.0 { OVER.1 } else { TOO_MANY_VERIFIED };
            heavy.extend((instructions >= most).then(|| format!("{name} {instructions} {more:?}")));
        }
    }
    assert_none_is_heavy(&heavy);
}

/// The programs that the benches attach instead.
#[test]
fn every_empty_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("idle.c").build();
    let mut heavy = Vec::new();
    for (method, own) in methods() {
        let target = Workload::spawn::<&str>(&program, &[]);
        let pid = target.pid_argument();
        let mut observer = Observer::spawn(&["__floor", "--pid", &pid, "--method", method]);
        observer.wait_attached();
        let programs = programs_of(observer.pid());
        for name in [own.as_slice(), &["free"]].concat() {
            let name = format!("floor_{name}");
            assert!(programs.contains_key(&name), "{method}: {name} of {programs:?}");
        }
        heavy.extend(verified(&format!("empty, {method}"), &programs));
        assert_eq!(observer.interrupt().status.code(), Some(0));
        target.quit();
    }
    assert_none_is_heavy(&heavy);
}

/// Not less than the kernel has, and never more.
#[test]
fn the_best_way_of_attaching_is_taken() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn::<&str>(&Build::c("idle.c").build(), &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    let line = observer.said().lines().last().unwrap().trim_start().to_owned();
    remark(&line);
    let best = kernel::best_method();
    assert!(line.contains(&format!(", by {best} in ")), "the kernel has {best}: {line}");
    account::assert_nothing_lost(&observer.interrupt().report(0));
    target.quit();
}
