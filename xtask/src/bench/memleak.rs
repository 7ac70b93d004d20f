//! What `memleak` adds to a malloc and its free.
//!
//! One process runs malloc and free in a loop that does nothing else. Every way of observing it is measured once per
//! round, one after the other, so that a machine that gets slower meanwhile slows all of them. Times are processor
//! time of the target per pair, which other work on the machine changes less than the clock. A ratio is the median of
//! the rounds' ratios: both of its parts were measured within seconds of each other.
//!
//! profiler keeps the kernel's run statistics of BPF programs on for one second in thirty, which costs two clock reads
//! per hit. Both states are measured and weighed accordingly: 1/30 and 29/30.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    Figures, Rig,
    observer::Observer,
    target::{FramePointers, Target, compile, compile_cpp, number, private_libc},
};
use crate::process::{ask, command, on_path};

const ROUNDS: usize = 7;
/// Length of one measurement.
const INTERVAL_MS: &str = "500";
/// How long profiler keeps run statistics on after attaching, with a margin for its quarter-second look.
const STATISTICS_OFF_AFTER: Duration = Duration::from_millis(1350);
/// The share of time in which they are on.
const STATISTICS_SHARE: f64 = 1.0 / 30.0;

/// bpftrace prints that it is about to attach, but not that it has.
const BPFTRACE_ATTACHES: Duration = Duration::from_secs(2);

/// A way of observing, and its cost in each round.
struct Way {
    name: &'static str,
    observe: Observe,
    ns: Vec<f64>,
}

enum Observe {
    Nothing,
    Floor([&'static str; 2]),
    Memleak(&'static [&'static str]),
    Bpftrace,
}

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let program = compile("loop.c", &rig.scratch)?;
    let mut ways = ways();
    rounds(rig, &program, &[], &mut ways)?;
    let mut figures = Figures::new();
    all_figures(&ways, &mut figures)?;
    Ok(figures)
}

/// On C++ whose stacks need unwind tables, and have 16 frames at `malloc`: `operator new[]`, `operator new`, `last`, the
/// chain, `main`, two of the C library, `_start`.
pub(super) fn run_without_frame_pointers(rig: &Rig) -> Result<Figures> {
    let program = compile_cpp("chain.cpp", FramePointers::No, &rig.scratch)?;
    let of = ["baseline_ns", "floor_session", "floor_multi", "exact_ns"];
    let mut ways = ways();
    ways.retain(|way| of.contains(&way.name));
    rounds(rig, &program, &["--depth", "9", "--new", "1"], &mut ways)?;
    let mut figures = Figures::new();
    over_floor(&ways, &mut figures)?;
    Ok(figures)
}

/// Measures every way once a round.
fn rounds(rig: &Rig, program: &Path, arguments: &[&str], ways: &mut [Way]) -> Result<()> {
    let libc = private_libc(program, &rig.scratch)?;
    let mut target = Target::start(
        command(program).args(["--milliseconds", INTERVAL_MS]).args(arguments).env("LD_LIBRARY_PATH", &libc),
    )?;
    let script = script(&libc.join("libc.so.6").display().to_string());
    for round in 1..=ROUNDS {
        for way in &mut *ways {
            let ns = measure(rig, &mut target, &way.observe, &script)
                .with_context(|| format!("cannot measure {}", way.name))?;
            way.ns.push(ns);
        }
        let line: Vec<String> =
            ways.iter().filter_map(|way| Some(format!("{} {:.0}", way.name, way.ns.last()?))).collect();
        println!("round {round}/{ROUNDS}, ns per pair: {}", line.join(", "));
    }
    Ok(())
}

fn ways() -> Vec<Way> {
    let way = |name, observe| Way { name, observe, ns: Vec::new() };
    let mut ways = vec![
        way("baseline_ns", Observe::Nothing),
        way("floor_session", Observe::Floor(["exact", "session"])),
        way("exact_ns", Observe::Memleak(&[])),
        way("floor_multi", Observe::Floor(["exact", "multi"])),
        way("sampled_ns", Observe::Memleak(&["--sample-bytes", "512KiB"])),
        way("entry_floor_ns", Observe::Floor(["entry", "multi"])),
        way("first_insn_ns", Observe::Memleak(&["--placement", "first"])),
    ];
    if on_path("bpftrace") {
        ways.push(way("bpftrace_ns", Observe::Bpftrace));
    } else {
        println!("bpftrace is not installed: left out");
    }
    ways
}

