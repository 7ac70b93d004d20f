//! What runs in an address space: its program and its runtimes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::Space;
use crate::{
    elf::{
        Image,
        runtime::{FramePointers, Runtime},
    },
    stack::{calls::Code, made::Maker},
    target::{
        history::History,
        hotspot::Switch,
        modules::{Layout, ModuleId, Modules},
        process::Process,
        program,
    },
    text::Text,
};

/// The option of Java that makes compiled code keep a frame pointer.
const KEEPS_POINTERS: &str = "PreserveFramePointer";

/// The names of a process and of its program.
pub(super) struct Names {
    exe: PathBuf,
    /// The path of the program, which may be run by another.
    path: PathBuf,
    /// The name of the process.
    name: Option<Text>,
}

impl Names {
    /// `None` if the process is gone.
    pub(super) fn of(process: &Process) -> Option<Names> {
        let exe = process.exe().ok()?;
        let path = program::path(process.pid()).unwrap_or_else(|_| exe.clone());
        Some(Names { exe, path, name: process.present_name() })
    }
}

impl Space {
    /// Finds out what runs: once for a running process, and again when a launched one has become its command.
    pub(super) fn identify(&mut self, names: Names, modules: &mut Modules) {
        let Names { exe, path, name } = names;
        let own = self.layout.files().find(|(mapping, _)| mapping.path == exe).map(|(_, id)| id);
        self.build_id = own.and_then(|id| modules.get(id)?.build_id.clone());
        if let Some(own) = own {
            modules.call(own, &path);
        }
        self.exe = Text::from(path.as_path());
        if let Some(name) = name {
            self.process.rename(name);
        }
        let mut runtimes = BTreeSet::from_iter(Runtime::of_files(
            self.layout.files().map(|(mapping, _)| mapping.path.as_path()),
        ));
        if self.program != own {
            self.program = own;
            runtimes.extend(own.into_iter().flat_map(|own| linked_in(own, modules)));
        }
        self.runtimes.extend(runtimes);
        self.learn_maker(modules);
    }

    /// Finds out what makes code at run time here, and whether stacks can be followed through it. A Java process shows this
    /// once it has read its options.
    fn learn_maker(&mut self, modules: &Modules) {
        let mut makers = self.runtimes.iter().filter(|runtime| runtime.makes_code());
        let runtime = makers.next().filter(|_| makers.next().is_none()).copied();
        let mut pointers = runtime.map(Runtime::frame_pointers).unwrap_or_default();
        if runtime == Some(Runtime::Jvm) {
            let pid = self.process.pid();
            if self.java_keeps_pointers.is_none() {
                self.java_keeps_pointers = Switch::find(pid, KEEPS_POINTERS, &self.layout, modules);
            }
            if self.java_keeps_pointers.and_then(|switch| switch.is_on(pid)) == Some(true) {
                pointers = FramePointers::All;
            }
        }
        self.maker = Maker { runtime, pointers };
    }

    /// Its code, for looking stacks up in it.
    pub(crate) fn code<'m>(&'m self, modules: &'m Modules) -> Code<'m> {
        Code { pid: self.process.pid(), modules, history: &self.history }
    }

    /// The files that it has unloaded; none if it has ended, because it maps nothing then.
    pub(crate) fn unloaded(&self) -> BTreeSet<ModuleId> {
        if self.ended.is_some() { BTreeSet::new() } else { self.history.unloaded(&self.layout) }
    }

    /// Forgets the layout: the process is about to become another program.
    pub(crate) fn forget_layout(&mut self, program: &Path) {
        self.layout = Layout::default();
        self.history = History::default();
        // As an absolute path, as from the kernel: a command that ends at once cannot be asked any more.
        self.exe = Text::from(program::of_command(program).as_path());
        self.program = None;
        self.runtimes = BTreeSet::new();
        self.java_keeps_pointers = None;
        self.maker = Maker::default();
        self.build_id = None;
        self.identified = None;
        self.process.call(program.file_name().unwrap_or(program.as_os_str()));
    }
}

/// The runtimes that are linked into a program. Libraries are known by their names.
fn linked_in(program: ModuleId, modules: &Modules) -> Vec<Runtime> {
    let bytes = modules.get(program).and_then(|module| module.bytes().ok());
    bytes.and_then(|bytes| Image::parse(&bytes).ok().map(|image| image.runtimes())).unwrap_or_default()
}
