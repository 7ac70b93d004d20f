//! A checkout that was moved together with its `target/`: the task that was built at the old place works at the new one.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// What `cargo xtask tidy` looks at: a small tree with one file that has this text.
fn checkout(root: &Path, text: &str) {
    for folder in ["xtask", "profiler/src/tool/some_tool"] {
        fs::create_dir_all(root.join(folder)).expect("to make a folder");
    }
    fs::write(root.join("xtask/Cargo.toml"), "").expect("to write a file");
    fs::write(root.join("page.md"), text).expect("to write a file");
    let made = Command::new("git").args(["init", "--quiet"]).current_dir(root).status().expect("to run git");
    assert!(made.success(), "git failed, {made}");
}

/// Runs `xtask tidy` in `current` as cargo does for a package, or without cargo.
fn tidy(current: &Path, package: Option<&Path>) -> Output {
    let mut xtask = Command::new(testbed::place::program("xtask"));
    xtask.arg("tidy").current_dir(current).env_remove("CARGO_MANIFEST_DIR").env_remove("SUDO_UID");
    if let Some(package) = package {
        xtask.env("CARGO_MANIFEST_DIR", package);
    }
    xtask.output().expect("to run xtask")
}

#[test]
fn the_moved_checkout_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    checkout(&old, "[a](gone.md)\n");
    fs::rename(&old, &new).expect("to move the checkout");
    // Something else is at the old place now, which is not to be looked at.
    checkout(&old, "[b](other.md)\n");
    for (current, package) in [(folder.path(), Some(new.join("xtask"))), (&new.join("profiler/src"), None)] {
        let output = tidy(current, package.as_deref());
        let stdout = String::from_utf8_lossy(&output.stdout);
        let of_page: Vec<&str> = stdout.lines().filter(|line| line.starts_with("page.md")).collect();
        assert_eq!(of_page, ["page.md:1: gone.md: no such file"], "{output:?}");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn outside_of_any_checkout_nothing_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = tidy(folder.path(), None);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot find the checkout"), "{stderr}");
}
