//! The ledger of `syscalls`, read while the programs run.
//!
//! Hits come from threads; their outcomes come from cells and from calls in progress: so each checks the other. For that, the
//! numbers must be consistent. Those of one thread are, between two programs that run on it. Threads that share cells have no
//! such moment. For these, hits are read before and after their outcomes, and only an outcome outside of that range is an error.

use std::collections::HashSet;

use profiler_common::{
    ledger::{Class, Ledger as _},
    syscalls::{
        Cell, Counter, Folds, HAS_ENDED, IN_CALL, MAX_SUSPENDED, OF_THREADS, Probe, SharedKey, Suspended,
        Thread,
    },
};

use super::{counted::each, probes::Probes, settled::settled};
use crate::error::Result;

/// How often the ledger is read again if the numbers are not consistent.
const TRIES: usize = 20;

/// How many cells a thread may have.
const MOST_CELLS: usize = u16::MAX as usize;

/// The ledger.
pub(super) type Sums = [u64; Counter::COUNT];

/// Sums over cells and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    enters: u64,
    exits: u64,
    outcomes: [u64; OF_THREADS.len()],
    returned: u64,
    ended: u64,
    since_before: u64,
    refused: u64,
    under_way: u64,
}

impl Part {
    fn add(&mut self, other: Part) {
        self.enters += other.enters;
        self.exits += other.exits;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, more)| *sum += more);
        self.returned += other.returned;
        self.ended += other.ended;
        self.since_before += other.since_before;
        self.refused += other.refused;
        self.under_way += other.under_way;
    }

    /// Adds a cell.
    fn add_cell(&mut self, cell: *const Cell) {
        // SAFETY: the caller's place of a cell; any bytes are valid.
        unsafe {
            self.returned += (&raw const (*cell).count).read_volatile();
            self.ended += (&raw const (*cell).ended).read_volatile();
            self.since_before += (&raw const (*cell).under_way).read_volatile();
            self.refused += (&raw const (*cell).refused).read_volatile();
        }
    }

    /// Adds a thread, without its cells.
    fn add_thread(&mut self, thread: *const Thread) {
        // SAFETY: the caller's place of a thread; any bytes are valid.
        unsafe {
            self.enters += (&raw const (*thread).enters).read_volatile();
            self.exits += (&raw const (*thread).exits).read_volatile();
            let outcomes = (&raw const (*thread).outcomes).read_volatile();
            self.outcomes.iter_mut().zip(outcomes).for_each(|(sum, more)| *sum += more);
            let state = (&raw const (*thread).state).read_volatile();
            if state & HAS_ENDED != 0 {
                return;
            }
            // For calls in progress at the start, the entry was not a hit.
            if state & IN_CALL != 0 && (&raw const (*thread).start_ns).read_volatile() != 0 {
                self.under_way += 1;
            }
            let depth = (&raw const (*thread).depth).read_volatile() as usize;
            for place in 0..depth.min(MAX_SUSPENDED) {
                let suspended = (&raw const (*thread).suspended).cast::<Suspended>().add(place);
                self.under_way += u64::from((&raw const (*suspended).start_ns).read_volatile() != 0);
            }
        }
    }

    fn ledger(&self, counters: Sums) -> Sums {
        let mut ledger = counters;
        for (counter, counted) in OF_THREADS.into_iter().zip(self.outcomes) {
            ledger[counter.index()] += counted;
        }
        let [ended_before, interrupted] =
            [Counter::EndedSinceBefore, Counter::Interrupted].map(|counter| ledger[counter.index()]);
        for (counter, more) in [
            (Counter::EnterHits, self.enters + ledger[Counter::EnterLostThread.index()]),
            (Counter::EnterReturned, self.returned),
            (Counter::EnterEnded, self.ended.saturating_sub(ended_before)),
            (Counter::EnterUnderWay, self.under_way),
            (Counter::ExitHits, self.exits + ledger[Counter::ExitLostThread.index()]),
            (Counter::ExitReturned, self.returned.saturating_sub(interrupted)),
            (Counter::ExitUnderWay, self.since_before),
            (Counter::ExitRefused, self.refused),
        ] {
            ledger[counter.index()] += more;
        }
        ledger
    }
}

/// Reads the ledger.
///
/// # Errors
/// If a map cannot be read.
pub(super) fn read(probes: &Probes) -> Result<Sums> {
    let mut ledger = [0; Counter::COUNT];
    for turn in 0..TRIES {
        let before = folds(probes)?;
        let hits_before = hits(probes)?;
        let (part, is_settled) = read_once(probes)?;
        ledger = part.ledger(probes.counters()?);
        let after = folds(probes)?;
        let is_still = before.begun == before.done && after.begun == before.begun;
        if turn > 0 && !(is_still && is_settled) {
            within(&mut ledger, hits_before, hits(probes)?);
        }
        if Probe::ALL.iter().all(|probe| off(&ledger, *probe) == 0) {
            break;
        }
        std::thread::yield_now();
    }
    Ok(ledger)
}

