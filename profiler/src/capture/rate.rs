//! How often threads pass the sites of a tool, counted for a moment by programs that do nothing else.

use std::{
    collections::HashMap,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use profiler_common::rate::{CLASSES, ThreadRate};

use super::{
    cost::{
        prices::Counted,
        threads::{self, Had},
    },
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
/// Counting ends when a thread has had this many hits: less than a tenth of a second of its time.
const MOST_HITS: u64 = 100_000;
/// It also ends after this time, which covers several ticks of the slowest game servers (50 ms).
const MOST_TIME: Duration = Duration::from_millis(700);
/// Interval at which these limits are checked.
const LOOK: Duration = Duration::from_millis(2);
/// Most processes that are counted; the others of a large group are assumed to be like them.
const MOST_PROCESSES: usize = 8;

/// The sites of one process.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) pid: u32,
    /// Sites by file. The cookie of a site is its class, see [`profiler_common::rate`].
    pub(crate) files: Vec<(PathBuf, Vec<ProbeSite>)>,
}

/// The result.
#[derive(Debug)]
pub(crate) struct Counting {
    /// How long hits were counted.
    pub(crate) length: Duration,
    /// By thread id: the threads that had hits, and others of the processes ([`threads::of_processes`]).
    pub(crate) threads: HashMap<u32, Counted>,
}

impl Counting {
    /// How late the hits of each thread were on average, by thread id ([`Counted::late`]), for threads with hits.
    pub(crate) fn late(&self) -> HashMap<u32, f64> {
        self.threads.iter().filter_map(|(tid, counted)| Some((*tid, counted.late()?))).collect()
    }
}

/// Counts hits by thread. `None` if the kernel has no multi links (before Linux 6.6): detaching a perf uprobe takes 100
/// ms for each site, so that counting would cost more than it saves.
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
    let mut links: Vec<Links> = Vec::new();
    for process in processes {
        for (path, sites) in process.files.iter().filter(|(_, sites)| !sites.is_empty()) {
            match attacher.look(&object, path, process.pid, sites) {
                Ok(looks) => links.push(looks),
                // A process may have ended: the others are counted.
                Err(error) if error.kind() == ErrorKind::NoSuchProcess && processes.len() > 1 => break,
                Err(error) => return Err(error),
            }
        }
    }
    let begun = Instant::now();
    let pids = processes.iter().map(|process| process.pid);
    let had = threads::of_processes(pids).into_iter();
    let mut marks: HashMap<u32, Mark> =
        had.map(|(tid, had)| (tid, Mark { had, ..Mark::default() })).collect();
    // Attaching takes a while, in which the first probes were hit.
    let mut hits = read(&object)?;
    for (tid, hits) in &hits {
        marks.entry(*tid).and_modify(|mark| mark.hits = *hits);
    }
    loop {
        mark_new(&mut marks, &hits, begun.elapsed());
        if is_enough(&marks, &hits, begun.elapsed()) {
            break;
        }
        thread::sleep(LOOK);
        hits = read(&object)?;
    }
    let at = begun.elapsed();
    let counted = marks.into_iter().filter_map(|(tid, mark)| {
        let hits = hits.get(&tid).copied().unwrap_or(mark.hits);
        Some((tid, mark.until(Mark { at, had: threads::had(tid)?, hits })))
    });
    let threads = counted.collect();
    drop(links);
    Ok(Some(Counting { length: at, threads }))
}

/// What a thread had used at some moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// Since counting began.
    at: Duration,
    had: Had,
    hits: Hits,
}

/// What a thread passed so far, by class; as in [`ThreadRate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hits {
    of: [u64; CLASSES],
    cooling_ns: [u64; CLASSES],
}

impl Mark {
    /// What the thread did until a later moment.
    fn until(self, now: Mark) -> Counted {
        let Had { busy_ns, waited_ns, user_ns } = now.had.since(self.had);
        let length_ns = now.at.saturating_sub(self.at).as_nanos() as u64;
        let Hits { of: hits, cooling_ns } = now.hits.since(self.hits);
        Counted { hits, cooling_ns, busy_ns, user_ns, could_ns: length_ns.saturating_sub(waited_ns) }
    }
}

impl Hits {
    /// The difference to an earlier reading. Hits only grow: entries of threads are never removed from the map, and a
    /// thread with the id of an ended one adds to its hits. A reading that contradicts this counts as 0.
    fn since(mut self, before: Hits) -> Hits {
        let less = |now: &mut [u64; CLASSES], before: [u64; CLASSES]| {
            now.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
        };
        less(&mut self.of, before.of);
        less(&mut self.cooling_ns, before.cooling_ns);
        self
    }
}

