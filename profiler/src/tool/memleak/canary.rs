//! Trying the probes on a canary before they are put into a target that a seccomp filter watches.

use std::path::Path;

use profiler_common::{
    memleak::{
        cookie::{Cookie, From},
        counters::Counter,
    },
    space::{MAX_SPACES, Space as WireSpace},
};

use super::{load::load_small, tool::PROGRAMS, totals};
use crate::{
    capture::{
        canary::{CALLS, Canary},
        uprobe::{Attacher, Method, ProbeSite},
    },
    error::{Error, ErrorKind, Result},
};

/// The space of canaries: the last one, so that it is no target's.
pub(super) const CANARY_SPACE: u16 = MAX_SPACES as u16 - 1;

/// Probes a canary as a target would be probed.
///
/// # Errors
/// If it dies, or if its calls are not counted exactly.
pub(super) fn try_out(method: Method) -> Result<()> {
    let refused = |cause: String| {
        Error::new(ErrorKind::Safety, "tried the probes on a process of our own under a seccomp filter")
            .because(cause)
            .hint("update the kernel: Linux 6.11 to 6.13 need the fix that lets return probes pass seccomp")
    };
    let object = load_small()?;
    let canary = Canary::start()?;
    let space = WireSpace { tgid: 0, execs_to_come: 0, replaced: 0, flags: 0, slot: 0, generation: 0 };
    totals::write(&object, "SPACES", &u32::from(CANARY_SPACE), &space)?;
    let cookie = Cookie {
        size: From::Arg(0),
        count: From::None,
        block: From::Return,
        old: From::None,
        fixed_size: 0,
        space: CANARY_SPACE,
        nests: true,
        at_ret: false,
        throws: false,
        stepped: false,
    };
    let site = ProbeSite { offset: canary.offset, cookie: cookie.pack() };
    let mut attacher = Attacher::new(PROGRAMS, method);
    let exe = Path::new("/proc/self/exe");
    let links = attacher.follow(&object, exe, canary.process.pid(), &[site])?;
    let survived = canary.survives();
    drop(links);
    if !survived {
        return Err(refused(
            "it was killed: return probes are not safe for filtered processes here".to_owned(),
        ));
    }
    let counters = totals::counters(&object)?;
    let seen = counters[Counter::ReturnHits as usize];
    if seen != CALLS {
        return Err(refused(format!("{seen} of its {CALLS} calls were seen")));
    }
    Ok(())
}
