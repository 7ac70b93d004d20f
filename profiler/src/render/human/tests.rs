use super::{HumanOptions, MIN_WIDTH, answer, fit, human};
use crate::report::{Column, Finding, Report, Role, Severity, Unit, Value, Walks, sample};
use crate::text::{Text, is_hidden};

mod stacks;

use stacks::deep;

fn at(report: &Report, width: usize) -> String {
    human(report, &HumanOptions { width, ..HumanOptions::default() })
}

fn samples() -> [Report; 5] {
    [sample::pong(), sample::many(200), sample::incomplete(), sample::hostile(), sample::timed()]
}

/// `cargo test -p profiler --lib look -- --ignored --nocapture` prints the pages that the other tests check.
#[test]
#[ignore = "prints reports, for people to look at"]
fn look() {
    for report in samples() {
        for width in [60, 80, 120] {
            println!("{}", "=".repeat(width));
            println!("{}", human(&report, &HumanOptions { width, colour: true, ..HumanOptions::default() }));
        }
    }
    println!(
        "{}",
        human(&sample::pong(), &HumanOptions { width: 120, verbose: true, ..HumanOptions::default() })
    );
}

#[test]
fn a_table_of_known_numbers_has_no_estimates() {
    for mut report in [sample::timed(), sample::pong()] {
        let rows = report.sections.iter_mut().flat_map(|section| &mut section.rows);
        for cell in rows.flat_map(|row| &mut row.cells) {
            if let Some(number) = cell.number().filter(|_| cell.is_estimated()) {
                *cell = Value::known(number);
            }
        }
        for (width, verbose) in [60, 80, 120].into_iter().flat_map(|width| [(width, false), (width, true)]) {
            let page = human(&report, &HumanOptions { width, verbose, ..HumanOptions::default() });
            assert!(!page.contains("~ estimate"), "{page}");
        }
    }
}

#[test]
fn a_page_of_80_columns() {
    let expected = "\
LEAK: 1 of 214 call stacks keeps every block it allocates: chat::History::push
grows by 549 MiB/h and holds 412 MiB that are older than 30m.
Growth seen covers 561 of 580 MiB of anonymous memory.

Call stacks by growth of what they never free

                                     Live >           Survive   Freed
  Verdict     Function                  30m     Live      30m  late/h   Growth/h
  LEAK        chat::History::push   412 MiB  549 MiB    ~1.00   <0.02  ~+549 MiB
  LONG-LIVED  player::Session::new  190 MiB  327 MiB    ~0.30    ~2.4       ~0 B
  CACHE       asset::…::insert          0 B  137 MiB    ~0.00    ~240          ?

  ~ estimate; --verbose shows its 95 % interval
  ? fewer than 20 old blocks
  Blocks count as leaked if they outlive 30m and are not freed later either.

Call stacks, innermost call first

  LEAK  412 MiB live > 30m  chat::History::push
      malloc  libc.so.6
      alloc::vec::Vec<T,A>::push (inlined)  /home/dev/game/src/room.rs:41
      chat::History::push  /home/dev/game/src/room.rs:41
      room::Room::broadcast  /home/dev/game/src/room.rs:42
      room::Room::tick  /home/dev/game/src/room.rs:43
      main  /home/dev/game/src/room.rs:44

  2 more stacks: --verbose, or `-o FILE.json`, `-o FILE.svg`

coverage  complete, 18,004,103 hits, 0 lost, 0 unaccounted
stacks    99.2 % of 8,998,976 walks complete (unwind tables 98.0 %, with frame
          pointers 1.2 %) · 0.8 % cut: code without unwind information 0.5 % (in
          libfoo.so, code without a file), deeper than 127 frames 0.3 %
names     97.0 % of frames · without: code without a file 3.0 % (made at run
          time, and there is no /tmp/perf-4242.map), libfoo.so <0.1 % (no symbol
          covers it (stripped?))
          JavaScript functions have no names: start node with --perf-basic-prof
unseen    3.1 GiB were allocated before attaching; they are out of sight
cost      to the target: 6.7k hits/s, ~0.7 % of the busy time of thread tick
          (2.1 % in the worst second), 0.5 % of all its time, 212 ns of BPF and
          437 ns of trap per hit
          of profiler: 1.2 % CPU, 48 MiB, and 12 MiB of maps
target    pong (pid 4242) /opt/game/server, killed by signal 9
          the binary was replaced on disk since it started
observed  45m from 2026-11-22 08:02:14 UTC, on game-eu-3 (Linux
          6.12.48+deb13-amd64)
";
    let page = at(&sample::pong(), 80);
    assert_eq!(page, expected, "\n{page}");
}

#[test]
fn no_line_is_wider_than_the_page() {
    for report in samples() {
        for verbose in [false, true] {
            for width in (MIN_WIDTH..=140).step_by(4) {
                let page = human(&report, &HumanOptions { width, verbose, ..HumanOptions::default() });
                let wide = page.lines().find(|line| fit::width(line) > width);
                assert_eq!(wide, None, "at {width}, verbose {verbose}");
            }
        }
    }
    assert_eq!(at(&sample::pong(), 5), at(&sample::pong(), MIN_WIDTH));
}

