//! Whether the cgroup of a process is frozen (`systemctl freeze`, `docker pause`). The state of a frozen process says
//! only that it sleeps.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The cgroup of a process in the hierarchy of version 2, where the kernel reports whether it is frozen (Linux 5.2).
#[derive(Debug)]
pub(crate) struct Freezer(PathBuf);

impl Freezer {
    /// The cgroup of a process; `None` if it is in no such cgroup, or it is not mounted here.
    pub(crate) fn of(pid: u32) -> Option<Freezer> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        directory(&mounts, &groups).map(Freezer)
    }

    /// Whether it is frozen now, itself or by a group above it.
    pub(crate) fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "frozen 1")
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }
}

/// The directory of the group, by the contents of `/proc/self/mountinfo` and `/proc/PID/cgroup`.
fn directory(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let inside = group.strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        Some(Path::new(point).join(inside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_below_its_mount() {
        let mounts = "24 1 0:22 / /sys/fs/cgroup ro,nosuid shared:4 - tmpfs tmpfs ro,mode=755\n\
                      30 24 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        let of = |mounts: &str, groups: &str| directory(mounts, groups);
        let service = "12:freezer:/\n0::/system.slice/game.service\n";
        assert_eq!(
            of(mounts, service),
            Some(PathBuf::from("/sys/fs/cgroup/unified/system.slice/game.service"))
        );
        assert_eq!(of(mounts, "12:freezer:/\n"), None, "in no group of version 2");
        assert_eq!(of("24 1 0:22 / /sys ro - sysfs sysfs ro\n", service), None);
        // A container sees a part of the hierarchy.
        let part = "30 24 0:26 /system.slice /cg rw - cgroup2 cgroup2 rw\n";
        assert_eq!(of(part, service), Some(PathBuf::from("/cg/game.service")));
        assert_eq!(of(part, "0::/user.slice\n"), None, "in a part that is not mounted");
    }
}
