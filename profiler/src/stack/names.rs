//! The names of all places in stacks. Each is looked up when the place is first seen, so that they need not all be
//! waited for at the end.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::Spaces;
use crate::{
    symbolize::{Answer, Pending, Request, Resolved, Source, Worker},
    target::modules::{ModuleId, Modules, Place},
};

/// Interval at which missing names are asked for again: a process writes names of its own code when it likes.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The interval is at least this many times the length of the last answer: a target that keeps rewriting a large file
/// must not keep a processor busy.
const REST: u32 = 4;

/// What places belong to: a file, or the code that the process of an address space has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Owner {
    File(ModuleId),
    Space(u16),
}

/// Offsets in a file, or addresses.
type Places = (Owner, Vec<u64>);

/// Names by place.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// `None` while it was not looked up yet.
    known: HashMap<(Owner, u64), Option<Resolved>>,
    /// By file: the sources of its names, without the names themselves.
    sources: BTreeMap<ModuleId, Answer>,
    /// Places that were not asked for yet.
    unasked: BTreeMap<Owner, Vec<u64>>,
    /// Places in code made at run time that had no name when they were asked for.
    nameless: BTreeMap<Owner, Vec<u64>>,
    /// When they may be asked for again.
    ask_again: Option<Instant>,
    /// Open requests, in the order in which the answers will come, and when they were made.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    at: Instant,
    places: Vec<Places>,
    pending: Pending,
}

/// The key of a place. `address` is that of the call: the return address less one.
fn key(space: u16, address: u64, place: Place) -> Option<(Owner, u64)> {
    match place {
        Place::File(module, offset) => Some((Owner::File(module), offset)),
        Place::Made => Some((Owner::Space(space), address)),
        Place::Kernel | Place::Unmapped | Place::Shared => None,
    }
}

impl Names {
    /// Adds a place whose name is needed.
    pub(crate) fn want(&mut self, space: u16, address: u64, place: Place) {
        let Some((owner, place)) = key(space, address, place) else { return };
        self.known.entry((owner, place)).or_insert_with(|| {
            self.unasked.entry(owner).or_default().push(place);
            None
        });
    }

    /// The answer for a place; `None` if it was not looked up, or cannot be.
    pub(crate) fn of(&self, space: u16, address: u64, place: Place) -> Option<&Resolved> {
        self.known.get(&key(space, address, place)?)?.as_ref()
    }

    /// The sources of names of each file that was asked for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (ModuleId, &Answer)> {
        self.sources.iter().map(|(module, answer)| (*module, answer))
    }

    /// Takes answers that have arrived, and asks for places that were added since. Does not wait.
    pub(crate) fn look_up(&mut self, modules: &Modules, spaces: &(impl Spaces + ?Sized), worker: &Worker) {
        if let Some(asked) = self.asked.take() {
            match asked.pending.ready() {
                Some(answers) => {
                    self.ask_again = Some(Instant::now() + ASK_AGAIN.max(asked.at.elapsed() * REST));
                    self.learn(asked.places, answers);
                }
                None => {
                    self.asked = Some(asked);
                    return;
                }
            }
        }
        if self.ask_again.is_none_or(|then| Instant::now() >= then) {
            self.want_again();
        }
        self.ask(modules, spaces, worker);
    }

    /// Waits until all places were looked up. Code without names is asked for once more.
    pub(crate) fn finish(&mut self, modules: &Modules, spaces: &(impl Spaces + ?Sized), worker: &Worker) {
        self.wait();
        self.want_again();
        self.ask(modules, spaces, worker);
        self.wait();
    }

    /// Stores one list of answers.
    fn wait(&mut self) {
        if let Some(Asked { places, pending, .. }) = self.asked.take() {
            self.learn(places, pending.wait());
        }
    }

    fn want_again(&mut self) {
        for (owner, mut places) in std::mem::take(&mut self.nameless) {
            self.unasked.entry(owner).or_default().append(&mut places);
        }
    }

    fn ask(&mut self, modules: &Modules, spaces: &(impl Spaces + ?Sized), worker: &Worker) {
        let (mut asked, mut requests) = (Vec::new(), Vec::new());
        for (owner, mut places) in std::mem::take(&mut self.unasked) {
            // Neighbouring addresses share a unit of debug information.
            places.sort_unstable();
            match source(owner, modules, spaces) {
                Ok(source) => {
                    requests.push(Request { source, places: places.clone() });
                    asked.push((owner, places));
                }
                Err(why) => {
                    let keys = places.into_iter().map(|place| (owner, place));
                    self.known.extend(keys.map(|key| (key, Some(Resolved::unknown(why.as_str())))));
                }
            }
        }
        if !requests.is_empty() {
            self.asked = Some(Asked { at: Instant::now(), places: asked, pending: worker.ask(requests) });
        }
    }

    fn learn(&mut self, asked: Vec<Places>, answers: Vec<Answer>) {
        for ((owner, places), mut answer) in asked.into_iter().zip(answers) {
            let resolved = std::mem::take(&mut answer.resolved);
            if let Owner::File(module) = owner {
                self.sources.insert(module, answer);
            }
            for (place, resolved) in places.into_iter().zip(resolved) {
                if matches!(owner, Owner::Space(_)) && resolved.functions.is_empty() {
                    self.nameless.entry(owner).or_default().push(place);
                }
                self.known.insert((owner, place), Some(resolved));
            }
        }
    }
}

/// Where to look for names, or why they cannot be looked up.
fn source(owner: Owner, modules: &Modules, spaces: &(impl Spaces + ?Sized)) -> Result<Source, String> {
    match owner {
        Owner::File(module) => {
            let held = modules.get(module);
            let why = || held.and_then(|m| m.unreadable.clone()).unwrap_or_else(|| "no file".to_owned());
            held.and_then(|m| m.program()).map(Source::File).ok_or_else(why)
        }
        Owner::Space(number) => {
            let location = spaces.made_code(number);
            let why = || "made at run time, and the process ended before its names could be read".to_owned();
            location.map(|location| Source::MadeCode(number, location)).ok_or_else(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{super::Nowhere, *};
    use crate::{
        symbolize::{Program, Symbolize},
        target::modules::Layout,
    };

    /// Answers when it may.
    struct Slow(std::sync::mpsc::Receiver<()>);

    impl Symbolize for Slow {
        fn resolve(&mut self, _: &Program, places: &[u64]) -> Answer {
            let _ = self.0.recv();
            Answer::unknown("slow".to_owned(), places.len())
        }
    }

    #[test]
    fn only_the_end_waits_for_names() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let address = only_the_end_waits_for_names as fn() as usize as u64;
        let place = layout.place(address);
        let (answer, may_answer) = channel();
        let worker = Worker::start_with(|| Slow(may_answer)).unwrap();
        let mut names = Names::default();
        names.want(0, address, place);
        for _ in 0..3 {
            names.look_up(&modules, &Nowhere, &worker);
            assert!(names.of(0, address, place).is_none());
        }
        answer.send(()).unwrap();
        names.finish(&modules, &Nowhere, &worker);
        assert_eq!(names.of(0, address, place).unwrap().unresolved.as_deref(), Some("slow"));
    }
}
