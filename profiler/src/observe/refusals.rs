//! Processes that cannot be observed, whatever the tool is.

use std::time::Duration;

use crate::{
    capture::object::explain,
    error::{Error, ErrorKind},
    target::process::Process,
};

/// Its memory map cannot be read.
pub(crate) fn unreadable(process: &Process, error: std::io::Error) -> Error {
    let pid = process.pid();
    // A process that ends gives up its memory a moment before its end can be seen.
    let gone = matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT));
    if process.wait(Duration::from_millis(if gone { 100 } else { 0 })) {
        return Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
            .because("it has ended")
            .hint("to observe a command from its start, give it behind -- in place of --pid");
    }
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) {
        return explain(
            Error::new(ErrorKind::Limit, format_args!("tried to read what process {pid} maps")),
            error,
        );
    }
    let forbidden = error.kind() == std::io::ErrorKind::PermissionDenied;
    let denied = Error::new(ErrorKind::Permission, format_args!("tried to read what process {pid} maps"))
        .because_of(error);
    if rustix::process::geteuid().is_root() && forbidden {
        return denied
            .because("it is kept from this root: profiler is in a container, or a security module forbids it")
            .hint(format_args!(
                "run profiler on the host; `profiler doctor --pid {pid}` shows what is missing"
            ));
    }
    denied.hint("run as root: sudo profiler ...")
}

/// It became another program while it was examined.
pub(crate) fn replaces_itself(pid: u32) -> Error {
    Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
        .because("it replaced itself by exec before probes could be attached")
        .hint("try again once it runs, or observe it from its start: give the command behind -- in place of --pid")
}
