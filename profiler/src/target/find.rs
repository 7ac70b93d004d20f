//! Finding processes by name or cgroup.

use std::{fs, path::Path};

use super::process::{exe_name, name_of};
use crate::error::{Error, ErrorKind, Result};

/// The pids of the processes whose name, or whose executable's file name, matches a glob. Never our own.
///
/// # Errors
/// If the pattern is not a glob, or nothing matches.
pub fn by_name(pattern: &str) -> Result<Vec<u32>> {
    let glob = glob::Pattern::new(pattern).map_err(|e| {
        Error::new(ErrorKind::Usage, format_args!("tried to read the name pattern '{pattern}'"))
            .because_of(&e)
            .hint("use a name, or a pattern with * and ?, such as --name 'world-*'")
    })?;
    let fits = |name: Option<Vec<u8>>| name.is_some_and(|n| glob.matches(&String::from_utf8_lossy(&n)));
    let own = std::process::id();
    let mut pids: Vec<u32> = all()
        .into_iter()
        .filter(|pid| *pid != own && (fits(name_of(*pid)) || fits(exe_name(*pid))))
        .collect();
    pids.sort_unstable();
    if pids.is_empty() {
        return Err(Error::new(
            ErrorKind::NoSuchProcess,
            format_args!("tried to find a process named '{pattern}'"),
        )
        .because("no running process matches")
        .hint("a pattern matches the whole name: try --name '*NAME*', or look with `pgrep -a NAME`"));
    }
    Ok(pids)
}

/// The pids of the processes in a cgroup (version 1 or 2), given by its directory.
///
/// # Errors
/// If it is not a cgroup, or empty.
pub fn by_cgroup(directory: &Path) -> Result<Vec<u32>> {
    let tried = |kind| Error::on(kind, "tried to list the processes of cgroup", directory.as_os_str());
    let list = fs::read_to_string(directory.join("cgroup.procs")).map_err(|e| {
        tried(ErrorKind::Usage)
            .because_of(&e)
            .hint("give the directory of a cgroup, such as /sys/fs/cgroup/system.slice/game.service")
    })?;
    let pids: Vec<u32> =
        list.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect();
    if pids.is_empty() {
        return Err(tried(ErrorKind::NoSuchProcess).because("it has no processes"));
    }
    Ok(pids)
}

fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_name_and_says_when_there_is_none() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = by_name("slee[p]").unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
        assert_eq!(by_name("no-such-process-*").unwrap_err().kind(), ErrorKind::NoSuchProcess);
        assert_eq!(by_name("[").unwrap_err().kind(), ErrorKind::Usage);
    }
}
