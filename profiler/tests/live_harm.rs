//! Programs that move their own code: our breakpoints kill them or do not reach them. What can be known beforehand is
//! refused, what happens is said, and what does no harm is observed with all names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use serde_json::Value;
use support::account;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// The workload, without frame pointers: callers are found by its tables or not at all.
fn moving(name: &str, flags: &[&str]) -> Build {
    let usual = ["-fomit-frame-pointer", "-Wl,--section-start=.remap=0x900000"];
    Build::c("moving.c").named(name).flags(&usual).flags(flags)
}

/// Starts a command under observation.
fn launch(program: &std::path::Path, arguments: &[&str]) -> Observer {
    let mut all = vec!["memleak", "--format", "json", "--for", "20s", "--", program.to_str().unwrap()];
    all.extend(arguments);
    Observer::spawn(&all)
}

fn first_line(report: &Value) -> String {
    let sentence = account::list(&report["findings"][0], "sentence").iter();
    sentence.filter_map(|part| part["plain"].as_str().or(part["name"].as_str())).collect()
}

/// It cannot be known beforehand: the first line says what happened, and so does the exit code.
#[test]
fn a_target_that_died_of_our_breakpoints() {
    let Some(_live) = support::live() else { return };
    let program = moving("moving_static", &["-static"]).build();
    let report = launch(&program, &["--before", "7"]).finish(PATIENCE).report(5);
    let line = first_line(&report);
    assert!(line.contains("was killed by SIGTRAP (signal 5), most likely by our breakpoints"), "{line}");
    let target = &report["meta"]["targets"][0];
    assert_eq!(
        (&target["killed_by"], &target["ended"]),
        (&Value::from(5), &Value::from("killed by signal 5 (SIGTRAP)"))
    );
    account::assert_all_accounted(&report);
}

/// What has the sign of it is refused when it starts, before it runs, and observed once it runs if it can be.
#[test]
fn a_program_that_shows_that_it_copies_its_code() {
    let Some(_live) = support::live() else { return };
    let stays = moving("moving_stub", &["-static", "-DLPSTUB"]).build();
    let only_its_own = moving("moving_stub_dynamic", &["-DLPSTUB"]).build();
    launch(&stays, &["--before", "7"]).finish(PATIENCE).assert_error(5, &["copies its own code", ".lpstub"]);
    // Its allocator is in another file, which it does not copy.
    let report = launch(&only_its_own, &["--before", "7", "--stay", "1"]).finish(PATIENCE).report(0);
    assert_eq!(account::from_report(&report, pid(&report))["site_moved"].allocs, 7);
    account::assert_nothing_lost(&report);
}

fn pid(report: &Value) -> u32 {
    report["meta"]["targets"][0]["pid"].as_u64().unwrap().try_into().unwrap()
}

/// Probes in the file would never be hit: no observation, rather than one that sees nothing.
#[test]
fn an_allocator_that_was_moved_out_of_reach() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&moving("moving_static", &["-static"]).build(), &[]);
    let outcome = Observer::start("memleak", target.pid(), &["--for", "1s"]).finish(PATIENCE);
    outcome.assert_error(4, &["has moved its code", "moving_static"]);
    let doctor =
        Observer::spawn(&["doctor", "--format", "json", "--pid", &target.pid_argument()]).finish(PATIENCE);
    let memleak = &doctor.json()["tools"][0];
    assert_eq!(memleak["answer"], "no", "{memleak:#}");
    assert!(memleak["why"].as_str().is_some_and(|why| why.contains("has moved its code")), "{memleak:#}");
    assert!(target.lives());
    target.quit();
}

/// Code of the executable that was moved is still that code: names, lines and callers are those of the file.
#[test]
fn code_that_was_moved_keeps_its_names_and_callers() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn::<&str>(&moving("moving", &[]).build(), &[]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    let books = target.books();
    let report = observer.interrupt().report(0);
    account::assert_books(&report, target.pid(), &books);
    let names = account::function_names(&report, target.pid());
    assert_eq!(names[..2], ["site_moved", "main"], "{names:?}");
    let walks = &report["coverage"]["walks"];
    assert_eq!(walks["cut"], Value::Array(Vec::new()), "{walks:#}");
    assert_eq!(walks["complete"][0]["method"], "unwind_tables", "{walks:#}");
    assert!(!walks["unnamed"].to_string().contains("made at run time"), "{walks:#}");
    target.quit();
}

