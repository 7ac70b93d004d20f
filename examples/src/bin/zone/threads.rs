//! Threads with names, because an observer sees the names.

use std::ffi::CStr;
use std::thread::{Builder, JoinHandle};

use anyhow::Context;

/// Starts a thread. The kernel cuts its name after 15 bytes.
///
/// # Errors
/// If there is no thread to be had.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body).with_context(|| format!("starting the thread {name}"))
}

/// Waits for the end of a thread.
///
/// # Errors
/// If it panicked.
pub(crate) fn join<T>(name: &str, thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("the thread {name} has panicked"))
}

/// Names the process: the name of its first thread is what `ps` and `--name` see. A name that cannot be set stays.
pub(crate) fn name_process(name: &CStr) {
    let _ = rustix::thread::set_name(name);
}
