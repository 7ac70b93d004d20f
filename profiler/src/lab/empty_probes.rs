//! Empty programs on the sites of `memleak`: what the kernel alone takes.

use std::future::Future;

use crate::{
    capture::{
        floor::empty,
        uprobe::{Links, Method},
    },
    error::Result,
    observe::{
        functions::{Probes, Sites},
        space::Space,
    },
    target::{modules::Modules, process::Process},
    tool::memleak::{options::Options, plan::Allocators},
};

/// Which probes a tool cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// Entry and return of allocations, entry of releases: the block's address is only known at the return.
    Exact,
    /// Entry of allocations and of releases: most calls of a sampled run.
    Entry,
}

/// Attaches empty programs to a process, as `memleak` would attach its own, until `stop` is
/// ready. `attached` is called with a line for people.
///
/// # Errors
/// If the process cannot be observed.
pub async fn hold(
    pid: u32,
    method: Method,
    floor: Floor,
    stop: impl Future<Output = ()>,
    attached: impl FnOnce(&str),
) -> Result<()> {
    let mut modules = Modules::default();
    let mut space = Space::new(0, Process::open(pid)?, &mut modules)?;
    let (object, mut attacher) = empty(method)?;
    let mut links: Vec<Links> = Vec::new();
    let mut functions = 0;
    let options = Options::default();
    for Sites { path, looks, calls, entries, returns } in
        Probes::default().sites(&mut space, &modules, &Allocators::of(&options))
    {
        functions += looks.len() + calls.len() + entries.len();
        let looked = match floor {
            Floor::Exact => vec![&looks],
            Floor::Entry => vec![&looks, &calls, &entries],
        };
        for sites in looked.into_iter().filter(|sites| !sites.is_empty()) {
            links.push(attacher.look(&object, &path, pid, sites)?);
        }
        if floor == Floor::Exact && !calls.is_empty() {
            links.push(attacher.follow(&object, &path, pid, &calls)?);
        }
        if floor == Floor::Exact && !entries.is_empty() {
            links.push(attacher.follow_to_ret(&object, &path, pid, &entries, &returns)?);
        }
    }
    attached(&format!("attached: {functions} functions, by {}, doing nothing", attacher.method().name()));
    stop.await;
    drop(links);
    Ok(())
}
