//! What keeps the members of a cluster, called by a game server.

use super::server::{Question, Ready, Server, Side};
use crate::setup::Package;

/// A program that looks its rooms up in ZooKeeper.
pub(super) const ZOOKEEPER_CLIENT: Server = Server {
    name: "zookeeper-client",
    packages: &[
        Package::file("zookeeper", "/usr/share/zookeeper/bin/zkServer.sh"),
        Package::file("python3-kazoo", "/usr/lib/python3/dist-packages/kazoo/__init__.py"),
    ],
    does: "a script reads two nodes from ZooKeeper and writes one, twenty times a second",
    start: |place| {
        let data = place.make_directory("data")?;
        let config = include_str!("scripts/zoo.cfg")
            .replace("PORT", &place.port.to_string())
            .replace("DIRECTORY", &data.display().to_string());
        let config = place.write("zoo.cfg", &config)?;
        let mut server = place.command("/usr/share/zookeeper/bin/zkServer.sh");
        server.arg("start-foreground").arg(config);
        // Nothing listens but the port for clients.
        server
            .env("JMXDISABLE", "true")
            .env("ZOO_LOG_DIR", place.path())
            .env("ZOO_LOG4J_PROP", "INFO,CONSOLE");
        Ok(server)
    },
    ready: Ready::Port,
    load: Some(|place| {
        let script = place.write("rooms.py", include_str!("scripts/rooms.py"))?;
        let mut load = place.command("/usr/bin/python3");
        load.arg(script).arg(place.port.to_string());
        Ok(load)
    }),
    loaded: Ready::Line("ready"),
    question: Question::Tcp(b"ruok"),
    work: None,
    observed: Side::Load,
};
