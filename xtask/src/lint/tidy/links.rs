//! Links of Markdown files, and source files that they name.

use std::{fs, path::Path};

/// Links of a Markdown file to files and headings of this tree that are not there.
pub(super) fn broken_links(root: &Path, file: &str, text: &str) -> Vec<String> {
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

/// Crates whose source files are named by their path from the root.
const CRATES: [&str; 5] = ["profiler/", "profiler-common/", "profiler-ebpf/", "profiler-stats/", "xtask/"];

/// Source files that a Markdown file names, as `profiler/src/{a,b}.rs`, and that are not there. A path with `*` or `<` is that of
/// any such file.
pub(super) fn missing_files(root: &Path, file: &str, text: &str) -> Vec<String> {
    let named = prose(text)
        .flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |path| (number, path)));
    let is_source = |path: &str| {
        path.ends_with(".rs")
            && CRATES.iter().any(|of| path.starts_with(of))
            && !path.contains(['*', '<', ' '])
    };
    let mut faults = Vec::new();
    for (line, path) in named.filter(|(_, path)| is_source(path)) {
        let missing = each(path).into_iter().filter(|path| !root.join(path).exists());
        faults.extend(missing.map(|path| format!("{file}:{line}: {path}: no such file")));
    }
    faults
}

/// The paths that `a/{b,c}.rs` stands for.
fn each(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((names, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
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
    use crate::workspace;

    #[test]
    fn links_are_followed_to_files_and_headings() {
        let text = "# First part\n[a](Cargo.toml) [b](gone.md) [c](https://example.org/x)\n\
                    [d](#first-part) [e](#second)\n```\n[f](in-code.md)\n```\n";
        let faults = broken_links(&workspace::root(), "X.md", text);
        assert_eq!(faults, ["X.md:2: gone.md: no such file", "X.md:3: #second: no such heading"]);
    }

    #[test]
    fn source_files_that_are_named_are_there() {
        let text =
            "`xtask/src/{main,gone}.rs` `xtask/src/<x>.rs`\n`xtask/src/*.rs` `profiler/gone.rs` `x.rs`\n";
        let faults = missing_files(&workspace::root(), "X.md", text);
        let expected = ["X.md:1: xtask/src/gone.rs: no such file", "X.md:2: profiler/gone.rs: no such file"];
        assert_eq!(faults, expected);
    }

    #[test]
    fn anchors_are_made_as_markdown_sites_make_them() {
        assert_eq!(anchor("## Build, test & run").as_deref(), Some("build-test--run"));
        assert_eq!(anchor("# A `flag_x` (new)").as_deref(), Some("a-flag_x-new"));
        assert_eq!(anchor("#hashtag"), None);
        assert_eq!(anchor("text"), None);
    }
}
