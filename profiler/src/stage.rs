//! What is being waited for before and after an observation, for whoever wants to show it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The current stage of a piece of work. Clones share it: one thread works and says what it does, another one shows it.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<Mutex<Option<Current>>>);

/// A stage that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// What is being done, for people: "making unwind tables: 3 of 17 files".
    pub words: String,
    /// When this stage began, whatever its words were then.
    pub since: Instant,
}

impl Stage {
    /// A stage begins.
    pub fn begin(&self, words: &str) {
        self.put(Some(Current { words: words.to_owned(), since: Instant::now() }));
    }

    /// The stage goes on, and there is more to say of it. Between stages nothing is said: nobody waits.
    pub fn update(&self, words: String) {
        if let Some(stage) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            stage.words = words;
        }
    }

    /// Nothing is being waited for any more.
    pub fn end(&self) {
        self.put(None);
    }

    /// The stage that is under way, if one is.
    pub fn current(&self) -> Option<Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, current: Option<Current>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn a_stage_is_one_wait_whatever_is_said_of_it_meanwhile() {
        let stage = Stage::default();
        let watcher = stage.clone();
        stage.update("making tables".to_owned());
        assert_eq!(watcher.current(), None, "no stage is under way");
        stage.begin("making tables");
        let begun = watcher.current().unwrap();
        stage.update("making tables: 1 of 2".to_owned());
        let later = watcher.current().unwrap();
        assert_eq!((later.since, later.words.as_str()), (begun.since, "making tables: 1 of 2"));
        stage.end();
        assert_eq!(watcher.current(), None);
    }
}
