//! The symbolizer's own thread: it is slow, allocates much, and its library cannot be shared between threads.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    thread,
};

use super::{Answer, Request, Settings, Source, Symbolize, files::Files, perf_map::PerfMap};
use crate::kernel::priority::BackgroundThread;

type Answers = Vec<Answer>;
type Job = (Vec<Request>, Sender<Answers>);

/// Stack of the thread. Nested inlined functions are read by recursion, and a file can nest them to any depth.
pub(super) const STACK_BYTES: usize = 64 << 20;

/// A handle to the symbolizer thread, which ends when the handle is dropped. The thread has a low priority.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
    thread: Option<BackgroundThread>,
}

/// Answers that are awaited.
#[derive(Debug)]
pub struct Pending {
    sizes: Vec<usize>,
    answers: Receiver<Answers>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses another thread.
    pub fn start(settings: Settings) -> io::Result<Worker> {
        Self::start_with(move || Files::new(settings))
    }

    pub(crate) fn start_with<S: Symbolize>(make: impl FnOnce() -> S + Send + 'static) -> io::Result<Worker> {
        let (jobs, queue) = channel();
        let (started, start) = channel();
        let thread = thread::Builder::new().name("symbolize".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            // If this fails, the handle is gone and the queue is closed.
            let _ = started.send(BackgroundThread::this_thread());
            work(&mut make(), &queue);
        })?;
        Ok(Worker { jobs, thread: start.recv().ok() })
    }

    /// Asks for places without waiting. The answers to the requests come as one list, in order.
    pub fn ask(&self, requests: Vec<Request>) -> Pending {
        let sizes = requests.iter().map(|r| r.places.len()).collect();
        let (answer, answers) = channel();
        // If the thread has died, the answers say so.
        let _ = self.jobs.send((requests, answer));
        Pending { sizes, answers }
    }

    /// Restores the thread's usual priority: somebody waits for it.
    pub fn restore_priority(&self) {
        if let Some(thread) = self.thread {
            thread.restore_priority();
        }
    }
}

impl Pending {
    /// The answers, if they have arrived. If the thread has died, every place says so.
    pub fn ready(&self) -> Option<Answers> {
        match self.answers.try_recv() {
            Ok(answers) => Some(answers),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(self.failed()),
        }
    }

    /// Waits for the answers. If the thread has died, every place says so.
    pub fn wait(&self) -> Answers {
        self.answers.recv().unwrap_or_else(|_died| self.failed())
    }

    fn failed(&self) -> Answers {
        self.sizes.iter().map(|places| Answer::unknown("the symbolizer failed".to_owned(), *places)).collect()
    }
}

fn work(symbolizer: &mut impl Symbolize, queue: &Receiver<Job>) {
    let mut made: HashMap<u16, PerfMap> = HashMap::new();
    while let Ok((requests, answer)) = queue.recv() {
        let resolve = |Request { source, places }: &Request| match source {
            Source::File(program) => symbolizer.resolve(program, places),
            Source::MadeCode(process, location) => {
                let resolved = made.entry(*process).or_default().resolve(location, places);
                Answer { resolved, ..Answer::default() }
            }
        };
        let resolved = requests.iter().map(resolve).collect();
        // This fails if nobody waits for the answers any more.
        let _ = answer.send(resolved);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Program, *};

    struct Failing;

    impl Symbolize for Failing {
        fn resolve(&mut self, _: &Program, _: &[u64]) -> Answer {
            panic!("a defect in the library");
        }
    }

    #[test]
    fn a_symbolizer_that_dies_costs_names_only() {
        let worker = Worker::start_with(|| Failing).unwrap();
        let request =
            Request { source: Source::File(Program::at(Path::new("/proc/self/exe"))), places: vec![1, 2] };
        let resolved = worker.ask(vec![request]).wait();
        assert_eq!(resolved[0].resolved.len(), 2);
        assert!(resolved[0].resolved[0].unresolved.is_some());
    }

    #[test]
    #[inline(never)]
    fn names_this_very_function() {
        let here = names_this_very_function as fn() as usize as u64;
        let mut modules = crate::target::modules::Modules::default();
        let layout = crate::target::modules::Layout::read(std::process::id(), &mut modules).unwrap();
        let crate::target::modules::Place::File(module, offset) = layout.place(here) else {
            panic!("no file")
        };
        let file = modules.get(module).unwrap().program().unwrap();
        let worker = Worker::start(Settings::default()).unwrap();
        let resolved = worker.ask(vec![Request { source: Source::File(file), places: vec![offset] }]).wait();
        let function = resolved[0].resolved[0].functions.last().unwrap();
        assert!(function.name.terminal().to_string().contains("names_this_very_function"), "{function:?}");
        assert!(function.line.is_some());
    }
}
