//! Tests on made-up unwind information. Real files are compared in `tests/unwind_tables.rs`.

mod absurd;
mod packing;
mod placing;
mod rules;

use profiler_common::unwind::{Kind, Rare, Row};

use super::{Error, Options, Table, build};
use crate::elf::tests::{
    build::{CODE_ADDRESS, MadeFile},
    unhex,
};
use crate::unwind::file::ProgramFile;

/// An `.eh_frame` in the making. Addresses are absolute.
#[derive(Clone, Default)]
struct Frames(Vec<u8>);

impl Frames {
    /// With one common part: CFA = rsp + 8, return address at c-8.
    fn usual() -> Frames {
        Frames::default().shared("0c0708 9001")
    }

    /// A common part (CIE): version 1, code alignment 1, data alignment -8, return address in column 16.
    fn shared(self, rules: &str) -> Frames {
        self.entry(&unhex(&format!("00000000 01 00 01 78 10 {rules}")))
    }

    /// An entry (FDE) for the common part at offset 0.
    fn function(self, start: u64, size: u64, rules: &str) -> Frames {
        let mut entry = u32::try_from(self.0.len() + 4).unwrap().to_le_bytes().to_vec();
        entry.extend(start.to_le_bytes());
        entry.extend(size.to_le_bytes());
        entry.extend(unhex(rules));
        self.entry(&entry)
    }

    /// Any entry, padded with instructions that do nothing.
    fn entry(mut self, content: &[u8]) -> Frames {
        let size = (content.len() + 4).next_multiple_of(8) - 4;
        self.0.extend(u32::try_from(size).unwrap().to_le_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len() + size - content.len(), 0);
        self
    }

    /// Bytes as they are.
    fn raw(mut self, hex: &str) -> Frames {
        self.0.extend(unhex(hex));
        self
    }

    /// A file with this section, and code of `size` bytes at [`CODE_ADDRESS`].
    fn file(&self, size: usize) -> Vec<u8> {
        MadeFile::new().code(&"90".repeat(size)).section(".eh_frame", 0x8000, self.0.clone()).bytes()
    }

    fn table(&self, size: usize) -> Result<Table, Error> {
        made(self.file(size))
    }
}

fn made(file: Vec<u8>) -> Result<Table, Error> {
    build(&ProgramFile::of_bytes(file), &Options { threads: 1, debug_roots: Vec::new() })
}

/// CFA = rsp + `cfa`, and nothing saved.
fn rsp(cfa: u32) -> Row {
    Row::of(Kind::RSP, cfa / 8, 0)
}

/// The rule at an address, with `lo` 0.
fn rule(table: &Table, address: u64) -> Row {
    table.row(address).at(0)
}

/// The rare rule at an address.
fn rare(table: &Table, address: u64) -> Rare {
    let row = table.row(address);
    assert_eq!(row.kind(), Kind::RARE, "{row:?}");
    table.rules().rules()[row.rare_index() as usize]
}
