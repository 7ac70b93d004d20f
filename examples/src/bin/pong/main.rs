//! A WebSocket Pong server, small enough to read in one sitting and real enough to profile.
//!
//! Rooms of two, 60 ticks per second, everything in memory, and bots that come, play, chat and leave. Two faults
//! can be planted by flag (`--leak sessions`, `--leak chat`); beside them lives honest memory that a leak hunter
//! must *not* blame: tables made at start, a cache with a time to live, and a lot of churn.
//!
//! The same game also runs over HTTP long polling (`--transport longpoll`), and the bots can tell what that costs
//! (`--books`).
//!
//! Where to read: [`court`] is the game, [`room`] the 60 Hz loop, [`server`] the connections, [`bots`] the players.
//! The state is in [`sessions`], [`chat`], [`profiles`] and [`leaderboard`]; what is planted where is in [`leaks`].

mod bots;
mod chat;
mod clock;
mod court;
mod http;
mod leaderboard;
mod leaks;
mod lobby;
mod options;
mod profiles;
mod protocol;
mod room;
mod server;
mod sessions;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bots::books::Books;
use crate::options::Options;
use crate::server::World;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.explain_leaks {
        let expected = leaks::Expectations::of(&options);
        return print_line(&serde_json::to_string_pretty(&expected)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let outcome = runtime.block_on(run(options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Serves until a signal comes or `--for` has passed; either is a success.
async fn run(options: Options) -> anyhow::Result<()> {
    // Handlers first: a signal may come as soon as our pid is printed.
    let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;

    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listening on {}", options.listen))?;
    let address = listener.local_addr().context("asking for the port")?;
    print_line(&format!("listening on {address}\npid {}", std::process::id()))?;

    let (lobby, arrivals) = lobby::open();
    let world = Arc::new(World::new(&options, lobby));
    tokio::spawn(lobby::pair_up(Arc::clone(&world), arrivals, options.seed));
    tokio::spawn(server::keep_house(Arc::clone(&world)));
    let books = Arc::new(Books::open()?);
    let mut bots = bots::spawn_all(address, &options, &books);

    tokio::select! {
        served = server::serve(listener, options.transport, world) => served.context("accepting players")?,
        () = stop_asked(&mut terminate, &mut interrupt, options.run_for) => {}
    }
    if options.books {
        // What is closed is not written to any more.
        bots.shutdown().await;
        print_line(&serde_json::to_string(&books.close(&options))?)?;
    }
    Ok(())
}

/// Resolves at the first of SIGTERM, SIGINT and the end of `run_for`.
async fn stop_asked(terminate: &mut Signal, interrupt: &mut Signal, run_for: Option<Duration>) {
    let time_is_up = async {
        match run_for {
            Some(length) => tokio::time::sleep(length).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = time_is_up => {}
    }
}

/// Writes one line and flushes: the starting program reads the address from a pipe.
fn print_line(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("writing to stdout")
}
