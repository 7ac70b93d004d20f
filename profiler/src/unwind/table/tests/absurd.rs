//! Files with contents that no compiler writes.

use profiler_common::unwind::Row;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{CODE_ADDRESS, Error, Frames, Table, made, rsp, rule};
use crate::elf;
use crate::elf::tests::{build::MadeFile, unhex};
use crate::unwind::table::SPARE_ROWS;

/// A section with entries of every kind.
fn varied() -> Frames {
    Frames::usual()
        .function(CODE_ADDRESS, 0x40, "41 0e10 8602 43 0d06 0a 50 0c0708 41 0b")
        .function(CODE_ADDRESS + 0x40, 0x40, "0f0b 7708 8000 3f 1a 3b 2a 33 24 22")
        .function(CODE_ADDRESS + 0x80, 0x40, "0c0a00 45 100602 7600 0f03 7658 06")
        .function(CODE_ADDRESS + 0xc0, 0x40, "0e00 091005 0e808004")
        .entry(&unhex("00000000 01 7a5300 01 78 10 00 0c0708 9001"))
        .raw("00000000")
}

#[test]
fn a_section_that_ends_anywhere() {
    let whole = varied();
    let functions = whole.table(0x100).unwrap().stats().functions;
    assert_eq!(functions, 4);
    for end in 0..whole.0.len() {
        match Frames(whole.0[..end].to_vec()).table(0x100) {
            Ok(table) => assert!(table.stats().functions <= functions),
            Err(error) => assert_eq!(error, Error::NoUnwindInformation, "{end}"),
        }
    }
}

#[test]
fn lengths_that_lie() {
    for length in [
        "ffffffff ffffffffffffffff",
        "ffffffff 0000000000000000",
        "fffffffe",
        "01000000",
        "03000000",
        "f0ffffff",
    ] {
        let table = Frames::usual().function(CODE_ADDRESS, 0x40, "0e10").raw(length).table(0x100).unwrap();
        assert_eq!(rule(&table, CODE_ADDRESS), rsp(16), "{length}");
        assert!(table.stats().damaged > 0, "{length}");
    }
}

#[test]
fn work_is_bounded() {
    // A common part of 6 000 instructions, and entries that would each execute it.
    let shared = format!("0c0708 9001 {}", "0a0b".repeat(3_000));
    let mut frames = Frames::default().shared(&shared);
    for index in 0..4_000 {
        frames = frames.function(CODE_ADDRESS + index, 1, "0e10");
    }
    let table = frames.table(4_000).unwrap();
    // Decoding one costs 6 KB, and each entry allows for 16 times its 32 bytes.
    let stats = table.stats();
    assert_eq!(stats.functions, 4_000);
    assert!((3_400..3_900).contains(&stats.damaged), "{stats:?}");
    // The first ones are decoded; the others have an unsupported rule.
    assert_eq!(rule(&table, CODE_ADDRESS), rsp(16));
    assert_eq!(rule(&table, CODE_ADDRESS + 3_900), Row::UNSUPPORTED);
}

#[test]
fn rows_are_bounded() {
    // A change at every byte.
    let size = 8 * SPARE_ROWS;
    let rules = "41 0e10 41 0e18".repeat(size / 2);
    let result = Frames::usual().function(CODE_ADDRESS, size as u64, &rules).table(size);
    let want = Error::TooManyRows { limit: size / 4 + SPARE_ROWS, text_bytes: size as u64 };
    assert_eq!(result.map(|table| table.rows().len()), Err(want));
}

#[test]
fn segments_that_are_larger_than_the_file() {
    // A program header table of `count` executable segments, all of the same bytes.
    let file = |count: u64| {
        let mut file = Frames::usual().function(CODE_ADDRESS, 0x40, "0e10").file(0x4000);
        let size = file.len() as u64;
        file[32..40].copy_from_slice(&size.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
        for index in 0..count {
            file.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes()));
            let address = CODE_ADDRESS + index * 0x10_0000;
            for word in [0x200, address, address, 0x4000, 0x4000, 1] {
                file.extend(u64::to_le_bytes(word));
            }
        }
        file
    };
    assert_eq!(made(file(1)).unwrap().segments().len(), 1);
    assert_eq!(made(file(2)).unwrap().segments().len(), 2);
    let many = file(100);
    let want = Error::AbsurdText { text_bytes: 100 * 0x4000, file_bytes: many.len() as u64 };
    assert_eq!(made(many).err(), Some(want));
}

#[test]
fn files_without_a_table() {
    let error = |file: Vec<u8>| made(file).err();
    assert_eq!(error(MadeFile::new().code("c3").bytes()), Some(Error::NoUnwindInformation));
    assert_eq!(error(Frames::default().file(16)), Some(Error::NoUnwindInformation));
    assert_eq!(error(Frames::usual().file(16)), Some(Error::NoUnwindInformation));
    assert_eq!(error(b"#!/bin/sh\n".to_vec()), Some(Error::Image(elf::Error::NotElf)));
    assert_eq!(error(Vec::new()), Some(Error::Image(elf::Error::NotElf)));
    // The only section cannot be read.
    let file =
        MadeFile::new().code("c3").section(".gnu_debuglink", 0, unhex("2e2e2f6100 000000 00000000")).bytes();
    assert_eq!(error(file), Some(Error::NoUnwindInformation));
}

/// Calls every function.
fn exercise(table: &Table) {
    for address in CODE_ADDRESS - 8..CODE_ADDRESS + 0x108 {
        let row = table.row(address);
        assert!((row.rare_index() as usize) < table.rules().rules().len() || row.kind() != 7);
    }
    assert!(table.rows().len() <= SPARE_ROWS + 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_sections_are_read_without_harm(changes in vec((any::<u16>(), any::<u8>()), 0..16)) {
        let mut frames = varied();
        for (at, value) in changes {
            let at = usize::from(at) % frames.0.len();
            frames.0[at] = value;
        }
        if let Ok(table) = frames.table(0x100) {
            exercise(&table);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..400), instructions in vec(any::<u8>(), 0..200)) {
        if let Ok(table) = Frames(bytes).table(0x100) {
            exercise(&table);
        }
        let hex: String = instructions.iter().map(|byte| format!("{byte:02x}")).collect();
        let table = Frames::usual().function(CODE_ADDRESS, 0x100, &hex).table(0x100).unwrap();
        exercise(&table);
        prop_assert_eq!(table.stats().functions, 1);
    }
}
