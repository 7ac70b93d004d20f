use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Invoker, OutputTarget};
use crate::error::{Error, ErrorKind};
use crate::exit::ExitCode;
use crate::render::Format;

fn target(path: &Path) -> OutputTarget {
    OutputTarget::File { path: path.to_owned(), format: Format::Json }
}

fn me() -> Invoker {
    Invoker { sudo: None, ..Invoker::current() }
}

/// A directory whose path has no symbolic link.
fn directory() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().canonicalize().unwrap();
    (dir, path)
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    target(path).write(content, &me(), &mut io::sink())
}

/// Both the check and the write must refuse for the same reason, and leave nothing behind.
fn refused(path: &Path) -> String {
    let check = target(path).check(&me()).unwrap_err();
    let error = write(path, b"new").unwrap_err();
    assert_eq!(check, error);
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Output, ExitCode::Output));
    assert!(error.advice().is_some());
    let names = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".part")));
    error.to_string()
}

#[test]
fn a_file_is_private_whole_and_replaced() {
    let (_guard, dir) = directory();
    let path = dir.join("a.json");
    target(&path).check(&me()).unwrap();
    assert!(!path.exists(), "a check leaves nothing behind");
    write(&path, b"first, and longer").unwrap();
    target(&path).check(&me()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"first, and longer");
    write(&path, b"second").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"second");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn a_missing_directory_is_reported_by_the_check() {
    let (_guard, dir) = directory();
    let path = dir.join("no/a.json");
    let error = target(&path).check(&me()).unwrap_err();
    let message =
        format!("tried to write {}: its directory: No such file or directory (os error 2)", path.display());
    assert_eq!((error.to_string(), error.advice()), (message, Some("create the directory first")));
}

#[test]
fn a_directory_in_which_nobody_can_create_is_refused() {
    // Not even root can create a file in /proc/self.
    let error = target(Path::new("/proc/thread-self/../self/a.json")).check(&me()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output);
}

#[test]
fn a_read_only_directory_is_refused() {
    let (_guard, dir) = directory();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let path = dir.join("a.json");
    // Drop root's rights on files for this thread only.
    // SAFETY: setfsuid changes a number of this thread in the kernel and touches no memory.
    let before = unsafe { libc::setfsuid(65_534) };
    let error = target(&path).check(&Invoker { euid: 65_534, sudo: None }).unwrap_err();
    // SAFETY: as above.
    unsafe { libc::setfsuid(before.cast_unsigned()) };
    assert!(error.to_string().ends_with("Permission denied (os error 13)"), "{error}");
    assert_eq!(error.advice(), Some("choose a directory that you can write to"));
}

