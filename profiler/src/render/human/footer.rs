//! The part below the tables: how far the answer can be trusted, what the observation cost, and what was observed.

use std::time::Duration;

use super::HumanOptions;
use super::names;
use super::page::Page;
use super::style::Style;
use super::walks;
use crate::report::{Cost, Coverage, Ended, Ledger, Meta, OutcomeClass, Report, THREADS_THAT_ENDED, Target};
use crate::text::{Text, visible};
use crate::units;

/// Writes the losses if they could change the answer. They are shown above the tables.
pub(super) fn write_incomplete(page: &mut Page, coverage: &Coverage) {
    if coverage.complete {
        return;
    }
    page.blank();
    if coverage.incomplete_because.is_empty() {
        page.paragraph(Style::Warn, "INCOMPLETE: ", "something is missing, and the reason is not known");
    }
    for why in &coverage.incomplete_because {
        page.paragraph(Style::Warn, "INCOMPLETE: ", &visible(why));
    }
}

/// Writes everything below the tables.
pub(super) fn write(page: &mut Page, report: &Report, verbose: bool) {
    page.blank();
    write_coverage(page, &report.coverage, verbose);
    walks::write(page, &report.coverage, verbose);
    names::write(page, &report.coverage, verbose);
    if let Some(before) = &report.coverage.before_attach {
        page.paragraph(Style::Plain, "unseen    ", &visible(before));
    }
    write_cost(page, &report.meta, verbose);
    write_targets(page, &report.meta.targets, verbose);
    let meta = &report.meta;
    let how = match meta.ended {
        Ended::Running => ", still running",
        Ended::Interrupted => ", until interrupted",
        Ended::TargetsGone => ", until the last target was gone",
        Ended::StoppedByGuard => ", until the safety guard stopped it (--max-cost)",
        Ended::Elapsed => "",
    };
    let (length, since) = (units::duration(meta.length()), units::utc(meta.started_unix_ns));
    let place = format!("{} (Linux {})", meta.host.terminal(), visible(&meta.kernel));
    page.paragraph(Style::Plain, "observed  ", &format!("{length} from {since}{how}, on {place}"));
    if verbose {
        let settings: Vec<String> = meta
            .settings
            .iter()
            .map(|(name, value)| format!("{} {}", visible(name), visible(value)))
            .collect();
        page.paragraph(Style::Plain, "settings  ", &settings.join(", "));
        let command: Vec<String> = meta.command.iter().map(|word| word.terminal()).collect();
        page.paragraph(Style::Plain, "command   ", &command.join(" "));
    }
}

fn write_coverage(page: &mut Page, coverage: &Coverage, verbose: bool) {
    let (lost, unaccounted) = (coverage.total(OutcomeClass::Lost), coverage.unaccounted());
    let parts = [
        if coverage.complete { "complete" } else { "NOT complete" }.to_owned(),
        format!("{} hits", units::grouped(coverage.hits())),
        format!("{} lost", units::grouped(lost)),
        format!("{} unaccounted", units::grouped(unaccounted)),
    ];
    let bad = !coverage.complete || unaccounted > 0;
    page.paragraph(if bad { Style::Warn } else { Style::Plain }, "coverage  ", &parts.join(", "));
    if unaccounted > 0 {
        page.paragraph(
            Style::Warn,
            "          ",
            "hits without an outcome are a defect of profiler: please report it",
        );
    }
    for ledger in coverage.ledger.iter().filter(|ledger| verbose || !is_clean(ledger)) {
        page.paragraph(Style::Plain, "          ", &ledger_words(ledger));
    }
    if verbose {
        for (name, count) in &coverage.quality {
            page.paragraph(
                Style::Plain,
                "          ",
                &format!("{}: {}", visible(name), units::grouped(*count)),
            );
        }
    }
}

fn is_clean(ledger: &Ledger) -> bool {
    ledger.total(OutcomeClass::Lost) == 0 && ledger.unaccounted == 0
}

