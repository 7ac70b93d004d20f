//! Separate debug files: where they are searched, and whether one belongs to a program.

use std::{
    cell::RefCell,
    ffi::OsStr,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    bytes::{Bytes, Unpacker},
    notes::Notes,
    place::{Program, Root},
    servers::{Fetched, Fetcher},
};
use crate::elf::{Image, SharedLink};

/// Where distributions install debug files.
const SYSTEM: &str = "/usr/lib/debug";
/// Most entries of the user's directories whose build ids are read.
const MAX_ENTRIES: usize = 4096;

/// A file that names are read from.
#[derive(Debug)]
pub(super) struct FoundFile {
    /// Its contents.
    pub(super) bytes: Arc<Bytes>,
    /// Held open for [`FoundFile::held_path`].
    file: File,
    /// Where it was found, for people.
    pub(super) shown: String,
    /// Its path, for finding files relative to it.
    pub(super) path: PathBuf,
    /// The root of that path.
    pub(super) root: Root,
}

impl FoundFile {
    /// A path that leads to this very file while it is held.
    pub(super) fn held_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// The debug file that a program refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Build id in hex.
    pub(super) build_id: Option<String>,
    /// Name, and CRC-32 of the whole file.
    pub(super) link: Option<(PathBuf, u32)>,
}

impl Wanted {
    /// The references of `image`.
    pub(super) fn by(image: &Image<'_>) -> Wanted {
        let link = image.debug_link().map(|link| (PathBuf::from(link.name), link.crc));
        Wanted { build_id: image.build_id(), link }
    }

    /// `Ok` if a file matches: whether it has names. An error says why it does not match.
    fn fits(&self, bytes: &[u8]) -> Result<bool, String> {
        let image = Image::parse_debug_file(bytes).map_err(|error| format!("it is {error}"))?;
        let says = image.has_dwarf() || !image.is_stripped();
        match (&self.build_id, &self.link) {
            (Some(wanted), _) => match image.build_id() {
                Some(id) if id == *wanted => Ok(says),
                Some(id) => Err(format!("it is of another build: its build id is {id}, wanted is {wanted}")),
                None => Err("it has no build id, and may be of another build".to_owned()),
            },
            (None, Some((_, crc))) if crc32fast::hash(bytes) == *crc => Ok(says),
            (None, Some(_)) => {
                Err("it is of another build: its checksum (CRC) is not the one in .gnu_debuglink".to_owned())
            }
            (None, None) => Err("its build cannot be checked: the program has neither a build id nor \
                 a .gnu_debuglink"
                .to_owned()),
        }
    }
}

/// Searches for the files that belong to one program.
#[derive(Debug)]
pub(super) struct Search<'a> {
    /// Directories that the user names, searched first.
    pub(super) debug_dirs: &'a [PathBuf],
    /// Asks servers, last, if the user wants it.
    pub(super) fetcher: Option<&'a RefCell<Fetcher>>,
    /// The program.
    pub(super) program: &'a Program,
}

