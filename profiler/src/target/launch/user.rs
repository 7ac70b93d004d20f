//! The user that a command runs as.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::error::{Error, ErrorKind, Result};

/// The hidden first argument with which our executable becomes a user and looks for a command.
pub const FIND_ARGUMENT: &str = "__find-as";
/// Exit code of that executable if the user has no such command.
const NOT_FOUND: u8 = 1;
/// Largest answer of the user data base, in bytes.
const MAX_ENTRY_BYTES: usize = 1 << 20;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    name: CString,
    uid: libc::uid_t,
    gid: libc::gid_t,
    home: OsString,
    shell: OsString,
}

impl User {
    /// The user of this name; `None` if there is no such user.
    pub(super) fn named(name: &OsStr) -> io::Result<Option<User>> {
        let Ok(name) = CString::new(name.as_bytes()) else { return Ok(None) };
        let mut room = vec![0_u8; 1 << 12];
        loop {
            // SAFETY: all zeros is a value of this structure of integers and pointers.
            let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
            let mut found = std::ptr::null_mut();
            // SAFETY: everything pointed to outlives the call, and the length is that of the room.
            let code = unsafe {
                let room_at = room.as_mut_ptr().cast();
                libc::getpwnam_r(name.as_ptr(), &raw mut entry, room_at, room.len(), &raw mut found)
            };
            match code {
                libc::ERANGE if room.len() < MAX_ENTRY_BYTES => room.resize(room.len() * 4, 0),
                // Some data bases return these errors for an unknown name, see getpwnam(3).
                0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(None),
                0 => {
                    // SAFETY: the entry was filled in; its strings are in the buffer and end with 0.
                    let text = |at: *const libc::c_char| unsafe { CStr::from_ptr(at) }.to_bytes().to_vec();
                    let (home, shell) = (text(entry.pw_dir), text(entry.pw_shell));
                    return Ok(Some(User {
                        name,
                        uid: entry.pw_uid,
                        gid: entry.pw_gid,
                        home: OsString::from_vec(home),
                        shell: OsString::from_vec(shell),
                    }));
                }
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Gives this process the ids and groups of the user, for good.
    pub(super) fn assume(&self) -> io::Result<()> {
        let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: the name ends with 0. The groups come first: without privileges they can no longer be set.
        done(unsafe { libc::initgroups(self.name.as_ptr(), self.gid) })?;
        // SAFETY: no memory is passed.
        done(unsafe { libc::setgid(self.gid) })?;
        // SAFETY: no memory is passed.
        done(unsafe { libc::setuid(self.uid) })
    }

    /// The variables that a login sets, except the working directory.
    pub(super) fn environment(&self) -> [(&'static str, &OsStr); 4] {
        let name = OsStr::from_bytes(self.name.to_bytes());
        [("HOME", &self.home), ("USER", name), ("LOGNAME", name), ("SHELL", &self.shell)]
    }
}

/// Gives this process the ids and groups of the named user.
pub(super) fn assume(name: &OsStr) -> io::Result<User> {
    let user =
        User::named(name)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such user"))?;
    user.assume()?;
    Ok(user)
}

/// Finds the executable of a command as the user would: a file that root can run may be out of the user's reach.
///
/// # Errors
/// If there is no such user, we may not become one, or the user has no such command.
pub(super) fn resolve_as(user: &OsStr, program: &OsStr) -> Result<PathBuf> {
    match User::named(user) {
        Ok(Some(_)) => {}
        Ok(None) => {
            return Err(Error::on(ErrorKind::Usage, "tried to start the command as user", user)
                .because("there is no such user")
                .hint("`getent passwd` lists the users of this machine"));
        }
        Err(error) => {
            return Err(Error::on(ErrorKind::Limit, "tried to look up user", user).because_of(error));
        }
    }
    let tried = |kind| Error::on(kind, "tried to start", program);
    let found = Command::new("/proc/self/exe")
        .arg(FIND_ARGUMENT)
        .args([user, program])
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

/// The child's side of `resolve_as`: what to write to standard output, and the exit code.
pub fn find_as(mut arguments: impl Iterator<Item = OsString>) -> (Vec<u8>, u8) {
    let (Some(user), Some(program)) = (arguments.next(), arguments.next()) else {
        return (Vec::new(), NOT_FOUND + 1);
    };
    if let Err(error) = assume(&user) {
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
    fn root_is_a_user_and_nonsense_is_none() {
        let root = User::named(OsStr::new("root")).unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_os_str()), (0, 0, OsStr::new("/root")));
        for name in ["no such user", "", "a\0b"] {
            assert_eq!(User::named(OsStr::new(name)).unwrap(), None, "{name:?}");
        }
    }

    #[test]
    fn an_unknown_user_is_a_usage_error() {
        let error = resolve_as(OsStr::new("no-such-user"), OsStr::new("true")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("no-such-user: there is no such user"), "{error}");
    }
}
