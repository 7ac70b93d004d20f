//! `sockets`: what threads send and receive, by service and peer, and how long they wait for answers.

mod args;
mod columns;
mod findings;
mod lines;
mod operations;
mod rules;
mod states;
mod tables;
mod tool;

use crate::{
    io_tools,
    tool::{About, foresight::Foresight},
};

/// The tool, as the registry has it.
pub(crate) const ABOUT: About = About {
    name: "sockets",
    question: "Who do threads talk to, how much do they send and receive, and how long do answers take?",
    example: "sudo profiler sockets --pid 4242 --for 1m",
    explained: "profiler counts every operation of the target on sockets: which port or remote service, how \
        many messages and bytes in each direction, how long until the answer, in which thread.",
    options: args::options,
    make: args::make,
    sees: &[
        "every send, receive, accept, connect and close on sockets of TCP, UDP and Unix, by port, path or remote address",
        "how long answers take: from the last byte sent to the first byte back, and from a request to its answer",
        "connections: how many, with whom, how long they lived, and what each has moved",
        "queues, dropped datagrams, retransmissions, resets and round-trip times, and how old data was when it was read",
    ],
    cannot_see: &[
        "what is inside of TLS",
        "what a request of io_uring receives that goes on (multishot), before its last completion",
        "when bytes went onto the wire: what is sent goes into a buffer of the kernel",
        "child processes, without --children",
    ],
    finds_leaks: false,
    has_uprobes: false,
    probes_calls: true,
    object: tool::OBJECT,
    trial: |_| Ok([io_tools::try_out(&tool::SHAPE)?, states::try_out()?].concat()),
    foresee: |_, _, _| Ok(Foresight::default()),
    predict: |_, _, _, _| Ok(None),
};
