//! The cost of profiler itself: time to attach and to detach, stalls of the target, its own memory and processor time.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Figures, Rig, large,
    memleak::median,
    observer::{Ended, Observer},
    target::{Target, compile, number},
};
use crate::process::command;

const ROUNDS: usize = 10;
const LIVE_BLOCKS: u64 = 2_000_000;
const LIVE_STACKS: u64 = 5_000;
/// Our own cost must not depend on how fast the target allocates, so two rates are measured.
const PAIRS_PER_S: [u64; 2] = [100_000, 300_000];
/// Allocations of a tick that takes as long unobserved as one of 50 does under observation: a machine that stops for a
/// while by itself, as a shared one does, hits long ticks more often than short ones.
const CONTROL_ALLOCS: &str = "8000";
/// Ticks are watched for this long before any probe is there, for the noise of the machine itself.
const QUIET: Duration = Duration::from_secs(1);

/// Threads that want all processors, in a busy run.
const SPINNERS: usize = 4;

/// Everything on a machine with little else to do.
pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let mut figures = Figures::new();
    attach(rig, &mut figures)?;
    ticks(rig, &mut figures)?;
    report(rig, &mut figures)?;
    processor(rig, &mut figures)?;
    Ok(figures)
}

/// Attaching and detaching beside threads that want all processors.
pub(super) fn run_busy(rig: &Rig) -> Result<Figures> {
    let mut figures = Figures::new();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..SPINNERS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    spin_loop();
                }
            });
        }
        let done = attach(rig, &mut figures);
        stop.store(true, Relaxed);
        done
    })?;
    figures.insert("spinning_threads".into(), SPINNERS.into());
    Ok(figures)
}

/// One `profiler memleak` on a target, until it has attached.
fn observe(rig: &Rig, target: &Target, options: &[&str]) -> Result<Observer> {
    let mut memleak = rig.profiler();
    memleak.args(["memleak", "--pid", &target.pid().to_string()]).args(options);
    if !options.contains(&"--max-cost") {
        memleak.args(["--max-cost", "off"]);
    }
    Observer::start(&mut memleak, rig.privilege, "attached")
}

/// The cost of profiler according to the report, which is JSON on standard output.
fn cost(ended: &Ended) -> Result<Value> {
    let report: Value = serde_json::from_str(&ended.stdout).context("the report is not JSON")?;
    report.pointer("/meta/cost").or_else(|| report.get("cost")).cloned().context("the report states no cost")
}

/// From exec to everything attached, and the way back, on a large program with DWARF.
fn attach(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = large::compile(&rig.scratch)?;
    let size = program.metadata()?.len();
    let target = Target::start(&mut command(&program))?;
    let (mut attach, mut detach, mut count) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // As a user types it: calls are counted first, which is a wait of its own.
        let observer = observe(rig, &target, &["--max-cost", "30%", "--format", "json"])?;
        let all = milliseconds(observer.attach);
        thread::sleep(Duration::from_millis(300));
        let cost = cost(&observer.end()?)?;
        let counted = number(&cost, "count_ns")? / 1e6;
        attach.push(all - counted);
        count.push(counted);
        detach.push(number(&cost, "detach_ns")? / 1e6);
    }
    println!("attach, ms: {attach:.0?}; detach, ms: {detach:.0?}; counting before, ms: {count:.0?}");
    figures.insert("count_ms".into(), rounded(median(&count)));
    figures.insert("count_of_all_rounds_ms".into(), rounded(highest(&count)));
    figures.insert("attach_binary_bytes".into(), size.into());
    figures.insert("attach_ms".into(), rounded(median(&attach)));
    figures.insert("attach_of_all_rounds_ms".into(), rounded(highest(&attach)));
    figures.insert("detach_ms".into(), rounded(median(&detach)));
    figures.insert("detach_of_all_rounds_ms".into(), rounded(highest(&detach)));
    Ok(())
}

