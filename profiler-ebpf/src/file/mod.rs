//! Numbers of open files. A descriptor of the current process leads to a file, the file to its number; its name is sent once.
//!
//! The kernel may free what is read here at any time. All of it is read by a helper that fails on bad addresses, and the caller looks the
//! descriptor up again ([`of_descriptor`]) to see whether it still refers to the same file.

pub mod given;
pub mod known;
pub mod mapped;
mod members;
mod path;
pub mod replaced;
pub mod service;
mod socket;
pub mod typed;
pub mod watched;

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, generated::bpf_probe_read_kernel},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use profiler_common::{
    file::{Addresses, DELETED, FileKey, FileRecord, MAX_NAME_BYTES, NO_FILE},
    record::{RECORD_FILE, RecordHead},
};

use self::members as of;
use crate::{
    atomic,
    hash::hash,
    ring,
    task::{Task, member, task},
};

pub(crate) use self::socket::read_internet;

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_NOEXIST: u64 = 1;
const SENT: u64 = 1 << 32;
/// A power of two above the bytes that are appended to a name at once: a component of a path, or the address of a Unix socket.
const PART_BYTES: usize = 256;

/// Numbers of files below this one may be given out.
#[unsafe(no_mangle)]
static MAX_FILES: Global<u32> = Global::new(2);

/// The number of each file, and in the upper half [`SENT`] once its name has been sent. The loader sets the size.
#[map]
static FILE_NUMBERS: HashMap<FileKey, u64> = HashMap::with_max_entries(2, BPF_F_NO_PREALLOC);

/// The highest number that was given out.
#[map]
static NEXT_FILE: Array<u64> = Array::with_max_entries(1, 0);

/// A file with its name.
#[repr(C)]
struct Named {
    key: FileKey,
    record: FileRecord,
    name: [u8; MAX_NAME_BYTES + PART_BYTES],
}

/// Working memory for finding the name of a file.
#[repr(C)]
struct Room {
    steps: path::Steps,
    named: Named,
}

#[map]
static FILE_ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// Files that are being closed, by the id of the thread that closes them: when the call returns, they are gone. Entries are not removed; the
/// oldest gives way. The loader sets the size.
#[map]
static CLOSING_FILES: LruHashMap<u32, Named> = LruHashMap::with_max_entries(2, 0);

/// A file of the current process: addresses in the kernel.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Of its `struct path`: that in its `struct file`, or that of the working directory. 0: the descriptor is not open.
    pub path: u64,
    /// Of its inode: a file that is opened may get the address of one that was closed.
    pub inode: u64,
}

/// Rings that a thread can register (`IO_RINGFD_REG_MAX`, include/linux/io_uring_types.h).
const MOST_RINGS: u32 = 16;

impl File {
    /// The file with this `struct path`.
    #[inline(always)]
    pub fn at(path: u64) -> File {
        let entry: u64 = read(path + of::PATH_ENTRY.load());
        File { path, inode: read(entry + of::ENTRY_INODE.load()) }
    }

    /// `private_data` of its `struct file`, which a working directory does not have.
    #[inline(always)]
    fn data(self) -> u64 {
        read(self.path - of::FILE_PATH.load() + of::FILE_DATA.load())
    }
}

/// Reads a value of the kernel; zeroes if there is nothing at that address.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    // Without zeroes: of more than a few words, the compiler would clear each byte on its own.
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper takes any address. If it cannot read there, it leaves zeroes, which are valid for what is read here: integers,
    // and arrays of them. Its result is ignored, because the verifier would follow two paths after each read.
    unsafe {
        let _ =
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void);
        value.assume_init()
    }
}

/// Clears addresses by words: of the whole, the compiler would clear each byte on its own.
#[inline(always)]
unsafe fn clear(addresses: *mut Addresses) {
    for place in 0..size_of::<Addresses>() / size_of::<u64>() {
        // SAFETY: the caller vouches for the addresses, which are words.
        unsafe { addresses.cast::<u64>().add(place).write_volatile(0) };
    }
}

/// The path of the file that a descriptor of the current process refers to, for [`File::at`]; 0: the descriptor is not open.
#[inline(always)]
pub fn of_descriptor(descriptor: u32) -> u64 {
    of_descriptor_in(task(), descriptor)
}

