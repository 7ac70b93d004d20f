//! Ways of attaching, tried on a function of our own that is never called.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use super::{
    calibration::quiet_function,
    own_code::{OWN_EXECUTABLE, own_offset},
    uprobe::Method,
};
use crate::kernel::{
    bpf::{self, MultiKind, ProgramKind},
    perf,
};

/// `r0 = 0; exit`
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// Attaches an empty program in this way, and detaches it again.
pub(crate) fn attach(method: Method) -> io::Result<()> {
    let offset = own_offset(quiet_function()).map_err(io::Error::other)?;
    let (exe, pid) = (Path::new(OWN_EXECUTABLE), std::process::id());
    let multi = |kind| -> io::Result<OwnedFd> {
        let program = bpf::load_bare(ProgramKind::Multi(kind), &NOTHING, &mut [])?;
        bpf::link_uprobe_multi(program.as_fd(), kind, false, exe, &[(offset, 0)], pid)
    };
    match method {
        Method::Session => multi(MultiKind::Session).map(drop),
        Method::Multi => multi(MultiKind::Multi).map(drop),
        Method::Perf => {
            let program = bpf::load_bare(ProgramKind::Perf, &NOTHING, &mut [])?;
            let event = perf::open_uprobe(exe, offset, false, pid)?;
            bpf::link_perf_event(program.as_fd(), event.as_fd(), 0).map(drop)
        }
    }
}

/// Attaches an empty program to the tracepoint of execs, and detaches it again.
pub(crate) fn exec_tracepoint() -> io::Result<()> {
    let program = bpf::load_bare(ProgramKind::Tracepoint, &NOTHING, &mut [])?;
    bpf::open_tracepoint(program.as_fd(), c"sched_process_exec").map(drop)
}
