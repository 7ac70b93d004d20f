//! What observing files and sockets adds to each operation, and what redis loses by it.
//!
//! One process reads 4 KiB of a file in memory, or writes and syncs 4 KiB, in a loop that does nothing else. Every way of observing it is
//! measured once per round, one after the other, so that a machine that gets slower meanwhile slows all of them. Times are processor time of
//! the target per operation. A ratio is the median of the rounds' ratios.
//!
//! bpftrace runs what its users would write for the same question: bytes and time by descriptor. It needs tracefs, and gets it in a mount
//! namespace of its own.

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
/// bpftrace prints that it is about to attach, but not that it has.
const PEERS_ATTACH: Duration = Duration::from_secs(2);
/// Upper bound of the ratio to bpftrace.
const BAR: f64 = 0.6;

/// A loop, and the ways of observing it.
struct Loop {
    /// What the workload is told.
    word: &'static str,
    /// The tool that it is for.
    tool: &'static str,
    /// The calls in the loop, as bpftrace names them, with the argument that is the descriptor.
    calls: &'static [&'static str],
}

const LOOPS: [Loop; 3] = [
    Loop { word: "read", tool: "disk", calls: &["pread64"] },
    Loop { word: "sync", tool: "disk", calls: &["pwrite64", "fsync"] },
    // What uses no file costs, too: two calls, and a switch from one thread to another.
    Loop { word: "turn", tool: "disk", calls: &[] },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Observe {
    Nothing,
    /// Ours, on the target.
    Target,
    /// Ours, on another process: the cost to one that is not observed.
    Another,
    Bpftrace,
}

const WAYS: [(&str, Observe); 4] = [
    ("bare", Observe::Nothing),
    ("added", Observe::Target),
    ("others_added", Observe::Another),
    ("bpftrace", Observe::Bpftrace),
];

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let program = compile_cpp("transfers.cpp", FramePointers::No, &rig.scratch)?;
    let start = || {
        let mut command = command(&program);
        Target::start(command.current_dir(&rig.scratch).args(["--milliseconds", INTERVAL_MS]))
    };
    let (mut target, another) = (start()?, start()?);
    let mut figures = Figures::new();
    for of in &LOOPS {
        let mut ns: Vec<(&str, Vec<f64>)> = WAYS.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for round in 1..=ROUNDS {
            for ((_, observe), (name, measured)) in WAYS.iter().zip(&mut ns) {
                if *observe == Observe::Bpftrace && (of.calls.is_empty() || !on_path("bpftrace")) {
                    continue;
                }
                let of_way = measure(rig, &mut target, &another, of, *observe);
                measured.push(of_way.with_context(|| format!("cannot measure {name}"))?);
            }
            let line: Vec<String> =
                ns.iter().filter_map(|(name, ns)| Some(format!("{name} {:.0}", ns.last()?))).collect();
            println!("{}, round {round}/{ROUNDS}, ns per operation: {}", of.word, line.join(", "));
        }
        put(&mut figures, of, &ns);
    }
    let kernel = ask(command("uname").arg("-r")).unwrap_or_default();
    figures.insert("rounds".into(), ROUNDS.into());
    figures.insert("kernel".into(), kernel.trim().into());
    Ok(figures)
}

/// Nanoseconds per operation under one way of observing.
fn measure(rig: &Rig, target: &mut Target, another: &Target, of: &Loop, observe: Observe) -> Result<f64> {
    let pid = target.pid().to_string();
    let ours = |pid: &str| {
        let mut ours = rig.profiler();
        ours.args([of.tool, "--max-cost", "off", "--format", "json", "--pid", pid]);
        ours
    };
    let (mut observer, sign) = match observe {
        Observe::Nothing => return number(&target.ask(of.word)?, "cpu_ns"),
        Observe::Target => (ours(&pid), "attached"),
        Observe::Another => (ours(&another.pid().to_string()), "attached"),
        Observe::Bpftrace => (rig.with_tracefs(&["bpftrace", "-e", &script(of, &pid)]), "Attaching"),
    };
    let observer = Observer::start(&mut observer, rig.privilege, sign)?;
    if observe == Observe::Bpftrace {
        thread::sleep(PEERS_ATTACH);
    }
    let ns = number(&target.ask(of.word)?, "cpu_ns")?;
    observer.end()?;
    Ok(ns)
}

/// Bytes and time by descriptor.
fn script(of: &Loop, pid: &str) -> String {
    let each = of.calls.iter().map(|call| {
        format!(
            "tracepoint:syscalls:sys_enter_{call} /pid == {pid}/ {{ @began[tid] = nsecs; @fd[tid] = args->fd; }} \
             tracepoint:syscalls:sys_exit_{call} /@began[tid]/ {{ @bytes[@fd[tid]] = sum(args->ret); \
             @ns[@fd[tid]] = sum(nsecs - @began[tid]); delete(@began[tid]); delete(@fd[tid]); }} "
        )
    });
    each.chain(["END { clear(@began); clear(@fd); }".to_owned()]).collect()
}

fn put(figures: &mut Figures, of: &Loop, ns: &[(&str, Vec<f64>)]) {
    let of_way =
        |name: &str| ns.iter().find(|(way, _)| *way == name).map(|(_, ns)| ns.as_slice()).unwrap_or_default();
    let bare = of_way("bare");
    // What a way adds to the bare operation of its round.
    let added =
        |name: &str| -> Vec<f64> { of_way(name).iter().zip(bare).map(|(ns, bare)| ns - bare).collect() };
    let mut put = |name: String, value: f64| {
        figures.insert(name, json!((value * 1000.0).round() / 1000.0));
    };
    put(format!("{}_bare_ns", of.word), median(bare));
    for (way, _) in ns.iter().skip(1).filter(|(_, ns)| !ns.is_empty()) {
        put(format!("{}_{way}_ns", of.word), median(&added(way)));
    }
    let (ours, theirs) = (added("added"), added("bpftrace"));
    if theirs.is_empty() {
        return;
    }
    let ratio = median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>());
    let holds = if ratio <= BAR { "holds" } else { "DOES NOT HOLD" };
    println!("{}: {}_over_bpftrace {ratio:.3}, bar {BAR}: {holds}", of.word, of.tool);
    put(format!("{}_{}_over_bpftrace", of.word, of.tool), ratio);
}
