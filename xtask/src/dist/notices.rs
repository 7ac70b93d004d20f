//! The licence texts of the crates that end up in the binary. Nearly all of them ask to be passed on with it.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{self, cargo};

/// All notices, by crate in order of their names.
pub(super) fn of_dependencies(target: &str) -> Result<String> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let metadata = process::ask(&mut metadata).context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let linked = linked_packages(&metadata).context("cargo metadata has another form than expected")?;
    let mut packages = array(&metadata, "packages").iter().collect::<Vec<_>>();
    packages.retain(|package| linked.contains(text(package, "id")) && !package["source"].is_null());
    packages.sort_by_key(|package| (text(package, "name"), text(package, "version")));
    let mut notices = String::from("profiler contains the following software.\n");
    for package in packages {
        notices.push_str(&notice(package)?);
    }
    Ok(notices)
}

/// The packages that profiler links: those it reaches by normal dependencies. What only runs while building, macros
/// aside, stays out.
fn linked_packages(metadata: &Value) -> Option<BTreeSet<&str>> {
    let nodes = metadata.get("resolve")?.get("nodes")?.as_array()?;
    let members = array(metadata, "workspace_members").iter().filter_map(Value::as_str);
    let is_profiler = |id: &str| {
        let packages = array(metadata, "packages").iter();
        packages
            .filter(|package| text(package, "id") == id)
            .any(|package| text(package, "name") == "profiler")
    };
    let mut open = members.filter(|id| is_profiler(id)).collect::<Vec<_>>();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| text(node, "id") == id)?;
        let normal = |dep: &&Value| array(dep, "dep_kinds").iter().any(|kind| kind["kind"].is_null());
        open.extend(array(node, "deps").iter().filter(normal).map(|dep| text(dep, "pkg")));
    }
    Some(reached)
}

fn notice(package: &Value) -> Result<String> {
    let title = format!("{} {}", text(package, "name"), text(package, "version"));
    let license = package["license"].as_str().unwrap_or("see below");
    let repository = package["repository"].as_str().unwrap_or("https://crates.io");
    let mut notice = format!("\n{}\n{title} ({license})\n{repository}\n", "=".repeat(80));
    let manifest = Path::new(text(package, "manifest_path"));
    let directory = manifest.parent().with_context(|| format!("{title} has no directory"))?;
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    files.retain(|file| file.is_file() && is_license_file(file));
    files.sort();
    for file in files {
        let words = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        notice.push_str(&format!("\n{}\n", String::from_utf8_lossy(&words).trim_end()));
    }
    Ok(notice)
}

fn is_license_file(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
        .iter()
        .any(|start| name.starts_with(start))
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_linked_is_reached() {
        let dep = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "workspace_members": ["p", "x"],
            "packages": [{"id": "p", "name": "profiler"}, {"id": "x", "name": "xtask"}],
            "resolve": {"nodes": [
                {"id": "p", "deps": [dep("a", Value::Null), dep("b", json!("build")), dep("t", json!("dev"))]},
                {"id": "x", "deps": [dep("c", Value::Null)]},
                {"id": "a", "deps": [dep("d", Value::Null)]},
                {"id": "d", "deps": []},
            ]},
        });
        let reached = linked_packages(&metadata).expect("the form of cargo metadata");
        assert_eq!(reached, BTreeSet::from(["p", "a", "d"]));
    }

    #[test]
    fn licence_files_are_known_by_their_names() {
        assert!(is_license_file(Path::new("/c/LICENSE-MIT")));
        assert!(is_license_file(Path::new("/c/license.txt")));
        assert!(!is_license_file(Path::new("/c/README.md")));
    }
}