#[test]
fn plain_ascii_fits_as_well() {
    for report in samples() {
        for width in [MIN_WIDTH, 80, 120] {
            let page = human(&report, &HumanOptions { width, ascii: true, ..HumanOptions::default() });
            assert!(page.is_ascii(), "{:?}", page.chars().find(|c| !c.is_ascii()));
            let wide = page.lines().find(|line| line.len() > width);
            assert_eq!(wide, None, "at {width}");
        }
    }
    let options = HumanOptions { ascii: true, verbose: true, width: 160, ..HumanOptions::default() };
    let page = human(&sample::pong(), &options);
    assert!(page.contains("0.30 +-0.02") && page.contains("240 (>=200)"), "{page}");
    let page = human(&deep(20, 30), &HumanOptions { ascii: true, ..HumanOptions::default() });
    assert!(page.contains("\n      ... 19 calls of libraries: --verbose\n"), "{page}");
    assert!(page.contains("  asset::*::insert  "), "{page}");
}

#[test]
fn the_answer_is_the_whole_sentence_in_lines_that_fit() {
    for report in samples() {
        for width in [60, 80, 160] {
            let lines = answer(&report, &HumanOptions { width, ..HumanOptions::default() });
            assert!(lines.ends_with('\n') && lines.lines().all(|line| fit::width(line) <= width), "{lines}");
            let one_line = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(one_line(&lines), one_line(&super::sentence(&report.findings[0])));
        }
    }
    let lines = answer(&sample::pong(), &HumanOptions::default());
    assert_eq!(
        lines,
        "LEAK: 1 of 214 call stacks keeps every block it allocates: chat::History::push\ngrows by 549 MiB/h and holds \
         412 MiB that are older than 30m.\n"
    );
}

#[test]
fn text_from_the_target_cannot_control_the_terminal() {
    for width in [60, 80, 120] {
        let page = at(&sample::hostile(), width).replace('\n', "");
        assert!(!page.contains(is_hidden), "{page:?}");
    }
}

#[test]
fn colours_add_only_colours() {
    for report in samples() {
        let plain = at(&report, 80);
        let coloured = human(&report, &HumanOptions { colour: true, ..HumanOptions::default() });
        let stripped = ["\x1b[1;31m", "\x1b[33m", "\x1b[1m", "\x1b[2m", "\x1b[0m"]
            .iter()
            .fold(coloured.clone(), |text, code| text.replace(code, ""));
        assert_eq!(stripped, plain);
        assert!(coloured.contains("\x1b["));
    }
}

#[test]
fn top_limits_rows_and_says_how_many_are_left() {
    let page = human(&sample::many(200), &HumanOptions { top: 7, ..HumanOptions::default() });
    assert_eq!(page.matches("\n  LONG-LIVED").count(), 5);
    assert!(page.contains("193 more rows: --top 200"), "{page}");
    let page = human(&sample::many(8), &HumanOptions { top: 7, ..HumanOptions::default() });
    assert!(page.contains("  1 more row: --top 8"), "{page}");
}

#[test]
fn an_empty_table_says_so() {
    let page = at(&sample::many(0), 80);
    assert!(page.contains("nothing to show\n"), "{page}");
    assert!(!page.contains("Verdict"));
}

#[test]
fn one_row_needs_no_plural() {
    let page = at(&sample::many(1), 80);
    assert!(!page.contains("more rows") && !page.contains("more stacks"), "{page}");
}

#[test]
fn losses_stand_above_the_table_and_in_the_ledger() {
    let page = at(&sample::incomplete(), 80);
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}: {page}"));
    assert!(at("INCOMPLETE: 1 204 allocations are missing") < at("Verdict"));
    assert!(at("NOT complete, 18,005,307 hits, 1,204 lost") > at("Verdict"));
    at("alloc_entry: 9,001,204 hits = 9,000,000 recorded + 1,204 map_full (lost)".get(..60).unwrap());
    assert!(!page.contains("alloc_return:"), "a probe without loss needs no line");
}

#[test]
fn complete_stacks_need_few_words() {
    let mut report = sample::pong();
    if let Some(walks) = &mut report.coverage.walks {
        walks.cut.clear();
        walks.complete.truncate(1);
        walks.unnamed.clear();
        walks.advice.clear();
        walks.frames = walks.named_frames;
        (walks.stacks, walks.walks) = (walks.complete[0].stacks, walks.complete[0].walks);
    }
    let page = at(&report, 120);
    let expected =
        "\nstacks    100 % of 8,818,996 walks complete (unwind tables)\nnames     100 % of frames\n";
    assert!(page.contains(expected), "{page}");
    let verbose = HumanOptions { verbose: true, width: 120, ..HumanOptions::default() };
    assert!(human(&report, &verbose).contains(" · 198 different stacks\n"));
    report.coverage.walks = Some(Walks::default());
    assert!(!at(&report, 120).contains("\nstacks "));
    report.coverage.walks = None;
    assert!(!at(&report, 120).contains("\nstacks "));
}

