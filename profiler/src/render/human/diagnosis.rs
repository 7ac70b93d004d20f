//! A diagnosis for people: the answer, then each fault with its remedy, then the findings. Checks that passed are counted, and
//! listed with `--verbose`.

use super::{HumanOptions, fit, page::Page, style::Style};
use crate::doctor::{Answer, Area, Check, Code, Cost, Diagnosis, Figure, Readiness, Target, ToolState};
use crate::text::{Text, visible};
use crate::tool::foresight::{AllocatorFound, Site};
use crate::units;

/// Columns of the name of a check.
const TITLE: usize = 19;
/// Columns of the function of a site.
const FUNCTION: usize = 24;
/// The prompt in front of a command.
const COMMAND: &str = "           $ ";

/// The diagnosis as text. Every line ends in a newline, and the only control characters are those of the colours.
pub fn diagnosis(diagnosis: &Diagnosis, options: &HumanOptions) -> String {
    let mut page = Page::new(options);
    let verbose = options.verbose;
    page.paragraph(style_of(diagnosis), "", &visible(&diagnosis.verdict.headline()));
    write_wrong(&mut page, diagnosis);
    page.blank();
    if let Some(target) = &diagnosis.target {
        write_target(&mut page, target);
        write_checks(&mut page, diagnosis, Area::Target, verbose);
    }
    for tool in &diagnosis.tools {
        if verbose || !is_shown_above(diagnosis, tool) {
            write_tool(&mut page, tool, &diagnosis.checks, verbose);
        }
    }
    write_cost(&mut page, diagnosis, verbose);
    title(
        &mut page,
        &format!("kernel: Linux {}, on {}", visible(&diagnosis.kernel), diagnosis.host.terminal()),
    );
    write_checks(&mut page, diagnosis, Area::Kernel, verbose);
    title(&mut page, "profiler itself");
    write_checks(&mut page, diagnosis, Area::Privileges, verbose);
    page.finish()
}

/// The first sentence of the diagnosis, to be repeated at the end if the page is longer than the screen.
pub fn verdict(diagnosis: &Diagnosis, options: &HumanOptions) -> String {
    let mut page = Page::new(options);
    page.paragraph(style_of(diagnosis), "", &visible(&diagnosis.verdict.headline()));
    page.finish()
}

fn style_of(diagnosis: &Diagnosis) -> Style {
    match diagnosis.verdict.readiness {
        Readiness::Ready => Style::Strong,
        Readiness::ReadyWithLimits => Style::Warn,
        Readiness::NotReady => Style::Bad,
    }
}

fn title(page: &mut Page, words: &str) {
    page.blank();
    page.paragraph(Style::Strong, "", words);
}

fn is_blocked(diagnosis: &Diagnosis) -> bool {
    diagnosis.verdict.readiness == Readiness::NotReady
}

/// Whether a check is shown in full below the answer.
fn is_wrong(diagnosis: &Diagnosis, check: &Check) -> bool {
    if is_blocked(diagnosis) { check.blocks() } else { check.limits() }
}

/// Whether a tool is shown in full below the answer.
fn is_tool_wrong(diagnosis: &Diagnosis, tool: &ToolState) -> bool {
    tool.answer == Answer::No || tool.answer == Answer::CannotTell && !is_blocked(diagnosis)
}

/// Whether nothing remains to be shown about a tool after the part below the answer.
fn is_shown_above(diagnosis: &Diagnosis, tool: &ToolState) -> bool {
    is_tool_wrong(diagnosis, tool) && tool.sites.is_empty() && tool.notes.is_empty()
}

