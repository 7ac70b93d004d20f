//! Calls whose result is a number of bytes or of things: these results are added up.

use super::kinds::counts_things;
use crate::kernel::calls::native;

/// By their numbers on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl): read, write, pread64, pwrite64, readv, writev, sendfile, sendto,
/// recvfrom, sendmsg, recvmsg, msgrcv, getdents, getcwd, readlink, getdents64, mq_timedreceive, readlinkat, splice, tee, vmsplice,
/// preadv, pwritev, process_vm_readv, process_vm_writev, getrandom, copy_file_range, preadv2, pwritev2.
const BYTES: [u64; 29] = [
    0, 1, 17, 18, 19, 20, 40, 44, 45, 46, 47, 70, 78, 79, 89, 217, 243, 267, 275, 276, 278, 295, 296, 310,
    311, 318, 326, 327, 328,
];
/// Whether the results of a call are added up.
pub(super) fn is_number(call: u64) -> bool {
    // Calls that return a number of things use the same sum.
    is_number_of_bytes(call) || counts_things(call)
}

fn is_number_of_bytes(call: u64) -> bool {
    native(call).is_some_and(|call| BYTES.contains(&call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::syscalls::kinds::words;

    /// Calls of i386 that return a number of bytes (arch/x86/entry/syscalls/syscall_32.tbl): read, write, readlink, getdents, readv,
    /// writev, pread64, pwrite64, getcwd, sendfile, getdents64, sendfile64, mq_timedreceive, readlinkat, splice, tee, vmsplice, preadv,
    /// pwritev, process_vm_readv, process_vm_writev, getrandom, sendto, sendmsg, recvfrom, recvmsg, copy_file_range, preadv2, pwritev2,
    /// msgrcv, mq_timedreceive_time64.
    const COMPAT_BYTES: [u32; 31] = [
        3, 4, 85, 141, 145, 146, 180, 181, 183, 187, 220, 239, 280, 305, 313, 315, 316, 333, 334, 347, 348,
        355, 369, 370, 371, 372, 377, 378, 379, 401, 419,
    ];

    #[test]
    fn a_call_has_its_bit() {
        let words = words(is_number);
        // Of calls that return a number of things there are ten, and fifteen in i386, which has some twice.
        let bits: u32 = words.map(u64::count_ones).iter().sum();
        assert_eq!(bits as usize, BYTES.len() + COMPAT_BYTES.len() + 10 + 15);
        assert_eq!(words[0] & 0b1111, 0b0011, "read and write, not open and close");
        assert_eq!(words[8] & 0b111_1111, 0b001_1000);
        let has = |call: usize| words[call / 64] >> (call % 64) & 1 == 1;
        assert!(has(512 + 401) && has(202) && has(232) && !has(128));
    }

    #[test]
    fn calls_of_i386_that_return_bytes_have_theirs() {
        let words = words(is_number_of_bytes);
        let missing: Vec<u32> = COMPAT_BYTES
            .into_iter()
            .filter(|call| words[8 + *call as usize / 64] >> (call % 64) & 1 == 0)
            .collect();
        assert_eq!(missing, [0u32; 0]);
    }

    /// futex, futex_time64, poll, epoll_wait, recvmmsg of i386.
    #[test]
    fn calls_of_i386_that_return_a_number_of_things_have_theirs() {
        let words = words(is_number);
        for call in [240, 422, 168, 256, 337] {
            assert_eq!(words[8 + call / 64] >> (call % 64) & 1, 1, "{call}");
        }
    }
}
