//! A server of the field runs: how it is started, asked, loaded and measured.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::{
    process::{self, ask, command, die_with_us},
    setup::Package,
};

/// A server and its run.
pub(super) struct Server {
    /// Its name on the command line and in the tables.
    pub(super) name: &'static str,
    /// The packages that bring it and its load. The first one's version is shown; none if we build the server.
    pub(super) packages: &'static [Package],
    /// What it does while it is observed, for the tables.
    pub(super) does: &'static str,
    /// Makes its configuration, and the command that runs it in the foreground on `127.0.0.1` and [`Place::port`].
    pub(super) start: fn(&Place) -> Result<Command>,
    /// The sign that it is ready.
    pub(super) ready: Ready,
    /// Fills it and returns the command that keeps it busy until it is ended. A server without one is busy by itself.
    pub(super) load: Option<fn(&Place) -> Result<Command>>,
    /// The sign that the load has begun, if its first seconds are not typical.
    pub(super) loaded: Ready,
    /// The sign that it still works.
    pub(super) question: Question,
    /// How its loss of throughput is measured, if it is.
    pub(super) work: Option<Work>,
    /// Which of the two a tool observes.
    pub(super) observed: Side,
}

/// The two that talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    /// The load, which calls the server.
    Load,
}

/// The sign that a server has started.
pub(super) enum Ready {
    /// Its port accepts connections.
    Port,
    /// It prints a line that contains this.
    Line(&'static str),
    /// It is ready as soon as it runs.
    AtOnce,
}

/// A question that only a working server answers.
pub(super) enum Question {
    /// Bytes over TCP. The server answers, or closes the connection because it takes them for nonsense: both are done by
    /// its own loop.
    Tcp(&'static [u8]),
    /// A datagram of these bytes, with zeros up to a length.
    Udp(&'static [u8], usize),
    /// There is no question: it prints a line that contains this again and again.
    Line(&'static str),
}

/// What counts as work done.
pub(super) enum Work {
    /// A figure of the server's own that grows by one for each piece of work. Its load is such that it is always busy.
    Counter(fn(&Place) -> Result<u64>),
    /// The server does the same work each second, whatever that takes: its processor time is compared.
    SamePerSecond,
}

/// A directory and a port of a server's own. The directory is removed when this is dropped.
pub(super) struct Place {
    directory: tempfile::TempDir,
    /// Free on `127.0.0.1`, for TCP and UDP, when this was made.
    pub(super) port: u16,
    /// Our own server, which no package brings.
    pub(super) pong: PathBuf,
    /// Whom servers run as, if we are root: several refuse root.
    unprivileged: Option<User>,
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Place {
    pub(super) fn new(name: &str, pong: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("profiler-field-{name}-"))
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .context("cannot make a directory for the server")?;
        let unprivileged = if rustix::process::geteuid().is_root() { Some(User::nobody()?) } else { None };
        let place = Self { directory, port: free_port()?, pong: pong.to_owned(), unprivileged };
        place.give_away(place.path())?;
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file or directory of this name, not made yet.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a directory that the server may write to.
    pub(super) fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        self.give_away(&path)?;
        Ok(path)
    }

    /// Writes a file that the server may read and change.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.give_away(&path)?;
        Ok(path)
    }

    fn give_away(&self, path: &Path) -> Result<()> {
        let Some(User { uid, gid }) = self.unprivileged else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} away", path.display()))
    }

    /// A program that runs in this place as a user without privileges, and is killed when this task dies.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut run = match self.unprivileged {
            Some(User { uid, gid }) => {
                let mut setpriv = command("setpriv");
                setpriv.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
                // To change the user takes back what `die_with_us` asked for: setpriv asks again.
                setpriv.args(["--pdeathsig", "KILL"]).arg(program);
                setpriv
            }
            None => command(program),
        };
        die_with_us(&mut run, Signal::KILL);
        run.current_dir(self.path()).env("HOME", self.path()).env("TMPDIR", self.path());
        run
    }
}

impl User {
    fn nobody() -> Result<Self> {
        let number = |option| -> Result<u32> {
            let answer = ask(command("id").args([option, "nobody"])).context("there is no user `nobody`")?;
            answer.trim().parse().context("`id` does not print a number")
        };
        Ok(Self { uid: number("-u")?, gid: number("-g")? })
    }
}

/// Runs a command that prepares something, and shows its output only if it fails.
pub(super) fn prepare(command: &mut Command) -> Result<()> {
    println!("$ {}", process::show(command));
    let output = command.output().with_context(|| format!("cannot run `{}`", process::show(command)))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("`{}` failed ({}):\n{}", process::show(command), output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// A port that is free for both protocols.
fn free_port() -> Result<u16> {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free for both TCP and UDP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_place_is_the_servers_own_and_goes_away() {
        let place = Place::new("test", Path::new("pong")).unwrap();
        let path = place.path().to_owned();
        let mut touch = place.command("touch");
        let status = touch.arg("made-by-the-server").stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
        assert!(place.join("made-by-the-server").is_file());
        drop(place);
        assert!(!path.exists());
    }
}
