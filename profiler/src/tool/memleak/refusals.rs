//! Processes and functions that are not observed, and what is said then.

use std::path::Path;

use crate::{
    elf::{self, Image, returns::HiddenReturn, runtime::Runtime},
    error::{Error, ErrorKind, Result},
    text::Text,
    units,
};

/// What the user is told where `operator new` of an allocator of its own cannot be followed.
pub(super) const NEW_IS_NOT_FOLLOWED: &str = "operator new is not followed: it belongs to the allocator itself and throws when \
    memory is short, and here a return probe would turn that exception into a crash (it takes Linux 6.13 and memory \
    that is not rationed by RLIMIT_AS, RLIMIT_DATA or vm.overcommit_memory=2)";

/// The same where the program has an `operator new` of its own, whose returns are not to be found.
pub(super) const OWN_NEW_IS_NOT_FOLLOWED: &str = "operator new is not followed: the program has its own, which may throw, and its \
    returns cannot be seen without a return probe, which would turn that exception into a crash";

/// None of its files defines anything that could be probed.
pub(super) fn no_allocator(pid: u32) -> Error {
    Error::new(ErrorKind::NothingToObserve, format_args!("tried to find an allocator in process {pid}"))
        .because("none of the files it maps defines malloc, operator new, or a known allocator's functions")
        .hint("name its functions: --alloc-fn 'pool_get:size=arg0,ptr=ret' --free-fn 'pool_put:ptr=arg0'")
}

/// It has moved its code, and the allocator with it.
pub(super) fn is_moved(pid: u32, file: &Text, functions: usize) -> Error {
    let functions = units::plural(functions, "function", "functions");
    Error::new(ErrorKind::NothingToObserve, format_args!("tried to find an allocator in process {pid}"))
        .because(format_args!(
            "the program has moved its code, with {functions} of {} that would be probed, into memory of its own, \
             where probes do not reach",
            file.terminal()
        ))
        .hint("start it without huge pages for code (--use-largepages, iodlr, hugify), and observe it then")
}

/// It copies its own code when it starts, and would take breakpoints along.
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

/// A function of the user's choice cannot be followed safely.
pub(super) fn exceptions_may_pass(name: &str, why: HiddenReturn) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, format_args!("tried to follow {name}"))
        .because(format_args!(
            "an exception may pass it, which a return probe would turn into a crash, and {why}, so that its returns \
             cannot be seen otherwise"
        ))
        .hint("name the function that it ends in, or build it without tail calls (-fno-optimize-sibling-calls)")
}

/// Refuses a program that is about to run, for the reasons that
/// [`check`](super::probes::check) refuses a running one.
pub(super) fn check_image(path: &Path) -> Result<()> {
    let Ok(bytes) = std::fs::read(path) else { return Ok(()) };
    let name = Text::from(path);
    let tried = format!("tried to observe {}", name.terminal());
    match Image::parse(&bytes) {
        Ok(image) if image.is_go() => Err(is_go(&tried, &name)),
        Ok(_) => Ok(()),
        Err(error) => Err(not_understood(&tried, error)),
    }
}

/// Its executable is none that we understand.
pub(super) fn not_understood(tried: &str, error: elf::Error) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, tried)
        .because(format_args!("it is {error}"))
        .hint("run a 64-bit build of the server")
}

/// A Go program.
pub(super) fn is_go(tried: &str, name: &Text) -> Error {
    Error::new(ErrorKind::UnsupportedTarget, tried)
        .because(format_args!("{} is {}", name.terminal(), Runtime::Go.limit()))
        .hint("go tool pprof http://HOST/debug/pprof/heap")
}

/// Whether small requests may fail while the machine has memory: then `operator new` may throw at any time.
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
