//! Names of system calls and of errors, and which calls of i386 and x32 are which of x86-64.

use profiler_common::call::COMPAT;
use sysno::{Errno, x86, x86_64};

/// Bit of a number: a call of x32.
const X32: u32 = 1 << 30;
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
pub(crate) fn call(call: u64) -> String {
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

/// The x86-64 number of the same call; `None` if x86-64 has no call of that name.
pub(crate) fn native(call: u64) -> Option<u64> {
    if call < X32.into() {
        return Some(call);
    }
    let name = self::call(call);
    let (_, name) = name.split_once(':')?;
    let known = |name: &str| name.parse::<x86_64::Sysno>().ok().map(|known| known.id() as u64);
    // i386 has several forms of some calls: with short and long numbers of files, users and bytes, or with times of 32 and 64 bits.
    let same = match name {
        "_newselect" => "select",
        "fstatat64" => "newfstatat",
        "waitpid" => "wait4",
        "_llseek" => "lseek",
        name => name.strip_suffix("_time64").unwrap_or(name),
    };
    known(same).or_else(|| known(same.strip_suffix("64").or_else(|| same.strip_suffix("32"))?))
}

/// The name of an error: `EAGAIN`; the number if it has no name.
pub(crate) fn error(number: u64) -> String {
    let known = i32::try_from(number).ok().and_then(|number| Errno::new(number).name());
    known.map_or_else(|| format!("error {number}"), str::to_owned)
}

/// A result, with the name of the error if it is one.
pub(crate) fn result(result: i64) -> String {
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

    /// Of i386: poll, futex, _newselect, stat64, clock_gettime64, fstatat64, pread64; of x32: poll, recvfrom.
    #[test]
    fn calls_of_other_kinds_are_known_by_their_names() {
        let of_i386 = [168, 240, 142, 195, 403, 300, 180].map(|call| native(COMPAT | call));
        assert_eq!(of_i386, [7, 202, 23, 4, 228, 262, 17].map(Some));
        let x32 = u64::from(X32);
        assert_eq!([native(x32 | 7), native(x32 | 517)], [Some(7), Some(45)]);
        assert_eq!([native(COMPAT | 7), native(COMPAT | 102)], [Some(61), None], "waitpid, socketcall");
    }
}
