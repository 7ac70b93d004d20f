//! Which entry is in force where.

use profiler_common::unwind::Row;

use super::{CODE_ADDRESS, Frames, made, rsp, rule};
use crate::elf::tests::{build::MadeFile, unhex};
use crate::unwind::table::{PADDING_BYTES, Table};

/// Checks the rule from each address up to the next one.
fn assert_rules(table: &Table, want: &[(u64, Row)]) {
    let ends = want.iter().map(|&(at, _)| at).skip(1).chain([0x400]);
    for (&(start, row), end) in want.iter().zip(ends) {
        for at in start..end {
            assert_eq!(rule(table, CODE_ADDRESS + at), row, "+{at:#x}");
        }
    }
}

fn frames(functions: &[(u64, u64, &str)]) -> Table {
    let all = functions.iter().fold(Frames::usual(), |frames, (start, size, rules)| {
        frames.function(CODE_ADDRESS + start, *size, rules)
    });
    all.table(0x300).unwrap()
}

#[test]
fn padding_keeps_the_rule_and_gaps_do_not() {
    let (edge, beyond) = (0x20 + PADDING_BYTES, 0x20 + PADDING_BYTES + 1);
    let with_padding = frames(&[(0x10, 0x10, "0e10"), (edge, 0x10, "0e20")]);
    assert_rules(
        &with_padding,
        &[(0, Row::NONE), (0x10, rsp(16)), (edge, rsp(32)), (edge + 0x10, Row::NONE)],
    );
    let with_gap = frames(&[(0x10, 0x10, "0e10"), (beyond, 0x10, "0e20")]);
    let want =
        [(0, Row::NONE), (0x10, rsp(16)), (0x20, Row::NONE), (beyond, rsp(32)), (beyond + 0x10, Row::NONE)];
    assert_rules(&with_gap, &want);
}

#[test]
fn order_in_the_section_does_not_matter() {
    let functions = [(0x0, 0x40, "0e10"), (0x40, 0x40, "0e18"), (0x100, 0x180, "0e20")];
    let mut turned = functions;
    turned.reverse();
    let (one, other) = (frames(&functions), frames(&turned));
    assert!(one.segments() == other.segments() && one.rows() == other.rows());
}

#[test]
fn of_entries_that_overlap_the_last_to_begin_counts() {
    let table = frames(&[(0x0, 0x200, "0e10"), (0x40, 0x20, "0e18 5f 0e28")]);
    let want = [(0, rsp(16)), (0x40, rsp(24)), (0x5f, rsp(40)), (0x60, Row::NONE)];
    assert_rules(&table, &want);
    // Of two at one address, the first.
    let table = frames(&[(0x40, 0x20, "0e18"), (0x0, 0x20, "0e20"), (0x0, 0x30, "0e28")]);
    assert_rules(&table, &[(0, rsp(32)), (0x20, Row::NONE), (0x40, rsp(24)), (0x60, Row::NONE)]);
}

#[test]
fn entries_outside_of_the_code_are_left_out() {
    let outside = [
        (0x0, 0x40, "0e10"),
        (0x300, 0x10, "0e18"),
        (0x8000, 0x10, "0e18"),
        (0_u64.wrapping_sub(CODE_ADDRESS), 0x10, "0e18"),
        (0_u64.wrapping_sub(CODE_ADDRESS + 0x10), 0x10, "0e18"),
    ];
    let all = outside.iter().fold(Frames::usual(), |frames, (start, size, rules)| {
        frames.function(CODE_ADDRESS.wrapping_add(*start), *size, rules)
    });
    let table = all.table(0x300).unwrap();
    assert_eq!(table.stats().functions, 1);
    assert_rules(&table, &[(0, rsp(16)), (0x40, Row::NONE)]);
    // One that begins in the code and ends with the address space; and one that goes around it.
    let table = frames(&[(0x100, u64::MAX, "0e10"), (0x280, u64::MAX - CODE_ADDRESS - 0x280, "0e10")]);
    assert_rules(&table, &[(0, Row::NONE), (0x280, rsp(16)), (0x300, Row::NONE)]);
    assert_eq!(rule(&table, u64::MAX), Row::NONE);
}

#[test]
fn what_cannot_be_decoded_is_unsupported_from_there_on() {
    let table = frames(&[(0x0, 0x40, "0e10 50 3f 50 0e20"), (0x40, 0x40, "0e18")]);
    assert_rules(&table, &[(0, rsp(16)), (0x10, Row::UNSUPPORTED), (0x40, rsp(24)), (0x80, Row::NONE)]);
    let stats = table.stats();
    assert_eq!((stats.damaged, stats.unsupported_changes, stats.functions), (1, 1, 2));
    // An entry whose common part does not exist has no addresses.
    let table = Frames::usual()
        .function(CODE_ADDRESS, 0x40, "0e10")
        .entry(&unhex("ff0f0000 4010000000000000 4000000000000000 0e18"))
        .function(CODE_ADDRESS + 0x80, 0x40, "0e20")
        .table(0x300)
        .unwrap();
    assert_eq!((table.stats().damaged, table.stats().functions), (1, 2));
    assert_rules(&table, &[(0, rsp(16)), (0x40, Row::NONE), (0x80, rsp(32)), (0xc0, Row::NONE)]);
}

