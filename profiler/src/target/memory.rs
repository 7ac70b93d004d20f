//! The memory of a process that belongs to no file, by kind.
//!
//! The size of a mapping says little: a thread's stack is 8 MiB of addresses and a few pages. So the pages in use are
//! read from the page table (`/proc/PID/pagemap`), 2 MiB of addresses at a time. The process is held up no longer than
//! that takes, whereas `smaps` blocks its `mmap` and page faults for the length of a whole mapping.

use std::{fs::File, hint::black_box, io, os::unix::fs::FileExt as _, sync::OnceLock};

use super::{
    maps::{self, Mapping, Rights},
    status::Status,
};

const PAGE_BYTES: u64 = 4096;
/// The addresses that one page table covers: 2 MiB.
const PIECE_PAGES: u64 = 512;
/// Most pages that are looked at (4 GiB of addresses). If there are more, pieces at equal distances are read as a
/// sample.
const MOST_PAGES: u64 = 1 << 20;
/// A mapping of fewer pages (16 MiB) is always read in full.
const SMALL_PAGES: u64 = 4096;
/// `HEAP_MAX_SIZE` of glibc: an arena lies in an area of this size, at a multiple of it.
const ARENA_BYTES: u64 = 64 << 20;
/// Sizes of the guards below thread stacks: a page by default, more if the program asks for it.
const GUARD_BYTES: std::ops::RangeInclusive<u64> = PAGE_BYTES..=1 << 20;
/// Sizes of thread stacks, from `PTHREAD_STACK_MIN` on.
const STACK_BYTES: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 30;

/// Bits of an entry of the page table that hold the number of the frame.
const FRAME: u64 = (1 << 55) - 1;

/// What memory is used for, as far as its place and its neighbours show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The heap that `brk` extends, used by most allocators of C libraries.
    Heap,
    /// An arena of glibc for allocations of threads.
    Arena,
    /// The stack of the first thread.
    Stack,
    /// The stack of another thread, in use or cached for the next thread.
    ThreadStack,
    /// Pages of files that were written to: variables of programs and libraries.
    Variables,
    /// Memory with a name that the process gave it.
    Named(String),
    /// Mapped without a name.
    Mapped,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// First address.
    pub(crate) start: u64,
    /// Address behind the last.
    pub(crate) end: u64,
    /// What it is used for.
    pub(crate) kind: Kind,
    /// Bytes of it that are in memory or swapped out.
    pub(crate) used_bytes: u64,
}

/// The memory of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// All of it, in memory and swapped out, by the kernel's counters, in bytes.
    pub(crate) bytes: u64,
    /// Shared memory that is resident, in bytes; not included above.
    pub(crate) shared_bytes: u64,
    /// By address.
    pub(crate) regions: Vec<Region>,
    /// Whether so much is mapped that only a sample was read.
    pub(crate) estimated: bool,
}

impl Reading {
    /// Reads it.
    ///
    /// # Errors
    /// If the process is gone or may not be read.
    pub(crate) fn of(pid: u32) -> io::Result<Reading> {
        let mut regions = regions(&maps::parse_all(&maps::read(pid)?));
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let estimated = use_of(&mut regions, &mut |page, entries| read_entries(&pagemap, page, entries))?;
        let status = Status::read(pid)?;
        let bytes = status.anonymous_bytes.unwrap_or(0) + status.swapped_bytes.unwrap_or(0);
        Ok(Reading { bytes, shared_bytes: status.shared_bytes.unwrap_or(0), regions, estimated })
    }

    /// The region that holds an address, by index.
    pub(crate) fn region_of(&self, address: u64) -> Option<usize> {
        let index = self.regions.partition_point(|region| region.end <= address);
        self.regions.get(index).filter(|region| region.start <= address).map(|_| index)
    }
}

/// The regions that may hold memory without a file, before their use is known.
fn regions(all: &[(Mapping, Rights)]) -> Vec<Region> {
    let around = |index: usize| {
        let before = index.checked_sub(1).and_then(|before| all.get(before));
        (before, all.get(index + 1))
    };
    let region = |(index, (mapping, rights)): (usize, &(Mapping, Rights))| {
        let kind = kind(mapping, *rights, around(index))?;
        Some(Region { start: mapping.start, end: mapping.end, kind, used_bytes: 0 })
    };
    all.iter().enumerate().filter_map(region).collect()
}

type Neighbour<'a> = Option<&'a (Mapping, Rights)>;

