//! Walks in every context, on programs that were not made for it, judged by another unwinder on the same registers and the
//! same bytes of the stack.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod recorded_walk;
mod support;
mod walk_oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use profiler::lab::witness::{On, Options, Witness, Work};
use profiler::unwind::host::HostSpace;
use profiler_common::unwind::walk::End;
use profiler_common::witness::{Record, Tally};
use recorded_walk::{Outcome, RecordedWalk};
use support::compile::Build;
use support::remark;
use testbed::place;
use walk_oracle::odd::OddCode;
use walk_oracle::target::{Running, function_of, malloc_of};
use walk_oracle::{Opinion, Oracle, context_name};

/// How long each program is looked at in each context.
const LOOK: Duration = Duration::from_millis(1000);
const LONG_LOOK: Duration = Duration::from_secs(20);
/// Records that are enough.
const ENOUGH: u64 = 800;
const LONG_ENOUGH: u64 = 20_000;
/// How many walks of a program and context are kept.
const KEPT: usize = 3;

/// Results of the walks of one program.
#[derive(Debug, Default)]
struct Judged {
    walks: u64,
    complete: u64,
    equal: u64,
    equal_to_end: u64,
    gave_up: u64,
    cannot_judge: u64,
    ours_gave_up: Vec<String>,
    /// Walks that are not complete for no other reason that is known.
    incomplete: Vec<String>,
    different: Vec<String>,
    /// Walks on stacks with return addresses that return probes replaced.
    replaced: u64,
    /// Some of them, by context, with their depths.
    recorded: BTreeMap<&'static str, Vec<(u64, RecordedWalk)>>,
    by_context: BTreeMap<&'static str, u64>,
    ends: BTreeMap<&'static str, u64>,
    /// Walks that are not complete because libgcc was about to enter a handler.
    entering: u64,
    /// The same where framehop could not tell.
    entering_unjudged: u64,
    /// Walks that are not complete because the kernel was changing registers or the stack for a probe.
    changing: u64,
}

impl Judged {
    /// The same walk by the same source outside of the kernel; kept if it is of a new kind.
    fn walk_again(&mut self, space: &HostSpace, record: &Record) {
        let (outcome, recorded) = RecordedWalk::of(space, record);
        assert_eq!(outcome, Outcome::of(record), "the kernel side, and its source on this side");
        let kept = self.recorded.entry(context_name(record.context)).or_default();
        let depths: BTreeSet<u64> = kept.iter().map(|(depth, _)| *depth).collect();
        if kept.len() < KEPT && !depths.contains(&record.depth) {
            kept.push((record.depth, recorded));
        }
    }

    /// Writes what is kept for `recorded_walks.rs`, if that was asked for.
    fn keep(&self, name: &str) {
        if std::env::var_os("PROFILER_KEEP_WALKS").is_none() {
            return;
        }
        let file = format!("{}.json", name.replace(' ', "_"));
        let path = place::package().join("tests/fixtures/walks").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let walks: Vec<_> = self.recorded.values().flatten().map(|(_, walk)| walk).collect();
        let lines: Vec<String> = walks.iter().map(|walk| serde_json::to_string(walk).unwrap()).collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }

    fn add(&mut self, record: &Record, opinion: Opinion, odd: &OddCode) {
        self.walks += 1;
        self.complete += u64::from(record.end == End::ROOT);
        *self.by_context.entry(context_name(record.context)).or_default() += 1;
        if record.end != End::ROOT {
            *self.ends.entry(End::WORDS[record.end as usize]).or_default() += 1;
            let entering = odd.enters_a_handler(record);
            let changing = !entering && odd.is_changed_for_a_probe(record);
            self.entering += u64::from(entering && opinion == Opinion::Equal);
            self.entering_unjudged += u64::from(entering && opinion == Opinion::CannotJudge);
            self.changing += u64::from(changing);
            if !entering && !changing {
                self.incomplete.push(walk_oracle::describe(record, &[], record.depth as usize));
            }
        }
        match opinion {
            Opinion::Equal => self.equal += 1,
            Opinion::EqualToEndOfRecord => self.equal_to_end += 1,
            Opinion::GaveUp => self.gave_up += 1,
            Opinion::CannotJudge => self.cannot_judge += 1,
            Opinion::OursGaveUp(words) => self.ours_gave_up.push(words),
            Opinion::Different(words) => self.different.push(words),
        }
    }
}

