//! A web server, and programs whose language has a heap of its own.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::server::{Place, Question, Ready, Server, Side, Work};
use crate::setup::Package;

const GET: Question = Question::Tcp(b"GET / HTTP/1.0\r\n\r\n");

pub(super) const NGINX: Server = Server {
    name: "nginx",
    packages: &[Package::file("nginx-light", "/usr/sbin/nginx"), Package::program("wrk", "wrk")],
    does: "`wrk` asks for one small file over 16 connections",
    start: |place| {
        place.write("index.html", "<!DOCTYPE html><title>field</title>\n")?;
        nginx(place, "off")
    },
    ready: Ready::Port,
    load: Some(|place| Ok(wrk(place, "index.html"))),
    loaded: Ready::AtOnce,
    question: GET,
    work: Some(Work::Counter(nginx_requests)),
    observed: Side::Server,
};

/// The same with a larger file, which the kernel sends.
pub(super) const NGINX_SENDFILE: Server = Server {
    does: "`wrk` asks for one file of 64 KiB over 16 connections; `sendfile on`",
    start: |place| {
        place.write("map.dat", &"0123456789abcdef".repeat(4096))?;
        nginx(place, "on")
    },
    load: Some(|place| Ok(wrk(place, "map.dat"))),
    ..NGINX
};

fn nginx(place: &Place, sendfile: &str) -> Result<Command> {
    let config = include_str!("scripts/nginx.conf")
        .replace("PORT", &place.port.to_string())
        .replace("SENDFILE", sendfile)
        .replace("DIRECTORY", &place.path().display().to_string());
    let config = place.write("nginx.conf", &config)?;
    let mut server = place.command("/usr/sbin/nginx");
    server.arg("-p").arg(place.path()).arg("-e").arg("stderr").arg("-c").arg(config);
    Ok(server)
}

fn wrk(place: &Place, file: &str) -> Command {
    let mut load = place.command("wrk");
    load.args(["--threads", "1", "--connections", "16", "--duration", "1h"]);
    load.arg(format!("http://127.0.0.1:{}/{file}", place.port));
    load
}

/// The requests that it has answered since it was started.
fn nginx_requests(place: &Place) -> Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, place.port)).context("cannot ask nginx")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut status = String::new();
    stream.read_to_string(&mut status).context("nginx does not print its status")?;
    requests(&status).with_context(|| format!("nginx does not print its requests:\n{status}"))
}

/// The third number below `server accepts handled requests`.
fn requests(status: &str) -> Option<u64> {
    let mut lines = status.lines().skip_while(|line| !line.starts_with("server accepts handled requests"));
    lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()
}

pub(super) const NODE: Server = Server {
    name: "node",
    packages: &[Package::program("nodejs", "node")],
    does: "a script keeps a `Buffer` of 16 KiB a hundred times a second",
    start: |place| {
        let script = place.write("server.js", include_str!("scripts/server.js"))?;
        let mut node = place.command("node");
        node.arg(script).arg(place.port.to_string());
        Ok(node)
    },
    ready: Ready::Port,
    load: None,
    loaded: Ready::AtOnce,
    question: GET,
    work: None,
    observed: Side::Server,
};

/// The same program with requests to answer.
pub(super) const NODE_HTTP: Server = Server {
    name: "node-http",
    does: "answers each request with a small file, over 16 connections",
    start: |place| {
        let file = place.write("answer.txt", "a small file\n")?;
        let script = place.write("http.js", include_str!("scripts/http.js"))?;
        let mut node = place.command("node");
        node.arg(script).arg(place.port.to_string()).arg(file);
        Ok(node)
    },
    load: Some(|place| {
        let script = place.write("ask.js", include_str!("scripts/ask.js"))?;
        let mut load = place.command("node");
        load.arg(script).arg(place.port.to_string());
        Ok(load)
    }),
    ..NODE
};

/// The same program with players on WebSockets.
pub(super) const NODE_WEBSOCKET: Server = Server {
    name: "node-websocket",
    does: "32 players send twenty messages a second each; a script sends them back and appends them to a log",
    start: |place| {
        let script = place.write("websocket.js", include_str!("scripts/websocket.js"))?;
        let mut node = place.command("node");
        node.arg(script).arg(place.port.to_string()).arg(place.join("messages.log"));
        Ok(node)
    },
    load: Some(|place| {
        let script = place.write("players.js", include_str!("scripts/players.js"))?;
        let mut load = place.command("node");
        load.arg(script).arg(place.port.to_string());
        Ok(load)
    }),
    loaded: Ready::Line("all players are in"),
    ..NODE
};

pub(super) const JAVA: Server = Server {
    name: "java",
    packages: &[Package::program("default-jdk-headless", "javac")],
    does: "a program keeps a direct `ByteBuffer` of 4 KiB a hundred times a second",
    start: |place| {
        let source = place.write("Field.java", include_str!("scripts/Field.java"))?;
        let mut java = place.command("java");
        // Without the file in the common /tmp by which other programs of the JDK find it.
        java.arg("-XX:-UsePerfData").arg(source).arg(place.port.to_string());
        Ok(java)
    },
    ready: Ready::Port,
    load: None,
    loaded: Ready::AtOnce,
    question: GET,
    work: None,
    observed: Side::Server,
};

pub(super) const LUAJIT: Server = Server {
    name: "luajit",
    packages: &[Package::program("luajit", "luajit")],
    does: "a script keeps a block of 1 KiB, got from `malloc` by the FFI, a hundred times a second",
    start: |place| {
        let script = place.write("ticks.lua", include_str!("scripts/ticks.lua"))?;
        let mut luajit = place.command("luajit");
        luajit.arg(script);
        Ok(luajit)
    },
    ready: Ready::Line("tick"),
    load: None,
    loaded: Ready::AtOnce,
    question: Question::Line("tick"),
    work: None,
    observed: Side::Server,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_are_read_from_the_status_page() {
        let status = "HTTP/1.1 200 OK\r\n\r\nActive connections: 17 \nserver accepts handled requests\n \
                      21 20 4711 \nReading: 0 Writing: 17 Waiting: 0 \n";
        assert_eq!(requests(status), Some(4711));
        assert_eq!(requests("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }
}