#[test]
fn an_empty_entry_is_not_the_end_of_a_section() {
    let table = Frames::usual()
        .function(CODE_ADDRESS, 0x40, "0e10")
        .raw("00000000")
        .function(CODE_ADDRESS + 0x40, 0x40, "0e18")
        .raw("00000000")
        .table(0x300)
        .unwrap();
    assert_rules(&table, &[(0, rsp(16)), (0x40, rsp(24)), (0x80, Row::NONE)]);
    assert_eq!(table.stats().damaged, 0);
}

#[test]
fn debug_frame_fills_what_eh_frame_leaves_out() {
    // In .debug_frame a common part is marked by all ones, and pointed to from the start of the section.
    let shared = "14000000 ffffffff 01 00 01 78 10 0c0708 9001 00000000 0000";
    let entry = |start: u64, rules: &str| {
        let bytes: Vec<String> = start.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("1c000000 00000000 {} 4000000000000000 {rules} 0000000000", bytes.concat())
    };
    let debug = unhex(&format!(
        "{shared} {} {} {} {}",
        // The last two: a function that .eh_frame describes in part, and one that the linker dropped.
        entry(CODE_ADDRESS, "410e20"),
        entry(CODE_ADDRESS + 0x100, "000e28"),
        entry(CODE_ADDRESS + 0x70, "000e30"),
        entry(0, "000e38"),
    ));
    let eh = Frames::usual().function(CODE_ADDRESS + 0x80, 0x40, "0e10");
    let file = MadeFile::new()
        .code(&"90".repeat(0x300))
        .section(".eh_frame", 0x8000, eh.0.clone())
        .section(".debug_frame", 0, debug.clone())
        .bytes();
    let table = made(file).unwrap();
    let want = [(0, rsp(8)), (1, rsp(32)), (0x40, Row::NONE), (0x80, rsp(16)), (0xc0, Row::NONE)];
    assert_rules(&table, &[&want[..], &[(0x100, rsp(40)), (0x140, Row::NONE)]].concat());
    // Alone.
    let file = MadeFile::new().code(&"90".repeat(0x300)).section(".debug_frame", 0, debug).bytes();
    let table = made(file).unwrap();
    let want =
        [(0, rsp(8)), (1, rsp(32)), (0x40, Row::NONE), (0x70, rsp(48)), (0xb0, Row::NONE), (0x100, rsp(40))];
    assert_rules(&table, &[&want[..], &[(0x140, Row::NONE)]].concat());
}

#[test]
fn what_has_no_entry_is_known_by_name_or_by_its_bytes() {
    let musl = |name: &str| {
        MadeFile::new()
            .code(&"90".repeat(0x300))
            .section(".eh_frame", 0x8000, Frames::usual().function(CODE_ADDRESS, 0x20, "0e10").0)
            .function(name, CODE_ADDRESS + 0x10, 0x30)
            .function("start", CODE_ADDRESS + 0x100, 0x20)
    };
    let table = made(musl("libc_start_main_stage2").bytes()).unwrap();
    let want = [(0, rsp(16)), (0x100, Row::END), (0x120, Row::NONE)];
    assert_eq!(rule(&table, CODE_ADDRESS + 0x10), rsp(16), "an entry counts more than a name");
    assert_rules(&table, &[(0, rsp(16)), (0x20, Row::NONE), want[1], want[2]]);
    let table = made(musl("main").bytes()).unwrap();
    assert_eq!(rule(&table, CODE_ADDRESS + 0x100), Row::NONE, "only in musl does `start` start threads");

    let jumps = |bytes: &str| {
        let made_file = MadeFile::new().code(&"90".repeat(0x300));
        let made_file = made_file.section(".plt", CODE_ADDRESS + 0x40, unhex(bytes));
        made_file.section(".eh_frame", 0x8000, Frames::usual().function(CODE_ADDRESS, 0x20, "0e10").0)
    };
    let table = made(jumps("ff25 11223344 6690 ff25 11223344 6690").bytes()).unwrap();
    assert_rules(&table, &[(0, rsp(16)), (0x20, Row::NONE), (0x40, rsp(8)), (0x50, Row::NONE)]);
    let table = made(jumps("ff25 11223344 6690 68 01000000 909090").bytes()).unwrap();
    assert_eq!(rule(&table, CODE_ADDRESS + 0x40), Row::NONE, "an entry of it pushes");
}
