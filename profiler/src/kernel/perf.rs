//! Perf events: uprobes one by one, for kernels without multi links, major faults, and a clock for sampling.

use std::{
    ffi::CString,
    fs, io, mem,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_sw_ids, perf_type_id};

/// Files with the event type of uprobes, and with the bit of its configuration that stands for a return probe.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
const UPROBE_RETURN: &str = "/sys/bus/event_source/devices/uprobe/format/retprobe";

/// Opens the event of one instruction, or of the return of the function that begins there, in all threads of process
/// `pid`; 0 stands for all processes.
pub(crate) fn open_uprobe(path: &Path, offset: u64, at_return: bool, pid: u32) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = event(number(UPROBE_TYPE, "")?);
    attr.config = if at_return { 1 << number(UPROBE_RETURN, "config:")? } else { 0 };
    attr.__bindgen_anon_3.uprobe_path = path.as_ptr() as u64;
    attr.__bindgen_anon_4.probe_offset = offset;
    let (pid, cpu) = if pid == 0 { (-1, 0) } else { (pid as libc::pid_t, -1) };
    open(&attr, pid, cpu)
}

/// Opens the sampling clock of a processor: `hz` samples a second, of whatever runs on it.
#[cfg(feature = "lab")]
pub(crate) fn open_clock(cpu: u32, hz: u32) -> io::Result<OwnedFd> {
    let mut attr = event(perf_type_id::PERF_TYPE_SOFTWARE as u32);
    attr.config = perf_sw_ids::PERF_COUNT_SW_CPU_CLOCK as u64;
    attr.set_freq(1);
    attr.__bindgen_anon_1.sample_freq = hz.into();
    open(&attr, -1, cpu as libc::c_int)
}

/// Opens the event of major faults on a processor: one sample at the end of each, of whatever runs there.
pub(crate) fn open_major_faults(cpu: u32) -> io::Result<OwnedFd> {
    let mut attr = event(perf_type_id::PERF_TYPE_SOFTWARE as u32);
    attr.config = perf_sw_ids::PERF_COUNT_SW_PAGE_FAULTS_MAJ as u64;
    attr.__bindgen_anon_1.sample_period = 1;
    open(&attr, -1, cpu as libc::c_int)
}

/// An event with a type and nothing else. Kernels accept structures larger than their own if the rest is 0.
fn event(kind: u32) -> perf_event_attr {
    // SAFETY: it is made of integers, for which 0 is a value.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.type_ = kind;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr
}

fn open(attr: &perf_event_attr, pid: libc::pid_t, cpu: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the size in the attributes is their own, and a path in them outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attr),
            pid,
            cpu,
            -1, // no group
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The number after `prefix` in a file of sysfs.
fn number(file: &str, prefix: &str) -> io::Result<u32> {
    let text = fs::read_to_string(file)?;
    let digits = text.trim().strip_prefix(prefix).unwrap_or_default();
    digits.parse().map_err(|_| io::Error::other(format!("{file} has no number: {}", text.trim())))
}
