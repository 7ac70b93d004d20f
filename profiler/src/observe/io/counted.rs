//! What the kernel side has counted. Wire types end here.

use std::collections::BTreeMap;

use profiler_common::{
    file::Unknown,
    histogram::{BUCKETS, bucket},
    io::{CallUse, IoCell, IoEnded, IoHistogram, IoKey, IoThread, OWN_NUMBERS, TURN_BUCKETS, unknown},
};

use super::probes::Probes;
use crate::{error::Result, stats::Histogram, text::Text};

/// Threads of one name in one address space, one file, one operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) space: u16,
    /// Number of the file, see [`profiler_common::io::number`]; 0: there was no room for it.
    pub(crate) file: u32,
    pub(crate) operation: u32,
    pub(crate) thread: Text,
}

/// Sums over operations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    /// Those of them that failed, other than because nothing was ready.
    pub(crate) errors: u64,
    /// Those that failed because no space was left, and those that failed with an error of the device.
    pub(crate) without_space: u64,
    pub(crate) io_errors: u64,
    /// Those of them that had nothing to do yet.
    pub(crate) not_ready: u64,
    /// Messages that were moved: of a stream, calls that have moved bytes.
    pub(crate) messages: u64,
    /// Bytes that were moved.
    pub(crate) bytes: u64,
    /// Bytes that were fetched from a device, and the operations for which they were.
    pub(crate) device_bytes: u64,
    pub(crate) from_device: u64,
    pub(crate) total_ns: u64,
    pub(crate) max_ns: u64,
    /// Durations that are in no histogram.
    pub(crate) without_histogram: u64,
    /// The durations that are in one; `None` if there are none.
    pub(crate) histogram: Option<Histogram>,
}

impl Sum {
    pub(crate) fn add(&mut self, other: &Sum) {
        self.count += other.count;
        self.errors += other.errors;
        self.without_space += other.without_space;
        self.io_errors += other.io_errors;
        self.not_ready += other.not_ready;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.device_bytes += other.device_bytes;
        self.from_device += other.from_device;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.without_histogram += other.without_histogram;
        match (&mut self.histogram, &other.histogram) {
            // Both have the buckets of the kernel side, and numbers that it has counted.
            (Some(all), Some(more)) => {
                self.without_histogram += if all.merge(more).is_ok() { 0 } else { more.total() }
            }
            (all @ None, more) => *all = more.clone(),
            (Some(_), None) => {}
        }
    }

    /// Those of them that have not failed; those that are still under way have not.
    pub(crate) fn begun(&self) -> u64 {
        // In the middle of an observation, one of them may have been read before an operation ended and the other after it.
        self.count.saturating_sub(self.errors)
    }

    /// Those of them that have done something.
    pub(crate) fn done(&self) -> u64 {
        self.begun().saturating_sub(self.not_ready)
    }

    /// The durations; `None` if some are in no histogram.
    pub(crate) fn durations(&self) -> Option<&Histogram> {
        self.histogram.as_ref().filter(|_| self.without_histogram == 0)
    }

    fn of(cell: &IoCell, histogram: Option<&IoHistogram>) -> Sum {
        let mut counts = histogram.map_or_else(|| vec![0; BUCKETS], |histogram| histogram.counts.to_vec());
        // One that is 0 is being written.
        for duration in cell.first.iter().take(cell.count as usize).filter(|duration| **duration != 0) {
            if let Some(count) = counts.get_mut(bucket(*duration)) {
                *count += 1;
            }
        }
        Sum {
            count: cell.count,
            errors: cell.errors,
            without_space: cell.without_space,
            io_errors: cell.io_errors,
            not_ready: cell.not_ready,
            messages: cell.messages,
            bytes: cell.bytes,
            device_bytes: cell.device_bytes,
            from_device: cell.from_device,
            total_ns: cell.total_ns,
            max_ns: cell.max_ns,
            without_histogram: cell.without_histogram,
            histogram: Some(Histogram::from_kernel(&counts, cell.total_ns, cell.max_ns)),
        }
    }
}

/// Times from the end of a wait to the end of the next one, by power of two of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnCounts {
    /// How many there were,
    pub(crate) count: [u32; TURN_BUCKETS],
    /// and how long they were together.
    pub(crate) ns: [u64; TURN_BUCKETS],
}

#[cfg(test)]
impl TurnCounts {
    /// There were none.
    pub(crate) const NONE: TurnCounts = TurnCounts { count: [0; TURN_BUCKETS], ns: [0; TURN_BUCKETS] };

