//! What profiler itself takes: time to attach and to detach, stalls of the target, its own memory and processor time.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    Figures, Rig, large,
    memleak::median,
    observer::{Ended, Observer},
    target::{Target, compile, number},
};
use crate::process::command;

const ROUNDS: usize = 5;
const LIVE_BLOCKS: u64 = 2_000_000;
const LIVE_STACKS: u64 = 5_000;
const PAIRS_PER_S: u64 = 300_000;
/// Ticks are watched for so long before a probe is there, as what the machine does by itself.
const QUIET: Duration = Duration::from_secs(1);

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let mut figures = Figures::new();
    attach(rig, &mut figures)?;
    ticks(rig, &mut figures)?;
    report(rig, &mut figures)?;
    processor(rig, &mut figures)?;
    Ok(figures)
}

/// One `profiler memleak` on a target, until it has attached.
fn observe(rig: &Rig, target: &Target, options: &[&str]) -> Result<Observer> {
    let mut memleak = rig.profiler();
    memleak.args(["memleak", "--pid", &target.pid().to_string()]).args(options);
    Observer::start(&mut memleak, rig.privilege, "attached")
}

/// What the report says that profiler cost; the report is JSON on standard output.
fn cost(ended: &Ended) -> Result<Value> {
    let report: Value = serde_json::from_str(&ended.stdout).context("the report is no JSON")?;
    report.pointer("/meta/cost").or_else(|| report.get("cost")).cloned().context("the report states no cost")
}

/// From exec to everything attached, and the way back, on a large program with DWARF.
fn attach(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = large::compile(&rig.scratch)?;
    let size = program.metadata()?.len();
    let target = Target::start(&mut command(&program))?;
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let observer = observe(rig, &target, &["--format", "json"])?;
        attach.push(milliseconds(observer.attach));
        thread::sleep(Duration::from_millis(300));
        detach.push(number(&cost(&observer.end()?)?, "detach_ns")? / 1e6);
    }
    println!("attach, ms: {attach:.0?}; detach, ms: {detach:.0?}");
    figures.insert("attach_binary_bytes".into(), size.into());
    figures.insert("attach_ms".into(), rounded(median(&attach)));
    figures.insert("detach_ms".into(), rounded(median(&detach)));
    Ok(())
}

/// The longest tick of a 1 kHz server with 50 allocations per tick, while probes come and go.
fn ticks(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = compile("tick.c", &rig.scratch)?;
    let mut target = Target::start(&mut command(&program))?;
    let mut worst: [(&str, Vec<f64>); 4] =
        ["quiet", "attach", "observed", "detach"].map(|name| (name, Vec::new()));
    for _ in 0..ROUNDS {
        target.ask("mark")?;
        thread::sleep(QUIET);
        worst[0].1.push(worst_tick(&mut target)?);
        let observer = observe(rig, &target, &[])?;
        worst[1].1.push(worst_tick(&mut target)?);
        thread::sleep(QUIET);
        worst[2].1.push(worst_tick(&mut target)?);
        observer.end()?;
        worst[3].1.push(worst_tick(&mut target)?);
    }
    for (name, ms) in &worst {
        println!("worst tick {name}, ms: {ms:.2?}");
        figures.insert(format!("worst_tick_{name}_ms"), rounded(median(ms)));
        figures.insert(
            format!("worst_tick_{name}_of_all_rounds_ms"),
            rounded(ms.iter().copied().fold(0.0, f64::max)),
        );
    }
    Ok(())
}

/// The longest time that a tick's work took since the last question.
fn worst_tick(target: &mut Target) -> Result<f64> {
    Ok(number(&target.ask("mark")?, "work_worst_ns")? / 1e6)
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

/// Our own processor time while the target allocates fast.
fn processor(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let program = compile("loop.c", &rig.scratch)?;
    let pace = PAIRS_PER_S.to_string();
    // Two threads: what a pair costs under observation is more than one thread can pay so often.
    let mut target = Target::start(command(&program).args([
        "--milliseconds",
        "8000",
        "--threads",
        "2",
        "--pairs-per-s",
        &pace,
    ]))?;
    let observer = observe(rig, &target, &["--format", "json"])?;
    let answer = target.ask("go")?;
    let share = number(&cost(&observer.end()?)?, "own_cpu_share")?;
    let pace = number(&answer, "pairs")? / number(&answer, "took_ns")? * 1e9;
    println!("own processor time at {pace:.0} pairs/s: {:.2} % of a CPU", share * 100.0);
    figures.insert("pairs_per_s".into(), json!(pace.round()));
    figures.insert("own_cpu_percent".into(), rounded(share * 100.0));
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}
