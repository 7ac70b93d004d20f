//! Code of a file that a process has replaced by a copy in memory without a file.
//!
//! Some programs copy their own code into anonymous memory, mostly of huge pages, and map that over the code: iodlr,
//! `node --use-largepages`, HHVM, BOLT's `--hugify`. The addresses stay the same, so the program headers of the file
//! show what is where.

use std::{collections::HashMap, ops::Range};

use super::maps::{DeviceInode, Mapping, Rights};
use crate::elf::Loaded;

const PAGE_MASK: u64 = 4095;

/// A file, and the parts of it that the kernel maps.
type File<I> = (I, Vec<Loaded>);

/// Splits executable memory without a file: ranges that replace the code of a file, with that file, and the rest, which
/// was made at run time. `all` are the mappings of the process, by address. `open` returns the file of a mapping and
/// the parts that the kernel maps. It is called once for each file: a compiler may have made thousands of regions
/// beside one library.
pub(super) fn parts<I: Copy>(
    made: &[Mapping],
    all: &[(Mapping, Rights)],
    open: &mut dyn FnMut(&Mapping) -> Option<File<I>>,
) -> Vec<(Mapping, Option<I>)> {
    let files: Vec<&Mapping> = all.iter().map(|(mapping, _)| mapping).filter(|m| m.file.inode != 0).collect();
    let mut opened: HashMap<DeviceInode, Option<File<I>>> = HashMap::new();
    let parts_of = |made: &Mapping| {
        let index = files.partition_point(|mapping| mapping.start < made.start);
        // What is left of the file's own mappings: its header before its code, and its data after it.
        let neighbours = [index.checked_sub(1).and_then(|before| files.get(before)), files.get(index)];
        for neighbour in neighbours.into_iter().flatten() {
            let file = opened.entry(neighbour.file).or_insert_with(|| open(neighbour));
            let Some((id, loaded)) = file else { continue };
            let mut found =
                biases(neighbour, loaded).into_iter().map(|bias| replaced(made, neighbour, loaded, bias));
            if let Some(found) = found.find(|found| !found.is_empty()) {
                return divide(made, found, *id);
            }
        }
        vec![(made.clone(), None)]
    };
    made.iter().flat_map(parts_of).collect()
}

/// Possible differences between addresses in the process and in the file, the most likely first. A page of the file may
/// contain the end of one part and the beginning of the next, and is then mapped twice. A mapping begins where a part
/// does, unless it was split since.
fn biases(mapping: &Mapping, loaded: &[Loaded]) -> Vec<u64> {
    let bias = |part: &Loaded| {
        let first = part.file_offset & !PAGE_MASK;
        let size = part.addresses.end - part.addresses.start;
        let holds = (first..part.file_offset.saturating_add(size)).contains(&mapping.offset);
        let address = (part.addresses.start & !PAGE_MASK).wrapping_add(mapping.offset.wrapping_sub(first));
        holds.then(|| (first != mapping.offset, mapping.start.wrapping_sub(address)))
    };
    let mut found: Vec<(bool, u64)> = loaded.iter().filter_map(bias).collect();
    found.sort_by_key(|(divided, _)| *divided);
    found.into_iter().map(|(_, bias)| bias).collect()
}

/// The ranges of `made` that replace code of the file, as mappings of that file.
fn replaced(made: &Mapping, of: &Mapping, loaded: &[Loaded], bias: u64) -> Vec<Mapping> {
    let part = |part: &Loaded| {
        let first = (part.addresses.start & !PAGE_MASK).wrapping_add(bias);
        let end = (part.addresses.end.checked_add(PAGE_MASK)? & !PAGE_MASK).wrapping_add(bias);
        let Range { start, end } = first.max(made.start)..end.min(made.end);
        let offset = (part.file_offset & !PAGE_MASK).wrapping_add(start.wrapping_sub(first));
        (start < end).then(|| Mapping { start, end, offset, file: of.file, path: of.path.clone() })
    };
    let mut found: Vec<Mapping> = loaded.iter().filter(|part| part.executable).filter_map(part).collect();
    found.sort_by_key(|mapping| mapping.start);
    found
}

