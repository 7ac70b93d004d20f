//! Where the BPF objects of all builds of a target directory are compiled.
//!
//! A build is for a profile, for features and for a target; the objects depend on none of them. Cargo itself judges whether what is
//! there is up to date: by the sources, the lock file, the compiler and its flags. It does not look into the linker, so that is done here.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::fs::FlockOperation;

/// The directory in the target directory.
const NAME: &str = "bpf";
/// A file in it: what the objects were linked with.
const LINKED_BY: &str = "linked-by";

/// The place, which no other build script uses as long as this value lives.
pub(crate) struct Shared {
    directory: PathBuf,
    _lock: File,
}

impl Shared {
    /// Waits until no other build uses it. Objects that another linker made are removed.
    pub(crate) fn lock(out_dir: &Path, linker: Option<&Path>) -> anyhow::Result<Self> {
        let directory = place(out_dir);
        let cannot = || format!("cannot use {}", directory.display());
        fs::create_dir_all(&directory).with_context(cannot)?;
        // Beside what may be removed. The kernel unlocks it, however this process ends.
        let lock = File::create(directory.join("lock")).with_context(cannot)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).with_context(cannot)?;
        let (note, linked_by) = (directory.join(LINKED_BY), described(linker));
        if fs::read_to_string(&note).ok().as_ref() != Some(&linked_by) {
            match fs::remove_dir_all(directory.join("aya-build")) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(cannot),
                _ => fs::write(&note, linked_by).with_context(cannot)?,
            }
        }
        Ok(Self { directory, _lock: lock })
    }

    /// What is to be the `OUT_DIR` of aya-build.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies the objects to where the build expects them.
    pub(crate) fn copy(&self, objects: &[OsString], out_dir: &Path) -> anyhow::Result<()> {
        for object in objects.iter().filter(|_| self.directory != out_dir) {
            let (from, to) = (self.directory.join(object), out_dir.join(object));
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    }
}

/// `OUT_DIR` is `TARGET_DIRECTORY[/TRIPLE]/PROFILE/build/PACKAGE-HASH/out`. If it is anything else, nothing is shared.
fn place(out_dir: &Path) -> PathBuf {
    let is_build = |path: &&Path| path.file_name().is_some_and(|name| name == "build");
    let found = out_dir.ancestors().nth(2).filter(is_build).and_then(|build| build.ancestors().nth(2));
    let Some(above) = found else { return out_dir.to_owned() };
    let is_of_triple = above.file_name() == env::var_os("TARGET").as_deref();
    let target = if is_of_triple { above.parent().unwrap_or(above) } else { above };
    target.join(NAME)
}

/// A linker by its path and by what changes with its contents. One that is not known here is found on `PATH`.
fn described(linker: Option<&Path>) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|folder| folder.join("bpf-linker"));
    let Some(file) = linker.map(Path::to_owned).or_else(|| on_path.find(|file| file.is_file())) else {
        return "a linker that is not known\n".to_owned();
    };
    let stamp = fs::metadata(&file).map(|data| (data.ino(), data.len(), data.mtime(), data.mtime_nsec()));
    format!("{} {stamp:?}\n", file.display())
}
