//! What the machine knows about its users.
//!
//! `getent` and `id` are asked, which look wherever this machine keeps its users: files, LDAP, systemd. The functions of the C library load a
//! plugin for each of these places, and in a statically linked profiler a plugin may crash. Where there is no `getent` or `id`, as in small
//! containers, the files in `/etc` are read.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    process::{Command, Stdio},
};

use super::User;

/// Exit code of `getent` for an entry that does not exist (getent(1)).
const NO_ENTRY: i32 = 2;
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The user of this name; `None` if there is no such user.
pub(super) fn user(name: &OsStr) -> io::Result<Option<User>> {
    // No name begins with a dash, and `getent` would take it for an option.
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.starts_with(b"-") || bytes.iter().any(|byte| b":\n\0".contains(byte)) {
        return Ok(None);
    }
    let entries = match ask(Command::new("getent").arg("passwd").arg(name))? {
        Some((0, entries)) => entries,
        Some((NO_ENTRY, _)) => return Ok(None),
        Some((code, _)) => {
            return Err(io::Error::other(format!("getent passwd ended with exit code {code}")));
        }
        None => fs::read(USERS)?,
    };
    let Some(mut user) = entries.split(|byte| *byte == b'\n').find_map(|line| of_entry(name, line)) else {
        return Ok(None);
    };
    user.groups = groups(&user)?;
    Ok(Some(user))
}

/// The user that a line of passwd(5) describes, without groups, if it has this name. (`getent` takes a number for a user id.)
fn of_entry(name: &OsStr, line: &[u8]) -> Option<User> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let [found, _password, uid, gid, _comment, home, shell] = fields[..] else { return None };
    let text = |field: &[u8]| OsString::from_vec(field.to_vec());
    (found == name.as_bytes()).then_some(())?;
    let (uid, gid) = (number(uid)?, number(gid)?);
    Some(User { name: name.to_owned(), uid, gid, groups: Vec::new(), home: text(home), shell: text(shell) })
}

/// The ids of all groups that the user is in.
fn groups(user: &User) -> io::Result<Vec<u32>> {
    match ask(Command::new("id").arg("-G").arg(&user.name))? {
        Some((0, ids)) => Ok(ids.split(u8::is_ascii_whitespace).filter_map(number).collect()),
        Some((code, _)) => Err(io::Error::other(format!("id -G ended with exit code {code}"))),
        None => Ok(groups_in(&fs::read(GROUPS)?, user)),
    }
}

/// The ids of the groups in a file as of group(5).
fn groups_in(file: &[u8], user: &User) -> Vec<u32> {
    let is_member =
        |members: &[u8]| members.split(|byte| *byte == b',').any(|name| name == user.name.as_bytes());
    let of_line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [_name, _password, gid, members] = fields[..] else { return None };
        is_member(members).then(|| number(gid))?
    };
    std::iter::once(user.gid).chain(file.split(|byte| *byte == b'\n').filter_map(of_line)).collect()
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The exit code of a program and what it wrote; `None` if it is not installed.
fn ask(command: &mut Command) -> io::Result<Option<(i32, Vec<u8>)>> {
    match command.stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) => {
            let code = output.status.code().ok_or_else(|| io::Error::other(output.status.to_string()))?;
            Ok(Some((code, output.stdout)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Option<User> {
        of_entry(OsStr::new("game"), line.as_bytes())
    }

    #[test]
    fn root_is_a_user_and_nonsense_is_none() {
        let root = user(OsStr::new("root")).unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_os_str()), (0, 0, OsStr::new("/root")));
        assert!(root.groups.contains(&0), "{root:?}");
        // A number is the id of a user for `getent`.
        for name in ["no such user", "", "a\0b", "-s", "root:x", "0", "a\nb"] {
            assert_eq!(user(OsStr::new(name)).unwrap(), None, "{name:?}");
        }
    }

    #[test]
    fn an_entry_has_seven_fields() {
        let game = entry("game:x:1001:100:Game,,:/srv/game:/bin/sh").unwrap();
        assert_eq!((game.uid, game.gid), (1001, 100));
        assert_eq!(
            (game.home.as_os_str(), game.shell.as_os_str()),
            (OsStr::new("/srv/game"), OsStr::new("/bin/sh"))
        );
        for line in
            ["", "+::::::", "games:x:5:60:games:/usr/games:/bin/sh", "game:x:-1:100::/:/", "game:x:1:1"]
        {
            assert_eq!(entry(line), None, "{line}");
        }
    }

    #[test]
    fn groups_are_the_own_one_and_those_with_the_member() {
        let game = entry("game:x:1001:100::/srv/game:/bin/sh").unwrap();
        let file = b"root:x:0:\nusers:x:100:\nadm:x:4:games,game\ntty:x:5:games\naudio:x:29:game\n";
        assert_eq!(groups_in(file, &game), [100, 4, 29]);
    }
}
