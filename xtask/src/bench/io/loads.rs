//! What is observed: loops of one operation, and a redis-server under its benchmark.

use std::{net::TcpListener, num::NonZero, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use testbed::running::{Running, Stream};

use super::super::{
    Rig,
    target::{FramePointers, Target, compile_cpp, number},
};
use crate::process::{self, command, die_with_us, on_path};

/// Length of one measurement of a loop.
const INTERVAL_MS: &str = "300";
/// Longest time in which redis-server starts.
const PATIENCE: Duration = Duration::from_secs(30);
/// What redis-server does for a request: it reads it, and writes the answer. Several that come together share both.
const EVENTS: f64 = 2.0;

/// A load.
pub(super) struct Load {
    pub(super) name: &'static str,
    /// Which of the tools sees its operations, if any.
    pub(super) tool: Option<&'static str>,
    kind: Kind,
}

enum Kind {
    /// What the workload is told.
    Loop,
    /// Requests, and how many of them a client sends at once.
    Redis { requests: u32, at_once: u32 },
}

pub(super) const LOADS: [Load; 6] = [
    Load { name: "redis", tool: Some("sockets"), kind: Kind::Redis { requests: 50_000, at_once: 1 } },
    Load {
        name: "redis_pipelined",
        tool: Some("sockets"),
        kind: Kind::Redis { requests: 400_000, at_once: 16 },
    },
    Load { name: "echo", tool: Some("sockets"), kind: Kind::Loop },
    Load { name: "read", tool: Some("disk"), kind: Kind::Loop },
    Load { name: "sync", tool: Some("disk"), kind: Kind::Loop },
    // What uses no file costs, too: two calls, and a switch from one thread to another.
    Load { name: "turn", tool: None, kind: Kind::Loop },
];

/// One measurement of a load.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    /// Processor time of the process per event, in nanoseconds.
    pub(super) ns: f64,
    /// Events per second on the clock.
    pub(super) per_s: f64,
}

/// The processes that are measured, and another one like them, which does nothing.
pub(super) struct Loads {
    target: Target,
    another: Target,
    redis: Option<Redis>,
}

impl Loads {
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        let program = compile_cpp("transfers.cpp", FramePointers::No, &rig.scratch)?;
        let start = || {
            let mut command = command(&program);
            Target::start(command.current_dir(&rig.scratch).args(["--milliseconds", INTERVAL_MS]))
        };
        let redis = if on_path("redis-server") && on_path("redis-benchmark") {
            Some(Redis::start(rig)?)
        } else {
            println!("redis-server is not installed: left out");
            None
        };
        Ok(Self { target: start()?, another: start()?, redis })
    }

    /// Process ids of what is measured.
    pub(super) fn pids(&self) -> Vec<String> {
        let redis = self.redis.as_ref().map(|redis| redis.server.id());
        [Some(self.target.pid()), redis].into_iter().flatten().map(|pid| pid.to_string()).collect()
    }

    /// Process id of the other one.
    pub(super) fn another(&self) -> String {
        self.another.pid().to_string()
    }

    /// Each load once; `None` for one that is not there.
    pub(super) fn measure(&mut self) -> Result<Vec<Option<Measured>>> {
        let mut measure = |load: &Load| -> Result<Option<Measured>> {
            match load.kind {
                Kind::Loop => {
                    let answer = self.target.ask(load.name)?;
                    let (ns, per_s) = (number(&answer, "cpu_ns")?, 1e9 / number(&answer, "ns")?);
                    Ok(Some(Measured { ns, per_s }))
                }
                Kind::Redis { requests, at_once } => {
                    self.redis.as_ref().map(|redis| redis.measure(requests, at_once)).transpose()
                }
            }
        };
        LOADS
            .iter()
            .map(|load| measure(load).with_context(|| format!("cannot measure {}", load.name)))
            .collect()
    }
}

/// A redis-server that keeps nothing on disk. Killed when dropped.
struct Redis {
    server: Running,
    port: String,
}

impl Redis {
    fn start(rig: &Rig) -> Result<Self> {
        // The port is free again when the listener is dropped.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string();
        let mut server = on_processor(Processor::First, "redis-server");
        server.current_dir(&rig.scratch).args(["--bind", "127.0.0.1", "--port", &port]);
        server.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        die_with_us(&mut server, Signal::KILL);
        let mut server = Running::start(&mut server, &[Stream::Stdout])?;
        server.wait_for("that it is ready", PATIENCE, |line| {
            line.text.contains("Ready to accept connections")
        })?;
        Ok(Self { server, port })
    }

    fn measure(&self, requests: u32, at_once: u32) -> Result<Measured> {
        let before = self.cpu_ns()?;
        let mut benchmark = on_processor(Processor::Second, "redis-benchmark");
        benchmark.args(["-h", "127.0.0.1", "-p", &self.port, "-t", "get", "--csv"]);
        benchmark.args(["-n", &requests.to_string(), "-P", &at_once.to_string()]);
        let said = process::ask(&mut benchmark)
            .with_context(|| format!("`{}` failed", process::show(&benchmark)))?;
        let cpu_ns = self.cpu_ns()? - before;
        let per_request = EVENTS / f64::from(at_once);
        Ok(Measured {
            ns: cpu_ns / f64::from(requests) / per_request,
            per_s: per_s(&said).with_context(|| format!("no rate in {said}"))? * per_request,
        })
    }

    /// Processor time of its main thread so far, in nanoseconds.
    fn cpu_ns(&self) -> Result<f64> {
        let path = format!("/proc/{}/schedstat", self.server.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        match text.split_whitespace().next().and_then(|ns| ns.parse().ok()) {
            Some(ns) => Ok(ns),
            None => bail!("{path} does not begin with a number: {text}"),
        }
    }
}

/// Requests per second: a line of a benchmark of GET is `"GET","57142.86",...`.
fn per_s(csv: &str) -> Option<f64> {
    let line = csv.lines().find_map(|line| line.strip_prefix("\"GET\",\""))?;
    line.split('"').next()?.parse().ok()
}

enum Processor {
    First,
    Second,
}

/// A program on one processor. The server and its clients have one each, if there are two: otherwise the scheduler decides anew in each
/// measurement whether they share one.
fn on_processor(which: Processor, program: &str) -> Command {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let number = match which {
        Processor::Second if processors > 1 => "1",
        _ => "0",
    };
    let mut command = command("taskset");
    command.args(["--cpu-list", number, program]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_second_field() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"57142.86\",\"0.512\"\n";
        assert_eq!(per_s(csv), Some(57_142.86));
        assert_eq!(per_s("\"test\",\"rps\"\n"), None);
    }
}
