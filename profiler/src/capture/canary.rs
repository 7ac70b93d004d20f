//! The canary: a child of ours that is probed first where a probe could kill the target.
//!
//! On x86-64 a return probe may enter the kernel through a system call of its own (Linux 6.11). A seccomp filter that
//! does not know this call kills the process; later kernels let it pass. The version does not say which it is, because
//! the fix was backported. So a child under a strict filter calls a function that is probed like the target's
//! functions, and has to survive.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    object::Object,
    own_code::{OWN_EXECUTABLE, own_offset},
    uprobe::{Attacher, ProbeSite},
};
use crate::{
    error::{Error, ErrorKind, Result},
    target::process::Process,
};

/// The hidden first argument that makes our executable a canary.
pub const CANARY_ARGUMENT: &str = "__canary";
/// Calls that a canary makes.
const CALLS: u64 = 100;
/// Longest life of a canary. One that takes longer is stuck, which counts as dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// A canary that waits before its calls.
#[derive(Debug)]
struct Canary {
    child: Child,
    process: Process,
    /// Offset in our executable of the function that it will call.
    offset: u64,
}

impl Canary {
    /// Starts one.
    fn start() -> Result<Canary> {
        let tried = || Error::new(ErrorKind::Safety, "tried to start a process to test probes on");
        let offset = own_offset(called as extern "C" fn(u64) -> u64 as usize)?;
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

    /// Has it make its calls under a strict filter. True if it survived.
    fn survives(mut self) -> bool {
        let gate = self.child.stdin.take();
        let let_go = gate.is_some_and(|mut gate| gate.write_all(b"g").is_ok());
        let ended = let_go && self.process.wait(PATIENCE);
        if !ended {
            // It is our own child, and must not be left behind.
            let _ = self.child.kill();
        }
        self.child.wait().is_ok_and(|status| status.success())
    }
}

/// Follows the calls of a canary as those of a target would be followed. `seen` returns how many returns were seen.
///
/// # Errors
/// If it dies, or if its calls are not counted exactly.
pub(crate) fn follow(
    object: &Object,
    mut attacher: Attacher,
    cookie: u64,
    seen: impl FnOnce() -> Result<u64>,
) -> Result<()> {
    let refused = |cause: String| {
        Error::new(ErrorKind::Safety, "tried the probes on a process of our own under a seccomp filter")
            .because(cause)
            .hint("update the kernel: Linux 6.11 to 6.13 need the fix that lets return probes pass seccomp")
    };
    let canary = Canary::start()?;
    let site = ProbeSite { offset: canary.offset, cookie };
    let links = attacher.follow(object, Path::new(OWN_EXECUTABLE), canary.process.pid(), &[site])?;
    let survived = canary.survives();
    drop(links);
    if !survived {
        return Err(refused(
            "it was killed: return probes are not safe for filtered processes here".to_owned(),
        ));
    }
    match seen()? {
        CALLS => Ok(()),
        seen => Err(refused(format!("{seen} of its {CALLS} calls were seen"))),
    }
}

/// The function that a canary calls. Every kernel emulates its first instruction, as with most allocators.
#[inline(never)]
pub extern "C" fn called(n: u64) -> u64 {
    // Work that the compiler cannot remove, so that every call is made.
    std::hint::black_box(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// The child's side: waits, installs the filter, makes the calls, and ends. The exit code says whether it got so far.
pub fn be_canary(_arguments: impl Iterator<Item = OsString>) -> std::process::ExitCode {
    let mut go = [0u8];
    if std::io::stdin().read_exact(&mut go).is_err() || !install_filter() {
        return std::process::ExitCode::FAILURE;
    }
    let mut note = 1;
    for _ in 0..CALLS {
        note = std::hint::black_box(called as extern "C" fn(u64) -> u64)(note);
    }
    let code = i32::from(note == 0);
    // SAFETY: ends this process; the filter allows no other system call.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    std::process::ExitCode::FAILURE
}

/// Installs a filter that kills at every system call except `exit_group`.
fn install_filter() -> bool {
    // Values of linux/bpf_common.h and linux/seccomp.h: load the number of the call, compare, allow or kill.
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
    // SAFETY: changes what this process may do. The program lives until the call has copied it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
