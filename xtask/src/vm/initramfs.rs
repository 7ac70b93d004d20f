//! The file system of the guest: files at the places that they have on the host, with the libraries that they load.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::process::{self, command};

/// What is to be in the guest.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    /// Place in the guest, and file on the host.
    files: BTreeMap<PathBuf, PathBuf>,
    /// Small files that are on no host.
    texts: BTreeMap<PathBuf, Vec<u8>>,
    directories: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a file.
    pub(super) fn file(&mut self, place: &Path, from: &Path) {
        self.directory(place.parent().unwrap_or(Path::new("/")));
        self.files.insert(place.to_owned(), from.to_owned());
    }

    /// Adds a program at the place that it has on the host, and the libraries that it loads.
    pub(super) fn program(&mut self, path: &Path) {
        self.file(path, path);
        self.libraries_of(path);
    }

    /// Adds the libraries that a program loads.
    pub(super) fn libraries_of(&mut self, program: &Path) {
        // Fails for a static program, which has none.
        let listed = process::ask(command("ldd").arg(program)).unwrap_or_default();
        for library in libraries(&listed) {
            self.file(&library, &library);
        }
    }

    /// Adds a file with this content.
    pub(super) fn text(&mut self, place: &str, content: Vec<u8>) {
        self.texts.insert(place.into(), content);
    }

    /// Adds a directory and all above it.
    pub(super) fn directory(&mut self, path: &Path) {
        self.directories.extend(path.ancestors().filter(|path| path.parent().is_some()).map(Path::to_owned));
    }

    /// Writes the archive.
    pub(super) fn write(&self, archive: &Path) -> Result<()> {
        let what = || format!("cannot write {}", archive.display());
        let mut out = BufWriter::new(File::create(archive).with_context(what)?);
        for directory in &self.directories {
            entry(&mut out, directory, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        }
        // Before devtmpfs is mounted: what the kernel opens for process 1.
        entry(&mut out, Path::new("/dev/console"), ModeFileType::Char, 0o600, (5, 1), &[])?;
        for (place, from) in &self.files {
            let read = || format!("cannot read {}", from.display());
            let content = fs::read(from).with_context(read)?;
            let mode = fs::metadata(from).with_context(read)?.permissions().mode() & 0o777;
            entry(&mut out, place, ModeFileType::Regular, mode, (0, 0), &content)?;
        }
        for (place, content) in &self.texts {
            entry(&mut out, place, ModeFileType::Regular, 0o644, (0, 0), content)?;
        }
        let mut out = trailer(out).with_context(what)?;
        out.flush().with_context(what)
    }
}

fn entry(
    out: &mut impl Write,
    place: &Path,
    kind: ModeFileType,
    mode: u32,
    (major, minor): (u32, u32),
    content: &[u8],
) -> Result<()> {
    let name = place.to_str().with_context(|| format!("{} is not UTF-8", place.display()))?;
    let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
    let builder = Builder::new(name.trim_start_matches('/')).mode(mode).set_mode_file_type(kind);
    let mut file = builder.rdev_major(major).rdev_minor(minor).write(&mut *out, size);
    file.write_all(content).with_context(|| format!("cannot archive {name}"))?;
    file.finish().with_context(|| format!("cannot archive {name}"))?;
    Ok(())
}

/// The files that `ldd` lists: `libc.so.6 => /lib/libc.so.6 (0x7f..)`, or for the loader `/lib64/ld.so (0x7f..)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let path = line.rsplit("=> ").next()?.trim().split(' ').next()?.to_owned();
        path.starts_with('/').then_some(PathBuf::from(path))
    };
    listed.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_list() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd3)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tlibgone.so => not found\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(listed), expected.map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn an_archive_has_what_was_added() {
        let mut guest = Initramfs::default();
        guest.text("/plan", b"x".to_vec());
        guest.program(&std::env::current_exe().unwrap());
        let path = std::env::temp_dir().join(format!("xtask-initramfs-{}", std::process::id()));
        guest.write(&path).unwrap();
        let archive = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut rest = archive.as_slice();
        let mut names = Vec::new();
        loop {
            let reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push(reader.entry().name().to_owned());
            rest = reader.finish().unwrap();
        }
        for part in ["dev/console", "plan", "libc.so", "xtask"] {
            assert!(names.iter().any(|name| name.contains(part)), "{part} of {names:?}");
        }
    }
}
