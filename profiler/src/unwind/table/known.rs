//! Code without unwind information whose rule is known from what the code is.
//!
//! First, the functions of musl in which a program or a thread begins. musl is built without unwind information: a walk
//! that reaches one of these is complete, which is unknown in any other code without entry. Second, the jumps to
//! functions that a static program chooses when it starts (`IFUNC`): linkers write no entries for them.

use std::ops::Range;

use profiler_common::unwind::{Kind, Row};

use super::evaluate::{Function, Piece};
use crate::elf::Image;

/// Outermost functions: `crt1.o`, and `__libc_start_main.c`, `clone.s` and `pthread_create.c` of musl.
const ROOTS: [&str; 5] = ["_start", "_start_c", "__libc_start_main", MUSL_MAIN, "__clone"];
/// The function of musl that calls `main`. No other C library has it.
const MUSL_MAIN: &str = "libc_start_main_stage2";
/// The functions of musl that call the function of a thread. Elsewhere these names mean nothing.
const MUSL_THREADS: [&str; 2] = ["start", "start_c11"];

/// Sections with jumps through a table.
const JUMPS: [&str; 3] = [".plt", ".iplt", ".plt.got"];
/// `jmp *table(%rip)` and padding, as GNU ld and lld write it for tables that are filled at the start.
const JUMP_BYTES: usize = 8;
/// The return address is on top of the stack.
const JUMP_RULE: Row = Row::of(Kind::RSP, 1, 0);

/// Code and its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    range: Range<u64>,
    row: Row,
}

/// All such code of a file. Where an entry exists, the entry counts.
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

/// Sections that contain nothing but jumps.
fn jumps(image: &Image<'_>) -> impl Iterator<Item = Range<u64>> {
    let only_jumps = |bytes: &[u8]| {
        bytes.chunks(JUMP_BYTES).all(|jump| jump.len() == JUMP_BYTES && jump.starts_with(&[0xff, 0x25]))
    };
    JUMPS.into_iter().filter_map(move |name| {
        let (address, bytes) = image.section(name)?;
        only_jumps(bytes).then(|| address..address.saturating_add(bytes.len() as u64))
    })
}

/// The rules in the form of decoded entries.
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
