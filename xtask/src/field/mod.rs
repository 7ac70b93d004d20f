//! `cargo xtask field`: the first lines of reports on real servers, and what the observation costs them.
//!
//! Servers from Debian's packages, and our own pong, run one after the other on the loopback interface, each in a directory
//! of its own, as a user without privileges. Each is loaded, observed as a sysadmin would, asked whether it still works, and
//! ended. The first lines are compared with what was judged to be right.

mod databases;
mod expect;
mod games;
mod loss;
mod names;
mod observe;
mod pages;
mod registries;
mod report;
mod running;
mod server;
mod stop;
mod subjects;
mod tables;
mod transports;
mod web;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

use self::{
    observe::Rig,
    running::Running,
    server::Server,
    stop::Stop,
    subjects::{DISK, SOCKETS, SYSCALLS, Subject},
    tables::Outcome,
};
use crate::{
    artifacts, examples,
    privilege::Privilege,
    process::{self, cargo, command},
    setup::{self, Need},
    workspace,
};

const SERVERS: [&Server; 12] = [
    &games::PONG,
    &games::MINETEST,
    &games::FREECIV,
    &games::OPENTTD,
    &games::TEEWORLDS,
    &databases::REDIS,
    &databases::REDIS_PIPELINED,
    &databases::MARIADB,
    &web::NGINX,
    &web::NODE,
    &web::JAVA,
    &web::LUAJIT,
];

/// Options of `cargo xtask field`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these servers
    names: Vec<String>,
    /// Observe by `profiler syscalls`: healthy servers under load, of which nothing may be called pointless
    #[arg(long)]
    syscalls: bool,
    /// Observe by `profiler disk`: healthy servers under load, whose files have names, and of which nothing may be called a problem
    #[arg(long, conflicts_with = "syscalls")]
    disk: bool,
    /// Observe by `profiler sockets`: the same for services
    #[arg(long, conflicts_with_all = ["syscalls", "disk"])]
    sockets: bool,
    /// Observe pong over WebSocket and over long polling by `profiler sockets`, and compare them
    #[arg(long, conflicts_with_all = ["syscalls", "disk", "sockets", "names"])]
    transports: bool,
    /// Write docs/field.md, docs/field-TOOL.md or docs/field-transports.md, from the results of all servers
    #[arg(long, conflicts_with = "names")]
    write_docs: bool,
    /// Do not measure what the observation costs
    #[arg(long)]
    no_loss: bool,
    /// Observe with this profiler instead of building one
    #[arg(long, value_name = "FILE")]
    profiler: Option<PathBuf>,
    /// Observe this pong instead of building one
    #[arg(long, value_name = "FILE")]
    pong: Option<PathBuf>,
    /// Age from which a block is suspicious, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    older: u64,
    /// How long each server is observed, in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

impl Args {
    /// The tool other than `memleak` that observes.
    fn subject(&self) -> Option<&'static Subject> {
        let chosen = [(self.syscalls, &SYSCALLS), (self.disk, &DISK), (self.sockets, &SOCKETS)];
        chosen.into_iter().find(|(is_chosen, _)| *is_chosen).map(|(_, subject)| subject)
    }
}

/// `cargo xtask field`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let subject = args.subject();
    let all = subject.map_or(&SERVERS[..], |subject| subject.servers);
    let servers = chosen(all, &args.names)?;
    let privilege = Privilege::find()?;
    let packages: Vec<_> = match args.transports {
        true => Vec::new(),
        false => servers.iter().flat_map(|server| server.packages).collect(),
    };
    setup::ensure_packages(&packages, "the field")?;
    let profiler = match &args.profiler {
        Some(given) => given.clone(),
        None => build()?,
    };
    let pong = match &args.pong {
        Some(given) => given.clone(),
        None => examples::pong()?,
    };
    let output = workspace::target_dir().join("field");
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    let rig = Rig {
        privilege,
        profiler,
        pong,
        output,
        older: Duration::from_secs(args.older),
        length: Duration::from_secs(args.seconds),
    };
    let stop = Stop::listen()?;
    if args.transports {
        return transports::run(&rig, args.write_docs, &stop);
    }
    if let Some(subject) = subject {
        return pages::run(&rig, subject, &servers, args.write_docs, &stop);
    }
    let mut outcomes = Vec::new();
    for server in servers {
        println!("\n== {}: {}", server.name, server.does);
        outcomes.push(outcome(&rig, server, !args.no_loss, &stop)?);
    }
    tables::print(&outcomes);
    if args.write_docs {
        let how = format!("profiler memleak --max-cost 100% --older {}s --for {}s", args.older, args.seconds);
        tables::write_docs(&outcomes, &how)?;
    }
    let failed: Vec<&str> = outcomes.iter().filter(|o| !o.faults.is_empty()).map(|o| o.name).collect();
    if !failed.is_empty() {
        bail!("not as expected: {}", failed.join(", "));
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    setup::ensure(&[Need::Build])?;
    let built = artifacts::build(cargo().args(["build", "--release", "--package", "profiler", "--bins"]))?;
    Ok(artifacts::program(&built, "profiler")?.path.clone())
}

