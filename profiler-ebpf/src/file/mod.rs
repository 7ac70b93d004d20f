//! Numbers of open files. A descriptor of the current process leads to a file, the file to its number; its name is sent once.
//!
//! The kernel may free what is read here at any time. All of it is read by a helper that fails on bad addresses, and the caller looks the
//! descriptor up again ([`of_descriptor`]) to see whether it still refers to the same file.

mod members;
mod path;
mod socket;

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, generated::bpf_probe_read_kernel},
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{
    file::{CUT, DELETED, FileKey, FileRecord, MAX_NAME_BYTES, NO_FILE},
    record::{RECORD_FILE, RecordHead},
};

use self::members as of;
use crate::{atomic, ring};

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

/// Working memory for finding the name of a file.
#[repr(C)]
struct Room {
    key: FileKey,
    steps: path::Steps,
    record: FileRecord,
    name: [u8; MAX_NAME_BYTES + PART_BYTES],
}

#[map]
static FILE_ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// A file of the current process: addresses in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Of `struct file`; 0: the descriptor is not open.
    pub file: u64,
    /// Of its inode: a file that is opened may get the address of one that was closed.
    pub inode: u64,
}

impl File {
    /// A descriptor that is not open.
    pub const NONE: File = File { file: 0, inode: 0 };
}

/// Reads a value of the kernel; zeroes if there is nothing at that address.
#[inline(always)]
fn read<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the helper takes any address. If it cannot read there, it leaves zeroes, which are valid for what is read here: integers,
    // and arrays of them. Its result is ignored, because the verifier would follow two paths after each read.
    unsafe {
        let _ =
            bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void);
        value.assume_init()
    }
}

/// What a descriptor of the current process refers to.
#[inline(always)]
pub fn of_descriptor(descriptor: u32) -> File {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let files: u64 = read(task + of::TASK_FILES.load());
    let table: u64 = read(files + of::FILES_TABLE.load());
    let most: u32 = read(table + of::TABLE_MOST.load());
    if descriptor >= most {
        return File::NONE;
    }
    let open: u64 = read(table + of::TABLE_FILES.load());
    let file: u64 = read(open + 8 * u64::from(descriptor));
    if file == 0 { File::NONE } else { File { file, inode: read(file + of::FILE_INODE.load()) } }
}

/// The number of a file of the current process, or [`NO_FILE`] if all are taken. The function has no symbol: kernels before 6.8 verify
/// those that have one even if nothing calls them.
#[inline(never)]
pub fn number(file: u64) -> u32 {
    let Some(room) = FILE_ROOM.get_ptr_mut(0) else { return NO_FILE };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        describe(file, room);
        if let Some(known) = FILE_NUMBERS.get_ptr_mut((*room).key)
            && *known & SENT != 0
        {
            return *known as u32;
        }
        introduce(file, room)
    }
}

/// Fills in the key and the record, except for the name.
#[inline(always)]
unsafe fn describe(file: u64, room: *mut Room) {
    // SAFETY: the caller vouches for the room.
    unsafe {
        let inode: u64 = read(file + of::FILE_INODE.load());
        let entry: u64 = read(file + of::FILE_ENTRY.load());
        let filesystem: u64 = read(inode + of::INODE_FILESYSTEM.load());
        let device: u32 = read(filesystem + of::FILESYSTEM_DEVICE.load());
        let mode: u16 = read(inode + of::INODE_MODE.load());
        let hash: u32 = read(entry + of::ENTRY_HASH.load());
        let place: u64 = read(file + of::FILE_MOUNT.load());
        let bucket: u64 = read(entry + of::ENTRY_BUCKET.load());
        let parent: u64 = read(entry + of::ENTRY_PARENT.load());
        let record = &raw mut (*room).record;
        (*record).inode = read(inode + of::INODE_NUMBER.load());
        (*record).device = device;
        (*record).mode = mode.into();
        (*record).flags = 0;
        (*record).name_bytes = 0;
        // What has no parent has no bucket either: the root of a filesystem, and a file that is in no directory.
        if bucket == 0 && parent != entry {
            (*record).flags = DELETED;
        }
        let key = &raw mut (*room).key;
        (*key).device = u64::from(device) | u64::from(hash) << 32;
        (*key).inode = (*record).inode;
        (*key).entry = entry | u64::from(bucket == 0);
        (*key).place = place;
        let addresses = &raw mut (*record).addresses;
        if socket::is_one(mode) {
            socket::read_addresses(file, addresses);
            (*key).place = socket::hash(addresses);
        } else {
            addresses.write_bytes(0, 1);
        }
    }
}

/// Gives a new file a number and sends its name, or sends it again if it did not fit into the ring before.
#[inline(always)]
unsafe fn introduce(file: u64, room: *mut Room) -> u32 {
    // SAFETY: the caller vouches for the room.
    unsafe {
        let number = match FILE_NUMBERS.get_ptr_mut((*room).key) {
            Some(known) => *known as u32,
            None => {
                let Some(number) = next_number() else { return NO_FILE };
                let _ = FILE_NUMBERS.insert((*room).key, u64::from(number), BPF_NOEXIST);
                let Some(known) = FILE_NUMBERS.get_ptr_mut((*room).key) else { return NO_FILE };
                *known as u32 // that of another CPU, if it was faster
            }
        };
        if socket::is_one((*room).record.mode as u16) {
            socket::read_name(file, room);
        } else {
            path::read_name(file, room);
        }
        let record = &raw mut (*room).record;
        let head = RecordHead { kind: RECORD_FILE, depth: 0, space: 0, stack: number };
        (*record).head = core::mem::transmute::<RecordHead, u64>(head);
        let bytes = (&raw const (*record).name_bytes).read_volatile() as u64 & (MAX_NAME_BYTES as u64 - 1);
        if ring::send((&raw const (*record).head).cast(), size_of::<FileRecord>() as u64 + bytes)
            && let Some(known) = FILE_NUMBERS.get_ptr_mut((*room).key)
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

/// Appends a string of the kernel to the name of a file: `bytes` bytes, fewer than [`PART_BYTES`]. Leaves it out if there is no room.
///
/// # Safety
/// `room` is a map value.
#[inline(always)]
unsafe fn append(room: *mut Room, from: u64, bytes: u32) {
    // SAFETY: the masks keep both the place and the length within the name; the helper takes any address.
    unsafe {
        let at = (*room).record.name_bytes;
        let bytes = bytes & (PART_BYTES as u32 - 1);
        if at + bytes >= MAX_NAME_BYTES as u32 {
            (*room).record.flags |= CUT;
            return;
        }
        let to = (&raw mut (*room).name).cast::<u8>().add(at as usize & (MAX_NAME_BYTES - 1));
        if bpf_probe_read_kernel(to.cast(), bytes, from as *const c_void) == 0 {
            (*room).record.name_bytes = at + bytes;
        }
    }
}
