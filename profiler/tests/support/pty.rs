//! A run of profiler on a terminal, and what is to be seen there.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::workload::PATIENCE;

/// Lines that left the screen at its top and are kept.
const SCROLLED: usize = 10_000;

/// A program on a terminal of its own. Killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    parser: vt100::Parser,
    /// Everything that was written.
    pub(crate) raw: Vec<u8>,
}

impl Terminal {
    /// Starts a command on a terminal of this type and size.
    pub(crate) fn start(mut command: Command, term: &str, columns: u16, rows: u16) -> Terminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("to size a terminal");
        let name = ptsname(&master, Vec::new()).expect("the name of a terminal");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end: OwnedFd = rustix::fs::open(name, flags, Mode::empty()).expect("to open a terminal");
        let stdio = || Stdio::from(end.try_clone().expect("to share a terminal"));
        command.env("TERM", term).env_remove("NO_COLOR").env_remove("COLUMNS");
        let child =
            command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().expect("to start a command");
        // The command holds ends of its own, too.
        drop(command);
        drop(end);
        let cells = |count| NonZero::new(count).expect("a size");
        let parser = vt100::Parser::new(cells(rows), cells(columns), SCROLLED);
        Terminal { child, master: File::from(master), parser, raw: Vec::new() }
    }

    /// The text on the screen, row by row.
    pub(crate) fn screen(&self) -> String {
        let (_, columns) = self.parser.screen().size();
        self.parser.screen().rows(0, columns.get()).collect::<Vec<_>>().join("\n")
    }

    /// Lines that have left the screen at its top.
    pub(crate) fn scrolled(&mut self) -> usize {
        self.parser.screen_mut().set_scrollback(SCROLLED);
        let scrolled = self.parser.screen().scrollback();
        self.parser.screen_mut().set_scrollback(0);
        scrolled
    }

    /// Reads until this holds of the screen.
    ///
    /// # Panics
    /// If the program ends, or it takes too long.
    pub(crate) fn wait_for(&mut self, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.screen()) {
            assert!(Instant::now() < deadline, "it does not come; the screen:\n{}", self.screen());
            assert!(self.read(), "it ended before; the screen:\n{}", self.screen());
        }
    }

    /// Sends what Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a pid");
        kill_process(pid, Signal::INT).expect("to send a signal");
    }

    /// Reads until the program ends.
    pub(crate) fn finish(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while self.read() {
            assert!(Instant::now() < deadline, "it does not end; the screen:\n{}", self.screen());
        }
        self.child.wait().expect("to wait for a child")
    }

    /// Reads what there is, or waits a while for it; false at the end.
    fn read(&mut self) -> bool {
        let wait = Timespec::try_from(Duration::from_millis(100)).expect("a short time");
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&wait)).expect("to wait for a terminal") == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            // EIO: nobody holds the other end any more.
            Ok(0) => false,
            Err(error) => error.kind() == ErrorKind::Interrupted,
            Ok(length) => {
                self.parser.process(&bytes[..length]);
                self.raw.extend_from_slice(&bytes[..length]);
                true
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
