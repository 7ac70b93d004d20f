//! What a user stack costs: walked by unwind tables in a program without frame pointers, against the kernel's own walk in
//! the same program with them.
//!
//! One instruction at the end of a chain of calls is probed. What is done there is measured one after the other in every
//! round: nothing but counting, the walk, nothing, the kernel's walk. Times are processor time of the target per turn,
//! less that of counting. A ratio is the median of the rounds' ratios.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{
    Figures, Rig,
    memleak::{interval, median},
    observer::Observer,
    target::{FramePointers, Target, compile_cpp, number},
};
use crate::process::{ask, command};

const ROUNDS: usize = 7;
/// Length of one measurement.
const INTERVAL_MS: &str = "200";
/// Whole depths of the stacks.
const DEPTHS: [u64; 4] = [10, 16, 30, 66];
/// Frames that are not the chain's: its end, `last`, `main`, two of the C library, `_start`.
const OTHER_FRAMES: u64 = 6;
/// Text whose tables are to be ready in `TABLES_MS`.
const TEXT_BYTES: f64 = 50e6;

/// The times of one depth, by round.
#[derive(Default)]
struct Depth {
    walk: Vec<f64>,
    kernel: Vec<f64>,
    verified: u64,
}

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let without = compile_cpp("chain.cpp", FramePointers::No, &rig.scratch)?;
    let with = compile_cpp("chain.cpp", FramePointers::Yes, &rig.scratch)?;
    let mut depths: Vec<Depth> = DEPTHS.iter().map(|_| Depth::default()).collect();
    for round in 1..=ROUNDS {
        let mut line = Vec::new();
        for (frames, depth) in DEPTHS.into_iter().zip(&mut depths) {
            let (walk, verified) = cost(rig, &without, "walk", frames)?;
            let (kernel, _) = cost(rig, &with, "kernel", frames)?;
            depth.walk.push(walk);
            depth.kernel.push(kernel);
            depth.verified = verified;
            line.push(format!("{frames} frames: {walk:.0} / {kernel:.0}"));
        }
        println!("round {round}/{ROUNDS}, ns per stack, tables / frame pointers: {}", line.join(", "));
    }
    let mut figures = Figures::new();
    let mut put = |name: String, value: f64, digits: f64| {
        figures.insert(name, json!((value * digits).round() / digits));
    };
    for (frames, depth) in DEPTHS.into_iter().zip(&depths) {
        put(format!("walk_{frames}_ns"), median(&depth.walk), 1.0);
        put(format!("kernel_{frames}_ns"), median(&depth.kernel), 1.0);
        let ratios: Vec<f64> =
            depth.walk.iter().zip(&depth.kernel).map(|(walk, kernel)| walk / kernel).collect();
        put(format!("unwind_over_fp_{frames}"), median(&ratios), 1000.0);
    }
    let verified = depths.iter().map(|depth| depth.verified).max().unwrap_or(0);
    figures.insert("verified_insns".into(), verified.into());
    tables(rig, &mut figures)?;
    let kernel = ask(command("uname").arg("-r")).unwrap_or_default();
    figures.insert("rounds".into(), ROUNDS.into());
    figures.insert("kernel".into(), kernel.trim().into());
    Ok(figures)
}

/// Nanoseconds that a kind of work adds to counting, and what the verifier looked at to allow it.
fn cost(rig: &Rig, program: &PathBuf, work: &str, frames: u64) -> Result<(f64, u64)> {
    let depth = (frames - OTHER_FRAMES).to_string();
    let mut target =
        Target::start(command(program).args(["--depth", &depth, "--milliseconds", INTERVAL_MS]))?;
    let offset = target.said("offset")?;
    let mut under = |work: &str| -> Result<(f64, Value)> {
        let pid = target.pid().to_string();
        let mut walks = rig.profiler();
        walks.args(["__walks", "--pid", &pid, "--offset", &offset, "--work", work, "--file"]).arg(program);
        let observer = Observer::start(&mut walks, rig.privilege, "attached")?;
        let ns = interval(&mut target)?;
        let ended = observer.end()?;
        let counted =
            serde_json::from_str(ended.stdout.trim()).context("profiler did not print its counts")?;
        Ok((ns, counted))
    };
    let (nothing, _) = under("nothing")?;
    let (ns, counted) = under(work)?;
    if number(&counted, "hits")? != number(&counted, "walked")? || number(&counted, "lost")? != 0.0 {
        bail!("not every stack was walked: {counted}");
    }
    let whole = number(&counted, "complete")? == 1.0 && number(&counted, "frames")? == frames as f64;
    if work == "walk" && !whole {
        bail!("the stack has {frames} frames, and the walk found something else: {counted}");
    }
    Ok((ns - nothing, number(&counted, "verified_insns")? as u64))
}

/// Sizes of tables, and how long the largest library at hand takes, scaled to 50 MB of text.
fn tables(rig: &Rig, figures: &mut Figures) -> Result<()> {
    let files = ask(command("sh").args([
        "-c",
        "ls -L /usr/lib/x86_64-linux-gnu/libstdc++.so.6 /lib/x86_64-linux-gnu/libc.so.6 \
         /usr/lib/x86_64-linux-gnu/libLLVM*.so* /usr/lib/llvm-*/lib/libLLVM*.so* 2>/dev/null; true",
    ]))
    .unwrap_or_default();
    let mut largest = (0.0, 0.0);
    let mut share: f64 = 0.0;
    for file in files.lines() {
        let json = ask(rig.profiler().args(["__tables", "--runs", "7", file]))
            .with_context(|| format!("cannot make the table of {file}"))?;
        let made: Value = serde_json::from_str(json.trim()).context("profiler prints JSON")?;
        let of = made.get("files").and_then(|files| files.get(0)).context("one file was named")?;
        let text = number(of, "text_bytes")?;
        share = share.max(number(of, "table_percent")?);
        if text > largest.0 {
            largest = (text, number(&made, "all_ms")?);
        }
    }
    let (text, ms) = largest;
    if text == 0.0 {
        bail!("found no library to make a table of");
    }
    figures.insert("tables_percent_of_text".into(), json!((share * 10.0).round() / 10.0));
    figures.insert("largest_text_mb".into(), json!((text / 1e5).round() / 10.0));
    figures.insert("tables_ms_per_50_mb".into(), json!((ms * TEXT_BYTES / text).round()));
    Ok(())
}
