//! Fetched debug files, kept by build id where the tools of elfutils keep theirs: `DIR/BUILDID/debuginfo`.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat},
    process::geteuid,
};

use super::place::Root;

/// Access for the owner alone.
const PRIVATE: u32 = 0o700;
/// Write permission for others.
const FOR_OTHERS: u32 = 0o022;
/// With this bit, others who may write cannot replace our files.
const STICKY: u32 = 0o1000;

/// A directory with debug files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugFileCache {
    directory: PathBuf,
}

impl DebugFileCache {
    /// The cache in this directory, which is created if it does not exist.
    ///
    /// # Errors
    /// If it cannot be created, or if another user could change its contents: as root we would write where that user
    /// wants.
    pub fn at(directory: &Path) -> io::Result<DebugFileCache> {
        let directory = std::path::absolute(directory)?;
        let there = directory.ancestors().find(|above| above.symlink_metadata().is_ok());
        let there = there.unwrap_or(Path::new("/"));
        let real = there.canonicalize()?;
        only_ours(&real)?;
        let directory = real.join(directory.strip_prefix(there).unwrap_or(Path::new("")));
        DirBuilder::new().recursive(true).mode(PRIVATE).create(&directory)?;
        Ok(DebugFileCache { directory })
    }

    /// The debug file of a build. An empty file means that no server had one when it was asked for.
    pub(super) fn find(&self, build_id: &str) -> Option<File> {
        let file = Root::Ours.open(&self.path(build_id)).ok().flatten()?;
        file.metadata().is_ok_and(|facts| facts.len() > 0).then_some(file)
    }

    /// An unnamed file, to be kept once it is complete.
    pub(super) fn scratch_file(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(openat(CWD, &self.directory, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Keeps such a file, and replaces one that is there.
    pub(super) fn keep(&self, build_id: &str, file: &File) -> io::Result<()> {
        let path = self.path(build_id);
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(PRIVATE).create(directory)?;
        }
        let _ = fs::remove_file(&path);
        let held = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(linkat(CWD, held, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The path of a build's file.
    pub(super) fn path(&self, build_id: &str) -> PathBuf {
        self.directory.join(build_id).join("debuginfo")
    }
}

/// Checks that a directory belongs to us, and that only root could replace it.
fn only_ours(directory: &Path) -> io::Result<()> {
    let us = geteuid().as_raw();
    for (up, path) in directory.ancestors().enumerate() {
        let facts = fs::metadata(path)?;
        let (owner, mode) = (facts.uid(), facts.mode());
        let is_owned = owner == us || (up > 0 && owner == 0);
        if !is_owned || (mode & FOR_OTHERS != 0 && mode & STICKY == 0) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{} can be changed by another user (owner {owner}, mode {:o})",
                    path.display(),
                    mode & 0o7777
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::fs::{PermissionsExt as _, chown, symlink},
    };

    use super::*;

    #[test]
    fn a_file_has_a_name_only_once_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let kept = DebugFileCache::at(&place.path().join("deep/cache")).unwrap();
        assert!(kept.find("0123").is_none());
        let mut file = kept.scratch_file().unwrap();
        file.write_all(b"words").unwrap();
        assert_eq!(fs::read_dir(&kept.directory).unwrap().count(), 0);
        kept.keep("0123", &file).unwrap();
        let mut content = String::new();
        kept.find("0123").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "words");
        // An existing file is replaced. An empty file is not a debug file.
        let empty = kept.scratch_file().unwrap();
        kept.keep("0123", &empty).unwrap();
        assert!(kept.find("0123").is_none());
        let mode = fs::metadata(kept.path("0123")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn nothing_is_written_where_another_user_could_lead_us() {
        let place = tempfile::tempdir().unwrap();
        let open = place.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = |path: &Path| DebugFileCache::at(path).unwrap_err().to_string();
        assert!(refused(&open.join("cache")).contains("can be changed by another user"));
        symlink(&open, place.path().join("link")).unwrap();
        assert!(refused(&place.path().join("link/cache")).contains("open can be changed"));
        fs::write(place.path().join("file"), "").unwrap();
        assert!(DebugFileCache::at(&place.path().join("file")).is_err());
        if geteuid().is_root() {
            let home = place.path().join("home");
            fs::create_dir_all(home.join(".cache")).unwrap();
            chown(&home, Some(1000), None).unwrap();
            assert!(
                refused(&home.join(".cache")).contains("home can be changed by another user (owner 1000")
            );
        }
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }
}