#[test]
fn links_are_not_followed_even_dangling_ones() {
    let (_guard, dir) = directory();
    let victim = dir.join("victim");
    std::fs::write(&victim, b"precious").unwrap();
    for (name, to) in [("a.json", victim.as_path()), ("b.json", Path::new("/nonexistent/x"))] {
        symlink(to, dir.join(name)).unwrap();
        assert!(refused(&dir.join(name)).ends_with("it is a symbolic link"));
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_fifo_does_not_block_and_is_refused() {
    let (_guard, dir) = directory();
    let path = dir.join("a.json");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    assert!(refused(&path).ends_with("it is a FIFO"));
}

#[test]
fn directories_devices_and_hard_links_are_refused() {
    let (_guard, dir) = directory();
    std::fs::create_dir(dir.join("d.json")).unwrap();
    assert!(refused(&dir.join("d.json")).ends_with("it is a directory"));
    assert!(refused(Path::new("/dev/null")).ends_with("it is a device"));
    std::fs::write(dir.join("victim"), b"precious").unwrap();
    std::fs::hard_link(dir.join("victim"), dir.join("a.json")).unwrap();
    assert!(refused(&dir.join("a.json")).ends_with("the file has a second name (hard link)"));
    assert_eq!(std::fs::read(dir.join("victim")).unwrap(), b"precious");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_guard, dir) = directory();
    let path = dir.join("a.json");
    std::fs::write(&path, b"precious").unwrap();
    let stranger = Invoker { euid: std::fs::metadata(&path).unwrap().uid() + 1, sudo: None };
    let error = target(&path).check(&stranger).unwrap_err();
    assert!(error.to_string().ends_with("the file belongs to another user"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn root_does_not_follow_links_in_the_path() {
    let (_guard, dir) = directory();
    std::fs::create_dir(dir.join("real")).unwrap();
    symlink("real", dir.join("link")).unwrap();
    let path = dir.join("link/a.json");
    let root = Invoker { euid: 0, sudo: Some((1000, 1000)) };
    let error = target(&path).check(&root).unwrap_err();
    let hint = format!("name the real directory: {}", dir.join("real").display());
    assert_eq!(error.advice(), Some(hint.as_str()));
    let user = Invoker { euid: 65_534, sudo: None };
    assert_eq!(target(&path).check(&user), Ok(()), "without privilege there is nothing to abuse");
}

#[test]
fn under_sudo_the_result_belongs_to_the_caller_where_the_directory_is_not_of_root() {
    if Invoker::current().euid != 0 {
        return testbed::skip::only_root_can("give files away");
    }
    let (_guard, dir) = directory();
    let sudo = Invoker { euid: 0, sudo: Some((12_345, 54_321)) };
    let owner = |name: &str| {
        target(&dir.join(name)).write(b"x", &sudo, &mut io::sink()).unwrap();
        let data = std::fs::metadata(dir.join(name)).unwrap();
        (data.uid(), data.gid())
    };
    assert_eq!(owner("a.json").0, 0);
    std::os::unix::fs::chown(&dir, Some(12_345), None).unwrap();
    assert_eq!(owner("b.json"), (12_345, 54_321));
    assert_eq!(owner("b.json"), (12_345, 54_321), "and can be replaced by the next run");
}

#[test]
fn a_full_disk_leaves_the_existing_file() {
    let (_guard, dir) = directory();
    let path = dir.join("a.json");
    write(&path, b"old").unwrap();
    // A limit on the size of files simulates a full disk. It applies to a child process only.
    let test = std::env::current_exe().unwrap();
    let script = format!("ulimit -f 1; trap '' XFSZ; exec '{}' --ignored --exact {CHILD}", test.display());
    let status =
        std::process::Command::new("sh").args(["-c", &script]).env("TARGET_FILE", &path).output().unwrap();
    let stdout = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && stdout.contains("1 passed"), "{stdout}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
}

const CHILD: &str = "output::tests::child_of_a_full_disk";

#[test]
#[ignore = "runs as a child of a_full_disk_leaves_the_existing_file"]
fn child_of_a_full_disk() {
    let Some(path) = std::env::var_os("TARGET_FILE").map(PathBuf::from) else { return };
    let error = write(&path, &vec![0; 1 << 20]).unwrap_err();
    assert!(error.to_string().contains("File too large"), "{error}");
}

#[test]
fn a_failing_standard_output_is_an_error() {
    struct Gone(io::ErrorKind);
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let stdout = OutputTarget::parse(OsStr::new("-"), Format::Human).unwrap();
    let written = |kind| stdout.write(b"x", &me(), &mut Gone(kind));
    assert_eq!(written(io::ErrorKind::BrokenPipe), Ok(()), "whoever read it has seen enough");
    let full = written(io::ErrorKind::StorageFull).unwrap_err().to_string();
    assert_eq!(full, "tried to write to standard output: no storage space");
    let mut out = Vec::new();
    stdout.write(b"x", &me(), &mut out).unwrap();
    assert_eq!((out.as_slice(), stdout.check(&me()), stdout.format()), (&b"x"[..], Ok(()), Format::Human));
}

#[test]
fn the_extension_decides() {
    let parsed = OutputTarget::parse(OsStr::new("a/b.svg"), Format::Human).unwrap();
    assert_eq!(parsed, OutputTarget::File { path: "a/b.svg".into(), format: Format::Svg });
    assert_eq!(OutputTarget::parse(OsStr::new("a/b"), Format::Human).unwrap_err().kind(), ErrorKind::Usage);
    assert!(refused_name("..").ends_with("it does not end in a file name"));
}

fn refused_name(path: &str) -> String {
    target(Path::new(path)).check(&me()).unwrap_err().to_string()
}