/// Nanoseconds per pair under one way of observing.
fn measure(rig: &Rig, target: &mut Target, observe: &Observe, script: &str) -> Result<f64> {
    let pid = target.pid().to_string();
    let mut observer = match observe {
        Observe::Nothing => return interval(target),
        Observe::Floor([what, method]) => {
            let mut floor = rig.profiler();
            floor.args(["__floor", "--pid", &pid, "--what", what, "--method", method]);
            floor
        }
        Observe::Memleak(options) => {
            let mut memleak = rig.profiler();
            memleak.args(["memleak", "--max-cost", "off", "--pid", &pid]).args(*options);
            memleak
        }
        Observe::Bpftrace => {
            let mut bpftrace = rig.privilege.command("bpftrace", &[]);
            bpftrace.args(["-e", script]);
            bpftrace
        }
    };
    let sign = if matches!(observe, Observe::Bpftrace) { "Attaching" } else { "attached" };
    let observer = Observer::start(&mut observer, rig.privilege, sign)?;
    let ns = match observe {
        Observe::Memleak(_) => {
            let with_statistics = interval(target)?;
            thread::sleep(STATISTICS_OFF_AFTER.saturating_sub(observer.attached.elapsed()));
            let without = interval(target)?;
            with_statistics * STATISTICS_SHARE + without * (1.0 - STATISTICS_SHARE)
        }
        Observe::Bpftrace => {
            thread::sleep(BPFTRACE_ATTACHES);
            interval(target)?
        }
        Observe::Nothing | Observe::Floor(_) => interval(target)?,
    };
    observer.end()?;
    Ok(ns)
}

/// Processor time of one turn.
pub(super) fn interval(target: &mut Target) -> Result<f64> {
    number(&target.ask("go")?, "cpu_ns_per_pair")
}

/// What a bpftrace user would write for the same question: which stacks hold memory.
fn script(libc: &str) -> String {
    format!(
        "uprobe:{libc}:malloc {{ @size[tid] = arg0; @at[tid] = ustack; }} \
         uretprobe:{libc}:malloc /@size[tid]/ \
         {{ @bytes[retval] = @size[tid]; @stack[retval] = @at[tid]; delete(@size[tid]); delete(@at[tid]); }} \
         uprobe:{libc}:free /@bytes[arg0]/ {{ delete(@bytes[arg0]); delete(@stack[arg0]); }} \
         END {{ clear(@size); clear(@at); clear(@bytes); clear(@stack); }}"
    )
}

/// The rounds of a way.
fn of<'w>(ways: &'w [Way], name: &str) -> Result<&'w [f64]> {
    let way = ways.iter().find(|way| way.name == name);
    way.map(|way| way.ns.as_slice()).with_context(|| format!("{name} was not measured"))
}

fn put(figures: &mut Figures, name: &str, value: f64, digits: f64) {
    figures.insert(name.to_owned(), json!((value * digits).round() / digits));
}

fn ratio(over: &[f64], under: &[f64]) -> f64 {
    median(&over.iter().zip(under).map(|(over, under)| over / under).collect::<Vec<_>>())
}

/// The cost of memleak relative to that of the probes alone.
fn over_floor(ways: &[Way], figures: &mut Figures) -> Result<()> {
    let cheaper = if median(of(ways, "floor_session")?) <= median(of(ways, "floor_multi")?) {
        "floor_session"
    } else {
        "floor_multi"
    };
    println!("floor: {cheaper}, the cheaper way of attaching empty programs");
    let (floor, exact) = (of(ways, cheaper)?, of(ways, "exact_ns")?);
    put(figures, "baseline_ns", median(of(ways, "baseline_ns")?), 10.0);
    put(figures, "floor_ns", median(floor), 10.0);
    put(figures, "exact_ns", median(exact), 10.0);
    put(figures, "exact_over_floor", ratio(exact, floor), 1000.0);
    let kernel = ask(command("uname").arg("-r")).unwrap_or_default();
    figures.insert("rounds".into(), ROUNDS.into());
    figures.insert("kernel".into(), kernel.trim().into());
    Ok(())
}

fn all_figures(ways: &[Way], figures: &mut Figures) -> Result<()> {
    over_floor(ways, figures)?;
    for name in ["entry_floor_ns", "sampled_ns", "first_insn_ns"] {
        put(figures, name, median(of(ways, name)?), 10.0);
    }
    if let Ok(bpftrace) = of(ways, "bpftrace_ns") {
        put(figures, "bpftrace_ns", median(bpftrace), 10.0);
    }
    let (sampled, entry_floor) = (of(ways, "sampled_ns")?, of(ways, "entry_floor_ns")?);
    put(figures, "sampled_over_entry_floor", ratio(sampled, entry_floor), 1000.0);
    let (first, exact) = (of(ways, "first_insn_ns")?, of(ways, "exact_ns")?);
    put(figures, "first_insn_over_exact", ratio(first, exact), 1000.0);
    Ok(())
}

/// The middle one, or the mean of the two in the middle; zero if there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[upper],
        _ => f64::midpoint(sorted[upper - 1], sorted[upper]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
