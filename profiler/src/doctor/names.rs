//! Whether the functions of a process have names, and where to get missing ones.

use std::path::Path;

use super::{
    check::{Area, Check, Need, Question},
    code::Code,
};

const NAMES: Question = Question {
    name: "symbols",
    area: Area::Target,
    title: "names",
    need: Need::Useful,
    disables: "names of its own functions: they are shown as file and address",
    remedy: "build it without stripping, or install its debug symbols",
    fix: Some("objcopy --only-keep-debug SERVER SERVER.debug   # beside SERVER, before stripping it"),
};

/// The package system of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packages {
    /// dpkg: Debian, Ubuntu and their derivatives.
    Dpkg,
    /// rpm: Fedora, RHEL, SUSE and their derivatives.
    Rpm,
}

impl Packages {
    /// Of this machine.
    pub(super) fn here() -> Option<Packages> {
        let there = |program: &str| Path::new(program).exists();
        // Some systems have rpm as a tool beside dpkg, hardly any dpkg beside rpm.
        let dpkg = there("/usr/bin/dpkg").then_some(Packages::Dpkg);
        dpkg.or_else(|| there("/usr/bin/rpm").then_some(Packages::Rpm))
    }
}

/// `exe` is the path of the executable, if it is a file of this machine.
pub(super) fn check(code: &Code, exe: Option<&str>, packages: Option<Packages>) -> Check {
    let its_own = match (code.exe_has_names, code.exe_exports) {
        (true, _) => "its own file has".to_owned(),
        (false, 0) => "its own file is stripped".to_owned(),
        (false, n) => format!("its own file is stripped, and exports {} functions", crate::units::grouped(n)),
    };
    let seen = format!(
        "{its_own}; {} of {} files have a symbol table, {} debug information",
        code.with_symbols, code.files, code.with_debug_information
    );
    let mut check = NAMES.decided(code.exe_has_names, seen);
    if code.exe_has_names {
        return check;
    }
    if code.exe_exports > 0 {
        let words = "names of its own functions that are not exported: they are shown as file and address";
        check.disables = Some(words.to_owned());
    }
    if let Some(command) = exe.zip(packages).and_then(|(exe, packages)| debug_package(exe, packages)) {
        check.remedy = Some("install the debug symbols of its package".to_owned());
        check.fix = Some(command);
    }
    check
}

/// The command that installs the debug symbols of a program's package. Programs of packages are in /usr, but not in
/// /usr/local.
fn debug_package(exe: &str, packages: Packages) -> Option<String> {
    // Other characters would have to be quoted for a shell; no package has such a file.
    let is_plain = exe.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte));
    if !is_plain || !exe.starts_with("/usr/") || exe.starts_with("/usr/local/") {
        return None;
    }
    Some(match packages {
        Packages::Dpkg => format!(
            "apt install $(dpkg -S {exe} | cut -d: -f1)-dbgsym   # from the distribution's archive of debug symbols"
        ),
        Packages::Rpm => format!("dnf debuginfo-install $(rpm -qf {exe})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Answer;

    fn stripped(exports: u64) -> Code {
        Code { files: 3, with_symbols: 1, exe_exports: exports, ..Code::default() }
    }

    #[test]
    fn what_is_missing_is_what_is_not_exported() {
        let check = check(&stripped(0), Some("/opt/game/server"), Some(Packages::Dpkg));
        assert_eq!(check.answer, Answer::No);
        assert_eq!(check.disables.as_deref(), Some(NAMES.disables));
        assert_eq!(check.fix.as_deref(), NAMES.fix, "no package has put it there");
        let check = super::check(&stripped(1234), None, None);
        assert!(
            check.seen.starts_with("its own file is stripped, and exports 1,234 functions; 1 of 3"),
            "{check:?}"
        );
        assert!(check.disables.unwrap().contains("that are not exported"));
        let named = Code { exe_has_names: true, ..stripped(0) };
        let check = super::check(&named, Some("/usr/bin/srv"), Some(Packages::Dpkg));
        assert_eq!((check.answer, check.fix), (Answer::Yes, None));
    }

    #[test]
    fn a_program_of_a_package_gets_its_debug_package() {
        let fix = |exe: &str, packages| check(&stripped(0), Some(exe), Some(packages)).fix.unwrap();
        assert!(
            fix("/usr/sbin/mariadbd", Packages::Dpkg)
                .starts_with("apt install $(dpkg -S /usr/sbin/mariadbd |")
        );
        assert_eq!(fix("/usr/bin/node", Packages::Rpm), "dnf debuginfo-install $(rpm -qf /usr/bin/node)");
        for other in ["/usr/local/bin/node", "/usr/bin/a b", "/usr/bin/$(x)", "/home/me/node"] {
            assert_eq!(fix(other, Packages::Dpkg), NAMES.fix.unwrap(), "{other}");
        }
    }
}
