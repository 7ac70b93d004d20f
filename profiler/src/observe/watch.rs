//! What happens while the probes are in place: new stacks, execs, ends, and libraries that are loaded.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use profiler_common::record::{
    RECORD_BEGUN, RECORD_EXEC, RECORD_FILE, RECORD_FORK, RECORD_OF_TOOL, RECORD_STACK, SOME_GUESSED,
};

use super::{
    observation::{Observation, monotonic_ns},
    run::{Event, Progress, Run},
};
use crate::{
    error::{ErrorKind, Result},
    report::Ended,
    stack::stacks::Walk,
    tool::Counts,
    units,
};

/// How often progress is reported and targets are checked.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// Mappings are published again after this many new stacks, if more are waiting.
const PUBLISH_EVERY: u32 = 256;
/// How often the maps of targets are read again, to find new libraries.
const RESCAN: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Waits for the end.
    pub(super) async fn watch(
        &mut self,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<Ended> {
        let mut stop = pin!(stop);
        let mut look = tokio::time::interval(LOOK);
        let mut due = self.on.settings.every.map(|every| self.on.began + every);
        loop {
            let end = self.on.settings.length.map(|length| self.on.began + length);
            tokio::select! {
                biased;
                () = &mut stop => return Ok(self.end(Ended::Interrupted)),
                ready = self.ring.readable() => {
                    if let Ok(mut guard) = ready {
                        guard.clear_ready();
                    }
                    self.drain(tell)?;
                }
                () = sleep_until(end) => return Ok(self.end(Ended::Elapsed)),
                // At once, for an exact length.
                () = self.ends.next() => {
                    self.drain(tell)?;
                    self.note_ends();
                    if self.all_have_ended() {
                        return Ok(self.end(Ended::TargetsGone));
                    }
                }
                () = sleep_until(due) => {
                    self.drain(tell)?;
                    let report = self.report(Ended::Running);
                    if let Some(report) = self.failures.report.forgive(report)? {
                        tell(Event::Interim(&report));
                    }
                    due = due.zip(self.on.settings.every).map(|(due, every)| (due + every).max(Instant::now()));
                }
                _ = look.tick() => {
                    self.drain(tell)?;
                    if self.look(tell)? {
                        return Ok(self.end(Ended::TargetsGone));
                    }
                    if self.watch_cost(tell)? {
                        return Ok(self.end(Ended::StoppedByGuard));
                    }
                }
            }
        }
    }

    fn end(&mut self, ended: Ended) -> Ended {
        self.on.length = Some(self.on.began.elapsed());
        self.on.end_ns = Some(monotonic_ns());
        self.close_to_others();
        ended
    }

    /// Processes records of the ring: new stacks, and processes that fork, exec or start.
    pub(super) fn drain(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let mut taken = 0_u32;
        self.on.ground.hand_on_log();
        while let Some(record) = next_record(&mut self.records) {
            let Record { kind, depth, space: number, stack, frames, .. } = record;
            if let Some(nth) = (kind & 15).checked_sub(RECORD_OF_TOOL) {
                if let Some(tool) = self.tools.get_mut(usize::from(nth)) {
                    tool.take_record(&record.bytes);
                }
                continue;
            }
            match kind & 15 {
                // Before the first stack of the new space arrives.
                RECORD_FORK | RECORD_EXEC => self.take_in_spaces(tell),
                RECORD_BEGUN => self.begun(stack, tell),
                RECORD_FILE => self.on.files.take(stack, &record.bytes),
                RECORD_STACK => {
                    if !self.holds_space(number, tell) {
                        // The kernel side does not send it again.
                        self.unknown_stacks += 1;
                        continue;
                    }
                    let Observation { ground, spaces, modules, stacks, .. } = &mut self.on;
                    let Some(space) = spaces.iter_mut().find(|s| s.number == number) else { continue };
                    taken += 1;
                    let end = kind >> 4;
                    let walk = Walk { addresses: &frames, end, guessed: depth & SOME_GUESSED != 0 };
                    space.refresh_if_stale(ground, modules);
                    stacks.mark_reused(number, &mut space.reused);
                    let code = space.code(modules);
                    if !stacks.add(stack, number, walk, &space.layout, code) && space.ended.is_none() {
                        space.refresh(ground, modules);
                        stacks.mark_reused(number, &mut space.reused);
                        let code = space.code(modules);
                        stacks.add(stack, number, walk, &space.layout, code);
                    }
                    // At once the first time: until then every stack is walked badly, and counts as new. Later in steps, because
                    // other libraries come and go while tables are made.
                    if !self.on.tracker.knows(number) || taken.is_multiple_of(PUBLISH_EVERY) {
                        self.on.publish_mappings();
                    }
                }
                // RECORD_HELD: a stopped process is resumed below.
                _ => {}
            }
        }
        self.resume_held_command();
        // A program that replaced another counts, too: no stack of it has come yet.
        self.on.publish_mappings();
        Ok(())
    }

    /// Whether an address space is observed. The record of the fork or exec that created it may have been lost in a full ring.
    fn holds_space(&mut self, number: u16, tell: &mut impl FnMut(Event<'_>)) -> bool {
        let is_held = |run: &Self| run.on.spaces.iter().any(|space| space.number == number);
        if !is_held(self) && self.joining.is_behind(number) {
            self.take_in_spaces(tell);
        }
        is_held(self)
    }

    /// Resumes a command that is stopped at its first call until its mappings are published.
    fn resume_held_command(&mut self) {
        let Observation { ground, modules, spaces, .. } = &mut self.on;
        let Some(space) = spaces.iter_mut().find(|space| space.is_held_up(ground)) else { return };
        space.refresh(ground, modules);
        let number = space.number;
        self.on.publish_mappings();
        let Observation { ground, spaces, .. } = &mut self.on;
        spaces.iter_mut().filter(|space| space.number == number).for_each(|space| space.let_go_on(ground));
    }

    /// Looks after the targets; true if all have ended.
    fn look(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        let now_ns = monotonic_ns();
        // The ring may have been full when their records were sent.
        self.take_in_spaces(tell);
        self.note_ends();
        for space in self.on.spaces.iter_mut().filter(|space| space.ended.is_none()) {
            space.seen.alive_ns = now_ns;
            space.look_whether_it_runs(now_ns);
        }
        let rescans = self.rescanned.elapsed() >= RESCAN;
        self.rescan(!rescans, tell);
        if rescans {
            self.rescanned = Instant::now();
            self.join_newcomers(tell);
            let Run { on, tools, failures, .. } = self;
            failures.look.forgive(tools.iter_mut().try_for_each(|tool| tool.look(on)))?;
            self.on.publish_mappings();
        }
        let Observation { stacks, modules, spaces, worker, .. } = &mut self.on;
        stacks.names.look_up(modules, spaces.as_slice(), worker);
        let progress = self.progress();
        if let Some(progress) = self.failures.counts.forgive(progress)? {
            tell(Event::Progress(&progress));
        }
        Ok(self.all_have_ended())
    }

    /// Whether no target is left, and none is waited for.
    fn all_have_ended(&self) -> bool {
        !self.on.settings.waits_for_others()
            && self.joining.passing.is_empty()
            && self.on.spaces.iter().all(|space| space.ended.is_some())
    }

    /// Attaches to libraries that were loaded since the last look, in all targets or only in those that have just
    /// started.
    fn rescan(&mut self, only_new: bool, tell: &mut impl FnMut(Event<'_>)) {
        let Observation { ground, spaces, modules, stacks, .. } = &mut self.on;
        let mut refused = Vec::new();
        for space in spaces.iter_mut().filter(|s| s.ended.is_none() && !s.refused) {
            let is_new = space.has_just_begun();
            if only_new && !is_new {
                continue;
            }
            space.refresh(ground, modules);
            stacks.mark_reused(space.number, &mut space.reused);
            for tool in &mut self.tools {
                match tool.attach_anew(space, ground, modules, is_new) {
                    Err(error) if is_new && error.kind() == ErrorKind::Safety => {
                        refused.push((space.number, error));
                        break;
                    }
                    // Most often the process is about to end; what was attached before stays.
                    Err(error) => tracing::debug!("rescan of process {}: {error}", space.process.pid()),
                    Ok(0) => {}
                    Ok(new) => tell(Event::Notice(&format!(
                        "process {} loaded a library: {} attached",
                        space.process.pid(),
                        units::plural(new, "function", "functions")
                    ))),
                }
            }
        }
        for (number, error) in refused {
            self.refuse(number, &error, tell);
        }
    }

    fn progress(&self) -> Result<Progress> {
        let mut counts = Counts::default();
        for (nth, tool) in self.tools.iter().enumerate() {
            let own = tool.counts()?;
            counts.hits += own.hits;
            counts.lost += own.lost;
            if nth == 0 {
                counts.things = own.things;
            }
        }
        Ok(Progress {
            elapsed: self.on.began.elapsed(),
            counts,
            answers_after: self.tools.first().map_or(Duration::ZERO, |tool| tool.answers_after()),
            stacks: self.on.stacks.len(),
            cost: self.on.cost.now().map(|now| now.price.of_all),
        })
    }
}

/// A record of the ring, see [`profiler_common::record::RecordHead`].
struct Record {
    kind: u8,
    depth: u8,
    space: u16,
    stack: u32,
    frames: Vec<u64>,
    /// The whole record, if it belongs to a tool or is the name of a file.
    bytes: Vec<u8>,
}

/// The next record, if there is one.
fn next_record(records: &mut RingBuf<MapData>) -> Option<Record> {
    loop {
        let record = records.next()?;
        let Some((head, body)) = record.split_first_chunk::<8>() else { continue };
        let [kind, depth, low, high, a, b, c, d] = *head;
        let frames = body.chunks_exact(8).take((depth & !SOME_GUESSED).into());
        let frames = frames.map(|c| c.try_into().map_or(0, u64::from_ne_bytes)).collect();
        let (space, stack) = (u16::from_ne_bytes([low, high]), u32::from_ne_bytes([a, b, c, d]));
        let bytes = if kind & 15 >= RECORD_FILE { record.to_vec() } else { Vec::new() };
        return Some(Record { kind, depth, space, stack, frames, bytes });
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => poll_fn(|_| std::task::Poll::Pending).await,
    }
}
