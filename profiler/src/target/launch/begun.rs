//! What a waiting child says: that it waits, and why it cannot become the command. If it can, the kernel closes the
//! child's end of the socket during the exec.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::images;
use crate::{
    error::{Error, ErrorKind},
    text::Text,
};

/// How long a child may take to become the command. After that it is left alone: it may have been stopped.
const MOST_TIME: Duration = Duration::from_secs(10);
/// Longest report of a child, in bytes.
const MOST_BYTES: u64 = 1 << 12;

/// What a child says when it waits.
const READY: u8 = b'r';

/// The child's side: says that it waits.
pub(super) fn say_ready(mut parent: &UnixStream) {
    // If profiler has ended, the child sees that when it waits.
    let _ = parent.write_all(&[READY]);
}

/// Our side: waits until the child waits. `posix_spawn` returns while the exec of our own program goes on in the child:
/// before it has left our memory, or before its new stack is in place. Who looks at the child then takes the end of this exec
/// for another program.
pub(super) fn wait_until_ready(mut child: &UnixStream) {
    // One that is gone, or takes too long because it was stopped, is found out by whoever needs it.
    if child.set_read_timeout(Some(MOST_TIME)).is_ok() {
        let _ = child.read_exact(&mut [0]);
    }
}

/// What a child was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Becoming the user of `--user`.
    User,
    /// Everything else before the exec.
    SetUp,
    /// Becoming the command.
    Exec,
}

/// Why a child did not become the command.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) step: Step,
    pub(super) cause: io::Error,
}

impl Refusal {
    pub(super) fn at(step: Step) -> impl Fn(io::Error) -> Refusal {
        move |cause| Refusal { step, cause }
    }

    /// The child's side: reports it. If profiler has ended, the report is lost, which is harmless.
    pub(super) fn report(&self, mut parent: UnixStream) {
        let step = match self.step {
            Step::User => b'u',
            Step::SetUp => b's',
            Step::Exec => b'x',
        };
        let code = self.cause.raw_os_error().unwrap_or(0).to_ne_bytes();
        let _ = parent.write_all(&[&[step][..], &code, self.cause.to_string().as_bytes()].concat());
    }

    /// Our side: waits until the child is the command (`None`), or reports why not.
    pub(super) fn wait(child: UnixStream) -> Option<Refusal> {
        let mut report = Vec::new();
        child.set_read_timeout(Some(MOST_TIME)).ok()?;
        // A child that takes too long has reported nothing, and may still become the command.
        let _ = child.take(MOST_BYTES).read_to_end(&mut report);
        let (step, rest) = report.split_first()?;
        let (code, words) = rest.split_first_chunk::<4>()?;
        let step = match step {
            b'u' => Step::User,
            b's' => Step::SetUp,
            _ => Step::Exec,
        };
        let cause = match i32::from_ne_bytes(*code) {
            0 => io::Error::other(String::from_utf8_lossy(words)),
            code => io::Error::from_raw_os_error(code),
        };
        Some(Refusal { step, cause })
    }

    /// The error for the user.
    pub(super) fn error(self, program: &Path) -> Error {
        let tried = |kind| Error::on(kind, "tried to start", program);
        match (self.step, self.cause.raw_os_error()) {
            (Step::Exec, Some(libc::ENOEXEC)) => no_program(program),
            (Step::Exec, Some(libc::ENOENT)) => {
                match images::script_interpreter(program).or_else(|| images::interpreter(program)) {
                    Some(needed) => lacks(program, &needed),
                    None => tried(ErrorKind::Usage).because_of(self.cause).hint("check the path"),
                }
            }
            (Step::Exec, _) => tried(ErrorKind::Usage)
                .because_of(self.cause)
                .hint("check the permissions of the file and of its interpreter, and that its disk is not mounted `noexec`"),
            (Step::User, _) => tried(ErrorKind::Permission)
                .because("could not become the user of --user")
                .because_of(self.cause)
                .hint("that takes CAP_SETUID and CAP_SETGID"),
            (Step::SetUp, _) => tried(ErrorKind::Limit)
                .because("could not prepare its process")
                .because_of(self.cause)
                .hint("try again; if it persists, start the command first and observe it with --pid"),
        }
    }
}

