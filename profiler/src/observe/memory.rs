//! Growth of the targets' memory, and how much of it the followed blocks explain.
//!
//! A leak may bypass every allocator. So the memory that a target has in use is read by kind at the start and at the end; growth
//! without followed blocks is reported separately, and first if it is the larger part.

mod report;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::report::{finding, section};
use super::space::{Came, Space};
use crate::{
    stats::drawing::stands_for,
    target::{
        family::Families,
        memory::{Kind, Reading, Region},
    },
    text::Text,
};

/// How long to wait for the first reading. Most targets take less: then the reading has nothing that they allocated
/// later.
const SOON: Duration = Duration::from_millis(20);
/// A reading is not repeated sooner than this,
const REST: Duration = Duration::from_secs(1);
/// nor sooner than this many times as long as it took: half a percent of a processor.
const RESTS: u32 = 200;
/// What followed blocks held this soon after a reading counts as held at the time of the reading.
const SAME_TIME: Duration = Duration::from_millis(500);
/// Smaller blocks lie in memory that an allocator divides. C libraries map larger ones one by one: glibc and musl from 128 KiB
/// on.
const DIVIDED_BYTES: u64 = 64 << 10;
/// Unexplained growth matters above these: as a part of the memory in use at the end, and in bytes.
const MATTERS_SHARE: f64 = 0.02;
const MATTERS_BYTES: u64 = 4 << 20;
/// The same if allocators hold most of it: the free memory that they keep varies.
const SLACK_MATTERS_SHARE: f64 = 0.2;
const SLACK_MATTERS_BYTES: u64 = 32 << 20;

/// Who uses memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Heap,
    Arena,
    /// Mapped, and divided by an allocator: followed blocks lie in it.
    Allocator,
    ThreadStack,
    Stack,
    Variables,
    Named(String),
    Mapped,
}

impl Holder {
    fn of(kind: &Kind) -> Holder {
        match kind {
            Kind::Heap => Holder::Heap,
            Kind::Arena => Holder::Arena,
            Kind::Stack => Holder::Stack,
            Kind::ThreadStack => Holder::ThreadStack,
            Kind::Variables => Holder::Variables,
            Kind::Named(name) => Holder::Named(name.clone()),
            Kind::Mapped => Holder::Mapped,
        }
    }

    fn is_of_allocator(&self) -> bool {
        matches!(self, Holder::Heap | Holder::Arena | Holder::Allocator)
    }
}

/// The targets' memory since the start.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// What was in use when the observation began, while it is being read.
    first: Option<Receiver<First>>,
    /// What targets and their children had used by then.
    pub(crate) families: Families,
    watched: BTreeMap<u16, Watched>,
}

/// What was in use at the start.
type First = (Vec<(u16, Reading)>, Families);

#[derive(Debug, Default)]
struct Watched {
    before: Reading,
    /// Whether the memory that the first reading finds was there before its process was observed.
    joined: bool,
    now: Option<Reading>,
    /// When that was read.
    read: Option<Instant>,
    /// Bytes in followed blocks then, if they were looked at.
    followed: Option<f64>,
    /// When it may be read again.
    again: Option<Instant>,
}

impl Watched {
    /// For a space that was not read at the start. A program begins with nothing, but a process that joins does not.
    fn of(came: Came) -> Watched {
        Watched { joined: matches!(came, Came::Forked | Came::Began | Came::Late), ..Watched::default() }
    }
}

impl Memory {
    /// Starts with what is in use now, or, for a command that does not run yet, with nothing.
    pub(crate) fn start(spaces: &[Space], launched: bool) -> Memory {
        let pids: Vec<(u16, u32)> = spaces.iter().map(|s| (s.number, s.process.pid())).collect();
        let read = move || -> First {
            let readings = pids.iter().filter_map(|(n, pid)| Some((*n, Reading::of(*pid).ok()?))).collect();
            (readings, Families::of(&pids.iter().map(|(_, pid)| *pid).collect::<Vec<u32>>()))
        };
        let mut memory = Memory::default();
        if !launched {
            let (sender, first) = channel();
            // If the thread cannot be started, or nobody waits any more, there is no first reading.
            let _ = thread::Builder::new().name("memory".into()).spawn(move || sender.send(read()));
            memory.first = Some(first);
            memory.take_first(SOON);
        }
        memory
    }

    /// Takes the first reading. False if it did not come within `patience`.
    fn take_first(&mut self, patience: Duration) -> bool {
        match self.first.as_ref().map(|first| first.recv_timeout(patience)) {
            Some(Err(RecvTimeoutError::Timeout)) => return false,
            Some(Ok((readings, families))) => {
                let watched = |(number, before)| (number, Watched { before, ..Watched::default() });
                self.watched.extend(readings.into_iter().map(watched));
                self.families = families;
            }
            Some(Err(RecvTimeoutError::Disconnected)) | None => {}
        }
        self.first = None;
        true
    }

