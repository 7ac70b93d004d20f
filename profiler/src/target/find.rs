//! Finding processes by name or cgroup.

use std::{fs, path::Path};

use super::{
    process::{exe_name, name_of},
    script::script_of,
};
use crate::{
    error::{Error, ErrorKind, Result},
    text::Pattern,
};

/// The pids of the processes whose name, executable's file name or script matches a pattern of `*` and `?`
/// ([`Pattern::whole`]), except our own.
///
/// # Errors
/// If nothing matches.
pub fn by_name(pattern: &str) -> Result<Vec<u32>> {
    let wanted = Pattern::whole(pattern);
    let own = std::process::id();
    let mut pids: Vec<u32> =
        all().into_iter().filter(|pid| *pid != own && is_called(*pid, &wanted)).collect();
    pids.sort_unstable();
    if pids.is_empty() {
        return Err(Error::new(
            ErrorKind::NoSuchProcess,
            format_args!("tried to find a process named '{pattern}'"),
        )
        .because("no running process matches")
        .hint("a pattern matches the whole name: try --name '*NAME*', or look with `pgrep -af NAME`"));
    }
    Ok(pids)
}

/// Whether [`by_name`] would find a process.
pub(crate) fn has_name(pid: u32, pattern: &str) -> bool {
    pid != std::process::id() && is_called(pid, &Pattern::whole(pattern))
}

/// Whether [`by_cgroup`] would find a process.
pub(crate) fn is_in_cgroup(pid: u32, directory: &Path) -> bool {
    by_cgroup(directory).is_ok_and(|pids| pids.contains(&pid))
}

fn is_called(pid: u32, wanted: &Pattern) -> bool {
    let fits = |name: &[u8]| wanted.fits(&String::from_utf8_lossy(name));
    let executable = exe_name(pid);
    let script = || {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        script_of(executable.as_deref()?, &arguments)
    };
    name_of(pid).is_some_and(|name| fits(&name))
        || executable.as_deref().is_some_and(fits)
        || script().is_some_and(|name| fits(&name))
}

/// The pids of the processes in a cgroup (version 1 or 2), given by its directory.
///
/// # Errors
/// If it is not a cgroup, or empty.
pub fn by_cgroup(directory: &Path) -> Result<Vec<u32>> {
    let tried = |kind| Error::on(kind, "tried to list the processes of cgroup", directory.as_os_str());
    let list = fs::read_to_string(directory.join("cgroup.procs")).map_err(|e| {
        tried(ErrorKind::Usage)
            .because_of(e)
            .hint("give the directory of a cgroup, such as /sys/fs/cgroup/system.slice/game.service")
    })?;
    let pids: Vec<u32> =
        list.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect();
    if pids.is_empty() {
        return Err(tried(ErrorKind::NoSuchProcess).because("it has no processes"));
    }
    Ok(pids)
}

pub(super) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// Whether `by_name` finds a child, which is ended.
    fn finds(mut child: Child, pattern: &str) -> bool {
        // Until it has become another program it has our own name, and a little longer no arguments.
        let own = exe_name(std::process::id());
        let arguments = format!("/proc/{}/cmdline", child.id());
        while exe_name(child.id()) == own || fs::read(&arguments).is_ok_and(|words| words.is_empty()) {
            std::thread::yield_now();
        }
        let found = by_name(pattern);
        child.kill().unwrap();
        child.wait().unwrap();
        found.is_ok_and(|pids| pids.contains(&child.id()))
    }

    #[test]
    fn finds_by_name_and_says_when_there_is_none() {
        let sleep = || Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(finds(sleep(), "slee?"));
        assert!(!finds(sleep(), "slee[p]"), "a bracket stands for itself");
        for pattern in ["no-such-process-*", "["] {
            assert_eq!(by_name(pattern).unwrap_err().kind(), ErrorKind::NoSuchProcess);
        }
    }

    #[test]
    fn a_name_may_have_brackets() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("world [eu]");
        fs::copy("/bin/sleep", &program).unwrap();
        let start = || Command::new(&program).arg("1000").spawn().unwrap();
        for pattern in ["world [eu]", "world ?eu?", "world*"] {
            assert!(finds(start(), pattern), "{pattern}");
        }
    }

    #[test]
    fn a_script_is_found_by_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("world-server.sh");
        fs::write(&script, "read line\n").unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-u").arg(&script).stdin(std::process::Stdio::piped());
        assert!(finds(shell.spawn().unwrap(), "world-server.sh"));
    }
}
