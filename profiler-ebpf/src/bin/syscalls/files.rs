//! Which files a call uses: what its descriptors referred to when it began, what it has opened, or the path that it names.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_probe_read_user_str};
use profiler_common::{
    file::{LEAST_POLL_NS, MAX_NAME_BYTES, MAX_OF_CALL, MAX_WATCHED, Unknown, calls::FileUse},
    syscalls::{NO_PATH, Thread},
};
use profiler_ebpf::{
    FIRST_ERROR,
    call::argument,
    file::{
        self, File,
        watched::{Known, watched},
    },
};

use crate::maps::{FILES, Listed, Sought, file_use};

/// `connect` of x86-64.
const CONNECT: u64 = 42;
/// io_uring_enter, on x86-64 and i386.
const RING_ENTER: u32 = 426;
/// In the fourth argument of io_uring_enter: `IORING_ENTER_REGISTERED_RING` (include/uapi/linux/io_uring.h).
const REGISTERED: u64 = 1 << 4;
/// In the second of io_uring_register: `IORING_REGISTER_USE_REGISTERED_RING`.
const USE_REGISTERED: u64 = 1 << 31;
/// In place of a descriptor: the working directory (include/uapi/linux/fcntl.h).
const AT_FDCWD: u32 = -100i32 as u32;
/// Beside a descriptor: the call has opened it.
const IS_OPENED: u64 = 1 << 32;
/// In the fourth argument of `mmap`: `MAP_ANONYMOUS` (include/uapi/asm-generic/mman-common.h).
const ANONYMOUS: u64 = 0x20;

/// The first file that a call uses, as its arguments have it now, as `file::of_descriptor` gives it. It takes a [`FileUse`] as a number.
#[inline(never)]
fn first(call: u64, used: u64) -> u64 {
    let used = FileUse::of_bits(used);
    if used.descriptor() == 0 {
        return if used.path() != 0 { file::working_directory() } else { 0 };
    }
    let descriptor = argument(call, used.descriptor()) as u32;
    if used.path() != 0 && descriptor == AT_FDCWD {
        return file::working_directory();
    }
    if used.is_of_ring() && names_registered_ring(call) {
        return file::registered_ring(descriptor);
    }
    file::of_descriptor(descriptor)
}

/// Whether a call of io_uring has the number of a registered ring in place of a descriptor.
#[inline(always)]
fn names_registered_ring(call: u64) -> bool {
    if call as u32 == RING_ENTER {
        argument(call, 4) & REGISTERED != 0
    } else {
        argument(call, 2) & USE_REGISTERED != 0
    }
}

/// Notes the files of a call that begins.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn note(thread: *mut Thread, call: u64) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).file = 0;
        (*thread).second = 0;
        (*thread).kept = 0;
        (*thread).no_file = Unknown::NoFile as u32;
        let used = file_use(call);
        if used == FileUse::NONE || used.maps() && argument(call, 4) & ANONYMOUS != 0 {
            return;
        }
        let found = File::at(first(call, used.bits()));
        if used.closes() {
            return keep(thread, argument(call, used.descriptor()) as u32, found);
        }
        (*thread).file = found.path;
        (*thread).inode = found.inode;
        if found.path == 0 && used.descriptor() != 0 {
            (*thread).no_file = Unknown::Closed as u32;
        }
        if used.second() != 0 {
            let other = File::at(file::of_descriptor(argument(call, used.second()) as u32));
            (*thread).second = other.path;
            (*thread).second_inode = other.inode;
        }
    }
}

/// Keeps the name of a file that the call closes. It takes as long as a walk, and counts as one. Another thread may close the descriptor
/// while the name is read, so it is looked up again.
#[inline(always)]
unsafe fn keep(thread: *mut Thread, descriptor: u32, found: File) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        if found.path == 0 {
            (*thread).no_file = Unknown::Closed as u32;
            return;
        }
        let begun_ns = bpf_ktime_get_ns();
        let kept = file::keep(found, (*thread).tid);
        let changed = File::at(file::of_descriptor(descriptor)) != found;
        (*thread).walk_ns += bpf_ktime_get_ns() - begun_ns;
        if changed {
            (*thread).no_file = Unknown::Changed as u32;
        } else if kept == 0 {
            (*thread).no_file = Unknown::Full as u32;
        } else {
            (*thread).kept = 1;
        }
    }
}

/// Reads the path that the call that has just returned names, unless it has opened the file. Some calls have the file of a descriptor if
/// the path is missing or empty.
///
/// # Safety
/// `listed` is a map value with the call and its result.
#[inline(always)]
pub(crate) unsafe fn read_path(listed: *mut Listed) {
    // SAFETY: the caller vouches for the value; the helper takes any address, and reads no more than there is room for.
    unsafe {
        let slow = &raw mut (*listed).call;
        let used = file_use((*slow).call);
        if FILES.load() == 0 || used.path() == 0 || used.opens() && (*slow).result < FIRST_ERROR {
            return;
        }
        let path = argument((*slow).call, used.path());
        if path == 0 {
            return;
        }
        let to = (&raw mut (*listed).path).cast::<c_void>();
        let bytes = bpf_probe_read_user_str(to, MAX_NAME_BYTES as u32, path as *const c_void);
        if bytes < 0 {
            (*slow).path_bytes = NO_PATH;
        }
        // Without the zero byte at the end. For a path without any other byte, kernels say 0 or 1.
        if bytes > 1 {
            (*slow).path_bytes = bytes as u32 - 1;
        }
    }
}

