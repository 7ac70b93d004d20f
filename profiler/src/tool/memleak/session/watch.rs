//! What happens while the probes are in place: new stacks, execs, ends, and libraries that are loaded.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use profiler_common::{
    ledger::Class,
    memleak::counters::Counter,
    record::{RECORD_EXEC, RECORD_STACK, SOME_GUESSED},
};

use super::{
    super::{
        space::{Seen, Space},
        stacks::Walk,
        totals,
    },
    Event, Progress, Session, monotonic_ns,
};
use crate::{
    capture::detach,
    error::Result,
    report::Ended,
    target::{process::Process, start::Start},
    units,
};

/// How often progress is told and targets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// New stacks after which the kernel side is told of new mappings, if more stacks wait.
const TELL_EVERY: u32 = 256;
/// How often the maps of targets are read again for libraries that were loaded meanwhile.
const RESCAN: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Waits for the end.
    pub(super) async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<Ended> {
        let mut stop = pin!(stop);
        let mut look = tokio::time::interval(LOOK);
        let mut due = self.options.every.map(|every| self.began + every);
        loop {
            let end = self.options.length.map(|length| self.began + length);
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
                    if self.spaces.iter().all(|space| space.ended.is_some()) {
                        return Ok(self.end(Ended::TargetsGone));
                    }
                }
                () = sleep_until(due) => {
                    self.drain(tell)?;
                    let report = self.report(Ended::Running)?;
                    tell(Event::Interim(&report));
                    due = due.zip(self.options.every).map(|(due, every)| (due + every).max(Instant::now()));
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
        self.length = Some(self.began.elapsed());
        self.end_ns = Some(monotonic_ns());
        ended
    }

    /// Takes in new stacks and execs.
    pub(super) fn drain(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let mut replaced = Vec::new();
        let mut taken = 0_u32;
        while let Some(Record { kind, depth, space: number, stack, frames }) = next_record(&mut self.records)
        {
            let Some(space) = self.spaces.iter_mut().find(|s| s.number == number) else { continue };
            match kind & 15 {
                RECORD_EXEC => replaced.push((number, stack)),
                RECORD_STACK => {
                    taken += 1;
                    let end = kind >> 4;
                    let walk = Walk { addresses: &frames, end, guessed: depth & SOME_GUESSED != 0 };
                    space.refresh_if_stale(&self.object, &mut self.modules);
                    self.stacks.take_turns(number, &mut space.turns);
                    let code = space.code(&self.modules);
                    if !self.stacks.add(stack, number, walk, &space.layout, code) && space.ended.is_none() {
                        space.refresh(&self.object, &mut self.modules);
                        self.stacks.take_turns(number, &mut space.turns);
                        let code = space.code(&self.modules);
                        self.stacks.add(stack, number, walk, &space.layout, code);
                    }
                    // At once, the first time: until then every stack is walked badly, and is a new one. Later in steps:
                    // while tables are made, other libraries come and go.
                    if !self.tracker.knows(number) || taken.is_multiple_of(TELL_EVERY) {
                        self.tell_mappings()?;
                    }
                }
                // RECORD_HELD: whoever is stopped goes on below.
                _ => {}
            }
        }
        for (number, next) in replaced {
            self.replaced(number, next as u16, tell)?;
        }
        self.let_held_up_go_on()?;
        // Those of a program that took the place of another, too: no stack of it has come yet.
        self.tell_mappings()
    }

    /// Lets a command go on that waits at its first call until its mappings are told.
    fn let_held_up_go_on(&mut self) -> Result<()> {
        let Session { object, modules, spaces, .. } = self;
        let held_up = spaces.iter_mut().find(|space| space.is_held_up(object));
        let Some(space) = held_up else { return Ok(()) };
        space.refresh(object, modules);
        let number = space.number;
        let told = self.tell_mappings();
        let Session { object, spaces, .. } = self;
        spaces.iter_mut().filter(|space| space.number == number).for_each(|space| space.let_go_on(object));
        told
    }

    /// Tells the kernel side what was learnt of mappings.
    fn tell_mappings(&mut self) -> Result<()> {
        let Session { object, spaces, modules, tracker, .. } = self;
        spaces.iter_mut().try_for_each(|space| space.tell_mappings(object, tracker, modules))
    }

    /// A target became another program: its books are closed, and the new program's are opened. `next`: the space that the
    /// kernel side has given to that; 0 if it had none left.
    fn replaced(&mut self, number: u16, next: u16, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let old = self.spaces.iter_mut().find(|s| s.number == number && s.ended.is_none());
        let pid = match old {
            Some(old) => {
                old.end("replaced itself by exec".to_owned(), monotonic_ns());
                detach::all_at_once(old.take_allocs());
                detach::all_at_once(old.take_frees());
                old.process.pid()
            }
            None => match self.passing.remove(&number) {
                Some(pid) => pid,
                None => return Ok(()),
            },
        };
        if next == 0 {
            tell(Event::Notice(&format!("process {pid} replaced itself once too often: no longer observed")));
            return Ok(());
        }
        match self.follow_exec(pid, next) {
            Ok(Some(line)) => tell(Event::Notice(&line)),
            // The record of its next exec follows.
            Ok(None) => drop(self.passing.insert(next, pid)),
            Err(error) => tell(Event::Notice(&format!("process {pid} replaced itself by exec: {error}"))),
        }
        Ok(())
    }

    /// Observes what a process has become. `None` if it has become something else meanwhile.
    fn follow_exec(&mut self, pid: u32, number: u16) -> Result<Option<String>> {
        let mut space = self.looked_at(pid, number)?;
        if space.replaced(&self.object) || space.is_another_program() {
            return Ok(None);
        }
        let Session { object, attacher, modules, options, .. } = self;
        space.plan(modules, options);
        space.refuse_if_copied(modules, &Start::of_process(pid))?;
        space.attach(object, attacher, modules, options)?;
        space.seen = Seen::since(monotonic_ns());
        // Its dynamic linker may not have begun: then the next looks find its allocator.
        let anew = if space.has_probes() { "observed anew" } else { "no allocator of it is known yet" };
        let line = format!("process {pid} is now {}: {anew}", space.exe.terminal());
        self.spaces.push(space);
        Ok(Some(line))
    }

    /// A space for what a process is now, of which the kernel side knows.
    fn looked_at(&mut self, pid: u32, number: u16) -> Result<Space> {
        let mut space = Space::new(number, Process::open(pid)?, &mut self.modules)?;
        space.check(&self.modules)?;
        Ok(space)
    }

    /// Looks after the targets; true if all have ended.
    fn look(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        let now_ns = monotonic_ns();
        self.note_ends();
        for space in self.spaces.iter_mut().filter(|space| space.ended.is_none()) {
            space.seen.alive_ns = now_ns;
            space.look_whether_it_runs(now_ns);
        }
        if self.rescanned.elapsed() >= RESCAN {
            self.rescan(tell);
            self.memory.look(&self.spaces, false);
            self.look_at_held()?;
            self.tell_mappings()?;
        }
        self.stacks.names.look_up(&self.modules, &self.spaces, &self.worker);
        let counters = totals::counters(&self.object)?;
        tell(Event::Progress(&self.progress(&counters)));
        Ok(self.spaces.iter().all(|s| s.ended.is_some()))
    }

    /// Attaches to allocators that were loaded meanwhile.
    fn rescan(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let Session { object, attacher, spaces, modules, options, stacks, .. } = self;
        for space in spaces.iter_mut().filter(|s| s.ended.is_none()) {
            space.refresh(object, modules);
            stacks.take_turns(space.number, &mut space.turns);
            let before = space.probed.len();
            if let Err(error) = space.attach(object, attacher, modules, options) {
                // A process that is about to end, most often; what was attached before stays.
                tracing::debug!("rescan of process {}: {error}", space.process.pid());
            } else if space.probed.len() > before {
                let names = space.probed.len() - before;
                tell(Event::Notice(&format!(
                    "process {} loaded another allocator: {} attached",
                    space.process.pid(),
                    units::plural(names, "function", "functions")
                )));
            }
        }
        self.rescanned = Instant::now();
    }

    fn progress(&self, counters: &[u64; Counter::COUNT]) -> Progress {
        let sum = |fits: &dyn Fn(Counter) -> bool| -> u64 {
            Counter::ALL.iter().filter(|c| fits(**c)).map(|c| counters[*c as usize]).sum()
        };
        let of = |c: Counter| counters[c as usize];
        let gone = of(Counter::FreeFreed) + of(Counter::ReturnReleased);
        Progress {
            elapsed: self.began.elapsed(),
            hits: sum(&|c| c.class() == Class::Hits),
            lost: sum(&|c| c.class() == Class::Lost),
            live_blocks: of(Counter::ReturnRecorded).saturating_sub(gone),
            stacks: self.stacks.len(),
            cost: self.cost.now().map(|now| now.price.of_all),
        }
    }
}

/// A record of the ring, see [`profiler_common::record::RecordHead`].
struct Record {
    kind: u8,
    depth: u8,
    space: u16,
    stack: u32,
    frames: Vec<u64>,
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
        return Some(Record { kind, depth, space, stack, frames });
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => poll_fn(|_| std::task::Poll::Pending).await,
    }
}
