//! Rows and blocks against a plain list of changes.

use std::ops::Range;

use profiler_common::unwind::{BLOCK_BYTES, CHUNK_ROWS, Kind, Row};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Error, Table, rsp};
use crate::unwind::dictionary::Dictionary;
use crate::unwind::table::SPARE_ROWS;
use crate::unwind::table::pack::Packer;
use crate::unwind::table::read::Text;

fn pack(text: &[Range<u64>], changes: &[(u64, Row)]) -> Result<Table, Error> {
    let mut packer = Packer::new(&Text::of_ranges(text.to_vec()));
    for (address, row) in changes {
        packer.set(*address, *row)?;
    }
    packer.finish(Dictionary::default())
}

/// The rule that a list of changes has in force at an address.
fn in_force(changes: &[(u64, Row)], address: u64) -> Row {
    let behind = changes.partition_point(|change| change.0 <= address);
    behind.checked_sub(1).map_or(Row::NONE, |last| changes[last].1)
}

/// Compares every address of the text, and checks what holds for all blocks.
fn check(text: &[Range<u64>], changes: &[(u64, Row)]) {
    let table = pack(text, changes).unwrap();
    for address in text.iter().cloned().flatten() {
        assert_eq!(table.row(address).rule(), in_force(changes, address).rule(), "{address:#x}");
    }
    assert_eq!(table.rows().len() % CHUNK_ROWS, 0);
    for block in table.segments().iter().flat_map(|segment| &segment.blocks) {
        let (start, count) = (block.first_in_chunk() as usize, block.row_count() as usize);
        assert!(start + count <= CHUNK_ROWS, "{block:?} is in two chunks");
        let rows = &table.rows()[block.start_row() as usize..][..count];
        assert!(rows.iter().skip(1).is_sorted_by(|a, b| a.lo() < b.lo()), "{rows:?}");
    }
}

/// A change every `step` bytes.
fn every(step: u64, text: &Range<u64>) -> Vec<(u64, Row)> {
    let addresses = (text.start..text.end).step_by(step as usize);
    addresses.enumerate().map(|(index, address)| (address, rsp(8 * (1 + index as u32 % 7)))).collect()
}

#[test]
fn blocks_share_the_row_where_they_meet() {
    let text = 0x1000..0x1000 + 64 * BLOCK_BYTES;
    // One change in the middle of each block: one row each, and the first.
    let changes: Vec<_> =
        (0..64).map(|block| (0x1080 + block * BLOCK_BYTES, rsp(8 * (1 + block as u32 % 2)))).collect();
    let table = pack(std::slice::from_ref(&text), &changes).unwrap();
    let used = table.rows().iter().filter(|row| row.kind() != Kind::NONE).count();
    assert_eq!(used, 64);
    // No change at all: one row for all of them.
    let table = pack(&[text], &[(0x1000, rsp(8))]).unwrap();
    let blocks = &table.segments()[0].blocks;
    assert!(blocks.iter().all(|block| *block == blocks[0]) && blocks[0].row_count() == 1);
}

#[test]
fn full_blocks_and_the_borders_of_chunks() {
    for step in [1, 2, 3, 5, 7, 16, 255, 256, 257] {
        // As many blocks as fill some chunks, but never more rows than allowed.
        let size = (step * 3000).min(40 * BLOCK_BYTES);
        for start in [0, 1, 255, 0x1000, 0x1037] {
            let text = start..start + size;
            check(std::slice::from_ref(&text), &every(step, &text));
        }
    }
}

#[test]
fn segments_have_blocks_of_their_own() {
    let text = [
        0x1010..0x1020,
        0x1080..0x1180,
        0x20_0000..0x20_0300,
        0x20_0400..0x20_0500,
        0xffff_0000_0000..0xffff_0000_0010,
    ];
    let table = pack(&text, &[(0x1018, rsp(8)), (0x1100, rsp(16)), (0x20_0250, Row::NONE)]).unwrap();
    let firsts: Vec<(u64, usize)> =
        table.segments().iter().map(|segment| (segment.first_block, segment.blocks.len())).collect();
    assert_eq!(firsts, [(0x10, 2), (0x2000, 3), (0x2004, 1), (0xff_ff00_0000, 1)]);
    // A change in a gap is in force at the start of the next segment.
    check(&text, &[(0x1018, rsp(8)), (0x8000, rsp(16)), (0x20_0480, rsp(24)), (0x20_0600, Row::END)]);
    check(&text, &[]);
}

#[test]
fn rows_are_limited_by_the_text() {
    let most = SPARE_ROWS as u64;
    // A change at every byte is more than one row per 4 bytes.
    let text = 0..most * 2;
    let limit = usize::try_from(most * 2 / 4).unwrap() + SPARE_ROWS;
    let result = pack(std::slice::from_ref(&text), &every(1, &text)).map(|table| table.rows().len());
    assert_eq!(result, Err(Error::TooManyRows { limit, text_bytes: most * 2 }));
    let table = pack(std::slice::from_ref(&text), &every(2, &text)).unwrap();
    assert!(table.rows().len() <= limit.next_multiple_of(CHUNK_ROWS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_changes_in_any_segments(
        segments in vec((1_u64..1500, 1_u64..3000), 1..4),
        gaps in vec((1_u64..90, 0_u32..6), 0..400),
    ) {
        let mut end = 0;
        let mut text = Vec::new();
        for (gap, size) in segments {
            text.push(end + gap..end + gap + size);
            end += gap + size;
        }
        let mut address = 0;
        let mut changes = Vec::new();
        for (gap, number) in gaps {
            address += gap;
            changes.push((address, if number == 0 { Row::NONE } else { rsp(8 * number) }));
        }
        check(&text, &changes);
    }
}
