//! The code of a process: its files, and their symbols and tables.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    elf::Image,
    symbolize::has_debug_file,
    target::{
        modules::{Layout, Module, ModuleId, Modules},
        process::Process,
    },
    text::Text,
    units,
    unwind::{cache::Cache, file::ProgramFile},
};

/// The code of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Code {
    /// Files that it maps executable.
    pub files: u64,
    /// Those of them that have a full symbol table.
    pub with_symbols: u64,
    /// Those that have debug information, in the file or in an installed separate file.
    pub with_debug_information: u64,
    /// Whether its executable has names for its own functions.
    pub exe_has_names: bool,
    /// Functions that its executable exports, if it is stripped: these have names.
    #[serde(default)]
    pub exe_exports: u64,
    /// Build id of its executable, in hex, if it has one.
    pub build_id: Option<String>,
    /// Files with unwind tables.
    pub with_tables: u64,
    /// Code of the files that could be read, in bytes.
    pub code_bytes: u64,
    /// Code of them that the tables cover, in bytes.
    pub covered_bytes: u64,
    /// Files without tables, and why.
    pub without_tables: Vec<WithoutTables>,
    /// Executable memory that belongs to no file, in bytes: made at run time, without tables or symbols.
    pub made_bytes: u64,
}

/// A file without unwind tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WithoutTables {
    /// The file, as the target sees it.
    pub file: Text,
    /// The reason.
    pub why: String,
}

/// Looks at every file that the process maps executable.
pub(super) fn examine(layout: &Layout, modules: &Modules, process: &Process) -> Code {
    let mut code = Code { made_bytes: layout.made_code_bytes(), ..Code::default() };
    let exe = process.exe().ok();
    let ids: BTreeSet<ModuleId> = layout.files().map(|(_, id)| id).collect();
    let own = layout.files().find(|(mapping, _)| Some(&mapping.path) == exe.as_ref()).map(|(_, id)| id);
    let mut opened: Vec<(&Module, ProgramFile)> = Vec::new();
    for (id, module) in ids.into_iter().filter_map(|id| Some((id, modules.get(id)?))) {
        code.files += 1;
        let file = module.path().ok_or_else(|| module.unreadable.clone().unwrap_or_default());
        match file.and_then(|path| ProgramFile::open(&path).map_err(|e| e.to_string())) {
            Ok(file) => {
                code.count_names(module, &file, own == Some(id));
                opened.push((module, file));
            }
            Err(why) => code.without_tables.push(WithoutTables { file: module.name.clone(), why }),
        }
    }
    let files: Vec<&ProgramFile> = opened.iter().map(|(_, file)| file).collect();
    for ((module, _), table) in opened.iter().zip(Cache::default().tables(&files)) {
        match table {
            Ok(table) => {
                let text = table.stats().text_bytes;
                let covered = table.covered_bytes().min(text);
                code.code_bytes += text;
                code.covered_bytes += covered;
                if is_covered(text, covered) {
                    code.with_tables += 1;
                } else {
                    let share = units::percent(covered as f64 / text as f64);
                    let all = units::bytes(text as f64);
                    let why = format!("its unwind information covers {share} of its code ({all})");
                    code.without_tables.push(WithoutTables { file: module.name.clone(), why });
                }
            }
            Err(error) => {
                code.without_tables.push(WithoutTables { file: module.name.clone(), why: error.to_string() });
            }
        }
    }
    code
}

/// Uncovered code of up to this many bytes does not matter. Every program and library has about 250 of them in the
/// compiler's start and end code, which is the outermost frame of a stack or not on it.
const SMALL_GAP_BYTES: u64 = 512;

/// Whether stacks can be walked through a file with `text` bytes of code, of which `covered` are covered.
fn is_covered(text: u64, covered: u64) -> bool {
    covered * 2 >= text || text - covered <= SMALL_GAP_BYTES && covered > 0
}

impl Code {
    fn count_names(&mut self, module: &Module, file: &ProgramFile, is_exe: bool) {
        let Ok(image) = Image::parse(file.bytes()) else { return };
        let build_id = image.build_id();
        let separate = || module.program().is_some_and(|program| has_debug_file(&program, &image));
        let debug_information = image.has_dwarf() || separate();
        self.with_symbols += u64::from(!image.is_stripped());
        self.with_debug_information += u64::from(debug_information);
        if is_exe {
            let packed = image.section(".gnu_debugdata").is_some();
            self.exe_has_names = !image.is_stripped() || packed || debug_information;
            self.exe_exports = if image.is_stripped() { image.functions(&|_| true).len() as u64 } else { 0 };
            self.build_id = build_id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_covered;

    /// A library with one function of 8 bytes; the rest is the compiler's.
    #[test]
    fn what_every_file_has_from_the_compiler_is_no_gap() {
        assert!(is_covered(265, 8) && is_covered(600, 100) && is_covered(1 << 20, 1 << 19));
        assert!(!is_covered(80, 0), "nothing of it can be walked");
        assert!(!is_covered(2000, 800) && !is_covered(1 << 20, 1 << 18));
    }
}
