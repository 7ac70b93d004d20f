//! The files that targets map, kept open: names and bytes stay readable after the target ends, its binary is replaced,
//! or it calls `dlclose`.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    maps::{self, DeviceInode, Mapping},
    moved,
};
use crate::{elf::Image, symbolize::Program, text::Text};

/// Number of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub(super) u32);

/// A file that a target maps executable.
#[derive(Debug)]
pub struct Module {
    file: Option<File>,
    /// Path as the target sees it. For a program that was started by a symbolic link, the link.
    pub name: Text,
    /// The path of the file itself.
    file_name: Text,
    /// Build id in hex.
    pub build_id: Option<String>,
    /// Why its bytes cannot be read, if they cannot.
    pub unreadable: Option<String>,
    /// Whether it is a program or a library.
    is_elf: bool,
    /// Its executable segments: offsets in the file, and the address of the first byte.
    code: Vec<(Range<u64>, u64)>,
    /// The root directory of the process that it was first seen in, if it is not ours.
    root: Option<Arc<OwnedFd>>,
}

impl Module {
    /// A path that leads to this very file as long as the module is held.
    pub fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }

    /// The file's own address of a byte of its code, as `nm` and `addr2line` show it; `None` if the byte is not code.
    pub fn address(&self, offset: u64) -> Option<u64> {
        let (range, address) = self.code.iter().find(|(range, _)| range.contains(&offset))?;
        address.checked_add(offset - range.start)
    }

    /// What its functions are named from; `None` if it could not be opened.
    pub fn program(&self) -> Option<Program> {
        Some(Program { path: self.path()?, name: self.file_name.clone(), root: self.root.clone() })
    }

    /// The eight bytes before an offset, the last one in the highest bits; `None` if they cannot be read.
    pub fn code_before(&self, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.file.as_ref()?.read_exact_at(&mut bytes, offset.checked_sub(8)?).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If it could not be opened or mapped.
    pub fn bytes(&self) -> io::Result<Mmap> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // SAFETY: the mapping is private and only read. If a file is truncated while it is read, that ends us, not the target:
        // a running executable cannot be written, and libraries are replaced by renaming.
        unsafe { Mmap::map(file) }
    }
}

/// All modules of all targets; one file is one module, however many processes map it.
#[derive(Debug, Default)]
pub struct Modules {
    list: Vec<Module>,
    known: HashMap<DeviceInode, ModuleId>,
}

impl Modules {
    /// The module behind a mapping of a process, opened at first sight. `None` if the mapping has no file.
    pub fn of(&mut self, pid: u32, mapping: &Mapping) -> Option<ModuleId> {
        if mapping.file.inode == 0 {
            return None;
        }
        if let Some(known) = self.known.get(&mapping.file) {
            return Some(*known);
        }
        let opened = mapping.open(pid).map(|(file, _)| file);
        Some(self.add(mapping.file, &mapping.path, opened, foreign_root(pid)))
    }

    /// The module of a file that is not mapped yet.
    pub fn of_file(&mut self, path: &Path) -> Option<ModuleId> {
        use std::os::unix::fs::MetadataExt as _;
        let opened = File::open(path);
        let metadata = opened.as_ref().ok()?.metadata().ok()?;
        let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
        let id = DeviceInode { device, inode: metadata.ino() };
        Some(self.known.get(&id).copied().unwrap_or_else(|| self.add(id, path, opened, None)))
    }