    /// Reads what is in use now, unless that is too soon; always if it is the `last` time.
    pub(crate) fn look(&mut self, spaces: &[Space], last: bool) {
        // This takes long for a large target, and the ring has to be read meanwhile.
        if !self.take_first(if last { Duration::MAX } else { Duration::ZERO }) {
            return;
        }
        for space in spaces.iter().filter(|space| space.ended.is_none() && !space.refused) {
            let watched = self.watched.entry(space.number).or_insert_with(|| Watched::of(space.seen.came));
            let begun = Instant::now();
            if !last && watched.again.is_some_and(|again| begun < again) {
                continue;
            }
            if let Ok(reading) = Reading::of(space.process.pid()) {
                // A process that ends gives up its memory before its end is noticed.
                if reading.bytes > 0 && !space.process.ended() {
                    if std::mem::take(&mut watched.joined) {
                        watched.before = reading.clone();
                    }
                    watched.now = Some(reading);
                    watched.read = Some(begun);
                    watched.followed = None;
                }
            }
            watched.again = Some(Instant::now() + REST.max(begun.elapsed() * RESTS));
        }
    }

    /// Notes what followed blocks hold, for a reading at the same time.
    pub(crate) fn note_followed(&mut self, space: u16, bytes: f64) {
        if let Some(watched) = self.watched.get_mut(&space)
            && watched.read.is_some_and(|read| read.elapsed() < SAME_TIME)
        {
            watched.followed.get_or_insert(bytes);
        }
    }
}

/// Memory of one kind.
#[derive(Clone, Debug, PartialEq)]
struct Use {
    holder: Holder,
    before: u64,
    after: u64,
    /// Live followed blocks in it: estimate and variance.
    followed: (f64, f64),
}

impl Use {
    /// Growth that live blocks do not explain, in bytes.
    fn unexplained(&self) -> u64 {
        let grown = self.after.saturating_sub(self.before) as f64;
        (grown - self.followed.0).max(0.0) as u64
    }
}

/// The memory of one target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grown {
    pid: u32,
    pub(crate) name: Text,
    before: u64,
    after: u64,
    shared: (u64, u64),
    /// What was in use at the start, at addresses that are no longer mapped.
    unmapped: u64,
    estimated: bool,
    /// For a target that has ended: bytes of followed blocks that existed when its memory was read, and no longer do.
    pub(crate) released: f64,
    /// How many more there may have been between two looks.
    released_at_most: f64,
    /// By kind, the most unexplained growth first.
    uses: Vec<Use>,
}

/// Followed blocks in a region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Followed {
    bytes: (f64, f64),
    divided: bool,
}

impl Followed {
    fn add(&mut self, size: u64, sample_bytes: Option<u64>) {
        let bytes = size as f64;
        let weight = sample_bytes.map_or(1.0, |mean| stands_for(bytes, mean as f64));
        self.bytes.0 += weight * bytes;
        self.bytes.1 += weight * (weight - 1.0) * bytes * bytes;
        self.divided |= size < DIVIDED_BYTES;
    }
}

/// Live followed blocks, put into the memory that they lie in.
pub(crate) struct Explanation<'a> {
    read: BTreeMap<u16, (&'a Watched, &'a Reading, Vec<Followed>)>,
    live_bytes: BTreeMap<u16, f64>,
    /// Mean gap between sampled bytes, in a sampled run.
    sample_bytes: Option<u64>,
}

impl Memory {
    /// Starts to explain the readings by blocks. `sample_bytes`: the mean gap between sampled bytes, in a sampled run.
    pub(crate) fn explain(&self, sample_bytes: Option<u64>) -> Explanation<'_> {
        let read = self.watched.iter().filter_map(|(number, watched)| {
            let now = watched.now.as_ref()?;
            Some((*number, (watched, now, vec![Followed::default(); now.regions.len()])))
        });
        Explanation { read: read.collect(), live_bytes: BTreeMap::new(), sample_bytes }
    }
}

impl Explanation<'_> {
    /// A live block of a space.
    pub(crate) fn add(&mut self, space: u16, address: u64, bytes: u64) {
        *self.live_bytes.entry(space).or_default() += estimate(bytes, self.sample_bytes);
        if let Some((_, now, followed)) = self.read.get_mut(&space)
            && let Some(place) = now.region_of(address).and_then(|at| followed.get_mut(at))
        {
            place.add(bytes, self.sample_bytes);
        }
    }

    /// How the memory of each target changed, as far as it was read. `ever`: all bytes that a space ever had in blocks.
    pub(crate) fn grown(self, spaces: &[Space], ever: impl Fn(u16) -> f64) -> Vec<Grown> {
        let grown = spaces.iter().filter_map(|space| {
            let (watched, now, followed) = self.read.get(&space.number)?;
            let (released, released_at_most) = match watched.followed {
                _ if space.ended.is_none() => (0.0, 0.0),
                Some(then) => {
                    ((then - self.live_bytes.get(&space.number).copied().unwrap_or(0.0)).max(0.0), 0.0)
                }
                None => (0.0, ever(space.number)),
            };
            let mut uses = uses(&watched.before, now, followed);
            explain(&mut uses, released);
            Some(Grown {
                pid: space.process.pid(),
                name: space.process.name().clone(),
                before: watched.before.bytes,
                after: now.bytes,
                shared: (watched.before.shared_bytes, now.shared_bytes),
                unmapped: unmapped(&watched.before, now),
                estimated: watched.before.estimated || now.estimated,
                released,
                released_at_most,
                uses,
            })
        });
        grown.collect()
    }
}

