//! How often threads pass the sites of a tool, counted by programs that do nothing else, for a moment.

use std::{
    collections::HashMap,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use profiler_common::rate::{CLASSES, ThreadRate};

use super::{
    cost::{prices::Counted, threads, threads::Had},
    object::{Object, Settings},
    uprobe::{Attacher, CallPrograms, Links, Method, ProbeSite},
};
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rate"));
const PROGRAMS: CallPrograms = CallPrograms {
    session: "rate_hit",
    entry: "rate_hit",
    ret: "rate_hit",
    at_ret: "rate_hit",
    plain: "rate_hit",
};
/// Counting ends when a thread has had so many hits: less than a tenth of a second of its time.
const MOST_HITS: u64 = 100_000;
/// ... or when so much time is over. Several ticks of the slowest game servers (50 ms) fit in.
const MOST_TIME: Duration = Duration::from_millis(700);
/// How often it is looked whether that is so.
const LOOK: Duration = Duration::from_millis(2);
/// Processes that are counted in; the others of a large group are taken to be like them.
const MOST_PROCESSES: usize = 8;

/// The sites of one process.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) pid: u32,
    /// Sites by file. The cookie of a site is its class, see [`profiler_common::rate`].
    pub(crate) files: Vec<(PathBuf, Vec<ProbeSite>)>,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counting {
    /// For so long.
    pub(crate) length: Duration,
    /// By thread id, every thread of the processes.
    pub(crate) threads: HashMap<u32, Counted>,
}

/// Counts, by thread. `None` where the kernel has no multi links (before Linux 6.6): to take a perf uprobe away takes
/// 100 ms for each site, so that counting would cost more than it saves.
///
/// # Errors
/// If the kernel refuses the programs, or the processes are gone.
pub(crate) fn count(processes: &[Passed], at_most: Method) -> Result<Option<Counting>> {
    let object = Object::load("the counting probes", OBJECT, Settings::default())?;
    let mut attacher = Attacher::new(PROGRAMS, at_most.min(Method::Multi));
    if !attacher.has_multi() {
        return Ok(None);
    }
    let processes = &processes[..processes.len().min(MOST_PROCESSES)];
    let begun = Instant::now();
    let mut links: Vec<Links> = Vec::new();
    for process in processes {
        for (path, sites) in process.files.iter().filter(|(_, sites)| !sites.is_empty()) {
            links.push(attacher.look(&object, path, process.pid, sites)?);
        }
    }
    let pids = || processes.iter().map(|process| process.pid);
    let (since, before) = (Instant::now(), threads::of_processes(pids()));
    let hits_before = read(&object)?;
    loop {
        thread::sleep(LOOK);
        let most = read(&object)?.values().map(|rate| rate.of.iter().sum()).max().unwrap_or(0);
        if most >= MOST_HITS || begun.elapsed() >= MOST_TIME {
            break;
        }
    }
    let (length, after) = (since.elapsed(), threads::of_processes(pids()));
    let hits = read(&object)?;
    drop(links);
    let counted = after.into_iter().map(|(tid, had)| {
        let mut of = hits.get(&tid).map_or([0; CLASSES], |rate| rate.of);
        let earlier = hits_before.get(&tid).map_or([0; CLASSES], |rate| rate.of);
        of.iter_mut().zip(earlier).for_each(|(hits, earlier)| *hits -= earlier);
        let Had { busy_ns, waited_ns } = had.since(before.get(&tid).copied().unwrap_or_default());
        let could_ns = (length.as_nanos() as u64).saturating_sub(waited_ns);
        (tid, Counted { hits: of, busy_ns, could_ns })
    });
    Ok(Some(Counting { length, threads: counted.collect() }))
}

fn read(object: &Object) -> Result<HashMap<u32, ThreadRate>> {
    let mut hits = HashMap::new();
    bpf::for_each_element(object.map("RATES")?, |tid: u32, rate: ThreadRate| _ = hits.insert(tid, rate))
        .map_err(|e| {
            Error::new(ErrorKind::Kernel, "tried to read how often allocators are called").because_of(&e)
        })?;
    Ok(hits)
}