fn kind(mapping: &Mapping, rights: Rights, around: (Neighbour<'_>, Neighbour<'_>)) -> Option<Kind> {
    if rights.shared || is_closed(rights) {
        return None;
    }
    let name = mapping.path.as_os_str().as_encoded_bytes();
    if mapping.file.inode != 0 {
        return rights.write.then_some(Kind::Variables);
    }
    match name {
        b"[heap]" => Some(Kind::Heap),
        b"[stack]" => Some(Kind::Stack),
        b"" if is_arena(mapping, around.1) => Some(Kind::Arena),
        b"" if is_stack(mapping, rights, around.0) => Some(Kind::ThreadStack),
        b"" => Some(Kind::Mapped),
        // The name that bionic and some runtimes give to thread stacks.
        _ if name.starts_with(b"[anon:stack") => Some(Kind::ThreadStack),
        _ => {
            let own = name.strip_prefix(b"[anon:")?.strip_suffix(b"]")?;
            Some(Kind::Named(String::from_utf8_lossy(own).into_owned()))
        }
    }
}

/// Whether it has no permissions: a guard, or addresses reserved for later.
fn is_closed(rights: Rights) -> bool {
    !rights.read && !rights.write && !rights.execute
}

/// An arena begins at a multiple of its size. The part that it does not use yet has no permissions and reaches to the
/// next multiple.
fn is_arena(mapping: &Mapping, behind: Neighbour<'_>) -> bool {
    let kept = |(next, rights): &(Mapping, Rights)| {
        next.start == mapping.end
            && is_closed(*rights)
            && next.end >= mapping.end.next_multiple_of(ARENA_BYTES)
    };
    mapping.start.is_multiple_of(ARENA_BYTES)
        && (mapping.end.is_multiple_of(ARENA_BYTES) || behind.is_some_and(kept))
}

/// A thread stack has a guard right below it.
fn is_stack(mapping: &Mapping, rights: Rights, before: Neighbour<'_>) -> bool {
    let guards = |(guard, rights): &(Mapping, Rights)| {
        guard.end == mapping.start
            && is_closed(*rights)
            && guard.file.inode == 0
            && GUARD_BYTES.contains(&(guard.end - guard.start))
    };
    rights.write && STACK_BYTES.contains(&(mapping.end - mapping.start)) && before.is_some_and(guards)
}

/// Fills in how much of each region is in use, and returns whether that is an estimate. `read` reads entries of the
/// page table from a page number on, and returns how many it read.
fn use_of(
    regions: &mut [Region],
    read: &mut dyn FnMut(u64, &mut [u64]) -> io::Result<usize>,
) -> io::Result<bool> {
    let pages = |region: &Region| (region.end - region.start) / PAGE_BYTES;
    let large: u64 = regions.iter().map(pages).filter(|pages| *pages > SMALL_PAGES).sum();
    let every = large.div_ceil(MOST_PAGES).max(1);
    let mut entries = vec![0_u64; PIECE_PAGES as usize];
    let zero = zero_frame();
    for region in regions {
        let (first, count) = (region.start / PAGE_BYTES, pages(region));
        let every = if count > SMALL_PAGES { every } else { 1 };
        let (mut seen, mut used) = (0_u64, 0_u64);
        for piece in (0..count.div_ceil(PIECE_PAGES)).step_by(every as usize) {
            let at = piece * PIECE_PAGES;
            let wanted = (count - at).min(PIECE_PAGES) as usize;
            let Some(part) = entries.get_mut(..wanted) else { break };
            let got = read(first + at, part)?;
            seen += got as u64;
            used += part.iter().take(got).filter(|entry| is_own(**entry, zero)).count() as u64;
            if got < wanted {
                break; // it was unmapped since
            }
        }
        let whole =
            if every > 1 && seen > 0 { used as f64 / seen as f64 * count as f64 } else { used as f64 };
        region.used_bytes = whole as u64 * PAGE_BYTES;
    }
    Ok(every > 1)
}

/// Whether a page is present or swapped out, and belongs to the process alone
/// (Documentation/admin-guide/mm/pagemap.rst: present, swapped, page of a file or shared). Pages that were read and
/// never written to share one zero page.
fn is_own(entry: u64, zero: Option<u64>) -> bool {
    let (present, swapped, of_a_file) = (entry >> 63 != 0, entry >> 62 & 1 != 0, entry >> 61 & 1 != 0);
    let of_zeroes = present && zero == Some(entry & FRAME);
    (present || swapped) && !of_a_file && !of_zeroes
}

/// The frame number of the zero page, from a page of our own. `None` without `CAP_SYS_ADMIN`, when frame numbers are
/// hidden.
fn zero_frame() -> Option<u64> {
    static ZERO: OnceLock<Option<u64>> = OnceLock::new();
    *ZERO.get_or_init(|| {
        let page = memmap2::MmapOptions::new().len(PAGE_BYTES as usize).map_anon().ok()?;
        black_box(page.first().copied());
        let mut entry = [0];
        let pagemap = File::open("/proc/self/pagemap").ok()?;
        read_entries(&pagemap, page.as_ptr() as u64 / PAGE_BYTES, &mut entry).ok()?;
        Some(entry[0] & FRAME).filter(|frame| *frame != 0)
    })
}

