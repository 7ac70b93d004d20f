//! `/tmp/perf-PID.map`: a file in which a process writes the names of code that it has made at run time.
//!
//! The format is that of perf (tools/perf/Documentation/jit-interface.txt of the kernel). Anybody can write to its
//! directory, and the file outlives its process. So it is used only if it is a regular file, belongs to the target's
//! user or to root, and was written after the target began; and only for code without a file.

mod index;
mod location;

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use self::index::{Index, LinePlace, MAX_LINE_BYTES, parse_line};
pub use self::location::Location;
use super::Resolved;
use crate::{report::Function, text::Text};

/// Most that is read of a file; less in tests, so that they are fast.
const MAX_FILE_BYTES: u64 = if cfg!(test) { 8 << 20 } else { 256 << 20 };
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes before the end of what was read that must be unchanged. If they are not, the file was rewritten.
const SEAM_BYTES: u64 = 4096;

/// The map file of one process, as far as it was read. Lines that are added later are read when names are asked for.
#[derive(Debug, Default)]
pub(super) struct PerfMap {
    read: Option<ReadFile>,
}

/// A file that was read, and how far.
#[derive(Debug)]
struct ReadFile {
    file: File,
    identity: (u64, u64),
    index: Index,
    /// All lines before this byte are in the index.
    read_to: u64,
    /// The bytes before `read_to`.
    seam: Vec<u8>,
    /// Whether the file is larger than the limit.
    cut: bool,
}

impl PerfMap {
    /// Names for addresses in code without a file.
    pub(super) fn resolve(&mut self, location: &Location, addresses: &[u64]) -> Vec<Resolved> {
        let problem = self.refresh(location).err();
        let name = |address: &u64| match (self.name(*address), &problem) {
            (Some(name), _) => named(name),
            (None, Some(why)) => Resolved::unknown(format!("made at run time, and {why}")),
            (None, None) => Resolved::unknown(self.not_in(location)),
        };
        addresses.iter().map(name).collect()
    }

    fn not_in(&self, location: &Location) -> String {
        let path = location.path();
        if self.read.as_ref().is_some_and(|read| read.cut) {
            format!("made at run time, and not in the part of {path} that was read: the file is too large")
        } else {
            format!("made at run time, and {path} does not have it")
        }
    }

    /// Reads what was added since, or the whole file if it was replaced.
    ///
    /// # Errors
    /// A message, if there is no file that can be trusted. What was read before stays valid.
    fn refresh(&mut self, location: &Location) -> Result<(), String> {
        let file = location.open()?;
        let failed = |error: io::Error| format!("{} cannot be read: {error}", location.path());
        let facts = file.metadata().map_err(failed)?;
        let identity = (facts.dev(), facts.ino());
        let same = |read: &ReadFile| read.identity == identity && read.is_continued(facts.len());
        let mut read = match self.read.take() {
            Some(read) if same(&read) => read,
            _ => ReadFile::new(file, identity),
        };
        let outcome = read.read_on(facts.len()).map_err(failed);
        self.read = Some(read);
        outcome
    }

    /// The name of the function that an address is in.
    fn name(&self, address: u64) -> Option<Text> {
        let read = self.read.as_ref()?;
        let LinePlace { at, bytes } = read.index.find(address)?;
        let mut line = vec![0; bytes as usize];
        read.file.read_exact_at(&mut line, at).ok()?;
        // The file may have been rewritten meanwhile.
        let line = parse_line(&line).filter(|line| (line.start..line.end).contains(&address))?;
        Some(Text::new(line.name))
    }
}

impl ReadFile {
    fn new(file: File, identity: (u64, u64)) -> ReadFile {
        ReadFile { file, identity, index: Index::default(), read_to: 0, seam: Vec::new(), cut: false }
    }

    /// Whether a file of this length has only had lines added.
    fn is_continued(&self, length: u64) -> bool {
        let mut seam = vec![0; self.seam.len()];
        let from = self.read_to.saturating_sub(self.seam.len() as u64);
        length >= self.read_to && self.file.read_exact_at(&mut seam, from).is_ok() && seam == self.seam
    }

    /// Reads the lines up to `length`. The last one may be incomplete: it is left for later.
    fn read_on(&mut self, length: u64) -> io::Result<()> {
        self.cut |= length > MAX_FILE_BYTES;
        let end = length.min(MAX_FILE_BYTES);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = self.read_to;
        while at < end && self.index.has_room() {
            let most = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let got = self.file.read_at(&mut chunk[..most], at)?;
            let taken = self.add_lines(&chunk[..got], at);
            if taken == 0 && got <= MAX_LINE_BYTES {
                break;
            }
            // A line that does not end within this length is not one of ours.
            at += if taken == 0 { got as u64 } else { taken as u64 };
            self.read_to = at;
        }
        let seam_bytes = self.read_to.min(SEAM_BYTES);
        self.seam = vec![0; seam_bytes as usize];
        self.file.read_exact_at(&mut self.seam, self.read_to - seam_bytes)
    }

    /// Adds the complete lines of a chunk that begins at byte `at`, and returns how many bytes they have.
    fn add_lines(&mut self, chunk: &[u8], at: u64) -> usize {
        let mut taken = 0;
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let place = LinePlace { at: at + taken as u64, bytes: text.len() as u32 };
            if text.len() <= MAX_LINE_BYTES
                && let Some(parsed) = parse_line(text)
                && !self.index.add(&parsed, place)
            {
                self.cut = true;
            }
            taken += line.len();
        }
        taken
    }
}

fn named(name: Text) -> Resolved {
    let function = Function { name, file: None, line: None, inlined: false };
    Resolved { functions: vec![function], unresolved: None, start: None }
}

#[cfg(test)]
mod tests;
