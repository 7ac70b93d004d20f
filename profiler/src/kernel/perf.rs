//! Perf events: probes, one per site, for kernels without multi links; and the clock that samples.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Where the kernel says which type of event a uprobe is, and which bit of its configuration means the return.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
const UPROBE_RETURN: &str = "/sys/bus/event_source/devices/uprobe/format/retprobe";
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
/// `perf_event_attr.freq`: the period is a frequency.
const BY_FREQUENCY: u64 = 1 << 10;

/// `struct perf_event_attr` (include/uapi/linux/perf_event.h) as of `PERF_ATTR_SIZE_VER1`: later kernels take it for
/// one whose newer fields are all 0.
#[repr(C)]
#[derive(Default)]
struct EventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    /// `config1`: for a uprobe the address of the path.
    path: u64,
    /// `config2`: for a uprobe the offset in the file.
    offset: u64,
}
const _: () = assert!(size_of::<EventAttr>() == 72);

/// Opens the event of one instruction, or of the return of the function that begins there. `pid` is a process, whose
/// threads are covered; 0 stands for all processes.
pub(crate) fn open_uprobe(path: &Path, offset: u64, at_return: bool, pid: u32) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = EventAttr {
        kind: number(UPROBE_TYPE, "")?,
        size: size_of::<EventAttr>() as u32,
        config: if at_return { 1 << number(UPROBE_RETURN, "config:")? } else { 0 },
        path: path.as_ptr() as u64,
        offset,
        ..EventAttr::default()
    };
    let (pid, cpu) = if pid == 0 { (-1, 0) } else { (pid as libc::pid_t, -1) };
    open(&attr, pid, cpu)
}

/// Opens the clock of a processor: a sample so many times a second while the processor is at work, whatever it does.
pub(crate) fn open_clock(cpu: u32, hz: u32) -> io::Result<OwnedFd> {
    let attr = EventAttr {
        kind: PERF_TYPE_SOFTWARE,
        size: size_of::<EventAttr>() as u32,
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample_period: hz.into(),
        flags: BY_FREQUENCY,
        ..EventAttr::default()
    };
    open(&attr, -1, cpu as libc::c_int)
}

fn open(attr: &EventAttr, pid: libc::pid_t, cpu: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as large as their size field says, and a path in them outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attr),
            pid,
            cpu,
            -1, // no group
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The number in a file of sysfs, behind `prefix`.
fn number(file: &str, prefix: &str) -> io::Result<u32> {
    let text = fs::read_to_string(file)?;
    let digits = text.trim().strip_prefix(prefix).unwrap_or_default();
    digits.parse().map_err(|_| io::Error::other(format!("{file} has no number: {}", text.trim())))
}
