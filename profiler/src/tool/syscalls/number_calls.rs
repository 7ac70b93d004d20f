//! Calls whose result is a number of bytes, or of things: their results are added up.

use profiler_common::syscalls::COMPAT as COMPAT_CALL;

use super::kinds::counts_things;

/// By their numbers on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl): read, write, pread64, pwrite64, readv, writev, sendfile, sendto,
/// recvfrom, sendmsg, recvmsg, msgrcv, getdents, getcwd, readlink, getdents64, mq_timedreceive, readlinkat, splice, tee, vmsplice,
/// preadv, pwritev, process_vm_readv, process_vm_writev, getrandom, copy_file_range, preadv2, pwritev2.
const NATIVE: [u32; 29] = [
    0, 1, 17, 18, 19, 20, 40, 44, 45, 46, 47, 70, 78, 79, 89, 217, 243, 267, 275, 276, 278, 295, 296, 310,
    311, 318, 326, 327, 328,
];
/// The same by their numbers on i386 (syscall_32.tbl): read, write, readlink, getdents, readv, writev, pread64, pwrite64, getcwd,
/// sendfile, getdents64, sendfile64, mq_timedreceive, readlinkat, splice, tee, vmsplice, preadv, pwritev, process_vm_readv,
/// process_vm_writev, getrandom, sendto, sendmsg, recvfrom, recvmsg, copy_file_range, preadv2, pwritev2, msgrcv.
const COMPAT: [u32; 30] = [
    3, 4, 85, 141, 145, 146, 180, 181, 183, 187, 220, 239, 280, 305, 313, 315, 316, 333, 334, 347, 348, 355,
    369, 370, 371, 372, 377, 378, 379, 401,
];

/// The words of the kernel side's map: a bit for each call, eight words for native calls and eight for those of i386.
pub(super) fn words() -> [u64; 16] {
    let mut words = [0; 16];
    for (first, calls) in [(0, NATIVE.as_slice()), (8, COMPAT.as_slice())] {
        for call in calls {
            words[first + *call as usize / 64] |= 1 << (call % 64);
        }
    }
    // The same sum serves calls that return a number of things.
    for (first, kind) in [(0, 0), (8, COMPAT_CALL)] {
        for call in (0..512u64).filter(|call| counts_things(kind | call)) {
            words[first + call as usize / 64] |= 1 << (call % 64);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_bit() {
        let words = words();
        // Of calls that return a number of things there are ten, and fifteen in i386, which has some twice.
        assert_eq!(
            words.map(u64::count_ones).iter().sum::<u32>() as usize,
            NATIVE.len() + COMPAT.len() + 10 + 15
        );
        assert_eq!(words[0] & 0b1111, 0b0011, "read and write, not open and close");
        assert_eq!(words[8] & 0b111_1111, 0b001_1000);
        let has = |call: usize| words[call / 64] >> (call % 64) & 1 == 1;
        assert!(has(512 + 401) && has(202) && has(232) && !has(128));
    }

    /// futex, futex_time64, poll, epoll_wait, recvmmsg of i386.
    #[test]
    fn calls_of_i386_that_return_a_number_of_things_have_theirs() {
        let words = words();
        for call in [240, 422, 168, 256, 337] {
            assert_eq!(words[8 + call / 64] >> (call % 64) & 1, 1, "{call}");
        }
    }
}
