//! The `stat` file of a process or a thread (proc(5)); fields have the numbers used there.

use std::{fs, str::FromStr, time::Duration};

/// Fields before the state, which is the first after the name: pid and name.
const BEFORE_STATE: usize = 2;
/// Its parent.
const PARENT: usize = 4;
/// Page faults without input or output, and those of the children that ended and were collected.
const MINOR_FAULTS: usize = 10;
const MINOR_FAULTS_OF_CHILDREN: usize = 11;
/// Processor time in user mode and in the kernel, of a process or thread.
const USER_TIME: usize = 14;
/// The same for children that ended and were collected.
const USER_TIME_OF_CHILDREN: usize = 16;
/// When it began, in ticks since boot.
const STARTED: usize = 22;

/// One `stat` file, as bytes: a name may hold anything.
#[derive(Debug)]
pub(crate) struct Stat(Vec<u8>);

impl Stat {
    /// Of a process; `None` if it is gone.
    pub(crate) fn of_process(pid: u32) -> Option<Stat> {
        fs::read(format!("/proc/{pid}/stat")).ok().map(Stat)
    }

    /// Of one thread; `None` if it is gone.
    pub(crate) fn of_thread(tid: u32) -> Option<Stat> {
        // A process directory exists for every thread, but its own `stat` is about the whole process.
        fs::read(format!("/proc/{tid}/task/{tid}/stat")).ok().map(Stat)
    }

    /// The name. The file has it in parentheses, and it may contain parentheses itself.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        let open = self.0.iter().position(|byte| *byte == b'(')?;
        self.0.get(open + 1..self.end_of_name()?)
    }

    /// The state: `R`, `S`, `Z` and so on.
    pub(crate) fn state(&self) -> Option<u8> {
        self.text(BEFORE_STATE + 1)?.bytes().next()
    }

    /// The pid of its parent.
    pub(crate) fn parent(&self) -> Option<u32> {
        self.field(PARENT)
    }

    /// A field after the name, by its number in proc(5), which counts from 1.
    pub(crate) fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        self.text(number)?.parse().ok()
    }

    /// Processor time, to a tick of the kernel (10 ms as a rule).
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.sum_of_two(USER_TIME)
    }

    /// The part of it in user mode.
    pub(crate) fn user(&self) -> Option<Duration> {
        Some(in_ticks(self.field(USER_TIME)?))
    }

    /// Processor time of the children that ended and were collected, to a tick.
    pub(crate) fn cpu_of_ended_children(&self) -> Option<Duration> {
        self.sum_of_two(USER_TIME_OF_CHILDREN)
    }

    /// Page faults without input or output: mostly pages touched for the first time.
    pub(crate) fn minor_faults(&self) -> Option<u64> {
        self.field(MINOR_FAULTS)
    }

    /// The same for children that ended and were collected.
    pub(crate) fn minor_faults_of_ended_children(&self) -> Option<u64> {
        self.field(MINOR_FAULTS_OF_CHILDREN)
    }

    /// When it began, in ticks since boot.
    pub(crate) fn started_ticks(&self) -> Option<u64> {
        self.field(STARTED)
    }

    fn sum_of_two(&self, first: usize) -> Option<Duration> {
        let ticks = self.field::<u64>(first)?.saturating_add(self.field(first + 1)?);
        Some(in_ticks(ticks))
    }

    fn text(&self, number: usize) -> Option<&str> {
        let behind = self.0.get(self.end_of_name()? + 1..)?;
        let behind = std::str::from_utf8(behind).ok()?;
        behind.split_ascii_whitespace().nth(number.checked_sub(BEFORE_STATE + 1)?)
    }

    fn end_of_name(&self) -> Option<usize> {
        self.0.iter().rposition(|byte| *byte == b')')
    }
}

fn in_ticks(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / ticks_per_s()))
}

/// Ticks per second, the kernel's unit of times.
pub(crate) fn ticks_per_s() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// Ticks since boot, as [`Stat::started_ticks`] counts them.
pub(crate) fn ticks_now() -> u64 {
    ticks_before(Duration::ZERO)
}

/// Ticks since boot, as of some time ago.
pub(crate) fn ticks_before(ago: Duration) -> u64 {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since_boot = Duration::new(since_boot.tv_sec.max(0) as u64, since_boot.tv_nsec.max(0) as u32);
    let then = since_boot.saturating_sub(ago);
    let part = u64::from(then.subsec_nanos()) / (1_000_000_000 / ticks_per_s());
    then.as_secs().saturating_mul(ticks_per_s()).saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = Stat(b"7 (a) b\xff( c) S 1 2 0 0 -1 64 31 32 0 0 30 12 5 6 20 0 9 0 4711 0".to_vec());
        assert_eq!(stat.name(), Some(&b"a) b\xff( c"[..]));
        assert_eq!(stat.state(), Some(b'S'));
        assert_eq!((stat.field(4), stat.field(9)), (Some(1), Some(64)));
        let tick = Duration::from_nanos(1_000_000_000 / ticks_per_s());
        assert_eq!((stat.cpu(), stat.cpu_of_ended_children()), (Some(tick * 42), Some(tick * 11)));
        assert_eq!((stat.minor_faults(), stat.minor_faults_of_ended_children()), (Some(31), Some(32)));
        assert_eq!((stat.started_ticks(), stat.parent()), (Some(4711), Some(1)));
        assert_eq!((stat.field::<u64>(2), stat.field::<u64>(99)), (None, None));
    }

    #[test]
    fn a_truncated_file_has_no_fields() {
        for cut in [&b""[..], b"7", b"7 (a", b"7 (a)", b")"] {
            let stat = Stat(cut.to_vec());
            assert_eq!((stat.state(), stat.cpu(), stat.started_ticks()), (None, None, None), "{cut:?}");
        }
        assert_eq!(Stat(b") S (".to_vec()).name(), None);
    }

    #[test]
    fn a_thread_whose_name_is_not_utf8_is_read() {
        let read = std::thread::spawn(|| {
            // SAFETY: sets the name of this very thread to bytes that live and end with 0.
            let named = unsafe { libc::prctl(libc::PR_SET_NAME, c"\xff) \xfe(".as_ptr()) };
            let stat = Stat::of_thread(rustix::thread::gettid().as_raw_nonzero().get() as u32);
            (named, stat)
        });
        let (named, stat) = read.join().unwrap();
        let stat = stat.unwrap();
        assert_eq!((named, stat.name()), (0, Some(&b"\xff) \xfe("[..])));
        assert!(stat.cpu().is_some() && stat.started_ticks().is_some_and(|ticks| ticks <= ticks_now()));
    }
}