/// Refuses a file that is neither ELF nor a script with `#!`, and one whose interpreter is missing. Shells run other
/// files in a language of their own, which cannot be known here. Formats that are registered with binfmt_misc are
/// refused, too.
pub(super) fn check(program: &Path) -> Result<(), Error> {
    let mut of = program.to_path_buf();
    for _script_of_a_script in 0..4 {
        let mut head = Vec::new();
        // The user of the command may be able to run what we may not read.
        let Ok(file) = File::open(&of) else { return Ok(()) };
        if file.take(4).read_to_end(&mut head).is_err() {
            return Ok(());
        }
        if !head.starts_with(b"\x7fELF") && !head.starts_with(b"#!") {
            return Err(no_program(&of));
        }
        if let Some(lost) = images::missing_env_program(&of) {
            return Err(lacks(program, &lost));
        }
        let Some(needed) = images::script_interpreter(&of).or_else(|| images::interpreter(&of)) else {
            return Ok(());
        };
        if !needed.exists() {
            return Err(lacks(program, &needed));
        }
        of = needed;
    }
    Ok(())
}

fn lacks(program: &Path, needed: &Path) -> Error {
    Error::on(ErrorKind::Usage, "tried to start", program)
        .because(format_args!("it needs {}, which is not there", Text::from(needed).terminal()))
        .hint("install it, or change the first line of the script")
}

fn no_program(program: &Path) -> Error {
    Error::on(ErrorKind::Usage, "tried to start", program)
        .because("it is neither a program for this machine nor a script whose first line says what runs it")
        .hint("begin the script with a line such as `#!/bin/sh`, or name what runs it: -- sh SCRIPT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(refusal: &Refusal) -> Refusal {
        let (ours, theirs) = UnixStream::pair().unwrap();
        refusal.report(theirs);
        Refusal::wait(ours).unwrap()
    }

    #[test]
    fn what_a_child_reports_arrives() {
        let refusal = Refusal { step: Step::User, cause: io::Error::other("there is no such user") };
        let error = reported(&refusal).error(Path::new("/srv/game"));
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert_eq!(
            error.to_string(),
            "tried to start /srv/game: could not become the user of --user: there is no such user"
        );
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Refusal::wait(ours).is_none(), "it has become the command");
    }

    #[test]
    fn a_child_says_that_it_waits_before_it_says_why_it_cannot_go_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = std::thread::spawn(move || {
            say_ready(&theirs);
            Refusal { step: Step::SetUp, cause: io::ErrorKind::InvalidInput.into() }.report(theirs);
        });
        wait_until_ready(&ours);
        assert_eq!(Refusal::wait(ours).map(|refusal| refusal.step), Some(Step::SetUp));
        child.join().unwrap();
        // One that is gone is not waited for.
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        wait_until_ready(&ours);
    }

    #[test]
    fn a_script_says_which_interpreter_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("start");
        std::fs::write(&script, "#!/no/such/shell -x\n").unwrap();
        let refused =
            |code| reported(&Refusal { step: Step::Exec, cause: io::Error::from_raw_os_error(code) });
        let error = refused(libc::ENOENT).error(&script);
        assert!(error.to_string().ends_with("it needs /no/such/shell, which is not there"), "{error}");
        let error = refused(libc::EACCES).error(&script);
        assert!(error.advice().unwrap().contains("noexec") && error.kind() == ErrorKind::Usage, "{error}");
    }

    #[test]
    fn a_text_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("start");
        for (text, starts) in
            [("echo hello\n", false), ("", false), ("#!/bin/sh\n", true), ("\x7fELF...", true)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(check(&file).is_ok(), starts, "{text:?}");
        }
        std::fs::write(&file, "#!/usr/bin/env no-such-program-here -x\n").unwrap();
        assert!(
            check(&file)
                .unwrap_err()
                .to_string()
                .ends_with("it needs no-such-program-here, which is not there")
        );
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        let script = folder.path().join("script");
        let nothing = folder.path().join("nothing");
        for (interpreter, starts) in [(Path::new("/no/such"), false), (&nothing, false), (&file, true)] {
            std::fs::write(&script, format!("#! {} -x\n", interpreter.display())).unwrap();
            assert_eq!(check(&script).is_ok(), starts, "{interpreter:?}");
        }
        assert!(check(Path::new("/no/such/file")).is_ok(), "somebody else says so");
    }
}
