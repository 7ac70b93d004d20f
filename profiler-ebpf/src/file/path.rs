//! The path of a file, as its mount namespace has it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::file::{CUT, DETACHED, MAX_NAME_BYTES, MAX_STEPS, SHORTENED, UNNAMED};

use super::{Room, append, hash, members as of, read};
use crate::FIRST_ERROR;

/// The way from a file up to the root.
#[repr(C)]
pub(super) struct Steps {
    /// Where it has come to: addresses of a `dentry` and of its `mount`.
    entry: u64,
    mount: u64,
    /// A hash of all names and mounts on it.
    hash: u64,
    /// The names on it: addresses in the kernel, and lengths in bytes.
    count: u64,
    names: [u64; MAX_STEPS],
    bytes: [u64; MAX_STEPS],
}

/// What the kernel's loop hands to each of its turns: the verifier looks at one turn (Linux 5.17).
struct Way {
    room: *mut Room,
}

/// Follows the path of a `dentry` in a `vfsmount` up to the root. Returns a hash of what is on it.
///
/// # Safety
/// `room` is a map value.
#[inline(always)]
pub(super) unsafe fn follow(entry: u64, mount: u64, room: *mut Room) -> u64 {
    // SAFETY: the caller vouches for the room. The callback gets a pointer to the way, and the loop ends before this function does.
    unsafe {
        let flags = &raw mut (*room).named.record.flags;
        if read::<u64>(entry + of::ENTRY_PARENT.load()) == entry
            && read::<u64>(mount + of::MOUNT_ROOT.load()) != entry
        {
            *flags = UNNAMED;
            return mount;
        }
        let steps = &raw mut (*room).steps;
        (*steps).entry = entry;
        (*steps).mount = mount - of::MOUNT_INNER.load();
        (*steps).hash = mount;
        (*steps).count = 0;
        *flags |= CUT; // until `climb` has reached the root
        let mut way = Way { room };
        bpf_loop(MAX_STEPS as u32, climb as *mut c_void, (&raw mut way).cast(), 0);
        (&raw const (*steps).hash).read_volatile() ^ (&raw const *flags).read_volatile()
    }
}

/// Goes one step up. Returns 1 at the root, which ends the loop.
#[inline(never)]
extern "C" fn climb(_turn: u32, way: *mut c_void) -> i64 {
    // SAFETY: the way of `follow`, which waits for this loop; the mask keeps the index below the number of steps.
    unsafe {
        let room = (*way.cast::<Way>()).room;
        let flags = &raw mut (*room).named.record.flags;
        let steps = &raw mut (*room).steps;
        let (entry, mount) = ((*steps).entry, (*steps).mount);
        let root: u64 = read(mount + of::MOUNT_INNER.load() + of::MOUNT_ROOT.load());
        let parent: u64 = read(entry + of::ENTRY_PARENT.load());
        if entry == root {
            let above: u64 = read(mount + of::MOUNT_PARENT.load());
            if above == mount {
                // The root of a mount namespace, or a mount that was taken out of its own.
                let namespace: u64 = read(mount + of::MOUNT_NAMESPACE.load());
                let detached = if namespace == 0 || namespace >= FIRST_ERROR { DETACHED } else { 0 };
                *flags = *flags & !CUT | detached;
                return 1;
            }
            (*steps).entry = read(mount + of::MOUNT_POINT.load());
            (*steps).mount = above;
            (*steps).hash = hash((*steps).hash, above);
            return 0;
        }
        if parent == entry {
            // The root of the filesystem, but not of the mount, which has only a part of it: the file was moved out of that part.
            *flags = *flags & !CUT | DETACHED;
            return 1;
        }
        let count = (&raw mut (*steps).count).read_volatile();
        let at = count as usize & (MAX_STEPS - 1);
        (&raw mut (*steps).names).cast::<u64>().add(at).write(read(entry + of::ENTRY_NAME.load()));
        let bytes: u32 = read(entry + of::ENTRY_BYTES.load());
        (&raw mut (*steps).bytes).cast::<u64>().add(at).write(bytes.into());
        let name: u32 = read(entry + of::ENTRY_HASH.load());
        (*steps).hash = hash(hash((*steps).hash, entry), name.into());
        (*steps).count = count + 1;
        (*steps).entry = parent;
    }
    0
}

/// Puts the path of that `dentry` together.
///
/// # Safety
/// `room` is a map value, and [`follow`] has filled it in.
#[inline(always)]
pub(super) unsafe fn read_name(entry: u64, room: *mut Room) {
    // SAFETY: as in `follow`.
    unsafe {
        let named = &raw mut (*room).named;
        if (*named).record.flags & UNNAMED != 0 {
            append(named, read(entry + of::ENTRY_NAME.load()), read(entry + of::ENTRY_BYTES.load()));
            return;
        }
        if (&raw const (*room).steps.count).read_volatile() == 0 {
            (&raw mut (*named).name).cast::<u8>().write(b'/');
            (*named).record.name_bytes = 1;
        }
        let mut way = Way { room };
        bpf_loop(MAX_STEPS as u32, descend as *mut c_void, (&raw mut way).cast(), 0);
    }
}

/// Appends the outermost name that is left. Returns 1, which ends the loop, if there is none, or no room for it.
#[inline(never)]
extern "C" fn descend(_turn: u32, way: *mut c_void) -> i64 {
    // SAFETY: the way of `read_name`, which waits for this loop; the masks keep the index below the number of steps, and the place within
    // the name.
    unsafe {
        let room = (*way.cast::<Way>()).room;
        let named = &raw mut (*room).named;
        let steps = &raw mut (*room).steps;
        let count = (&raw const (*steps).count).read_volatile();
        if count == 0 {
            return 1;
        }
        (*steps).count = count - 1;
        let at = (count - 1) as usize & (MAX_STEPS - 1);
        let name = (&raw const (*steps).names).cast::<u64>().add(at).read();
        let bytes = (&raw const (*steps).bytes).cast::<u64>().add(at).read();
        let end = (*named).record.name_bytes;
        (&raw mut (*named).name).cast::<u8>().add(end as usize & (MAX_NAME_BYTES - 1)).write(b'/');
        (*named).record.name_bytes = end + 1;
        if !append(named, name, bytes as u32) {
            (*named).record.name_bytes = end;
            (*named).record.flags |= SHORTENED;
            return 1;
        }
    }
    0
}
