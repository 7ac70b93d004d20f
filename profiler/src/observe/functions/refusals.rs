//! Messages about processes and functions that are not observed.

use std::path::Path;

use super::plan::Wanted;
use crate::{
    elf::{self, Image, returns::HiddenReturn, runtime::Runtime},
    error::{Error, ErrorKind, Result},
    observe::{refusals::unreadable, space::Space},
    target::modules::Modules,
    text::Text,
    units,
};

/// None of its files defines a function that could be probed.
pub(super) fn nothing_wanted(pid: u32, wanted: &Wanted) -> Error {
    Error::new(ErrorKind::NothingToObserve, format_args!("tried to find {} in process {pid}", wanted.what))
        .because(wanted.because)
        .hint(wanted.hint)
}

/// It has moved its code, including the wanted functions.
pub(super) fn is_moved(pid: u32, wanted: &Wanted, file: &Text, functions: usize) -> Error {
    let functions = units::plural(functions, "function", "functions");
    Error::new(ErrorKind::NothingToObserve, format_args!("tried to find {} in process {pid}", wanted.what))
        .because(format_args!(
            "the program has moved its code, with {functions} of {} that would be probed, into memory of its own, \
             where probes do not reach",
            file.terminal()
        ))
        .hint("start it without huge pages for code (--use-largepages, iodlr, hugify), and observe it then")
}

/// It copies its own code when it starts, and would copy breakpoints too.
pub(super) fn copies_its_code(pid: u32, file: &Text, function: &str, sign: &str) -> Error {
    Error::new(
        ErrorKind::Safety,
        format_args!("tried to probe {function} of {} in process {pid}", file.terminal()),
    )
    .because(format_args!(
        "the program copies its own code when it starts ({sign}), and would die of the breakpoints in it"
    ))
    .hint("start it without huge pages for code, or start it first and observe it by --pid once it runs")
}

/// A function that the user named cannot be followed safely.
pub(super) fn exceptions_may_pass(name: &str, why: HiddenReturn) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, format_args!("tried to follow {name}"))
        .because(format_args!(
            "an exception may pass it, which a return probe would turn into a crash, and {why}, so that its returns \
             cannot be seen otherwise"
        ))
        .hint("name the function that it ends in, or build it without tail calls (-fno-optimize-sibling-calls)")
}

/// Refuses a program that is about to run, for the reasons for which [`check`] refuses a running one. `instead` says what to do
/// with a Go program.
///
/// # Errors
/// For these reasons.
pub(crate) fn check_image(path: &Path, instead: &str) -> Result<()> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(()) };
    let name = Text::from(path);
    let tried = format!("tried to observe {}", name.terminal());
    match Image::parse(&bytes) {
        Ok(image) if image.is_go() => Err(is_go(&tried, &name, instead)),
        Ok(_) => Ok(()),
        Err(error) => Err(not_understood(&tried, error)),
    }
}

/// Refuses processes that would be harmed or misread: Go moves its stacks, and 32-bit code passes arguments elsewhere. `instead`
/// says what to do with a Go program.
///
/// # Errors
/// For these reasons.
pub(crate) fn check(space: &Space, modules: &Modules, instead: &str) -> Result<()> {
    let pid = space.process.pid();
    let exe = format!("/proc/{pid}/exe");
    let file = std::fs::File::open(&exe).map_err(|e| unreadable(&space.process, e))?;
    // SAFETY: the mapping is private and only read; the executable of a running process cannot be written.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| unreadable(&space.process, e))?;
    let tried = format!("tried to observe process {pid}");
    Image::parse(&bytes).map_err(|error| not_understood(&tried, error))?;
    for (mapping, id) in space.layout.files() {
        let Some(bytes) = modules.get(id).and_then(|module| module.bytes().ok()) else { continue };
        if Image::parse(&bytes).is_ok_and(|image| image.is_go()) {
            return Err(is_go(&tried, &Text::from(mapping.path.as_path()), instead));
        }
    }
    Ok(())
}

/// Its executable has a format that profiler does not support.
fn not_understood(tried: &str, error: elf::Error) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, tried)
        .because(format_args!("it is {error}"))
        .hint("run a 64-bit build of the server")
}

/// A Go program.
fn is_go(tried: &str, name: &Text, instead: &str) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, tried)
        .because(format_args!("{} is {}", name.terminal(), Runtime::Go.limit()))
        .hint(instead)
}

/// Whether small requests may fail while the machine has memory: then functions that throw when memory is short may throw at
/// any time.
pub(super) fn memory_is_rationed(pid: u32) -> bool {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let limited = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.is_some_and(|rest| rest.split_ascii_whitespace().next() != Some("unlimited"))
    };
    let strict =
        std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
    strict || limited("Max address space") || limited("Max data size")
}
