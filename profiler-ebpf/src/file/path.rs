//! The path of a file, as its mount namespace has it.

use profiler_common::file::{CUT, DETACHED, MAX_STEPS, UNNAMED};

use super::{Room, append, members as of, read};

/// The names on the way from a file up to the root: addresses in the kernel, and lengths in bytes.
#[repr(C)]
pub(super) struct Steps {
    count: u64,
    names: [u64; MAX_STEPS],
    bytes: [u64; MAX_STEPS],
}

/// Finds the path.
///
/// # Safety
/// `room` is a map value.
#[inline(always)]
pub(super) unsafe fn read_name(file: u64, room: *mut Room) {
    // SAFETY: the caller vouches for the room.
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
        climb(entry, mount - of::MOUNT_INNER.load(), room);
        descend(room);
    }
}

/// Notes the names on the way up.
#[inline(always)]
unsafe fn climb(mut entry: u64, mut mount: u64, room: *mut Room) {
    // SAFETY: the caller vouches for the room; the index is below the number of steps.
    unsafe {
        let steps = &raw mut (*room).steps;
        // In memory: the verifier would follow each step once for every number of names before it.
        let count = &raw mut (*steps).count;
        count.write_volatile(0);
        for _ in 0..MAX_STEPS {
            let root: u64 = read(mount + of::MOUNT_INNER.load() + of::MOUNT_ROOT.load());
            let parent: u64 = read(entry + of::ENTRY_PARENT.load());
            if entry == root {
                let above: u64 = read(mount + of::MOUNT_PARENT.load());
                if above == mount {
                    return;
                }
                entry = read(mount + of::MOUNT_POINT.load());
                mount = above;
                continue;
            }
            if parent == entry {
                // The root of a filesystem that is not that of the mount.
                (*room).record.flags |= DETACHED;
                return;
            }
            let at = count.read_volatile() as usize & (MAX_STEPS - 1);
            (&raw mut (*steps).names).cast::<u64>().add(at).write(read(entry + of::ENTRY_NAME.load()));
            let bytes: u32 = read(entry + of::ENTRY_BYTES.load());
            (&raw mut (*steps).bytes).cast::<u64>().add(at).write(bytes.into());
            count.write_volatile(count.read_volatile() + 1);
            entry = parent;
        }
        (*room).record.flags |= CUT;
    }
}

/// Puts the names together, the outermost first.
#[inline(always)]
unsafe fn descend(room: *mut Room) {
    const SLASH: &[u8; 1] = b"/";
    // SAFETY: the caller vouches for the room; the mask keeps the index within the steps, and the place within the name.
    unsafe {
        let steps = &raw const (*room).steps;
        let count = (&raw const (*steps).count).read_volatile();
        if count == 0 {
            slash(room, SLASH[0]);
        }
        for step in 0..MAX_STEPS as u64 {
            if step >= count {
                break;
            }
            let at = (count - 1 - step) as usize & (MAX_STEPS - 1);
            slash(room, SLASH[0]);
            let name = (&raw const (*steps).names).cast::<u64>().add(at).read();
            let bytes = (&raw const (*steps).bytes).cast::<u64>().add(at).read();
            append(room, name, bytes as u32);
        }
    }
}

#[inline(always)]
unsafe fn slash(room: *mut Room, slash: u8) {
    // SAFETY: the caller vouches for the room; the mask keeps the place within the name.
    unsafe {
        let at = (*room).record.name_bytes as usize & (profiler_common::file::MAX_NAME_BYTES - 1);
        (&raw mut (*room).name).cast::<u8>().add(at).write(slash);
        (*room).record.name_bytes += 1;
    }
}