    /// With so many more of this length.
    pub(crate) fn and(mut self, count: u32, each_ns: u64) -> TurnCounts {
        let bucket = each_ns.ilog2() as usize;
        self.count[bucket] += count;
        self.ns[bucket] += u64::from(count) * each_ns;
        self
    }
}

/// A thread that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Alive {
    pub(crate) tid: u32,
    pub(crate) tgid: u32,
    pub(crate) space: u16,
    pub(crate) name: Text,
    pub(crate) calls: u64,
    pub(crate) operations: u64,
    pub(crate) walk_ns: u64,
    /// The operation that it is in: which, on which file, and since when.
    pub(crate) now: Option<(u32, u32, u64)>,
    /// What the tool keeps of the thread.
    pub(crate) own: [u64; OWN_NUMBERS],
    pub(crate) turns: TurnCounts,
}

/// Everything that was counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) sums: BTreeMap<Key, Sum>,
    pub(crate) alive: Vec<Alive>,
}

/// The name of a thread, as the kernel has it.
pub(crate) fn comm(words: [u64; 2]) -> Text {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Text::new(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

impl Counted {
    /// Reads it.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn read(probes: &Probes) -> Result<Counted> {
        let mut counted = Counted { alive: threads(probes)?, ..Counted::default() };
        let mut cells: Vec<(&str, IoKey, IoCell)> = Vec::new();
        for map in ["IO_CELLS", "IO_BEYOND"] {
            probes.each(map, |key: IoKey, cell: IoCell| cells.push((map, key, cell)))?;
        }
        for (map, key, mut cell) in cells {
            let histogram = histogram(probes, cell.histogram)?;
            if histogram.is_some() {
                // Again, as operations may have ended since: nothing in the histogram may be longer than the longest in the cell.
                probes.read(map, &key, std::slice::from_mut(&mut cell))?;
            }
            let of = Key {
                space: key.space as u16,
                file: key.file,
                operation: key.operation as u32,
                thread: comm(key.comm),
            };
            counted.sums.entry(of).or_default().add(&Sum::of(&cell, histogram.as_ref()));
        }
        Ok(counted)
    }
}

fn histogram(probes: &Probes, number: u64) -> Result<Option<IoHistogram>> {
    if number == 0 {
        return Ok(None);
    }
    let mut histogram = [IoHistogram { counts: [0; BUCKETS] }];
    probes.read("IO_HISTOGRAMS", &(number as u32), &mut histogram)?;
    let [histogram] = histogram;
    Ok(Some(histogram))
}

/// The threads that have not ended.
pub(super) fn threads(probes: &Probes) -> Result<Vec<Alive>> {
    let mut alive = Vec::new();
    for (_, thread) in probes.threads.up_to(probes.given_out("IO_NEXT_THREAD")?) {
        // SAFETY: an element of the mapping; any bytes are valid for a wire type.
        let thread: IoThread = unsafe { thread.read_volatile() };
        if thread.tid == 0 {
            continue;
        }
        alive.push(Alive {
            tid: thread.tid,
            tgid: thread.tgid,
            space: thread.space as u16,
            name: comm(thread.comm),
            calls: thread.calls,
            operations: thread.operations,
            walk_ns: thread.walk_ns,
            now: under_way(&thread),
            own: thread.own,
            turns: TurnCounts { count: thread.turns, ns: thread.turns_ns },
        });
    }
    Ok(alive)
}

/// The operation that a thread is in, number of its file, and since when, in nanoseconds. A call that names a path has its file when it
/// waits, or when it returns.
fn under_way(thread: &IoThread) -> Option<(u32, u32, u64)> {
    let used = CallUse::of_bits(thread.used_as);
    let (file, operation) = used.on_file(thread.files);
    let file = match used.files() {
        _ if thread.off_ns != 0 => thread.wait_file as u32,
        files if files.path() != 0 || files.opens() => unknown(Unknown::Unread),
        _ => file,
    };
    (operation != 0).then_some((operation, file, thread.start_ns))
}

/// Calls, operations and nanoseconds of walks of threads that have ended.
pub(super) fn ended(probes: &Probes) -> Result<(u64, u64, u64)> {
    let mut ended = [IoEnded { calls: 0, operations: 0, walk_ns: 0 }];
    probes.read("IO_ENDED", &0u32, &mut ended)?;
    let [IoEnded { calls, operations, walk_ns }] = ended;
    Ok((calls, operations, walk_ns))
}
