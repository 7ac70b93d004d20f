//! Tables by file: each is made once, however many processes map the file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{Identity, ProgramFile};
use super::table::{Error, Options, Table, build_all_reporting};
use crate::{elf::Image, stage::Stage};

/// All tables made so far.
#[derive(Debug, Default)]
pub struct Cache {
    options: Options,
    stage: Stage,
    known: Mutex<HashMap<Key, Arc<Table>>>,
}

/// The identity of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The build id, and the size of the code: a tool that changes code may keep the id.
    Build(String, u64),
    /// A file without build id.
    File(Identity),
}

impl Cache {
    /// An empty cache that makes tables with these options.
    pub fn new(options: Options) -> Cache {
        Cache { options, stage: Stage::default(), known: Mutex::default() }
    }

    /// An empty cache that reports its progress.
    pub(crate) fn reporting(stage: Stage) -> Cache {
        Cache { stage, ..Cache::default() }
    }

    /// The tables of these files, in their order. Tables that are not known yet are made, all at the same time.
    ///
    /// Two files are the same if they have the same build id; without one, if they have the same device, inode, time of
    /// change and size. An image that has neither gets a new table each time. Errors are not kept.
    pub fn tables(&self, files: &[&ProgramFile]) -> Vec<Result<Arc<Table>, Error>> {
        let keys: Vec<Option<Key>> = files.iter().map(|file| Key::of(file)).collect();
        let mut wanted: Vec<usize> = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for (index, key) in keys.iter().enumerate() {
                let is_new = key.as_ref().is_none_or(|key| !known.contains_key(key));
                let is_first = key.is_none() || !wanted.iter().any(|&earlier| keys[earlier] == *key);
                if is_new && is_first {
                    wanted.push(index);
                }
            }
        }
        // Outside of the lock: this takes a while, and others may ask for tables that are known.
        let missing: Vec<&ProgramFile> = wanted.iter().map(|&index| files[index]).collect();
        let report = |done: usize| {
            self.stage.update(format!("making unwind tables: {done} of {} files", missing.len()));
        };
        let made = build_all_reporting(&missing, &self.options, &report);
        let made = made.into_iter().map(|made| made.map(Arc::new));
        let made: HashMap<usize, Result<Arc<Table>, Error>> = wanted.iter().copied().zip(made).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, table) in &made {
            if let (Some(key), Ok(table)) = (&keys[*index], table) {
                // Another thread may have made it first: then that table is shared.
                known.entry(key.clone()).or_insert_with(|| Arc::clone(table));
            }
        }
        let find = |(index, key): (usize, &Option<Key>)| {
            if let Some(table) = key.as_ref().and_then(|key| known.get(key)) {
                return Ok(Arc::clone(table));
            }
            let first = wanted.iter().find(|&&w| w == index || (key.is_some() && keys[w] == *key));
            first.and_then(|first| made.get(first)).cloned().unwrap_or(Err(Error::NoUnwindInformation))
        };
        keys.iter().enumerate().map(find).collect()
    }
}

impl Key {
    fn of(file: &ProgramFile) -> Option<Key> {
        let image = Image::parse(file.bytes()).ok();
        let by_build = image.and_then(|image| {
            let code_bytes =
                image.executable_ranges().fold(0_u64, |sum, r| sum.saturating_add(r.end - r.start));
            Some(Key::Build(image.build_id()?, code_bytes))
        });
        by_build.or_else(|| file.identity().cloned().map(Key::File))
    }
}
