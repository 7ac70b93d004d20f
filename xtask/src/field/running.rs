//! Running servers and loads. Whatever was started is ended, by its process id.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};
use testbed::running::{self, Silence, Stream};

use super::{
    server::{Question, Ready},
    stop::Stop,
};
use crate::process;

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(60);
/// How long it may take to answer: some do so between two turns of their game only.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to end when it is asked to.
const END: Duration = Duration::from_secs(10);
/// How long we wait for another line of one that has ended: its children may hold its output open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Lines that are shown of a server that failed.
const LINES_SHOWN: usize = 20;

/// A server or a load that runs. It is ended when this is dropped, with its children.
pub(super) struct Running {
    name: &'static str,
    program: running::Running,
}

impl Running {
    pub(super) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        println!("$ {}", process::show(command));
        // A process group of its own: Ctrl-C is for profiler, which then finds its target alive.
        command.stdin(Stdio::null()).process_group(0);
        let program = running::Running::start(command, &[Stream::Stdout, Stream::Stderr])?;
        Ok(Self { name, program })
    }

    /// Waits for the sign that it is ready.
    pub(super) fn wait_until(&mut self, ready: &Ready, port: u16, stop: &Stop) -> Result<()> {
        let deadline = Instant::now() + START;
        match ready {
            Ready::AtOnce => self.check_lives(),
            Ready::Line(text) => self.wait_for_line(text, deadline, stop),
            Ready::Port => loop {
                if TcpStream::connect_timeout(&address(port), ANSWER).is_ok() {
                    return Ok(());
                }
                self.listen(Duration::from_millis(50), stop)?;
                if Instant::now() > deadline {
                    let said = self.last_words();
                    bail!("{} does not listen on port {port}:\n{said}", self.name);
                }
            },
        }
    }

    fn wait_for_line(&mut self, text: &str, deadline: Instant, stop: &Stop) -> Result<()> {
        loop {
            if self.listen(Duration::from_millis(50), stop)?.is_some_and(|line| line.contains(text)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let said = self.last_words();
                bail!("{} did not say \"{text}\":\n{said}", self.name);
            }
        }
    }

    /// The next line, if there is one within `patience`.
    ///
    /// # Errors
    /// It has ended, or we are to end.
    fn listen(&mut self, patience: Duration, stop: &Stop) -> Result<Option<String>> {
        stop.check()?;
        let line = self.next_line(patience);
        if line.is_none() {
            self.check_lives()?;
        }
        Ok(line)
    }

    fn next_line(&mut self, patience: Duration) -> Option<String> {
        match self.program.next_line(patience) {
            Ok(line) => Some(line.text),
            Err(Silence::Late) => None,
            Err(Silence::Closed) => {
                // It closed its output. There is nothing to read, and asking again at once would only burn time.
                thread::sleep(patience);
                None
            }
        }
    }

    fn last_words(&mut self) -> String {
        while self.next_line(Duration::ZERO).is_some() {}
        let heard = self.program.heard();
        let last = heard.get(heard.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
        last.iter().map(|line| line.text.trim_end()).collect::<Vec<_>>().join("\n")
    }

    /// # Errors
    /// It has ended: with its last words.
    pub(super) fn check_lives(&mut self) -> Result<()> {
        if self.program.has_ended() {
            let status = self.program.wait(END)?;
            let status = status.map_or("?".to_owned(), |status| status.to_string());
            // Its last words may still be in the pipe.
            while self.program.next_line(LAST_WORDS).is_ok() {}
            let said = self.last_words();
            bail!("{} has ended ({status}):\n{said}", self.name);
        }
        Ok(())
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// It has not ended, and answers.
    pub(super) fn check_answers(&mut self, question: &Question, port: u16, stop: &Stop) -> Result<()> {
        self.check_lives()?;
        let answered = match question {
            Question::Tcp(bytes) => ask_tcp(port, bytes),
            Question::Udp(bytes, length) => ask_udp(port, bytes, *length),
            Question::Line(text) => {
                // Lines from before do not count.
                while self.next_line(Duration::ZERO).is_some() {}
                self.wait_for_line(text, Instant::now() + ANSWER, stop)
            }
        };
        answered.with_context(|| format!("{} is running but does not answer", self.name))
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn ask_tcp(port: u16, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address(port), ANSWER).context("cannot connect")?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(bytes).context("cannot send")?;
    match stream.read(&mut [0; 512]) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error).context("no answer"),
    }
}

fn ask_udp(port: u16, bytes: &[u8], length: usize) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot make a socket")?;
    socket.connect(address(port))?;
    socket.set_read_timeout(Some(ANSWER))?;
    let mut datagram = bytes.to_vec();
    datagram.resize(bytes.len().max(length), 0);
    socket.send(&datagram).context("cannot send")?;
    socket.recv(&mut [0; 2048]).context("no answer")?;
    Ok(())
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not waited for until the end of this function: the numbers of the process and of its group are its own.
        let pid = self.program.pid();
        self.program.signal(Signal::TERM);
        let deadline = Instant::now() + END;
        while !self.program.has_ended() {
            if Instant::now() > deadline {
                println!("{} does not end, and is killed", self.name);
                self.program.signal(Signal::KILL);
            }
            // The lines of one that writes much while it ends are not to pile up.
            self.next_line(Duration::from_millis(20));
        }
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::command;
    use std::fs;

    fn shell(script: &str) -> Running {
        Running::start("shell", command("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_last_words() {
        let mut running = shell("echo port taken; exit 3");
        let error = running.wait_until(&Ready::Line("ready"), 1, &Stop::never()).unwrap_err();
        assert_eq!(error.to_string(), "shell has ended (exit status: 3):\nport taken");
    }

    #[test]
    fn a_server_is_ready_when_it_says_so_and_is_ended_with_its_children() {
        let mut running = shell("sleep 600 & echo child $!; echo ready; trap '' TERM; wait");
        running.wait_until(&Ready::Line("ready"), 1, &Stop::never()).unwrap();
        let pid = running.pid();
        let said = running.program.said();
        let child = said.lines().find_map(|line| line.strip_prefix("child ")).unwrap().to_owned();
        // The server ignores SIGTERM.
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        drop(running);
        assert!(rustix::process::test_kill_process(pid).is_err());
        // The child is reaped by whoever inherits it; until then it is a zombie.
        let stat = format!("/proc/{child}/stat");
        let deadline = Instant::now() + END;
        while fs::read_to_string(&stat).is_ok_and(|state| !state.contains(") Z ")) {
            assert!(Instant::now() < deadline, "the child lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn a_port_that_nobody_reads_from_is_no_answer() {
        assert!(ask_tcp(1, b"").is_err());
    }
}
