//! Builds small ELF files, byte by byte.

use super::unhex;

/// Offset of the code in a made file, and where it is mapped.
pub(crate) const CODE_OFFSET: u64 = 0x200;
pub(crate) const CODE_ADDRESS: u64 = 0x1000;

pub(crate) const FUNC: u8 = 2;
pub(crate) const OBJECT: u8 = 1;
pub(crate) const IFUNC: u8 = 10;

const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const DYNAMIC: u32 = 6;
const NOTE: u32 = 7;
const DYNSYM: u32 = 11;
const PROGBITS: u32 = 1;

/// A section: name, type, address, content, linked section.
struct Section(String, u32, u64, Vec<u8>, u32);

/// A file in the making.
pub(crate) struct MadeFile {
    code: Vec<u8>,
    symbols: Vec<u8>,
    exports: Vec<u8>,
    strings: Vec<u8>,
    interpreter: Option<String>,
    sections: Vec<Section>,
    dynamic: Vec<u8>,
    relocations: Vec<u8>,
}

impl MadeFile {
    pub(crate) fn new() -> Self {
        Self {
            code: Vec::new(),
            symbols: vec![0; 24],
            exports: vec![0; 24],
            strings: vec![0],
            interpreter: None,
            sections: Vec::new(),
            dynamic: Vec::new(),
            relocations: Vec::new(),
        }
    }

    /// The executable segment, mapped at [`CODE_ADDRESS`].
    pub(crate) fn code(mut self, hex: &str) -> Self {
        self.code = unhex(hex);
        self
    }

