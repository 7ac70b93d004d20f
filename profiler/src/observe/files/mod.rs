//! Files that observed processes use. The kernel side gives each a number, and sends its name once.

pub(crate) mod calls;
mod label;
pub(crate) mod members;

use std::{collections::HashMap, num::NonZero, thread};

use profiler_common::{
    file::{
        Addresses, FileRecord, GIVEN, NO_FILE, S_IFDIR, S_IFMT, SERVICE, SOCK_DGRAM, Unknown, socket::Side,
    },
    io,
};

use self::label::Labels;
use crate::{report::Value, text::Text, units};

/// Numbers of files. 0 stands for none, so one file fewer can be told apart.
pub(crate) const MAX_FILES: u32 = 1 << 17;

/// Most files that are being closed at the same time and whose names are kept meanwhile. Each processor sets some entries aside.
pub(crate) fn max_closing() -> u32 {
    const FEWEST: u32 = 256;
    const OF_PROCESSOR: u32 = 16;
    let processors = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    FEWEST.max(OF_PROCESSOR.saturating_mul(processors))
}

/// An open file, as it was when it was first seen under this name.
#[derive(Clone, Debug)]
struct File {
    record: FileRecord,
    name: Vec<u8>,
}

/// Files by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: HashMap<u32, File>,
    labels: Labels,
}

impl Files {
    /// From now on, shows addresses of peers as they are.
    pub(crate) fn show_peers(&mut self) {
        self.labels.show_peers = true;
    }

    /// Keeps the name of the file of this number. Ignores a record that is too short to be one.
    pub(super) fn take(&mut self, number: u32, record: &[u8]) {
        const HEAD: usize = size_of::<FileRecord>();
        let Some((head, name)) = record.split_at_checked(HEAD) else { return };
        // SAFETY: as many bytes as the type has, and any are valid for a wire type.
        let record = unsafe { head.as_ptr().cast::<FileRecord>().read_unaligned() };
        let name = name.get(..record.name_bytes as usize).unwrap_or(name).to_vec();
        self.known.insert(number, File { record, name });
    }

    /// The label of the file of this number; `None` if its name has not arrived.
    fn label(&self, number: u32) -> Option<Text> {
        let file = self.known.get(&number)?;
        Some(match (file.record.flags & GIVEN, file.name.as_slice()) {
            (0, _) => self.labels.of(file),
            (_, path @ [b'/', ..]) => Text::new(path),
            (_, path) => self.in_directory(file.record.inode as u32, path),
        })
    }

    /// What the sockets of a service have in common; `None` if the number stands for none, or its record has not arrived.
    pub(crate) fn side(&self, number: u32) -> Option<Side> {
        let record = &self.known.get(&number)?.record;
        (record.flags & SERVICE != 0).then(|| Side::of_number(record.inode))
    }

    /// Whether a service moves datagrams.
    pub(crate) fn has_datagrams(&self, number: u32) -> bool {
        self.known.get(&number).is_some_and(|file| file.record.addresses.kind == SOCK_DGRAM)
    }

    /// The peer with these addresses, or the hash that stands for it. `None` if it has none.
    pub(crate) fn peer(&self, of: &Addresses) -> Option<Text> {
        self.labels.peer(of).map(|peer| Text::new(peer.into_bytes()))
    }

    /// The label of the service of a socket of IPv4 or IPv6 with these addresses.
    pub(crate) fn service(&self, side: Side, of: &Addresses) -> Text {
        Text::new(self.labels.service(side, of, &[]))
    }

    /// The label of the file of an operation, or why it is not known: see [`io::number`].
    pub(crate) fn of_operation(&self, file: u32) -> Value {
        match io::number(file) {
            Ok(number) => {
                self.of_number(number).unwrap_or_else(|| Value::Unknown(why(Unknown::Full as u32).to_owned()))
            }
            Err(unknown) => Value::Unknown(why(unknown).to_owned()),
        }
    }

    /// The label of the file that a call used, or the words for why it is not known: an [`Unknown`] by its number. `path`: the path that
    /// the call names, or nothing. A relative one begins in the directory of this number.
    pub(crate) fn of_call(&self, number: u32, unknown: u32, path: &[u8]) -> Value {
        match path {
            [b'/', ..] => Value::Name(Text::new(path)),
            [_, ..] => Value::Name(self.in_directory(number, path)),
            [] => self.of_number(number).unwrap_or_else(|| Value::Unknown(why(unknown).to_owned())),
        }
    }

    /// A relative path behind the directory in which it begins.
    fn in_directory(&self, directory: u32, path: &[u8]) -> Text {
        match self.known.get(&directory) {
            Some(File { record, name }) if record.mode & S_IFMT == S_IFDIR => {
                let name = name.strip_suffix(b"/").unwrap_or(name);
                self.labels.of(&File { record: *record, name: [name, b"/", path].concat() })
            }
            // Its beginning is missing.
            _ => Text::new(["…/".as_bytes(), path].concat()),
        }
    }