/// The same in a task, which is the current one.
#[inline(always)]
pub fn of_descriptor_in(task: Task, descriptor: u32) -> u64 {
    // SAFETY: the verifier knows the types of all of these, and makes loads safe. The last one is an address without a type.
    let (most, open) = unsafe {
        let table: *const u8 = member(task.member(of::TASK_FILES.load()), of::FILES_TABLE.load());
        (member::<u32>(table, of::TABLE_MOST.load()), member::<u64>(table, of::TABLE_FILES.load()))
    };
    if descriptor >= most {
        return 0;
    }
    let slot = open + 8 * u64::from(descriptor);
    path_of(if typed::can() { typed::pointer(slot) } else { read(slot) })
}

/// How many tasks use the table of descriptors of this one. `offset`: that of `files_struct.count`.
#[inline(always)]
pub fn users(task: Task, offset: u64) -> u32 {
    // SAFETY: the verifier knows the type, and makes loads safe.
    unsafe { member(task.member(of::TASK_FILES.load()), offset) }
}

/// The working directory of the current process.
#[inline(always)]
pub fn working_directory() -> u64 {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    read::<u64>(task + of::TASK_PLACES.load()) + of::PLACES_WORKING.load()
}

/// The ring of io_uring that the current thread has registered under a number.
#[inline(always)]
pub fn registered_ring(number: u32) -> u64 {
    if number >= MOST_RINGS || of::RINGS_REGISTERED.load() == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let rings: u64 = read(task + of::TASK_RINGS.load());
    path_of(read(rings + of::RINGS_REGISTERED.load() + 8 * u64::from(number)))
}

/// The `struct path` of a `struct file`; 0: there is none.
#[inline(always)]
pub fn path_of(file: u64) -> u64 {
    if file == 0 { 0 } else { file + of::FILE_PATH.load() }
}

/// The number of a file of the current process, or [`NO_FILE`] if all are taken. `peer`: the address in user memory that the process asks
/// the socket to connect to, or 0. The function has no symbol: kernels before 6.8 verify those that have one even if nothing calls them.
#[inline(never)]
pub fn number(file: File, peer: u64) -> u32 {
    let Some(room) = FILE_ROOM.get_ptr_mut(0) else { return NO_FILE };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        describe(file, peer, room);
        if let Some(known) = FILE_NUMBERS.get_ptr_mut((*room).named.key)
            && *known & SENT != 0
        {
            return *known as u32;
        }
        read_name(file, room);
        introduce(&raw mut (*room).named)
    }
}

/// Keeps the name of a file that the current thread is about to close. Returns 1 if there was room for it.
#[inline(never)]
pub fn keep(file: File, tid: u32) -> u32 {
    let Some(room) = FILE_ROOM.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    unsafe {
        describe(file, 0, room);
        read_name(file, room);
        u32::from(CLOSING_FILES.insert(tid, &(*room).named, 0).is_ok())
    }
}

/// The number of the file that [`keep`] has kept for this thread, or [`NO_FILE`].
#[inline(never)]
pub fn kept(tid: u32) -> u32 {
    // SAFETY: an entry that only this thread uses. If it gives way to another one meanwhile, the name may be that of another file that is
    // being closed: there are so many entries that this takes as many threads that close files during one system call.
    CLOSING_FILES.get_ptr_mut(tid).map_or(NO_FILE, |named| unsafe { introduce(named) })
}

