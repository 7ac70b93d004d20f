//! The cost of one hit of a probe on this machine, measured on a process of our own.
//!
//! The process calls two functions by turns, a bare one and one with an empty program attached, and takes the time
//! itself. The difference is the kernel's part of a hit, without what a tool's program does. They alternate because a
//! disturbance of the machine lasts longer than a turn, and then slows both.
//!
//! In such a loop the kernel's code for probes stays in the nearest caches. In a server it often does not: between two
//! calls the thread reads from one socket and writes to another, and the next trap takes half as long again. So the
//! same is measured with a message sent and received before each call: the *cold* figures. More messages hardly make it
//! slower.

use std::{
    arch::naked_asm,
    ffi::OsString,
    hint::black_box,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};

use super::{
    detach,
    own_code::{OWN_EXECUTABLE, own_offset},
    uprobe::{Attacher, ProbeSite},
};
use crate::{
    capture::object::Object,
    error::{Error, ErrorKind, Result},
};

/// The hidden first argument that makes our executable the process that is measured.
pub const CALIBRATION_ARGUMENT: &str = "__calibration";
/// Rounds in which each figure is measured: a disturbance often lasts longer than all series of one round.
const ROUNDS: usize = 3;
/// Series per figure and round: odd, so that one of them is the median.
const SERIES: [usize; 2] = [5, 3];
/// Series of a figure with work in the kernel, which other work on the machine disturbs more.
const COLD_SERIES: usize = 5;
/// Time for the probed calls of one series; the bare calls come in addition. Short, so that the scheduler disturbs few
/// series.
const SERIES_TIME: Duration = Duration::from_millis(3);
/// Turns of a series.
const TURNS: u32 = 10;
/// Longest time to wait for an answer. Measuring takes a fifth of a second of processor time.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Least and most calls of a series.
const CALLS: [u32; 2] = [2 * TURNS, 20_000];

/// A message that the process sends to itself, as long as a short request of a server.
const MESSAGE: [u8; 128] = [7; 128];
/// Every kernel emulates `push` of a register.
#[unsafe(naked)]
extern "C" fn emulated() {
    naked_asm!("push rbp", "pop rbp", "ret")
}

/// No kernel emulates `test`, the first instruction of glibc's `free`.
#[unsafe(naked)]
extern "C" fn stepped() {
    naked_asm!("test rdi, rdi", "ret")
}

/// As [`emulated`], for probes at entry and return.
#[unsafe(naked)]
extern "C" fn followed() {
    naked_asm!("push rbp", "pop rbp", "ret")
}

/// As [`emulated`], without a probe.
#[unsafe(naked)]
extern "C" fn bare() {
    naked_asm!("push rbp", "pop rbp", "ret")
}

/// Address of a function whose first instruction the kernel emulates. This process never calls it.
pub(crate) fn quiet_function() -> usize {
    emulated as extern "C" fn() as usize
}

/// Requests to the measured process: which function to call.
const EMULATED: u8 = b'e';
const FOLLOWED: u8 = b'f';
const STEPPED: u8 = b's';
/// The same, each time after work in the kernel.
const COLD: u8 = b'c';
const COLD_FOLLOWED: u8 = b'd';

/// What one hit costs the thread that has it, in nanoseconds, without what a tool's program does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HitCost {
    /// The median series of the median round.
    pub(crate) median_ns: f64,
    /// The fastest series.
    pub(crate) low_ns: f64,
    /// The slowest series.
    pub(crate) high_ns: f64,
    /// Measured calls in all series.
    pub(crate) calls: u64,
}

/// The costs of the ways in which a call can be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Costs {
    /// At an instruction that the kernel emulates.
    pub(crate) emulated: HitCost,
    /// At an instruction that it runs under single step.
    pub(crate) stepped: HitCost,
    /// At an emulated entry and at the return: both hits together.
    pub(crate) call: HitCost,
    /// As `emulated`, after work in the kernel.
    pub(crate) cold: HitCost,
    /// As `call`, after work in the kernel.
    pub(crate) cold_call: HitCost,
    /// How long measuring took.
    pub(crate) took: Duration,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// 15 series per figure.
    Thorough,
    /// 9 series, but more for the cold figures: the target need not wait for this, but the user does.
    Quick,
}

