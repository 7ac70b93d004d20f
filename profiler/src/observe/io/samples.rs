//! Single operations that the kernel side has sent: the longest, one of each kind with its stack, and when the slow ones were.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use profiler_common::{
    io::{ASIDE, IoSample},
    record::NO_STACK,
};

/// How many of the longest are kept.
const MOST_KEPT: usize = 1_000;
/// How many moments of slow operations are kept for a file and an operation: the last ones.
const MOST_MOMENTS: usize = 1_024;
/// How many files and operations have moments, and stacks.
const MOST_FILES: usize = 4_096;

/// What samples are gathered by: an address space, a file, an operation.
pub(crate) type Of = (u16, u32, u32);

/// A slow operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// When it began, on the monotonic clock in nanoseconds.
    pub(crate) start_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) tid: u32,
    /// The number of its call stack, or [`NO_STACK`].
    pub(crate) stack: u32,
    /// Whether the thread was in it for so long: it did not only submit it.
    pub(crate) waits: bool,
    /// Whether a device was asked for data in it.
    pub(crate) is_fetched: bool,
}

/// The samples so far.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// The longest; sorted by [`Samples::settle`].
    pub(crate) longest: Vec<IoSample>,
    /// How many are left out because others are longer.
    pub(crate) left_out: u64,
    /// Slow operations whose moment is not kept, because there are too many files.
    pub(crate) without_moment: u64,
    /// The same, because there were later ones of their kind on the same file.
    pub(crate) forgotten: u64,
    /// Slow operations, in the order in which they ended.
    pub(crate) moments: HashMap<Of, Vec<Moment>>,
    /// How often each stack was seen, and the time in operations then.
    pub(crate) stacks: BTreeMap<(Of, u32), (u64, u64)>,
}

impl Samples {
    /// Adds a sample. `slow_ns`: from which length on operations are slow.
    pub(crate) fn take(&mut self, sample: &IoSample, slow_ns: u64) {
        let of = (sample.space(), sample.file, sample.operation as u32);
        if sample.stack() != NO_STACK
            && (self.stacks.len() < MOST_FILES || self.stacks.contains_key(&(of, sample.stack())))
        {
            let seen = self.stacks.entry((of, sample.stack())).or_default();
            seen.0 += 1;
            seen.1 += sample.duration_ns;
        }
        if sample.duration_ns < slow_ns {
            return;
        }
        if self.moments.len() < MOST_FILES || self.moments.contains_key(&of) {
            let moments = self.moments.entry(of).or_default();
            if moments.len() >= 2 * MOST_MOMENTS {
                moments.drain(..MOST_MOMENTS);
                self.forgotten += MOST_MOMENTS as u64;
            }
            moments.push(Moment {
                start_ns: sample.start_ns,
                duration_ns: sample.duration_ns,
                tid: sample.tid,
                stack: sample.stack(),
                waits: sample.operation & ASIDE == 0,
                is_fetched: sample.device_bytes > 0,
            });
        } else {
            self.without_moment += 1;
        }
        self.longest.push(*sample);
        // Not at each sample: that would sort the list each time.
        if self.longest.len() >= 2 * MOST_KEPT {
            self.settle();
        }
    }

    /// Drops all but the longest, and sorts the rest.
    pub(crate) fn settle(&mut self) {
        self.longest.sort_by_key(|sample| Reverse(sample.duration_ns));
        self.left_out += self.longest.len().saturating_sub(MOST_KEPT) as u64;
        self.longest.truncate(MOST_KEPT);
    }
}
