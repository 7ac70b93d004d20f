//! Code made to mislead.

use iced_x86::{Decoder, DecoderOptions};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy as _};

use super::super::placement::{ArgUse, Obstacle, Site, SiteReason, is_emulated, site};
use super::unhex;

const ENTRY: u64 = 0x1000;

#[track_caller]
fn expect(hex: &str, arguments: u32, offset: u64, emulated: bool, reason: SiteReason) {
    let got = site(&unhex(hex), ENTRY, ArgUse::first(arguments));
    assert_eq!(got, Site { offset, emulated, reason }, "{hex}: {}", got.reason);
}

#[track_caller]
fn stuck(hex: &str, arguments: u32, obstacle: Obstacle) {
    expect(hex, arguments, 0, false, SiteReason::EntryOnly(obstacle));
}

#[track_caller]
fn past(hex: &str, offset: u64, skipped: u32) {
    expect(hex, 6, offset, true, SiteReason::PastSetup { skipped });
}

#[test]
fn each_argument_register_counts_in_every_width() {
    // mov $1,%edi; push %rbx; ret
    stuck("bf01000000 53 c3", 1, Obstacle::ArgumentChanged(0));
    expect("bf01000000 53 c3", 0, 5, true, SiteReason::PastSetup { skipped: 1 });
    // mov $1,%sil
    stuck("40b601 53 c3", 2, Obstacle::ArgumentChanged(0));
    expect("40b601 53 c3", 1, 3, true, SiteReason::PastSetup { skipped: 1 });
    // mov $1,%dh
    stuck("b601 53 c3", 3, Obstacle::ArgumentChanged(0));
    // xor %ecx,%ecx
    stuck("31c9 53 c3", 4, Obstacle::ArgumentChanged(0));
    // inc %r8; xchg %rax,%r9
    stuck("49ffc0 53 c3", 5, Obstacle::ArgumentChanged(0));
    stuck("4991 53 c3", 6, Obstacle::ArgumentChanged(0));
    // cmove %rax,%rdi writes sometimes, which is enough.
    stuck("480f44f8 53 c3", 1, Obstacle::ArgumentChanged(0));
    // cpuid writes rcx and rdx without naming them, and rbx, which is the caller's.
    stuck("0fa2 53 c3", 0, Obstacle::CallerRegisterChanged(0));
    // One argument alone: mov $1,%edi does not touch rsi.
    let only_second = site(&unhex("bf01000000 53 c3"), ENTRY, ArgUse::NONE.and(1));
    assert_eq!(only_second.offset, 5);
}

#[test]
fn the_frame_of_the_caller_stays_whole() {
    // sub $8,%rsp; push %rbx
    stuck("4883ec08 53 c3", 1, Obstacle::StackMoved(0));
    // pushf moves rsp as well, and is not emulated; so does enter; push $1 too.
    stuck("9c 53 c3", 1, Obstacle::StackMoved(0));
    stuck("6a01 53 c3", 1, Obstacle::StackMoved(0));
    // mov %rsp,%rbp
    stuck("4889e5 53 c3", 1, Obstacle::CallerRegisterChanged(0));
    // mov %rdi,%rbx; xor %r12d,%r12d
    stuck("4889fb 53 c3", 1, Obstacle::CallerRegisterChanged(0));
    stuck("4531e4 53 c3", 1, Obstacle::CallerRegisterChanged(0));
    // mov %rdi,(%rsp) writes over the return address; mov %rdi,-8(%rsp) and incl 0(%rip) are not told apart from it.
    stuck("48893c24 53 c3", 1, Obstacle::MemoryWritten(0));
    stuck("48897c24f8 53 c3", 1, Obstacle::MemoryWritten(0));
    stuck("ff0500000000 53 c3", 1, Obstacle::MemoryWritten(0));
}

#[test]
fn reading_is_harmless() {
    // mov 0(%rip),%rax; mov %fs:0x28,%rax; test %rax,%rax; jne +0
    past("488b0500000000 64488b042528000000 4885c0 7500 c3", 0x13, 3);
}

#[test]
fn jumps_to_the_site_or_before_it() {
    // test; push %rbx; nop; jmp back to the push / to the test / behind the push.
    expect("4885ff 53 90 ebfc", 1, 0, false, SiteReason::EntryOnly(Obstacle::JumpFrom(ENTRY + 5)));
    expect("4885ff 53 90 ebf9", 1, 0, false, SiteReason::EntryOnly(Obstacle::JumpFrom(ENTRY + 5)));
    past("4885ff 53 90 ebfd", 3, 1);
    // mov; test; push; je into the middle of the straight line.
    stuck("4889f8 4885ff 53 74fa c3", 1, Obstacle::JumpFrom(ENTRY + 7));
    // The jump stands inside of an instruction that another jump leads into: 48 b8 <ebf4...> is a mov.
    stuck("4885ff 53 eb02 48b8 ebf9 909090909090 c3", 1, Obstacle::JumpFrom(ENTRY + 8));
    // A call into the straight line; a call of the entry is a call like any other.
    stuck("4885ff 53 e8faffffff c3", 1, Obstacle::JumpFrom(ENTRY + 4));
    past("4885ff 53 e8f7ffffff c3", 3, 1);
    // An emulated entry that is jumped back to is all there is, but counts twice.
    expect("53 90 ebfc", 1, 0, true, SiteReason::EntryOnly(Obstacle::JumpFrom(ENTRY + 2)));
}