/// Finds the numbers of the files of the call that has just returned, or why the first is not known. Of a call that names a path, that is the
/// directory in which a relative path begins.
///
/// # Safety
/// `thread` is the record of the current thread, `listed` a map value with its call and result.
#[inline(always)]
pub(crate) unsafe fn find(thread: *mut Thread, listed: *mut Listed) {
    // SAFETY: the caller vouches for both. The callback gets a pointer to what is sought, and the loop ends before this function does.
    unsafe {
        let slow = &raw mut (*listed).call;
        if FILES.load() == 0 {
            (*slow).no_file = Unknown::Refused as u32;
            return;
        }
        (*slow).no_file = (*thread).no_file;
        if (*thread).kept != 0 {
            (*slow).no_file = Unknown::Full as u32;
            (&raw mut (*slow).files).cast::<u32>().write(file::kept((*thread).tid));
            return;
        }
        let (call, result) = ((*slow).call, (*slow).result);
        let used = file_use(call);
        let sought = (&raw mut (*listed).sought).cast::<Sought>();
        *sought = Sought { path: (*thread).file, inode: (*thread).inode, descriptor: 0, number: 0 };
        (*listed).peer = if call == CONNECT { argument(call, 2) } else { 0 };
        if used.opens() && result < FIRST_ERROR {
            let File { path, inode } = File::at(file::of_descriptor(result as u32));
            *sought = Sought { path, inode, descriptor: IS_OPENED | result, number: 0 };
            (*slow).no_file = Unknown::Changed as u32;
        }
        let descriptor = argument(call, used.second());
        *sought.add(1) =
            Sought { path: (*thread).second, inode: (*thread).second_inode, descriptor, number: 0 };
        let mut search = Search { listed };
        for at in 2..MAX_OF_CALL {
            (*sought.add(at)).path = 0;
        }
        if used.polls() && (*slow).duration_ns >= LEAST_POLL_NS {
            watch(listed);
        }
        bpf_loop(MAX_OF_CALL as u32, name as *mut c_void, (&raw mut search).cast(), 0);
    }
}

/// Looks for the files that the epoll of the call watches.
#[inline(always)]
unsafe fn watch(listed: *mut Listed) {
    // SAFETY: the caller vouches for the value; there is room for as many files.
    unsafe {
        let sought = (&raw mut (*listed).sought).cast::<Sought>();
        let Sought { path, inode, .. } = *sought;
        let of = &raw mut (*listed).watched;
        (&raw mut (*of).first).write_bytes(0, 1);
        watched(File { path, inode }, of);
        let slow = &raw mut (*listed).call;
        (*slow).watched = (*of).count as u32;
        (*slow).watches_more = ((*of).node != 0).into();
        for at in 0..MAX_WATCHED {
            let Known { file, descriptor } = *(&raw const (*of).first).cast::<Known>().add(at);
            *sought.add(2 + at) = Sought { path: file.path, inode: file.inode, descriptor, number: 0 };
        }
    }
}

/// What the kernel's loop hands to each of its turns: the verifier looks at one turn.
struct Search {
    listed: *mut Listed,
}

/// Finds the number of one of the files. It may be closed, and another be opened, at any time: before its name is read, and while it is. The
/// steps hand over what they find in the map, of which the verifier does not keep track: it follows the search for a name once.
#[inline(never)]
extern "C" fn name(turn: u32, search: *mut c_void) -> i64 {
    // SAFETY: the search of `find`, which waits for this loop.
    unsafe {
        let search = search.cast::<Search>();
        (&raw mut (*(*search).listed).at).write_volatile(turn.into());
        if is_there(search) == 0 {
            return 0;
        }
        let sought = sought((*search).listed);
        let number =
            file::number(File { path: (*sought).path, inode: (*sought).inode }, (*(*search).listed).peer);
        (*sought).number = number.into();
        if is_there(search) != 0 {
            settle((*search).listed);
        }
    }
    0
}

/// Which of the files is sought.
#[inline(always)]
unsafe fn place(listed: *mut Listed) -> usize {
    // SAFETY: the caller vouches for the value.
    unsafe { (&raw const (*listed).at).read_volatile() as usize & (MAX_OF_CALL - 1) }
}

/// That file.
#[inline(always)]
unsafe fn sought(listed: *mut Listed) -> *mut Sought {
    // SAFETY: the caller vouches for the value.
    unsafe { (&raw mut (*listed).sought).cast::<Sought>().add(place(listed)) }
}

/// Whether a file is the same as when the call began, or when it had opened it.
#[inline(never)]
unsafe fn is_there(search: *mut Search) -> u64 {
    // SAFETY: the caller vouches for the search.
    unsafe {
        let listed = (*search).listed;
        let Sought { path, inode, descriptor, .. } = *sought(listed);
        if path == 0 {
            return 0;
        }
        let call = (&raw const (*listed).call.call).read_volatile();
        let now = if place(listed) == 0 && descriptor & IS_OPENED == 0 {
            first(call, file_use(call).bits())
        } else {
            file::of_descriptor(descriptor as u32)
        };
        let is_same = File::at(now) == File { path, inode };
        if place(listed) == 0 && !is_same {
            (*listed).call.no_file = Unknown::Changed as u32;
        }
        u64::from(is_same)
    }
}

/// Writes the number of a file into the record.
#[inline(always)]
unsafe fn settle(listed: *mut Listed) {
    // SAFETY: as in `sought`.
    unsafe {
        let number = (*sought(listed)).number as u32;
        let slow = &raw mut (*listed).call;
        (&raw mut (*slow).files).cast::<u32>().add(place(listed)).write(number);
        if place(listed) == 0 {
            (*slow).no_file = Unknown::Full as u32; // which holds if the number is 0
        }
    }
}
