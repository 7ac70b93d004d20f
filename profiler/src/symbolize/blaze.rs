//! blazesym behind [`Symbols`]: no other file uses it.

use std::path::Path;

use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer, source};

/// Names from the symbol tables of files.
pub(super) struct Symbols(Symbolizer);

impl Symbols {
    pub(super) fn new() -> Symbols {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false) // a file is held open and does not change
            .enable_code_info(false)
            .enable_inlined_fns(false)
            .enable_demangling(false)
            .build();
        Symbols(symbolizer)
    }

    /// The name of the function at each address of a file, in the form of the symbol table; `None` if no symbol covers
    /// the address.
    ///
    /// The file is always an ELF file: as the source of a process, the library would believe any map file that it
    /// finds.
    ///
    /// # Errors
    /// A message, if a table cannot be read.
    pub(super) fn names(&self, file: &Path, addresses: &[u64]) -> Result<Vec<Option<String>>, String> {
        let source = source::Source::Elf(source::Elf::new(file));
        let found = self.0.symbolize(&source, Input::VirtOffset(addresses)).map_err(|e| e.to_string())?;
        found.iter().map(name).collect()
    }
}

fn name(symbol: &Symbolized<'_>) -> Result<Option<String>, String> {
    match symbol {
        Symbolized::Sym(symbol) => Ok(Some(symbol.name.to_string())),
        // In a batch, the library skips single places with errors.
        Symbolized::Unknown(Reason::IgnoredError) => Err("it is damaged".to_owned()),
        Symbolized::Unknown(_) => Ok(None),
    }
}