/// Writes every check and tool that is not fine, with consequences and remedies. If nothing can be observed, only the reasons for
/// that are written, because they may be the cause of the rest.
fn write_wrong(page: &mut Page, diagnosis: &Diagnosis) {
    let blocked = is_blocked(diagnosis);
    for check in diagnosis.checks.iter().filter(|check| is_wrong(diagnosis, check)) {
        page.blank();
        let style = if blocked { Style::Bad } else { Style::Warn };
        page.paragraph(style, &label(check.answer, &check.title), &visible(&check.seen));
        for (what, words) in [("disables", &check.disables), ("fix", &check.remedy)] {
            if let Some(words) = words {
                page.paragraph(Style::Plain, &indented(what), &visible(words));
            }
        }
        if let Some(fix) = &check.fix {
            write_command(page, &visible(fix));
        }
    }
    for tool in diagnosis.tools.iter().filter(|tool| is_tool_wrong(diagnosis, tool)) {
        page.blank();
        let why = tool.why.as_deref().unwrap_or("it could not be tried");
        page.paragraph(Style::Bad, &label(tool.answer, &tool.name), &visible(why));
        if let Some(remedy) = &tool.remedy {
            page.paragraph(Style::Plain, &indented("fix"), &visible(remedy));
        }
    }
    let forecasts = diagnosis.tools.iter().filter_map(|tool| Some((tool, tool.forecast.as_ref()?)));
    for (tool, forecast) in forecasts.filter(|(_, forecast)| forecast.is_over()) {
        page.blank();
        page.paragraph(
            Style::Bad,
            &label(Answer::No, &format!("cost of {}", tool.name)),
            &visible(&forecast.sentence()),
        );
        let refused = format!("{} as it is: it would refuse (exit code 5)", tool.name);
        page.paragraph(Style::Plain, &indented("disables"), &refused);
        page.paragraph(Style::Plain, &indented("fix"), "--max-cost off, or a time when there is less to do");
    }
}

/// Writes a command on lines of its own, so that it can be copied. A comment behind it is moved to the line before.
fn write_command(page: &mut Page, command: &str) {
    let (command, comment) = command.split_once("   # ").unwrap_or((command, ""));
    if !comment.is_empty() {
        page.paragraph(Style::Dim, "           # ", comment);
    }
    // Two columns are needed for the backslash at the end of a line.
    let lines = fit::lines(command, page.width - COMMAND.len() - 2);
    for (number, line) in lines.iter().enumerate() {
        let prompt = if number == 0 { COMMAND } else { "             " };
        let end = if number + 1 < lines.len() { " \\" } else { "" };
        page.line(Style::Strong, &format!("{prompt}{line}{end}"));
    }
}

/// Writes the checks of an area: with `verbose` all of them, else the number that passed, and those that failed and are not shown
/// below the answer.
fn write_checks(page: &mut Page, diagnosis: &Diagnosis, area: Area, verbose: bool) {
    let checks: Vec<&Check> = diagnosis.checks.iter().filter(|check| check.area == area).collect();
    let fine = checks.iter().filter(|check| check.answer == Answer::Yes).count();
    if fine > 0 && !verbose {
        let count = match checks.len() {
            all if all == fine => units::plural(all, "check", "checks"),
            all => format!("{fine} of {all} checks"),
        };
        page.paragraph(Style::Plain, &label(Answer::Yes, &count), "--verbose shows each");
    }
    let shown = |check: &&Check| verbose || check.answer != Answer::Yes && !is_wrong(diagnosis, check);
    for check in checks.into_iter().filter(shown) {
        let style = if check.answer == Answer::Yes { Style::Plain } else { Style::Warn };
        page.paragraph(style, &label(check.answer, &check.title), &visible(&check.seen));
    }
}

fn write_target(page: &mut Page, target: &Target) {
    title(page, &format!("process {}: {}", target.pid, target.name.terminal()));
    let mut about = Vec::new();
    about.extend(target.exe.as_ref().map(Text::terminal));
    about.extend(target.uid.map(|uid| format!("user id {uid}")));
    about.extend(target.threads.map(|n| units::plural(n, "thread", "threads")));
    about.extend(target.container.as_ref().map(|container| format!("in {}", container.terminal())));
    about.extend(target.inner_pid.map(|pid| format!("pid {pid} inside")));
    page.paragraph(Style::Plain, &fact("program"), &about.join(", "));
    let runtimes: Vec<&str> = target.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
    let runtimes = if runtimes.is_empty() { "none that is known".to_owned() } else { runtimes.join(", ") };
    page.paragraph(Style::Plain, &fact("runtime, engine"), &visible(&runtimes));
    if let Some(bytes) = target.anonymous_bytes {
        let words = format!("{} of anonymous memory: not judged", units::bytes(bytes as f64));
        page.paragraph(Style::Plain, &fact("in use already"), &words);
    }
    if let Some(code) = &target.code {
        write_code(page, code);
    }
}

