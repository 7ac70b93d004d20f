//! A C++ server, stopped at random moments: the walker must find the same frames as gdb in all of its threads, from the
//! registers of that moment and the memory of the process; and the names must be the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use profiler::symbolize::{Program, Request, Settings, Source, Worker};
use profiler::target::maps;
use profiler::unwind::host::{self, HostSpace, Start, Thread};
use profiler_common::unwind::unmarked;
use profiler_common::unwind::walk::End;
use rustix::process::Signal;
use support::compile::Build;
use support::workload::{PATIENCE, Workload, wait};
use testbed::place;

const STOPS: usize = 50;
/// Places of registers in a thread's list, which is in the order of DWARF, with rip behind.
const RBP: usize = 6;
const RSP: usize = 7;
const RIP: usize = 16;

/// The tables of a process, and its memory.
struct Stopped {
    space: HostSpace,
    layout: Vec<maps::Mapping>,
    memory: File,
}

impl Stopped {
    fn new(pid: u32) -> Stopped {
        let space = HostSpace::of(pid).unwrap();
        assert_eq!(space.left_out, [], "every file has a table");
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        Stopped { space, layout: maps::executable(pid).unwrap(), memory }
    }

    /// The frames of a thread: addresses, and whether each is where a call returns to. The stack must be whole.
    fn walk(&self, registers: &[u64]) -> Vec<(u64, bool)> {
        let thread = Thread { space: &self.space, memory: &self.memory, registers };
        let (ip, sp, fp) = (registers[RIP], registers[RSP], registers[RBP]);
        let found = host::walk(thread, &self.space.mappings, Start { ip, sp, fp, returned: false });
        let end = End::WORDS[usize::try_from(found.end).unwrap()];
        assert_eq!(end, End::WORDS[0], "{:x?}, registers {registers:x?}", found.frames);
        assert_eq!(found.guessed, 0, "no frame was guessed");
        found.frames.into_iter().map(unmarked).map(|(address, interrupted)| (address, !interrupted)).collect()
    }

    /// The name of the function that a frame is in, and its file.
    fn name(&self, (address, returned): (u64, bool), worker: &Worker) -> (String, &Path) {
        let code = address - u64::from(returned);
        let mapping = self.layout.iter().find(|mapping| (mapping.start..mapping.end).contains(&code));
        let mapping = mapping.expect("code is mapped");
        let offsets = vec![code - mapping.start + mapping.offset];
        let answers = worker
            .ask(vec![Request { source: Source::File(Program::at(&mapping.path)), places: offsets }])
            .wait();
        let name =
            answers[0].resolved[0].functions.last().map_or_else(|| "?".to_owned(), |f| f.name.terminal());
        (name, &mapping.path)
    }
}

/// A gdb that runs `stops.py`. Killed when dropped.
struct Gdb {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Gdb {
    fn start(pid: u32, script: &Path) -> Gdb {
        let mut child = Command::new("gdb")
            .args(["--batch", "-nx", "-iex", "set debuginfod enabled off"])
            .args(["-ex", &format!("set $pid = {pid}"), "-ex", &format!("set $stops = {STOPS}"), "-x"])
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("to start gdb; install it");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let stdin = child.stdin.take().unwrap();
        Gdb { child, stdin, lines }
    }

    /// The next line that it prints; `None` at the end.
    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("gdb says nothing for {PATIENCE:?}"),
        }
    }

    /// Lets the process go on.
    fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What gdb says of a thread.
#[derive(Debug, Default)]
struct Shown {
    registers: Vec<u64>,
    /// Address and name, innermost first.
    frames: Vec<(u64, String)>,
}

/// A name as both sides write it: without the arguments, and without the type of the result, which demangled names of
/// templates have and debug information has not.
fn bare(name: &str) -> &str {
    let name = name.split(" [clone").next().unwrap();
    let (mut depth, mut start, mut end) = (0, 0, name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'<' | b'{' => depth += 1,
            b'>' | b'}' => depth -= 1,
            b'(' if depth == 0
                && !name[at..].starts_with("(anonymous")
                && !name[..at].ends_with("operator") =>
            {
                end = at;
                break;
            }
            b' ' if depth == 0 && !name[..at].contains("operator") && !name[..at].ends_with("(anonymous") => {
                start = at + 1;
            }
            _ => {}
        }
    }
    &name[start..end]
}

/// Whether both sides mean the same function. Arguments of templates are left out: everybody writes numbers and lambdas
/// among them in another way. What is inside a function or a lambda may lack the names around it in gdb.
fn is_same(ours: &str, gdb: &str) -> bool {
    let (ours, gdb) = (template(bare(ours)), template(bare(gdb)));
    ours == gdb || ours.strip_suffix(&gdb).is_some_and(|around| around.ends_with("::"))
}

