//! The rules of the zone, in `zone.toml` beside the world: lines of `key = value`.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::Context;

use crate::books::Books;

/// What is written if there is no such file.
const DEFAULT: &str =
    "# Rules of the zone.\n\n# Units that a creature walks in one turn.\ncreature_speed = 4.0\n";
/// Longest file that is read, in bytes.
const MOST_BYTES: u64 = 64 << 10;
/// Fastest creature, in units per turn.
const TOP_SPEED: f32 = 100.0;

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) creature_speed: f32,
}

/// Reads the rules. If there are none, the usual ones are written down first.
///
/// # Errors
/// If the file can be neither read nor made.
pub(crate) fn open(path: &Path, books: &Books) -> anyhow::Result<Rules> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(DEFAULT.as_bytes()).context("writing the rules of the zone")?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
    }
    read(path, books).with_context(|| format!("reading {}", path.display()))
}

/// Opens, reads and closes the file.
///
/// # Errors
/// If it cannot be read. What it says that we do not understand is passed over.
pub(crate) fn read(path: &Path, books: &Books) -> io::Result<Rules> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    books.config.reads.one();
    Ok(parse(&text))
}

fn parse(text: &str) -> Rules {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let speed = pairs.filter(|(key, _)| key.trim() == "creature_speed");
    let speed = speed.filter_map(|(_, value)| value.trim().parse().ok()).next_back();
    Rules { creature_speed: speed.filter(|speed| (0.0..=TOP_SPEED).contains(speed)).unwrap_or(4.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_rules_are_written_once_and_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone.toml");
        let books = Books::default();
        assert_eq!(open(&path, &books).unwrap().creature_speed, 4.0);
        fs::write(&path, "creature_speed = 2.5\n").unwrap();
        assert_eq!(open(&path, &books).unwrap().creature_speed, 2.5);
        assert_eq!(books.config.reads.get(), 2);
    }

    #[test]
    fn nonsense_leaves_the_usual_rules() {
        for text in
            ["", "creature_speed", "creature_speed = fast", "creature_speed = NaN", "creature_speed = 1e9"]
        {
            assert_eq!(parse(text), parse(DEFAULT), "{text:?}");
        }
    }
}