fn write_code(page: &mut Page, code: &Code) {
    let made = match code.made_bytes {
        0 => String::new(),
        bytes => format!(", and {} made at run time", units::bytes(bytes as f64)),
    };
    let words = format!("{} in {} files{made}", units::bytes(code.code_bytes as f64), code.files);
    page.paragraph(Style::Plain, &fact("code"), &words);
    for file in &code.without_tables {
        let words = format!("{}: {}", file.file.terminal(), visible(&file.why));
        page.paragraph(Style::Plain, &fact("no unwind table"), &words);
    }
}

fn write_tool(page: &mut Page, tool: &ToolState, checks: &[Check], verbose: bool) {
    title(page, &format!("{}: {}", visible(&tool.name), visible(&tool.question)));
    // Skip notes that repeat a check.
    let is_said = |note: &&String| checks.iter().any(|check| check.disables.as_ref() == Some(*note));
    let notes: Vec<&String> = tool.notes.iter().filter(|note| !is_said(note)).collect();
    // Only with `verbose`, because it is the same for every process.
    let (sees, cannot_see): (Vec<&String>, Vec<&String>) = match verbose {
        true => (tool.sees.iter().collect(), tool.cannot_see.iter().collect()),
        false => (Vec::new(), Vec::new()),
    };
    let lists = [
        ("sees", sees),
        ("cannot see", cannot_see),
        ("not on this kernel", tool.lacks.iter().collect()),
        ("in this process", notes),
    ];
    for (what, list) in lists {
        for (number, words) in list.iter().enumerate() {
            let what = if number == 0 { what } else { "" };
            page.paragraph(Style::Plain, &fact(what), &visible(words));
        }
    }
    if tool.sites.is_empty() {
        if !verbose {
            // A tool that attaches to functions says by what, or why not; others attach to tracepoints.
            let (what, seen) = match (&tool.why, &tool.attached_by) {
                (Some(why), _) => ("probes", why.clone()),
                (None, Some(by)) => ("probes", format!("{by}, tried on a process of our own")),
                (None, None) => ("tracepoints", "attached for a moment, without a target".to_owned()),
            };
            page.paragraph(Style::Plain, &label(tool.answer, what), &visible(&seen));
        }
        return;
    }
    write_sites(page, tool, verbose);
}

/// Writes what would be probed: with `verbose` all places, else their number, and the places that are left out or cost more.
fn write_sites(page: &mut Page, tool: &ToolState, verbose: bool) {
    let left_out = tool.sites.iter().filter(|site| site.left_out.is_some()).count();
    let by = tool.attached_by.as_deref().map(|by| format!(", by {by}")).unwrap_or_default();
    let probed = units::plural(tool.sites.len() - left_out, "function", "functions");
    let without = if left_out > 0 { format!("; {left_out} left out") } else { String::new() };
    page.paragraph(Style::Plain, &fact("would probe"), &format!("{probed}{by}{without}"));
    if verbose {
        let words = "at the first instruction, which the kernel emulates, unless another reason is given";
        page.paragraph(Style::Dim, &fact(""), words);
    }
    for allocator in &tool.allocators {
        let sites = tool.sites.iter().filter(|site| site.module == allocator.module);
        let shown: Vec<&Site> = sites.filter(|site| verbose || is_remarkable(site)).collect();
        write_allocator(page, allocator, &shown, verbose);
    }
}

/// Whether a place is left out or costs more than others.
fn is_remarkable(site: &Site) -> bool {
    site.left_out.is_some() || !site.emulated
}

