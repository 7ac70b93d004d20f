//! Trying the probes on a canary before they are put into a target that a seccomp filter watches.

use profiler_common::{
    memleak::{
        cookie::{Cookie, From},
        counters::Counter,
    },
    space::{MAX_SPACES, Space as WireSpace},
};

use super::{load::load_small, tool::PROGRAMS};
use crate::{
    capture::{
        canary,
        counted::counters,
        uprobe::{Attacher, Method},
    },
    error::Result,
};

/// The space of canaries: the last one, so that it is not a target's.
pub(super) const CANARY_SPACE: u16 = MAX_SPACES as u16 - 1;

/// Probes a canary as a target would be probed.
///
/// # Errors
/// If it dies, or if its calls are not counted exactly.
pub(super) fn try_out(method: Method) -> Result<()> {
    let object = load_small()?;
    object.write("SPACES", &u32::from(CANARY_SPACE), &WireSpace::given(0))?;
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
    let attacher = Attacher::new(PROGRAMS, method);
    let seen = || Ok(counters::<{ Counter::COUNT }>(&object, &[])?[Counter::ReturnHits as usize]);
    canary::follow(&object, attacher, cookie.pack(), seen)
}