/// Fills in the key and the record, except for the name.
#[inline(always)]
unsafe fn describe(file: File, peer: u64, room: *mut Room) {
    // SAFETY: the caller vouches for the room.
    unsafe {
        let entry: u64 = read(file.path + of::PATH_ENTRY.load());
        let inode: u64 = read(entry + of::ENTRY_INODE.load());
        let filesystem: u64 = read(inode + of::INODE_FILESYSTEM.load());
        let device: u32 = read(filesystem + of::FILESYSTEM_DEVICE.load());
        let mode: u16 = read(inode + of::INODE_MODE.load());
        let bucket: u64 = read(entry + of::ENTRY_BUCKET.load());
        let parent: u64 = read(entry + of::ENTRY_PARENT.load());
        // What has no parent has no bucket either: the root of a filesystem, and a file that is in no directory.
        let deleted = bucket == 0 && parent != entry;
        let record = &raw mut (*room).named.record;
        (*record).inode = read(inode + of::INODE_NUMBER.load());
        (*record).mode = mode.into();
        (*record).flags = if deleted { DELETED } else { 0 };
        (*record).name_bytes = 0;
        let key = &raw mut (*room).named.key;
        (*key).device = device.into();
        (*key).inode = (*record).inode;
        (*key).entry = entry | u64::from(deleted);
        let addresses = &raw mut (*record).addresses;
        clear(addresses);
        (*key).place = if socket::is_one(mode) {
            socket::read_addresses(file.data(), peer, addresses)
        } else {
            path::follow(entry, read(file.path + of::PATH_MOUNT.load()), room)
        };
    }
}

/// Finds the name.
#[inline(always)]
unsafe fn read_name(file: File, room: *mut Room) {
    // SAFETY: the caller vouches for the room.
    unsafe {
        if socket::is_one((*room).named.record.mode as u16) {
            socket::read_name(file.data(), &raw mut (*room).named);
        } else {
            path::read_name(read(file.path + of::PATH_ENTRY.load()), room);
        }
    }
}

/// Gives a new file a number and sends its name, or sends it again if it did not fit into the ring before.
#[inline(always)]
unsafe fn introduce(named: *mut Named) -> u32 {
    // SAFETY: the caller vouches for the file.
    unsafe {
        let number = match FILE_NUMBERS.get_ptr_mut((*named).key) {
            Some(known) if *known & SENT != 0 => return *known as u32,
            Some(known) => *known as u32,
            None => {
                let Some(number) = next_number() else { return NO_FILE };
                let _ = FILE_NUMBERS.insert((*named).key, u64::from(number), BPF_NOEXIST);
                let Some(known) = FILE_NUMBERS.get_ptr_mut((*named).key) else { return NO_FILE };
                *known as u32 // that of another CPU, if it was faster
            }
        };
        let record = &raw mut (*named).record;
        let head = RecordHead { kind: RECORD_FILE, depth: 0, space: 0, stack: number };
        (*record).head = core::mem::transmute::<RecordHead, u64>(head);
        let bytes = (&raw const (*record).name_bytes).read_volatile() as u64 & (MAX_NAME_BYTES as u64 - 1);
        if ring::send((&raw const (*record).head).cast(), size_of::<FileRecord>() as u64 + bytes)
            && let Some(known) = FILE_NUMBERS.get_ptr_mut((*named).key)
        {
            *known |= SENT;
        }
        number
    }
}

/// A new number, or `None` when all are given out.
#[inline(always)]
fn next_number() -> Option<u32> {
    let next = NEXT_FILE.get_ptr_mut(0)?;
    let most = u64::from(MAX_FILES.load());
    // SAFETY: a map value. Read first, so that the number does not grow without end.
    unsafe {
        if next.read_volatile() + 1 >= most {
            return None;
        }
        let number = atomic::take(next) + 1; // 0 is NO_FILE
        if number < most { Some(number as u32) } else { None }
    }
}

/// Appends a string of the kernel to the name of a file: `bytes` bytes, fewer than [`PART_BYTES`]. Returns whether there was room.
///
/// # Safety
/// `named` is a map value.
#[inline(always)]
unsafe fn append(named: *mut Named, from: u64, bytes: u32) -> bool {
    // SAFETY: the masks keep both the place and the length within the name; the helper takes any address.
    unsafe {
        let at = (*named).record.name_bytes;
        let bytes = bytes & (PART_BYTES as u32 - 1);
        if at + bytes >= MAX_NAME_BYTES as u32 {
            return false;
        }
        let to = (&raw mut (*named).name).cast::<u8>().add(at as usize & (MAX_NAME_BYTES - 1));
        if bpf_probe_read_kernel(to.cast(), bytes, from as *const c_void) == 0 {
            (*named).record.name_bytes = at + bytes;
        }
        true
    }
}
