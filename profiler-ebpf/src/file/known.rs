//! Numbers of files that were used before, found without following their paths again.
//!
//! A path is followed anew if the entry of the file in its directory has changed, after a call of an observed thread that moves files or
//! mounts, and every 268 ms: another process may move a directory above the file.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{file::S_IFMT, io::OF_OTHER_KIND};

use super::{File, members as of, number, read, typed};
use crate::{atomic, task::member};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_ANY: u64 = 0;
/// How long a path is taken to be the same: `2^SHIFT` nanoseconds at most.
const SHIFT: u32 = 28;
/// Bits of a mode that say what kind of file it is, as a number from 0 to 15.
pub const KIND_SHIFT: u32 = S_IFMT.trailing_zeros();
/// Words at the beginning of a `dentry` and of an `inode` that have the members which are read here. The loader checks that.
const WORDS: usize = 16;

/// An entry of a directory, in a mount.
#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    mount: u64,
    entry: u64,
}

/// What the number of a file depends on.
#[repr(C)]
#[derive(Clone, Copy)]
struct Known {
    inode: u64,
    inode_number: u64,
    parent: u64,
    /// Hash and length of its name.
    name: u64,
    /// 0: deleted.
    bucket: u64,
    epoch: u64,
    number: u64,
}

/// The loader sets the size.
#[map]
static KNOWN_FILES: HashMap<Place, Known> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);
/// Room for the beginnings of a `dentry` and its `inode`: they would take half of a program's stack.
#[repr(C)]
struct Looked {
    entry: [u64; WORDS],
    inode: [u64; WORDS],
}
#[map]
static LOOKED: PerCpuArray<Looked> = PerCpuArray::with_max_entries(1, 0);
/// How many calls of observed threads may have moved files.
#[map]
static MOVES: Array<u64> = Array::with_max_entries(1, 0);

/// Files may have been moved.
#[inline(always)]
pub fn moved() {
    if let Some(moves) = MOVES.get_ptr_mut(0) {
        // SAFETY: a map value.
        unsafe { atomic::add(moves, 1) }
    }
}

/// Reads the beginning of a structure of the kernel.
#[inline(always)]
unsafe fn read_words(address: u64, to: *mut [u64; WORDS]) {
    const BYTES: u32 = size_of::<[u64; WORDS]>() as u32;
    // SAFETY: the caller vouches for the room; the helper takes any address. If it cannot read there, it leaves zeroes.
    unsafe {
        let _ = bpf_probe_read_kernel(to.cast(), BYTES, address as *const c_void);
    }
}

/// The word at an offset.
#[inline(always)]
unsafe fn word(of: *const [u64; WORDS], offset: u64) -> u64 {
    // SAFETY: the caller vouches for the words; the mask keeps the index within them.
    unsafe { of.cast::<u64>().add((offset as usize / 8) & (WORDS - 1)).read_volatile() }
}

/// The `dentry` of the `struct path` of an open file.
#[inline(always)]
pub fn entry_of(path: u64) -> u64 {
    if path == 0 {
        return 0;
    }
    if typed::can() { typed::entry(path).0 as u64 } else { read(path + of::PATH_ENTRY.load()) }
}

/// What a look at a file has shown.
enum Seen {
    /// It is of a kind that is not sought.
    Other(u64),
    /// What its number depends on.
    Sought(Place, Known),
}

/// Looks at the file with this `struct path`.
#[inline(always)]
fn look(path: u64, kinds: u32, now_ns: u64) -> Seen {
    if path == 0 {
        return Seen::Other(0);
    }
    let Some(looked) = LOOKED.get_ptr_mut(0) else { return Seen::Other(0) };
    let words: [u64; 2] = read(path);
    let at = |offset: u64| words[(offset as usize / 8) & 1];
    let place = Place { mount: at(of::PATH_MOUNT.load()), entry: at(of::PATH_ENTRY.load()) };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let (entry, inode) = (&raw mut (*looked).entry, &raw mut (*looked).inode);
        read_words(place.entry, entry);
        let inode_at = word(entry, of::ENTRY_INODE.load());
        read_words(inode_at, inode);
        let mode = word(inode, of::INODE_MODE.load()) >> (of::INODE_MODE.load() % 8 * 8);
        if kinds >> (mode as u32 >> KIND_SHIFT & 15) & 1 == 0 {
            return Seen::Other(place.entry);
        }
        let moves = MOVES.get_ptr(0).map_or(0, |moves| moves.read_volatile());
        let now = Known {
            inode: inode_at,
            inode_number: word(inode, of::INODE_NUMBER.load()),
            parent: word(entry, of::ENTRY_PARENT.load()),
            name: word(entry, of::ENTRY_HASH.load()),
            bucket: u64::from(word(entry, of::ENTRY_BUCKET.load()) != 0),
            epoch: now_ns >> SHIFT ^ moves << 40,
            number: 0,
        };
        Seen::Sought(place, now)
    }
}