/// Looks at a process in one context, and has every walk judged.
fn look(
    oracle: &mut Oracle,
    space: &mut Option<HostSpace>,
    pid: u32,
    on: &[On],
    one_in: u64,
    judged: &mut Judged,
) {
    let mut witness = Witness::attach(&Options { pid, on: on.to_vec(), one_in }).unwrap();
    let mut records = Vec::new();
    let (limit, enough) = if support::soak() { (LONG_LOOK, LONG_ENOUGH) } else { (LOOK, ENOUGH) };
    witness
        .watch(limit, |record| {
            records.push(Box::new(*record));
            (records.len() as u64) < enough
        })
        .unwrap();
    let under_way = |tally: &Tally| {
        let lost = tally.lost_slot + tally.lost_ring;
        tally.hits - tally.walked - tally.passed_over - tally.not_walkable - lost
    };
    // A hit is counted when it begins: at any time, one may be under way on each of two processors. Others were interrupted, and soon go on.
    let mut tally = witness.tally().unwrap();
    for _ in 0..100 {
        if under_way(&tally) <= 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        tally = witness.tally().unwrap();
    }
    assert!(under_way(&tally) <= 2, "hits end: {tally:?}");
    assert_eq!(tally.lost_slot, 0, "{tally:?}");
    // Each thread of these programs entered the kernel from 64-bit user code.
    assert_eq!(tally.not_walkable, 0, "{tally:?}");
    oracle.look_again();
    let space = space.get_or_insert_with(|| HostSpace::of(pid).unwrap());
    let odd = OddCode::of(pid);
    drop(witness);
    for record in records {
        let replaced = oracle.replaced(&record) > 0;
        judged.replaced += u64::from(replaced);
        let opinion = oracle.judge(&record);
        if opinion == Opinion::Equal && !replaced {
            judged.walk_again(space, &record);
        }
        judged.add(&record, opinion, &odd);
    }
}

/// Samples, system calls and calls of `malloc` of a program; nothing may differ, and nearly all must be complete.
#[track_caller]
fn assert_right(name: &str, running: &Running) {
    let judged = judged(name, running);
    assert!(judged.entering <= judged.walks / 100, "{name}: {} entering a handler", judged.entering);
    let share = (judged.complete + judged.entering) as f64 / judged.walks as f64;
    assert!(share >= 0.999, "{name}: {share} complete: {:?} {:?}", judged.ends, judged.incomplete);
    let agreed = (judged.equal + judged.equal_to_end) as f64 / judged.walks as f64;
    assert!(agreed >= 0.9, "{name}: framehop agrees with {agreed} only: {judged:?}");
}

/// As [`assert_right`], for a program of which not all walks can be complete.
#[track_caller]
fn judged(name: &str, running: &Running) -> Judged {
    let mut looks =
        vec![(vec![On::Samples(997)], 1), (vec![On::SystemCalls], 7), (vec![On::TypedSystemCalls], 11)];
    if let Some((file, offset)) = malloc_of(running.pid()) {
        looks.push((vec![On::Probe(file, offset)], 31));
    }
    judged_in(name, running, &looks)
}

/// What becomes of walks: where, and one hit in how many.
#[track_caller]
fn judged_in(name: &str, running: &Running, looks: &[(Vec<On>, u64)]) -> Judged {
    let mut judged = Judged::default();
    let (mut oracle, mut space) = (Oracle::new(running.pid()), None);
    for (on, one_in) in looks {
        look(&mut oracle, &mut space, running.pid(), on, *one_in, &mut judged);
    }
    remark(&format!(
        "{name}: {} walks {:?}, equal {}, to the end of the record {}, framehop gave up {}, cannot judge {}, \
         we gave up {}, different {}; \
         complete {:.3} % {:?}, {} of them about to enter a handler",
        judged.walks,
        judged.by_context,
        judged.equal,
        judged.equal_to_end,
        judged.gave_up,
        judged.cannot_judge,
        judged.ours_gave_up.len(),
        judged.different.len(),
        100.0 * judged.complete as f64 / judged.walks.max(1) as f64,
        judged.ends,
        judged.entering
    ));
    for words in judged.ours_gave_up.iter().chain(&judged.incomplete).take(2) {
        remark(words);
    }
    judged.keep(name);
    assert!(judged.equal > 0, "{name}: framehop judged nothing");
    assert!(judged.different.is_empty(), "{name}: {:#?}", &judged.different[..judged.different.len().min(5)]);
    assert!(judged.walks >= 50, "{name}: only {} walks", judged.walks);
    judged
}

