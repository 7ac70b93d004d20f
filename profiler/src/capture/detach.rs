//! Detaching probes.

use std::thread;

use super::uprobe::Links;

/// Most links that are closed at the same time.
const MOST_AT_ONCE: usize = 32;

/// Detaches all of them, in any order. Closing a link removes its breakpoints, and then waits until no task can be in
/// its programs any more (a grace period of RCU tasks trace: 20 to 70 ms, up to a second on a busy machine). Closed at
/// the same time, all of them wait together.
pub(crate) fn all_at_once(mut links: Vec<Links>) {
    while !links.is_empty() {
        let rest = links.split_off(links.len().min(MOST_AT_ONCE));
        thread::scope(|scope| {
            let mut links = std::mem::replace(&mut links, rest).into_iter();
            // This thread closes some as well.
            let last = links.next();
            for links in links {
                // If no thread can be started, its links are closed here, with the closure.
                let _ =
                    thread::Builder::new().name("detach".to_owned()).spawn_scoped(scope, move || drop(links));
            }
            drop(last);
        });
    }
}

/// Links that are closed on threads of their own, while the observation goes on. Dropping it waits for them.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Vec<thread::JoinHandle<()>>);

impl Leaving {
    /// Begins to close links.
    pub(crate) fn close(&mut self, links: Vec<Links>) {
        self.0.retain(|closing| !closing.is_finished());
        if !links.is_empty() {
            // If no thread can be started, they are closed here, with the closure.
            let started = thread::Builder::new().name("detach".to_owned()).spawn(move || all_at_once(links));
            self.0.extend(started);
        }
    }

    /// Waits until all are closed.
    pub(crate) fn wait(&mut self) {
        for closing in self.0.drain(..) {
            // It returns nothing. If it panics, that is printed.
            let _ = closing.join();
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_link_is_closed() {
        let (mut readers, mut links) = (Vec::new(), Vec::new());
        for _ in 0..2 * MOST_AT_ONCE + 1 {
            let (reader, writer) = std::io::pipe().unwrap();
            readers.push(reader);
            links.push(Links { held: vec![writer.into()], ..Links::default() });
        }
        all_at_once(links);
        for mut reader in readers {
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody holds the other end");
        }
        all_at_once(Vec::new());
    }
}
