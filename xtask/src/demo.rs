//! `cargo xtask demo`: from a fresh clone to the name of a leaking function.

use std::{
    fs,
    io::ErrorKind,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use testbed::running::{Running, Stream};

use crate::{
    artifacts, examples,
    privilege::Privilege,
    process::{cargo, command, die_with_us, show},
    setup::{self, Need},
    workspace,
};

/// What pong says before its address.
const LISTENS: &str = "listening on ";

/// How long the server may take until it listens, and again until it has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to observe, in seconds; a block counts as old after a quarter of it
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(8..=3600))]
    seconds: u32,
}

/// `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let privilege = Privilege::find()?;
    setup::ensure(&[Need::Build])?;
    let built = artifacts::build(cargo().args(["build", "--release", "--package", "profiler", "--bins"]))?;
    let profiler = &artifacts::program(&built, "profiler")?.path;
    let pong = examples::pong()?;
    let output = workspace::target_dir().join("demo");
    // Files of an earlier run would be taken for results of this one.
    match fs::remove_dir_all(&output) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).context("cannot clear target/demo");
        }
        _ => fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?,
    }

    let stop = Stop::listen()?;
    let server = Server::start(&pong)?;
    println!(
        "\npong listens on {} as process {}; its chat history is never trimmed\n",
        server.address, server.pid
    );
    let observed = observe(privilege, profiler, &server, &output, args.seconds, &stop);
    drop(server);
    let handed_back = privilege.hand_back(&output);
    let status = observed?;
    handed_back?;
    if !status.success() {
        bail!("profiler failed ({status})");
    }
    if stop.requested() {
        bail!("stopped by a signal");
    }
    println!();
    for (what, file) in [("flame graph", "pong.svg"), ("report", "pong.json")] {
        let file = output.join(file);
        // profiler says why, above: no block was old enough, for example.
        let state = if file.is_file() { "" } else { " (not written)" };
        println!("{what}: {}{state}", file.display());
    }
    Ok(())
}

fn observe(
    privilege: Privilege,
    profiler: &Path,
    server: &Server,
    output: &Path,
    seconds: u32,
    stop: &Stop,
) -> Result<ExitStatus> {
    let mut memleak = privilege.command(profiler, &[]);
    memleak
        .args(["memleak", "--pid", &server.pid.to_string()])
        .args(["--older", &format!("{}s", seconds / 4), "--for", &format!("{seconds}s")])
        .arg("-o")
        .arg(output.join("pong.json"))
        .arg("-o")
        .arg(output.join("pong.svg"));
    println!("$ {}", show(&memleak));
    let mut child = memleak.spawn().with_context(|| format!("cannot run {}", profiler.display()))?;
    // Ctrl-C reaches profiler from the terminal: it reports what it has so far, and we wait for that. A signal to us
    // alone does not, so the server is ended, which profiler reports too.
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.requested() && !told {
            told = true;
            end(server.pid, Signal::TERM);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The signals that would end us. They are noted instead, so that what we started is always ended too.
struct Stop {
    ended: Arc<AtomicBool>,
}

impl Stop {
    fn listen() -> Result<Self> {
        let ended = Arc::<AtomicBool>::default();
        // Ctrl-C only has to not end us: profiler gets it too and ends by itself, and then so do we.
        for (signal, flag) in
            [(SIGINT, Arc::default()), (SIGTERM, Arc::clone(&ended)), (SIGHUP, Arc::clone(&ended))]
        {
            signal_hook::flag::register(signal, flag).context("cannot listen for signals")?;
        }
        Ok(Self { ended })
    }

    /// A signal asks this task to end, and not all programs of the terminal.
    fn requested(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The observed server. It ends when this is dropped, and when this process dies.
struct Server {
    running: Running,
    pid: Pid,
    address: String,
}

impl Server {
    fn start(program: &Path) -> Result<Self> {
        let mut pong = command(program);
        pong.args(["--bots", "40", "--leak", "chat", "--listen", "127.0.0.1:0"]);
        // Its own process group: Ctrl-C is for profiler, which then finds its target alive.
        pong.process_group(0);
        die_with_us(&mut pong, Signal::TERM);
        println!("$ {}", show(&pong));
        let running = Running::start(&mut pong, &[Stream::Stdout])?;
        let pid = running.pid();
        let mut server = Self { running, pid, address: String::new() };
        let line =
            server.running.wait_for("where it listens", PATIENCE, |line| line.text.starts_with(LISTENS))?;
        line.text.trim_start_matches(LISTENS).trim().clone_into(&mut server.address);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.signal(Signal::TERM);
        match self.running.wait(PATIENCE) {
            Ok(Some(status)) if status.signal().is_some_and(|signal| signal != SIGTERM) => {
                println!("pong was ended: {status}");
            }
            Ok(None) => println!("pong does not end, and is killed"),
            _ => {}
        }
    }
}

fn end(process: Pid, signal: Signal) {
    // It may have ended by itself. It is our child and not yet waited for, so the number is still its own.
    let _ = rustix::process::kill_process(process, signal);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(name: &str, body: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("xtask-demo-{}-{name}", std::process::id()));
        // Written by another process: a file that a child of a test beside this one still has open for writing, without
        // knowing, cannot be run.
        let text = format!("#!/bin/sh\n{body}\n");
        let written =
            command("sh").args(["-c", "printf %s \"$1\" > \"$2\"", "sh", &text]).arg(&path).status();
        assert!(written.unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_server_is_known_by_its_address_and_ended_with_its_guard() {
        let path = script("ok", "echo hello; echo listening on 127.0.0.1:7; echo pid $$; exec sleep 600");
        let server = Server::start(&path).unwrap();
        assert_eq!(server.address, "127.0.0.1:7");
        let pid = server.pid;
        drop(server);
        assert!(rustix::process::test_kill_process(pid).is_err());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error() {
        let path = script("bad", "exit 3");
        let error = Server::start(&path).map(|_| ()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("did not say where it listens: it has ended (exit status: 3); it said:\n"),
            "{error}"
        );
        fs::remove_file(path).unwrap();
    }
}
