//! What counting operations on files costs.

use std::collections::HashMap;

use profiler_common::record::RECORD_OF_TOOL;

use super::{
    counted,
    probes::{Limits, Probes, Shape},
};
use crate::{
    capture::{
        cost::priced::{Paid, Priced},
        object::Maps,
    },
    error::{Error, Result},
    observe::{
        call_price::{
            ByKind, Counting, Dearer, LESS_BUSY, PerCall, Pricing, find_out, later, refused, unasked,
        },
        socket_state::{self, Sockets},
    },
    tool::foresight::Forecast,
};

/// Room for threads and files while the price is measured.
const ROOM: u32 = 2_048;

/// The programs at the calls, and those that follow sockets in the kernel.
struct Programs {
    calls: Probes,
    sockets: Option<Sockets>,
}

impl Counting for Programs {
    fn calls(&self) -> Result<HashMap<u32, ByKind>> {
        let of = |calls: u64, operations: u64| [calls.saturating_sub(operations), operations];
        let threads = counted::threads(&self.calls)?.into_iter();
        Ok(threads.map(|thread| (thread.tid, of(thread.calls, thread.operations))).collect())
    }

    fn begin(&mut self) -> Result<()> {
        self.calls.begin()?;
        // Those of the processes that are to be observed are none of its business.
        self.sockets.as_mut().map_or(Ok(()), |sockets| sockets.look([(std::process::id(), 0, false)]))
    }
}

/// The programs that follow sockets, of a tool that has them. It can do without.
fn of_sockets(shape: &Shape, shared: Maps) -> Option<Sockets> {
    let limits = socket_state::Limits { sockets: ROOM, ..socket_state::Limits::default() };
    let load = || -> Result<Sockets> {
        let mut sockets = Sockets::load(limits, shared)?;
        sockets.attach()?;
        Ok(sockets)
    };
    if shape.dearer == Dearer::OnSockets { load().ok() } else { None }
}

fn with_pricing<T>(shape: &'static Shape, then: impl FnOnce(&Pricing<'_>) -> T) -> T {
    let attach = |shared: Maps| -> Result<Box<dyn Counting>> {
        // Nothing is slow, so nothing is walked or sent.
        let limits = Limits {
            threads: ROOM,
            cells: ROOM,
            histograms: ROOM,
            slow_ns: u64::MAX,
            of_tool: 0,
            stacks: false,
            max_stacks: 16,
            sockets: ROOM,
        };
        let object = Probes::load(shape, limits, RECORD_OF_TOOL, shared.clone())?;
        let mut calls = Probes::over(object, shape, limits)?;
        calls.attach_once()?;
        Ok(Box::new(Programs { calls, sockets: of_sockets(shape, shared) }))
    };
    then(&Pricing { attach: &attach, dearer: shape.dearer, more_ns: 0.0 })
}

/// The prices, if nobody asks for a prediction.
pub(crate) fn prices(shape: &'static Shape) -> PerCall {
    with_pricing(shape, unasked)
}

/// The prices, and what an observation would cost the thread that pays most.
///
/// # Errors
/// If the kernel refuses the programs, or if it would cost too much.
pub(crate) fn admit(
    shape: &'static Shape,
    pids: &[u32],
    max_cost: Option<f64>,
) -> Result<(PerCall, Option<Forecast>, Option<Error>)> {
    with_pricing(shape, |pricing| {
        let mut found = find_out(pids, pricing)?;
        found.settle(max_cost, || later(pricing));
        let forecast = found.forecast(max_cost);
        let refusal = forecast.as_ref().and_then(|forecast| refused(forecast, max_cost, LESS_BUSY));
        Ok((found.per_call, forecast, refusal))
    })
}

/// What calls have cost each thread so far. `hits`: of all programs.
///
/// # Errors
/// If a map cannot be read.
pub(crate) fn paid(probes: &Probes, per_call: PerCall, hits: u64) -> Result<Priced> {
    let mut priced = Priced { measured: per_call.measured, hits, ..Priced::default() };
    for thread in counted::threads(probes)? {
        let calls = [thread.calls.saturating_sub(thread.operations), thread.operations];
        let ns = per_call.of(calls) + thread.walk_ns as f64;
        priced.threads.push(Paid { space: thread.space, tid: thread.tid, hits: thread.calls, ns });
        priced.processes.insert(thread.tgid);
    }
    let (calls, operations, walk_ns) = counted::ended(probes)?;
    priced.ended.hits = calls;
    priced.ended.ns = per_call.of([calls.saturating_sub(operations), operations]) + walk_ns as f64;
    Ok(priced)
}
