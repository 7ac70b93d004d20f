//! Game servers, started so that none of them announces itself on the network.

use super::server::{Question, Ready, Server, Side, Work};
use crate::{process::command, process::die_with_us, setup::Package};
use rustix::process::Signal;

pub(super) const PONG: Server = Server {
    name: "pong",
    packages: &[],
    does: "40 bots play and chat; started with `--leak chat`",
    start: |place| {
        let mut pong = command(&place.pong);
        // As the user who built it: other users may not be able to read the build directory.
        die_with_us(&mut pong, Signal::KILL);
        pong.args(["--bots", "40", "--leak", "chat", "--listen"]).arg(format!("127.0.0.1:{}", place.port));
        Ok(pong)
    },
    ready: Ready::Line("listening on"),
    load: None,
    loaded: Ready::AtOnce,
    question: Question::Tcp(b"GET / HTTP/1.0\r\n\r\n"),
    work: Some(Work::SamePerSecond),
    observed: Side::Server,
};

pub(super) const MINETEST: Server = Server {
    name: "minetestserver",
    packages: &[Package::file("minetest-server", "/usr/games/minetestserver")],
    does: "a mod has new parts of the world made, thirty a second; they are unloaded after two seconds",
    start: |place| {
        let config = place.write(
            "minetest.conf",
            "server_announce = false\nbind_address = 127.0.0.1\nserver_unload_unused_data_timeout = 2\n",
        )?;
        let world = place.make_directory("world")?;
        place.make_directory("world/worldmods")?;
        place.make_directory("world/worldmods/field")?;
        place.write("world/worldmods/field/init.lua", include_str!("scripts/minetest.lua"))?;
        let mut server = place.command("/usr/games/minetestserver");
        server.arg("--config").arg(config).arg("--world").arg(world);
        server.args(["--gameid", "devtest", "--logfile", "", "--port", &place.port.to_string()]);
        Ok(server)
    },
    ready: Ready::Line("listening on"),
    load: None,
    // What the lists of servers ask: a packet of the protocol without a peer.
    loaded: Ready::AtOnce,
    question: Question::Udp(b"\x4f\x45\x74\x03\x00\x00\x00\x01", 8),
    work: None,
    observed: Side::Server,
};

pub(super) const FREECIV: Server = Server {
    name: "freeciv-server",
    packages: &[Package::file("freeciv-server", "/usr/games/freeciv-server")],
    does: "twelve computer players play, a turn each second",
    start: |place| {
        let script =
            "set minplayers 0\nset aifill 12\nset timeout 1\nset endturn 5000\nset saveturns 200\nstart\n";
        let script = place.write("start.serv", script)?;
        let mut server = place.command("/usr/games/freeciv-server");
        server.args(["--bind", "127.0.0.1", "--port", &place.port.to_string(), "--Announce", "none"]);
        server.arg("--saves").arg(place.path()).arg("--read").arg(script);
        Ok(server)
    },
    ready: Ready::Port,
    load: None,
    // A packet of three bytes, of an unknown kind: it closes the connection.
    loaded: Ready::AtOnce,
    question: Question::Tcp(b"\x00\x03\xc8"),
    work: None,
    observed: Side::Server,
};

pub(super) const OPENTTD: Server = Server {
    name: "openttd",
    packages: &[
        Package::file("openttd", "/usr/games/openttd"),
        Package::file("openttd-opengfx", "/usr/share/games/openttd/baseset/opengfx/opengfx.obg"),
    ],
    does: "towns and industries of a new map, without players",
    start: |place| {
        let config =
            "[network]\nserver_game_type = local\nserver_advertise = false\nmin_active_clients = 0\n";
        let config = place.write("openttd.cfg", config)?;
        let mut server = place.command("/usr/games/openttd");
        server.arg("-D").arg(format!("127.0.0.1:{}", place.port)).arg("-g").arg("-c").arg(config);
        Ok(server)
    },
    ready: Ready::Port,
    load: None,
    // PACKET_CLIENT_GAME_INFO: three bytes, two of which are the length.
    loaded: Ready::AtOnce,
    question: Question::Tcp(b"\x03\x00\x07"),
    work: None,
    observed: Side::Server,
};

const TEEWORLDS_PACKAGE: Package = Package::file("teeworlds-server", "/usr/games/teeworlds-server");

/// The same for those who look at its calls.
pub(super) const TEEWORLDS_LOADED: Server = Server {
    packages: &[TEEWORLDS_PACKAGE, Package::file("python3", "/usr/bin/python3")],
    does: "thousands of packets a second ask for a token, as players do that connect",
    load: Some(|place| {
        let script = place.write("tokens.py", include_str!("scripts/tokens.py"))?;
        let mut load = place.command("/usr/bin/python3");
        load.arg(script).arg(place.port.to_string());
        Ok(load)
    }),
    ..TEEWORLDS
};

pub(super) const TEEWORLDS: Server = Server {
    name: "teeworlds-server",
    packages: &[TEEWORLDS_PACKAGE],
    does: "waits for players",
    start: |place| {
        let mut server = place.command("/usr/games/teeworlds-server");
        server.arg(format!("bindaddr 127.0.0.1; sv_port {}; sv_register 0", place.port));
        Ok(server)
    },
    ready: Ready::Line("version"),
    load: None,
    // A control packet that asks for a token, which a client has to fill up to the size of an answer.
    loaded: Ready::AtOnce,
    question: Question::Udp(b"\x04\x00\x00\xff\xff\xff\xff\x05\x01\x02\x03\x04", 519),
    work: None,
    observed: Side::Server,
};
