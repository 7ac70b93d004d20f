//! What the kernel knows of a process: whether its code is as the file has it, and which BPF objects someone holds.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

/// How much code is compared at once.
const PAGE: usize = 4096;

/// One executable mapping of a file.
struct CodeMapping {
    start: u64,
    length: usize,
    offset: u64,
    path: PathBuf,
}

fn code_mappings(pid: u32) -> Vec<CodeMapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("to read the target's mappings");
    let parse = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let path = fields.nth(2)?.trim_start();
        let (start, end) = range.split_once('-')?;
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        let (start, end, offset) = (number(start)?, number(end)?, number(offset)?);
        let length = usize::try_from(end - start).ok()?;
        let code = rights.contains('x') && path.starts_with('/');
        code.then(|| CodeMapping { start, length, offset, path: PathBuf::from(path) })
    };
    maps.lines().filter_map(parse).collect()
}

/// Where the code in the memory of a process differs from its files, as `file+0xoffset`. Empty: nothing is changed.
pub(crate) fn changed_code(pid: u32) -> Vec<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("to open the target's memory");
    let mut changed = Vec::new();
    for mapping in code_mappings(pid) {
        let (mut in_memory, mut in_file) = (vec![0; mapping.length], vec![0; mapping.length]);
        memory.read_exact_at(&mut in_memory, mapping.start).expect("to read the target's code");
        let file = File::open(&mapping.path).expect("to open the target's file");
        // The last page of a mapping may reach past the end of the file: zeros on both sides.
        let mut filled = 0;
        while filled < mapping.length {
            let at = mapping.offset + filled as u64;
            match file.read_at(&mut in_file[filled..], at).expect("to read the target's file") {
                0 => break,
                read => filled += read,
            }
        }
        // By pages first, which takes one call each: of megabytes of code a few bytes differ.
        for (page, (in_memory, in_file)) in in_memory.chunks(PAGE).zip(in_file.chunks(PAGE)).enumerate() {
            if in_memory == in_file {
                continue;
            }
            let differing = in_memory.iter().zip(in_file).enumerate().filter(|(_, (a, b))| a != b);
            let place = |i: usize| mapping.offset + (page * PAGE + i) as u64;
            changed.extend(differing.map(|(i, _)| format!("{}+{:#x}", mapping.path.display(), place(i))));
        }
    }
    changed
}

/// Asserts that the code of a process is as its files have it, at the latest after a moment: the kernel may take
/// probes out after the last descriptor is gone.
pub(crate) fn assert_code_unchanged(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let changed = changed_code(pid);
        if changed.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "code still changed: {changed:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many probes the kernel says that it could not take back. It fails to, now and then, if who was just putting them in
/// is killed: the breakpoints stay in the code of the process, and do nothing.
pub(crate) fn leaked_probes() -> usize {
    const READ_ALL: libc::c_int = 3; // syslog(2)
    let mut log = vec![0_u8; 1 << 20];
    // SAFETY: as much room as we say.
    let length = unsafe { libc::klogctl(READ_ALL, log.as_mut_ptr().cast(), log.len() as libc::c_int) };
    log.truncate(usize::try_from(length).expect("to read the kernel's log"));
    let log = String::from_utf8_lossy(&log);
    log.lines().filter(|line| line.contains("uprobe: profiler") && line.contains("leaking uprobe")).count()
}

/// BPF objects by kind (`prog_id`, `map_id`, `link_id`) and number.
pub(crate) type BpfObjects = BTreeSet<(String, u32)>;

/// The BPF objects that a process holds open.
pub(crate) fn bpf_objects_of(pid: u32) -> BpfObjects {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return BpfObjects::new() };
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts.flat_map(|text| text.lines().filter_map(bpf_object).collect::<Vec<_>>()).collect()
}

fn bpf_object(line: &str) -> Option<(String, u32)> {
    let (kind, number) = line.split_once(':')?;
    ["prog_id", "map_id", "link_id"].contains(&kind).then_some(())?;
    Some((kind.to_owned(), number.trim().parse().ok()?))
}

/// The BPF objects that exist in the kernel, whoever holds them.
fn existing_bpf_objects() -> BpfObjects {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok).map(|p| ("prog_id", p.id()));
    let maps = aya::maps::loaded_maps().filter_map(Result::ok).map(|m| ("map_id", m.id()));
    let links = aya::programs::loaded_links().filter_map(Result::ok).map(|l| ("link_id", l.id()));
    programs.chain(maps).chain(links).map(|(kind, id)| (kind.to_owned(), id)).collect()
}

/// Asserts that these objects exist: the kernel lists what a process holds, so it would list what is left, too.
pub(crate) fn assert_bpf_objects_exist(objects: &BpfObjects) {
    let missing: Vec<_> = objects.difference(&existing_bpf_objects()).cloned().collect();
    assert!(!objects.is_empty() && missing.is_empty(), "held, but not listed by the kernel: {missing:?}");
}

/// Asserts that none of these objects exists any more, at the latest after a moment: the kernel frees some of them
/// after a grace period.
pub(crate) fn assert_bpf_objects_gone(objects: &BpfObjects) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<_> = existing_bpf_objects().intersection(objects).cloned().collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "BPF objects outlive profiler: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process has a handler for a signal.
pub(crate) fn catches(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    caught >> (signal.as_raw() - 1) & 1 == 1
}

/// A kernel thread, if this pid namespace shows one.
pub(crate) fn kernel_thread() -> Option<u32> {
    const PF_KTHREAD: u64 = 0x0020_0000; // include/linux/sched.h
    let flags = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may contain anything: state, ppid, pgrp, session, tty, tpgid, flags.
        stat.rsplit_once(") ")?.1.split(' ').nth(6)?.parse::<u64>().ok()
    };
    (2..64).find(|pid| flags(*pid).is_some_and(|flags| flags & PF_KTHREAD != 0))
}
