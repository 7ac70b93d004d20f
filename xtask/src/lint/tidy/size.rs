//! How large the folder of a tool is. What a tool needs beside its own subject belongs to the ground, where the next tool finds it.

use std::collections::BTreeMap;

/// Where each tool has its folder.
const TOOLS: &str = "profiler/src/tool/";

/// Most lines of a tool's folder, tests left out.
const MOST_LINES: usize = 4000;

/// Adds up the lines of the tools' folders.
#[derive(Default)]
pub(super) struct Sizes<'a>(BTreeMap<&'a str, usize>);

impl<'a> Sizes<'a> {
    /// Adds a Rust file, if it belongs to a tool.
    pub(super) fn add(&mut self, file: &'a str, text: &str) {
        let Some((tool, rest)) = file.strip_prefix(TOOLS).and_then(|below| below.split_once('/')) else {
            return;
        };
        if rest != "tests.rs" && !rest.ends_with("/tests.rs") && !rest.contains("tests/") {
            *self.0.entry(tool).or_default() += lines_without_tests(text);
        }
    }

    /// The tools that are too large.
    pub(super) fn faults(&self) -> Vec<String> {
        let large = self.0.iter().filter(|(_, lines)| **lines > MOST_LINES);
        large
            .map(|(tool, lines)| {
                format!("{TOOLS}{tool}: {lines} lines without tests, at most {MOST_LINES}: move what is general to the ground")
            })
            .collect()
    }
}

/// The lines of a file outside of items that are for tests only.
fn lines_without_tests(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        if !item.starts_with("#[cfg(test)]") {
            count += 1;
            continue;
        }
        let indent = &line[..line.len() - item.len()];
        // The item is on the next line; if it has a body, up to the brace below its beginning.
        if lines.next().is_some_and(|line| line.trim_end().ends_with('{')) {
            let end = format!("{indent}}}");
            lines.by_ref().find(|line| line.trim_end() == end);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_do_not_count() {
        let text = "fn f() {\n    g();\n}\n\n#[cfg(test)]\nuse x;\n\n#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\nfn g() {}\n";
        assert_eq!(lines_without_tests(text), 6);
        let method = "impl A {\n    #[cfg(test)]\n    fn t() {\n        f();\n    }\n\n    fn f() {}\n}\n";
        assert_eq!(lines_without_tests(method), 4);
    }

    #[test]
    fn a_folder_that_is_too_large_is_named() {
        let mut sizes = Sizes::default();
        let many = "x\n".repeat(MOST_LINES);
        sizes.add("profiler/src/tool/sample/a.rs", &many);
        sizes.add("profiler/src/tool/sample/a/tests.rs", "x\n");
        sizes.add("profiler/src/tool/sample/tests/b.rs", "x\n");
        sizes.add("profiler/src/tool/mod.rs", &many);
        sizes.add("profiler/src/observe/a.rs", &many);
        assert!(sizes.faults().is_empty());
        sizes.add("profiler/src/tool/sample/b/c.rs", "x\n");
        let words = "profiler/src/tool/sample: 4001 lines without tests, at most 4000: move what is general to the ground";
        assert_eq!(sizes.faults(), [words]);
    }
}
