//! Saving the world so that there is always a whole one: written beside the old one, made durable, put in its place.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anyhow::Context;

use crate::books::Books;
use crate::clock;
use crate::savefile::{self, MOST_TERRAIN_BYTES};
use crate::world::Snapshot;

/// Bytes of one `write`.
const CHUNK_BYTES: usize = 64 << 10;
/// Largest file that is loaded.
const MOST_BYTES: u64 = MOST_TERRAIN_BYTES as u64 + (4 << 20);

/// Writes worlds to one place.
#[derive(Debug, Clone)]
pub(crate) struct Saver {
    path: PathBuf,
    /// `world.db.tmp`, for `world.db`.
    beside: PathBuf,
    directory: PathBuf,
    books: Arc<Books>,
}

impl Saver {
    /// For the world at this path.
    pub(crate) fn new(path: &Path, books: Arc<Books>) -> Self {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        Self { path: path.to_owned(), beside: beside.into(), directory: directory_of(path), books }
    }

    /// Saves one world. An error is counted; the old world is still there then.
    #[inline(never)]
    pub(crate) fn save(&self, snapshot: &Snapshot) {
        let began = clock::now_ns();
        match self.replace(&savefile::encode(snapshot)) {
            Ok(()) => self.books.save.saves.one(),
            Err(_) => self.books.save.failed.one(),
        }
        self.books.save.longest_ns.raise_to(clock::now_ns() - began);
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let books = &self.books.save;
        let mut file = File::create(&self.beside)?;
        for mut chunk in bytes.chunks(CHUNK_BYTES) {
            while !chunk.is_empty() {
                let length = match file.write(chunk) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                books.writes.one();
                books.bytes.add(length as u64);
                chunk = chunk.get(length..).unwrap_or_default();
            }
        }
        books.fsyncs.one();
        file.sync_all()?;
        books.renames.one();
        fs::rename(&self.beside, &self.path)?;
        books.fsyncs.one();
        File::open(&self.directory)?.sync_all()
    }
}

/// The body of the thread `zone-save`: saves what it is given, until nobody is left to give it anything.
#[inline(never)]
pub(crate) fn save_in_background(saver: &Saver, snapshots: &Receiver<Snapshot>) {
    for snapshot in snapshots {
        saver.save(&snapshot);
    }
}

/// The world of an earlier run; `None` if there is none.
///
/// # Errors
/// If there is a file, and it cannot be read or is not a whole world: it is not written over then.
pub(crate) fn load(path: &Path) -> anyhow::Result<Option<Snapshot>> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("looking for {}", path.display())),
    };
    anyhow::ensure!(size <= MOST_BYTES, "{} is too large for a world: {size} bytes", path.display());
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    savefile::decode(&bytes).map(Some).with_context(|| format!("{} cannot be loaded", path.display()))
}

/// Where a file is.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn snapshot(tick: u64) -> Snapshot {
        Snapshot { tick, creatures: World::creatures(5, 1), terrain: vec![3; 2 * CHUNK_BYTES] }
    }

    #[test]
    fn the_newest_world_is_loaded_and_the_books_say_what_it_took() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world.db");
        assert_eq!(load(&path).unwrap(), None);
        let books = Arc::new(Books::default());
        let saver = Saver::new(&path, Arc::clone(&books));
        saver.save(&snapshot(1));
        saver.save(&snapshot(2));
        assert_eq!(load(&path).unwrap(), Some(snapshot(2)));
        let size = fs::metadata(&path).unwrap().len();
        let books = &books.save;
        let counted = [&books.saves, &books.writes, &books.fsyncs, &books.renames, &books.bytes];
        assert_eq!(counted.map(|counter| counter.get()), [2, 6, 4, 2, 2 * size]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_world() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world.db");
        let books = Arc::new(Books::default());
        let saver = Saver::new(&path, Arc::clone(&books));
        saver.save(&snapshot(1));
        fs::create_dir(directory.path().join("world.db.tmp")).unwrap();
        saver.save(&snapshot(2));
        assert_eq!((books.save.saves.get(), books.save.failed.get()), (1, 1));
        assert_eq!(load(&path).unwrap(), Some(snapshot(1)));
    }

    #[test]
    fn what_is_not_a_world_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(load(&path).is_err());
    }

    #[test]
    fn a_bare_name_is_in_this_directory() {
        assert_eq!(directory_of(Path::new("world.db")), Path::new("."));
        assert_eq!(directory_of(Path::new("/srv/world.db")), Path::new("/srv"));
    }
}
