//! `syscalls`: where threads spend their time in the kernel, with which errors, called from where.

mod args;
mod cells;
mod children;
pub mod counted;
mod findings;
mod kinds;
mod number_calls;
mod part;
mod price;
pub mod probes;
mod recent;
mod rows;
mod rules;
mod settled;
mod single;
mod slow;
mod sums;
mod tables;
mod tool;

use crate::tool::{About, foresight::Foresight};

/// The tool, as the registry has it.
pub(crate) const ABOUT: About = About {
    name: "syscalls",
    question: "Where is time spent in the kernel, with which errors, called from where?",
    example: "sudo profiler syscalls --pid 4242 --for 15m",
    explained: "profiler counts every system call of the target by thread: how many, how long, \
        which errors. Calls that are in progress are shown as such.",
    options: args::options,
    make: args::make,
    sees: &[
        "every system call of every thread, native, of i386 and of x32, with its duration and its error",
        "calls that are in progress at the end, and calls that ended with their thread",
    ],
    cannot_see: &[
        "how long operations of io_uring take: they are counted by kind",
        "calls of the vDSO, which do not enter the kernel",
        "child processes, without --children",
    ],
    finds_leaks: false,
    has_uprobes: false,
    probes_calls: true,
    object: probes::OBJECT,
    trial: |_| probes::try_out().map(|()| Vec::new()),
    foresee: |_, _, _| Ok(Foresight::default()),
    predict: |_, _, _, _| Ok(None),
};
