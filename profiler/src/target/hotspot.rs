//! Options of a running HotSpot (OpenJDK), read from its memory. Its command line is not enough: options also come from
//! files, from the environment and from defaults.
//!
//! libjvm exports a description of its own structures for the JDK's Serviceability Agent (`vmStructs.hpp`): tables of
//! types and members, and the offsets of the columns of these tables. One of the types is the table of all options.

use std::{fs::File, os::unix::fs::FileExt as _};

use crate::{
    elf::{Image, runtime::Runtime},
    target::modules::{Layout, Modules},
};

/// Most entries of a table, and most options, that are read: JDK 21 has about 3000 entries and 1500 options.
const MOST: usize = 20_000;
/// Bytes of the longest name that is compared.
const NAME_BYTES: usize = 64;

/// Address of a boolean option in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    address: u64,
}

impl Switch {
    /// Finds an option of the Java virtual machine in a process; `None` if it has no such option, or does not describe
    /// it.
    pub(crate) fn find(pid: u32, option: &str, layout: &Layout, modules: &Modules) -> Option<Switch> {
        let is_jvm = |path| Runtime::of_file(path) == Some(Runtime::Jvm);
        let (mapping, id) = layout.files().find(|(mapping, _)| is_jvm(&mapping.path))?;
        let bytes = modules.get(id)?.bytes().ok()?;
        let image = Image::parse(&bytes).ok()?;
        let (code, address) = image.code_segments().next()?;
        let bias = mapping.start.wrapping_sub(mapping.offset).wrapping_add(code.start).wrapping_sub(address);
        let symbols = image.addresses(SYMBOLS);
        let symbol = |name: &str| {
            let at = SYMBOLS.iter().position(|symbol| *symbol == name)?;
            symbols.get(at).copied().flatten().map(|address| address.wrapping_add(bias))
        };
        let memory = Memory(File::open(format!("/proc/{pid}/mem")).ok()?);
        memory.option(option, &symbol).map(|address| Switch { address })
    }

    /// Whether it is on; `None` if the process is gone. It is off until the virtual machine has read its options.
    pub(crate) fn is_on(self, pid: u32) -> Option<bool> {
        Memory(File::open(format!("/proc/{pid}/mem")).ok()?).bytes::<1>(self.address).map(|byte| byte != [0])
    }
}

const SYMBOLS: &[&str] = &[
    "gHotSpotVMStructs",
    "gHotSpotVMStructEntryTypeNameOffset",
    "gHotSpotVMStructEntryFieldNameOffset",
    "gHotSpotVMStructEntryOffsetOffset",
    "gHotSpotVMStructEntryAddressOffset",
    "gHotSpotVMStructEntryArrayStride",
    "gHotSpotVMTypes",
    "gHotSpotVMTypeEntryTypeNameOffset",
    "gHotSpotVMTypeEntrySizeOffset",
    "gHotSpotVMTypeEntryArrayStride",
];
/// The name of the type of an option: since JDK 10, and before.
const OPTION_TYPES: &[&str] = &["JVMFlag", "Flag"];

/// The memory of a process.
struct Memory(File);

impl Memory {
    fn bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact_at(&mut bytes, address).ok().map(|()| bytes)
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    /// The word at an offset from an address. Both were read from the target and may be anything: the sum wraps, and
    /// reading a bad address fails.
    fn member(&self, address: u64, offset: u64) -> Option<u64> {
        self.word(address.wrapping_add(offset))
    }

