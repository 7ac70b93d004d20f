//! Names of system calls and of errors.

use profiler_common::syscalls::COMPAT;
use syscalls::{Errno, x86, x86_64};

/// Bit of a number: a call of x32.
pub(super) const X32: u32 = 1 << 30;
/// Calls that have their own numbers in x32, from 512 on.
const OF_X32: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// The name of a call: `read`, `i386:read`, `x32:read`; the number if it has no name.
pub(super) fn call(call: u64) -> String {
    let number = call as u32;
    if call & COMPAT != 0 {
        return match x86::Sysno::new(number as usize) {
            Some(known) => format!("i386:{}", known.name()),
            None => format!("i386:{}", number.cast_signed()),
        };
    }
    let native = |number: u32| x86_64::Sysno::new(number as usize).map(|known| known.name());
    match native(number) {
        Some(name) => name.to_owned(),
        None if number & X32 != 0 && number.cast_signed() > 0 => {
            let plain = number & !X32;
            let own = || (plain as usize).checked_sub(512).and_then(|at| OF_X32.get(at).copied());
            native(plain).or_else(own).map_or_else(|| format!("x32:{plain}"), |name| format!("x32:{name}"))
        }
        None => format!("call {}", number.cast_signed()),
    }
}

/// The name of an error: `EAGAIN`; the number if it has no name.
pub(super) fn error(number: u64) -> String {
    let known = i32::try_from(number).ok().and_then(|number| Errno::new(number).name());
    known.map_or_else(|| format!("error {number}"), str::to_owned)
}

/// A result, with the name of the error if it is one.
pub(super) fn result(result: i64) -> String {
    match result {
        -4095..=-1 => error(result.unsigned_abs()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_calling_has_its_own_names() {
        assert_eq!([call(0), call(232), call(435)], ["read", "epoll_wait", "clone3"]);
        assert_eq!([call(COMPAT | 3), call(COMPAT | 20)], ["i386:read", "i386:getpid"]);
        assert_eq!(call(u64::from(X32) | 110), "x32:getppid");
        assert_eq!(
            [call(u64::from(X32) | 517), call(u64::from(X32) | 547)],
            ["x32:recvfrom", "x32:pwritev2"]
        );
        assert_eq!(
            [call(600), call(u64::from(u32::MAX)), call(COMPAT | 9_999)],
            ["call 600", "call -1", "i386:9999"]
        );
        assert_eq!([error(11), error(2), error(4_000)], ["EAGAIN", "ENOENT", "error 4000"]);
    }
}