/// A name without what stands in angle brackets.
fn template(name: &str) -> String {
    let mut depth = 0;
    let outside = |c: &char| {
        depth += i32::from(*c == '<') - i32::from(*c == '>');
        depth == 0 && *c != '>'
    };
    name.chars().filter(outside).collect()
}

#[test]
fn names_are_compared_without_arguments() {
    for (long, short) in [
        ("main", "main"),
        ("tick(int)", "tick"),
        ("operator new(unsigned long)", "operator new"),
        ("(anonymous namespace)::Worker::run(unsigned long)", "(anonymous namespace)::Worker::run"),
        ("void std::sort<int*, bool (*)(int)>(int*, int*)", "std::sort<int*, bool (*)(int)>"),
        ("Rooms::operator()(int) const", "Rooms::operator()"),
        ("leak() [clone .cold]", "leak"),
    ] {
        assert_eq!(bare(long), short);
    }
    assert!(is_same("A<B<main::{lambda()#1}> >::run()", "A<B<main(int, char**)::<lambda()> > >::run(void)"));
    assert!(!is_same("A<main::{lambda()#1}>::run()", "A<main(int, char**)::<lambda()> >::stop(void)"));
    assert!(is_same("A<(unsigned long)64>::operator()()", "A<64ul>::operator()"));
    assert!(!is_same("A<int>::run()", "B<int>::run()"));
    assert!(is_same("kinds::{lambda(int)#1}::_FUN(int)", "_FUN"));
    assert!(!is_same("run", "rerun") && !is_same("rerun()", "run"));
}

#[test]
fn fifty_stops_of_a_server() {
    let Some(_live) = support::live() else { return };
    let twin = place::checkout().join("examples/native/twin.cpp");
    let twin = Build::cpp(twin.to_str().unwrap()).flags(&["-fomit-frame-pointer"]).build();
    // Much to do, and few pauses: most stops should be somewhere else than in a system call.
    let server = Workload::spawn(&twin, &["--rate", "300", "--tick-hz", "1000"]);
    let script = place::package().join("tests/workloads/unwinding/stops.py");
    let mut gdb = Gdb::start(server.pid(), &script);
    let stopped = Stopped::new(server.pid());
    let mut moments = support::Moments::new(5);
    let worker = Worker::start(Settings::default()).unwrap();
    let (mut threads, mut stops, mut places) = (Vec::<Shown>::new(), 0, BTreeSet::new());
    while let Some(line) = gdb.line() {
        let hex = |word: &str| u64::from_str_radix(word, 16).unwrap();
        if let Some(registers) = line.strip_prefix("THREAD ") {
            let registers = registers.split(' ').map(hex).collect();
            threads.push(Shown { registers, frames: Vec::new() });
        } else if let Some((address, name)) =
            line.strip_prefix("FRAME ").and_then(|frame| frame.split_once(' '))
        {
            threads.last_mut().unwrap().frames.push((hex(address), name.to_owned()));
        } else if line == "GOING" {
            std::thread::sleep(moments.within_ms(20));
            server.signal(Signal::USR2);
        } else if line == "STOPPED" {
            assert!(threads.len() > 3, "{} threads", threads.len());
            for thread in std::mem::take(&mut threads) {
                places.insert(thread.registers[RIP]);
                compare(&stopped, &worker, &thread, &twin);
            }
            stops += 1;
            gdb.go_on();
        }
    }
    let status = wait(&mut gdb.child, PATIENCE).expect("gdb ends");
    assert!(status.success(), "gdb: {status}");
    assert_eq!(stops, STOPS);
    assert!(places.len() > 20, "stopped at {} places only", places.len());
    server.quit();
}

/// Asserts that the walk from a thread's registers leads to the frames that gdb shows.
fn compare(stopped: &Stopped, worker: &Worker, shown: &Shown, program: &Path) {
    let ours = stopped.walk(&shown.registers);
    let addresses: Vec<u64> = ours.iter().map(|(address, _)| *address).collect();
    let theirs: Vec<u64> = shown.frames.iter().map(|(address, _)| *address).collect();
    assert_eq!(addresses, theirs, "ours, and gdb's: {shown:x?}");
    for (frame, (_, name)) in ours.into_iter().zip(&shown.frames) {
        let (our_name, file) = stopped.name(frame, worker);
        // In a library whose symbols are elsewhere gdb takes the next one that is exported; we say nothing. For entries of the procedure
        // linkage table, which have no symbol, gdb makes up names.
        let unknown = our_name == "?" && (file != program || name.ends_with("@plt"));
        assert!(unknown || is_same(&our_name, name), "{our_name}, by gdb {name}: {shown:x?}");
    }
}
