//! What counting system calls adds to each of them.
//!
//! One process calls getppid in a loop that does nothing else: the shortest call there is. Every way of observing it is measured once per
//! round, one after the other, so that a machine that gets slower meanwhile slows all of them. Times are processor time of the target
//! per call, but for strace, which stops the target instead of working in it: there it is the time on the clock. A ratio is the median of
//! the rounds' ratios.
//!
//! The peers need tracefs. They get it in a mount namespace of their own.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    Figures, Rig,
    memleak::median,
    observer::Observer,
    target::{FramePointers, Target, compile_cpp, number},
};
use crate::process::{ask, command, on_path};

const ROUNDS: usize = 7;
/// Length of one measurement.
const INTERVAL_MS: &str = "300";
/// Frames below the loop that make stacks of 16: besides `syscall`, the loop, its first caller, `main`, two of the C library, `_start`.
const DEPTH: &str = "9";
/// bpftrace and syscount print that they are about to attach, but not that they have.
const PEERS_ATTACH: Duration = Duration::from_secs(2);
/// Upper bounds of the ratios; the last one is a lower bound.
const BARS: [(&str, f64); 5] = [
    ("added_over_floor", 2.2),
    ("others_over_floor", 1.0),
    ("added_over_syscount", 0.6),
    ("added_over_bpftrace", 0.25),
    ("strace_over_added", 20.0),
];

/// A way of observing, and the nanoseconds per call in each round.
struct Way {
    name: &'static str,
    observe: Observe,
    ns: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Observe {
    Nothing,
    /// Empty programs.
    Floor,
    /// Ours, on the target.
    Target,
    /// Ours, on another process: the cost to one that is not observed.
    Another,
    /// Ours, with the stacks of all calls.
    Stacks,
    Syscount,
    Bpftrace,
    Strace,
}

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let program = compile_cpp("calls.cpp", FramePointers::No, &rig.scratch)?;
    let start = || Target::start(command(&program).args(["--milliseconds", INTERVAL_MS, "--depth", DEPTH]));
    let (mut target, another) = (start()?, start()?);
    let mut ways = ways();
    for round in 1..=ROUNDS {
        for way in &mut ways {
            let ns = measure(rig, &mut target, &another, way.observe)
                .with_context(|| format!("cannot measure {}", way.name))?;
            way.ns.push(ns);
        }
        let line: Vec<String> =
            ways.iter().filter_map(|way| Some(format!("{} {:.0}", way.name, way.ns.last()?))).collect();
        println!("round {round}/{ROUNDS}, ns per call: {}", line.join(", "));
    }
    figures(&ways)
}

fn ways() -> Vec<Way> {
    let all = [
        ("bare", Observe::Nothing, None),
        ("floor", Observe::Floor, None),
        ("added", Observe::Target, None),
        ("others_added", Observe::Another, None),
        ("stacks_added", Observe::Stacks, None),
        ("syscount", Observe::Syscount, Some("syscount")),
        ("bpftrace", Observe::Bpftrace, Some("bpftrace")),
        ("strace", Observe::Strace, Some("strace")),
    ];
    let mut ways = Vec::new();
    for (name, observe, needs) in all {
        match needs.filter(|program| !on_path(program)) {
            Some(program) => println!("{program} is not installed: left out"),
            None => ways.push(Way { name, observe, ns: Vec::new() }),
        }
    }
    ways
}

/// Nanoseconds per call under one way of observing.
fn measure(rig: &Rig, target: &mut Target, another: &Target, observe: Observe) -> Result<f64> {
    let pid = target.pid().to_string();
    let ours = |pid: &str, more: &[&str]| {
        let mut calls = rig.profiler();
        calls.args(["__calls", "--pid", pid]).args(more);
        calls
    };
    let (mut observer, sign) = match observe {
        Observe::Nothing => return number(&target.ask("go")?, "cpu_ns_per_call"),
        Observe::Floor => (ours(&pid, &["--floor"]), "attached"),
        Observe::Target => (ours(&pid, &[]), "attached"),
        Observe::Another => (ours(&another.pid().to_string(), &[]), "attached"),
        Observe::Stacks => (ours(&pid, &["--stacks", "all"]), "attached"),
        Observe::Syscount => {
            (rig.with_tracefs(&["stdbuf", "-oL", "syscount", "-L", "-i", "600", "-p", &pid]), "Tracing")
        }
        Observe::Bpftrace => (rig.with_tracefs(&["bpftrace", "-e", &script(&pid)]), "Attaching"),
        Observe::Strace => {
            let mut strace = rig.privilege.command("strace", &[]);
            strace.args(["-c", "-f", "-p", &pid]);
            (strace, "strace: Process")
        }
    };
    let observer = Observer::start(&mut observer, rig.privilege, sign)?;
    if matches!(observe, Observe::Syscount | Observe::Bpftrace) {
        thread::sleep(PEERS_ATTACH);
    }
    let time = if matches!(observe, Observe::Strace) { "ns_per_call" } else { "cpu_ns_per_call" };
    let ns = number(&target.ask("go")?, time)?;
    observer.end()?;
    Ok(ns)
}

/// What a bpftrace user would write for the same question: how long calls take.
fn script(pid: &str) -> String {
    format!(
        "tracepoint:raw_syscalls:sys_enter /pid == {pid}/ {{ @began[tid] = nsecs; }} \
         tracepoint:raw_syscalls:sys_exit /@began[tid]/ \
         {{ @ns[tid, args->id] = hist(nsecs - @began[tid]); delete(@began[tid]); }} \
         END {{ clear(@began); clear(@ns); }}"
    )
}

fn figures(ways: &[Way]) -> Result<Figures> {
    let of = |name: &str| {
        let way = ways.iter().find(|way| way.name == name);
        way.map(|way| way.ns.as_slice()).with_context(|| format!("{name} was not measured"))
    };
    let bare = of("bare")?;
    // What a way adds to the bare call of its round.
    let added = |name: &str| -> Result<Vec<f64>> {
        Ok(of(name)?.iter().zip(bare).map(|(ns, bare)| ns - bare).collect())
    };
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        figures.insert(name.to_owned(), json!((value * 1000.0).round() / 1000.0));
    };
    put("bare_ns", median(bare));
    for way in ways.iter().filter(|way| way.name != "bare") {
        put(&format!("{}_ns", way.name), median(&added(way.name)?));
    }
    let ratio = |over: &str, under: &str| -> Option<f64> {
        let (over, under) = (added(over).ok()?, added(under).ok()?);
        Some(median(&over.iter().zip(under).map(|(over, under)| over / under).collect::<Vec<_>>()))
    };
    let ratios = [
        ("added_over_floor", ratio("added", "floor")),
        ("others_over_floor", ratio("others_added", "floor")),
        ("added_over_syscount", ratio("added", "syscount")),
        ("added_over_bpftrace", ratio("added", "bpftrace")),
        ("strace_over_added", ratio("strace", "added")),
    ];
    for ((name, ratio), (_, bar)) in ratios.into_iter().zip(BARS) {
        let Some(ratio) = ratio else { continue };
        let holds = if name == "strace_over_added" { ratio >= bar } else { ratio <= bar };
        println!("{name} {ratio:.3}, bar {bar}: {}", if holds { "holds" } else { "DOES NOT HOLD" });
        put(name, ratio);
    }
    let kernel = ask(command("uname").arg("-r")).unwrap_or_default();
    figures.insert("rounds".into(), ROUNDS.into());
    figures.insert("kernel".into(), kernel.trim().into());
    Ok(figures)
}
