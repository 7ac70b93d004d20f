//! The view on a terminal while a process is observed.

mod support;

use std::process::Command;

use support::compile::Build;
use support::observer::program;
use support::pty::Terminal;
use support::workload::Workload;

fn leaky() -> Workload {
    Workload::spawn(&Build::c("idle.c").build(), &["--leak-every", "3"])
}

fn memleak(target: &Workload, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["memleak", "--pid", &target.pid_argument(), "--older", "200ms"]).args(arguments);
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// The clock in the first line.
fn seconds(screen: &str) -> u64 {
    let digits = screen.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    if screen[digits..].starts_with('s') { screen[..digits].parse().unwrap_or(0) } else { 0 }
}

/// The view is drawn anew in place: the screen never scrolls, whatever its size, until the report comes.
#[test]
fn the_live_view_stays_on_the_screen() {
    let Some(_live) = support::live() else { return };
    let target = leaky();
    for (columns, rows) in [(80, 24), (200, 50), (50, 10), (30, 3)] {
        let mut terminal =
            Terminal::start(memleak(&target, &["--every", "100ms"]), "xterm-256color", columns, rows);
        terminal.wait_for(|screen| seconds(screen) >= 1);
        let before = terminal.scrolled();
        // Several intervals, and as many drawings of the first line.
        let now = seconds(&terminal.screen());
        terminal.wait_for(|screen| seconds(screen) > now);
        assert_eq!(terminal.scrolled(), before, "it scrolled at {columns}x{rows}:\n{}", terminal.screen());
        let screen = terminal.screen();
        if rows >= 10 {
            assert!(screen.lines().nth(2).is_some_and(|line| !line.is_empty()), "no answer:\n{screen}");
        }
        if rows >= 24 {
            assert!(screen.contains("Verdict") && screen.contains("site_idle"), "no table:\n{screen}");
            assert!(screen.contains("hits/s") && screen.contains("0 lost"), "no status:\n{screen}");
        }
        terminal.interrupt();
        assert_eq!(terminal.finish().code(), Some(0), "{}", terminal.screen());
        let all = String::from_utf8_lossy(&terminal.raw).into_owned();
        assert!(all.rfind("attached: ").is_some_and(|at| at < all.rfind("observed  ").unwrap()), "{all:?}");
    }
    target.quit();
}

/// Without interim reports, one line shows the progress.
#[test]
fn a_plain_run_shows_progress_in_one_line() {
    let Some(_live) = support::live() else { return };
    let target = leaky();
    let mut terminal = Terminal::start(memleak(&target, &["--for", "1h"]), "xterm", 80, 24);
    terminal.wait_for(|screen| screen.contains("s of 1h, 59m") && screen.contains(" hits/s"));
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(lines[0].starts_with("attached: ") && lines[lines.len() - 1].contains(" hits/s"), "{screen}");
    assert_eq!(screen.matches("to go").count(), 1, "{screen}");
    assert_eq!(terminal.scrolled(), 0);
    terminal.interrupt();
    assert_eq!(terminal.finish().code(), Some(0), "{}", terminal.screen());
    assert!(!terminal.screen().contains("to go"), "{}", terminal.screen());
    target.quit();
}

/// A terminal whose cursor cannot be moved gets one report after the other.
#[test]
fn a_dumb_terminal_gets_no_live_view() {
    let Some(_live) = support::live() else { return };
    let target = leaky();
    let arguments = ["--every", "200ms", "--for", "1s"];
    let mut terminal = Terminal::start(memleak(&target, &arguments), "dumb", 80, 24);
    assert_eq!(terminal.finish().code(), Some(0), "{}", terminal.screen());
    let all = String::from_utf8_lossy(&terminal.raw).into_owned();
    assert!(all.is_ascii() && !all.contains('\u{1b}'), "{all:?}");
    let interim = all.matches("still running").count();
    assert!(interim >= 3, "{all}");
    let dividers =
        all.lines().filter(|line| line.starts_with("==== ") && line.trim_end().ends_with(" UTC ===="));
    assert_eq!(dividers.count(), interim, "one between two reports: {all}");
    target.quit();
}