    fn name(&mut self, name: &[u8]) -> u32 {
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name);
        self.strings.push(0);
        at
    }

    fn entry(&mut self, name: &[u8], kind: u8, section: u16, address: u64, size: u64) -> Vec<u8> {
        let mut entry = self.name(name).to_le_bytes().to_vec();
        entry.extend([0x10 | kind, 0]);
        entry.extend(section.to_le_bytes());
        entry.extend(address.to_le_bytes());
        entry.extend(size.to_le_bytes());
        entry
    }

    /// A symbol of the full table; `section` 0 is undefined.
    pub(crate) fn symbol(mut self, name: &[u8], kind: u8, section: u16, address: u64, size: u64) -> Self {
        let entry = self.entry(name, kind, section, address, size);
        self.symbols.extend(entry);
        self
    }

    /// A symbol of the dynamic table.
    pub(crate) fn export(mut self, name: &str, kind: u8, section: u16, address: u64, size: u64) -> Self {
        let entry = self.entry(name.as_bytes(), kind, section, address, size);
        self.exports.extend(entry);
        self
    }

    pub(crate) fn function(self, name: &str, address: u64, size: u64) -> Self {
        self.symbol(name.as_bytes(), FUNC, 1, address, size)
    }

    /// A pointer that the loader fills with an imported function (relocation type 7 or 6).
    pub(crate) fn import(mut self, name: &str, slot: u64, relocation: u64) -> Self {
        let symbol = self.exports.len() as u64 / 24;
        self = self.export(name, FUNC, 0, 0, 0);
        for word in [slot, symbol << 32 | relocation, 0] {
            self.relocations.extend(word.to_le_bytes());
        }
        self
    }

    pub(crate) fn interpreter(mut self, path: &str) -> Self {
        self.interpreter = Some(format!("{path}\0"));
        self
    }

    pub(crate) fn section(mut self, name: &str, address: u64, content: Vec<u8>) -> Self {
        self.sections.push(Section(name.to_owned(), PROGBITS, address, content, 0));
        self
    }

    pub(crate) fn note(mut self, name: &str, kind: u32, content: &[u8]) -> Self {
        let mut note = Vec::new();
        for word in [u32::try_from(name.len()).unwrap() + 1, u32::try_from(content.len()).unwrap(), kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [format!("{name}\0").as_bytes(), content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        self.sections.push(Section(".note".to_owned(), NOTE, 0, note, 0));
        self
    }

    /// An unwind table with one entry for all the code: CFA rsp+8, return address at c-8, then these rules.
    pub(crate) fn unwind(self, rules: &str) -> Self {
        let padded = |mut entry: Vec<u8>| {
            entry.resize((entry.len() + 4).next_multiple_of(8) - 4, 0);
            let mut whole = u32::try_from(entry.len()).unwrap().to_le_bytes().to_vec();
            whole.append(&mut entry);
            whole
        };
        // Version 1, no augmentation, code alignment 1, data alignment -8, return address in column 16.
        let mut table = padded(unhex("00000000 01 00 01 78 10 0c0708 9001"));
        let mut entry = u32::try_from(table.len() + 4).unwrap().to_le_bytes().to_vec();
        entry.extend(CODE_ADDRESS.to_le_bytes());
        entry.extend((self.code.len() as u64).to_le_bytes());
        entry.extend(unhex(rules));
        table.extend(padded(entry));
        table.extend([0; 4]);
        self.section(".eh_frame", 0x8000, table)
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut file = vec![0; usize::try_from(CODE_OFFSET).unwrap()];
        file.extend(&self.code);
        let interpreter = self.interpreter.take().unwrap_or_default();
        let interpreter_offset = file.len() as u64;
        file.extend(interpreter.as_bytes());

        // 1 is .text, 2 the strings, 3 the exports.
        let mut sections =
            vec![Section(".strtab".to_owned(), STRTAB, 0, std::mem::take(&mut self.strings), 0)];
        sections.push(Section(".dynsym".to_owned(), DYNSYM, 0, self.exports, 2));
        sections.push(Section(".dynamic".to_owned(), DYNAMIC, 0, self.dynamic, 2));
        sections.push(Section(".rela.plt".to_owned(), RELA, 0, self.relocations, 3));
        if self.symbols.len() > 24 {
            sections.push(Section(".symtab".to_owned(), SYMTAB, 0, self.symbols, 2));
        }
        sections.append(&mut self.sections);

        let mut names = b"\0.text\0".to_vec();
        let mut headers = vec![0; 64];
        headers.extend(section_header(1, PROGBITS, CODE_ADDRESS, CODE_OFFSET, self.code.len() as u64, 0));
        for Section(name, kind, address, content, link) in sections {
            file.resize(file.len().next_multiple_of(8), 0);
            let (offset, size) = (file.len() as u64, content.len() as u64);
            let name_at = u32::try_from(names.len()).unwrap();
            names.extend(format!("{name}\0").as_bytes());
            headers.extend(section_header(name_at, kind, address, offset, size, link));
            file.extend(content);
        }
        let (offset, size) = (file.len() as u64, names.len() as u64);
        headers.extend(section_header(0, STRTAB, 0, offset, size, 0));
        file.extend(&names);
        file.resize(file.len().next_multiple_of(8), 0);
        let table = file.len() as u64;
        let count = u16::try_from(headers.len() / 64).unwrap();
        file.extend(headers);

        let mut start = file_header(table, count);
        start.extend(program_header(1, 5, CODE_OFFSET, CODE_ADDRESS, self.code.len() as u64));
        start.extend(program_header(3, 4, interpreter_offset, 0, interpreter.len() as u64));
        file[..start.len()].copy_from_slice(&start);
        file
    }
}

fn file_header(section_table: u64, sections: u16) -> Vec<u8> {
    let mut header = unhex("7f454c46 02 01 01 00 0000000000000000 0300 3e00 01000000 0000000000000000");
    header.extend(64_u64.to_le_bytes());
    header.extend(section_table.to_le_bytes());
    header.extend([0; 4]);
    for half in [64, 56, 2, 64, sections, sections - 1] {
        header.extend(half.to_le_bytes());
    }
    header
}

fn program_header(kind: u32, flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut header = [kind, flags].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    header.extend([offset, address, address, size, size, 1].iter().flat_map(|word| word.to_le_bytes()));
    header
}

fn section_header(name: u32, kind: u32, address: u64, offset: u64, size: u64, link: u32) -> Vec<u8> {
    let mut header = [name, kind].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    header.extend([0, address, offset, size].iter().flat_map(|word| word.to_le_bytes()));
    header.extend([link, 0].iter().flat_map(|word| word.to_le_bytes()));
    header.extend([4_u64, 24].iter().flat_map(|word| word.to_le_bytes()));
    header
}
