//! Finding processes by name or cgroup.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    process::{exe_name, name_of},
    script::script_of,
};
use crate::{
    error::{Error, ErrorKind, Result},
    text::{Pattern, Text},
};

/// The pids of the processes whose name, executable's file name or script matches a pattern of `*` and `?`
/// ([`Pattern::whole`]), except our own.
///
/// # Errors
/// If nothing matches, or `/proc` cannot be read.
pub fn by_name(pattern: &str) -> Result<Vec<u32>> {
    let wanted = Pattern::whole(pattern);
    let own = std::process::id();
    // If processes cannot be listed, it is not known that none has the name.
    let running = list().map_err(|error| {
        Error::new(ErrorKind::Kernel, "tried to list /proc")
            .because_of(error)
            .hint("is /proc mounted, and are there enough descriptors (`ulimit -n`)?")
    })?;
    let mut pids: Vec<u32> =
        running.into_iter().filter(|pid| *pid != own && is_called(*pid, &wanted)).collect();
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
    let not_one = |error: Error| {
        error.hint("give the directory of a cgroup, such as /sys/fs/cgroup/system.slice/game.service")
    };
    let unreadable = |error: io::Error| not_one(tried(ErrorKind::Usage).because_of(error));
    // On another file system, `cgroup.procs` may be anything, such as a pipe on which we would wait forever.
    if !is_cgroup(directory).map_err(unreadable)? {
        let error = tried(ErrorKind::Usage)
            .because(format_args!("{} is not a cgroup", Text::from(directory).terminal()));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        return Err(match hierarchy_below(directory, &mounts) {
            Some(hierarchy) => error
                .because("the hierarchies of cgroups (version 1) are mounted below it")
                .hint(format_args!("give a group of one of them, such as {}/GROUP", hierarchy.display())),
            None => not_one(error),
        });
    }
    let list = fs::read_to_string(directory.join("cgroup.procs")).map_err(unreadable)?;
    let pids: Vec<u32> =
        list.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect();
    if pids.is_empty() {
        return Err(tried(ErrorKind::NoSuchProcess).because("it has no processes"));
    }
    Ok(pids)
}

/// Whether a directory is on a file system of cgroups.
fn is_cgroup(directory: &Path) -> io::Result<bool> {
    // CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of include/uapi/linux/magic.h.
    let kind = rustix::fs::statfs(directory)?.f_type;
    Ok(matches!(kind, 0x0027_e0eb | 0x6367_7270))
}

/// A hierarchy of cgroups mounted below a directory, by the contents of `/proc/self/mounts`: that of the controller `pids` if there is
/// one, because all service managers and containers use it.
fn hierarchy_below(directory: &Path, mounts: &str) -> Option<PathBuf> {
    let below = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (Path::new(fields.next()?), fields.next()?);
        (matches!(kind, "cgroup" | "cgroup2") && point.starts_with(directory)).then_some(point)
    });
    let below: Vec<&Path> = below.collect();
    below.iter().find(|point| point.ends_with("pids")).or(below.first()).map(|point| point.to_path_buf())
}

pub(super) fn all() -> Vec<u32> {
    list().unwrap_or_default()
}

/// The pids of all processes.
fn list() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
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
    fn a_directory_elsewhere_is_not_a_cgroup() {
        let folder = tempfile::tempdir().unwrap();
        // Whoever opens it waits for a writer.
        let pipe = folder.path().join("cgroup.procs");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let error = by_cgroup(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(
            error.to_string().ends_with(&format!("{} is not a cgroup", folder.path().display())),
            "{error}"
        );
        assert_eq!(by_cgroup(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn hierarchies_of_version_1_are_found_below_the_directory() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n";
        let below = |directory: &str, mounts| hierarchy_below(Path::new(directory), mounts);
        assert_eq!(below("/sys/fs/cgroup", mounts), Some(PathBuf::from("/sys/fs/cgroup/pids")));
        assert_eq!(
            below("/sys/fs/cgroup/", "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0").unwrap().as_os_str(),
            "/sys/fs/cgroup/cpu"
        );
        assert_eq!(below("/etc", mounts), None);
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
