//! Where stacks begin in code without unwind information: the start of a program and of a thread in musl, which is built
//! without any.
//!
//! A walk that comes there knows that it is complete; in any other code without unwind information nobody can tell.

use std::ops::Range;

use profiler_common::unwind::Row;

use super::evaluate::{Function, Piece};
use crate::elf::Image;

/// Called by nobody: `crt1.o`, and `__libc_start_main.c`, `clone.s` and `pthread_create.c` of musl.
const ROOTS: [&str; 5] = ["_start", "_start_c", "__libc_start_main", MUSL_MAIN, "__clone"];
/// What calls `main` in musl. No other C library has it.
const MUSL_MAIN: &str = "libc_start_main_stage2";
/// What calls the function of a thread in musl: names that mean nothing elsewhere.
const MUSL_THREADS: [&str; 2] = ["start", "start_c11"];

/// The functions of a file that stacks begin with.
pub(super) fn roots(image: &Image<'_>) -> Vec<Range<u64>> {
    let found = image.functions(&|name| ROOTS.contains(&name) || MUSL_THREADS.contains(&name));
    let is_musl = found.iter().any(|function| function.name == MUSL_MAIN);
    found
        .iter()
        .filter(|function| is_musl || !MUSL_THREADS.contains(&function.name.as_str()))
        .map(|function| function.address..function.address + function.size)
        .filter(|range| !range.is_empty())
        .collect()
}

/// Rules for them: there is no caller.
pub(super) fn ends(roots: &[Range<u64>]) -> Piece {
    let function = |(row, range): (usize, &Range<u64>)| Function {
        start: range.start,
        end: range.end,
        first_row: row as u32,
        row_count: 1,
    };
    Piece {
        functions: roots.iter().enumerate().map(function).collect(),
        rows: roots.iter().map(|_| (0, Row::END)).collect(),
        ..Piece::default()
    }
}
