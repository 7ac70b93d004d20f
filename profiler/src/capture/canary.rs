//! The canary: a child of ours that is probed first, where a probe could kill.
//!
//! On x86-64 a return probe may enter the kernel through a system call of its own (Linux 6.11), which a seccomp filter
//! that does not know it answers by killing the process; later kernels let it pass. Versions do not tell (the fix was
//! backported), so a child under a strict filter tries it out: it calls a function that is probed as the target's
//! functions would be, and has to live.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::own_code::{OWN_EXECUTABLE, own_offset};
use crate::{
    error::{Error, ErrorKind, Result},
    target::process::Process,
};

/// The hidden first argument that makes our executable a canary.
pub const CANARY_ARGUMENT: &str = "__canary";
/// Calls that a canary makes.
pub(crate) const CALLS: u64 = 100;
/// A canary that takes longer is stuck, which is as bad as dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// A canary that waits to be let go.
#[derive(Debug)]
pub(crate) struct Canary {
    child: Child,
    pub(crate) process: Process,
    /// Offset of the function that it will call, in our own executable.
    pub(crate) offset: u64,
}

impl Canary {
    /// Starts one.
    pub(crate) fn start() -> Result<Canary> {
        let tried = || Error::new(ErrorKind::Safety, "tried to start a process to test probes on");
        let offset = own_offset(sing as extern "C" fn(u64) -> u64 as usize)?;
        let child = Command::new(OWN_EXECUTABLE)
            .arg(CANARY_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| tried().because_of(e))?;
        let process = Process::open(child.id())?;
        Ok(Canary { child, process, offset })
    }

    /// Lets it make its calls under a strict filter, and says whether it lived.
    pub(crate) fn sings(mut self) -> bool {
        let gate = self.child.stdin.take();
        let let_go = gate.is_some_and(|mut gate| gate.write_all(b"g").is_ok());
        let ended = let_go && self.process.wait(PATIENCE);
        if !ended {
            // It is our own child; nothing else may be left behind.
            let _ = self.child.kill();
        }
        self.child.wait().is_ok_and(|status| status.success())
    }
}

/// The function that a canary calls. Its first instruction is one that every kernel emulates, as an allocator's is.
#[inline(never)]
pub extern "C" fn sing(n: u64) -> u64 {
    // Work that cannot be folded away, so that every call is made.
    std::hint::black_box(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// The child's side: waits, locks itself in, calls, and ends. The exit code tells.
pub fn be_canary(_arguments: impl Iterator<Item = OsString>) -> std::process::ExitCode {
    let mut go = [0u8];
    if std::io::stdin().read_exact(&mut go).is_err() || !lock_in() {
        return std::process::ExitCode::FAILURE;
    }
    let mut note = 1;
    for _ in 0..CALLS {
        note = std::hint::black_box(sing as extern "C" fn(u64) -> u64)(note);
    }
    let code = i32::from(note == 0);
    // SAFETY: ends this process; nothing else is allowed any more.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    std::process::ExitCode::FAILURE
}

/// Installs a filter that kills at every system call but `exit_group`.
fn lock_in() -> bool {
    // Values of linux/bpf_common.h, linux/seccomp.h: load the call's number, compare, allow or kill.
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const KILL_PROCESS: u32 = 0x8000_0000;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        instruction(LOAD_WORD, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 1, libc::SYS_exit_group as u32),
        instruction(RETURN, 0, 0, ALLOW),
        instruction(RETURN, 0, 0, KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: changes what this process may do; the program lives until the call has copied it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
