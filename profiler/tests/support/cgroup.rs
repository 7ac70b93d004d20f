//! Control groups of tests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::workload::Workload;

/// A control group of its own (version 2), in a hierarchy that is mounted for it.
pub(crate) struct Group(tempfile::TempDir);

impl Group {
    /// A new one, with these in it.
    pub(crate) fn of(targets: &[&Workload]) -> Group {
        let group = Group(
            tempfile::Builder::new()
                .prefix("profiler-test-cgroup")
                .tempdir()
                .expect("to work with control groups"),
        );
        let mounted = Command::new("mount")
            .args(["-t", "cgroup2", "none"])
            .arg(group.0.path())
            .status()
            .expect("to work with control groups");
        assert!(mounted.success(), "the hierarchy of control groups can be mounted");
        fs::create_dir(group.directory()).expect("to work with control groups");
        targets.iter().for_each(|target| group.take_in(target));
        group
    }

    /// Moves one more into it.
    pub(crate) fn take_in(&self, target: &Workload) {
        fs::write(self.directory().join("cgroup.procs"), target.pid_argument())
            .expect("to work with control groups");
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.0.path().join(format!("profiler-test-{}", std::process::id()))
    }

    /// Freezes it ("1"), or lets it go on ("0").
    pub(crate) fn freeze(&self, how: &str) {
        fs::write(self.directory().join("cgroup.freeze"), how).expect("to work with control groups");
    }

    /// Takes it away, with what is in it gone.
    pub(crate) fn end(self) {
        fs::remove_dir(self.directory()).expect("to work with control groups");
        let unmounted =
            Command::new("umount").arg(self.0.path()).status().expect("to work with control groups");
        assert!(unmounted.success());
    }
}

/// Whatever a test that failed has left in it.
impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.directory().join("cgroup.freeze"), "0");
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
