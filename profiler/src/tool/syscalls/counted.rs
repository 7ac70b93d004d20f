//! What the kernel side of `syscalls` has counted.

use std::collections::{BTreeMap, HashMap};

use profiler_common::{
    histogram::{self, BUCKETS, GROUPING_POWER},
    ledger::Ledger as _,
    syscalls::{Caller, CallerKey, Cell, Counter, ErrorKey, Folds, SharedKey, Thread, UringKey},
};

use super::{
    cells::{self, Books, OneCall, Places, Read},
    probes::Probes,
    settled::settled,
    sums,
};
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf,
};

/// Everything that was counted so far. The ledger is consistent even while the programs run, and so is each cell.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Cells of threads, followed by the cells that threads of one name share.
    pub cells: Vec<Cell>,
    /// Threads that have a record, including those that have ended, unless the record has been reused.
    pub threads: Vec<Thread>,
    /// Calls that failed, by cell and error, as far as the cells do not have them.
    pub errors: Vec<(ErrorKey, u64)>,
    /// Operations that went through rings of io_uring, by space and operation; empty also where the kernel has no such tracepoints.
    pub uring: Vec<(UringKey, u64)>,
    /// Calls and time by call stack, as far as stacks were taken.
    pub callers: Vec<(CallerKey, Caller)>,
    /// The ledger, by [`Counter`].
    pub counters: [u64; Counter::COUNT],
}

impl Counted {
    /// Reads it.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn read(probes: &Probes) -> Result<Counted> {
        let mut counted = Counted {
            cells: Vec::new(),
            threads: Vec::new(),
            errors: Vec::new(),
            uring: Vec::new(),
            callers: Vec::new(),
            counters: sums::read(probes)?,
        };
        let records = counted.read_threads(probes)?;
        let read = cells::read(&Live { probes, records })?;
        (counted.cells, counted.errors) = (read.cells, read.errors);
        each(probes, "ERRORS", |key: ErrorKey, count| {
            if key.tid != 0 {
                counted.errors.push((key, count));
            }
        })?;
        each(probes, "URING", |key, operations| counted.uring.push((key, operations)))?;
        each(probes, "CALLERS", |key, caller| counted.callers.push((key, caller)))?;
        Ok(counted)
    }

    /// Reads the threads. Returns where their records are.
    fn read_threads(&mut self, probes: &Probes) -> Result<Records> {
        let mut records = HashMap::new();
        for (_, record) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
            // SAFETY: an element of the mapping; any bytes are valid for a wire type.
            let (thread, _) = settled(record, || unsafe { record.read_volatile() });
            if thread.tid != 0 {
                records.insert((thread.space, thread.tid), record);
                self.threads.push(thread);
            }
        }
        each(probes, "BEYOND", |_: u32, thread: Thread| self.threads.push(thread))?;
        Ok(records)
    }

    /// One of the counters.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter.index()]
    }

    /// The ledger. Hits come from threads; their outcomes come from cells and from calls in progress. So one checks the other.
    pub fn ledger(&self) -> [u64; Counter::COUNT] {
        self.counters
    }
}

/// Records by address space and thread.
type Records = HashMap<(u32, u32), *const Thread>;

/// What the programs have counted, while they run.
struct Live<'a> {
    probes: &'a Probes,
    records: Records,
}

impl Live<'_> {
    /// A consistent copy of a cell; `None` if no thread has it.
    fn cell(&self, place: *const Cell) -> Option<Cell> {
        // SAFETY: an element of the mapping; any bytes are valid for a wire type.
        let read = || unsafe { place.read_volatile() };
        let cell = read();
        let (mut cell, is_settled) = match self.records.get(&(cell.space, cell.tid)) {
            Some(record) => settled(*record, read),
            None => (cell, false),
        };
        if !is_settled {
            mend(&mut cell);
        }
        (cell.tid != 0).then_some(cell)
    }

    fn own_cells(&self) -> Result<impl Iterator<Item = (u32, *const Cell)>> {
        Ok(self.probes.cells.up_to(self.probes.given_out("NEXT_CELL")?))
    }
}