/// A workload of our own.
fn ours(build: &Build) -> Running {
    let program = build.build();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    Running::start(&mut Command::new(&program)).settled(&name)
}

#[test]
fn cpp_with_exceptions_and_containers() {
    let Some(_live) = support::live() else { return };
    assert_right("C++", &ours(&Build::cpp("mix.cpp").flags(&["-fomit-frame-pointer"])));
}

#[test]
fn static_glibc() {
    let Some(_live) = support::live() else { return };
    let build = Build::cpp("mix.cpp").flags(&["-fomit-frame-pointer", "-static"]).named("mix_static");
    assert_right("static glibc", &ours(&build));
}

/// musl has no unwind information: stacks that its functions cut have a reason, and no frame is invented.
#[test]
fn static_musl() {
    let Some(_live) = support::live() else { return };
    let build = Build::musl("mix.c").flags(&["-fomit-frame-pointer", "-fasynchronous-unwind-tables"]);
    let judged = judged("static musl", &ours(&build));
    assert!(judged.complete > 0, "{judged:?}");
    let unknown = judged.ends.get("code without unwind information").copied().unwrap_or(0);
    assert_eq!(judged.complete + unknown, judged.walks, "{:?}", judged.ends);
}

#[test]
fn rust_release() {
    let Some(_live) = support::live() else { return };
    assert_right("Rust", &ours(&Build::rust("mix.rs").flags(&["-Cforce-frame-pointers=no"])));
}

#[test]
fn cpython() {
    let Some(_live) = support::live() else { return };
    let script = "import json,sqlite3,zlib,re,hashlib\n\
                  db=sqlite3.connect(':memory:'); db.execute('create table t(a,b)')\n\
                  while True:\n\
                  \x20for i in range(50):\n\
                  \x20 t=json.dumps({'k%d'%j:[j]*5 for j in range(30)}); json.loads(t); zlib.compress(t.encode()*5)\n\
                  \x20 re.sub(r'(k)(\\d+)',r'\\2\\1',t); hashlib.sha256(t.encode()).hexdigest()\n\
                  \x20 db.execute('insert into t values(?,?)',(i,t)); sorted(range(200),key=lambda n:-n)\n\
                  \x20db.execute('select count(*) from t where a>3').fetchall(); db.execute('delete from t')\n";
    let running = Running::start(Command::new("/usr/bin/python3").args(["-c", script]));
    assert_right("CPython", &running.settled("sqlite"));
}

#[test]
fn openssl_assembly() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("openssl");
    command.args(["speed", "-seconds", "20", "sha256", "rsa2048", "ecdsap256", "aes-256-cbc", "ghash"]);
    assert_right("openssl", &Running::start(&mut command).settled("libcrypto"));
}

#[test]
fn xz() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("sh");
    command.args(["-c", "exec xz -9 -c -T1 < /dev/urandom"]);
    assert_right("xz", &Running::start(&mut command).settled("liblzma"));
}

#[test]
fn redis_server() {
    let Some(_live) = support::live() else { return };
    let port = "16399";
    let mut command = Command::new("redis-server");
    command.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let server = Running::start(&mut command).settled("redis");
    let mut load = Command::new("redis-benchmark");
    load.args([
        "-p",
        port,
        "-n",
        "100000000",
        "-c",
        "8",
        "-t",
        "set,get,lpush,lrange,sadd,zadd",
        "-r",
        "1000",
    ]);
    let _load = Running::start(&mut load);
    assert_right("redis-server", &server);
}