/// By how much hits exceed their outcomes.
fn off(ledger: &Sums, probe: Probe) -> i64 {
    let of = |counter: &&Counter| counter.probe() == probe;
    let sum = |is: fn(Class) -> bool| -> u64 {
        Counter::ALL.iter().filter(of).filter(|c| is(c.class())).map(|c| ledger[c.index()]).sum()
    };
    let hits = sum(|class| class == Class::Hits);
    hits.wrapping_sub(sum(|class| !matches!(class, Class::Hits | Class::Quality))).cast_signed()
}

/// Sets hits to the sum of their outcomes, if that lies between the hits before and after.
fn within(ledger: &mut Sums, before: [u64; 2], behind: [u64; 2]) {
    for (at, (probe, hits)) in
        [(Probe::Enter, Counter::EnterHits), (Probe::Exit, Counter::ExitHits)].into_iter().enumerate()
    {
        let outcomes = ledger[hits.index()].wrapping_sub(off(ledger, probe).cast_unsigned());
        if (before[at]..=behind[at]).contains(&outcomes) {
            ledger[hits.index()] = outcomes;
        }
    }
}

/// Present hits of both probes.
pub(super) fn hits(probes: &Probes) -> Result<[u64; 2]> {
    let counters = probes.counters()?;
    let of = |counter: Counter| counters[counter.index()];
    let mut hits = [
        of(Counter::EnterHits) + of(Counter::EnterLostThread),
        of(Counter::ExitHits) + of(Counter::ExitLostThread),
    ];
    let mut add = |enters: u64, exits: u64| {
        hits[0] += enters;
        hits[1] += exits;
    };
    for (_, thread) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
        // SAFETY: an element of the mapping; any bytes are valid.
        unsafe {
            add((&raw const (*thread).enters).read_volatile(), (&raw const (*thread).exits).read_volatile())
        };
    }
    each(probes, "BEYOND", |_: u32, thread: Thread| add(thread.enters, thread.exits))?;
    Ok(hits)
}

/// Hits lost so far.
pub(super) fn lost(probes: &Probes) -> Result<u64> {
    let counters = probes.counters()?;
    let is_lost = |counter: &Counter| counter.class() == Class::Lost;
    let mut lost: u64 = Counter::ALL.iter().filter(|c| is_lost(c)).map(|c| counters[c.index()]).sum();
    for (_, thread) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
        // SAFETY: an element of the mapping; any bytes are valid.
        let outcomes = unsafe { (&raw const (*thread).outcomes).read_volatile() };
        lost +=
            OF_THREADS.iter().zip(outcomes).filter(|(c, _)| is_lost(c)).map(|(_, count)| count).sum::<u64>();
    }
    Ok(lost)
}

/// How often threads have given their cells back.
pub(super) fn folds(probes: &Probes) -> Result<Folds> {
    let mut folds = [Folds { begun: 0, done: 0 }];
    probes.read(".bss.folds", &0u32, &mut folds)?;
    let [folds] = folds;
    Ok(folds)
}

/// Sums over cells and threads, and whether they are consistent for all threads.
fn read_once(probes: &Probes) -> Result<(Part, bool)> {
    let (mut sum, mut all_settled) = (Part::default(), true);
    let mut seen = HashSet::new();
    for (_, thread) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
        let ((part, cells), is_settled) = settled(thread, || with_cells(probes, thread));
        sum.add(part);
        seen.extend(cells);
        all_settled &= is_settled;
    }
    each(probes, "BEYOND", |_: u32, thread: Thread| {
        all_settled = false;
        sum.add_thread(&raw const thread);
    })?;
    // Cells of threads that have no record in the array.
    for (index, cell) in probes.cells.up_to(probes.given_out("NEXT_CELL")?) {
        if !seen.contains(&index) {
            sum.add_cell(cell);
        }
    }
    each(probes, "SHARED", |_: SharedKey, cell: Cell| {
        all_settled = false;
        sum.add_cell(&raw const cell);
    })?;
    Ok((sum, all_settled))
}

/// The sums of a thread with its cells, and the indices of these.
fn with_cells(probes: &Probes, thread: *const Thread) -> (Part, Vec<u32>) {
    let (mut part, mut cells) = (Part::default(), Vec::new());
    part.add_thread(thread);
    // SAFETY: an element of the mapping; any bytes are valid.
    let mut next = unsafe { (&raw const (*thread).first_cell).read_volatile() } as u32;
    // A chain that is read while it changes may lead anywhere.
    while next != 0 && cells.len() < MOST_CELLS {
        let Some(cell) = probes.cells.at(next) else { break };
        part.add_cell(cell);
        cells.push(next);
        // SAFETY: as above.
        next = unsafe { (&raw const (*cell).next).read_volatile() } as u32;
    }
    (part, cells)
}
