//! Tests on real entry code, on hand-made code, and on the files of this machine.

mod adversarial;
pub(crate) mod build;
mod entry_code;
mod forwards;
mod made_file;
mod own_files;
mod returns;
mod steps;

use std::collections::BTreeMap;

/// One function of a fixture file: `[name 0xaddress]`, then its bytes in hex.
struct Fixture {
    address: u64,
    code: Vec<u8>,
}

/// Reads `tests/fixtures/entry_code/*.txt`.
fn fixture(text: &str) -> BTreeMap<String, Fixture> {
    let mut functions = BTreeMap::new();
    let mut current: Option<&mut Fixture> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[') {
            let (name, address) = head.trim_end_matches(']').split_once(' ').unwrap();
            let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap();
            let entry = functions.entry(name.to_owned()).or_insert(Fixture { address, code: Vec::new() });
            current = Some(entry);
        } else {
            current.as_mut().unwrap().code.extend(unhex(line));
        }
    }
    functions
}

/// Bytes from hex; spaces are allowed.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