fn chosen(all: &[&'static Server], names: &[String]) -> Result<Vec<&'static Server>> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| all.iter().copied().find(|server| server.name == name);
    let known = || all.iter().map(|server| server.name).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("no server `{name}`; there are: {}", known())))
        .collect()
}

/// Runs one server. A failure is its result, and the next server follows; only a signal ends this task.
fn outcome(rig: &Rig, server: &Server, with_loss: bool, stop: &Stop) -> Result<Outcome> {
    let mut outcome = Outcome {
        name: server.name,
        does: server.does,
        because: expect::of(server.name).map_or("", |expected| expected.because),
        version: server.packages.first().map_or_else(String::new, |package| version(package.name())),
        answer: None,
        loss: None,
        faults: Vec::new(),
    };
    if let Err(error) = visit(rig, server, with_loss, stop, &mut outcome) {
        stop.check()?;
        outcome.faults.push(format!("{error:#}"));
    }
    Ok(outcome)
}

fn visit(rig: &Rig, server: &Server, with_loss: bool, stop: &Stop, outcome: &mut Outcome) -> Result<()> {
    let place = server::Place::new(server.name, &rig.pong)?;
    let mut running = Running::start(server.name, &mut (server.start)(&place)?)?;
    running.wait_until(&server.ready, place.port, stop)?;
    let pid = running.pid();
    let mut load = match server.load {
        Some(load) => Some(Running::start("the load", &mut load(&place)?)?),
        None => None,
    };
    let observed = rig.observe(server.name, pid, stop)?;
    println!("{}", observed.answer.text);
    outcome.faults.extend(expect::faults(server.name, &observed.answer));
    if !observed.status.success() {
        outcome.faults.push(format!("profiler ended with {}", observed.status));
    }
    outcome.answer = Some(observed.answer);
    running.check_answers(&server.question, place.port, stop)?;
    if let Some(work) = server.work.as_ref().filter(|_| with_loss) {
        let loss = loss::measure(rig, &place, pid, work, stop)?;
        outcome.faults.extend(loss.faults().into_iter().map(str::to_owned));
        outcome.loss = Some(loss);
    }
    if let Some(load) = &mut load {
        load.check_lives()?;
    }
    running.check_answers(&server.question, place.port, stop)
}

/// The version of a package, without what Debian adds to it.
fn version(package: &str) -> String {
    let mut query = command("dpkg-query");
    query.args(["--show", "--showformat=${Version}", package]);
    process::ask(&mut query).map_or_else(|| "unknown".into(), |version| upstream(&version).to_owned())
}

fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_chosen_by_name() {
        let names = |chosen: Vec<&Server>| chosen.iter().map(|server| server.name).collect::<Vec<_>>();
        assert_eq!(names(chosen(&SERVERS, &["nginx".into(), "pong".into()]).unwrap()), ["nginx", "pong"]);
        assert_eq!(chosen(&SERVERS, &[]).unwrap().len(), SERVERS.len());
        assert!(chosen(&SERVERS, &["apache".into()]).is_err());
    }

    #[test]
    fn each_server_of_a_page_has_a_name_of_its_own() {
        for subject in subjects::ALL {
            let names: std::collections::BTreeSet<_> =
                subject.servers.iter().map(|server| server.name).collect();
            assert_eq!(names.len(), subject.servers.len(), "{}", subject.tool);
        }
    }

    #[test]
    fn every_server_was_judged() {
        let unjudged: Vec<_> = SERVERS.iter().filter(|server| expect::of(server.name).is_none()).collect();
        assert_eq!(unjudged.iter().map(|server| server.name).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn a_version_is_that_of_its_makers() {
        assert_eq!(upstream("5:7.0.15-1~deb12u7"), "7.0.15");
        assert_eq!(upstream("5.6.1+dfsg+~1.9.0mt8+dfsg-2"), "5.6.1");
        assert_eq!(upstream("13.0-2"), "13.0");
    }
}
