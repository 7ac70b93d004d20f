//! Where the processes of a test are that does not end.

use std::{fs, path::Path};

/// A line for each thread of every process but this one: `sockets (pid 83), thread main (83): inet_csk_accept`, with the function of the
/// kernel that it waits in; `not waiting` if it is in none, `unknown` if the kernel does not say. Threads of the kernel are left out.
pub(super) fn threads() -> Vec<String> {
    let mut lines = Vec::new();
    for pid in numbers(Path::new("/proc")) {
        let process = Path::new("/proc").join(pid.to_string());
        // Only threads of the kernel have no command line, and processes that have ended.
        let is_program = fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty());
        if pid == std::process::id() || !is_program {
            continue;
        }
        let name = word(&process.join("comm"));
        for tid in numbers(&process.join("task")) {
            let thread = process.join("task").join(tid.to_string());
            let place = match word(&thread.join("wchan")) {
                place if place == "0" => "not waiting".to_owned(),
                place => place,
            };
            lines.push(format!("{name} (pid {pid}), thread {} ({tid}): {place}", word(&thread.join("comm"))));
        }
    }
    lines
}

/// The entries of a directory that are numbers, in their order.
fn numbers(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// What a file has; `unknown` if it cannot be read or is empty.
fn word(file: &Path) -> String {
    match fs::read(file) {
        Ok(bytes) if !bytes.is_empty() => String::from_utf8_lossy(&bytes).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_program_that_waits_is_found_with_what_it_waits_in() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let begins = format!("cat (pid {0}), thread cat ({0}): ", cat.id());
        let deadline = Instant::now() + Duration::from_secs(30);
        // It is this program until its exec, and runs until it reads.
        let place = loop {
            let place = threads().iter().find_map(|line| line.strip_prefix(&begins).map(str::to_owned));
            if place.as_ref().is_some_and(|place| place.contains("pipe")) || Instant::now() > deadline {
                break place;
            }
            thread::yield_now();
        };
        cat.kill().unwrap();
        cat.wait().unwrap();
        assert!(place.as_ref().is_some_and(|place| place.contains("pipe")), "{place:?}");
        assert!(!threads().iter().any(|line| line.starts_with(&begins)));
    }
}
