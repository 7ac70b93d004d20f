//! What the kernel side of `syscalls` has counted.

use profiler_common::{
    ledger::{Counters, MAX_COUNTERS},
    syscalls::{Caller, CallerKey, Cell, Counter, ErrorKey, HAS_ENDED, IN_CALL, SharedKey, Thread, UringKey},
};

use super::probes::Probes;
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::bpf,
};

/// Everything that was counted so far. Exact when the programs are away; else a thread may be between two of its numbers.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Cells of threads, and after them those that threads share.
    pub cells: Vec<Cell>,
    /// Threads that have a record, those that have ended included.
    pub threads: Vec<Thread>,
    /// Calls that failed, by cell and error; what the cells do not have.
    pub errors: Vec<(ErrorKey, u64)>,
    /// Operations that went through rings of io_uring, by space and operation; empty also where the kernel has no such tracepoints.
    pub uring: Vec<(UringKey, u64)>,
    /// What stacks did with calls, as far as stacks were taken.
    pub callers: Vec<(CallerKey, Caller)>,
    /// What the kernel side counted by [`Counter`]; [`Counted::ledger`] has all.
    pub counters: [u64; Counter::COUNT],
}

impl Counted {
    /// Reads it.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn read(probes: &Probes) -> Result<Counted> {
        let cells = each(probes, "CELLS", "NEXT_CELL")?;
        let threads = each(probes, "THREADS", "NEXT_THREAD")?;
        let counters = [0; Counter::COUNT];
        let mut counted =
            Counted { cells, threads, errors: Vec::new(), uring: Vec::new(), callers: Vec::new(), counters };
        let failed = |map: &str, e| {
            Error::new(ErrorKind::Kernel, format_args!("tried to read BPF map {map}")).because_of(e)
        };
        bpf::for_each_element(probes.map("SHARED")?, |_: SharedKey, cell: Cell| counted.cells.push(cell))
            .map_err(|e| failed("SHARED", e))?;
        bpf::for_each_element(probes.map("BEYOND")?, |_: u32, thread: Thread| counted.threads.push(thread))
            .map_err(|e| failed("BEYOND", e))?;
        bpf::for_each_element(probes.map("ERRORS")?, |key, count| counted.errors.push((key, count)))
            .map_err(|e| failed("ERRORS", e))?;
        bpf::for_each_element(probes.map("URING")?, |key, operations| counted.uring.push((key, operations)))
            .map_err(|e| failed("URING", e))?;
        bpf::for_each_element(probes.map("CALLERS")?, |key, caller| counted.callers.push((key, caller)))
            .map_err(|e| failed("CALLERS", e))?;
        let cpus = aya::util::nr_cpus().map_err(|(what, e)| {
            Error::new(ErrorKind::Kernel, format_args!("tried to read {what}")).because_of(e)
        })?;
        let mut by_cpu = vec![Counters { of: [0; MAX_COUNTERS] }; cpus];
        probes.read("COUNTERS", &0u32, &mut by_cpu)?;
        for counters in &by_cpu {
            counted.counters.iter_mut().zip(counters.of).for_each(|(sum, more)| *sum += more);
        }
        Ok(counted)
    }

    /// One of the counters.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// Calls that are under way, and calls that wait for a signal handler, of threads that have not ended.
    pub fn under_way(&self) -> u64 {
        let alive = self.threads.iter().filter(|thread| thread.state & HAS_ENDED == 0);
        alive.map(|thread| u64::from(thread.depth) + u64::from(thread.state & IN_CALL)).sum()
    }

    /// Of those, the ones that were under way at the start, so that their entry was no hit.
    fn under_way_since_before(&self) -> u64 {
        let alive = self.threads.iter().filter(|thread| thread.state & HAS_ENDED == 0);
        alive
            .map(|thread| {
                let waiting = thread.suspended.iter().take(thread.depth as usize);
                let in_call = thread.state & IN_CALL != 0 && thread.start_ns == 0;
                waiting.filter(|call| call.start_ns == 0).count() as u64 + u64::from(in_call)
            })
            .sum()
    }

    fn sum(&self, of: fn(&Cell) -> u64) -> u64 {
        self.cells.iter().map(of).sum()
    }

    /// The ledger. What the kernel side counts in threads and cells only is filled in: hits come from threads, outcomes from
    /// cells and from what threads are doing, so that they prove each other.
    pub fn ledger(&self) -> [u64; Counter::COUNT] {
        let mut ledger = self.counters;
        let mut add = |counter: Counter, more: u64| ledger[counter as usize] += more;
        let returned = self.sum(|cell| cell.count);
        add(Counter::EnterHits, self.threads.iter().map(|thread| thread.enters).sum());
        add(Counter::EnterReturned, returned);
        let ended = self.sum(|cell| cell.ended);
        add(Counter::EnterEnded, ended.saturating_sub(self.counter(Counter::EndedSinceBefore)));
        add(Counter::EnterUnderWay, self.under_way().saturating_sub(self.under_way_since_before()));
        add(Counter::ExitHits, self.threads.iter().map(|thread| thread.exits).sum());
        add(Counter::ExitReturned, returned.saturating_sub(self.counter(Counter::Interrupted)));
        add(Counter::ExitUnderWay, self.sum(|cell| cell.under_way));
        add(Counter::ExitRefused, self.sum(|cell| cell.refused));
        ledger
    }
}

/// The elements of an array from 1 on, as many as were given out.
fn each<T: Copy>(probes: &Probes, map: &str, given_out: &str) -> Result<Vec<T>> {
    let mut next = [0u64];
    probes.read(given_out, &0u32, &mut next)?;
    // The counter may be beyond the last one that there was.
    let most = probes.entries(map).saturating_sub(1);
    let mut all = Vec::new();
    for index in 1..=next[0].min(most.into()) as u32 {
        let mut value = [const { std::mem::MaybeUninit::<T>::zeroed() }];
        probes.read(map, &index, &mut value)?;
        // SAFETY: the kernel wrote the value, and any bytes are valid for a wire type.
        all.push(unsafe { value[0].assume_init() });
    }
    Ok(all)
}
