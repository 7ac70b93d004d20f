//! Tests of the page of a diagnosis.

use super::{super::HumanOptions, diagnosis, verdict};
use crate::doctor::{Answer, Need, sample};

fn shown(of: &crate::doctor::Diagnosis) -> String {
    diagnosis(of, &HumanOptions::default())
}

/// The page with `--verbose`.
fn whole(of: &crate::doctor::Diagnosis) -> String {
    diagnosis(of, &HumanOptions { verbose: true, ..HumanOptions::default() })
}

#[test]
fn the_answer_comes_first() {
    let first = |of| shown(&of).lines().next().unwrap_or_default().to_owned();
    assert_eq!(first(sample::ready()), "READY");
    assert_eq!(first(sample::limited()), "READY with 2 limits");
    assert_eq!(first(sample::not_ready()), "NOT READY: root: effective user id 1000");
}

#[test]
fn all_counted_limits_are_shown() {
    let page = shown(&sample::limited());
    let block = page.split("\n\nprocess ").next().unwrap();
    assert_eq!(
        block.lines().filter(|line| line.starts_with("  no ") || line.starts_with("  ?")).count(),
        2,
        "{page}"
    );
}

#[test]
fn a_refusal_for_its_cost_comes_with_a_remedy() {
    let page = shown(&sample::costly());
    let block = page.split("\n\nprocess ").next().unwrap();
    assert!(block.starts_with("NOT READY: sample: thread tick (4243) would lose"), "{block}");
    assert!(block.contains("  no   cost of sample"), "{block}");
    assert!(block.contains("sample as it is: it would refuse (exit code 5)"), "{block}");
    assert!(block.contains("--max-cost off"), "{block}");
    assert!(!block.contains("unwind tables"), "what only limits stands below: {block}");
}

#[test]
fn the_answer_fits() {
    let line = verdict(&sample::not_ready(), &HumanOptions { width: 60, ..HumanOptions::default() });
    assert_eq!(line, "NOT READY: root: effective user id 1000\n");
    let page = diagnosis(&sample::hostile(), &HumanOptions { ascii: true, ..HumanOptions::default() });
    assert!(page.is_ascii() && page.lines().all(|line| line.len() <= 80), "{page}");
}

#[test]
fn every_line_fits_and_colours_only_repeat_the_words() {
    for of in sample::all() {
        for (width, verbose) in
            [40, 50, 60, 80, 120].into_iter().flat_map(|width| [(width, false), (width, true)])
        {
            let text = diagnosis(&of, &HumanOptions { width, verbose, ..HumanOptions::default() });
            let long = text.lines().find(|line| unicode_width::UnicodeWidthStr::width(*line) > width);
            assert_eq!(long, None, "{width}");
            assert!(!text.replace('\n', "").contains(crate::text::is_hidden), "{text:?}");
        }
        let coloured = diagnosis(&of, &HumanOptions { colour: true, ..HumanOptions::default() });
        assert!(coloured.contains('\x1b'));
    }
}

