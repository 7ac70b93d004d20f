//! Rules about the tree that no other linter knows.

mod links;
mod size;
mod tools;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use self::{
    links::{broken_links, missing_files},
    size::Sizes,
};
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

/// `cargo xtask tidy`, and a step of `cargo xtask lint`.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    // Also what is new and not yet added: lint runs before the commit.
    let mut list = command("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let files = process::ask(&mut list).context("cannot list the files: is this a git checkout?")?;
    let tools = tools::names(&root)?;
    let mut sizes = Sizes::default();
    let mut faults = Vec::new();
    for file in files.lines() {
        // Deleted but not yet committed, or not text.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        match Path::new(file).extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                faults.extend(rust_faults(file, &text));
                sizes.add(file, &text);
            }
            Some("md") => {
                faults.extend(broken_links(&root, file, &text));
                faults.extend(missing_files(&root, file, &text));
            }
            _ => {}
        }
        faults.extend(tools::faults(&tools, file, &text));
    }
    faults.extend(sizes.faults());
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
}
