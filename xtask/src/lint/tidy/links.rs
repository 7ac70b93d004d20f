//! Links of Markdown files.

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
    fn anchors_are_made_as_markdown_sites_make_them() {
        assert_eq!(anchor("## Build, test & run").as_deref(), Some("build-test--run"));
        assert_eq!(anchor("# A `flag_x` (new)").as_deref(), Some("a-flag_x-new"));
        assert_eq!(anchor("#hashtag"), None);
        assert_eq!(anchor("text"), None);
    }
}
