//! The functions that a file defines, from both of its symbol tables.

use object::elf;
use object::read::elf::{SectionHeader as _, Sym as _};

use super::image::{ENDIAN, Image, name_at};

/// A function that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name as in the file (mangled), without a version (`@GLIBC_2.2.5`).
    pub name: String,
    /// Address of the first instruction.
    pub address: u64,
    /// Bytes of code, cut where the executable segment ends. Where the file gives no size (assembly), an upper
    /// bound: all bytes up to the next function.
    pub size: u64,
    /// File offset of the first instruction.
    pub file_offset: u64,
    /// Function, or resolver of one.
    pub kind: SymbolKind,
}

/// What is at the address of a [`Symbol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SymbolKind {
    /// The function itself.
    Function,
    /// A resolver that the loader runs once to choose the function (`STT_GNU_IFUNC`). It must not be probed: the calls
    /// do not pass it.
    Resolver,
}

/// A defined symbol of a table.
pub(super) struct Defined<'a> {
    /// Its name without version.
    pub(super) name: &'a [u8],
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) kind: Option<SymbolKind>,
}

impl<'a> Image<'a> {
    /// The defined functions whose name (without version) is wanted, sorted by address, then by name.
    ///
    /// One function may have several names, and one name several functions (old versions of it, or `static` ones).
    /// Names that are not UTF-8, and addresses outside of executable segments, are left out.
    pub fn functions(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Symbol> {
        let mut found = Vec::new();
        self.each_defined(|symbol| {
            let Some(kind) = symbol.kind else { return };
            let Ok(name) = str::from_utf8(symbol.name) else { return };
            if !wanted(name) {
                return;
            }
            let Some(file_offset) = self.file_offset(symbol.address) else { return };
            let size = self.size_within_segment(symbol.address, symbol.size);
            found.push(Symbol { name: name.to_owned(), address: symbol.address, size, file_offset, kind });
        });
        // An exported function is in both tables; if they disagree on the size, the larger one is kept.
        found.sort_by(|a, b| {
            (a.address, &a.name, a.kind).cmp(&(b.address, &b.name, b.kind)).then(b.size.cmp(&a.size))
        });
        found.dedup_by(|later, kept| (later.address, &later.name) == (kept.address, &kept.name));
        found
    }

    /// Whether another function begins after the first instruction of the one at `address`, up to `by` bytes in.
    pub(super) fn is_entered_within(&self, address: u64, by: u64) -> bool {
        let starts = self.function_starts();
        let next = starts.partition_point(|&start| start <= address);
        starts.get(next).is_some_and(|&start| start - address <= by)
    }

    /// Addresses where functions begin, sorted, without duplicates.
    fn function_starts(&self) -> &[u64] {
        self.function_starts.get_or_init(|| {
            let mut starts = Vec::new();
            self.each_defined(|symbol| {
                if symbol.kind.is_some() {
                    starts.push(symbol.address);
                }
            });
            starts.sort_unstable();
            starts.dedup();
            starts
        })
    }

    fn size_within_segment(&self, address: u64, size: u64) -> u64 {
        let end = self.code_end(address).unwrap_or(address);
        let end = if size == 0 {
            let starts = self.function_starts();
            let next = starts.partition_point(|&start| start <= address);
            starts.get(next).map_or(end, |&start| start.min(end))
        } else {
            address.saturating_add(size).min(end)
        };
        end - address
    }

    /// The addresses of defined symbols of any kind, in the order of `names`; `None` for a name that is not defined.
    pub(crate) fn addresses(&self, names: &[&str]) -> Vec<Option<u64>> {
        let mut found = vec![None; names.len()];
        self.each_defined(|symbol| {
            let at = names.iter().position(|name| name.as_bytes() == symbol.name);
            if let Some(found) = at.and_then(|at| found.get_mut(at)) {
                *found = Some(symbol.address);
            }
        });
        found
    }

    pub(super) fn each_defined(&self, mut see: impl FnMut(Defined<'a>)) {
        for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
            let Some(section) = self.sections().iter().find(|s| s.sh_type(ENDIAN) == kind) else { continue };
            let Ok(symbols) = section.data_as_array::<elf::Sym64<_>, _>(ENDIAN, self.data()) else {
                continue;
            };
            let Some(strings) = self.section_data(section.link(ENDIAN).0) else { continue };
            for symbol in symbols.iter().filter(|s| !s.is_undefined(ENDIAN)) {
                let Some(name) = name_at(strings, symbol.st_name(ENDIAN).into()) else { continue };
                let kind = match symbol.st_type() {
                    elf::STT_FUNC => Some(SymbolKind::Function),
                    elf::STT_GNU_IFUNC => Some(SymbolKind::Resolver),
                    _ => None,
                };
                see(Defined {
                    name: without_version(name),
                    address: symbol.st_value(ENDIAN),
                    size: symbol.st_size(ENDIAN),
                    kind,
                });
            }
        }
    }
}

/// GNU ld writes `name@VERSION` and `name@@VERSION` into the full table of shared libraries.
fn without_version(name: &[u8]) -> &[u8] {
    match name.iter().position(|&byte| byte == b'@') {
        Some(at) if at > 0 => name.get(..at).unwrap_or(name),
        _ => name,
    }
}