/// `free: 4,103 hits = 4,096 recorded + 7 nested (filtered)`, without outcomes that are 0.
fn ledger_words(ledger: &Ledger) -> String {
    let mut parts: Vec<String> = Vec::new();
    for outcome in ledger.outcomes.iter().filter(|outcome| outcome.count > 0) {
        let (name, class) = (visible(&outcome.name), outcome.class.name());
        let class = if name == class { String::new() } else { format!(" ({class})") };
        parts.push(format!("{} {name}{class}", units::grouped(outcome.count)));
    }
    if ledger.unaccounted != 0 {
        parts.push(format!("{} unaccounted", ledger.unaccounted));
    }
    let sum = if parts.is_empty() { "0".to_owned() } else { parts.join(" + ") };
    format!("{}: {} hits = {sum}", visible(&ledger.probe), units::grouped(ledger.hits))
}

/// Shortest observation for which shares are meaningful.
const LEAST_LENGTH: Duration = Duration::from_secs(1);

/// Least number of processors for all threads together that is shown.
const MATTERS: f64 = 0.05;

/// Estimated number of processors that the probes use for all threads of the target together.
fn processors(cost: &Cost) -> Option<f64> {
    let ns_per_hit = cost.bpf_ns_per_hit? + cost.trap_ns_per_hit?;
    Some(cost.hits_per_s? * ns_per_hit / 1e9)
}

fn write_cost(page: &mut Page, meta: &Meta, verbose: bool) {
    let cost = &meta.cost;
    let mut target = Vec::new();
    if let Some(rate) = cost.hits_per_s {
        target.push(format!("{} hits/s", units::count(rate)));
    }
    if let Some(share) = cost.busiest_thread_share {
        let who = match cost.busiest_thread.as_ref().map(Text::terminal) {
            Some(name) if name == THREADS_THAT_ENDED => name,
            Some(name) => format!("thread {name}"),
            None => "a thread".to_owned(),
        };
        let worst =
            cost.worst_second_share.map(|worst| format!(" ({} in the worst second)", units::percent(worst)));
        let taken = cost.taken_share.map(|taken| format!(", {} of all its time", units::percent(taken)));
        target.push(format!(
            "~{} of the busy time of {who}{}{}",
            units::percent(share),
            worst.unwrap_or_default(),
            taken.unwrap_or_default()
        ));
    }
    // Many threads that each run rarely may lose much together.
    if let Some(taken) = processors(cost).filter(|taken| *taken >= MATTERS) {
        target.push(format!("~{taken:.2} of a processor for all threads together"));
    }
    if cost.busiest_thread_share.is_none() && meta.length() < LEAST_LENGTH {
        target.push("too short to say what a thread lost".to_owned());
    }
    if let Some(ns) = cost.bpf_ns_per_hit {
        let trap = cost.trap_ns_per_hit.map(|trap| {
            let how = if cost.calibrated { "" } else { ", assumed" };
            format!(" and {} of trap{how}", units::nanos(trap))
        });
        target.push(format!("{} of BPF{} per hit", units::nanos(ns), trap.unwrap_or_default()));
    }
    if let Some(ns) = cost.call_ns {
        let how = if cost.calibrated { "" } else { " (assumed)" };
        target.push(format!("{} per system call{how}", units::nanos(ns)));
    }
    if !target.is_empty() {
        page.paragraph(Style::Plain, "cost      ", &format!("to the target: {}", target.join(", ")));
    }
    let (own, maps) =
        (units::bytes(cost.own_memory_bytes as f64), units::bytes(cost.map_memory_bytes as f64));
    let mut ours = match cost.own_cpu_share {
        Some(cpu) => format!("of profiler: {} CPU, {own}, and {maps} of maps", units::percent(cpu)),
        None => format!("of profiler: {own} and {maps} of maps"),
    };
    if verbose {
        let short = |ns| units::duration(Duration::from_nanos(ns));
        ours.push_str(&format!("; attached in {}", short(cost.attach_ns)));
        if let Some(detach) = cost.detach_ns {
            ours.push_str(&format!(", detached in {}", short(detach)));
        }
    }
    page.paragraph(Style::Plain, if target.is_empty() { "cost      " } else { "          " }, &ours);
}

/// Targets that are shown one by one.
const TARGETS_SHOWN: usize = 5;