/// Memory of a kind at the start and at the end, and its unexplained growth, in MiB.
fn memory(report: &Value, kind: &str) -> [f64; 3] {
    let section = account::list(report, "sections").iter().find(|section| section["name"] == "memory");
    let columns = account::list(section.expect("a section `memory`"), "columns");
    let at = |name: &str| columns.iter().position(|column| column["name"] == name).expect("a column");
    let rows = account::list(section.unwrap(), "rows").iter();
    let row = rows.into_iter().find(|row| row["cells"][at("kind")]["word"] == kind);
    let Some(row) = row else { return [0.0; 3] };
    let mib =
        |name: &str| row["cells"][at(name)]["exact"].as_f64().expect("an exact number") / f64::from(1 << 20);
    [mib("before_bytes"), mib("after_bytes"), mib("unexplained_bytes")]
}

/// A report of a target that grows by 50 MiB.
fn growing(what: &str) -> Value {
    let mut target = Workload::spawn(&Build::c("grow.c").build(), &["--what", what, "--mib", "50"]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.run();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let [before, after, _] = memory(&report, "all");
    assert!((49.0..54.0).contains(&(after - before)), "{before} {after}");
    report
}

#[test]
fn growth_by_mmap_is_reported_first() {
    let Some(_live) = support::live() else { return };
    let report = growing("1");
    let line = first_line(&report);
    assert!(line.starts_with("Memory grew by 5"), "{line}");
    assert!(line.contains("explain 0 B: mmap of the target itself (50 MiB)"), "{line}");
    assert_eq!(report["findings"][0]["rule"], "memleak.unexplained_growth");
    let [before, after, unexplained] = memory(&report, "mapped by the target itself");
    assert!((after - before - 50.0).abs() < 1.0 && (unexplained - 50.0).abs() < 1.0, "{before} {after}");
}

#[test]
fn growth_of_thread_stacks_is_reported_first() {
    let Some(_live) = support::live() else { return };
    let report = growing("2");
    let line = first_line(&report);
    assert!(line.contains("stacks of threads (5"), "{line}");
    let [before, after, _] = memory(&report, "stacks of threads");
    assert!((after - before - 50.0).abs() < 2.0, "{before} {after}");
}

#[test]
fn growth_that_blocks_explain_is_not_reported() {
    let Some(_live) = support::live() else { return };
    let report = growing("0");
    assert_ne!(report["findings"][0]["rule"], "memleak.unexplained_growth", "{}", first_line(&report));
    assert!(memory(&report, "all")[2] < 4.0, "{:?}", memory(&report, "all"));
}

/// Blocks that are replaced again and again are always young, however much there are: that nothing leaks is not known.
#[test]
fn growth_of_live_memory_is_not_called_clean() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("grow.c").build();
    let grow = |mib: &str| {
        let mut target = Workload::spawn(&program, &["--what", "4", "--mib", mib]);
        let observer = Observer::attach("memleak", target.pid(), &["--older", "1s", "--for", "2s"]);
        target.run();
        (target, observer)
    };
    // Of these the first is too little to matter.
    let rules = [grow("20"), grow("55")].map(|(target, observer)| {
        let report = observer.finish(PATIENCE).report(0);
        target.quit();
        (report["findings"][0]["rule"].clone(), first_line(&report))
    });
    assert_eq!(rules[0].0, "memleak.clean", "{}", rules[0].1);
    assert_eq!(rules[1].0, "memleak.live_growth", "{}", rules[1].1);
    assert!(rules[1].1.starts_with("Undecided: live memory of grow grew by 5"), "{}", rules[1].1);
}

/// The first line of a second of observation.
fn after_a_second(target: &Workload) -> String {
    first_line(&Observer::attach("memleak", target.pid(), &["--for", "1s"]).finish(PATIENCE).report(0))
}

