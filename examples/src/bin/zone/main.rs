//! A zone server of an online game, small enough to read in an afternoon and real enough to profile.
//!
//! One loop with 20 turns a second, everything in memory. Beside the loop, threads save the world, write a log, keep players in
//! a backend and serve spectators; the loop waits for none of them. Faults can be planted by flag, each in a function of its own
//! name, and the last line of a run says exactly what the server did.
//!
//! Where to read: [`tick`] is the loop, [`world`] the game, [`gateway`] the players' socket, [`spectators`] the others'.
//! [`save`], [`events`] and [`store`] are what runs beside it, [`faults`] says what is planted where, [`books`] what is counted.
//! The players are [`bots`] and the stand-in for Redis is [`backend`]: both are processes of their own.

mod backend;
mod books;
mod bots;
mod children;
mod clock;
mod config;
mod events;
mod faults;
mod gateway;
mod options;
mod protocol;
mod redis;
mod resp;
mod save;
mod savefile;
mod server;
mod spectators;
mod stop;
mod store;
mod threads;
mod tick;
mod world;

use std::io::{self, Write};

use anyhow::Context;
use clap::Parser;

use crate::options::{Options, Role};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match &options.role {
        Some(Role::Bots(bots)) => bots::run(bots),
        Some(Role::Backend(backend)) => backend::run(backend),
        None if options.server.explain => {
            print_line(&serde_json::to_string_pretty(&faults::explain(&options.server))?)
        }
        None => server::run(&options.server),
    }
}

/// Writes one line and flushes: the starting program reads it from a pipe.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("writing to stdout")
}
