//! The guest's side: process 1 of a machine that has nothing but the tests. Runs them one after the other, reports how
//! each ended, and switches the machine off.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{
        fs::OpenOptionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::OFlags,
    mount::{MountFlags, mount},
    process::{Pid, Signal, WaitOptions},
    system::RebootCommand,
};

use super::{
    hang,
    wire::{Case, Event, PLAN, Plan},
};

/// The port that events go to. The first one has the kernel's log.
const PORT: &str = "/dev/ttyS1";
/// The flags of the loopback interface. What is written there is set.
const LOOPBACK_FLAGS: &str = "/sys/class/net/lo/flags";
/// Time limit of one test. Longer than most timeouts inside the tests, so that they can say what hangs.
const LIMIT: Duration = Duration::from_secs(120);
/// More of a test's output would only be in the way.
const MAX_OUTPUT_BYTES: usize = 32 << 10;

/// Never returns: the machine is off afterwards.
pub(super) fn run() -> Result<()> {
    let outcome = prepare().and_then(|mut port| {
        let outcome = work(&mut port);
        if let Err(error) = &outcome {
            say(&mut port, &Event::Broken { why: format!("{error:#}") })?;
        }
        // What is still in the port's buffer would be lost with the machine.
        rustix::termios::tcdrain(&port).context("cannot drain the port")
    });
    if let Err(error) = outcome {
        // It ends up in the log of the console, beside the kernel's.
        println!("guest: {error:#}");
    }
    rustix::fs::sync();
    rustix::system::reboot(RebootCommand::PowerOff).context("cannot switch the machine off")
}

fn prepare() -> Result<File> {
    // Not over `/tmp`: the checkout may be below it, and the root file system is in memory anyway.
    for (what, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(what, place, what, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {what} at {place}"))?;
    }
    bring_loopback_up()?;
    let port = OpenOptions::new().write(true).open(PORT).with_context(|| format!("cannot open {PORT}"))?;
    let mut settings = rustix::termios::tcgetattr(&port).context("cannot set up the port")?;
    settings.make_raw();
    rustix::termios::tcsetattr(&port, rustix::termios::OptionalActions::Now, &settings)
        .context("cannot set up the port")?;
    Ok(port)
}

/// A kernel begins with its loopback interface down: connecting to an address of the machine itself fails then, although listening there
/// does not.
fn bring_loopback_up() -> Result<()> {
    // IFF_UP and IFF_LOOPBACK, include/uapi/linux/if.h.
    fs::write(LOOPBACK_FLAGS, "0x9").context("cannot bring the loopback interface up")
}

fn work(port: &mut File) -> Result<()> {
    let plan = fs::read(PLAN).with_context(|| format!("cannot read {PLAN}"))?;
    let plan: Plan = serde_json::from_slice(&plan).with_context(|| format!("cannot read {PLAN}"))?;
    let mut log = KernelLog::open()?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    say(port, &Event::Booted { release, kernel: log.new_lines() })?;
    for (number, case) in plan.cases.iter().enumerate() {
        let event = run_case(number, case, &plan.variables, &mut log)?;
        say(port, &event)?;
        reap();
    }
    say(port, &Event::Done)
}

fn say(port: &mut File, event: &Event) -> Result<()> {
    let mut line = serde_json::to_string(event).context("cannot write an event")?;
    line.push('\n');
    port.write_all(line.as_bytes()).with_context(|| format!("cannot write to {PORT}"))
}

fn run_case(
    number: usize,
    case: &Case,
    variables: &[(String, String)],
    log: &mut KernelLog,
) -> Result<Event> {
    let (out, err) = ("/tmp/.stdout", "/tmp/.stderr");
    let file = |path: &str| File::create(path).with_context(|| format!("cannot create {path}"));
    let mut command = Command::new(&case.file);
    command.args(["--exact", &case.test, "--test-threads=1"]).current_dir(&case.directory);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // A process group of its own, so that a test that hangs is ended with all its children.
    command.stdin(Stdio::null()).stdout(file(out)?).stderr(file(err)?).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", case.file.display()))?;
    let end = wait(&mut child)?;
    let mut stdout = end_of(out);
    let status = match end {
        End::Of(status) => Some(status.code().unwrap_or(128 + status.signal().unwrap_or(0))),
        End::ByForce { threads } => {
            stdout.push_str("\nits threads, and what they waited in:\n");
            stdout.push_str(&threads.join("\n"));
            None
        }
    };
    Ok(Event::Ran { case: number, status, stdout, stderr: end_of(err), kernel: log.new_lines() })
}

/// How a test ended.
enum End {
    /// By itself, or by a signal that was not ours.
    Of(ExitStatus),
    /// It took too long. With where its threads were.
    ByForce { threads: Vec<String> },
}

/// Waits for the end, and brings it about if it takes too long.
fn wait(child: &mut Child) -> Result<End> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("cannot wait for a test")? {
            return Ok(End::Of(status));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let threads = hang::threads();
    // It may have ended just now; it is not waited for yet, so the number is still its own.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait().context("cannot wait for a test")?;
    Ok(End::ByForce { threads })
}

/// Orphans come to process 1.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

fn end_of(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(MAX_OUTPUT_BYTES);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}

/// The kernel's log, from where it was read last.
struct KernelLog(File);

impl KernelLog {
    fn open() -> Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).context("flags of open(2) fit")?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg");
        Ok(Self(file.context("cannot open /dev/kmsg")?))
    }

    fn new_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // CONSOLE_EXT_LOG_MAX, printk_core.c: no record is longer.
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return lines,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    // "priority,number,time,flags;text", then lines of key=value.
                    let text = text.split_once(';').map_or("", |(_, text)| text);
                    lines.extend(text.lines().next().map(str::to_owned));
                }
                // Overwritten before it was read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    lines.push("(lines lost)".to_owned());
                }
                Err(_) => return lines,
            }
        }
    }
}