/// Writes the targets: each of a few; of many the first, and how many others there are of each executable and each end.
fn write_targets(page: &mut Page, targets: &[Target], verbose: bool) {
    let shown = if verbose || targets.len() <= TARGETS_SHOWN { targets.len() } else { 1 };
    let (first, others) = targets.split_at(shown);
    first.iter().for_each(|target| write_target(page, target, verbose));
    let mut groups: Vec<(&Target, u64)> = Vec::new();
    for target in others {
        let is_like = |other: &Target| other.exe == target.exe && other.ended == target.ended;
        match groups.iter_mut().find(|(other, _)| is_like(other)) {
            Some((_, count)) => *count += 1,
            None => groups.push((target, 1)),
        }
    }
    // The rarest end may be the one that matters.
    groups.sort_by_key(|(_, count)| *count);
    for (like, count) in groups.iter().take(TARGETS_SHOWN) {
        let ended =
            like.ended.as_deref().map_or(", still running".into(), |how| format!(", {}", visible(how)));
        let line =
            format!("{} more of {}{}{ended}", units::grouped(*count), like.name.terminal(), executable(like));
        page.paragraph(Style::Plain, "          ", &line);
    }
    let hidden: u64 = groups.iter().skip(TARGETS_SHOWN).map(|(_, count)| count).sum();
    if hidden > 0 {
        page.paragraph(
            Style::Plain,
            "          ",
            &format!("and {} others: --verbose", units::grouped(hidden)),
        );
    }
}

/// The executable behind a space; empty if it is not known.
fn executable(target: &Target) -> String {
    if target.exe.is_empty() { String::new() } else { format!(" {}", target.exe.terminal()) }
}

fn write_target(page: &mut Page, target: &Target, verbose: bool) {
    let ended = target.ended.as_deref().map(|how| format!(", {}", visible(how))).unwrap_or_default();
    let line = format!("{} (pid {}){}{ended}", target.name.terminal(), target.pid, executable(target));
    page.paragraph(if ended.is_empty() { Style::Plain } else { Style::Warn }, "target    ", &line);
    for note in &target.notes {
        page.paragraph(Style::Plain, "          ", &visible(note));
    }
    if !verbose {
        return;
    }
    for probe in &target.probes {
        let (function, module) = (probe.function.terminal(), probe.module.terminal());
        let how = if probe.emulated { "one trap" } else { "two traps: slow" };
        let site =
            format!("{function}+{} in {module}: {how}, {}", probe.offset_bytes, visible(&probe.reason));
        page.paragraph(Style::Plain, "          ", &site);
    }
}

/// A line with the time of a report, to be printed before it if another report precedes it.
pub fn divider(report: &Report, options: &HumanOptions) -> String {
    let meta = &report.meta;
    let made_unix_ns = meta.started_unix_ns.saturating_add(meta.length().as_nanos() as u64);
    let mut page = Page::new(options);
    page.line(Style::Strong, &format!("==== {} ====", units::utc(made_unix_ns)));
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::{HumanOptions, Page, TARGETS_SHOWN, divider, write_targets};
    use crate::report::{Target, sample};

    #[test]
    fn many_targets_are_counted_by_executable_and_end() {
        let target = |pid: u32, ended: Option<&str>| Target {
            pid,
            ended: ended.map(str::to_owned),
            ..sample::pong().meta.targets.remove(0)
        };
        let mut targets = vec![target(1, None), target(2, Some("killed by signal 11 (SIGSEGV)"))];
        targets.extend((0..1500).map(|pid| target(pid + 3, Some("ended with exit code 0"))));
        let shown = |targets: &[Target], verbose| {
            let mut page = Page::new(&HumanOptions { width: 200, ..HumanOptions::default() });
            write_targets(&mut page, targets, verbose);
            page.finish()
        };
        let few = shown(&targets, false);
        assert!(few.contains("(pid 1)") && !few.contains("(pid 2)"), "{few}");
        let killed = few.find("1 more of ").unwrap();
        assert!(killed < few.find("1,500 more of ").unwrap(), "the rarest first: {few}");
        assert!(
            few.contains("killed by signal 11 (SIGSEGV)") && few.contains("ended with exit code 0"),
            "{few}"
        );
        assert_eq!(few.matches("more of ").count(), 2, "{few}");
        assert_eq!(shown(&targets, true).matches("(pid ").count(), targets.len());
        assert_eq!(shown(&targets[..TARGETS_SHOWN], false).matches("(pid ").count(), TARGETS_SHOWN);
    }

    #[test]
    fn the_line_between_two_reports_has_the_time_of_the_second() {
        let line = divider(&sample::pong(), &HumanOptions::default());
        assert_eq!(line, "==== 2026-11-22 08:47:14 UTC ====\n", "45 minutes after the start");
    }
}
