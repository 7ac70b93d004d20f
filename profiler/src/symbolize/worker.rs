//! The symbolizer's own thread: it is slow, allocates much, and its library is not made to be shared.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use super::{Request, Resolved, Symbolize, blaze::Blaze};

type Job = (Vec<Request>, Sender<Vec<Vec<Resolved>>>);

/// A handle to the symbolizer thread, which ends when the handle is dropped.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses another thread.
    pub fn start() -> io::Result<Worker> {
        Self::start_with(Blaze::new)
    }

    fn start_with<S: Symbolize>(make: impl FnOnce() -> S + Send + 'static) -> io::Result<Worker> {
        let (jobs, queue) = channel();
        thread::Builder::new().name("symbolize".into()).spawn(move || work(&mut make(), &queue))?;
        Ok(Worker { jobs })
    }

    /// Resolves places; one list of answers per request, in order. If the thread has died, every place says so.
    pub fn resolve(&self, requests: Vec<Request>) -> Vec<Vec<Resolved>> {
        let sizes: Vec<usize> = requests.iter().map(|r| r.offsets.len()).collect();
        let (answer, answers) = channel();
        let sent = self.jobs.send((requests, answer)).is_ok();
        let resolved = if sent { answers.recv().ok() } else { None };
        resolved.unwrap_or_else(|| {
            let unknown = Resolved::unknown("the symbolizer failed");
            sizes.into_iter().map(|n| vec![unknown.clone(); n]).collect()
        })
    }
}

fn work(symbolizer: &mut impl Symbolize, queue: &Receiver<Job>) {
    while let Ok((requests, answer)) = queue.recv() {
        let resolved = requests.iter().map(|request| symbolizer.resolve(request)).collect();
        // Nobody waiting any more is no failure.
        let _ = answer.send(resolved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing;

    impl Symbolize for Failing {
        fn resolve(&mut self, _: &Request) -> Vec<Resolved> {
            panic!("a defect in the library");
        }
    }

    #[test]
    fn a_symbolizer_that_dies_costs_names_only() {
        let worker = Worker::start_with(|| Failing).unwrap();
        let request = Request { file: "/proc/self/exe".into(), offsets: vec![1, 2] };
        let resolved = worker.resolve(vec![request]);
        assert_eq!(resolved[0].len(), 2);
        assert!(resolved[0][0].unresolved.is_some());
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
        let file = modules.get(module).unwrap().path().unwrap();
        let worker = Worker::start().unwrap();
        let resolved = worker.resolve(vec![Request { file, offsets: vec![offset] }]);
        let function = resolved[0][0].functions.last().unwrap();
        assert!(function.name.terminal().to_string().contains("names_this_very_function"), "{function:?}");
        assert!(function.line.is_some());
    }
}
