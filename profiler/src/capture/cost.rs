//! What an observation costs the target, the machine, and ourselves.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use crate::{kernel::bpf, report::Cost, target::status::Status};

/// Run statistics of BPF programs cost two clock reads per run: they are on for the first part of this period.
const STATS_PERIOD: Duration = Duration::from_secs(30);
const STATS_ON: Duration = Duration::from_secs(1);

/// One trap of an emulated instruction, nanoseconds. Measured by `cargo xtask bench memleak` as the empty entry probe
/// (`floor_ns` parts); machines differ by a factor of two, which is why the share is called modelled.
const TRAP_NS: f64 = 450.0;

/// Measures while an observation runs.
#[derive(Debug)]
pub(crate) struct CostMeter {
    asked: Instant,
    attach: Duration,
    detach: Option<Duration>,
    began: Instant,
    own_cpu_before: Duration,
    stats: Option<OwnedFd>,
    run: Option<(u64, u64)>,
}

impl CostMeter {
    /// `asked` is when the user asked.
    pub(crate) fn new(asked: Instant) -> CostMeter {
        CostMeter {
            asked,
            attach: Duration::ZERO,
            detach: None,
            began: Instant::now(),
            own_cpu_before: own_cpu(),
            stats: None,
            run: None,
        }
    }

    /// Everything is attached.
    pub(crate) fn attached(&mut self) {
        self.attach = self.asked.elapsed();
        self.began = Instant::now();
        self.own_cpu_before = own_cpu();
        self.stats = bpf::enable_run_stats().ok();
    }

    /// Time from the question to everything attached.
    pub(crate) fn attach_time(&self) -> Duration {
        self.attach
    }

    /// Called a few times a second: switches the statistics on and off.
    pub(crate) fn look(&mut self) {
        let into = self.began.elapsed().as_nanos() % STATS_PERIOD.as_nanos();
        let on = into < STATS_ON.as_nanos();
        if on && self.stats.is_none() {
            self.stats = bpf::enable_run_stats().ok();
        } else if !on {
            self.stats = None;
        }
    }

    /// The programs are about to go: the last moment to read what they ran.
    pub(crate) fn before_detach<'a>(&mut self, programs: impl Iterator<Item = BorrowedFd<'a>>) {
        self.run = Some(run_stats(programs));
        self.stats = None;
    }

    /// Everything is detached.
    pub(crate) fn detached(&mut self, took: Duration) {
        self.detach = Some(took);
    }

    /// The figures. `hits` over all probes; `busiest` are the allocation entries of the thread that has most, and
    /// `entries` those of all.
    pub(crate) fn cost<'a>(
        &self,
        length: Duration,
        hits: u64,
        busiest: Option<u64>,
        entries: u64,
        programs: impl Iterator<Item = BorrowedFd<'a>>,
        maps: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> Cost {
        let seconds = length.as_secs_f64();
        let per_second = |n: f64| (seconds > 0.0).then(|| n / seconds);
        let (run_ns, runs) = self.run.unwrap_or_else(|| run_stats(programs));
        let bpf_ns_per_hit = (runs > 0).then(|| run_ns as f64 / runs as f64);
        let per_entry = if entries > 0 { hits as f64 / entries as f64 } else { 0.0 };
        let share = busiest.and_then(|n| {
            let hit_ns = TRAP_NS + bpf_ns_per_hit?;
            per_second(n as f64 * per_entry * hit_ns / 1e9)
        });
        Cost {
            hits,
            hits_per_s: per_second(hits as f64),
            busiest_thread_share: share,
            bpf_ns_per_hit,
            own_cpu_share: per_second((own_cpu().saturating_sub(self.own_cpu_before)).as_secs_f64()),
            own_memory_bytes: own_peak_bytes(),
            map_memory_bytes: maps.map(map_bytes).sum(),
            attach_ns: self.attach.as_nanos() as u64,
            detach_ns: self.detach.map(|d| d.as_nanos() as u64),
        }
    }
}

fn run_stats<'a>(programs: impl Iterator<Item = BorrowedFd<'a>>) -> (u64, u64) {
    programs
        .filter_map(|fd| bpf::run_stats(fd).ok())
        .fold((0, 0), |(t, n), (run, count)| (t + run, n + count))
}

fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Peak resident memory without the BPF maps that we have mapped: those are counted with the maps.
fn own_peak_bytes() -> u64 {
    let status = Status::read(std::process::id()).unwrap_or_default();
    status.peak_bytes.unwrap_or(0).saturating_sub(status.shared_bytes.unwrap_or(0))
}

/// Kernel memory of a map, as the kernel states it (`memlock` in fdinfo).
fn map_bytes(map: BorrowedFd<'_>) -> u64 {
    use std::os::fd::AsRawFd as _;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok()).unwrap_or(0)
}
