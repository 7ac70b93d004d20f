//! Filesystems on loop devices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::workload::PATIENCE;

/// A filesystem of its own on a loop device, which is taken away when this is dropped.
pub(crate) struct Loop {
    folder: tempfile::TempDir,
    device: String,
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let out =
        Command::new(program).args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Loop {
    /// Of 64 MiB.
    pub(crate) fn new() -> Loop {
        // The image must be on a filesystem that can do direct I/O.
        Loop::made_in(&testbed::place::package(), 64)
    }

    /// Of 32 MiB, which are kept in a file of another one.
    pub(crate) fn inside(other: &Loop) -> Loop {
        Loop::made_in(&other.mount(), 32)
    }

    fn made_in(place: &Path, mebibytes: u64) -> Loop {
        let folder = tempfile::tempdir_in(place).unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image]);
        let device = run("losetup", &["--find", "--show", image]);
        let made = Loop { folder, device };
        fs::create_dir(made.mount()).unwrap();
        run("mount", &["-o", "noatime", &made.device, made.mount().to_str().unwrap()]);
        made
    }

    pub(crate) fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    pub(crate) fn name(&self) -> &str {
        self.device.strip_prefix("/dev/").unwrap()
    }

    /// `/sys/block/DEVICE/stat`: sectors read and written, and reads (Documentation/block/stat.rst).
    pub(crate) fn stat(&self) -> [u64; 3] {
        let text = fs::read_to_string(format!("/sys/block/{}/stat", self.name())).unwrap();
        let values: Vec<u64> = text.split_whitespace().map(|value| value.parse().unwrap()).collect();
        [values[2], values[6], values[0]]
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        for (program, argument) in [("umount", self.mount().into_os_string()), ("losetup", "--detach".into())]
        {
            let mut command = Command::new(program);
            command.arg(argument);
            if program == "losetup" {
                command.arg(&self.device);
            }
            let _ = command.status();
        }
    }
}

/// A filesystem that nothing can be written to, until this is dropped.
pub(crate) struct Frozen(PathBuf);

impl Frozen {
    pub(crate) fn new(device: &Loop) -> Frozen {
        let mount = device.mount();
        run("fsfreeze", &["--freeze", mount.to_str().unwrap()]);
        Frozen(mount)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
    }
}

/// A device for which only little may wait to be written, until this is dropped: the number of the device keeps that otherwise.
pub(crate) struct Slowed(String);

impl Slowed {
    /// At most so many bytes. `None`: the kernel has no such limit (Linux 6.2 has).
    pub(crate) fn to(device: &Loop, bytes: u64) -> Option<Slowed> {
        let number = fs::read_to_string(format!("/sys/block/{}/dev", device.name())).unwrap();
        let slowed = Slowed(format!("/sys/class/bdi/{}", number.trim()));
        fs::write(format!("{}/max_bytes", slowed.0), bytes.to_string()).ok()?;
        fs::write(format!("{}/strict_limit", slowed.0), "1").unwrap();
        Some(slowed)
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        for (limit, usual) in [("max_ratio", "100"), ("strict_limit", "0")] {
            let _ = fs::write(format!("{}/{limit}", self.0), usual);
        }
    }
}

/// A device that fails all writes, as the memory with its image is sealed. It is taken away when this is dropped.
pub(crate) struct Broken {
    pub(crate) device: String,
    _image: OwnedFd,
}

impl Broken {
    pub(crate) fn new() -> Broken {
        let image = memfd_create("image", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&image, 8 << 20).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), image.as_raw_fd());
        let device = run("losetup", &["--find", "--show", &path]);
        fcntl_add_seals(&image, SealFlags::WRITE).unwrap();
        Broken { device, _image: image }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// Waits until a process is in an uninterruptible sleep.
pub(crate) fn wait_until_it_waits(pid: u32) {
    let begun = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.rsplit_once(") ").unwrap().1.starts_with('D') {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not wait: {stat}");
        std::thread::yield_now();
    }
}