#[test]
fn few_of_the_files_that_walks_end_in_are_named() {
    let mut report = sample::pong();
    if let Some(walks) = &mut report.coverage.walks {
        let one = walks.cut[0].ended_in[0].clone();
        walks.cut[0].ended_in = vec![one; 9];
    }
    let page = at(&report, 200);
    assert!(page.contains("0.5 % (in libfoo.so, libfoo.so, libfoo.so, 6 more)"), "{page}");
    let verbose = HumanOptions { verbose: true, width: 400, ..HumanOptions::default() };
    assert!(!human(&report, &verbose).contains("6 more"));
    if let Some(walks) = &mut report.coverage.walks {
        walks.unnamed = vec![walks.unnamed[1].clone(); 7];
    }
    assert!(at(&report, 200).contains("(no symbol covers it (stripped?)), 4 more\n"));
}

#[test]
fn unaccounted_hits_are_called_a_defect() {
    let mut report = sample::pong();
    report.coverage.ledger[2].hits += 2;
    report.coverage.ledger[2].unaccounted = 2;
    let page = at(&report, 80);
    assert!(page.contains("2 unaccounted\n") && page.contains("a defect of profiler"), "{page}");
}

#[test]
fn columns_that_do_not_fit_are_dropped_and_named() {
    let mut report = sample::pong();
    for column in &mut report.sections[0].columns {
        column.shown = true;
    }
    let page = at(&report, 60);
    assert!(page.contains("no room for: ") && page.contains("Why (`-o"), "{page}");
}

#[test]
fn a_table_without_key_or_numbers_still_works() {
    let mut report = sample::pong();
    for column in &mut report.sections[0].columns {
        column.shown = column.unit != Unit::None;
    }
    assert!(at(&report, 80).contains("412 MiB"));
    for column in &mut report.sections[0].columns {
        column.shown = column.name == "function";
    }
    let page = at(&report, 80);
    assert!(page.contains("  chat::History::push\n"), "{page}");
    for column in &mut report.sections[0].columns {
        column.shown = false;
    }
    assert!(at(&report, 80).contains("LEAK: 1 of 214"));
}

#[test]
fn a_histogram_is_three_columns_with_a_note_on_their_error() {
    let page = at(&sample::timed(), 100);
    let header = page.lines().find(|line| line.contains("Latency")).unwrap_or_default();
    assert_eq!(header.matches("Latency").count(), 3, "{page}");
    assert!(page.contains("  a lock "), "{page}");
    assert!(page.contains("p50, p99: at most 6.3 % off, since values are counted in ranges"), "{page}");
    assert!(!at(&sample::pong(), 100).contains("p50"), "only where there is a histogram");
}

#[test]
fn a_very_short_run_has_no_shares() {
    let mut report = sample::pong();
    report.meta.length_ns = 400_000_000;
    let cost = &mut report.meta.cost;
    (cost.busiest_thread_share, cost.own_cpu_share) = (None, None);
    let page = at(&report, 160);
    let cost = page.split("\ncost ").nth(1).unwrap().split("\ntarget ").next().unwrap();
    assert!(cost.contains("hits/s, too short to say what a thread lost, ") && !cost.contains('%'), "{cost}");
    assert!(cost.contains("of profiler: 48 MiB and 12 MiB of maps"), "{cost}");
}

#[test]
fn a_title_takes_two_lines_where_there_is_room() {
    let mut report = sample::pong();
    let section = &mut report.sections[0];
    let column = section.columns.iter().position(|column| column.name == "live_bytes").unwrap();
    section.columns[column].title = "At the start".to_owned();
    for row in &mut section.rows {
        row.cells[column] = Value::Exact(0);
    }
    let page = at(&report, 100);
    assert!(page.lines().any(|line| line.contains("At the ") || line.ends_with("At the")), "{page}");
}

#[test]
fn a_report_of_words_alone_is_a_sentence() {
    let mut report = sample::pong();
    report.sections.clear();
    let words = "Too early: the first verdict can be given in 12m.";
    report.findings = vec![Finding::plain("sample.too_early", Severity::Limit, words)];
    let page = at(&report, 80);
    assert!(page.starts_with("Too early: the first verdict can be given in 12m.\n\ncoverage"), "{page}");
}

#[test]
fn the_cost_of_many_threads_together_is_shown_even_if_each_runs_rarely() {
    let mut report = sample::pong();
    let cost = &mut report.meta.cost;
    (cost.busiest_thread_share, cost.hits_per_s) = (None, Some(1.2e6));
    (cost.bpf_ns_per_hit, cost.trap_ns_per_hit) = (Some(198.0), Some(539.0));
    let page = human(&report, &HumanOptions { width: 160, ..HumanOptions::default() });
    assert!(page.contains("1.2M hits/s, ~0.88 of a processor for all threads together, "), "{page}");
}