/// Measures with the empty programs of `object`.
///
/// # Errors
/// If the process cannot be started or probed, or does not answer.
pub(crate) fn measure(object: &Object, mut attacher: Attacher, effort: Effort) -> Result<Costs> {
    let begun = Instant::now();
    let site = |function: extern "C" fn()| {
        Ok::<_, Error>(ProbeSite { offset: own_offset(function as usize)?, cookie: 0 })
    };
    let mut subject = Subject::start(effort)?;
    let (pid, exe) = (subject.child.id(), Path::new(OWN_EXECUTABLE));
    let links = vec![
        attacher.look(object, exe, pid, &[site(emulated)?, site(stepped)?])?,
        attacher.follow(object, exe, pid, &[site(followed)?])?,
    ];
    let orders = [EMULATED, STEPPED, FOLLOWED, COLD, COLD_FOLLOWED];
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let mut round = Vec::with_capacity(orders.len());
        for order in orders {
            round.push(subject.time(order)?);
        }
        rounds.push(round);
    }
    detach::all_at_once(links);
    let [emulated, stepped, call, cold, cold_call] = std::array::from_fn(|figure| {
        HitCost::of_rounds(rounds.iter().filter_map(|round| round.get(figure).copied()))
    });
    let took = begun.elapsed();
    Ok(Costs { emulated, stepped, call, cold, cold_call, took })
}

impl HitCost {
    /// The figure of several rounds: the median one.
    fn of_rounds(rounds: impl Iterator<Item = HitCost>) -> HitCost {
        let mut rounds: Vec<HitCost> = rounds.collect();
        rounds.sort_by(|a, b| a.median_ns.total_cmp(&b.median_ns));
        HitCost {
            median_ns: rounds.get(rounds.len() / 2).map_or(0.0, |round| round.median_ns),
            low_ns: rounds.iter().map(|round| round.low_ns).fold(f64::INFINITY, f64::min),
            high_ns: rounds.iter().map(|round| round.high_ns).fold(0.0, f64::max),
            calls: rounds.iter().map(|round| round.calls).sum(),
        }
    }
}

/// The measured process. Dropping this ends it.
struct Subject {
    effort: Effort,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Subject {
    fn start(effort: Effort) -> Result<Subject> {
        let tried = || Error::new(ErrorKind::Limit, "tried to start a process to measure probes on");
        let mut child = Command::new(OWN_EXECUTABLE)
            .arg(CALIBRATION_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| tried().because_of(e))?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.ok_or_else(|| tried().because("it has no output"))?);
        Ok(Subject { effort, child, orders, answers })
    }

