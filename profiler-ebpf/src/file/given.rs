//! Numbers of paths that calls name: what is there may not exist, or no longer.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user, bpf_probe_read_user_str};
use profiler_common::{
    file::{GIVEN, MAX_NAME_BYTES, NO_FILE, Unknown},
    io::{OF_OTHER_KIND, unknown},
};

use super::{FILE_ROOM, Room, clear, hash, introduce};

/// Bytes that one turn of the kernel's loop adds to a hash.
const WORD: u32 = size_of::<u64>() as u32;
/// The device in the key of such a path: no filesystem has this number.
const OF_NONE: u64 = u64::MAX;

/// In place of a number: the path is empty.
pub const EMPTY: u32 = u32::MAX - 2;

/// What the kernel's loop hands to each of its turns.
struct Sum {
    room: *mut Room,
    bytes: u32,
    hash: u64,
}

/// Whether a path of the current process begins in a directory.
#[inline(always)]
pub fn is_relative(address: u64) -> bool {
    let mut first = 0u8;
    // SAFETY: the helper takes any address.
    unsafe { bpf_probe_read_user((&raw mut first).cast(), 1, address as *const c_void) == 0 && first != b'/' }
}

/// The number of the path at an address of the current process, [`EMPTY`], or why there is none. A relative path begins in the directory
/// of this number.
#[inline(never)]
pub fn number(address: u64, directory: u32) -> u32 {
    let Some(room) = FILE_ROOM.get_ptr_mut(0) else { return NO_FILE };
    // SAFETY: as above.
    unsafe {
        let name = (&raw mut (*room).named.name).cast::<u8>();
        let read = bpf_probe_read_user_str(name.cast(), MAX_NAME_BYTES as u32, address as *const c_void);
        match read {
            // For a path without any other byte than the zero at its end, kernels say 0 or 1.
            0 | 1 => return EMPTY,
            2.. => {}
            _ => return unknown(Unknown::Unread),
        }
        let directory =
            if name.read_volatile() == b'/' || directory == OF_OTHER_KIND { 0 } else { directory };
        // Without the zero byte at the end.
        let bytes = (read as u32 - 1) & (MAX_NAME_BYTES as u32 - 1);
        let mut sum = Sum { room, bytes, hash: directory.into() };
        bpf_loop(bytes.div_ceil(WORD), add as *mut c_void, (&raw mut sum).cast(), 0);
        let record = &raw mut (*room).named.record;
        clear(&raw mut (*record).addresses);
        (*record).inode = directory.into();
        (*record).mode = 0;
        (*record).flags = GIVEN;
        (*record).name_bytes = bytes;
        let key = &raw mut (*room).named.key;
        (*key).device = OF_NONE;
        (*key).inode = directory.into();
        (*key).entry = bytes.into();
        (*key).place = (&raw const sum.hash).read_volatile();
        introduce(&raw mut (*room).named)
    }
}

/// Adds eight bytes.
#[inline(never)]
extern "C" fn add(turn: u32, sum: *mut c_void) -> i64 {
    // SAFETY: the sum of `number`, which waits for this loop; the mask keeps the place within the name.
    unsafe {
        let sum = sum.cast::<Sum>();
        let at = turn * WORD;
        let name = (&raw const (*(*sum).room).named.name).cast::<u8>();
        let word = name.add(at as usize & (MAX_NAME_BYTES - 1) & !7).cast::<u64>().read_unaligned();
        let left = (*sum).bytes.wrapping_sub(at);
        let mask = if left >= WORD { u64::MAX } else { (1u64 << ((left * 8) & 63)) - 1 };
        (*sum).hash = hash((*sum).hash, word & mask);
    }
    0
}
