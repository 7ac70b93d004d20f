//! Which program a process runs: this changes with every exec.

use std::time::{Duration, Instant};

use super::{family::living, process::Process};

/// Longest time to wait for an exec to finish. It takes less than a millisecond, unless its files come from a slow
/// disk.
const LONGEST_EXEC: Duration = Duration::from_secs(1);

/// Where the kernel has put the code and the stack of a program: startcode and startstack of proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    code: u64,
    stack: u64,
}

/// The answer of one look at a process.
enum Look {
    Is(Incarnation),
    /// The old program is gone, and the new one is not in place yet.
    InExec,
    /// The process is gone, or may not be traced.
    Unknown,
}

impl Process {
    /// The program that it runs. `None` if it is gone, may not be traced, or is in the middle of an exec.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.look_at_program().known()
    }

    /// As [`Process::incarnation`], but waits for an exec that has begun. A parent that used `vfork` or `posix_spawn`
    /// continues in the middle of it: when the memory of the old program is gone, and before that of the new one is
    /// there.
    pub(crate) fn settled_incarnation(&self) -> Option<Incarnation> {
        let until = Instant::now() + LONGEST_EXEC;
        loop {
            match self.look_at_program() {
                Look::InExec if Instant::now() < until && !self.wait(Duration::from_millis(1)) => {}
                look => return look.known(),
            }
        }
    }

    /// Whether it runs another program than this, or is in the middle of an exec. False if it is gone.
    pub(crate) fn is_no_longer(&self, known: Incarnation) -> bool {
        match self.look_at_program() {
            Look::Is(now) => now != known,
            Look::InExec => true,
            Look::Unknown => false,
        }
    }

    fn look_at_program(&self) -> Look {
        // The first thread of a process that ends has given up its memory already.
        let addresses = living(self.pid()).and_then(|stat| Some((stat.field(26)?, stat.field(28)?)));
        match addresses {
            // The kernel shows 1 as the address of the code to those who may not trace the process.
            None | Some((1, _)) => Look::Unknown,
            Some((0, _) | (_, 0)) => Look::InExec,
            Some((code, stack)) => Look::Is(Incarnation { code, stack }),
        }
    }
}

impl Look {
    fn known(self) -> Option<Incarnation> {
        match self {
            Look::Is(incarnation) => Some(incarnation),
            Look::InExec | Look::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_is_another_incarnation() {
        use std::io::{BufRead as _, BufReader, Write as _};
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo shell; read line; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::open(child.id()).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A program that answers has begun. Its name is there before its code and its stack are.
        assert_eq!(lines.next().unwrap().unwrap(), "shell");
        let before = process.incarnation();
        let same = process.incarnation();
        stdin.write_all(b"go on\nprogram\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "program");
        let after = process.incarnation();
        assert!(before.is_some_and(|shell| process.is_no_longer(shell)));
        assert!(after.is_some_and(|program| !process.is_no_longer(program)));
        drop(stdin);
        assert!(child.wait().unwrap().success());
        assert!(before.is_some() && before == same && after.is_some() && before != after);
    }

    #[test]
    fn one_that_was_just_spawned_is_the_same_a_moment_later() {
        use std::io::{BufRead as _, BufReader, Write as _};
        for _ in 0..200 {
            let mut child = std::process::Command::new("cat")
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let process = Process::open(child.id()).unwrap();
            let spawned = process.settled_incarnation();
            assert!(spawned.is_some());
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(b"here\n").unwrap();
            let mut answer = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut answer).unwrap();
            assert_eq!((answer.as_str(), process.incarnation()), ("here\n", spawned));
            drop(stdin);
            assert!(child.wait().unwrap().success());
        }
    }
}
