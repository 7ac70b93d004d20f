//! The user that a command runs as.

mod database;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The hidden first argument with which our executable becomes a user and looks for a command.
pub const FIND_ARGUMENT: &str = "__find-as";
/// Exit code of that executable if the user has no such command.
const NOT_FOUND: u8 = 1;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    name: OsString,
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    home: OsString,
    shell: OsString,
}

impl User {
    /// The user of this name.
    ///
    /// # Errors
    /// If there is no such user, or it cannot be looked up.
    pub(super) fn named(name: &OsStr) -> Result<User> {
        match database::user(name) {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(Error::on(ErrorKind::Usage, "tried to start the command as user", name)
                .because("there is no such user")
                .hint("`getent passwd` lists the users of this machine")),
            Err(error) => Err(Error::on(ErrorKind::Limit, "tried to look up user", name).because_of(error)),
        }
    }

    /// The argument by which our own executable, started again, knows the user: it need not look it up.
    pub(super) fn argument(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// The user of such an argument.
    pub(super) fn of_argument(argument: &OsStr) -> io::Result<User> {
        Ok(serde_json::from_slice(argument.as_encoded_bytes())?)
    }

    /// Gives this process the ids and groups of the user, for good.
    pub(super) fn assume(&self) -> io::Result<()> {
        let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: as many ids as we say. The groups come first: without privileges they can no longer be set.
        done(unsafe { libc::setgroups(self.groups.len(), self.groups.as_ptr()) })?;
        // SAFETY: no memory is passed.
        done(unsafe { libc::setgid(self.gid) })?;
        // SAFETY: no memory is passed.
        done(unsafe { libc::setuid(self.uid) })
    }

    /// The variables that a login sets, except the working directory.
    pub(super) fn environment(&self) -> [(&'static str, &OsStr); 4] {
        [("HOME", &self.home), ("USER", &self.name), ("LOGNAME", &self.name), ("SHELL", &self.shell)]
    }

    /// Finds the executable of a command as the user would: a file that root can run may be out of the user's reach.
    ///
    /// # Errors
    /// If we may not become the user, or the user has no such command.
    pub(super) fn resolve(&self, program: &OsStr) -> Result<PathBuf> {
        let tried = |kind| Error::on(kind, "tried to start", program);
        let argument = self.argument().map_err(|error| tried(ErrorKind::Limit).because_of(error))?;
        let found = Command::new("/proc/self/exe")
            .args([OsStr::new(FIND_ARGUMENT), OsStr::new(&argument), program])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| tried(ErrorKind::Limit).because_of(error))?;
        match found.status.code() {
            Some(0) => Ok(PathBuf::from(OsString::from_vec(found.stdout))),
            Some(code) if code == i32::from(NOT_FOUND) => Err(tried(ErrorKind::Usage)
                .because("there is no such executable file in reach of the user")
                .hint("check the path, and its permissions for the user of --user")),
            _ => Err(tried(ErrorKind::Permission)
                .because("could not become the user of --user")
                .because(String::from_utf8_lossy(&found.stdout))
                .hint("that takes CAP_SETUID and CAP_SETGID")),
        }
    }
}

/// The child's side of `User::resolve`: what to write to standard output, and the exit code.
pub fn find_as(mut arguments: impl Iterator<Item = OsString>) -> (Vec<u8>, u8) {
    let (Some(user), Some(program)) = (arguments.next(), arguments.next()) else {
        return (Vec::new(), NOT_FOUND + 1);
    };
    if let Err(error) = User::of_argument(&user).and_then(|user| user.assume()) {
        return (error.to_string().into_bytes(), NOT_FOUND + 1);
    }
    match super::resolve(&program) {
        Ok(path) => (path.into_os_string().into_vec(), 0),
        Err(_) => (Vec::new(), NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_a_usage_error() {
        let error = User::named(OsStr::new("no-such-user")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("no-such-user: there is no such user"), "{error}");
    }

    #[test]
    fn a_user_is_passed_on_whole() {
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let (home, shell) = (bytes(b"/home/\xff \"x\""), bytes(b"/bin/sh"));
        let user = User { name: bytes(b"game"), uid: 1001, gid: 100, groups: vec![100, 4], home, shell };
        let argument = OsString::from(user.argument().unwrap());
        assert_eq!(User::of_argument(&argument).unwrap(), user);
        assert!(User::of_argument(OsStr::new("game")).is_err());
    }
}