    fn add(
        &mut self,
        id: DeviceInode,
        path: &Path,
        opened: io::Result<File>,
        root: Option<Arc<OwnedFd>>,
    ) -> ModuleId {
        let number = ModuleId(self.list.len() as u32);
        let (file, unreadable) = match opened {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(format!("the file cannot be opened: {error}"))),
        };
        let name = Text::from(path);
        let mut module = Module {
            file,
            file_name: name.clone(),
            name,
            build_id: None,
            unreadable,
            is_elf: false,
            code: Vec::new(),
            root,
        };
        if let Ok(bytes) = module.bytes()
            && let Ok(image) = Image::parse(&bytes)
        {
            module.is_elf = true;
            module.build_id = image.build_id();
            module.code = image.code_segments().collect();
        }
        self.list.push(module);
        self.known.insert(id, number);
        number
    }

    /// Names a module by the path that it was started by.
    pub(crate) fn call(&mut self, id: ModuleId, name: &Path) {
        if let Some(module) = self.list.get_mut(id.0 as usize) {
            module.name = Text::from(name);
        }
    }

    /// Whether a module is a program file. Some runtimes map the code that they make twice, for which they use a file
    /// in memory (memfd), and huge pages are such a file, too.
    fn is_program(&self, id: ModuleId) -> bool {
        let in_memory = |module: &Module| {
            [b"/memfd:".as_slice(), b"/anon_hugepage"].iter().any(|name| module.name.raw().starts_with(name))
        };
        self.get(id).is_none_or(|module| !in_memory(module) || module.is_elf)
    }

    /// A module by number.
    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.list.get(id.0 as usize)
    }
}

/// Which files are mapped where in one address space.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Layout {
    mappings: Vec<(Mapping, Option<ModuleId>)>,
    /// Ranges where the process has replaced the code of a file by memory of its own, by address.
    moved: Vec<Range<u64>>,
}

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file, at this offset.
    File(ModuleId, u64),
    /// Code that the process made at run time.
    Made,
    /// Code that the kernel maps into every process, such as the vdso.
    Kernel,
    /// Nothing was mapped there when we looked.
    Unmapped,
    /// Several files, one after the other: which of them it was cannot be known.
    Shared,
}

impl Layout {
    /// Reads the present layout of a process.
    ///
    /// # Errors
    /// If the process is gone or may not be read.
    pub fn read(pid: u32, modules: &mut Modules) -> io::Result<Layout> {
        let text = maps::read(pid)?;
        let mut module = |mapping: &Mapping| modules.of(pid, mapping).filter(|id| modules.is_program(*id));
        let mut mappings = Vec::new();
        let mut made = Vec::new();
        for mapping in maps::parse(&text) {
            match module(&mapping) {
                None if !is_of_kernel(&mapping) => made.push(mapping),
                id => mappings.push((mapping, id)),
            }
        }
        let mut layout = Layout { mappings, moved: Vec::new() };
        if !made.is_empty() {
            layout.add_made(pid, &text, &made, modules);
        }
        Ok(layout)
    }

    /// Adds executable memory without a file. Memory that replaces the code of a file counts as that file's code.
    fn add_made(&mut self, pid: u32, text: &[u8], made: &[Mapping], modules: &mut Modules) {
        let all = maps::parse_all(text);
        let parts = moved::parts(made, &all, &mut |neighbour| {
            let id = modules.of(pid, neighbour)?;
            let bytes = modules.get(id).filter(|module| module.is_elf)?.bytes().ok()?;
            Some((id, Image::parse(&bytes).ok()?.loaded()))
        });
        for (part, id) in parts {
            if id.is_some() {
                self.moved.push(part.start..part.end);
            }
            self.mappings.push((part, id));
        }
        self.mappings.sort_by_key(|(mapping, _)| mapping.start);
    }

    /// Whether the code at an offset of a file is mapped from the file, so that a breakpoint there is hit. Also true of
    /// a file that is not mapped yet.
    pub fn is_from_file(&self, module: ModuleId, offset: u64) -> bool {
        let mut unmapped = true;
        let holds = |mapping: &Mapping| {
            let inside =
                offset.checked_sub(mapping.offset).is_some_and(|by| by < mapping.end - mapping.start);
            inside && !self.moved.iter().any(|range| range.start == mapping.start)
        };
        let found = self.files().filter(|(_, id)| *id == module).any(|(mapping, _)| {
            unmapped = false;
            holds(mapping)
        });
        found || unmapped
    }

