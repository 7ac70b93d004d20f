//! Counters: one outcome for every hit.

use core::marker::PhantomData;

use aya_ebpf::{
    helpers::generated::bpf_get_current_pid_tgid,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use profiler_common::{
    busiest::{THREAD_HITS_STEP, ThreadHits},
    ledger::{self, Counters},
};

use crate::atomic;

const BPF_F_NO_PREALLOC: u32 = 1;

/// The ledger of the object's tool.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Hits by thread, in steps: the cost for each thread. When it is full, later threads get no entry; nothing else depends on it.
#[map]
static THREAD_HITS: HashMap<u32, ThreadHits> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// The counters of this CPU, looked up once per program.
pub struct Ledger<C>(*mut Counters, PhantomData<C>);

impl<C> Clone for Ledger<C> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Ledger<C> {}

impl<C: ledger::Ledger> Ledger<C> {
    /// Looks it up.
    #[inline(always)]
    pub fn open() -> Option<Ledger<C>> {
        COUNTERS.get_ptr_mut(0).map(|counters| Ledger(counters, PhantomData))
    }

    #[inline(always)]
    fn at(self, counter: C) -> *mut u64 {
        // SAFETY: a map value; the index is that of an enum without gaps, which fits.
        unsafe { (&raw mut (*self.0).of).cast::<u64>().add(counter.index()) }
    }

    /// Counts a hit. One hit in `THREAD_HITS_STEP` adds the whole step to the thread that makes it: that is right on average, and
    /// costs next to nothing. `is_call`: it is followed to its return.
    #[inline(always)]
    pub fn hit(self, counter: C, is_call: bool) {
        // SAFETY: a map value.
        let before = unsafe { atomic::take(self.at(counter)) };
        if before & (THREAD_HITS_STEP - 1) == THREAD_HITS_STEP - 1 {
            publish(!is_call);
        }
    }

    /// Counts one outcome.
    #[inline(always)]
    pub fn count(self, counter: C) {
        // SAFETY: a map value.
        unsafe { atomic::add(self.at(counter), 1) }
    }
}

/// Counts one outcome of a rare kind.
#[inline(always)]
pub fn count<C: ledger::Ledger>(counter: C) {
    if let Some(ledger) = Ledger::open() {
        ledger.count(counter);
    }
}

/// Counts several outcomes of a rare kind.
#[inline(always)]
pub fn count_more<C: ledger::Ledger>(counter: C, more: u64) {
    if let Some(ledger) = Ledger::open() {
        // SAFETY: a map value.
        unsafe { atomic::add(ledger.at(counter), more) }
    }
}

/// Adds a step of hits to the current thread.
#[inline(never)]
fn publish(others: bool) {
    const BPF_NOEXIST: u64 = 1;
    // SAFETY: a helper without arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    if THREAD_HITS.get_ptr_mut(tid).is_none() {
        let _ = THREAD_HITS.insert(tid, ThreadHits { calls: 0, others: 0 }, BPF_NOEXIST);
    }
    let Some(hits) = THREAD_HITS.get_ptr_mut(tid) else { return };
    // SAFETY: a map value.
    unsafe {
        if others {
            atomic::add(&raw mut (*hits).others, THREAD_HITS_STEP);
        } else {
            atomic::add(&raw mut (*hits).calls, THREAD_HITS_STEP);
        }
    }
}