fn read_entries(pagemap: &File, page: u64, entries: &mut [u64]) -> io::Result<usize> {
    let mut bytes = [0_u8; PIECE_PAGES as usize * 8];
    let wanted = (entries.len() * 8).min(bytes.len());
    let got = pagemap.read_at(bytes.get_mut(..wanted).unwrap_or_default(), page * 8)?;
    let read = bytes.get(..got).unwrap_or_default().as_chunks::<8>().0;
    for (entry, bytes) in entries.iter_mut().zip(read) {
        *entry = u64::from_ne_bytes(*bytes);
    }
    Ok(read.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kinds(text: &str) -> Vec<Kind> {
        regions(&maps::parse_all(text.as_bytes())).into_iter().map(|region| region.kind).collect()
    }

    #[test]
    fn kinds_are_told_by_names_and_neighbours() {
        let text = "400000-401000 r-xp 00000000 08:01 7 /srv\n\
            402000-403000 rw-p 00001000 08:01 7 /srv\n\
            500000-600000 rw-p 00000000 00:00 0 [heap]\n\
            7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \n\
            7f0000200000-7f0004000000 ---p 00000000 00:00 0 \n\
            7f1000000000-7f1000001000 ---p 00000000 00:00 0 \n\
            7f1000001000-7f1000801000 rw-p 00000000 00:00 0 \n\
            7f1000801000-7f1000901000 rw-p 00000000 00:00 0 [anon:lua]\n\
            7f2000001000-7f2000901000 rw-p 00000000 00:00 0 \n\
            7f3000001000-7f3000901000 rw-s 00000000 00:01 9 /memfd:x (deleted)\n\
            7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]\n\
            7ffd00030000-7ffd00032000 r-xp 00000000 00:00 0 [vdso]\n";
        let named = Kind::Named("lua".to_owned());
        let expected =
            [Kind::Variables, Kind::Heap, Kind::Arena, Kind::ThreadStack, named, Kind::Mapped, Kind::Stack];
        assert_eq!(kinds(text), expected);
        // A full arena has nothing closed behind; memory beside a large closed area is not a stack.
        assert_eq!(kinds("7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \n"), [Kind::Arena]);
        let reserved = "7f0000001000-7f0040000000 ---p 00000000 00:00 0 \n\
            7f0040000000-7f0040100000 rw-p 00000000 00:00 0 \n";
        assert_eq!(kinds(reserved), [Kind::Mapped]);
    }

    #[test]
    fn of_much_memory_a_part_stands_for_the_whole() {
        let region = |start: u64, end: u64| Region { start, end, kind: Kind::Mapped, used_bytes: 0 };
        let mut regions = [region(0, 64 << 30), region(65 << 30, (65 << 30) + MIB)];
        let mut asked = 0;
        let mut every_other = |_: u64, entries: &mut [u64]| {
            asked += entries.len() as u64;
            entries.iter_mut().enumerate().for_each(|(at, entry)| *entry = (at as u64 & 1) << 63);
            Ok(entries.len())
        };
        assert!(use_of(&mut regions, &mut every_other).unwrap());
        assert!(asked <= MOST_PAGES + SMALL_PAGES, "{asked} pages");
        assert_eq!((regions[0].used_bytes, regions[1].used_bytes), (32 << 30, MIB / 2));
    }

    #[test]
    fn pages_of_files_and_shared_ones_are_not_its_own() {
        let is_own = |entry| is_own(entry, Some(7));
        assert!(is_own(1 << 63) && is_own(1 << 62) && is_own(1 << 63 | 6) && is_own(1 << 62 | 7));
        assert!(!is_own(0) && !is_own(1 << 63 | 1 << 61) && !is_own(1 << 55) && !is_own(1 << 63 | 7));
    }

    #[test]
    fn own_memory_is_seen_when_it_is_touched() {
        // Of the kernel, so that no other test has a part in it.
        let mapped = memmap2::MmapOptions::new().len(32 * MIB as usize).map_anon().unwrap();
        let address = mapped.as_ptr() as u64;
        let used = |reading: &Reading| {
            let of = |region: &&Region| region.start < address + 32 * MIB && region.end > address;
            reading.regions.iter().filter(of).map(|region| region.used_bytes).sum::<u64>()
        };
        // Pages that were only ever read are not in use, if the frame of zeroes is known.
        if zero_frame().is_some() {
            assert!(mapped.iter().step_by(PAGE_BYTES as usize).all(|byte| *byte == 0));
        }
        let before = Reading::of(std::process::id()).unwrap();
        let mut mapped = mapped;
        mapped.fill(1);
        let after = Reading::of(std::process::id()).unwrap();
        assert!(used(&after) >= used(&before) + 32 * MIB, "{} {}", used(&before), used(&after));
        assert!(after.bytes >= 32 * MIB);
        assert!(after.region_of(address).is_some() && after.region_of(1).is_none());
    }
}
