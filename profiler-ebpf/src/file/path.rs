//! The path of a file, from the root of its mount namespace.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::file::{CUT, DETACHED, MAX_STEPS, UNNAMED};

use super::{Room, append, members as of, read};

/// The way from a file up to the root.
#[repr(C)]
pub(super) struct Steps {
    /// The present position: addresses of a `dentry` and of its `mount`.
    entry: u64,
    mount: u64,
    /// The names on the way so far: addresses in the kernel, and lengths in bytes.
    count: u64,
    names: [u64; MAX_STEPS],
    bytes: [u64; MAX_STEPS],
}

/// What `bpf_loop` (Linux 5.17) hands to each turn. The verifier follows one turn of it, and every turn of a loop of our own.
struct Way {
    room: *mut Room,
}

/// Finds the path, or the kernel's name of a file that is in no directory.
///
/// # Safety
/// `room` is a map value.
#[inline(always)]
pub(super) unsafe fn read_name(file: u64, room: *mut Room) {
    // SAFETY: the caller vouches for the room. The callbacks get a pointer to the way, and the loops end before this function does.
    unsafe {
        let entry: u64 = read(file + of::FILE_ENTRY.load());
        let mount: u64 = read(file + of::FILE_MOUNT.load());
        if read::<u64>(entry + of::ENTRY_PARENT.load()) == entry
            && read::<u64>(mount + of::MOUNT_ROOT.load()) != entry
        {
            (*room).record.flags = UNNAMED;
            append(room, read(entry + of::ENTRY_NAME.load()), read(entry + of::ENTRY_BYTES.load()));
            return;
        }
        let steps = &raw mut (*room).steps;
        (*steps).entry = entry;
        (*steps).mount = mount - of::MOUNT_INNER.load();
        (*steps).count = 0;
        (*room).record.flags |= CUT; // until `climb` has reached the root
        let mut way = Way { room };
        bpf_loop(MAX_STEPS as u32, climb as *mut c_void, (&raw mut way).cast(), 0);
        if (&raw const (*steps).count).read_volatile() == 0 {
            slash(room);
        }
        bpf_loop(MAX_STEPS as u32, descend as *mut c_void, (&raw mut way).cast(), 0);
    }
}

/// Goes one step up. Returns 1 at the root, which ends the loop.
#[inline(never)]
extern "C" fn climb(_turn: u32, way: *mut c_void) -> i64 {
    // SAFETY: the way of `read_name`, which waits for this loop; the mask keeps the index below the number of steps.
    unsafe {
        let room = (*way.cast::<Way>()).room;
        let steps = &raw mut (*room).steps;
        let (entry, mount) = ((*steps).entry, (*steps).mount);
        let root: u64 = read(mount + of::MOUNT_INNER.load() + of::MOUNT_ROOT.load());
        let parent: u64 = read(entry + of::ENTRY_PARENT.load());
        if entry == root {
            let above: u64 = read(mount + of::MOUNT_PARENT.load());
            if above == mount {
                (*room).record.flags &= !CUT;
                return 1;
            }
            (*steps).entry = read(mount + of::MOUNT_POINT.load());
            (*steps).mount = above;
            return 0;
        }
        if parent == entry {
            // The root of the filesystem, but not of the mount, which has only a part of it: the file was moved out of that part.
            (*room).record.flags = (*room).record.flags & !CUT | DETACHED;
            return 1;
        }
        let count = (&raw mut (*steps).count).read_volatile();
        let at = count as usize & (MAX_STEPS - 1);
        (&raw mut (*steps).names).cast::<u64>().add(at).write(read(entry + of::ENTRY_NAME.load()));
        let bytes: u32 = read(entry + of::ENTRY_BYTES.load());
        (&raw mut (*steps).bytes).cast::<u64>().add(at).write(bytes.into());
        (*steps).count = count + 1;
        (*steps).entry = parent;
    }
    0
}

/// Appends the outermost name that is left. Returns 1 if there is none, which ends the loop.
#[inline(never)]
extern "C" fn descend(_turn: u32, way: *mut c_void) -> i64 {
    // SAFETY: as above.
    unsafe {
        let room = (*way.cast::<Way>()).room;
        let steps = &raw mut (*room).steps;
        let count = (&raw const (*steps).count).read_volatile();
        if count == 0 {
            return 1;
        }
        (*steps).count = count - 1;
        let at = (count - 1) as usize & (MAX_STEPS - 1);
        slash(room);
        let name = (&raw const (*steps).names).cast::<u64>().add(at).read();
        let bytes = (&raw const (*steps).bytes).cast::<u64>().add(at).read();
        append(room, name, bytes as u32);
    }
    0
}

#[inline(always)]
unsafe fn slash(room: *mut Room) {
    // SAFETY: the caller vouches for the room; the mask keeps the place within the name.
    unsafe {
        let at = (*room).record.name_bytes as usize & (profiler_common::file::MAX_NAME_BYTES - 1);
        (&raw mut (*room).name).cast::<u8>().add(at).write(b'/');
        (*room).record.name_bytes += 1;
    }
}