/// Splits `made` into the ranges that were found and the rest between them.
fn divide<I: Copy>(made: &Mapping, found: Vec<Mapping>, id: I) -> Vec<(Mapping, Option<I>)> {
    let mut parts = Vec::new();
    let mut from = made.start;
    let rest = |start: u64, end: u64| (start < end).then(|| (Mapping { start, end, ..made.clone() }, None));
    for mapping in found {
        parts.extend(rest(from, mapping.start));
        from = from.max(mapping.end);
        parts.push((mapping, Some(id)));
    }
    parts.extend(rest(from, made.end));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::maps::parse_all;

    const FILE: DeviceInode = DeviceInode { device: (8, 1), inode: 7 };

    /// A head, code from 0x1040 on, and data whose first page is the last one of the code.
    fn program() -> Vec<Loaded> {
        let part = |addresses, file_offset, executable| Loaded { addresses, file_offset, executable };
        vec![
            part(0..0x800, 0, false),
            part(0x1040..0x5e00, 0x1040, true),
            part(0x6e00..0x7100, 0x5e00, false),
        ]
    }

    fn found(maps: &str, at: usize) -> Vec<(u64, u64, u64, Option<u8>)> {
        let all = parse_all(maps.as_bytes());
        let mut open = |mapping: &Mapping| (mapping.file == FILE).then(|| (1, program()));
        let parts = parts(std::slice::from_ref(&all[at].0), &all, &mut open);
        parts.iter().map(|(m, id)| (m.start, m.end, m.offset, *id)).collect()
    }

    #[test]
    fn code_that_was_moved_keeps_its_file() {
        let maps = "500000-501000 r--p 00000000 08:01 7 /srv\n501000-502000 r-xp 00001000 08:01 7 /srv\n\
            502000-506000 rwxp 00000000 00:00 0 \n506000-507000 r--p 00005000 08:01 7 /srv\n";
        assert_eq!(found(maps, 2), [(0x50_2000, 0x50_6000, 0x2000, Some(1))]);
        // Nothing but the data is left.
        let maps = "501000-506000 rwxp 00000000 00:00 0 \n506000-507000 r--p 00005000 08:01 7 /srv\n";
        assert_eq!(found(maps, 0), [(0x50_1000, 0x50_6000, 0x1000, Some(1))]);
    }

    #[test]
    fn a_file_is_read_once_however_much_code_was_made_beside_it() {
        let mut maps = "500000-501000 r--p 00000000 08:01 7 /srv\n".to_owned();
        for made in 0..1000 {
            maps.push_str(&format!("{0:x}000-{0:x}800 rwxp 00000000 00:00 0 \n", 0x70_0000 + made));
        }
        let all = parse_all(maps.as_bytes());
        let made: Vec<Mapping> = all.iter().skip(1).map(|(mapping, _)| mapping.clone()).collect();
        let mut reads = 0;
        let mut open = |_: &Mapping| {
            reads += 1;
            Some((1, program()))
        };
        let parts = parts(&made, &all, &mut open);
        assert_eq!((parts.len(), reads), (1000, 1));
        assert!(parts.iter().all(|(_, id)| id.is_none()));
    }

    #[test]
    fn what_lies_beside_it_was_made() {
        let maps = "500000-501000 r--p 00000000 08:01 7 /srv\n\
            501000-50a000 rwxp 00000000 00:00 0 [anon:code]\n";
        let made = (0x50_6000, 0x50_a000, 0, None);
        assert_eq!(found(maps, 1), [(0x50_1000, 0x50_6000, 0x1000, Some(1)), made]);
    }

    #[test]
    fn code_that_was_made_stays_so() {
        let maps = "500000-501000 r--p 00000000 08:01 7 /srv\n501000-506000 r-xp 00001000 08:01 7 /srv\n\
            506000-508000 rw-p 00005000 08:01 7 /srv\n7f0000-7f4000 rwxp 00000000 00:00 0 \n\
            800000-801000 r--p 00000000 08:01 9 /data\n";
        assert_eq!(found(maps, 3), [(0x7f_0000, 0x7f_4000, 0, None)]);
        assert_eq!(found("7f0000-7f4000 rwxp 00000000 00:00 0 \n", 0), [(0x7f_0000, 0x7f_4000, 0, None)]);
    }
}