/// The kind of the file with this `struct path`: the bits of `S_IFMT` as a number from 0 to 15; 0 if there is no path.
#[inline(always)]
pub fn kind(path: u64) -> u32 {
    if path == 0 {
        return 0;
    }
    let inode: u64 = read(path - of::FILE_PATH.load() + of::FILE_INODE.load());
    u32::from(read::<u16>(inode + of::INODE_MODE.load())) >> KIND_SHIFT & 15
}

/// The number that a file was given before, if that holds still.
#[inline(always)]
fn before(place: &Place, now: &Known) -> Option<u32> {
    let known = KNOWN_FILES.get_ptr(place)?;
    // SAFETY: a map value, which another CPU may write at the same time: with the same, unless the file has changed.
    unsafe { if is_same(known, now) { Some((*known).number as u32) } else { None } }
}

/// The number of the file with this `struct path`, and the address of its `dentry`, if it is of one of the kinds whose bits are set: bit `n`
/// stands for the kind `n` of `S_IFMT`. Otherwise [`OF_OTHER_KIND`]. Call it from one place of a program only: the verifier follows it
/// once for each.
#[inline(always)]
pub fn find(path: u64, kinds: u32, now_ns: u64) -> (u32, u64) {
    let (place, now) = match look(path, kinds, now_ns) {
        Seen::Other(entry) => return (OF_OTHER_KIND, entry),
        Seen::Sought(place, now) => (place, now),
    };
    if let Some(number) = before(&place, &now) {
        return (number, place.entry);
    }
    let number = number(File { path, inode: now.inode }, 0);
    let _ = KNOWN_FILES.insert(place, Known { number: number.into(), ..now }, BPF_ANY);
    (number, place.entry)
}

/// The same for an open file that has a number already; `None` if [`find`] has to look at it.
#[inline(always)]
pub fn find_known(path: u64, kinds: u32, now_ns: u64) -> Option<(u32, u64)> {
    let seen = if typed::can() { look_typed(path, kinds, now_ns) } else { look(path, kinds, now_ns) };
    match seen {
        Seen::Other(entry) => Some((OF_OTHER_KIND, entry)),
        Seen::Sought(place, now) => Some((before(&place, &now)?, place.entry)),
    }
}

/// [`look`] at an open file, without a helper.
#[inline(always)]
fn look_typed(path: u64, kinds: u32, now_ns: u64) -> Seen {
    if path == 0 {
        return Seen::Other(0);
    }
    let Some(looked) = LOOKED.get_ptr_mut(0) else { return Seen::Other(0) };
    // SAFETY: a map value as in `look`. The verifier knows the types of what is loaded, and makes loads safe; pointers become numbers by
    // being written there and read back.
    unsafe {
        let (entry, mount) = typed::entry(path);
        let inode: *const u8 = member(entry, of::ENTRY_INODE.load());
        let parent: *const u8 = member(entry, of::ENTRY_PARENT.load());
        let numbers = (&raw mut (*looked).entry).cast::<u64>();
        numbers.cast::<*const u8>().write_volatile(entry);
        numbers.add(1).cast::<*const u8>().write_volatile(mount);
        numbers.add(2).cast::<*const u8>().write_volatile(inode);
        numbers.add(3).cast::<*const u8>().write_volatile(parent);
        let number = |place: usize| numbers.add(place).read_volatile();
        let mode: u16 = member(inode, of::INODE_MODE.load());
        if kinds >> (u32::from(mode) >> KIND_SHIFT & 15) & 1 == 0 {
            return Seen::Other(number(0));
        }
        let moves = MOVES.get_ptr(0).map_or(0, |moves| moves.read_volatile());
        let hash: u32 = member(entry, of::ENTRY_HASH.load());
        let bytes: u32 = member(entry, of::ENTRY_HASH.load() + 4);
        let now = Known {
            inode: number(2),
            inode_number: member(inode, of::INODE_NUMBER.load()),
            parent: number(3),
            name: u64::from(hash) | u64::from(bytes) << 32,
            bucket: u64::from(member::<u64>(entry, of::ENTRY_BUCKET.load()) != 0),
            epoch: now_ns >> SHIFT ^ moves << 40,
            number: 0,
        };
        Seen::Sought(Place { mount: number(1), entry: number(0) }, now)
    }
}

/// Whether nothing has changed, without a branch for each.
#[inline(always)]
unsafe fn is_same(known: *const Known, now: &Known) -> bool {
    // SAFETY: the caller vouches for the value.
    unsafe {
        (*known).inode ^ now.inode
            | (*known).inode_number ^ now.inode_number
            | (*known).parent ^ now.parent
            | (*known).name ^ now.name
            | (*known).bucket ^ now.bucket
            | (*known).epoch ^ now.epoch
            == 0
    }
}
