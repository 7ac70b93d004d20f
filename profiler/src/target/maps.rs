//! `/proc/PID/maps`: which file is mapped where.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::status::Status;

/// The largest maps file that is read: 65 530 mappings (the kernel's default limit) of 300 bytes.
const MAX_BYTES: u64 = 20 << 20;
/// How often an empty maps file is opened. The second look sees the new memory, unless another exec comes before its read.
const LOOKS: u32 = 8;

/// A mapping, most often of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Offset in the file that `start` maps.
    pub offset: u64,
    /// Device and inode of the file: its identity.
    pub file: DeviceInode,
    /// Path as the target sees it; ends in ` (deleted)` if the file is gone. `[vdso]` and the like have no file.
    pub path: PathBuf,
}

/// Device and inode: identifies a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceInode {
    /// Device number as in the maps file.
    pub device: (u32, u32),
    /// Inode number; 0 if the mapping has no file.
    pub inode: u64,
}

impl Mapping {
    /// Opens the mapped file itself, even if it was deleted, replaced, or lies in another mount namespace.
    ///
    /// # Errors
    /// If neither the mapping nor its path in the target's root can be opened, or the path leads to another file.
    pub fn open(&self, pid: u32) -> io::Result<(File, PathBuf)> {
        let link = PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end));
        let first = match File::open(&link) {
            Ok(file) => return Ok((file, link)),
            Err(error) => error,
        };
        let below_root = self.path.strip_prefix("/").unwrap_or(&self.path);
        let path = Path::new(&format!("/proc/{pid}/root")).join(below_root);
        let file = File::open(&path).map_err(|_path_fails_too| first)?;
        if file.metadata()?.ino() != self.file.inode {
            return Err(io::Error::other("the path now leads to another file"));
        }
        Ok((file, path))
    }
}

/// The executable mappings of a process, by address, `[vdso]` included.
///
/// # Errors
/// If the process is gone or may not be read.
pub fn executable(pid: u32) -> io::Result<Vec<Mapping>> {
    Ok(parse(&read(pid)?))
}

/// The text of a process's maps file; empty if it is about to end and has given up its memory.
///
/// # Errors
/// If the process is gone or may not be read.
pub(super) fn read(pid: u32) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // The opened file is of the memory that the process had then, which is gone if it replaces itself by exec before the first read.
    for _ in 0..LOOKS {
        File::open(format!("/proc/{pid}/maps"))?.take(MAX_BYTES).read_to_end(&mut text)?;
        if !text.is_empty() {
            break;
        }
    }
    Ok(text)
}

/// The executable mappings in the text of a maps file; lines that are not understood are left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    let executable = |(mapping, rights): (Mapping, Rights)| rights.execute.then_some(mapping);
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| parse_line(line, true))
        .filter_map(executable)
        .collect()
}

/// All mappings in the text of a maps file, by address.
pub(super) fn parse_all(text: &[u8]) -> Vec<(Mapping, Rights)> {
    text.split(|byte| *byte == b'\n').filter_map(|line| parse_line(line, false)).collect()
}

/// What the process may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) execute: bool,
    /// Whether writes to it are seen by other processes.
    pub(super) shared: bool,
}

fn parse_line(line: &[u8], executable_only: bool) -> Option<(Mapping, Rights)> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (field, behind) = rest.split_at(end);
        rest = behind;
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    let offset = field()?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let has = |at: usize, letter: u8| permissions.as_bytes().get(at) == Some(&letter);
    let rights =
        Rights { read: has(0, b'r'), write: has(1, b'w'), execute: has(2, b'x'), shared: has(3, b's') };
    if executable_only && !rights.execute {
        return None; // before its path is copied: most mappings are not code
    }
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    let path = unescape(rest.trim_ascii_start());
    let mapping = Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        file: DeviceInode { device: (hex(major)? as u32, hex(minor)? as u32), inode },
        path: PathBuf::from(std::ffi::OsStr::from_bytes(&path)),
    };
    Some((mapping, rights))
}

/// Undoes the kernel's escape: it writes a newline in a path as `\012`, and escapes nothing else.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(*first);
            rest = behind;
        }
    }
    out
}

/// The process's resident anonymous memory in bytes: an upper limit of what its heap holds.
///
/// # Errors
/// If the process is gone.
pub fn anonymous_bytes(pid: u32) -> io::Result<u64> {
    Ok(Status::read(pid)?.anonymous_bytes.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let text = b"55d0c0a00000-55d0c0a01000 r--p 00000000 08:01 131 /usr/bin/a b\n\
            55d0c0a01000-55d0c0a02000 r-xp 00001000 08:01 131                     /usr/bin/a b\n\
            7f00-8f00 r-xp 00000000 fe:10 9 /tmp/x\\012y (deleted)\n\
            7ffd-7fff r-xp 00000000 00:00 0 [vdso]\n\
            garbage\n\
            zz-7fff r-xp 00000000 00:00 0\n";
        let maps = parse(text);
        assert_eq!(maps.len(), 3);
        assert_eq!(
            (maps[0].start, maps[0].end, maps[0].offset),
            (0x55d0_c0a0_1000, 0x55d0_c0a0_2000, 0x1000)
        );
        assert_eq!(maps[0].path, Path::new("/usr/bin/a b"));
        assert_eq!(maps[0].file, DeviceInode { device: (8, 1), inode: 131 });
        assert_eq!(maps[1].path, Path::new("/tmp/x\ny (deleted)"));
        assert_eq!(maps[2].file.inode, 0);
    }

    #[test]
    fn sees_this_very_function() {
        let here = sees_this_very_function as fn() as usize as u64;
        let maps = executable(std::process::id()).unwrap();
        let own = maps.iter().find(|m| (m.start..m.end).contains(&here)).unwrap();
        let (file, _) = own.open(std::process::id()).unwrap();
        assert_eq!(file.metadata().unwrap().ino(), own.file.inode);
    }
}