    /// Which of these names the text at a word is.
    fn names<'n>(&self, word: u64, wanted: &[&'n str]) -> Option<&'n str> {
        let mut name = [0; NAME_BYTES];
        // The text may end just before memory that cannot be read.
        let read = self.0.read_at(&mut name, word).ok()?;
        let name = name.get(..read)?.split(|byte| *byte == 0).next()?;
        wanted.iter().find(|wanted| wanted.as_bytes() == name).copied()
    }

    /// The address of an option's value.
    fn option(&self, option: &str, symbol: &impl Fn(&str) -> Option<u64>) -> Option<u64> {
        let column = |name: &str| self.word(symbol(name)?);
        let of_type = column("gHotSpotVMStructEntryTypeNameOffset")?;
        let of_field = column("gHotSpotVMStructEntryFieldNameOffset")?;
        let (offset, address) =
            (column("gHotSpotVMStructEntryOffsetOffset")?, column("gHotSpotVMStructEntryAddressOffset")?);
        let stride = column("gHotSpotVMStructEntryArrayStride")?;
        let mut table = Table::default();
        let mut entry = column("gHotSpotVMStructs")?;
        for _ in 0..MOST {
            let type_name = self.member(entry, of_type)?;
            if type_name == 0 {
                break;
            }
            if self.names(type_name, OPTION_TYPES).is_some() {
                match self.names(self.member(entry, of_field)?, &["flags", "numFlags", "_name", "_addr"]) {
                    // Static members have an address, others an offset.
                    Some("flags") => table.first = self.word(self.member(entry, address)?),
                    Some("numFlags") => table.count = self.word(self.member(entry, address)?),
                    Some("_name") => table.name = self.member(entry, offset),
                    Some("_addr") => table.value = self.member(entry, offset),
                    _ => {}
                }
            }
            entry = entry.wrapping_add(stride);
        }
        self.in_table(option, &table, self.size_of_option(symbol)?)
    }

    fn size_of_option(&self, symbol: &impl Fn(&str) -> Option<u64>) -> Option<u64> {
        let column = |name: &str| self.word(symbol(name)?);
        let of_name = column("gHotSpotVMTypeEntryTypeNameOffset")?;
        let (size, stride) =
            (column("gHotSpotVMTypeEntrySizeOffset")?, column("gHotSpotVMTypeEntryArrayStride")?);
        let mut entry = column("gHotSpotVMTypes")?;
        for _ in 0..MOST {
            let name = self.member(entry, of_name).filter(|name| *name != 0)?;
            if self.names(name, OPTION_TYPES).is_some() {
                return self.member(entry, size);
            }
            entry = entry.wrapping_add(stride);
        }
        None
    }

    fn in_table(&self, option: &str, table: &Table, size: u64) -> Option<u64> {
        let (first, count) = (table.first?, table.count?.min(MOST as u64));
        let (name, value) = (table.name?, table.value?);
        // The last entry has no name.
        let entries = (0..count).map(|nth| first.wrapping_add(nth.wrapping_mul(size)));
        let mut named = entries.filter(|entry| {
            self.member(*entry, name).is_some_and(|word| word != 0 && self.names(word, &[option]).is_some())
        });
        self.member(named.next()?, value)
    }
}

/// The table of options.
#[derive(Debug, Default)]
struct Table {
    first: Option<u64>,
    count: Option<u64>,
    /// Offset in an entry of the address of its name.
    name: Option<u64>,
    /// Offset in an entry of the address of its value.
    value: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        process::{Command, Stdio},
    };

    use super::*;

    /// What a Java virtual machine that was started with these options says of one of them.
    fn of_java(options: &[&str], option: &str) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("Waits.java");
        let text = "class Waits { public static void main(String[] a) throws Exception {\n\
                    System.out.println(\"READY\"); System.in.read(); } }\n";
        std::fs::write(&source, text).unwrap();
        let mut java = Command::new("java");
        java.args(["-XX:-UsePerfData", "-Xint"]).args(options).arg(&source);
        let mut java = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(java.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        let mut modules = Modules::default();
        let layout = Layout::read(java.id(), &mut modules).unwrap();
        let switch = Switch::find(java.id(), option, &layout, &modules);
        let is_on = switch.and_then(|switch| switch.is_on(java.id()));
        java.stdin.take().unwrap().write_all(b"x").unwrap();
        assert!(java.wait().unwrap().success());
        is_on
    }

    #[test]
    fn options_of_java_are_read_where_they_are() {
        assert_eq!(of_java(&[], "PreserveFramePointer"), Some(false));
        assert_eq!(of_java(&["-XX:+PreserveFramePointer"], "PreserveFramePointer"), Some(true));
        assert_eq!(of_java(&[], "NoSuchOption"), None);
    }

    /// A table whose columns, step and sizes are as large as words can be.
    #[test]
    fn words_that_are_not_addresses_are_refused() {
        let wrong = u64::MAX;
        let at = std::ptr::from_ref(&wrong).expose_provenance() as u64;
        let memory = Memory(File::open("/proc/self/mem").unwrap());
        assert_eq!(memory.word(at), Some(u64::MAX));
        assert_eq!(memory.option("PreserveFramePointer", &|_| Some(at)), None);
        let [first, name, value] = [Some(u64::MAX); 3];
        let table = Table { first, count: Some(3), name, value };
        assert_eq!(memory.in_table("PreserveFramePointer", &table, u64::MAX), None);
    }

    #[test]
    fn a_process_without_java_has_none() {
        let mut modules = Modules::default();
        let this = std::process::id();
        let layout = Layout::read(this, &mut modules).unwrap();
        assert_eq!(Switch::find(this, "PreserveFramePointer", &layout, &modules), None);
    }
}