/// The words of a page without its line breaks.
fn flat(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_limit_comes_with_what_it_disables_and_what_changes_it() {
    let text = shown(&sample::limited());
    assert!(text.contains("\n           # from the start\n           $ node --perf-basic-prof SCRIPT\n"));
    for words in [
        "no names of JIT code no /tmp/perf-17.map of its own",
        "disables names of functions that the runtime compiled while it ran",
        "fix let the runtime write /tmp/perf-PID.map",
        "? unwind tables 13 of 14 files",
    ] {
        assert!(flat(&text).contains(words), "no `{words}` in:\n{text}");
    }
    let ready = shown(&sample::ready());
    assert!(!ready.contains("disables") && !ready.contains("$ "), "{ready}");
}

#[test]
fn if_nothing_can_be_observed_only_why_comes_first() {
    let text = shown(&sample::refused());
    let (wrong, _) = text.split_once("\nprocess 4242").unwrap();
    assert!(flat(wrong).starts_with("NOT READY: sample: it is a Go program no sample it is a Go program"));
    assert!(flat(wrong).ends_with("fix go tool pprof http://HOST/debug/pprof/heap"), "{wrong}");
    assert!(text.contains("  no   names of JIT code"), "{text}");
}

#[test]
fn a_feature_that_no_tool_needs_is_shown_and_is_no_limit() {
    let mut of = sample::ready();
    (of.checks[0].answer, of.checks[0].need) = (Answer::No, Need::Informative);
    let text = shown(&of);
    assert!(text.starts_with("READY\n") && text.contains("  no   types (BTF)"), "{text}");
}

#[test]
fn a_long_command_can_be_copied_line_by_line() {
    let mut of = sample::limited();
    let command = "docker run --pid=host --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE IMAGE doctor";
    for check in &mut of.checks {
        check.fix = check.fix.as_ref().map(|_| command.to_owned());
    }
    let text = shown(&of);
    let start = text.split("$ ").nth(1).unwrap();
    let copied: Vec<&str> = start.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    assert!(copied.len() > 1, "{text}");
    assert_eq!(copied.join(" ").replace(" \\ ", " "), command);
}

#[test]
fn sites_say_where_how_and_why() {
    let text = whole(&sample::limited());
    for words in [
        "malloc+0 0x9b0e0 one trap; return probe pool_get",
        "free+3 0x9b0e3 one trap the first emulated instruction, 1 past the entry malloc",
        "pool_get+0 0x9b0e0 single-stepped; 3 ret instructions the entry, because",
        "_Znwm+0 0x9b0e0 left out: operator new is not followed",
        "would probe 4 functions, by uprobe session; 1 left out",
        "glibc: /usr/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        assert!(flat(&text).contains(words), "no `{words}` in:\n{text}");
    }
}

#[test]
fn figures_are_marked_as_estimates_with_their_number() {
    let text = whole(&sample::ready());
    assert!(text.contains("~520 ns (499 ns to 681 ns, n = 69,000)"), "{text}");
    assert!(text.contains("estimates, measured"), "{text}");
    assert!(shown(&sample::not_ready()).contains("no probe can be attached"));
}

#[test]
fn checks_that_passed_are_counted_and_others_are_shown() {
    let ready = shown(&sample::ready());
    assert_eq!(ready.matches("--verbose shows each").count(), 2, "kernel and profiler itself: {ready}");
    assert!(ready.contains("  yes  2 checks            --verbose shows each\n"), "{ready}");
    assert!(ready.lines().count() <= 18 && !ready.contains("uprobe sessions"), "{ready}");
    let limited = flat(&shown(&sample::limited()));
    for words in [
        "yes 1 of 3 checks --verbose shows each sample:",
        "would probe 4 functions, by uprobe session; 1 left out glibc: /usr/lib/x86_64-linux-gnu/libc.so.6 pool_get+0 \
         0x9b0e0 single-stepped; 3 ret instructions the entry, because an argument is overwritten at +0x3 _Znwm+0 0x9b0e0 \
         left out: operator new is not followed: it may throw the others at one trap: --verbose",
        "malloc and free ~1.6 us: 10,000 a second take ~1.6 % of one thread's time",
        "sample thread tick (4243) would lose",
        "not on this kernel operations of io_uring are not counted: the kernel has no tracepoint io_uring_complete",
    ] {
        assert!(limited.contains(words), "no `{words}` in:\n{limited}");
    }
    for words in ["malloc+0", "one trap, cold", "cannot see", "64-bit x86 program"] {
        assert!(
            !limited.contains(words) && flat(&whole(&sample::limited())).contains(words),
            "{words}: {limited}"
        );
    }
    // Each limit is shown once, below the answer.
    assert_eq!(limited.matches("no /tmp/perf-17.map of its own").count(), 1, "{limited}");
    let not_ready = shown(&sample::not_ready());
    assert!(not_ready.contains("  ?    probes              no probe could be attached\n"), "{not_ready}");
}

#[test]
fn on_a_narrow_page_words_stand_below_their_label() {
    let text = diagnosis(&sample::limited(), &HumanOptions { width: 40, ..HumanOptions::default() });
    assert!(text.contains("\n  no   names of JIT code\n    no /tmp/perf-17.map of its own\n"), "{text}");
}