#[test]
fn jumps_to_unknown_places() {
    // test; push; jmp *%rax  /  jmp *(%rdx,%rax,8)
    stuck("4885ff 53 ffe0", 1, Obstacle::UnknownJump(4));
    stuck("4885ff 53 ff24c2", 1, Obstacle::UnknownJump(4));
    // Through the global offset table: a tail call.
    past("4885ff 53 ff2500100000", 3, 1);
}

#[test]
fn the_straight_line_ends() {
    for before in ["c3", "0f05", "ffd0", "ffe0", "cc", "0f0b", "cd80", "66e900000000", "f2ff25ff000000"] {
        stuck(&format!("{before} 53 c3"), 1, Obstacle::StraightLineEnds(0));
    }
    // mov %rdi,%rax; ret
    stuck("4889f8 c3", 1, Obstacle::StraightLineEnds(3));
}

#[test]
fn prefixes_and_long_nops_are_not_emulated() {
    // endbr64; push
    past("f30f1efa 53 c3", 4, 1);
    // nop5 at the entry is passed, never chosen; so are pause, xchg %ax,%ax and the longer ones.
    past("0f1f440000 53 c3", 5, 1);
    past("4885ff 0f1f440000 53 c3", 8, 2);
    past("f390 6690 660f1f840000000000 53 c3", 13, 3);
    // push with REX.W or 66 is not in the set, and moves rsp.
    stuck("4853 53 c3", 1, Obstacle::StackMoved(0));
    stuck("6653 53 c3", 1, Obstacle::StackMoved(0));
    // push %r12 is.
    expect("4154 c3", 1, 0, true, SiteReason::EntryEmulated);
    past("4885ff 4154 c3", 3, 1);
    // bnd jmp, and a branch with a hint.
    stuck("f2e900000000", 1, Obstacle::StraightLineEnds(0));
    stuck("4885ff 3e7400 53 c3", 1, Obstacle::StraightLineEnds(3));
}

#[test]
fn every_emulated_form_is_taken_past_the_entry() {
    for emulated in
        ["50", "57", "4157", "90", "eb00", "e900000000", "7000", "7f00", "0f8000000000", "0f8f00000000"]
    {
        past(&format!("4885ff {emulated} c3"), 3, 1);
        expect(&format!("{emulated} c3"), 6, 0, true, SiteReason::EntryEmulated);
    }
    // A call only at the entry.
    expect("e800000000 c3", 1, 0, true, SiteReason::EntryEmulated);
    stuck("f30f1efa e800000000 53 c3", 1, Obstacle::StraightLineEnds(4));
}

#[test]
fn locked_instructions() {
    // lock decl (%rdi), as in pthread_spin_lock.
    stuck("f0ff0f 7500 c3", 1, Obstacle::Locked(0));
    stuck("4885ff f0ff0f 7500 c3", 1, Obstacle::Locked(3));
    // The C library's jump over a LOCK prefix: je +1; lock cmpxchg %edx,(%rdi). Both readings are followed.
    past("4885ff 53 7401 f00fb117 c3", 3, 1);
}

#[test]
fn cut_and_broken_code() {
    stuck("", 1, Obstacle::NoCode);
    stuck("48", 1, Obstacle::Undecodable(0));
    stuck("4885ff 0f", 1, Obstacle::Undecodable(3));
    stuck("06 53", 1, Obstacle::Undecodable(0));
    // Broken behind the site: what branches there are is unknown, so only the entry is safe.
    stuck("4885ff 53 c3 06", 1, Obstacle::Undecodable(5));
    expect("53 c3 06", 1, 0, true, SiteReason::EntryEmulated);
    stuck("4885ff", 1, Obstacle::NothingEmulated);
    let mut long = unhex("4885ff 53");
    long.resize(300 << 10, 0xc3);
    let got = site(&long, ENTRY, ArgUse::first(1));
    assert_eq!(got.reason, SiteReason::EntryOnly(Obstacle::TooLong));
}

#[test]
fn addresses_at_the_end_of_the_address_space() {
    for entry in [u64::MAX, u64::MAX - 3, u64::MAX - 7] {
        let got = site(&unhex("4885ff 53 ebfc"), entry, ArgUse::first(1));
        assert!(got.offset == 0 || got.emulated);
    }
}

/// Bytes that are more often code than random ones are.
fn code() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(unhex("4885ff")),
        Just(unhex("f30f1efa")),
        Just(unhex("0f1f440000")),
        Just(unhex("4889f8")),
        Just(unhex("53")),
        (0x70_u8..0x80, any::<i8>()).prop_map(|(op, by)| vec![op, by.cast_unsigned()]),
        any::<i8>().prop_map(|by| vec![0xeb, by.cast_unsigned()]),
        vec(any::<u8>(), 1..6),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_site_past_the_entry_is_an_emulated_instruction(code in code(), entry: u64, arguments in 0_u32..7) {
        let got = site(&code, entry, ArgUse::first(arguments));
        let mut decoder = Decoder::with_ip(64, &code, entry, DecoderOptions::NONE);
        let mut at = 0;
        while got.offset > at {
            at += decoder.decode().len() as u64;
        }
        prop_assert_eq!(at, got.offset, "not an instruction boundary");
        let next = decoder.decode();
        let start = usize::try_from(at).unwrap();
        let bytes = code.get(start..start + next.len()).unwrap_or_default();
        prop_assert_eq!(got.emulated, !next.is_invalid() && is_emulated(bytes));
        prop_assert!(got.emulated || got.offset == 0);
        let said_past = matches!(got.reason, SiteReason::PastSetup { .. });
        prop_assert_eq!(said_past, got.offset > 0);
    }
}
