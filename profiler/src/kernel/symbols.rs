//! Functions of the running kernel by address.

use std::{fs, io};

/// Every function that the kernel knows by name; modules included.
const SYMBOLS: &str = "/proc/kallsyms";

/// The kernel's functions.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Address and name, sorted by address.
    functions: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads those of the running kernel. Without the privilege to see addresses, the kernel shows zeroes, and nothing is known.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub(crate) fn of_kernel() -> io::Result<Symbols> {
        Ok(Symbols::parse(&String::from_utf8_lossy(&fs::read(SYMBOLS)?)))
    }

    /// From lines of address, type and name, and the module if it is of one.
    fn parse(text: &str) -> Symbols {
        let line = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            let address = u64::from_str_radix(address, 16).ok()?;
            (matches!(kind, "t" | "T" | "w" | "W") && address != 0).then(|| (address, name.to_owned()))
        };
        let mut functions: Vec<(u64, String)> = text.lines().filter_map(line).collect();
        // Of several names of one function, the first is kept.
        functions.sort_by_key(|(address, _)| *address);
        functions.dedup_by_key(|(address, _)| *address);
        Symbols { functions }
    }

    /// The name of the function that a return address lies in, without the suffixes that compilers add to parts and copies of functions.
    pub(crate) fn of_return(&self, address: u64) -> Option<&str> {
        // The call may be the last instruction of its function.
        let within = address.checked_sub(1)?;
        let behind = self.functions.partition_point(|(first, _)| *first <= within);
        let (_, name) = self.functions.get(behind.checked_sub(1)?)?;
        Some(name.split('.').next().unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_address_lies_behind_its_call() {
        let text = "ffffffff81000000 T _text\nffffffff81000000 T startup\nffffffff81000100 t io_schedule\n\
                    ffffffff81000200 D data\nffffffff81000300 t wait.isra.0\nffffffffc0000000 t ext4_sync [ext4]\nnot a line\n";
        let symbols = Symbols::parse(text);
        let of = |address| symbols.of_return(address);
        assert_eq!(of(0xffff_ffff_8100_0000), None);
        assert_eq!(of(0xffff_ffff_8100_0100), Some("_text"));
        assert_eq!(of(0xffff_ffff_8100_0101), Some("io_schedule"));
        assert_eq!(of(0xffff_ffff_8100_0210), Some("io_schedule"), "data are no function");
        assert_eq!(of(0xffff_ffff_8100_0400), Some("wait"));
        assert_eq!(of(0xffff_ffff_c000_0001), Some("ext4_sync"));
        assert_eq!((of(0), Symbols::parse("0000000000000000 T hidden").of_return(8)), (None, None));
    }
}
