//! Where packages come from: the sources that this machine's apt has, or other releases from the same mirrors, with
//! lists of their own, so that nothing of the machine is changed and root is not needed.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command, on_path};

/// Package sources, as options of apt.
#[derive(Debug, Default)]
pub(super) struct Sources {
    options: Vec<OsString>,
}

/// The sources of a Debian release, from the mirrors that apt is configured for. `state` has their lists.
pub(super) fn of_release(release: &str, state: &Path) -> Result<Sources> {
    let state = state.join(release);
    for folder in ["lists/partial", "cache/archives/partial"] {
        let folder = state.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut targets = command("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)", "Created-By: Packages"]);
    let lines = lines_for(release, &process::ask(&mut targets).unwrap_or_default());
    if lines.is_empty() {
        bail!("apt is configured for no mirror of Debian");
    }
    let list = state.join("sources.list");
    fs::write(&list, lines).with_context(|| format!("cannot write {}", list.display()))?;
    let mut sources = Sources::default();
    sources.option("Dir::Etc::sourcelist=", &list);
    sources.option("Dir::Etc::sourceparts=", Path::new("-"));
    sources.option("Dir::State::lists=", &state.join("lists"));
    sources.option("Dir::Cache=", &state.join("cache"));
    process::run(sources.tool("apt-get").args(["update", "--quiet"]))?;
    Ok(sources)
}

/// Lines of a `sources.list` for a release, given what is configured: `origin release address` on each line.
fn lines_for(release: &str, configured: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for target in configured.lines() {
        let mut words = target.split(' ');
        let (Some("Debian"), Some(of), Some(address)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // Security updates may be on a mirror of their own, and are called by another name.
        let suffix = if of.ends_with("-security") { "-security" } else { "" };
        let line = format!("deb {address} {release}{suffix} main\n");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

impl Sources {
    /// What apt is configured for.
    pub(super) fn configured() -> Self {
        Self::default()
    }

    fn option(&mut self, name: &str, value: &Path) {
        let mut option = OsString::from(name);
        option.push(value);
        self.options.extend(["-o".into(), option]);
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = command(program);
        command.args(&self.options).env("LC_ALL", "C");
        command
    }

    /// The packages whose name begins like this.
    pub(super) fn package_names(&self, start: &str) -> Vec<String> {
        let names = process::ask(self.tool("apt-cache").args(["pkgnames", start])).unwrap_or_default();
        names.lines().map(str::to_owned).collect()
    }

    /// A package and all that it depends on, as if nothing were installed: so there is nothing to conflict with.
    pub(super) fn with_dependencies(&self, package: &str) -> Result<Vec<String>> {
        let mut plan = self.tool("apt-get");
        plan.args(["-o", "Dir::State::status=/dev/null", "--simulate", "install", "--no-install-recommends"]);
        let plan = process::ask(plan.arg(package));
        let packages = installations(&plan.with_context(|| format!("apt does not know {package}"))?);
        if packages.is_empty() {
            bail!("apt would install nothing for {package}");
        }
        Ok(packages)
    }

    /// Downloads a package into a directory, without installing it.
    pub(super) fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let archives = self.download_all(&[package.to_owned()], folder)?;
        archives.into_iter().next().with_context(|| format!("apt-get left no file of {package}"))
    }

    /// Downloads packages into an empty directory, without installing them.
    pub(super) fn download_all(&self, packages: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
        if !on_path("dpkg-deb") {
            bail!("dpkg-deb, which takes packages apart, is missing");
        }
        let mut download = self.tool("apt-get");
        process::run(download.args(["download", "--quiet"]).args(packages).current_dir(folder))?;
        let files = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let archives = files.filter_map(|file| Some(file.ok()?.path()));
        let is_archive = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        Ok(archives.filter(is_archive).collect())
    }
}

/// The packages that a plan of apt installs.
fn installations(plan: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned());
    plan.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_it_installs() {
        let plan = "NOTE: simulation\nInst libc6 (2.36 Debian:12/stable [amd64]) []\nInst seabios (1.16)\nConf libc6 (2.36)\n";
        assert_eq!(installations(plan), ["libc6", "seabios"]);
    }

    #[test]
    fn other_releases_are_on_the_same_mirrors() {
        let configured = "Debian trixie http://mirror/debian/\nDebian trixie-updates http://mirror/debian/\n\
                          Debian trixie-security http://other/security/\nACME stable http://acme/\n";
        let expected = "deb http://mirror/debian/ bookworm main\n\
                        deb http://other/security/ bookworm-security main\n";
        assert_eq!(lines_for("bookworm", configured), expected);
        assert_eq!(lines_for("bookworm", "ACME stable http://acme/\n"), "");
    }
}
