//! `profiler __walks`

use std::{io::Write as _, time::Duration};

use profiler::lab::witness::{On, Options, Witness, Work};
use profiler_common::unwind::walk::End;
use serde::Serialize;

use super::{Done, args::WalksArgs, observe, print_json, stop::Stop};

/// Interval at which the end of the target, and ours, is checked.
const PAUSE: Duration = Duration::from_millis(20);

/// What is printed.
#[derive(Serialize)]
struct Counted {
    hits: u64,
    walked: u64,
    lost: u64,
    /// Different stacks.
    stacks: usize,
    /// Those of them that were walked to the outermost frame.
    complete: usize,
    /// Frames of the deepest.
    frames: u64,
    /// Instructions that the verifier processed.
    verified_insns: u32,
}

/// Attaches, reports that it has, and waits to be interrupted; then prints what was counted as JSON.
pub(crate) fn run(args: &WalksArgs) -> Done {
    observe::require_root()?;
    let work = Work::from(args.work);
    let on = vec![On::Timed(args.file.clone(), args.offset, work)];
    let counted = observe::event_loop()?.block_on(async {
        let mut signals = Stop::listen(1)?;
        let mut stop = std::pin::pin!(signals.next());
        let mut witness = Witness::attach(&Options { pid: args.pid, on, one_in: 1 })?;
        // Measuring programs wait for this line. If it cannot be written, nobody reads it.
        let _ = writeln!(std::io::stderr(), "attached: {work:?}");
        while tokio::time::timeout(PAUSE, &mut stop).await.is_err() {
            witness.watch(Duration::ZERO, |_| true)?;
        }
        counted(&witness)
    })?;
    print_json(&counted)
}

fn counted(witness: &Witness) -> profiler::error::Result<Counted> {
    let tally = witness.tally()?;
    let seen = witness.seen()?;
    Ok(Counted {
        hits: tally.hits,
        walked: tally.walked,
        lost: tally.lost_slot + tally.lost_ring + tally.not_walkable,
        stacks: seen.len(),
        complete: seen.iter().filter(|stack| stack.end == End::ROOT).count(),
        frames: seen.iter().map(|stack| stack.depth).max().unwrap_or(0),
        verified_insns: witness.verified().iter().map(|(_, instructions)| *instructions).max().unwrap_or(0),
    })
}
