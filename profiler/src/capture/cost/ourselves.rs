//! What profiler itself uses.

use std::{
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

use crate::target::status::Status;

/// Processor time of this process.
pub(super) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Peak resident memory without the BPF maps that we have mapped, which are counted as maps.
pub(super) fn own_peak_bytes() -> u64 {
    let status = Status::read(std::process::id()).unwrap_or_default();
    status.peak_bytes.unwrap_or(0).saturating_sub(status.shared_bytes.unwrap_or(0))
}

/// Kernel memory of a map by the kernel's own figure (`memlock` in fdinfo).
pub(super) fn map_bytes(map: BorrowedFd<'_>) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok()).unwrap_or(0)
}
