//! The kernel side of `syscalls` alone on a few processes, without a report.

use std::os::fd::OwnedFd;

use aya::maps::{MapData, RingBuf};
use profiler_common::{record::RECORD_OF_TOOL, space::Space, syscalls::SlowCall};

use crate::{
    error::{Error, ErrorKind, Result},
    observe::ground::{Follows, Ground, Shape},
    target::modules::{Layout, Modules},
    tool::syscalls::{
        counted::Counted,
        probes::{Limits, Probes, Stacks},
    },
    unwind::tracker::{Files, Tracker},
};

/// What an observation has found.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was counted.
    pub counted: Counted,
    /// The slow calls.
    pub slow: Vec<SlowCall>,
    /// How many instructions the verifier looked at, by program.
    pub verified: Vec<(&'static str, u32)>,
    /// Threads that the filter lets through.
    pub entered_threads: u32,
}

/// An observation.
pub struct Alone {
    probes: Probes,
    ring: RingBuf<MapData>,
    slow: Vec<SlowCall>,
    ground: (Ground, Vec<OwnedFd>),
    _tracker: Tracker,
}

impl Alone {
    /// Attaches to processes, given by their numbers in the initial pid namespace.
    ///
    /// # Errors
    /// If one of them cannot be observed, or the kernel refuses.
    pub fn attach(pids: &[u32], limits: Limits, children: bool) -> Result<Alone> {
        let mut modules = Modules::default();
        let layouts = match limits.stacks {
            Stacks::None => Vec::new(),
            Stacks::Slow | Stacks::All => layouts(pids, &mut modules)?,
        };
        let spaces = pids.len() as u32;
        let mut files = Files::default();
        files.prepare(layouts.iter().flat_map(Layout::files).map(|(_, id)| id), &modules);
        let capacity = Tracker::capacity(layouts.iter(), 0);
        let tables = Tracker::entries(capacity, spaces).to_vec();
        let follows = Follows { children, threads: true, beginnings: false };
        let ground = Ground::load(&Shape { max_stacks: limits.max_stacks, follows, tables })?;
        let links = ground.attach()?;
        let probes = Probes::attach(limits, ground.shared())?;
        let mut tracker = Tracker::map(&probes.object, files, capacity, spaces)?;
        let ring = ground.ring()?;
        for (index, pid) in pids.iter().enumerate() {
            let number = ground.take_space().ok_or_else(|| {
                Error::new(ErrorKind::Limit, format_args!("tried to observe process {pid}"))
                    .because("so many cannot be observed at the same time")
            })?;
            let published =
                layouts.get(index).and_then(|layout| tracker.publish(number, *pid, layout, &modules));
            let (slot, generation) = published.map_or((0, 0), |at| (at.slot, at.generation));
            let space = Space { slot, generation, ..Space::given(*pid) };
            ground.register(number, &space)?;
        }
        Ok(Alone { probes, ring, slow: Vec::new(), ground: (ground, links), _tracker: tracker })
    }

    /// Reads the ring; to be called often enough that it does not overflow.
    pub fn drain(&mut self) {
        while let Some(bytes) = self.ring.next() {
            if bytes.first() == Some(&RECORD_OF_TOOL) {
                self.slow.extend(SlowCall::read(&bytes).map(|(call, _)| call));
            }
        }
    }

    /// Takes the programs away and reads what they counted.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn finish(mut self) -> Result<Finished> {
        self.probes.close()?;
        self.drain();
        let mut verified = self.probes.verified();
        verified.push(("ground_exec", self.ground.0.verified_exec()?));
        Ok(Finished {
            counted: Counted::read(&self.probes)?,
            slow: self.slow,
            verified,
            entered_threads: self.ground.0.entered_threads()?,
        })
    }
}

fn layouts(pids: &[u32], modules: &mut Modules) -> Result<Vec<Layout>> {
    let layout = |pid: &u32| {
        Layout::read(*pid, modules).map_err(|e| {
            Error::new(ErrorKind::NoSuchProcess, format_args!("tried to read the mappings of process {pid}"))
                .because_of(e)
        })
    };
    pids.iter().map(layout).collect()
}