    /// The files whose code was moved, in full or in part.
    pub fn moved(&self) -> impl Iterator<Item = ModuleId> {
        let is_moved = |start| self.moved.iter().any(move |range| range.start == start);
        self.files().filter(move |(mapping, _)| is_moved(mapping.start)).map(|(_, id)| id)
    }

    /// A layout of these mappings.
    #[cfg(test)]
    pub(super) fn of_files(mapped: &[(Mapping, ModuleId)]) -> Layout {
        let mappings = mapped.iter().map(|(mapping, id)| (mapping.clone(), Some(*id))).collect();
        Layout { mappings, moved: Vec::new() }
    }

    /// The mappings of files, by address.
    pub fn files(&self) -> impl Iterator<Item = (&Mapping, ModuleId)> {
        self.mappings.iter().filter_map(|(mapping, id)| Some((mapping, (*id)?)))
    }

    /// The mapping of the vdso: code of the kernel that has unwind information, but no file.
    pub fn vdso(&self) -> Option<&Mapping> {
        self.mappings.iter().map(|(mapping, _)| mapping).find(|mapping| mapping.path.as_os_str() == "[vdso]")
    }

    /// Executable memory of neither a file nor the kernel, in bytes: code made at run time.
    pub fn made_code_bytes(&self) -> u64 {
        let made = self.mappings.iter().filter(|(mapping, id)| id.is_none() && !is_of_kernel(mapping));
        made.map(|(mapping, _)| mapping.end - mapping.start).sum()
    }

    /// The mapping that contains an address.
    pub fn mapping_around(&self, address: u64) -> Option<Range<u64>> {
        let after = self.mappings.partition_point(|(mapping, _)| mapping.end <= address);
        let (mapping, _) = self.mappings.get(after).filter(|(mapping, _)| mapping.start <= address)?;
        Some(mapping.start..mapping.end)
    }

    /// What an address belongs to.
    pub fn place(&self, address: u64) -> Place {
        let after = self.mappings.partition_point(|(mapping, _)| mapping.end <= address);
        match self.mappings.get(after) {
            Some((m, id)) if m.start <= address => match id {
                Some(id) => Place::File(*id, address - m.start + m.offset),
                None if is_of_kernel(m) => Place::Kernel,
                None => Place::Made,
            },
            _ => Place::Unmapped,
        }
    }
}

/// The root directory of a process; `None` if it is ours, or cannot be opened.
fn foreign_root(pid: u32) -> Option<Arc<OwnedFd>> {
    let root = format!("/proc/{pid}/root");
    let same = |a: rustix::fs::Stat, b: rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let (its, ours) = (rustix::fs::stat(&root).ok()?, rustix::fs::stat("/").ok()?);
    if same(its, ours) {
        return None;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, root, flags, Mode::empty()).ok().map(Arc::new)
}

/// Whether the kernel made a mapping. A process can name its own memory too, as `[anon:...]`.
fn is_of_kernel(mapping: &Mapping) -> bool {
    let path = mapping.path.as_os_str().as_encoded_bytes();
    [b"[vdso]".as_slice(), b"[vsyscall]", b"[uprobes]"].contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_its_file_and_back() {
        let mut modules = Modules::default();
        let layout = Layout::read(std::process::id(), &mut modules).unwrap();
        let here = an_address_leads_to_its_file_and_back as fn() as usize as u64;
        let Place::File(id, offset) = layout.place(here) else { panic!("not in a file") };
        let module = modules.get(id).unwrap();
        let bytes = module.bytes().unwrap();
        // SAFETY: reads our own code.
        let code = unsafe { std::slice::from_raw_parts(here as *const u8, 16) };
        assert_eq!(&bytes[offset as usize..offset as usize + 16], code);
        assert_eq!(layout.place(1), Place::Unmapped);
    }
}
