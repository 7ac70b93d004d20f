//! Rules about the tree that no other linter knows.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{self, command},
    workspace,
};

/// Above this a Rust file is named: it may have a reason, and should think about it.
const LONG_FILE: usize = 400;
/// Above this there is no reason.
const TOO_LONG_FILE: usize = 600;

/// Written in two parts, so that this file does not hold it.
const UNFINISHED: &str = concat!("todo", "!");

pub(super) fn run() -> Result<()> {
    let root = workspace::root();
    // Also what is new and not yet added: lint runs before the commit.
    let mut list = command("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = process::ask(&mut list).context("cannot list the files: is this a git checkout?")?;
    let mut faults = Vec::new();
    for file in files.lines() {
        // Deleted but not yet committed, or not text.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        match Path::new(file).extension().and_then(|extension| extension.to_str()) {
            Some("rs") => faults.extend(rust_faults(file, &text)),
            Some("md") => faults.extend(broken_links(&root, file, &text)),
            _ => {}
        }
    }
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.iter().any(|fault| !fault.starts_with(NOTE)) {
        bail!("the tree is not tidy");
    }
    Ok(())
}

const NOTE: &str = "note: ";

fn rust_faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > TOO_LONG_FILE {
        faults.push(format!("{file}: {lines} lines, at most {TOO_LONG_FILE}"));
    } else if lines > LONG_FILE {
        faults.push(format!("{NOTE}{file}: {lines} lines"));
    }
    let unfinished = text.lines().enumerate().filter(|(_, line)| line.contains(UNFINISHED));
    faults.extend(unfinished.map(|(index, _)| format!("{file}:{}: {UNFINISHED}", index + 1)));
    faults
}

/// Links of a Markdown file to files and headings of this tree that are not there.
fn broken_links(root: &Path, file: &str, text: &str) -> Vec<String> {
    let directory = root.join(file).parent().map(Path::to_owned).unwrap_or_default();
    let mut faults = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, heading) =
            target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let linked = directory.join(path);
        let fault = if !linked.exists() {
            Some("no such file")
        } else if let Some(heading) = heading {
            let other = (!path.is_empty()).then(|| fs::read_to_string(&linked).unwrap_or_default());
            let known = has_heading(other.as_deref().unwrap_or(text), heading);
            (!known).then_some("no such heading")
        } else {
            None
        };
        faults.extend(fault.map(|fault| format!("{file}:{line}: {target}: {fault}")));
    }
    faults
}

fn has_heading(text: &str, heading: &str) -> bool {
    prose(text).any(|(_, line)| anchor(line).as_deref() == Some(heading))
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((index + 1, line))
    })
}

/// The targets of `[text](target)`, with the numbers of their lines.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let targets = line.split("](").skip(1);
        targets.filter_map(move |rest| Some((number, rest.split([')', ' ']).next()?)))
    })
}

/// The anchor that a heading gets from the sites that show Markdown; `None` for other lines.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_named_and_very_long_ones_refused() {
        assert!(rust_faults("a.rs", &"\n".repeat(400)).is_empty());
        assert_eq!(rust_faults("a.rs", &"\n".repeat(401)), ["note: a.rs: 401 lines"]);
        assert_eq!(rust_faults("a.rs", &"\n".repeat(601)), ["a.rs: 601 lines, at most 600"]);
    }

    #[test]
    fn unfinished_code_is_found() {
        let text = format!("fn f() {{\n    {UNFINISHED}()\n}}\n");
        assert_eq!(rust_faults("a.rs", &text), [format!("a.rs:2: {UNFINISHED}")]);
    }

    #[test]
    fn links_are_followed_to_files_and_headings() {
        let text = "# First part\n[a](Cargo.toml) [b](gone.md) [c](https://example.org/x)\n\
                    [d](#first-part) [e](#second)\n```\n[f](in-code.md)\n```\n";
        let faults = broken_links(&workspace::root(), "X.md", text);
        assert_eq!(faults, ["X.md:2: gone.md: no such file", "X.md:3: #second: no such heading"]);
    }

    #[test]
    fn anchors_are_made_as_markdown_sites_make_them() {
        assert_eq!(anchor("## Build, test & run").as_deref(), Some("build-test--run"));
        assert_eq!(anchor("# A `flag_x` (new)").as_deref(), Some("a-flag_x-new"));
        assert_eq!(anchor("#hashtag"), None);
        assert_eq!(anchor("text"), None);
    }
}