/// Marks threads that have hits and no mark yet: they are new, or were not among those looked at in the beginning.
fn mark_new(marks: &mut HashMap<u32, Mark>, hits: &HashMap<u32, Hits>, at: Duration) {
    for (tid, hits) in hits {
        if !marks.contains_key(tid)
            && let Some(had) = threads::had(*tid)
        {
            marks.insert(*tid, Mark { at, had, hits: *hits });
        }
    }
}

/// Whether counting can end. `elapsed`: since everything was attached.
fn is_enough(marks: &HashMap<u32, Mark>, hits: &HashMap<u32, Hits>, elapsed: Duration) -> bool {
    let of = |(tid, hits): (&u32, &Hits)| -> u64 {
        hits.since(marks.get(tid).map_or_else(Hits::default, |mark| mark.hits)).of.iter().sum()
    };
    elapsed >= MOST_TIME || hits.iter().map(of).max().unwrap_or(0) >= MOST_HITS
}

fn read(object: &Object) -> Result<HashMap<u32, Hits>> {
    let mut hits = HashMap::new();
    bpf::for_each_element(object.map("RATES")?, |tid: u32, rate: ThreadRate| {
        hits.insert(tid, Hits { of: rate.of, cooling_ns: rate.cooling_ns });
    })
    .map_err(|e| {
        Error::new(ErrorKind::Kernel, "tried to read how often functions are called").because_of(e)
    })?;
    Ok(hits)
}

#[cfg(test)]
mod tests {
    use profiler_common::rate::COOLING_NS;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Hits of the first classes, all at once.
    fn of(first: &[u64]) -> Hits {
        let mut hits = Hits::default();
        hits.of[..first.len()].copy_from_slice(first);
        hits
    }

    #[test]
    fn how_late_hits_came_is_known_of_each_thread() {
        let Hits { of: hits, mut cooling_ns } = of(&[30, 0, 70]);
        cooling_ns[2] = 50 * COOLING_NS;
        let counted = Counted { hits, cooling_ns, busy_ns: SECOND, user_ns: 0, could_ns: SECOND };
        let warm = Counted { cooling_ns: [0; CLASSES], ..counted };
        let idle = Counted { hits: [0; CLASSES], ..warm };
        let counting =
            Counting { length: MOST_TIME, threads: HashMap::from([(7, counted), (8, warm), (9, idle)]) };
        assert_eq!(counting.late(), HashMap::from([(7, 0.5), (8, 0.0)]));
    }

    #[test]
    fn hits_while_attaching_do_not_end_the_count() {
        let hits = of(&[MOST_HITS]);
        let marks = HashMap::from([(7, Mark { hits, ..Mark::default() })]);
        assert!(!is_enough(&marks, &HashMap::from([(7, hits)]), Duration::ZERO));
        assert!(!is_enough(&marks, &HashMap::from([(7, of(&[MOST_HITS, 5]))]), Duration::ZERO));
        let twice = of(&[2 * MOST_HITS]);
        assert!(is_enough(&marks, &HashMap::from([(7, twice)]), Duration::ZERO));
        assert!(is_enough(&HashMap::new(), &HashMap::new(), MOST_TIME), "nothing is hit");
    }

    #[test]
    fn a_thread_is_counted_from_its_mark_on() {
        let before = Mark {
            at: Duration::from_millis(200),
            had: Had { busy_ns: 500 * SECOND, waited_ns: SECOND, user_ns: 7 },
            hits: of(&[3]),
        };
        let now = Mark {
            at: Duration::from_millis(700),
            had: Had { busy_ns: 500 * SECOND + 4_000, waited_ns: SECOND + 100, user_ns: 10 },
            hits: Hits { cooling_ns: [900, 0, 0, 0, 0, 0], ..of(&[5, 0, 1]) },
        };
        let counted = Counted {
            hits: [2, 0, 1, 0, 0, 0],
            cooling_ns: [900, 0, 0, 0, 0, 0],
            busy_ns: 4_000,
            user_ns: 3,
            could_ns: SECOND / 2 - 100,
        };
        assert_eq!(before.until(now), counted);
        // An impossible price gives no negative number of hits.
        let hits = before.until(Mark { hits: of(&[1]), ..now }).hits;
        assert_eq!(hits, [0; CLASSES]);
    }

    #[test]
    fn a_thread_that_is_first_seen_late_is_marked_then() {
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let (mut marks, at) = (HashMap::new(), Duration::from_millis(9));
        let hits = HashMap::from([(own, of(&[9; CLASSES])), (u32::MAX / 2, of(&[9; CLASSES]))]);
        mark_new(&mut marks, &hits, at);
        assert_eq!(marks.keys().collect::<Vec<_>>(), [&own], "the other is gone");
        let before = marks[&own];
        assert_eq!((before.at, before.hits), (at, of(&[9; CLASSES])));
        mark_new(&mut marks, &HashMap::from([(own, of(&[10; CLASSES]))]), at * 2);
        assert_eq!(marks[&own].at, at, "the first mark stays");
    }
}
