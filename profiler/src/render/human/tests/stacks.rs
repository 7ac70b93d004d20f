//! Call stacks below the table.

use super::*;

/// A stack with `inside` calls inside the function that leaks, and `outside` calls outside it.
pub(super) fn deep(inside: usize, outside: usize) -> Report {
    let mut report = sample::pong();
    let named = report.stacks[0].frames[1];
    let (below, above) = (report.stacks[0].frames[0], report.stacks[0].frames[2]);
    let inlined = report.frames[named].functions.remove(0);
    assert!(inlined.inlined);
    report.stacks[0].frames = [vec![below; inside], vec![named], vec![above; outside]].concat();
    report
}

#[test]
fn a_deep_stack_shows_own_code_and_counts_the_rest() {
    let mut report = deep(20, 30);
    let verbose = HumanOptions { verbose: true, ..HumanOptions::default() };
    let whole = human(&report, &verbose);
    let stack = whole.split("LEAK  412 MiB").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!((stack.matches("malloc  libc.so.6").count(), stack.contains("…")), (20, false), "{whole}");
    let page = at(&report, 80);
    let stack = page.split("LEAK  412 MiB").nth(1).unwrap();
    let expected = "\
      … 19 calls of libraries: --verbose
      malloc  libc.so.6
      chat::History::push  /home/dev/game/src/room.rs:41
      room::Room::broadcast  /home/dev/game/src/room.rs:42
      … 29 more calls of it: --verbose
";
    assert!(stack.contains(expected), "{page}");
    // A frame of the program without a name is own code too.
    let nameless = report.frames.iter().position(|frame| frame.functions.is_empty()).unwrap();
    report.stacks[0].frames.insert(1, nameless);
    let page = at(&report, 80);
    assert!(page.contains("      libfoo.so+0x5a0f  (unloaded; no symbols in the file)\n"), "{page}");
    // The reason is given once for all calls in the file.
    report.stacks[0].frames.insert(3, nameless);
    let page = at(&report, 80);
    assert!(page.contains("      libfoo.so+0x5a0f\n"), "{page}");
    let few = at(&deep(2, 3), 80);
    assert_eq!((few.matches("broadcast  ").count(), few.contains("more calls")), (3, false), "{few}");
}

#[test]
fn a_stack_without_own_code_shows_its_innermost_calls_and_the_outermost() {
    let mut report = deep(20, 0);
    // As in an interpreter: nothing is the program's, and the row is named by nothing in the stack.
    let innermost = report.frames[report.stacks[0].frames[0]].clone();
    report.stacks[0].frames = (0..12)
        .map(|n| {
            let mut frame = innermost.clone();
            let name = if n == 11 { "_start".to_owned() } else { format!("step_{n}") };
            frame.functions[0].name = Text::from(name);
            report.frames.push(frame);
            report.frames.len() - 1
        })
        .collect();
    let page = at(&report, 80);
    let expected = "\
      step_0  libc.so.6
      step_1  libc.so.6
      step_2  libc.so.6
      … 7 calls of libraries: --verbose
      step_10  libc.so.6
      _start  libc.so.6
";
    assert!(page.contains(expected), "{page}");
    report.stacks[0].incomplete = Some("truncated".to_owned());
    let page = at(&report, 80);
    let cut =
        "      step_2  libc.so.6\n      … 9 calls of libraries: --verbose\n      … its callers are unknown";
    assert!(page.contains(cut), "{page}");
}

#[test]
fn a_long_stack_of_own_code_is_cut() {
    let mut report = deep(1, 0);
    let named = report.frames[report.stacks[0].frames[1]].clone();
    for n in 0..40 {
        let mut frame = named.clone();
        frame.functions[0].name = Text::from(format!("chat::step_{n}"));
        report.frames.push(frame);
        report.stacks[0].frames.push(report.frames.len() - 1);
    }
    let page = at(&report, 80);
    assert!(page.contains("chat::step_21  ") && !page.contains("chat::step_22  "), "{page}");
    assert!(page.contains("      … 18 calls further out: --verbose\n"), "{page}");
}

#[test]
fn equal_stacks_are_shown_once_and_few_are_shown() {
    let mut report = sample::pong();
    report.sections[0].rows = vec![report.sections[0].rows[0].clone(); 9];
    let page = at(&report, 80);
    assert_eq!(page.matches("room::Room::tick").count(), 1, "{page}");
    assert_eq!(page.matches("the same calls as above").count(), 4, "{page}");
    assert!(page.contains("4 more stacks: --verbose"), "{page}");
    report.sections[0].rows.truncate(6);
    let page = at(&report, 80);
    assert!(page.contains("1 more stack: --verbose"), "{page}");
}

#[test]
fn several_processes_are_told_apart() {
    let mut report = sample::pong();
    report.meta.targets.push(report.meta.targets[0].clone());
    assert!(at(&report, 80).contains("LEAK  pid 4242  412 MiB"));
    // With a column for the process.
    let section = &mut report.sections[0];
    let pid = Column {
        name: "pid".to_owned(),
        title: "PID".to_owned(),
        unit: Unit::None,
        role: Role::Key,
        shown: true,
        form: None,
    };
    section.columns.insert(0, pid);
    for row in &mut section.rows {
        row.cells.insert(0, Value::Exact(4242));
    }
    let page = at(&report, 80);
    assert!(page.contains("  LEAK  pid 4242  412 MiB") && !page.contains("4242  pid 4242"), "{page}");
}
