//! The name of a program: the path by which it was started, if that differs from the name of its file.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::process::name_of;

/// The path of a process's executable as the target sees it. One file may be several programs, by links to it:
/// `redis-server` is a link to `redis-check-rdb`. Then this is the link by which the process was started, as far as its
/// arguments or its name (`comm`) still show.
///
/// # Errors
/// If the process is gone or may not be read.
pub(crate) fn path(pid: u32) -> io::Result<PathBuf> {
    let exe = fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok(started_as(pid, &exe).unwrap_or(exe))
}

/// The path of a program that this command is about to start, which may be a link.
pub(crate) fn of_command(command: &Path) -> PathBuf {
    let absolute = std::path::absolute(command).unwrap_or_else(|_| command.to_owned());
    match fs::canonicalize(command) {
        Ok(file) if says_more(&absolute, &file) => absolute,
        Ok(file) => file,
        Err(_) => absolute,
    }
}

fn started_as(pid: u32, exe: &Path) -> Option<PathBuf> {
    let directory = exe.parent()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let first = Path::new(OsStr::from_bytes(arguments.split(|byte| *byte == 0).next().unwrap_or_default()));
    let has_directory = first.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
    let typed = || {
        let here = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        has_directory.then(|| here.join(first))
    };
    let beside = |name: &OsStr| Some(directory.join(name));
    let named = || beside(OsStr::from_bytes(&name_of(pid)?));
    let candidates = [typed(), first.file_name().and_then(beside), named()];
    candidates.into_iter().flatten().find(|path| says_more(path, exe) && is_exe(pid, path))
}

/// Whether the name of a link says more than that of its file. A link that only leaves out a part (`python3` of
/// `python3.12`) does not.
fn says_more(link: &Path, file: &Path) -> bool {
    link.file_name()
        .zip(file.file_name())
        .is_some_and(|(link, file)| !file.as_bytes().starts_with(link.as_bytes()))
}

/// Whether a path leads to the executable of a process, in its own root.
fn is_exe(pid: u32, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("/") else { return false };
    let identity = |path: &Path| fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
    let found = identity(&Path::new(&format!("/proc/{pid}/root")).join(below));
    found.is_some() && found == identity(Path::new(&format!("/proc/{pid}/exe")))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::symlink, process::CommandExt as _},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A process that waits, and a copy of its program to make links to.
    struct Waiting(Child);

    impl Waiting {
        fn start(command: &mut Command) -> Waiting {
            Waiting(command.arg("1000").stdin(Stdio::null()).spawn().unwrap())
        }

        fn path(&self) -> PathBuf {
            path(self.0.id()).unwrap()
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_program_is_called_as_it_was_started() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let file = folder.join("check-tool3.1");
        fs::copy("/usr/bin/sleep", &file).unwrap();
        let link = |name: &str| {
            let link = folder.join(name);
            symlink(&file, &link).unwrap();
            link
        };
        let (server, shorter) = (link("server"), link("check-tool3"));
        assert_eq!(Waiting::start(&mut Command::new(&file)).path(), file);
        assert_eq!(Waiting::start(&mut Command::new(&server)).path(), server);
        assert_eq!(
            Waiting::start(Command::new("./server").current_dir(&folder)).path(),
            folder.join("./server")
        );
        assert_eq!(Waiting::start(&mut Command::new(&shorter)).path(), file, "its version is lost");
        // It has put other words in the place of its arguments: the kernel knows what it was started as.
        let retitled = Waiting::start(Command::new(&server).arg0("server *:6379"));
        assert_eq!(retitled.path(), server);
        // It calls itself another program, which is another file.
        let liar = Waiting::start(Command::new(&file).arg0("/usr/bin/env"));
        assert_eq!(liar.path(), file);
        // A second name of the very file.
        let second = folder.join("hard");
        fs::hard_link(&file, &second).unwrap();
        assert_eq!(Waiting::start(&mut Command::new(&second)).path(), second);
    }

    #[test]
    fn a_command_is_called_by_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (file, server, shorter) = (folder.join("tool3.1"), folder.join("server"), folder.join("tool3"));
        fs::write(&file, "").unwrap();
        symlink(&file, &server).unwrap();
        symlink(&file, &shorter).unwrap();
        assert_eq!(of_command(&server), server);
        assert_eq!(of_command(&shorter), file);
        assert_eq!(of_command(&folder.join("none")), folder.join("none"));
    }
}
