//! Where a program file is, and opening files beside it.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2},
    io::Errno,
};

use crate::text::Text;

/// A program file whose functions are to be named.
#[derive(Clone, Debug)]
pub struct Program {
    /// A path that leads to this very file, as `/proc/self/fd/N` does.
    pub path: PathBuf,
    /// Path as the process sees it.
    pub name: Text,
    /// The root directory of the process, if it is not ours.
    pub root: Option<Arc<OwnedFd>>,
}

impl Program {
    /// A program file by its path.
    pub fn at(path: &Path) -> Program {
        Program { path: path.to_owned(), name: Text::from(path), root: None }
    }

    /// Its directory in the root of the process.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let path = match self.root {
            Some(_) => PathBuf::from(OsStr::from_bytes(self.name.raw())),
            // Resolves the link to the file, and symbolic links to its directory.
            None => match self.path.canonicalize() {
                Ok(path) => path,
                // If the file was deleted, the rest of the path still has its directory.
                Err(_) => std::fs::read_link(&self.path).ok()?,
            },
        };
        path.parent().filter(|directory| directory.is_absolute()).map(Path::to_owned)
    }

    /// The name of the file, without a directory.
    pub(super) fn file_name(&self) -> Option<&OsStr> {
        let name = Path::new(OsStr::from_bytes(self.name.raw())).file_name()?;
        let name = name.as_bytes();
        Some(OsStr::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name)))
    }

    /// The root of the process, then ours.
    pub(super) fn roots(&self) -> Vec<Root> {
        self.root.clone().map(Root::Of).into_iter().chain([Root::Ours]).collect()
    }
}

/// The directory that absolute paths begin at.
#[derive(Clone, Debug)]
pub(super) enum Root {
    Ours,
    Of(Arc<OwnedFd>),
}

impl Root {
    /// Opens a regular file. Anything else is looked at but not opened: the path may come from the target, and some
    /// devices act when they are opened. `None` if nothing is there.
    ///
    /// # Errors
    /// A message, if the file cannot be used.
    pub(super) fn open(&self, path: &Path) -> Result<Option<File>, String> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let held = match self {
            Root::Ours => openat(CWD, path, flags, Mode::empty()),
            Root::Of(root) => {
                let below = path.strip_prefix("/").unwrap_or(path);
                let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                openat2(root.as_fd(), below, flags, Mode::empty(), within)
            }
        };
        let refused = |error: Errno| format!("it cannot be opened: {}", io::Error::from(error));
        let held = match held {
            Ok(held) => held,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(refused(error)),
        };
        let facts = fstat(&held).map_err(|error| format!("it cannot be read: {}", io::Error::from(error)))?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err("it is not a regular file".to_owned());
        }
        // This opens the same file, even if the path leads to another one by now.
        let itself = format!("/proc/self/fd/{}", held.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        openat(CWD, itself, flags, Mode::empty()).map(|file| Some(file.into())).map_err(refused)
    }

    /// A path below the root, for people.
    pub(super) fn shown(&self, path: &Path) -> String {
        let path = Text::from(path).terminal();
        match self {
            Root::Ours => path,
            Root::Of(_) => format!("{path} (in the root of the process)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_at(directory: &Path) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Root::Of(Arc::new(openat(CWD, directory, flags, Mode::empty()).unwrap()))
    }

    #[test]
    fn a_link_does_not_lead_out_of_the_root_of_the_process() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("secret"), "outside").unwrap();
        let root = place.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(place.path().join("secret"), root.join("link")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("up")).unwrap();
        std::fs::write(root.join("own"), "inside").unwrap();
        for outside in ["/link", "/up", "/../secret"] {
            assert!(matches!(root_at(&root).open(Path::new(outside)), Ok(None)), "{outside}");
        }
        assert!(matches!(root_at(&root).open(Path::new("/own")), Ok(Some(_))));
    }

    #[test]
    fn what_would_block_or_is_no_file_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(Root::Ours.open(&pipe).unwrap_err(), "it is not a regular file");
        assert_eq!(Root::Ours.open(place.path()).unwrap_err(), "it is not a regular file");
    }
    #[test]
    fn what_is_no_file_is_never_opened() {
        use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
        let place = tempfile::tempdir().unwrap();
        let (pipe, file) = (place.path().join("pipe"), place.path().join("file"));
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::write(&file, "text").unwrap();
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut opened = |path: &Path| {
            add_watch(&watch, path, WatchFlags::OPEN).unwrap();
            let roots = [Root::Ours, root_at(Path::new("/"))];
            let results = roots.map(|root| root.open(path).is_ok_and(|file| file.is_some()));
            (results, Reader::new(&watch, &mut buffer).next().is_ok())
        };
        assert_eq!(opened(&pipe), ([false; 2], false));
        assert_eq!(opened(&file), ([true; 2], true), "the watch sees what is opened");
    }
}
