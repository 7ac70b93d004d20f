//! Code without unwind information whose rule is known all the same, by what it is.
//!
//! Where a program and a thread begin in musl, which is built without unwind information: a walk that comes there knows that
//! it is complete, and in any other such code nobody can tell. And the jumps to functions that a static program chooses
//! when it starts (`IFUNC`), for which linkers write none.

use std::ops::Range;

use profiler_common::unwind::{Kind, Row};

use super::evaluate::{Function, Piece};
use crate::elf::Image;

/// Called by nobody: `crt1.o`, and `__libc_start_main.c`, `clone.s` and `pthread_create.c` of musl.
const ROOTS: [&str; 5] = ["_start", "_start_c", "__libc_start_main", MUSL_MAIN, "__clone"];
/// What calls `main` in musl. No other C library has it.
const MUSL_MAIN: &str = "libc_start_main_stage2";
/// What calls the function of a thread in musl: names that mean nothing elsewhere.
const MUSL_THREADS: [&str; 2] = ["start", "start_c11"];

/// Where jumps through a table stand.
const JUMPS: [&str; 3] = [".plt", ".iplt", ".plt.got"];
/// `jmp *table(%rip)` and padding, as GNU ld and lld write it where nothing is bound later.
const JUMP_BYTES: usize = 8;
/// The return address is on top of the stack.
const JUMP_RULE: Row = Row::of(Kind::RSP, 1, 0);

/// Code and its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    range: Range<u64>,
    row: Row,
}

/// All of it in a file. What has an entry keeps to that.
pub(super) fn known(image: &Image<'_>) -> Vec<Known> {
    let roots = roots(image).map(|range| Known { range, row: Row::END });
    let jumps = jumps(image).map(|range| Known { range, row: JUMP_RULE });
    let mut all: Vec<Known> = roots.chain(jumps).filter(|known| !known.range.is_empty()).collect();
    all.sort_by_key(|known| known.range.start);
    all
}

fn roots(image: &Image<'_>) -> impl Iterator<Item = Range<u64>> {
    let found = image.functions(&|name| ROOTS.contains(&name) || MUSL_THREADS.contains(&name));
    let is_musl = found.iter().any(|function| function.name == MUSL_MAIN);
    found
        .into_iter()
        .filter(move |function| is_musl || function.name == "_start")
        .map(|function| function.address..function.address + function.size)
}

/// Sections with nothing in them but jumps.
fn jumps(image: &Image<'_>) -> impl Iterator<Item = Range<u64>> {
    let only_jumps = |bytes: &[u8]| {
        bytes.chunks(JUMP_BYTES).all(|jump| jump.len() == JUMP_BYTES && jump.starts_with(&[0xff, 0x25]))
    };
    JUMPS.into_iter().filter_map(move |name| {
        let (address, bytes) = image.section(name)?;
        only_jumps(bytes).then(|| address..address.saturating_add(bytes.len() as u64))
    })
}

/// As if they had entries.
pub(super) fn piece(known: &[Known]) -> Piece {
    let function = |(row, known): (usize, &Known)| Function {
        start: known.range.start,
        end: known.range.end,
        first_row: row as u32,
        row_count: 1,
    };
    Piece {
        functions: known.iter().enumerate().map(function).collect(),
        rows: known.iter().map(|known| (0, known.row)).collect(),
        ..Piece::default()
    }
}