#[test]
fn a_child_that_does_the_work_is_named() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("grow.c").build(), &["--what", "3"]);
    target.say("go");
    let child = target.books()["child"].as_i64().unwrap();
    let line = after_a_second(&target);
    assert!(line.starts_with("No allocation was seen in 1s: the work of grow"), "{line}");
    assert!(line.contains(&format!("grow (pid {child}, ")), "{line}");
    assert!(line.ends_with(&format!("Observe it: --pid {child}")), "{line}");
    target.quit();
}

/// What it takes while its calls are counted and it is attached to was there at the start.
#[test]
fn growth_before_the_observation_does_not_count() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("grow.c").build(), &["--what", "6"]);
    target.say("go");
    target.books();
    let pid = target.pid_argument();
    // With a bound: without one nothing is counted beforehand.
    let options = ["memleak", "--max-cost", "100%", "--format", "json", "--for", "2s", "--pid", &pid];
    let report = Observer::spawn(&options).finish(PATIENCE).report(0);
    target.kill();
    let cost = &report["meta"]["cost"];
    let ns = |of: &Value| of.as_f64().unwrap();
    assert!(ns(&cost["count_ns"]) > 0.5e9, "it was not counted for long, or this tests nothing");
    let memory = report["sections"].as_array().unwrap().iter().find(|of| of["name"] == "memory").unwrap();
    let all = memory["rows"][0]["cells"].as_array().unwrap();
    let grown = all[3]["exact"].as_f64().unwrap() - all[2]["exact"].as_f64().unwrap();
    // A MiB every 20 ms, up to the reading behind the detaching.
    let observed_s = (ns(&report["meta"]["length_ns"]) + ns(&cost["detach_ns"])) / 1e9;
    let per_s = f64::from(1 << 20) / 0.02;
    assert!(
        grown > 0.8 * 2.0 * per_s && grown < (observed_s + 0.3) * per_s,
        "{grown} in {observed_s} s: {all:?}"
    );
}

#[test]
fn a_target_that_is_stopped_or_idle_is_reported() {
    let Some(_live) = support::live() else { return };
    let target = Workload::spawn(&Build::c("grow.c").build(), &["--what", "0"]);
    let line = after_a_second(&target);
    assert!(
        line.contains(
            "was idle: it used almost no processor time, and has no child that works. Make it do something"
        ),
        "{line}"
    );
    target.signal(rustix::process::Signal::STOP);
    let line = after_a_second(&target);
    target.signal(rustix::process::Signal::CONT);
    assert!(line.contains("is stopped, so it allocates nothing") && line.contains("kill -CONT"), "{line}");
    target.quit();
}

/// One target that ends while it is attached to, or while its calls are counted before that, does not take the observation
/// of the other with it.
#[test]
fn a_target_that_dies_while_it_is_attached_to() {
    let Some(_live) = support::live() else { return };
    let program = Build::c("grow.c").build();
    let mut moments = support::Moments::new(0x5EED_0008);
    let mut stays = Workload::spawn(&program, &["--what", "0", "--mib", "1"]);
    for round in 0..support::by_length(4, 8, 60) {
        let mut dies = Workload::spawn(&program, &["--what", "0"]);
        let pid = dies.pid_argument();
        // A limit has calls counted first.
        let (limit, within_ms) = if round % 2 == 0 { ("100%", 900) } else { ("off", 400) };
        let arguments = [
            "memleak",
            "--format",
            "json",
            "--max-cost",
            limit,
            "--pid",
            &stays.pid_argument(),
            "--pid",
            &pid,
        ];
        let mut observer = Observer::spawn(&arguments);
        std::thread::sleep(moments.within_ms(within_ms));
        dies.kill();
        let attached = observer.attached_or_ended();
        if !attached {
            // Before it was taken hold of: the user has named it.
            observer.finish(PATIENCE).assert_error(4, &[&pid]);
            continue;
        }
        stays.run();
        let report = observer.interrupt().report(0);
        account::assert_all_accounted(&report);
        assert_eq!(account::outcome(&report, "alloc_return", "recorded"), 9, "round {round}");
    }
    stays.quit();
}