/// What a followed block stands for, in bytes.
fn estimate(size: u64, sample_bytes: Option<u64>) -> f64 {
    let bytes = size as f64;
    bytes * sample_bytes.map_or(1.0, |mean| stands_for(bytes, mean as f64))
}

/// Adds blocks that no longer exist. Where they were is not known, so the unexplained growth that remains is a lower bound.
fn explain(uses: &mut [Use], mut released: f64) {
    for of in uses.iter_mut() {
        let explained = released.min(of.unexplained() as f64);
        of.followed.0 += explained;
        released -= explained;
    }
    uses.sort_by_key(|of| std::cmp::Reverse((of.unexplained(), of.after)));
}

/// Memory by kind, the most unexplained growth first.
fn uses(before: &Reading, now: &Reading, followed: &[Followed]) -> Vec<Use> {
    let mut by_holder: BTreeMap<Holder, Use> = BTreeMap::new();
    let mut add = |holder: Holder, before: u64, after: u64, followed: (f64, f64)| {
        let new = Use { holder: holder.clone(), before: 0, after: 0, followed: (0.0, 0.0) };
        let of = by_holder.entry(holder).or_insert(new);
        of.before += before;
        of.after += after;
        of.followed.0 += followed.0;
        of.followed.1 += followed.1;
    };
    let mut divided: Vec<Range<u64>> = Vec::new();
    for (region, followed) in now.regions.iter().zip(followed) {
        let mut holder = Holder::of(&region.kind);
        if followed.divided && matches!(holder, Holder::Mapped | Holder::Named(_)) {
            holder = Holder::Allocator;
            divided.push(region.start..region.end);
        }
        // Memory that was allocated and never touched is not in use.
        let explained = followed.bytes.0.min(region.used_bytes as f64);
        add(holder, 0, region.used_bytes, (explained, followed.bytes.1));
    }
    for region in &before.regions {
        let mut holder = Holder::of(&region.kind);
        // Both are in the order of their addresses.
        let reaching = divided.partition_point(|range| range.end <= region.start);
        let is_divided = divided.get(reaching).is_some_and(|range| range.start < region.end);
        if is_divided && matches!(holder, Holder::Mapped | Holder::Named(_)) {
            holder = Holder::Allocator;
        }
        add(holder, region.used_bytes, 0, (0.0, 0.0));
    }
    let mut uses: Vec<Use> = by_holder.into_values().collect();
    uses.sort_by_key(|of| std::cmp::Reverse((of.unexplained(), of.after)));
    uses
}

/// What was in use at addresses that are no longer mapped; of a region that is still mapped in part, a proportional share.
fn unmapped(before: &Reading, now: &Reading) -> u64 {
    let kept = |start: u64, end: u64| -> u64 {
        let first = now.regions.partition_point(|region| region.end <= start);
        let overlapping = now.regions.iter().skip(first).take_while(|region| region.start < end);
        overlapping.map(|region| region.end.min(end) - region.start.max(start)).sum()
    };
    let gone = |region: &Region| {
        let bytes = (region.end - region.start).max(1);
        let kept = kept(region.start, region.end).min(bytes) as f64 / bytes as f64;
        (region.used_bytes as f64 * (1.0 - kept)) as u64
    };
    before.regions.iter().map(gone).sum()
}

impl Grown {
    /// Growth of what is in use, in bytes.
    pub(crate) fn growth(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }

    /// Growth that live followed blocks do not explain, in bytes.
    pub(crate) fn unexplained(&self) -> u64 {
        self.uses.iter().map(Use::unexplained).sum::<u64>().min(self.growth())
    }

    /// Whether this much growth exceeds the free memory that allocators keep now and then.
    pub(crate) fn is_more_than_slack(&self, bytes: u64) -> bool {
        bytes >= SLACK_MATTERS_BYTES && bytes as f64 >= SLACK_MATTERS_SHARE * self.after as f64
    }

    /// Whether there is so much unexplained growth that it belongs into the first line.
    fn matters(&self) -> bool {
        let unexplained = self.unexplained();
        let slack: u64 =
            self.uses.iter().filter(|of| of.holder.is_of_allocator()).map(Use::unexplained).sum();
        let (share, bytes) = if slack * 2 > unexplained {
            (SLACK_MATTERS_SHARE, SLACK_MATTERS_BYTES)
        } else {
            (MATTERS_SHARE, MATTERS_BYTES)
        };
        unexplained * 2 > self.growth()
            && unexplained as f64 > self.released_at_most
            && unexplained >= bytes
            && unexplained as f64 >= share * self.after as f64
    }
}