    /// The files that an epoll watches: the numbers of some, and how many there are (`at_least`: or more).
    pub(crate) fn watched(&self, numbers: &[u32], count: u32, at_least: bool) -> Value {
        let known =
            numbers.iter().filter(|number| **number != NO_FILE).filter_map(|number| self.label(*number));
        let mut parts: Vec<Vec<u8>> = known.map(|label| label.raw().to_vec()).collect();
        let more = count.saturating_sub(parts.len() as u32);
        let at_least = if at_least { "at least " } else { "" };
        match (parts.len(), more) {
            (0, 0) if at_least.is_empty() => return Value::Word("nothing".to_owned()),
            (0, 0) => return Value::Unknown("the epoll changed while it was read".to_owned()),
            (_, 0) => {}
            (0, more) => {
                return Value::Word(format!("{at_least}{}", units::plural(more as usize, "file", "files")));
            }
            (_, more) => parts.push(format!("{at_least}{more} more").into_bytes()),
        }
        Value::Name(Text::new(parts.join(&b"; "[..])))
    }

    /// The label of the file of this number, if the number stands for one.
    pub(crate) fn of_number(&self, number: u32) -> Option<Value> {
        (number != NO_FILE).then(|| match self.label(number) {
            Some(label) => Value::Name(label),
            None => Value::Unknown("its name did not fit into the ring".to_owned()),
        })
    }
}

/// Why a file is not known.
fn why(unknown: u32) -> &'static str {
    match Unknown::of_number(unknown) {
        Unknown::NoFile => "profiler knows of no file of this call",
        Unknown::Closed => "its descriptor was not open",
        Unknown::Changed => {
            "its descriptor was closed or given to another file while the call was in progress"
        }
        Unknown::Full => "there are more files than there is room for",
        Unknown::Unread => "the path that the call names could not be read",
        Unknown::Busy => "another thread was changing the mappings of the process at that moment",
        Unknown::Unmapped => "nothing is mapped at the address that the call names",
        Unknown::Refused => "the kernel does not let programs read its memory (lockdown=confidentiality)",
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::file::{DELETED, S_IFSOCK};

    use super::*;

    /// Files by their numbers, from 1 on.
    fn files(paths: &[&str]) -> Files {
        let mut files = Files::default();
        for (number, path) in (1..).zip(paths) {
            // SAFETY: any bytes are valid for a wire type.
            let record = FileRecord { mode: S_IFDIR, ..unsafe { std::mem::zeroed() } };
            files.known.insert(number, File { record, name: path.as_bytes().to_vec() });
        }
        files
    }

    fn name(value: &Value) -> String {
        match value {
            Value::Name(name) => name.terminal(),
            Value::Word(words) | Value::Unknown(words) => words.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_relative_path_stands_behind_its_directory() {
        let files = files(&["/srv", "/"]);
        let of = |number, path: &[u8]| name(&files.of_call(number, Unknown::Closed as u32, path));
        assert_eq!(of(1, b"a/../b"), "/srv/a/../b");
        assert_eq!(of(2, b"a"), "/a");
        assert_eq!(of(1, b"/etc/passwd"), "/etc/passwd");
        assert_eq!(of(1, b""), "/srv");
        assert_eq!(of(NO_FILE, b"a"), "…/a");
        assert_eq!(of(NO_FILE, b""), "its descriptor was not open");
        assert_eq!(of(3, b""), "its name did not fit into the ring");
        assert_eq!(of(3, b"a"), "…/a");
    }

    #[test]
    fn the_label_of_a_path_says_what_became_of_its_directory() {
        let mut files = files(&["/old", "/file"]);
        files.known.entry(1).and_modify(|file| file.record.flags = DELETED);
        files.known.entry(2).and_modify(|file| file.record.mode = S_IFSOCK);
        let of = |number| name(&files.of_call(number, 0, b"a"));
        assert_eq!((of(1), of(2)), ("/old/a (deleted)".to_owned(), "…/a".to_owned()));
    }

    #[test]
    fn what_an_epoll_watches_is_named_and_counted() {
        let files = files(&["/a", "/b"]);
        let of = |numbers: &[u32], count, at_least| name(&files.watched(numbers, count, at_least));
        assert_eq!(of(&[0, 0], 0, false), "nothing");
        assert_eq!(of(&[1, 2], 2, false), "/a; /b");
        assert_eq!(of(&[1, 0, 2], 7, false), "/a; /b; 5 more");
        assert_eq!(of(&[1, 2], 128, true), "/a; /b; at least 126 more");
        assert_eq!(
            (of(&[0], 1, false), of(&[0], 128, true)),
            ("1 file".to_owned(), "at least 128 files".to_owned())
        );
    }

    /// The kernel side may have found a number whose record was lost.
    #[test]
    fn a_record_that_is_too_short_is_ignored() {
        let mut files = files(&[]);
        files.take(1, &[0; 8]);
        assert_eq!(name(&files.of_call(1, 0, b"")), "its name did not fit into the ring");
        // SAFETY: any bytes are valid for a wire type.
        let record = FileRecord { mode: S_IFSOCK, inode: 7, ..unsafe { std::mem::zeroed() } };
        // SAFETY: a wire type has no padding.
        let bytes: [u8; size_of::<FileRecord>()] = unsafe { std::mem::transmute(record) };
        files.take(1, &bytes);
        assert_eq!(name(&files.of_call(1, 0, b"")), "socket:[7]");
    }
}
