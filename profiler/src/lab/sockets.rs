//! The state of sockets alone, without a tool and its report.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use profiler_common::{ledger::Class, space::Space};
use serde_json::{Value, json};

use crate::{
    error::{Error, ErrorKind, Result},
    observe::{
        ground::{Follows, Ground, Shape},
        socket_state::{Counters, Limits, Sockets, Tracked, facts::Retransmits},
    },
    unwind::tracker::Tracker,
};

/// An observation.
pub struct Alone {
    sockets: Sockets,
    /// Counters of the network of each process, when it began.
    before: Vec<Counters>,
    pids: Vec<u32>,
    ground: (Ground, Vec<OwnedFd>),
}

impl Alone {
    /// Attaches to processes, given by their numbers in the initial pid namespace, and looks at their sockets. `most`: how many sockets
    /// there is room for.
    ///
    /// # Errors
    /// If one of them cannot be observed, or the kernel refuses.
    pub fn attach(pids: &[u32], most: u32) -> Result<Alone> {
        let follows = Follows { children: false, threads: false, beginnings: false };
        let spaces = pids.len() as u32;
        let tables = Tracker::entries(Tracker::capacity([].iter(), 0), spaces).to_vec();
        let ground = Ground::load(&Shape { max_stacks: 2, follows, tables })?;
        let links = ground.attach()?;
        let mut sockets = Sockets::load(Limits { sockets: most, ..Limits::default() }, ground.shared())?;
        for pid in pids {
            let number = ground.take_space().ok_or_else(|| {
                Error::new(ErrorKind::Limit, format_args!("tried to observe process {pid}"))
                    .because("so many cannot be observed at the same time")
            })?;
            ground.register(number, &Space::given(*pid))?;
        }
        let before = pids.iter().map(|pid| Counters::of(*pid)).collect();
        sockets.attach()?;
        let mut alone = Alone { sockets, before, pids: pids.to_vec(), ground: (ground, links) };
        alone.look()?;
        Ok(alone)
    }

    /// Looks at the sockets.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn look(&mut self) -> Result<()> {
        self.sockets.look(self.pids.iter().zip(0..).map(|(pid, space)| (*pid, space, false)))
    }

    /// Looks once more, takes the programs away, and returns everything that was seen.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn finish(mut self) -> Result<Value> {
        self.look()?;
        self.sockets.close();
        self.sockets.settle()?;
        let sockets = &self.sockets;
        let of = |tracked: &Tracked| of_socket(sockets, tracked);
        let lacks: Vec<_> = sockets.lacks().iter().map(|lack| json!([lack.what, lack.reason])).collect();
        let live: Vec<_> = sockets.live().map(of).collect();
        let ended: Vec<_> = sockets.ended().map(of).collect();
        let networks: Vec<_> = self
            .pids
            .iter()
            .zip(&self.before)
            .map(|(pid, before)| Counters::of(*pid).since(before))
            .collect();
        let all = sockets.live().chain(sockets.ended()).filter_map(Tracked::retransmits);
        let all = all.fold(Retransmits::default(), Retransmits::and);
        let verified: BTreeMap<_, _> = sockets.verified().into_iter().collect();
        let report = json!({
            "live": live,
            "ended": ended,
            "networks": networks,
            "retransmits": { "share": all.share(), "many": all.are_many() },
            "left_out": sockets.left_out().values().map(|of| of.sockets).sum::<u64>(),
            "looks": sockets.looks(),
            "lacks": lacks,
            "ledger": of_ledger(sockets)?,
            "verified_insns": verified,
        });
        drop(self.ground);
        Ok(report)
    }
}

fn of_socket(sockets: &Sockets, tracked: &Tracked) -> Value {
    let socket = &tracked.socket;
    let addresses = &socket.addresses;
    let overruns = tracked.overruns();
    let drops: BTreeMap<String, u64> = tracked
        .drops
        .iter()
        .map(|(number, count)| {
            (sockets.reason(*number).map_or_else(|| number.to_string(), str::to_owned), *count)
        })
        .collect();
    json!({
        "cookie": socket.cookie,
        "inode": socket.inode,
        "network": socket.network,
        "space": socket.space,
        "descriptor": socket.descriptor,
        "from_start": socket.is_from_start,
        "shared": socket.is_shared,
        "by_port": socket.is_by_port,
        "closed": socket.is_closed,
        "protocol": socket.protocol,
        "family": addresses.family,
        "tcp_state": addresses.state,
        "local_port": addresses.local_port,
        "remote_port": addresses.remote_port,
        "local": addresses.local,
        "remote": addresses.remote,
        "first": tracked.first,
        "state": socket.state,
        "events": socket.events,
        "connect_ns": socket.events.connect_ns(),
        "lifetime_ns": socket.events.lifetime_ns(),
        "ages": tracked.ages,
        "drops": drops,
        "history": tracked.history.as_ref().map(|history| &history.points),
        "stall": tracked.stalls.long(),
        "overruns": overruns,
        "overruns_share": overruns.and_then(|of| of.share()),
        "overruns_cause": overruns.and_then(|of| of.cause()),
        "refusals": tracked.refusals(),
        "retransmits": tracked.retransmits(),
        "looks": [tracked.first_look, tracked.last_look],
    })
}

/// By probe and outcome.
fn of_ledger(sockets: &Sockets) -> Result<Value> {
    let mut by_probe: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    let (entries, counts) = sockets.ledger()?;
    for (entry, count) in entries.iter().zip(counts) {
        let count = count as i64;
        let of = by_probe.entry(entry.probe).or_default();
        of.insert(entry.name, count);
        let (unaccounted, lost) = match entry.class {
            Class::Hits => (count, 0),
            Class::Quality => (0, 0),
            Class::Lost => (-count, count),
            Class::Recorded | Class::Filtered | Class::SampledOut => (-count, 0),
        };
        *of.entry("unaccounted").or_default() += unaccounted;
        *of.entry("lost").or_default() += lost;
    }
    Ok(json!(by_probe))
}
