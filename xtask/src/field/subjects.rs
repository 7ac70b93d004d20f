//! What `cargo xtask field` makes a page of, besides `memleak`: a tool, and the servers that it observes.

use super::{
    databases::{MARIADB, PGBENCH, POSTGRES, REDIS, REDIS_PIPELINED, REDIS_SYNCED, REDIS_SYNCED_PIPELINED},
    games::{MINETEST, TEEWORLDS_LOADED},
    names::Bytes,
    registries::ZOOKEEPER_CLIENT,
    server::Server,
    web::{NGINX, NGINX_SENDFILE, NODE_HTTP, NODE_WEBSOCKET},
};

/// A tool on healthy servers.
pub(super) struct Subject {
    /// The tool; its page is `docs/field-TOOL.md`.
    pub(super) tool: &'static str,
    pub(super) servers: &'static [&'static Server],
    /// The rule that the first finding on a healthy server must have.
    pub(super) answer: &'static str,
    /// Problems that were judged to be ones.
    pub(super) judged: &'static [Judged],
    /// Options of the tool besides those of every run.
    pub(super) options: &'static [&'static str],
    /// Where the report says to what name bytes belong, if the tool counts bytes.
    pub(super) bytes: Option<Bytes>,
    /// The head of the page.
    pub(super) head: &'static str,
}

/// Problems that a server has as its package brings it.
pub(super) struct Judged {
    /// The server's name.
    pub(super) server: &'static str,
    /// The rules by which it is found.
    pub(super) rules: &'static [&'static str],
    /// Why it is one, for the page.
    pub(super) because: &'static str,
}

impl Subject {
    /// What was judged about a server.
    pub(super) fn judged(&self, server: &str) -> Option<&'static Judged> {
        self.judged.iter().find(|judged| judged.server == server)
    }
}

pub(super) const SYSCALLS: Subject = Subject {
    tool: "syscalls",
    servers: &[&REDIS, &REDIS_PIPELINED, &POSTGRES, &MARIADB, &NGINX, &NODE_HTTP, &TEEWORLDS_LOADED],
    answer: "syscalls.time",
    judged: &[],
    options: &[],
    bytes: None,
    head: "\
# System calls of real servers

What `profiler syscalls` says about servers as their packages bring them, under load. The page is written by
`cargo xtask field --syscalls --write-docs`, which installs the servers by apt, runs them on the loopback interface only, and fails
if anything is called pointless, if the answer is limited, or if a server does not live and answer afterwards.
",
};

pub(super) const DISK: Subject = Subject {
    tool: "disk",
    servers: &[
        &REDIS_SYNCED,
        &REDIS_SYNCED_PIPELINED,
        &POSTGRES,
        &MARIADB,
        &NGINX_SENDFILE,
        &NODE_WEBSOCKET,
        &MINETEST,
    ],
    answer: "disk.time",
    judged: &[Judged {
        server: "minetestserver",
        rules: &["disk.periodic_stall", "disk.wait_in_loop"],
        because: "It is so: the thread of the game saves the world itself, every 5.3 seconds (`server_map_save_interval`), and SQLite syncs \
                  its files and their directory before it returns",
    }],
    options: &["--top", "6"],
    bytes: Some(Bytes { table: "files", name: "file", moved: &["moved_bytes"] }),
    head: "\
# Files of real servers

What `profiler disk` says about servers as their packages bring them, under load. The page is written by
`cargo xtask field --disk --write-docs`, which installs the servers by apt, runs them on the loopback interface only, and fails
if a problem is found that was not judged to be one, if the answer is limited, if less than 95 % of the bytes belong to a file with a name,
if a hit is unaccounted, or if a server does not live and answer afterwards.
",
};

pub(super) const SOCKETS: Subject = Subject {
    tool: "sockets",
    servers: &[
        &REDIS_SYNCED,
        &REDIS_SYNCED_PIPELINED,
        &POSTGRES,
        &MARIADB,
        &NGINX_SENDFILE,
        &NODE_WEBSOCKET,
        &TEEWORLDS_LOADED,
        &PGBENCH,
        &ZOOKEEPER_CLIENT,
    ],
    answer: "sockets.traffic",
    judged: &[],
    options: &["--top", "6"],
    bytes: Some(Bytes { table: "services", name: "service", moved: &["received_bytes", "sent_bytes"] }),
    head: "\
# Sockets of real servers

What `profiler sockets` says about servers as their packages bring them, under load, and about two programs that call one. The page is written by
`cargo xtask field --sockets --write-docs`, which installs the servers by apt, runs them on the loopback interface only, and fails
if a problem is found, if the answer is limited, if less than 95 % of the bytes belong to a service with a name, if a hit is unaccounted,
or if a server does not live and answer afterwards.
",
};

/// All of them.
#[cfg(test)]
pub(super) const ALL: [&Subject; 3] = [&SYSCALLS, &DISK, &SOCKETS];
