//! `disk`: which files threads wait for, how long, and whether from memory or from a device.

mod args;
mod before;
mod devices;
mod elsewhere;
mod findings;
mod lines;
mod operations;
mod rules;
mod tables;
mod tool;
mod waits;

use crate::{
    io_tools,
    tool::{About, foresight::Foresight},
};

/// The tool, as the registry has it.
pub(crate) const ABOUT: About = About {
    name: "disk",
    question: "Which files and devices do threads wait for, how long, and how regularly?",
    example: "sudo profiler disk --pid 4242 --for 15m",
    explained: "profiler counts every operation of the target on files: which file, which operation, \
        how many bytes, how long, in which thread, called from where, from memory or from a device.",
    options: args::options,
    make: args::make,
    sees: &[
        "every read, write, sync, open, look-up, rename, removal and change of size of a file or directory",
        "the path of each file as it was at that moment, also of deleted files and in containers",
        "requests of io_uring and libaio, and page faults of mapped files for which a thread has to wait",
        "how many bytes were fetched from a device for each operation",
    ],
    cannot_see: &[
        "which write later goes to a device: the kernel writes in the background, for all processes together",
        "requests of libaio whose results the program takes without a call",
        "child processes, without --children",
    ],
    finds_leaks: false,
    has_uprobes: false,
    probes_calls: true,
    object: tool::OBJECT,
    trial: |_| io_tools::try_out(&tool::SHAPE),
    foresee: |_, _, _| Ok(Foresight::default()),
    predict: |_, _, _, _| Ok(None),
};
