//! Which files may name a tool. What a new tool would have to touch beside its own folders and a few lists is a fault:
//! code that every tool stands on must not know any of them.
//!
//! The names of the tools are those of the folders of `profiler/src/tool/`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Where each tool has its folder, and the registry.
const TOOLS: &str = "profiler/src/tool";

/// Files, and folders (with a `/` at the end), that may name any tool.
const LISTS: &[&str] = &[
    // Lists with an entry for each tool.
    "profiler/src/tool/mod.rs",
    "profiler-common/src/lib.rs",
    "profiler-ebpf/Cargo.toml",
    // A dependency may have the name of a tool.
    "Cargo.toml",
    "Cargo.lock",
    "profiler/Cargo.toml",
    "xtask/src/bench/mod.rs",
    "xtask/src/vm/cases.rs",
    "xtask/src/lint/tidy/tools.rs",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "examples/README.md",
    "schema/",
    // What only tests and measurements need.
    "profiler/src/lab/",
    "profiler/src/cli/lab/",
    // What runs a tool as a user does: tests, measurements, pages with examples.
    "profiler/tests/",
    "examples/ci/",
    "xtask/src/bench/",
    "xtask/src/demo.rs",
    "xtask/src/field/",
    "docs/",
];

/// Parts of `LISTS` that may not name a tool after all: all tests stand on them.
const NOT_LISTS: &[&str] = &["profiler/tests/support/"];

/// Tools whose names are ordinary words. Such a word alone does not name the tool: only a path, a text that is nothing but the
/// name, the name of a rule, or a command line does.
const ORDINARY: &[&str] = &["syscalls", "sockets", "disk", "cpu", "locks", "ticks"];

/// The names of the tools below `root`.
///
/// # Errors
/// If the folder of the tools cannot be listed.
pub(super) fn names(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(TOOLS);
    let listed = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The faults of one file: the first line that names each of these tools that it may not name.
pub(super) fn faults(tools: &[String], file: &str, text: &str) -> Vec<String> {
    let foreign = tools.iter().filter(|tool| !may_name(file, tool));
    let named = foreign.filter_map(|tool| Some((tool, line_that_names(text, tool)?)));
    named.map(|(tool, line)| format!("{file}:{line}: names the tool `{tool}`")).collect()
}

/// Whether a file is the tool's own, or one of the lists.
fn may_name(file: &str, tool: &str) -> bool {
    let is_in = |places: &[&str]| {
        places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)))
    };
    is_own(file, tool) || (is_in(LISTS) && !is_in(NOT_LISTS))
}

/// Whether a file is in a folder of the tool, or is the one file that a crate has for it.
fn is_own(file: &str, tool: &str) -> bool {
    ["profiler/src/tool", "profiler-common/src", "profiler-ebpf/src/bin"].iter().any(|parent| {
        let below = file.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/'));
        let rest = below.and_then(|rest| rest.strip_prefix(tool));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

/// The number of the first line that names the tool.
fn line_that_names(text: &str, tool: &str) -> Option<usize> {
    let at = text.lines().position(|line| names_tool(line, tool))?;
    Some(at + 1)
}

fn names_tool(line: &str, tool: &str) -> bool {
    if !ORDINARY.contains(&tool) {
        return line.to_ascii_lowercase().contains(tool);
    }
    // What stands before the name and after it. An empty end is the end of the word.
    let forms = [
        ("tool::", ""),
        ("tool/", ""),
        ("bin/", ""),
        ("profiler_common::", ""),
        ("profiler ", ""),
        ("bench ", ""),
        ("", "::"),
        ("\"", "\""),
        ("\"", "."),
        ("mod ", ";"),
    ];
    forms.iter().any(|(before, after)| holds_word(line, &format!("{before}{tool}{after}")))
}

/// Whether `line` holds `part`, and neither its first nor its last letter belongs to a longer word.
fn holds_word(line: &str, part: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    let (starts, ends) = (part.starts_with(of_word), part.ends_with(of_word));
    line.match_indices(part).any(|(at, _)| {
        let before = line.get(..at).and_then(|line| line.chars().next_back());
        let after = line.get(at + part.len()..).and_then(|line| line.chars().next());
        !(starts && before.is_some_and(of_word) || ends && after.is_some_and(of_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_ground_names_no_tool() {
        let tools = tools(&["memleak", "locks"]);
        let text = "fn f() {\n    if tool == \"memleak\" || tool == \"locks\" {}\n}\n// MEMLEAK\n";
        let named = ["names the tool `memleak`", "names the tool `locks`"];
        let expected = named.map(|fault| format!("profiler/src/observe/x.rs:2: {fault}"));
        assert_eq!(faults(&tools, "profiler/src/observe/x.rs", text), expected);
        assert_eq!(faults(&tools, "profiler/tests/support/mod.rs", text).len(), 2);
        assert!(faults(&tools, "profiler/src/observe/y.rs", "fn f() {}\n").is_empty());
    }

    #[test]
    fn a_tool_names_itself_and_no_other() {
        let tools = tools(&["memleak", "locks"]);
        let text = "use crate::tool::memleak::args;\n";
        for own in [
            "profiler/src/tool/memleak/mod.rs",
            "profiler/src/tool/mod.rs",
            "profiler-common/src/memleak.rs",
            "profiler-common/src/memleak/age.rs",
            "profiler-ebpf/src/bin/memleak/main.rs",
            "docs/memleak.md",
            "profiler/tests/live_exact.rs",
        ] {
            assert!(faults(&tools, own, text).is_empty(), "{own}");
        }
        for other in ["profiler/src/tool/locks/mod.rs", "profiler-common/src/memleak_more.rs", "deny.toml"] {
            assert_eq!(faults(&tools, other, text), [format!("{other}:1: names the tool `memleak`")]);
        }
    }

    #[test]
    fn an_ordinary_word_is_no_name() {
        for line in [
            "it takes locks",
            "locks.lock()",
            "let locks = 3;",
            "a.locks",
            "profiler lockstep",
            "clocks::now()",
        ] {
            assert!(!names_tool(line, "locks"), "{line}");
        }
        for line in [
            "crate::tool::locks",
            "src/tool/locks/mod.rs",
            "bin/locks",
            "`profiler locks --pid 1`",
            "locks::TOOL",
            "rule: \"locks.held\"",
            "name = \"locks\"",
            "mod locks;",
        ] {
            assert!(names_tool(line, "locks"), "{line}");
        }
    }
}
