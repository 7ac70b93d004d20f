//! The paths that a test needs.
//!
//! They are found at run time. A path that the compiler put into a test would still be that of the old place after the
//! checkout was moved or copied together with its `target/`: cargo sees no reason to build the test again.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The directory of the package whose test runs: the current one. Cargo runs tests there, and so must everybody else.
///
/// # Panics
/// If there is no current directory.
#[must_use]
pub fn package() -> PathBuf {
    env::current_dir().expect("a test has a current directory")
}

/// The root of the checkout, which holds the packages.
#[must_use]
pub fn checkout() -> PathBuf {
    let package = package();
    package.parent().map_or_else(|| package.join(".."), Path::to_owned)
}

/// A program of the package whose test runs, as cargo built it together with the test.
///
/// # Panics
/// If the running program is not in a directory of cargo's.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    built().join(name)
}

/// A directory for files that tests leave for their next run, below the one that cargo builds into. It may not exist yet.
///
/// # Panics
/// If the running program is not in a directory of cargo's.
#[must_use]
pub fn kept_files() -> PathBuf {
    built().parent().expect("the directory of a profile is below that of all").join("tmp")
}

/// The directory of the profile: tests are in `deps/` below it, programs in it.
fn built() -> PathBuf {
    let test = env::current_exe().expect("a running program has a file");
    test.ancestors().nth(2).expect("cargo puts tests into a directory of their own").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_and_the_checkout_are_found() {
        assert_eq!(package(), checkout().join("testbed"));
        assert!(checkout().join("Cargo.lock").is_file());
    }

    #[test]
    fn programs_and_kept_files_are_beside_the_test() {
        let test = env::current_exe().unwrap();
        assert!(
            test.starts_with(program("deps")),
            "{} is not in {}",
            test.display(),
            program("deps").display()
        );
        assert!(test.starts_with(kept_files().parent().unwrap()));
    }
}
