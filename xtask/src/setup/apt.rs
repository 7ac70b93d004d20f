//! Debian's packages.

use std::{ffi::OsStr, sync::Once};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{
    privilege::Privilege,
    process::{self, command, on_path},
};

/// Waits for another apt instead of failing.
const WAIT: [&str; 2] = ["-o", "DPkg::Lock::Timeout=300"];

/// # Errors
/// Not a system with apt, or no way to root.
pub(super) fn available() -> Result<Privilege> {
    if !on_path("apt-get") {
        bail!("this system has no apt");
    }
    Privilege::find()
}

/// Runs a command while no package may start its service: a `policy-rc.d` forbids it and is removed afterwards. An existing
/// one is left alone.
const WITHOUT_SERVICES: &str = "
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
fi
\"$@\"
";

/// Installs packages without their recommendations, and starts none of their services. Refuses if apt would remove
/// anything for them.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let privilege = available().with_context(|| format!("by hand: {}", by_hand(packages)))?;
    update()?;
    let mut simulation = command("apt-get");
    simulation.args(["--simulate", "install", "--no-install-recommends"]).args(packages).env("LC_ALL", "C");
    let plan = process::ask(&mut simulation)
        .with_context(|| format!("apt cannot install {}; see: {}", packages.join(" "), by_hand(packages)))?;
    let removed = removals(&plan);
    if !removed.is_empty() {
        bail!("apt would remove {} for {}; not done", removed.join(", "), packages.join(" "));
    }
    say(&format!("installing {}", packages.join(" ")));
    let noninteractive = [("DEBIAN_FRONTEND", OsStr::new("noninteractive"))];
    let mut install = privilege.command("sh", &noninteractive);
    install.args(["-c", WITHOUT_SERVICES, "without-services", "apt-get"]);
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(WAIT).args(packages);
    process::run(&mut install).with_context(|| format!("by hand: {}", by_hand(packages)))
}

/// Fetches the lists of packages, once in a run. Old lists name files that the mirrors no longer have.
pub(super) fn update() -> Result<()> {
    static DONE: Once = Once::new();
    let privilege = available()?;
    let mut outcome = Ok(());
    DONE.call_once(|| {
        outcome = process::run(privilege.command("apt-get", &[]).args(["update", "--quiet"]).args(WAIT));
    });
    outcome
}

/// The version that apt would install: its first two numbers. `None` if there is none.
pub(super) fn candidate(package: &str) -> Option<(u32, u32)> {
    let policy = process::ask(command("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    version(policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let text = text.rsplit(':').next()?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn removals(plan: &str) -> Vec<&str> {
    plan.lines().filter_map(|line| line.strip_prefix("Remv ")?.split(' ').next()).collect()
}

fn by_hand(packages: &[&str]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_two_numbers() {
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(version("1:22.1.8-1"), Some((22, 1)));
        assert_eq!(version("(none)"), None);
    }

    #[test]
    fn a_removal_is_seen_in_the_plan() {
        let plan = "Inst cargo-web (1.96)\nRemv rustup [1.27]\nConf cargo-web (1.96)\n";
        assert_eq!(removals(plan), ["rustup"]);
        assert!(removals("Inst a (1)\nConf a (1)\n").is_empty());
    }
}