#[test]
fn teeworlds_server() {
    let Some(_live) = support::live() else { return };
    let mut command = Command::new("/usr/games/teeworlds-server");
    command.arg("bindaddr 127.0.0.1;sv_register 0;sv_port 18303;sv_map dm1");
    assert_right("teeworlds-server", &Running::start(&mut command).settled("teeworlds"));
}

#[test]
fn node() {
    let Some(_live) = support::live() else { return };
    let script = "const zlib=require('zlib');class P{constructor(x){this.x=x} step(n){return n>0?this.step(n-1)+this.x:this.x}}\
                  function tick(){let m=new Map();for(let i=0;i<300;i++){m.set('k'+i,new P(i).step(i%40));}\
                  JSON.parse(JSON.stringify([...m]));zlib.deflateSync(Buffer.alloc(20000,'ab'));[...m.values()].sort((a,b)=>b-a)}\
                  setInterval(tick,1)";
    let mut command = Command::new("node");
    command.args(["-e", script]);
    assert_right("Node", &Running::start(&mut command).settled("node"));
}

#[test]
fn java_with_frame_pointers() {
    let Some(_live) = support::live() else { return };
    let source = place::package().join("tests/workloads/Mix.java");
    let mut command = Command::new("java");
    command.args(["-XX:+PreserveFramePointer", "-Xmx128m"]).arg(source);
    assert_right("Java", &Running::start(&mut command).settled("libzip"));
}

/// A return probe replaces return addresses on the stack: samples, and the probe itself, see the original ones.
#[test]
fn through_return_probes() {
    let Some(_live) = support::live() else { return };
    let running = ours(&Build::cpp("mix.cpp").flags(&["-fomit-frame-pointer"]));
    let (libc, malloc) = malloc_of(running.pid()).unwrap();
    let libstdcxx = function_of(running.pid(), "libstdc++.so", "_Znwm").unwrap();
    let returns = [On::Return(libc, malloc), On::Return(libstdcxx.0, libstdcxx.1)];
    // Return probes of another tool, which are there while samples are taken.
    let options = Options { pid: running.pid(), on: returns.to_vec(), one_in: 1_000_000 };
    let _others = Witness::attach(&options).unwrap();
    let looks = [(returns.to_vec(), 7), (vec![On::Samples(997)], 1)];
    let judged = judged_in("return probes", &running, &looks);
    let of = |context| judged.by_context.get(context).copied().unwrap_or(0);
    let samples = of("sample") + of("sample in the kernel");
    assert!(of("return") >= 100 && samples >= 100, "{:?}", judged.by_context);
    assert!(judged.replaced >= 20, "only {} walks met a replaced address", judged.replaced);
    assert!(judged.entering <= judged.walks / 100, "{} entering a handler", judged.entering);
    assert!(judged.changing <= of("sample in the kernel") / 20, "{:?} {:#?}", judged.ends, judged.incomplete);
    assert!(judged.entering_unjudged <= judged.walks / 1000, "{}", judged.entering_unjudged);
    let accounted = judged.complete + judged.changing + judged.entering + judged.entering_unjudged;
    assert_eq!(accounted, judged.walks, "{:?} {:#?}", judged.ends, judged.incomplete);
}

/// As `live_kernel.rs` has it for the objects of tools.
#[test]
fn every_program_is_easy_to_verify() {
    let Some(_live) = support::live() else { return };
    let running = ours(&Build::cpp("mix.cpp").flags(&["-fomit-frame-pointer"]));
    let (libc, malloc) = malloc_of(running.pid()).unwrap();
    let timed = [Work::Nothing, Work::Walk, Work::Kernel].map(|work| On::Timed(libc.clone(), malloc, work));
    let probes = [On::Probe(libc.clone(), malloc), On::Return(libc.clone(), malloc)];
    let on = [On::Samples(97), On::SystemCalls].into_iter().chain(probes).chain(timed).collect();
    let witness = Witness::attach(&Options { pid: running.pid(), on, one_in: 1000 }).unwrap();
    assert_eq!(witness.verified().len(), 7);
    for (name, instructions) in witness.verified() {
        remark(&format!("{name}: {instructions} instructions verified"));
        assert!(*instructions < 20_000, "{name}: {instructions}");
    }
}
