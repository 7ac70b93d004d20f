//! Databases, with the loads that come with them.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::server::{Place, Question, Ready, Server, Side, Work, prepare};
use crate::{process, setup::Package};

const REDIS_PACKAGES: &[Package] =
    &[Package::program("redis-server", "redis-server"), Package::program("redis-tools", "redis-benchmark")];

pub(super) const REDIS: Server = Server {
    name: "redis-server",
    packages: REDIS_PACKAGES,
    does: "`redis-benchmark` sets 20,000 keys again and again",
    start: redis,
    ready: Ready::Port,
    load: Some(|place| Ok(redis_benchmark(place, "1"))),
    loaded: Ready::AtOnce,
    question: Question::Tcp(b"PING\r\n"),
    work: Some(Work::Counter(redis_commands)),
    observed: Side::Server,
};

pub(super) const REDIS_PIPELINED: Server = Server {
    name: "redis-server-P16",
    packages: REDIS_PACKAGES,
    does: "the same, 16 commands in a packet",
    start: redis,
    ready: Ready::Port,
    load: Some(|place| Ok(redis_benchmark(place, "16"))),
    loaded: Ready::AtOnce,
    question: Question::Tcp(b"PING\r\n"),
    work: Some(Work::Counter(redis_commands)),
    observed: Side::Server,
};

/// The same, which writes to its file and syncs it before it answers.
pub(super) const REDIS_SYNCED: Server = Server {
    name: "redis-server",
    does: "`redis-benchmark` sets 20,000 keys again and again; `appendfsync always`",
    start: |place| redis_with(place, &["--appendonly", "yes", "--appendfsync", "always"]),
    ..REDIS
};

pub(super) const REDIS_SYNCED_PIPELINED: Server = Server { start: REDIS_SYNCED.start, ..REDIS_PIPELINED };

fn redis(place: &Place) -> Result<Command> {
    redis_with(place, &["--appendonly", "no"])
}

fn redis_with(place: &Place, options: &[&str]) -> Result<Command> {
    let mut server = place.command("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", &place.port.to_string(), "--dir"]).arg(place.path());
    server.args(["--save", ""]).args(options);
    // The list of slow commands would grow on a busy machine, which has nothing to do with the load.
    server.args(["--slowlog-log-slower-than", "-1"]);
    Ok(server)
}

fn redis_benchmark(place: &Place, pipeline: &str) -> Command {
    let mut load = place.command("redis-benchmark");
    load.args(["-p", &place.port.to_string(), "-P", pipeline, "-l"]);
    load.args(["-t", "set", "-r", "20000", "-d", "100"]);
    load
}

/// The commands that it has processed since it was started.
fn redis_commands(place: &Place) -> Result<u64> {
    let mut client = process::command("redis-cli");
    client.args(["-p", &place.port.to_string(), "info", "stats"]);
    let stats = process::ask(&mut client).context("redis-server does not print its statistics")?;
    commands_processed(&stats).context("redis-server does not print how many commands it has processed")
}

fn commands_processed(stats: &str) -> Option<u64> {
    stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:")?.trim().parse().ok())
}

pub(super) const MARIADB: Server = Server {
    name: "mariadbd",
    packages: &[
        Package::file("mariadb-server", "/usr/sbin/mariadbd"),
        Package::program("sysbench", "sysbench"),
    ],
    does: "`sysbench oltp_read_write` with two clients",
    start: |place| {
        let data = place.join("data");
        let mut install = place.command("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        prepare(install.arg(format!("--datadir={}", data.display())))?;
        let mut server = place.command("/usr/sbin/mariadbd");
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--port", &place.port.to_string()]);
        server.arg("--datadir").arg(data).arg("--socket").arg(place.join("socket"));
        server.arg("--pid-file").arg(place.join("pid"));
        Ok(server)
    },
    ready: Ready::Port,
    load: Some(|place| {
        let mut create = place.command("mariadb");
        create.arg("--no-defaults").arg("--socket").arg(place.join("socket"));
        prepare(create.args(["--user=root", "--execute=create database field"]))?;
        prepare(sysbench(place).arg("prepare"))?;
        let mut load = sysbench(place);
        load.args(["--threads=2", "--time=0", "run"]);
        Ok(load)
    }),
    // The server speaks first.
    loaded: Ready::AtOnce,
    question: Question::Tcp(b""),
    work: None,
    observed: Side::Server,
};

fn sysbench(place: &Place) -> Command {
    let mut sysbench = place.command("sysbench");
    sysbench.args(["oltp_read_write", "--db-driver=mysql", "--mysql-user=root", "--mysql-db=field"]);
    sysbench.arg(format!("--mysql-socket={}", place.join("socket").display()));
    sysbench.args(["--tables=2", "--table-size=5000"]);
    sysbench
}

pub(super) const POSTGRES: Server = Server {
    name: "postgres",
    packages: &[Package::program("postgresql", "pgbench")],
    does: "`pgbench` with four clients",
    start: |place| {
        let data = place.join("data");
        let mut install = place.command(&postgres_program("initdb")?);
        prepare(install.args(["--auth=trust", "--username=field", "--pgdata"]).arg(&data))?;
        let mut server = place.command(&postgres_program("postgres")?);
        server.arg("-D").arg(data).arg("-k").arg(place.path());
        server.args(["-h", "127.0.0.1", "-p", &place.port.to_string()]);
        Ok(server)
    },
    ready: Ready::Line("ready to accept connections"),
    load: Some(|place| {
        prepare(pgbench(place)?.args(["--initialize", "--scale=2"]))?;
        let mut load = pgbench(place)?;
        load.args(["--client=4", "--time=3600", "--progress=1"]);
        Ok(load)
    }),
    loaded: Ready::Line("progress:"),
    // A request for an encrypted connection: it answers with one letter.
    question: Question::Tcp(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    work: None,
    observed: Side::Server,
};

/// What calls it.
pub(super) const PGBENCH: Server = Server {
    name: "pgbench",
    does: "runs transactions of seven statements on PostgreSQL, over four connections",
    observed: Side::Load,
    ..POSTGRES
};

fn pgbench(place: &Place) -> Result<Command> {
    let mut pgbench = place.command(&postgres_program("pgbench")?);
    pgbench.args(["--host=127.0.0.1", "--username=field", "--port", &place.port.to_string()]);
    pgbench.env("PGDATABASE", "postgres");
    Ok(pgbench)
}

/// A program of the newest version that is installed: they are not on `PATH`.
fn postgres_program(name: &str) -> Result<String> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let programs = versions.filter_map(|version| {
        let version = version.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let program = version.path().join("bin").join(name);
        program.is_file().then_some((number, program))
    });
    let (_, newest) = programs.max().with_context(|| format!("no version of PostgreSQL has {name}"))?;
    Ok(newest.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_read_from_what_redis_says() {
        let stats = "# Stats\r\ntotal_connections_received:3\r\ntotal_commands_processed:4711\r\n";
        assert_eq!(commands_processed(stats), Some(4711));
        assert_eq!(commands_processed("total_commands_processed:many\r\n"), None);
    }
}
