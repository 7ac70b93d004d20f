//! The lines of a map file, and finding the line of an address.

use std::collections::BTreeMap;

/// Most functions that are kept of one file: about 100 MiB of memory.
pub(super) const MAX_ENTRIES: usize = 1 << 21;
/// Longest line that is accepted, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1 << 16;

/// A line: `START SIZE NAME`, both numbers in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// First address of the function.
    pub(super) start: u64,
    /// Address behind it.
    pub(super) end: u64,
    /// Its name: the rest of the line.
    pub(super) name: &'a [u8],
}

/// Parses a line without its newline; `None` if it is malformed or covers no address.
pub(super) fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let (start, rest) = number(line)?;
    let (size, rest) = number(rest)?;
    let name = rest.trim_ascii();
    let end = start.checked_add(size)?;
    (size > 0 && !name.is_empty()).then_some(Line { start, end, name })
}

/// A hex number followed by a space, and the rest. Java writes `0x` before the number, against the format.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    let digits = text.iter().position(|byte| *byte == b' ')?;
    let (digits, rest) = text.split_at(digits);
    // `from_str_radix` would accept a sign.
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    let value = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((value, rest.get(1..)?))
}

/// Where in the file a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinePlace {
    /// Its first byte.
    pub(super) at: u64,
    /// Its length without the newline.
    pub(super) bytes: u32,
}

/// A range of addresses that belongs to one line.
#[derive(Clone, Copy, Debug)]
struct Piece {
    end: u64,
    line: LinePlace,
}

/// Lines by address. Where lines overlap, the last one counts: earlier code at that address is gone.
#[derive(Debug, Default)]
pub(super) struct Index {
    pieces: BTreeMap<u64, Piece>,
}

impl Index {
    /// Whether there is room for another line.
    pub(super) fn has_room(&self) -> bool {
        self.pieces.len() < MAX_ENTRIES
    }

    /// Adds a line after all others. True if there was room.
    pub(super) fn add(&mut self, line: &Line<'_>, place: LinePlace) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.clear(line.start, line.end);
            self.pieces.insert(line.start, Piece { end: line.end, line: place });
        }
        has_room
    }

    /// Removes a range of addresses.
    fn clear(&mut self, start: u64, end: u64) {
        if let Some((_, before)) = self.pieces.range_mut(..start).next_back()
            && before.end > start
        {
            let rest = *before;
            before.end = start;
            if rest.end > end {
                self.pieces.insert(end, rest);
            }
        }
        while let Some((&first, &piece)) = self.pieces.range(start..end).next() {
            self.pieces.remove(&first);
            if piece.end > end {
                self.pieces.insert(end, piece);
            }
        }
    }

    /// The line that an address belongs to.
    pub(super) fn find(&self, address: u64) -> Option<LinePlace> {
        let (_, piece) = self.pieces.range(..=address).next_back()?;
        (address < piece.end).then_some(piece.line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_runtimes_write() {
        // V8, OpenJDK, .NET, and a name with spaces and more behind it.
        for (line, start, end, name) in [
            (
                "7fefadfc72c0 120 JS:^keepFrames /srv/a.js:2:20",
                0x7fef_adfc_72c0,
                0x7fef_adfc_73e0,
                "JS:^keepFrames /srv/a.js:2:20",
            ),
            ("0x00007f5c a0 int Foo.bar(long)\r", 0x7f5c, 0x7ffc, "int Foo.bar(long)"),
            (
                "00007F1234567890 2a instance void [game] Room::Tick()[Tier1]",
                0x7f12_3456_7890,
                0x7f12_3456_78ba,
                "instance void [game] Room::Tick()[Tier1]",
            ),
            ("1 1  a  b ", 1, 2, "a  b"),
        ] {
            let read = parse_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((read.start, read.end, read.name), (start, end, name.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_malformed_line_is_skipped() {
        for line in [
            "",
            " ",
            "7f00",
            "7f00 ",
            "7f00 10",
            "7f00 10 ",
            "7f00 10   ",
            "7f00 0 empty",
            "x 10 a",
            "7f00 x a",
            "+7f00 10 a",
            "7f00 -1 a",
            "7f00 +1 a",
            " 7f00 10 a",
            "0x 10 a",
            "7f00\t10\ta",
            "10000000000000000 1 a",
            "ffffffffffffffff 1 a",
            "ffffffffffffff00 100 a",
            "\u{ff11} 10 a",
        ] {
            assert_eq!(parse_line(line.as_bytes()), None, "{line:?}");
        }
        assert!(parse_line(b"fffffffffffffffe 1 a").is_some());
    }

    fn line(start: u64, end: u64) -> Line<'static> {
        Line { start, end, name: b"n" }
    }

    fn place(number: u64) -> LinePlace {
        LinePlace { at: number, bytes: 1 }
    }

    #[test]
    fn a_later_line_wins_where_both_are_and_nowhere_else() {
        let mut index = Index::default();
        index.add(&line(100, 200), place(1));
        index.add(&line(120, 130), place(2));
        let found = |index: &Index, address| index.find(address).map(|place| place.at);
        assert_eq!(
            [99, 100, 119, 120, 129, 130, 199, 200].map(|a| found(&index, a)),
            [None, Some(1), Some(1), Some(2), Some(2), Some(1), Some(1), None]
        );
        index.add(&line(90, 125), place(3));
        assert_eq!(
            [89, 90, 124, 125, 130].map(|a| found(&index, a)),
            [None, Some(3), Some(3), Some(2), Some(1)]
        );
        index.add(&line(0, u64::MAX), place(4));
        assert_eq!((found(&index, 0), found(&index, 125), index.pieces.len()), (Some(4), Some(4), 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(line) = parse_line(&bytes) {
                prop_assert!(line.start < line.end && !line.name.is_empty());
            }
        }

        #[test]
        fn the_index_says_what_a_search_through_all_lines_does(
            lines in proptest::collection::vec((0u64..64, 1u64..24), 0..40),
        ) {
            let mut index = Index::default();
            for (number, (start, size)) in lines.iter().enumerate() {
                index.add(&line(*start, start + size), place(number as u64));
            }
            for address in 0..96 {
                let last = lines.iter().rposition(|(start, size)| (*start..start + size).contains(&address));
                prop_assert_eq!(index.find(address).map(|place| place.at), last.map(|number| number as u64));
            }
        }
    }
}