    /// Has it call one of the functions, and reads how much longer that took than a bare one.
    fn time(&mut self, which: u8) -> Result<HitCost> {
        let tried =
            || Error::new(ErrorKind::Limit, "tried to measure what a probe costs on a process of our own");
        let mut line = String::new();
        let mut ask = || -> io::Result<()> {
            let orders = self.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            orders.write_all(&[if self.effort == Effort::Quick {
                which.to_ascii_uppercase()
            } else {
                which
            }])?;
            orders.flush()?;
            // One line answers one request, so the buffer is empty between requests.
            let mut coming = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
            match poll(&mut coming, Some(&PATIENCE))? {
                0 => Err(io::Error::from(io::ErrorKind::TimedOut)),
                _ => self.answers.read_line(&mut line).map(|_| ()),
            }
        };
        ask().map_err(|e| tried().because_of(e))?;
        parse(&line)
            .ok_or_else(|| tried().because("it ended without an answer: the probe may have killed it"))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It ends when its input does. If it hangs, it is killed.
        drop(self.orders.take());
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Parses `CALLS NS NS ...`: the calls of all series, and for each series how much longer a call took than a bare one.
fn parse(line: &str) -> Option<HitCost> {
    let mut words = line.split_ascii_whitespace();
    let calls = words.next()?.parse().ok()?;
    let mut series: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    series.sort_by(f64::total_cmp);
    let (low_ns, high_ns) = (*series.first()?, *series.last()?);
    let sound = low_ns >= 0.0 && high_ns.is_finite() && calls > 0;
    sound.then_some(HitCost { median_ns: *series.get(series.len() / 2)?, low_ns, high_ns, calls })
}

/// The child's side: for every byte that it reads, it calls one function and the bare one, and writes the difference. A
/// capital letter asks for few series.
pub fn be_subject(_arguments: impl Iterator<Item = OsString>) -> std::process::ExitCode {
    match answer_orders() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}

fn answer_orders() -> io::Result<()> {
    let mut order = [0u8];
    let mut out = io::stdout().lock();
    while io::stdin().read_exact(&mut order).is_ok() {
        let series = SERIES[usize::from(order[0].is_ascii_uppercase())];
        let line = match order[0].to_ascii_lowercase() {
            STEPPED => timed(stepped, series, None),
            FOLLOWED => timed(followed, series, None),
            COLD => timed(emulated, COLD_SERIES, Some(KernelWork::new()?)),
            COLD_FOLLOWED => timed(followed, COLD_SERIES, Some(KernelWork::new()?)),
            _ => timed(emulated, series, None),
        };
        writeln!(out, "{}", line?)?;
        out.flush()?;
    }
    Ok(())
}

/// The kernel work that a server does between two calls of its allocator.
struct KernelWork {
    here: UnixStream,
    there: UnixStream,
}

impl KernelWork {
    fn new() -> io::Result<KernelWork> {
        let (here, there) = UnixStream::pair()?;
        Ok(KernelWork { here, there })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut message = MESSAGE;
        self.here.write_all(&message)?;
        self.there.read_exact(&mut message)?;
        Ok(())
    }
}

/// Processor time of this thread: other processes on a busy machine do not count.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time of `calls` calls of `function`, each after `before`, if there is some.
fn time_of(function: extern "C" fn(), calls: u32, before: &mut Option<KernelWork>) -> io::Result<Duration> {
    let begun = own_time();
    for _ in 0..calls {
        if let Some(work) = before {
            work.turn()?;
        }
        black_box(function)();
    }
    Ok(own_time().saturating_sub(begun))
}

/// Several series of how much longer `function` takes than [`bare`], in the form that [`parse`] reads.
fn timed(function: extern "C" fn(), series: usize, mut before: Option<KernelWork>) -> io::Result<String> {
    let mut time = |function, calls| time_of(function, calls, &mut before);
    // The first calls find nothing in the caches.
    let first = time(function, CALLS[0])?.min(time(function, CALLS[0])?).as_nanos().max(1);
    let calls = (SERIES_TIME.as_nanos() * u128::from(CALLS[0]) / first) as u32;
    let a_turn = calls.clamp(CALLS[0], CALLS[1]) / TURNS;
    let calls = a_turn * TURNS;
    let mut answer = (u64::from(calls) * series as u64).to_string();
    for _ in 0..series {
        let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            without += time(bare, a_turn)?;
            with += time(function, a_turn)?;
        }
        let more = with.saturating_sub(without).as_nanos() as f64;
        answer.push_str(&format!(" {:.3}", more / f64::from(calls)));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::placement::{ArgUse, site};

    #[test]
    fn answers_are_checked() {
        let cost = parse("90 5.0 1.5 2.0\n").unwrap();
        assert_eq!((cost.median_ns, cost.low_ns, cost.high_ns, cost.calls), (2.0, 1.5, 5.0, 90));
        for line in ["", "90", "90 a", "-1 2.0", "0 2.0", "90 NaN", "90 inf", "90 -2.0"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_round_that_was_disturbed_does_not_count() {
        let round = |ns: f64| HitCost { median_ns: ns, low_ns: ns - 1.0, high_ns: ns + 1.0, calls: 10 };
        let all = HitCost::of_rounds([round(1500.0), round(1200.0), round(1210.0)].into_iter());
        assert_eq!((all.low_ns, all.median_ns, all.high_ns, all.calls), (1199.0, 1210.0, 1501.0, 30));
    }

    #[test]
    fn the_functions_are_what_they_are_called() {
        let [emulated, followed, stepped] =
            [emulated, followed, stepped].map(|function: extern "C" fn()| {
                // SAFETY: the function is longer than a byte, and what follows it is code as well.
                let code = unsafe { std::slice::from_raw_parts(function as usize as *const u8, 4) };
                site(code, 0, ArgUse::first(1))
            });
        assert!(emulated.emulated && emulated.offset == 0);
        assert!(followed.emulated && followed.offset == 0);
        let addresses = [self::emulated, self::followed, bare].map(|f: extern "C" fn()| f as usize);
        assert!(
            addresses[0] != addresses[1] && addresses[1] != addresses[2],
            "a probe on one is on that alone"
        );
        assert!(!stepped.emulated && stepped.offset == 0);
        assert!(own_offset(quiet_function()).is_ok());
    }

    #[test]
    fn messages_take_time() {
        let warm = time_of(bare, 10_000, &mut None).unwrap();
        let cold = time_of(bare, 10_000, &mut Some(KernelWork::new().unwrap())).unwrap();
        assert!(Duration::ZERO < warm && warm < cold, "{cold:?}, {warm:?}");
    }

    #[test]
    fn an_unprobed_call_costs_no_more_than_a_bare_one() {
        let cost = parse(&timed(emulated, 5, None).unwrap()).unwrap();
        assert!(cost.calls >= u64::from(CALLS[0]) * 5 && cost.low_ns < 100.0, "{cost:?}");
        let counts = [ROUNDS, COLD_SERIES].into_iter().chain(SERIES);
        assert!(counts.into_iter().all(|count| count % 2 == 1), "a median of two is the slower one");
    }
}
