//! What observing files and sockets adds to each operation, and what redis loses by it.
//!
//! One process does the same operation in a loop that does nothing else: it reads 4 KiB of a file in memory, writes and syncs 4 KiB, sends a
//! datagram over loopback and receives it again, or passes a turn to another thread. A redis-server answers a benchmark. Each way of observing
//! both is measured once per round, right after the same loads without it, so that a machine that gets slower meanwhile slows both. Times are
//! processor time of the observed process per event: what the observer adds is the difference. A ratio is the median of the rounds' ratios.
//! The loss is that of throughput, on the clock.
//!
//! bpftrace runs what its users would write for the same question: bytes and time by descriptor. It needs tracefs, and gets it in a mount
//! namespace of its own.

mod figures;
mod loads;

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use self::{
    figures::Taken,
    loads::{LOADS, Loads, Measured},
};
use super::{Figures, Rig, observer::Observer};
use crate::process::on_path;

const ROUNDS: usize = 7;
/// bpftrace prints that it is about to attach, but not that it has.
const PEERS_ATTACH: Duration = Duration::from_secs(2);

/// The calls of the loads that move or sync bytes: what the script for bpftrace traces.
const TRACED: [&str; 7] = ["read", "write", "sendto", "recvfrom", "pread64", "pwrite64", "fsync"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Observe {
    /// Ours, on the processes that are measured.
    Target(&'static str),
    /// Ours, on another process: the cost to those that are not observed.
    Another(&'static str),
    Bpftrace,
}

const WAYS: [(&str, Observe); 5] = [
    ("sockets", Observe::Target("sockets")),
    ("disk", Observe::Target("disk")),
    ("bpftrace", Observe::Bpftrace),
    ("sockets_others", Observe::Another("sockets")),
    ("disk_others", Observe::Another("disk")),
];

pub(super) fn run(rig: &Rig) -> Result<Figures> {
    let mut loads = Loads::start(rig)?;
    let mut taken = Taken::default();
    for round in 1..=ROUNDS {
        for (name, observe) in WAYS {
            if observe == Observe::Bpftrace && !on_path("bpftrace") {
                continue;
            }
            let bare = loads.measure()?;
            let observed = observed(rig, &mut loads, observe);
            let observed = observed.with_context(|| format!("cannot measure {name}"))?;
            println!("round {round}/{ROUNDS}, {name}, ns per event: {}", line(&bare, &observed));
            taken.add(name, &bare, &observed);
        }
    }
    Ok(taken.figures(ROUNDS))
}

/// Every load once, under one way of observing.
fn observed(rig: &Rig, loads: &mut Loads, observe: Observe) -> Result<Vec<Option<Measured>>> {
    let ours = |tool: &str, pids: &[String]| {
        let mut ours = rig.profiler();
        ours.args([tool, "--max-cost", "off", "--format", "json", "--pid"]).args(pids);
        ours
    };
    let (mut observer, sign) = match observe {
        Observe::Target(tool) => (ours(tool, &loads.pids()), "attached"),
        Observe::Another(tool) => (ours(tool, &[loads.another()]), "attached"),
        Observe::Bpftrace => (rig.with_tracefs(&["bpftrace", "-e", &script(&loads.pids())]), "Attaching"),
    };
    let observer = Observer::start(&mut observer, rig.privilege, sign)?;
    if observe == Observe::Bpftrace {
        thread::sleep(PEERS_ATTACH);
    }
    let measured = loads.measure()?;
    observer.end()?;
    Ok(measured)
}

/// Bytes and time by descriptor.
fn script(pids: &[String]) -> String {
    let is_one: Vec<String> = pids.iter().map(|pid| format!("pid == {pid}")).collect();
    let is_one = is_one.join(" || ");
    let each = TRACED.iter().map(|call| {
        format!(
            "tracepoint:syscalls:sys_enter_{call} /{is_one}/ {{ @began[tid] = nsecs; @fd[tid] = args->fd; }} \
             tracepoint:syscalls:sys_exit_{call} /@began[tid]/ {{ @bytes[@fd[tid]] = sum(args->ret); \
             @ns[@fd[tid]] = sum(nsecs - @began[tid]); delete(@began[tid]); delete(@fd[tid]); }} "
        )
    });
    each.chain(["END { clear(@began); clear(@fd); }".to_owned()]).collect()
}

/// Without and with an observer.
fn line(bare: &[Option<Measured>], observed: &[Option<Measured>]) -> String {
    let of_load = LOADS.iter().zip(bare.iter().zip(observed));
    let both = of_load.filter_map(|(load, (bare, observed))| {
        Some(format!("{} {:.0} {:.0}", load.name, bare.as_ref()?.ns, observed.as_ref()?.ns))
    });
    both.collect::<Vec<_>>().join(", ")
}
