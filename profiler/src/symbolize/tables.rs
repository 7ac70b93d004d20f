//! Names from symbol tables: of the program, of its debug file, and of what is packed into `.gnu_debugdata`.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use super::{
    blaze::Symbols,
    bytes::{Bytes, Unpacker},
    notes::Notes,
};
use crate::elf::{Image, Symbol};

/// Most that `.gnu_debugdata` may unpack to, in bytes: it has only symbols, which take a few MiB in the largest
/// programs.
const MAX_DEBUGDATA: u64 = 256 << 20;

/// One symbol table.
#[derive(Debug)]
pub(super) enum SymbolTable {
    /// Of a file, by a path to it.
    Of(PathBuf),
    /// Of a file in memory.
    Unpacked(File),
    /// Read by us, because the library refuses the whole file; sorted by address.
    Listed(Vec<Symbol>),
}

impl SymbolTable {
    /// The names at these addresses; `None` where no symbol covers an address.
    ///
    /// # Errors
    /// A message, if the table cannot be read.
    pub(super) fn names(&self, symbols: &Symbols, addresses: &[u64]) -> Result<Vec<Option<String>>, String> {
        match self {
            SymbolTable::Of(path) => symbols.names(path, addresses),
            SymbolTable::Unpacked(file) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                symbols.names(Path::new(&path), addresses)
            }
            SymbolTable::Listed(list) => {
                Ok(addresses.iter().map(|address| covering(list, *address)).collect())
            }
        }
    }
}

/// The tables of a program, the best first.
pub(super) fn of_program(
    image: &Image<'_>,
    held: &Path,
    unpacker: &mut Unpacker,
    notes: &mut Notes,
) -> Vec<SymbolTable> {
    let packed = image.section(".gnu_debugdata").filter(|_| image.is_stripped());
    let Some((_, packed)) = packed else {
        let kind =
            if image.is_stripped() { "exported symbols (.dynsym)" } else { "its symbol table (.symtab)" };
        notes.sources.push(kind.to_owned());
        return vec![SymbolTable::Of(held.to_owned())];
    };
    let mut tables = Vec::new();
    match unpacked(packed, unpacker) {
        Ok(table) => {
            notes.sources.push("its packed symbol table (.gnu_debugdata)".to_owned());
            tables.push(table);
        }
        Err(why) => notes.problem(format!("its packed symbol table (.gnu_debugdata) cannot be read: {why}")),
    }
    tables.push(listed(image, notes));
    tables
}

/// The symbols of a file whose table the library refuses.
pub(super) fn listed(image: &Image<'_>, notes: &mut Notes) -> SymbolTable {
    notes.sources.push("exported symbols (.dynsym)".to_owned());
    SymbolTable::Listed(image.functions(&|_| true))
}

fn unpacked(packed: &[u8], unpacker: &mut Unpacker) -> Result<SymbolTable, String> {
    let file = unpacker.xz_file(packed, MAX_DEBUGDATA).map_err(|error| error.to_string())?;
    let bytes = Bytes::map(&file).map_err(|error| error.to_string())?;
    Image::parse_debug_file(&bytes).map_err(|error| format!("it is {error}"))?;
    Ok(SymbolTable::Unpacked(file))
}

/// The function in a list sorted by address that covers an address.
fn covering(list: &[Symbol], address: u64) -> Option<String> {
    let after = list.partition_point(|symbol| symbol.address <= address);
    let nearest = list.get(..after)?.last()?.address;
    let same = list.get(..after)?.iter().rev().take_while(|symbol| symbol.address == nearest);
    same.filter(|symbol| address - symbol.address < symbol.size).last().map(|symbol| symbol.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::SymbolKind;

    fn symbol(name: &str, address: u64, size: u64) -> Symbol {
        Symbol { name: name.to_owned(), address, size, file_offset: address, kind: SymbolKind::Function }
    }

    #[test]
    fn a_symbol_names_its_own_bytes_only() {
        let list = [symbol("alias", 10, 4), symbol("first", 10, 4), symbol("second", 20, 5)];
        let names: Vec<_> = [9, 10, 13, 14, 20, 24, 25].map(|at| covering(&list, at)).into_iter().collect();
        let expected = [None, Some("alias"), Some("alias"), None, Some("second"), Some("second"), None];
        assert_eq!(names, expected.map(|name| name.map(str::to_owned)));
    }

    #[test]
    fn what_is_no_xz_or_no_program_is_said() {
        assert_eq!(unpacked(b"no xz", &mut Unpacker::default()).unwrap_err(), "it is truncated or damaged");
    }
}
