//! Files that observed processes use. The kernel side gives each a number, and sends its name once.

pub(crate) mod calls;
mod label;
pub(crate) mod members;

use std::{collections::HashMap, num::NonZero, thread};

use profiler_common::file::{FileRecord, NO_FILE, Unknown};

use self::label::Labels;
use crate::{report::Value, text::Text};

/// Numbers of files. 0 stands for none, so one file fewer can be told apart.
pub(crate) const MAX_FILES: u32 = 1 << 14;

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
        self.known.get(&number).map(|file| self.labels.of(file))
    }

    /// The label of the file that a call used, or the words for why it is not known: an [`Unknown`] by its number. `path`: the path that
    /// the call names, or nothing. A relative one begins in the directory of this number.
    pub(crate) fn of_call(&self, number: u32, unknown: u32, path: &[u8]) -> Value {
        match (path, self.of_number(number)) {
            ([b'/', ..], _) => Value::Name(Text::new(path)),
            ([_, ..], Some(Value::Name(directory))) => Value::Name(in_directory(&directory, path)),
            // Its beginning is missing.
            ([_, ..], _) => Value::Name(Text::new(["…/".as_bytes(), path].concat())),
            ([], Some(known)) => known,
            ([], None) => Value::Unknown(why(unknown).to_owned()),
        }
    }

    /// The label of the file of this number, if the number stands for one.
    pub(crate) fn of_number(&self, number: u32) -> Option<Value> {
        (number != NO_FILE).then(|| match self.label(number) {
            Some(label) => Value::Name(label),
            None => Value::Unknown("its name did not fit into the ring".to_owned()),
        })
    }
}

/// A relative path behind the directory in which it begins.
fn in_directory(directory: &Text, path: &[u8]) -> Text {
    let directory = directory.raw();
    Text::new([directory.strip_suffix(b"/").unwrap_or(directory), b"/", path].concat())
}

/// Why a file is not known.
fn why(unknown: u32) -> &'static str {
    match Unknown::of_number(unknown) {
        Unknown::NoDescriptor => "the call names no file",
        Unknown::Closed => "its descriptor was not open",
        Unknown::Changed => {
            "its descriptor was closed or given to another file while the call was in progress"
        }
        Unknown::Full => "there are more files than there is room for",
        Unknown::Refused => "the kernel does not let programs read its memory (lockdown=confidentiality)",
    }
}
