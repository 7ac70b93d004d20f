//! Programs that are walked, and where their functions lie.

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use profiler::target::maps;

/// A program that was started to be looked at. Killed when dropped, with all that it started.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        use std::os::unix::process::CommandExt as _;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Running(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it maps a file whose path ends so, and then until that stays as it is.
    pub(crate) fn settled(self, file: &str) -> Running {
        let mapped = || maps::executable(self.pid()).unwrap_or_default();
        let is_there = |mapping: &maps::Mapping| mapping.path.to_string_lossy().contains(file);
        let mut before = Vec::new();
        for _ in 0..200 {
            let now = mapped();
            if now.iter().any(is_there) && now == before {
                return self;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("process {} does not map {file}", self.pid());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(self.0.id() as i32).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// `malloc` of the C library that a process has, and where its first instruction lies in the file.
pub(crate) fn malloc_of(pid: u32) -> Option<(PathBuf, u64)> {
    function_of(pid, "libc.so", "malloc")
}

/// A function of a library that a process maps, or else of another file of its.
pub(crate) fn function_of(pid: u32, library: &str, function: &str) -> Option<(PathBuf, u64)> {
    let mut mapped = maps::executable(pid).unwrap();
    mapped.sort_by_key(|mapping| !mapping.path.to_string_lossy().contains(library));
    mapped.iter().find_map(|mapping| {
        let (_, path) = mapping.open(pid).ok()?;
        let bytes = std::fs::read(&path).ok()?;
        let elf = object::File::parse(bytes.as_slice()).ok()?;
        let defined =
            |symbol: &object::Symbol<'_, '_>| symbol.is_definition() && symbol.name() == Ok(function);
        let address = elf.dynamic_symbols().chain(elf.symbols()).find(defined)?.address();
        let section = elf.section_by_name(".text")?;
        let (offset, _) = section.file_range()?;
        Some((mapping.path.clone(), address - section.address() + offset))
    })
}

/// Where functions lie in a process, by exact name.
pub(crate) fn code_of(pid: u32, functions: &[&str]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for mapping in maps::executable(pid).unwrap_or_default() {
        let Ok((_, path)) = mapping.open(pid) else { continue };
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(elf) = object::File::parse(bytes.as_slice()) else { continue };
        let wanted =
            |symbol: &object::Symbol<'_, '_>| symbol.name().is_ok_and(|name| functions.contains(&name));
        for symbol in elf.dynamic_symbols().chain(elf.symbols()).filter(wanted) {
            let Some(section) = symbol.section_index().and_then(|index| elf.section_by_index(index).ok())
            else {
                continue;
            };
            let Some((offset, _)) = section.file_range() else { continue };
            let start = (symbol.address() - section.address() + offset)
                .wrapping_sub(mapping.offset)
                .wrapping_add(mapping.start);
            if (mapping.start..mapping.end).contains(&start) {
                found.push(start..start + symbol.size());
            }
        }
    }
    found
}
