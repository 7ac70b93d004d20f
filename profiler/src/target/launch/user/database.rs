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
    // No name is or begins like this. `getent` would take some of it for an option or for a number.
    let bytes = name.as_bytes();
    let begins_badly = bytes.first().is_none_or(|first| b"-+ \t".contains(first));
    if begins_badly || bytes.iter().any(|byte| b":\n\0".contains(byte)) {
        return Ok(None);
    }
    let (entries, is_exact) = match run(Command::new("getent").arg("passwd").arg(name))? {
        // It takes a number for a user id. A directory may spell another name as it likes: `DOMAIN\user` as `user@domain`.
        Some(Answer { code: 0, output, .. }) => (output, bytes.iter().all(u8::is_ascii_digit)),
        Some(Answer { code: NO_ENTRY, .. }) => return Ok(None),
        Some(answer) => return Err(answer.failure("getent passwd")),
        None => (read(USERS)?, true),
    };
    let mut users = entries.split(|byte| *byte == b'\n').filter_map(of_entry);
    let Some(mut user) = users.find(|user| !is_exact || user.name == name) else { return Ok(None) };
    user.groups = groups(&user)?;
    Ok(Some(user))
}

/// The user that a line of passwd(5) describes, without groups.
fn of_entry(line: &[u8]) -> Option<User> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let [name, _password, uid, gid, _comment, home, shell] = fields[..] else { return None };
    let text = |field: &[u8]| OsString::from_vec(field.to_vec());
    let (uid, gid) = (number(uid)?, number(gid)?);
    Some(User { name: text(name), uid, gid, groups: Vec::new(), home: text(home), shell: text(shell) })
}

/// The ids of all groups that the user is in.
fn groups(user: &User) -> io::Result<Vec<u32>> {
    match run(Command::new("id").arg("-G").arg(&user.name))? {
        Some(Answer { code: 0, output, .. }) => ids(&output).ok_or_else(|| {
            io::Error::other(format!("id -G wrote {:?}", String::from_utf8_lossy(&output).trim()))
        }),
        Some(answer) => Err(answer.failure("id -G")),
        None => Ok(groups_in(&read(GROUPS)?, user)),
    }
}

/// Numbers between spaces: at least one, and nothing else. A command must not run with fewer groups than its user has.
fn ids(text: &[u8]) -> Option<Vec<u32>> {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(number).collect::<Option<Vec<_>>>().filter(|ids| !ids.is_empty())
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

/// A file, or an error that names it.
fn read(path: &str) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// How a program has ended.
struct Answer {
    code: i32,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Answer {
    fn failure(&self, program: &str) -> io::Error {
        let said = String::from_utf8_lossy(&self.errors);
        io::Error::other(format!("{program} ended with exit code {}: {}", self.code, said.trim()))
    }
}

/// Runs a program; `None` if it is not installed.
fn run(command: &mut Command) -> io::Result<Option<Answer>> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let code = output.status.code().ok_or_else(|| io::Error::other(output.status.to_string()))?;
            Ok(Some(Answer { code, output: output.stdout, errors: output.stderr }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &str) -> Option<User> {
        of_entry(line.as_bytes())
    }

    #[test]
    fn root_is_a_user_and_nonsense_is_none() {
        let root = user(OsStr::new("root")).unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_os_str()), (0, 0, OsStr::new("/root")));
        assert!(root.groups.contains(&0), "{root:?}");
        // A number is the id of a user for `getent`.
        for name in ["no such user", "", "a\0b", "-s", "root:x", "0", "+0", " 0", "a\nb"] {
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
        for line in ["", "+::::::", "game:x:-1:100::/:/", "game:x:1:1"] {
            assert_eq!(entry(line), None, "{line}");
        }
    }

    #[test]
    fn every_group_counts() {
        assert_eq!(ids(b"100 4 29\n"), Some(vec![100, 4, 29]));
        for text in ["", "\n", "100 four 29", "100 4294967296"] {
            assert_eq!(ids(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let failed = run(Command::new("sh").args(["-c", "echo no server >&2; exit 3"])).unwrap().unwrap();
        assert_eq!(
            failed.failure("getent passwd").to_string(),
            "getent passwd ended with exit code 3: no server"
        );
        assert!(run(&mut Command::new("no-such-program-here")).unwrap().is_none());
        let error = read("/no/such/file").unwrap_err().to_string();
        assert!(error.starts_with("/no/such/file: "), "{error}");
    }

    #[test]
    fn groups_are_the_primary_one_and_those_that_list_the_user() {
        let game = entry("game:x:1001:100::/srv/game:/bin/sh").unwrap();
        let file = b"root:x:0:\nusers:x:100:\nadm:x:4:games,game\ntty:x:5:games\naudio:x:29:game\n";
        assert_eq!(groups_in(file, &game), [100, 4, 29]);
    }
}
