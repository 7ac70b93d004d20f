//! Call stacks as lists of names, for formats that scripts read.

use crate::report::{Report, Stack};

/// The calls of a stack, innermost first: `function file:line`, or `file+0xoffset` where there is no function. They are
/// safe to print.
pub(super) fn names(report: &Report, stack: &Stack) -> Vec<String> {
    let mut names = Vec::new();
    for frame in report.frames_of(stack) {
        for function in &frame.functions {
            let place = function.file.as_ref().zip(function.line);
            let place = place.map_or_else(String::new, |(file, line)| format!(" {}:{line}", file.terminal()));
            names.push(format!("{}{place}", function.name.terminal()));
        }
        if frame.functions.is_empty() {
            names.push(match (&frame.module, frame.file_offset) {
                (Some(module), Some(offset)) => format!("{}+{offset:#x}", module.terminal()),
                _ => format!("{:#x}", frame.address),
            });
        }
    }
    names
}
