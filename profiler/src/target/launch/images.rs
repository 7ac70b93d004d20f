//! The files with code that a command will map, found before it begins.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{resolve, user::User};
use crate::elf::Image;

/// The hidden first argument with which our executable becomes a user and lists what a program will load.
pub const LIST_ARGUMENT: &str = "__list-as";

/// How long a dynamic linker may take. It opens and maps a few files; one that takes longer is not listing libraries.
const MOST_TIME: Duration = Duration::from_secs(5);
/// Longest list that is read, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// The files with code that a program will map if this user (`None`: we) runs it: itself, its interpreter, and the
/// libraries that its dynamic linker lists. For a script, those of its interpreter.
pub(super) fn of(program: &Path, user: Option<&User>) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut program = program.to_path_buf();
    for _script_of_a_script in 0..4 {
        match shebang(&program) {
            Some(interpreter) => program = interpreter,
            None => break,
        }
    }
    let mut add = |path: &Path| {
        // Only regular files: the list may name anything, and some devices act when they are opened.
        if let Ok(path) = std::fs::canonicalize(path)
            && path.is_file()
        {
            files.insert(path);
        }
    };
    add(&program);
    let Some(linker) = interpreter(&program) else { return files };
    add(&linker);
    let Ok(mut lister) = lister(&linker, &program, user) else { return files };
    let list = listed(&mut lister, MOST_TIME);
    for line in list.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let path = line.split_once("=>").map_or(line.as_ref(), |(_, path)| path).trim();
        if path.starts_with('/') {
            add(Path::new(path.rsplit_once(" (").map_or(path, |(path, _)| path)));
        }
    }
    files
}

/// The command that lists the libraries of a program. Both glibc's and musl's dynamic linkers list what they would
/// load, and run nothing of it. But the program names its linker, which may be any executable: so it runs as the user
/// that the program will run as.
fn lister(linker: &Path, program: &Path, user: Option<&User>) -> io::Result<Command> {
    let mut command = match user {
        Some(user) => {
            let mut helper = Command::new("/proc/self/exe");
            let user = user.argument()?;
            helper.args([
                OsStr::new(LIST_ARGUMENT),
                OsStr::new(&user),
                linker.as_os_str(),
                program.as_os_str(),
            ]);
            helper
        }
        None => {
            let mut linker = Command::new(linker);
            linker.arg("--list").arg(program);
            linker
        }
    };
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// The child's side of a list for another user: becomes the linker. Returns only if that fails.
pub fn list_as(arguments: impl Iterator<Item = OsString>) -> io::Error {
    let Err(error) = become_lister(arguments);
    error
}

fn become_lister(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Infallible> {
    let mut next = || arguments.next().ok_or(io::ErrorKind::InvalidInput);
    let (user, linker, program) = (next()?, next()?, next()?);
    User::of_argument(&user)?.assume()?;
    Err(Command::new(linker).arg("--list").arg(program).exec())
}

/// What a command writes to standard output within a time. It is killed then: another person's program may take for
/// ever, or write without end.
fn listed(command: &mut Command, time: Duration) -> Vec<u8> {
    let mut list = Vec::new();
    let deadline = Instant::now() + time;
    let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else { return list };
    if let Some(mut output) = child.stdout.take() {
        let mut part = vec![0_u8; 1 << 14];
        while list.len() < MOST_BYTES && is_readable(&output, deadline) {
            match output.read(&mut part) {
                Ok(read @ 1..) => list.extend(part.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
    }
    // A process that has ended needs no signal.
    let _ = child.kill();
    let _ = child.wait();
    list
}

/// Waits until there is something to read, or the end of the output; false if the time is over.
fn is_readable(output: &impl std::os::fd::AsFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return false };
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// The interpreter that a script names in its first line; for `env NAME` the program of that name.
fn shebang(path: &Path) -> Option<PathBuf> {
    let line = first_line(path)?;
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    if first.ends_with("/env") { resolve(OsStr::new(words.next()?)).ok() } else { Some(PathBuf::from(first)) }
}

/// The program that a script's line `#!/usr/bin/env NAME` names, if there is no program of that name.
pub(super) fn missing_env_program(path: &Path) -> Option<PathBuf> {
    let line = first_line(path)?;
    let mut words = line.split_ascii_whitespace();
    let name = words.next().filter(|first| first.ends_with("/env")).and_then(|_| words.next())?;
    // A line with options or variables for `env` is not looked at.
    let is_name = !name.starts_with('-') && !name.contains('=');
    (is_name && resolve(OsStr::new(name)).is_err()).then(|| PathBuf::from(name))
}

/// The program that the kernel runs a script with: `env` itself, if the script names that.
pub(super) fn script_interpreter(path: &Path) -> Option<PathBuf> {
    first_line(path)?.split_ascii_whitespace().next().map(PathBuf::from)
}

/// The first line of a script, after its `#!`.
fn first_line(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok().map(str::to_owned)
}

/// The dynamic linker that an executable asks for.
pub(super) fn interpreter(path: &Path) -> Option<PathBuf> {
    let file = File::open(path).ok()?;
    // SAFETY: the mapping is only read; a file that shrinks under us is an executable about to be run.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.ok()?;
    Image::parse(&bytes).ok()?.interpreter().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_a_program_will_load() {
        let files = of(Path::new("/bin/sh"), None);
        assert!(files.iter().any(|f| f.to_string_lossy().contains("libc")), "{files:?}");
    }

    #[test]
    fn a_script_is_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("start.sh");
        std::fs::write(&script, "#!/usr/bin/env sh\nexec true\n").unwrap();
        assert_eq!(of(&script, None), of(&resolve(OsStr::new("sh")).unwrap(), None));
    }

    #[test]
    fn a_linker_that_never_ends_is_ended() {
        let run = |script: &str, time| listed(Command::new("sh").args(["-c", script]), time);
        let begun = Instant::now();
        assert_eq!(run("echo /a; exec sleep 1000", Duration::from_millis(200)), b"/a\n");
        let endless = run("exec yes", Duration::from_secs(1000));
        assert!(endless.len() >= MOST_BYTES);
        assert_eq!(run("echo /a; exec >&-; exec sleep 1000", Duration::from_secs(1000)), b"/a\n");
        assert!(begun.elapsed() < Duration::from_secs(100));
    }
}
