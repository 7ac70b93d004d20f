//! The quality of call stacks and names.

use super::page::Page;
use super::stacks::base_name;
use super::style::Style;
use crate::report::{Coverage, Cut, Walks};
use crate::text::{Text, visible};
use crate::units;

/// Files that are named for each reason without `--verbose`.
const FILES: usize = 3;

/// Writes how many walks are complete, by which method, and why the others are not; how many frames have names, why the others have
/// none, and which options of the target would help.
pub(super) fn write(page: &mut Page, coverage: &Coverage, verbose: bool) {
    let Some(walks) = &coverage.walks else { return };
    if walks.walks > 0 {
        page.paragraph(Style::Plain, "stacks    ", &ends(walks, verbose).join(" · "));
    }
    if walks.frames > 0 {
        page.paragraph(Style::Plain, "names     ", &names(walks, verbose).join(" · "));
    }
    for advice in &walks.advice {
        page.paragraph(Style::Warn, "          ", &visible(advice));
    }
}

fn ends(walks: &Walks, verbose: bool) -> Vec<String> {
    let share = |part: u64| units::percent(part as f64 / walks.walks as f64);
    let methods: Vec<String> = match walks.complete.as_slice() {
        [only] => vec![only.method.name().to_owned()],
        several => several.iter().map(|by| format!("{} {}", by.method.name(), share(by.walks))).collect(),
    };
    let by = if methods.is_empty() { String::new() } else { format!(" ({})", methods.join(", ")) };
    let complete = units::percent(walks.complete_ratio().unwrap_or_default());
    let mut parts = vec![format!("{complete} of {} walks complete{by}", units::grouped(walks.walks))];
    if verbose {
        parts.push(format!("{} different stacks", units::grouped(walks.stacks)));
    }
    if !walks.cut.is_empty() {
        let reasons: Vec<String> = walks
            .cut
            .iter()
            .map(|cut| format!("{} {}{}", visible(&cut.reason), share(cut.walks), places(cut, verbose)))
            .collect();
        let all = walks.cut.iter().fold(0, |sum: u64, cut| sum.saturating_add(cut.walks));
        parts.push(format!("{} cut: {}", share(all), reasons.join(", ")));
    }
    parts
}

fn names(walks: &Walks, verbose: bool) -> Vec<String> {
    let share = |part: u64| units::percent(part as f64 / walks.frames as f64);
    let mut parts = vec![of_frames(walks.named_ratio().unwrap_or_default())];
    let most = if verbose { usize::MAX } else { FILES };
    let mut without: Vec<String> = walks
        .unnamed
        .iter()
        .take(most)
        .map(|u| format!("{} {} ({})", file(u.module.as_ref()), share(u.frames), visible(&u.reason)))
        .collect();
    if walks.unnamed.len() > without.len() {
        without.push(format!("{} more", walks.unnamed.len() - without.len()));
    }
    if !without.is_empty() {
        parts.push(format!("without: {}", without.join(", ")));
    }
    parts
}

/// ` (in libfoo.so, code without a file)`.
fn places(cut: &Cut, verbose: bool) -> String {
    let most = if verbose { usize::MAX } else { FILES };
    let mut names: Vec<String> = cut.ended_in.iter().take(most).map(|e| file(e.module.as_ref())).collect();
    if cut.ended_in.len() > names.len() {
        names.push(format!("{} more", cut.ended_in.len() - names.len()));
    }
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(", ")) }
}

fn file(module: Option<&Text>) -> String {
    module.map_or_else(|| "code without a file".to_owned(), base_name)
}

fn of_frames(share: f64) -> String {
    format!("{} of frames", units::percent(share))
}
