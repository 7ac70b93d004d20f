//! What happens while the probes are in place: new stacks, execs, ends, and libraries that are loaded.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use profiler_common::record::{RECORD_EXEC, RECORD_FORK, RECORD_OF_TOOL, RECORD_STACK, SOME_GUESSED};

use super::{
    observation::{Observation, monotonic_ns},
    run::{Event, Progress, Run},
    space::{Seen, Space},
};
use crate::{
    capture::detach, error::Result, report::Ended, stack::stacks::Walk, target::process::Process,
    tool::Counts, units,
};

/// How often progress is told and targets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// New stacks after which new mappings are published, if more stacks wait.
const PUBLISH_EVERY: u32 = 256;
/// How often the maps of targets are read again for libraries that were loaded meanwhile.
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
                // At once, for the exact length; what is due from time to time need not be now.
                () = self.ends.next() => {
                    self.drain(tell)?;
                    self.note_ends();
                    if self.on.spaces.iter().all(|space| space.ended.is_some()) {
                        return Ok(self.end(Ended::TargetsGone));
                    }
                }
                () = sleep_until(due) => {
                    self.drain(tell)?;
                    let report = self.report(Ended::Running)?;
                    tell(Event::Interim(&report));
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
        ended
    }

    /// Takes in new stacks and execs.
    pub(super) fn drain(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let mut replaced = Vec::new();
        let mut taken = 0_u32;
        while let Some(record) = next_record(&mut self.records) {
            let Record { kind, depth, space: number, stack, frames, .. } = record;
            if let Some(nth) = (kind & 15).checked_sub(RECORD_OF_TOOL) {
                if let Some(tool) = self.tools.get_mut(usize::from(nth)) {
                    tool.take_record(&record.bytes);
                }
                continue;
            }
            match kind & 15 {
                // Before the first stack of it comes.
                RECORD_FORK => self.forked(number, stack, tell),
                RECORD_EXEC => replaced.push((number, stack)),
                RECORD_STACK => {
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
                    // At once, the first time: until then every stack is walked badly, and is a new one. Later in steps:
                    // while tables are made, other libraries come and go.
                    if !self.on.tracker.knows(number) || taken.is_multiple_of(PUBLISH_EVERY) {
                        self.on.publish_mappings();
                    }
                }
                // RECORD_HELD: whoever is stopped goes on below.
                _ => {}
            }
        }
        for (number, next) in replaced {
            self.replaced(number, next as u16, tell);
        }
        self.let_held_up_go_on();
        // Those of a program that took the place of another, too: no stack of it has come yet.
        self.on.publish_mappings();
        Ok(())
    }

    /// Lets a command go on that waits at its first call until its mappings are published.
    fn let_held_up_go_on(&mut self) {
        let Observation { ground, modules, spaces, .. } = &mut self.on;
        let Some(space) = spaces.iter_mut().find(|space| space.is_held_up(ground)) else { return };
        space.refresh(ground, modules);
        let number = space.number;
        self.on.publish_mappings();
        let Observation { ground, spaces, .. } = &mut self.on;
        spaces.iter_mut().filter(|space| space.number == number).for_each(|space| space.let_go_on(ground));
    }

    /// A target became another program: its books are closed, and the new program's are opened. `next`: the space that the
    /// kernel side has given to that; 0 if it had none left.
    fn replaced(&mut self, number: u16, next: u16, tell: &mut impl FnMut(Event<'_>)) {
        let old = self.on.spaces.iter_mut().find(|s| s.number == number && s.ended.is_none());
        let pid = match old {
            Some(old) => {
                old.end("replaced itself by exec".to_owned(), monotonic_ns());
                let tools = &mut self.tools;
                detach::all_at_once(
                    tools.iter_mut().flat_map(|tool| tool.take_first(Some(number))).collect(),
                );
                detach::all_at_once(tools.iter_mut().flat_map(|tool| tool.take_last(Some(number))).collect());
                old.process.pid()
            }
            None => match self.passing.remove(&number) {
                Some(pid) => pid,
                None => return,
            },
        };
        if next == 0 {
            tell(Event::Notice(&format!("process {pid} replaced itself once too often: no longer observed")));
            return;
        }
        match self.follow_exec(pid, next) {
            Ok(Some(line)) => tell(Event::Notice(&line)),
            // The record of its next exec follows.
            Ok(None) => drop(self.passing.insert(next, pid)),
            Err(error) => tell(Event::Notice(&format!("process {pid} replaced itself by exec: {error}"))),
        }
    }

    /// Observes what a process has become. `None` if it has become something else meanwhile.
    fn follow_exec(&mut self, pid: u32, number: u16) -> Result<Option<String>> {
        let Run { on, tools, .. } = self;
        let mut space = Space::new(number, Process::open(pid)?, &mut on.modules)?;
        tools.iter().try_for_each(|tool| tool.check(&space, &on.modules))?;
        if on.ground.is_replaced(number) || space.is_another_program() {
            return Ok(None);
        }
        for tool in &mut *tools {
            tool.attach_anew(&mut space, &on.ground, &mut on.modules, true)?;
        }
        space.seen = Seen::since(monotonic_ns());
        // Its dynamic linker may not have begun: then the next looks find what is to be probed.
        let is_seen = tools.iter().all(|tool| tool.sees(number));
        let anew = if is_seen { "observed anew" } else { "nothing of it is probed yet" };
        let line = format!("process {pid} is now {}: {anew}", space.exe.terminal());
        on.spaces.push(space);
        Ok(Some(line))
    }

    /// Looks after the targets; true if all have ended.
    fn look(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        let now_ns = monotonic_ns();
        self.note_ends();
        for space in self.on.spaces.iter_mut().filter(|space| space.ended.is_none()) {
            space.seen.alive_ns = now_ns;
            space.look_whether_it_runs(now_ns);
        }
        if self.rescanned.elapsed() >= RESCAN {
            self.rescan(tell);
            self.join_newcomers(tell);
            let Run { on, tools, .. } = self;
            tools.iter_mut().try_for_each(|tool| tool.look(on))?;
            self.on.publish_mappings();
        }
        let Observation { stacks, modules, spaces, worker, .. } = &mut self.on;
        stacks.names.look_up(modules, spaces.as_slice(), worker);
        tell(Event::Progress(&self.progress()?));
        Ok(self.on.spaces.iter().all(|s| s.ended.is_some()))
    }

    /// Attaches to what was loaded meanwhile.
    fn rescan(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let Observation { ground, spaces, modules, stacks, .. } = &mut self.on;
        for space in spaces.iter_mut().filter(|s| s.ended.is_none()) {
            space.refresh(ground, modules);
            stacks.mark_reused(space.number, &mut space.reused);
            for tool in &mut self.tools {
                match tool.attach_anew(space, ground, modules, false) {
                    // A process that is about to end, most often; what was attached before stays.
                    Err(error) => tracing::debug!("rescan of process {}: {error}", space.process.pid()),
                    Ok(0) => {}
                    Ok(new) => tell(Event::Notice(&format!(
                        "process {} loaded another allocator: {} attached",
                        space.process.pid(),
                        units::plural(new, "function", "functions")
                    ))),
                }
            }
        }
        self.rescanned = Instant::now();
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
    /// All of it, of a record that belongs to a tool.
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
        let bytes = if kind & 15 >= RECORD_OF_TOOL { record.to_vec() } else { Vec::new() };
        return Some(Record { kind, depth, space, stack, frames, bytes });
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => poll_fn(|_| std::task::Poll::Pending).await,
    }
}