/// Ticks of a 1 kHz server with 50 allocations per tick, while probes come and go.
fn ticks(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = compile("tick.c", &rig.scratch)?;
    let mut periods: [(&str, Vec<Ticks>); 5] =
        ["quiet", "attach", "observed", "detach", "control"].map(|name| (name, Vec::new()));
    let mut control = Target::start(command(&program).args(["--allocs", CONTROL_ALLOCS]))?;
    for _ in 0..ROUNDS / 2 {
        control.ask("mark")?;
        thread::sleep(QUIET);
        periods[4].1.push(Ticks::since_last(&mut control)?);
    }
    drop(control);
    let mut target = Target::start(&mut command(&program))?;
    for _ in 0..ROUNDS {
        target.ask("mark")?;
        thread::sleep(QUIET);
        periods[0].1.push(Ticks::since_last(&mut target)?);
        let observer = observe(rig, &target, &["--max-cost", "100%"])?;
        periods[1].1.push(Ticks::since_last(&mut target)?);
        thread::sleep(QUIET);
        periods[2].1.push(Ticks::since_last(&mut target)?);
        observer.end()?;
        periods[3].1.push(Ticks::since_last(&mut target)?);
    }
    for (name, ticks) in &periods {
        let worst: Vec<f64> = ticks.iter().map(|t| t.worst_ms).collect();
        let p99: Vec<f64> = ticks.iter().map(|t| t.p99_ms).collect();
        println!("ticks, {name}, ms: worst {worst:.2?}, 99 of 100 within {p99:.2?}");
        figures.insert(format!("worst_tick_{name}_ms"), rounded(median(&worst)));
        figures.insert(format!("worst_tick_{name}_of_all_rounds_ms"), rounded(highest(&worst)));
        figures.insert(format!("p99_tick_{name}_of_all_rounds_ms"), rounded(highest(&p99)));
    }
    Ok(())
}

/// How long the work of ticks took.
struct Ticks {
    worst_ms: f64,
    /// Of 100 ticks, 99 took no longer.
    p99_ms: f64,
}

impl Ticks {
    /// Of the ticks since the last question.
    fn since_last(target: &mut Target) -> Result<Ticks> {
        let answer = target.ask("mark")?;
        let ms = |name| Ok::<f64, anyhow::Error>(number(&answer, name)? / 1e6);
        Ok(Ticks { worst_ms: ms("work_worst_ns")?, p99_ms: ms("work_p99_ns")? })
    }
}

fn highest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

/// From the interrupt to the printed report, with many live blocks, and the memory that takes.
fn report(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = compile("blocks.c", &rig.scratch)?;
    let (blocks, stacks) = (LIVE_BLOCKS.to_string(), LIVE_STACKS.to_string());
    let mut target = Target::start(command(&program).args(["--blocks", &blocks, "--stacks", &stacks]))?;
    let room = (LIVE_BLOCKS * 5 / 4).to_string();
    let observer = observe(rig, &target, &["--max-blocks", &room, "--format", "json"])?;
    target.say("go")?;
    target.wait_for("DONE")?;
    let ended = observer.end()?;
    let cost = cost(&ended)?;
    let (own, maps) = (number(&cost, "own_memory_bytes")?, number(&cost, "map_memory_bytes")?);
    println!(
        "report of {blocks} blocks on {stacks} stacks: {:.2} s, {:.0} MiB of ours, {:.0} MiB of maps",
        ended.took.as_secs_f64(),
        own / f64::from(1 << 20),
        maps / f64::from(1 << 20)
    );
    figures.insert("live_blocks".into(), LIVE_BLOCKS.into());
    figures.insert("live_stacks".into(), LIVE_STACKS.into());
    figures.insert("report_s".into(), rounded(ended.took.as_secs_f64()));
    figures.insert("report_own_mib".into(), rounded(own / f64::from(1 << 20)));
    figures.insert("report_maps_mib".into(), rounded(maps / f64::from(1 << 20)));
    Ok(())
}

/// Our own processor time while the target allocates, at two paces.
fn processor(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = compile("loop.c", &rig.scratch)?;
    let (mut paces, mut shares) = (Vec::new(), Vec::new());
    for wanted in PAIRS_PER_S {
        let pace = wanted.to_string();
        // Two threads: what a pair costs under observation is more than one thread can pay so often.
        let mut target = Target::start(command(&program).args([
            "--milliseconds",
            "5000",
            "--threads",
            "2",
            "--pairs-per-s",
            &pace,
        ]))?;
        let observer = observe(rig, &target, &["--format", "json"])?;
        let answer = target.ask("go")?;
        let share = number(&cost(&observer.end()?)?, "own_cpu_share")?;
        let reached = number(&answer, "pairs")? / number(&answer, "took_ns")? * 1e9;
        println!("own processor time at {reached:.0} pairs/s: {:.2} % of a CPU", share * 100.0);
        paces.push(json!(reached.round()));
        shares.push(rounded(share * 100.0));
    }
    figures.insert("pairs_per_s".into(), paces.into());
    figures.insert("own_cpu_percent".into(), shares.into());
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}