impl Search<'_> {
    /// The separate debug file: first in the user's directories, then in the root of the process, then in ours. A file
    /// that exists and does not match is noted as a problem.
    pub(super) fn debug_file(&self, wanted: &Wanted, notes: &mut Notes) -> Option<FoundFile> {
        let mut noted = |found: Result<Option<FoundFile>, String>| {
            found.unwrap_or_else(|problem| {
                notes.problem(problem);
                None
            })
        };
        let mut first = |candidates: Vec<(Root, PathBuf)>| {
            let fits = &|bytes: &[u8]| wanted.fits(bytes);
            candidates.iter().find_map(|(root, path)| noted(open(root, path, &mut Bytes::map, fits)))
        };
        let found = first(self.candidates(wanted));
        // This reads every file in those directories.
        let found = found.or_else(|| first(self.of_build(wanted.build_id.as_deref()?)));
        let found = found.or_else(|| self.fetched(wanted, notes));
        if found.is_none() {
            notes.absent.push(match &wanted.build_id {
                Some(id) => format!("a debug file (build id {id})"),
                None => match &wanted.link {
                    Some((name, _)) => format!("a debug file ({})", name.display()),
                    None => {
                        "a debug file: the program has neither a build id nor a .gnu_debuglink".to_owned()
                    }
                },
            });
        }
        found
    }

    /// The debug file from a server, or from the cache, if the user wants it.
    fn fetched(&self, wanted: &Wanted, notes: &mut Notes) -> Option<FoundFile> {
        let (fetcher, build_id) = self.fetcher.zip(wanted.build_id.as_deref())?;
        match fetcher.borrow_mut().fetch(build_id, &|bytes| wanted.fits(bytes)) {
            Ok(Fetched { file, bytes, shown }) => {
                Some(FoundFile { bytes, file, shown, path: PathBuf::new(), root: Root::Ours })
            }
            Err(reasons) => {
                notes.unfetched = reasons;
                None
            }
        }
    }

    /// Files of a build in the user's directories, whatever their names.
    fn of_build(&self, build_id: &str) -> Vec<(Root, PathBuf)> {
        let is_of_build = |path: &PathBuf| {
            let file = Root::Ours.open(path).ok().flatten();
            let bytes = file.and_then(|file| Bytes::map(&file).ok());
            let image = bytes.as_ref().and_then(|bytes| Image::parse_debug_file(bytes).ok());
            image.and_then(|image| image.build_id()).as_deref() == Some(build_id)
        };
        let entries = self.debug_dirs.iter().filter_map(|named| std::fs::read_dir(named).ok()).flatten();
        let paths = entries.take(MAX_ENTRIES).filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(is_of_build).map(|path| (Root::Ours, path)).collect()
    }

    /// Candidates in the order of gdb ("Debugging Information in Separate Files" in its manual), one root after the
    /// other.
    fn candidates(&self, wanted: &Wanted) -> Vec<(Root, PathBuf)> {
        let by_id = wanted.build_id.as_deref().and_then(build_id_path);
        let link = wanted.link.as_ref().map(|(name, _)| name.as_path());
        let directory = self.program.directory();
        let below = directory.as_ref().map(|d| d.strip_prefix("/").unwrap_or(d).to_owned());
        let mut found = Vec::new();
        for named in self.debug_dirs {
            found.extend(
                by_id.iter().flat_map(|id| [id.with_extension("debug"), id.clone()]).map(|id| named.join(id)),
            );
            if let Some(link) = link {
                found.extend(below.iter().map(|below| named.join(below).join(link)));
                found.push(named.join(link));
            }
            if let Some(name) = self.program.file_name() {
                let mut with_extension = name.to_owned();
                with_extension.push(".debug");
                found.extend([named.join(with_extension), named.join(name)]);
            }
        }
        let mut found: Vec<(Root, PathBuf)> = found.into_iter().map(|path| (Root::Ours, path)).collect();
        for (nth, root) in self.program.roots().into_iter().enumerate() {
            let system = Path::new(SYSTEM);
            let mut here = Vec::new();
            here.extend(by_id.iter().map(|id| system.join(id.with_extension("debug"))));
            // The program's directory is a path in the first root only.
            if let (0, Some(link), Some(directory), Some(below)) = (nth, link, &directory, &below) {
                here.push(directory.join(link));
                here.push(directory.join(".debug").join(link));
                here.push(system.join(below).join(link));
            }
            found.extend(here.into_iter().map(|path| (root.clone(), path)));
        }
        found
    }

    /// The file with shared debug information that `user` refers to.
    ///
    /// # Errors
    /// A message, if no file matches.
    pub(super) fn shared_file(&self, link: &SharedLink<'_>, user: &Place) -> Result<FoundFile, String> {
        let path = Path::new(link.path);
        let by_id = build_id_path(&link.build_id).map(|id| id.with_extension("debug"));
        let mut candidates: Vec<(Root, PathBuf)> = Vec::new();
        for named in self.debug_dirs {
            candidates.extend(by_id.iter().map(|id| (Root::Ours, named.join(id))));
            candidates.extend(
                path.file_name()
                    .into_iter()
                    .flat_map(|name| [named.join(".dwz").join(name), named.join(name)])
                    .map(|path| (Root::Ours, path)),
            );
        }
        // Joining an absolute path gives that path.
        let beside = user.path.parent().map(|directory| directory.join(path));
        candidates.extend(beside.into_iter().map(|path| (user.root.clone(), path)));
        candidates.extend(by_id.iter().map(|id| (user.root.clone(), Path::new(SYSTEM).join(id))));
        let wanted = Wanted { build_id: Some(link.build_id.clone()), link: None };
        let mut refused = None;
        for (root, path) in &candidates {
            match open(root, path, &mut Bytes::map, &|bytes| wanted.fits(bytes)) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(problem) => refused = refused.or(Some(problem)),
            }
        }
        let name = crate::text::Text::from(path).terminal();
        Err(refused.unwrap_or_else(|| format!("{name}, which holds a part of it (dwz), was not found")))
    }

    /// A file with split debug information, by the path that the compiler recorded.
    ///
    /// # Errors
    /// A message, if it cannot be used.
    pub(super) fn split_file(&self, path: &Path, unpacker: &mut Unpacker) -> Result<FoundFile, String> {
        let named =
            path.file_name().into_iter().flat_map(|name| self.debug_dirs.iter().map(move |d| d.join(name)));
        let mut candidates: Vec<(Root, PathBuf)> = named.map(|path| (Root::Ours, path)).collect();
        if path.is_absolute() {
            candidates.extend(self.program.roots().into_iter().map(|root| (root, path.to_owned())));
        }
        if let (Some(directory), Some(root)) =
            (self.program.directory(), self.program.roots().into_iter().next())
        {
            let beside = path.file_name().map(|name| directory.join(name));
            candidates
                .extend(beside.into_iter().chain([directory.join(path)]).map(|path| (root.clone(), path)));
        }
        for (root, path) in &candidates {
            if let Some(found) = open(root, path, &mut |file| unpacker.copy(file), &is_split_file)? {
                return Ok(found);
            }
        }
        Err(format!("{} (split debug information) was not found", crate::text::Text::from(path).terminal()))
    }

    /// The package with a program's split debug information, `NAME.dwp`. `None` if there is none.
    ///
    /// # Errors
    /// A message, if it cannot be used.
    pub(super) fn package(&self, debug: Option<&Place>) -> Result<Option<FoundFile>, String> {
        let with_extension = |name: &OsStr| {
            let mut name = name.to_owned();
            name.push(".dwp");
            name
        };
        let mut candidates: Vec<(Root, PathBuf)> = Vec::new();
        if let Some(name) = self.program.file_name().map(with_extension) {
            candidates.extend(self.debug_dirs.iter().map(|named| (Root::Ours, named.join(&name))));
            let directory = self.program.directory().zip(self.program.roots().into_iter().next());
            candidates.extend(directory.map(|(directory, root)| (root, directory.join(&name))));
        }
        candidates.extend(
            debug.map(|debug| (debug.root.clone(), PathBuf::from(with_extension(debug.path.as_os_str())))),
        );
        for (root, path) in &candidates {
            if let Some(found) = open(root, path, &mut Bytes::map, &is_split_file)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The location of a file that refers to others.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The root of its path.
    pub(super) root: Root,
    /// Its path.
    pub(super) path: PathBuf,
}

/// `.build-id/01/2345`, the layout of directories with debug files.
fn build_id_path(build_id: &str) -> Option<PathBuf> {
    // Hex digits are ASCII, but the build id may be too short.
    let (first, rest) = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
    Some(Path::new(".build-id").join(first).join(rest))
}

fn is_split_file(bytes: &[u8]) -> Result<bool, String> {
    Image::parse_debug_file(bytes).map(|_| true).map_err(|error| format!("it is {error}"))
}

/// Opens a file that `check` accepts; `None` if there is none.
fn open(
    root: &Root,
    path: &Path,
    read: &mut dyn FnMut(&File) -> std::io::Result<Arc<Bytes>>,
    check: &dyn Fn(&[u8]) -> Result<bool, String>,
) -> Result<Option<FoundFile>, String> {
    let shown = root.shown(path);
    let refused = |why: String| format!("{shown} is not used: {why}");
    let Some(file) = root.open(path).map_err(refused)? else { return Ok(None) };
    let bytes = read(&file).map_err(|error| refused(format!("it cannot be read: {error}")))?;
    if !check(&bytes).map_err(refused)? {
        return Ok(None);
    }
    Ok(Some(FoundFile { bytes, file, shown, path: path.to_owned(), root: root.clone() }))
}
