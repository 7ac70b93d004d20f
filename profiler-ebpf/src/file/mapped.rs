//! Files that are mapped into the memory of the current process, by an address in it.

use core::ffi::c_void;

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task_btf,
        generated::{bpf_find_vma, bpf_loop},
    },
};
use profiler_common::file::Unknown;

use super::{path_of, read};

/// `vm_area_struct.vm_file`, in bytes, like the next ones.
#[unsafe(no_mangle)]
static AREA_FILE: Global<u64> = Global::new(0);
/// `file.f_mode`
#[unsafe(no_mangle)]
static FILE_FLAGS: Global<u64> = Global::new(0);
/// `backing_file.user_path`; 0: the kernel does not have it.
#[unsafe(no_mangle)]
static BACKING_PATH: Global<u64> = Global::new(0);

/// `FMODE_BACKING` (include/linux/fs.h), which is another bit since Linux 6.14: the file of a filesystem below an overlay stands in for the one that the
/// process has mapped.
#[unsafe(no_mangle)]
static BACKING: Global<u32> = Global::new(0);
/// How often to try to look while another thread changes the mappings.
const TRIES: u32 = 64;
const EBUSY: i64 = -16;
/// Results below this one are no addresses.
const FIRST_PATH: u64 = 4096;
/// In place of an address: another thread was changing the mappings all the time.
const BUSY: u64 = 1;
/// In place of an address: nothing is mapped there.
const NOTHING: u64 = 2;

/// What the kernel's loop hands to each of its turns.
struct Search {
    address: u64,
    file: u64,
    result: i64,
}

/// The `struct path` of the file that is mapped at an address, for [`find`](super::known::find); 0: memory without a file. See
/// [`why_not`] for other results.
#[inline(never)]
pub fn at(address: u64) -> u64 {
    let mut search = Search { address, file: 0, result: EBUSY };
    // SAFETY: the callback gets a pointer to the search, and the loop ends before this function does.
    let (file, result) = unsafe {
        bpf_loop(TRIES, look as *mut c_void, (&raw mut search).cast(), 0);
        ((&raw const search.file).read_volatile(), (&raw const search.result).read_volatile())
    };
    match result {
        EBUSY => BUSY,
        0 if BACKING_PATH.load() != 0 && read::<u32>(file + FILE_FLAGS.load()) & BACKING.load() != 0 => {
            file + BACKING_PATH.load()
        }
        0 => path_of(file),
        _ => NOTHING,
    }
}

/// Why a result of [`at`] is no path.
#[inline(always)]
pub fn why_not(path: u64) -> Option<Unknown> {
    match path {
        0 | FIRST_PATH.. => None,
        BUSY => Some(Unknown::Busy),
        _ => Some(Unknown::Unmapped),
    }
}

/// Looks once. Returns 1, which ends the loop, unless another thread changes the mappings.
#[inline(never)]
extern "C" fn look(_turn: u32, search: *mut c_void) -> i64 {
    // SAFETY: the search of `at`, which waits for this loop; the callback gets a pointer to it.
    unsafe {
        let address = (*search.cast::<Search>()).address;
        let result =
            bpf_find_vma(bpf_get_current_task_btf().cast(), address, found as *mut c_void, search, 0);
        (*search.cast::<Search>()).result = result;
        i64::from(result != EBUSY)
    }
}

/// Notes the file of an area of memory, which stays as it is meanwhile.
#[inline(never)]
extern "C" fn found(_task: *mut c_void, area: *mut c_void, search: *mut c_void) -> i64 {
    // SAFETY: the search of `look`, which waits for this.
    unsafe { (*search.cast::<Search>()).file = read(area as u64 + AREA_FILE.load()) };
    0
}
