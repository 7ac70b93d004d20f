//! Text that comes from the target: names of processes, files and functions, chosen by whoever wrote them.
//!
//! Fifteen bytes of process name are enough to rewrite a terminal, and a function name can hold markup or the
//! separators of our own formats. So this text has a type of its own without `Display`. It is written only through the
//! escapes, one per output format. The raw bytes are kept: two names that differ stay different in JSON.
//!
//! Our own words inside a report need care too, because a report can be read from a file that somebody else wrote:
//! [`visible`] escapes those.

mod escape;
mod pattern;
mod wire;

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub use self::escape::{is_hidden, visible};
pub use self::pattern::Pattern;

/// Longest text that is kept, in bytes. Longer text is cut, and marked as cut.
pub const MAX_BYTES: usize = 4096;

/// Untrusted text. It has no `Display`: every output format has to pick its own escape.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    bytes: Box<[u8]>,
    /// Length before it was cut, if it was.
    cut_from: Option<u64>,
}

impl Text {
    /// Keeps `bytes`, or the first [`MAX_BYTES`] of them. A cut does not split a UTF-8 character.
    pub fn new(bytes: impl AsRef<[u8]>) -> Text {
        let bytes = bytes.as_ref();
        let Some(head) = bytes.get(..MAX_BYTES).filter(|_| bytes.len() > MAX_BYTES) else {
            return Text { bytes: bytes.into(), cut_from: None };
        };
        Text { bytes: whole_characters(head).into(), cut_from: Some(bytes.len() as u64) }
    }

    /// The raw bytes, for comparing and looking up. They must not be written to an output.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// Length of the original text in bytes, if it was too long to be kept whole.
    pub fn cut_from(&self) -> Option<u64> {
        self.cut_from
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// For terminals, logs and error messages: one line in which every control, bidirectional, invisible or
    /// invalid character is spelled out (`\x1b`, `\u{202e}`) and a backslash is doubled, so that no two texts
    /// look the same. Ends in `…` if the text was cut.
    pub fn terminal(&self) -> String {
        let mut out = escape::terminal(&self.bytes);
        if self.cut_from.is_some() {
            out.push('…');
        }
        out
    }

    /// For XML, SVG and HTML, in content as well as in attributes: as [`Text::terminal`], with markup as entities.
    pub fn xml(&self) -> String {
        escape::xml(&self.terminal())
    }

    /// For a frame of a folded stack: as [`Text::terminal`]. Whatever readers of that format take for a separator, a
    /// comment or a number of samples is spelled out as well. Never empty.
    pub fn folded(&self) -> String {
        escape::folded(&self.terminal())
    }
}

/// The longest prefix of `bytes` that does not end inside a UTF-8 character.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.get(..error.valid_up_to()).unwrap_or(bytes),
        _ => bytes,
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text(\"{}\")", self.terminal())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Text {
        Text::new(bytes)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::new(text)
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Text {
        Text::new(text.as_bytes())
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Text {
        Text::from(path.as_os_str())
    }
}

#[cfg(test)]
mod tests;
