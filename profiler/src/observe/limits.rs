//! Limits of our own process below which no observation is possible. They are checked first: some code that meets them later can only panic
//! or abort.

use rustix::process::{Resource, getrlimit};

use crate::{
    error::{Error, ErrorKind, Result},
    units,
};

/// Descriptors that an observation may need. One of a single process takes up to 129 (while a tool measures what a system call costs), or
/// up to 99 with probes in one file. The rest is for more files, and for kernels on which each probe takes descriptors.
pub(crate) const OPEN_FILES: u64 = 256;
/// Address space that an observation may need, in bytes. One of a single small process takes up to 600 MiB: the program, its threads,
/// and maps that are shared with the kernel. The rest is for the files of larger targets.
pub(crate) const ADDRESS_SPACE: u64 = 1 << 30;

/// Stack of the main thread that an observation may need, in bytes: twice what it takes.
pub(crate) const STACK: u64 = 512 << 10;

/// Refuses limits that are too low for an observation.
///
/// # Errors
/// If fewer files may be open, or less memory may be mapped, than an observation takes. The hint has what to type.
pub fn require_room() -> Result<()> {
    let [files, space, stack] =
        [Resource::Nofile, Resource::As, Resource::Stack].map(|of| getrlimit(of).current);
    check(files, space, stack)
}

/// The same for these limits; `None` stands for no limit.
fn check(files: Option<u64>, address_space: Option<u64>, stack: Option<u64>) -> Result<()> {
    let tried = || Error::new(ErrorKind::Limit, "tried to observe a process");
    if let Some(files) = files.filter(|files| *files < OPEN_FILES) {
        return Err(tried()
            .because(format_args!("that takes up to {OPEN_FILES} open files, and the limit is {files}"))
            .hint(format_args!(
                "raise the limit in the shell that starts profiler: ulimit -n {OPEN_FILES}"
            )));
    }
    if let Some(bytes) = address_space.filter(|bytes| *bytes < ADDRESS_SPACE) {
        let [takes, limit] = [ADDRESS_SPACE, bytes].map(|bytes| units::bytes(bytes as f64));
        return Err(tried()
            .because(format_args!("that takes up to {takes} of address space, and the limit is {limit}"))
            .hint("raise the limit in the shell that starts profiler: ulimit -v unlimited"));
    }
    if let Some(bytes) = stack.filter(|bytes| *bytes < STACK) {
        let [takes, limit] = [STACK, bytes].map(|bytes| units::bytes(bytes as f64));
        return Err(tried()
            .because(format_args!("that takes up to {takes} of stack, and the limit is {limit}"))
            .hint("raise the limit in the shell that starts profiler: ulimit -s 8192"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_too_low_are_refused_with_what_to_type() {
        assert_eq!(check(None, None, None), Ok(()));
        assert_eq!(check(Some(OPEN_FILES), Some(ADDRESS_SPACE), Some(STACK)), Ok(()));
        let error = check(Some(7), None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().ends_with("256 open files, and the limit is 7"), "{error}");
        assert!(error.advice().is_some_and(|hint| hint.ends_with("ulimit -n 256")));
        let error = check(Some(1024), Some(200 << 20), None).unwrap_err();
        assert!(error.to_string().ends_with("1.0 GiB of address space, and the limit is 200 MiB"), "{error}");
        assert!(error.advice().is_some_and(|hint| hint.ends_with("ulimit -v unlimited")));
        let error = check(None, None, Some(100 << 10)).unwrap_err();
        assert!(error.to_string().ends_with("512 KiB of stack, and the limit is 100 KiB"), "{error}");
    }
}
