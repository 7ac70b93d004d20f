//! Empty programs on the sites of `memleak`: what the kernel alone takes. For measurements.

use std::future::Future;

use super::{
    options::{Options, Targets},
    space::{Sites, Space},
};
use crate::{
    capture::{
        object::{Object, Settings},
        uprobe::{Attacher, CallPrograms, Links, Method},
    },
    error::{Error, ErrorKind, Result},
    target::{modules::Modules, process::Process},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floor"));
const PROGRAMS: CallPrograms = CallPrograms {
    session: "floor_session",
    entry: "floor_entry",
    ret: "floor_return",
    at_ret: "floor_entry",
    plain: "floor_free",
};

/// Which probes a tool cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// Entry and return of allocations, entry of releases: the block's address is only known at the return.
    Exact,
    /// Entry of allocations and of releases: most calls of a sampled run.
    Entry,
}

/// Attaches empty programs to the process that the options name, as `memleak` would attach its own, until `stop` is
/// ready. `attached` is called with a line for people.
///
/// # Errors
/// If the process cannot be observed, or the options name something else than one process.
pub async fn hold(
    options: &Options,
    floor: Floor,
    stop: impl Future<Output = ()>,
    attached: impl FnOnce(&str),
) -> Result<()> {
    let Targets::Pids(pids) = &options.targets else { return Err(one_process()) };
    let [pid] = pids.as_slice() else { return Err(one_process()) };
    let mut modules = Modules::default();
    let mut space = Space::new(0, Process::open(*pid)?, &mut modules)?;
    let (object, mut attacher) = empty(options.method)?;
    let mut links: Vec<Links> = Vec::new();
    let mut functions = 0;
    for Sites { path, frees, calls, entries, returns } in space.sites(&modules, options) {
        functions += frees.len() + calls.len() + entries.len();
        let looked = match floor {
            Floor::Exact => vec![&frees],
            Floor::Entry => vec![&frees, &calls, &entries],
        };
        for sites in looked.into_iter().filter(|sites| !sites.is_empty()) {
            links.push(attacher.look(&object, &path, *pid, sites)?);
        }
        if floor == Floor::Exact && !calls.is_empty() {
            links.push(attacher.follow(&object, &path, *pid, &calls)?);
        }
        if floor == Floor::Exact && !entries.is_empty() {
            links.push(attacher.follow_to_ret(&object, &path, *pid, &entries, &returns)?);
        }
    }
    attached(&format!("attached: {functions} functions, by {}, doing nothing", attacher.method().name()));
    stop.await;
    drop(links);
    Ok(())
}

/// The empty programs, ready to be attached by the best method up to `at_most`.
///
/// # Errors
/// If the kernel refuses them.
pub(crate) fn empty(at_most: Method) -> Result<(Object, Attacher)> {
    Ok((Object::load("floor", OBJECT, Settings::default())?, Attacher::new(PROGRAMS, at_most)))
}

fn one_process() -> Error {
    Error::new(ErrorKind::NothingToObserve, "tried to measure the floor").because("it takes one process")
}