impl Books for Live<'_> {
    fn folds(&self) -> Result<Folds> {
        sums::folds(self.probes)
    }

    fn all(&self) -> Result<Read> {
        let mut read = Read::default();
        read.cells.extend(self.own_cells()?.filter_map(|(_, place)| self.cell(place)));
        each(self.probes, "SHARED", |_: SharedKey, mut cell: Cell| {
            mend(&mut cell);
            read.cells.push(cell);
        })?;
        each(self.probes, "ERRORS", |key: ErrorKey, count| {
            if key.tid == 0 {
                read.errors.push((key, count));
            }
        })?;
        Ok(read)
    }

    fn own_places(&self) -> Result<BTreeMap<OneCall, Vec<u32>>> {
        let mut places: BTreeMap<OneCall, Vec<u32>> = BTreeMap::new();
        for (index, place) in self.own_cells()? {
            // SAFETY: as in `cell`.
            let (tid, of) = unsafe {
                ((&raw const (*place).tid).read_volatile(), (&raw const (*place).call).read_volatile())
            };
            if tid != 0 {
                places.entry(of).or_default().push(index);
            }
        }
        Ok(places)
    }

    fn shared_places(&self, places: &mut BTreeMap<OneCall, Places>) -> Result<()> {
        each(self.probes, "SHARED", |key: SharedKey, _: Cell| {
            places.entry(key.call).or_default().shared.push(key);
        })?;
        each(self.probes, "ERRORS", |key: ErrorKey, _: u64| {
            if key.tid == 0 {
                places.entry(key.call).or_default().errors.push(key);
            }
        })
    }

    fn own(&self, of: OneCall, index: u32) -> Option<Cell> {
        let cell = self.cell(self.probes.cells.at(index)?)?;
        (cell.call == of).then_some(cell)
    }

    fn shared(&self, key: &SharedKey) -> Result<Option<Cell>> {
        // SAFETY: any bytes are valid for a wire type.
        let mut cell = [unsafe { std::mem::zeroed::<Cell>() }];
        let found = self.probes.find("SHARED", key, &mut cell)?;
        let [mut cell] = cell;
        mend(&mut cell);
        Ok(found.then_some(cell))
    }

    fn errors(&self, key: &ErrorKey) -> Result<Option<u64>> {
        let mut count = [0u64];
        Ok(self.probes.find("ERRORS", key, &mut count)?.then_some(count[0]))
    }
}

/// Makes a cell consistent that was read while a call was added to it: its count and sums follow the histogram.
fn mend(cell: &mut Cell) {
    cell.count = cell.histogram.iter().sum();
    let used = |(bucket, count): (usize, &u64)| (*count > 0).then_some(bucket);
    let Some(last) = cell.histogram.iter().enumerate().filter_map(used).next_back() else {
        (cell.total_ns, cell.max_ns) = (0, 0);
        return;
    };
    let low = |bucket| histogram::first(GROUPING_POWER, bucket).unwrap_or_default();
    let high = |bucket| match bucket + 1 == BUCKETS {
        true => u64::MAX,
        false => histogram::last(GROUPING_POWER, bucket).unwrap_or(u64::MAX),
    };
    cell.max_ns = cell.max_ns.clamp(low(last), high(last));
    let sum = |end: &dyn Fn(usize) -> u64| {
        let buckets = cell.histogram.iter().enumerate();
        buckets.fold(0u64, |sum, (bucket, count)| sum.saturating_add(count.saturating_mul(end(bucket))))
    };
    let (least, most) = (sum(&low), sum(&|bucket| high(bucket).min(cell.max_ns)));
    cell.total_ns = cell.total_ns.clamp(least, most);
}

/// Calls `element` with every element of a hash map.
pub(super) fn each<K: Copy, V: Copy>(probes: &Probes, map: &str, element: impl FnMut(K, V)) -> Result<()> {
    bpf::for_each_element(probes.map(map)?, element)
        .map_err(|e| Error::new(ErrorKind::Kernel, format_args!("tried to read BPF map {map}")).because_of(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;

    fn cell(count: u64, total_ns: u64, max_ns: u64, buckets: &[(u64, u64)]) -> Cell {
        // SAFETY: any bytes are valid for a wire type.
        let mut cell: Cell = unsafe { std::mem::zeroed() };
        (cell.count, cell.total_ns, cell.max_ns) = (count, total_ns, max_ns);
        for (ns, calls) in buckets {
            cell.histogram[histogram::bucket(*ns)] += calls;
        }
        cell
    }

    #[test]
    fn a_cell_that_was_read_in_between_is_a_sound_histogram() {
        // Sum and count were written before the histogram; the maximum was not written yet.
        for mut torn in [
            cell(3, 3_000, 1_000, &[(1_000, 2)]),
            cell(2, 2_000, 9_000_000, &[(1_000, 2)]),
            cell(1, 1_000, 1_000, &[(1_000, 1), (5_000_000, 1)]),
            cell(1, 1_000, 1_000, &[]),
            cell(1, 7, 7, &[(u64::MAX, 2)]),
        ] {
            mend(&mut torn);
            let histogram = Histogram::from_kernel(&torn.histogram, torn.total_ns, torn.max_ns);
            assert_eq!(histogram.check(), Ok(()), "{histogram:?}");
            assert_eq!(torn.count, histogram.total());
        }
        let mut sound = cell(2, 2_100, 1_100, &[(1_000, 1), (1_100, 1)]);
        mend(&mut sound);
        assert_eq!((sound.count, sound.total_ns, sound.max_ns), (2, 2_100, 1_100));
    }
}