fn write_allocator(page: &mut Page, allocator: &AllocatorFound, sites: &[&Site], verbose: bool) {
    let file = allocator.module.terminal();
    let name = visible(&allocator.name);
    page.line(
        Style::Plain,
        &format!("    {name}: {}", fit::path(&file, page.width.saturating_sub(6 + fit::width(&name)))),
    );
    for site in sites {
        write_site(page, site);
    }
    if !verbose && allocator.functions as usize > sites.len() {
        let all = if sites.is_empty() { "each at one trap" } else { "the others at one trap" };
        page.line(Style::Dim, &format!("      {all}: --verbose"));
    }
}

/// Writes `malloc+0  0x9b0e0  one trap; return probe`, and the reason below it unless it is the usual one.
fn write_site(page: &mut Page, site: &Site) {
    let offset = format!("+{}", site.offset_bytes);
    let function = fit::name(&site.function.terminal(), FUNCTION - offset.len());
    let label = format!("      {:<FUNCTION$} {:#9x}  ", format!("{function}{offset}"), site.file_offset);
    if let Some(why) = &site.left_out {
        return page.paragraph(Style::Warn, &label, &format!("left out: {}", visible(why)));
    }
    let trap = if site.emulated { "one trap" } else { "single-stepped" };
    let end = if site.end_words().is_empty() { String::new() } else { format!("; {}", site.end_words()) };
    let style = if site.emulated { Style::Plain } else { Style::Warn };
    page.paragraph(style, &label, &format!("{trap}{end}"));
    if site.offset_bytes > 0 || !site.emulated {
        page.paragraph(Style::Dim, "          ", &visible(&site.reason));
    }
}

fn write_cost(page: &mut Page, diagnosis: &Diagnosis, verbose: bool) {
    title(page, "cost of a hit here, to the thread that has it");
    let Some(cost) = &diagnosis.cost else {
        let why = diagnosis.cost_unknown.as_deref().unwrap_or("it was not measured");
        return page.paragraph(Style::Warn, &fact("unknown"), &visible(why));
    };
    let Cost { emulated, stepped, call, cold, cold_call: _, took_ns } = cost;
    let figures = [
        ("one trap", emulated),
        ("one trap, cold", cold),
        ("single-stepped", stepped),
        ("entry and return", call),
    ];
    for (what, figure) in figures.into_iter().filter(|_| verbose) {
        page.paragraph(Style::Plain, &fact(what), &figure_words(figure));
    }
    let pair_ns = call.median_ns + emulated.median_ns;
    let words = format!(
        "~{}: 10,000 a second take ~{} of one thread's time, and what the tool does at a hit besides, which its report \
         shows",
        units::nanos(pair_ns),
        units::percent(pair_ns * 1e4 / 1e9)
    );
    page.paragraph(Style::Plain, &fact("malloc and free"), &words);
    write_forecasts(page, diagnosis);
    if !verbose {
        return;
    }
    let took = units::nanos(*took_ns as f64);
    let words = format!("estimates, measured with empty programs on a process of our own in {took}");
    page.paragraph(Style::Dim, &fact(""), &words);
}

/// Writes what the tools would cost the process.
fn write_forecasts(page: &mut Page, diagnosis: &Diagnosis) {
    for tool in &diagnosis.tools {
        if let Some(forecast) = &tool.forecast {
            let style = if forecast.is_over() { Style::Warn } else { Style::Plain };
            page.paragraph(style, &fact(&tool.name), &forecast.sentence());
        } else if let Some(why) = &tool.forecast_unknown {
            page.paragraph(Style::Plain, &fact(&tool.name), &format!("not predicted: {}", visible(why)));
        }
    }
}

/// `~520 ns (499 ns to 681 ns, n = 69,000)`.
fn figure_words(figure: &Figure) -> String {
    let Figure { median_ns, low_ns, high_ns, calls } = *figure;
    let [median, low, high] = [median_ns, low_ns, high_ns].map(units::nanos);
    format!("~{median} ({low} to {high}, n = {})", units::grouped(calls))
}

fn label(answer: Answer, title: &str) -> String {
    let title = visible(title);
    format!("  {:<4} {title:<TITLE$} ", answer.word())
}

fn fact(title: &str) -> String {
    format!("       {title:<TITLE$} ")
}

fn indented(title: &str) -> String {
    fact(&format!("  {title}"))
}

#[cfg(test)]
mod tests;
