//! Which rule becomes which row.

use profiler_common::unwind::{CfaForm, Kind, Rare, RbpForm, ReturnForm, Row, register};

use super::{CODE_ADDRESS, Frames, rare, rsp, rule};
use crate::elf::tests::unhex;

/// The row for a function with these rules, which begin with CFA = rsp + 8, return address at c-8.
fn row(rules: &str) -> Row {
    rule(&Frames::usual().function(CODE_ADDRESS, 64, rules).table(64).unwrap(), CODE_ADDRESS)
}

fn rare_of(rules: &str) -> Rare {
    rare(&Frames::usual().function(CODE_ADDRESS, 64, rules).table(64).unwrap(), CODE_ADDRESS)
}

/// CFA = base + offset, all else as usual.
fn value(base_register: u8, cfa_offset_bytes: i32) -> Rare {
    Rare { cfa_form: CfaForm::VALUE, base_register, cfa_offset_bytes, ..Rare::UNSUPPORTED }
}

#[test]
fn what_fits_four_bytes() {
    assert_eq!(row(""), rsp(8));
    assert_eq!(row("0e20"), rsp(32));
    // rbp at c-16; the same, kept by DW_CFA_same_value; rbp restored.
    assert_eq!(row("0e10 8602"), Row::of(Kind::RSP, 2, 2));
    assert_eq!(row("0e10 0806"), rsp(16));
    assert_eq!(row("8602 c6"), rsp(8));
    // CFA = rbp + 16.
    assert_eq!(row("0c0610 8602"), Row::of(Kind::RBP, 2, 2));
    // Other registers do not matter.
    assert_eq!(row("0e18 8303 0703 8d04"), rsp(24));
    // The largest offsets: 65 528, and rbp 255 words below.
    assert_eq!(row("0ef8ff03 86ff01"), Row::of(Kind::RSP, 8191, 255));
    // Return address undefined, whatever else is said.
    assert_eq!(row("0710"), Row::END);
    assert_eq!(row("0f0130 0710"), Row::END);
    // The caller's rsp is the CFA, said in words.
    assert_eq!(row("140700"), rsp(8));
}

#[test]
fn forms_of_linkers_and_compilers() {
    // PLT: rsp + 8 + (((rip & 15) >= 11) << 3), and with 10 instead of 11.
    assert_eq!(row("0f0b 7708 8000 3f 1a 3b 2a 33 24 22"), Row::of(Kind::PLT, 0, 11));
    assert_eq!(row("0f0b 7708 8000 3f 1a 3a 2a 33 24 22"), Row::of(Kind::PLT, 0, 10));
    // Other constants in it.
    assert_eq!(row("0f0b 7710 8000 3f 1a 3b 2a 33 24 22"), Row::UNSUPPORTED);
    assert_eq!(row("0f0b 7708 8000 3f 1a 3b 2a 34 24 22"), Row::UNSUPPORTED);
    assert_eq!(row("0f0b 7708 8008 3f 1a 3b 2a 33 24 22"), Row::UNSUPPORTED);
    assert_eq!(row("0f0b 7708 8000 3e 1a 3b 2a 33 24 22"), Row::UNSUPPORTED);
    // Realigned by gcc: CFA = *(rbp - 40), rbp at *rbp.
    assert_eq!(row("0f03 7658 06 100602 7600"), Row::of(Kind::REALIGNED, 0, 5));
    // rsp + 16 as an expression.
    assert_eq!(row("0f02 7710"), rsp(16));
}

#[test]
fn what_goes_into_the_dictionary() {
    // 65 536, and 70 000 from rbp; rbp 256 words below the CFA; a frame that is not a multiple of 8; above the CFA.
    assert_eq!(rare_of("0e808004"), value(register::RSP, 65_536));
    assert_eq!(rare_of("0c06f0a204"), value(register::RBP, 70_000));
    let at_cfa =
        |rbp_offset_bytes| Rare { rbp_form: RbpForm::AT_CFA, rbp_offset_bytes, ..value(register::RSP, 8) };
    assert_eq!(rare_of("868002"), at_cfa(-2048));
    assert_eq!(rare_of("0e0c"), value(register::RSP, 12));
    assert_eq!(rare_of("1106 7e"), at_cfa(16));
    assert_eq!(rare_of("8600"), at_cfa(0));
    // From other registers: r10, rax, r11.
    for (number, rules) in
        [(register::R10, "0c0a00"), (register::RAX, "0c0000"), (register::R11, "0d0b 0e00")]
    {
        assert_eq!(rare_of(rules), value(number, 0));
    }
    // In the prologue of a realigned frame rbp is already saved at *rbp; and saved relative to rsp.
    let saved = |rbp_form, rbp_offset_bytes| Rare { rbp_form, rbp_offset_bytes, ..value(register::R10, 0) };
    assert_eq!(rare_of("0c0a00 100602 7600"), saved(RbpForm::AT_RBP, 0));
    assert_eq!(rare_of("0c0a00 100602 7778"), saved(RbpForm::AT_RSP, -8));
    assert_eq!(rare_of("0706"), Rare { rbp_form: RbpForm::LOST, ..value(register::RSP, 8) });
    // OpenSSL: *(rsp + 40) + 8.
    let memory = Rare { cfa_form: CfaForm::MEMORY, cfa_add_bytes: 8, ..value(register::RSP, 40) };
    assert_eq!(rare_of("0f05 7728 06 2308"), memory);
    // __vfork keeps the return address in rdi; elsewhere on the stack.
    let kept = Rare { return_form: ReturnForm::REGISTER, return_register: 5, ..value(register::RSP, 0) };
    assert_eq!(rare_of("0e00 091005"), kept);
    let moved = Rare { return_form: ReturnForm::AT_CFA, return_offset_bytes: -16, ..value(register::RSP, 8) };
    assert_eq!(rare_of("9002"), moved);
}

#[test]
fn unsupported_rules() {
    for rules in [
        // rbp in another register, as a value, by an expression that loads; the return address by expression.
        "090603",
        "140602",
        "1606 02 7600",
        "100603 7600 06",
        "1010 02 7708",
        // rsp saved somewhere, or in a register: a switch of stacks.
        "870a",
        "090708",
        "0807",
        // CFA by a multiplication, by a constant, by nothing, by a loop; from a register that is none.
        "0f08 7708 7900 38 1e 22 06",
        "0f02 0810",
        "0f00",
        "0f03 2ffdff",
        "0c1110",
        // Offsets beyond 32 bits.
        "0e8080808010",
        "0c068080808010",
        // The return address as unchanged.
        "0810",
    ] {
        assert_eq!(row(rules), Row::UNSUPPORTED, "{rules}");
    }
    // Without any rule for the return address.
    let bare = Frames::default().shared("0c0708").function(CODE_ADDRESS, 64, "").table(64).unwrap();
    assert_eq!(rule(&bare, CODE_ADDRESS), Row::UNSUPPORTED);
    // A return address column that is not rip.
    let other = Frames::default().entry(&unhex("00000000 01 00 01 78 0f 0c0708 8f01"));
    let table = other.function(CODE_ADDRESS, 64, "").table(64).unwrap();
    assert_eq!((rule(&table, CODE_ADDRESS), table.stats().damaged), (Row::UNSUPPORTED, 1));
}

#[test]
fn signal_frames_are_known_by_their_registers() {
    // Version 1, augmentation "zS", no data; FDEs then have a length of augmentation data.
    let with = |rules: &str| {
        let frames = Frames::default().entry(&unhex("00000000 01 7a5300 01 78 10 00"));
        let table = frames.function(CODE_ADDRESS, 64, &format!("00 {rules}")).table(64).unwrap();
        rule(&table, CODE_ADDRESS)
    };
    let (rbp, rsp_at, rip) = ("1006 03 77f800", "1007 03 77a001", "1010 03 77a801");
    assert_eq!(with(&format!("0f04 77a001 06 {rbp} {rsp_at} {rip}")), Row::of(Kind::SIGNAL, 0, 0));
    // Something is not where the kernel puts it; an ordinary rule is not what a trampoline has.
    assert_eq!(with(&format!("0f04 77a001 06 {rbp} {rsp_at} 1010 03 77b001")), Row::UNSUPPORTED);
    assert_eq!(with(&format!("0f04 77a001 06 {rsp_at} {rip}")), Row::UNSUPPORTED);
    assert_eq!(with(&format!("0c0708 {rbp} {rsp_at} {rip}")), Row::UNSUPPORTED);
    assert_eq!(with("0c0708 9001"), Row::UNSUPPORTED);
    assert_eq!(with("0710"), Row::END);
}

#[test]
fn rules_change_within_a_function() {
    // +1: 16, +3: 24 with rbp saved, +7: remembered state of +0.
    let rules = "0a 41 0e10 42 0e18 8602 44 0b";
    let table = Frames::usual().function(CODE_ADDRESS, 64, rules).table(64).unwrap();
    let want = [
        (0, rsp(8)),
        (1, rsp(16)),
        (2, rsp(16)),
        (3, Row::of(Kind::RSP, 3, 2)),
        (6, Row::of(Kind::RSP, 3, 2)),
    ];
    for (at, row) in want.into_iter().chain([(7, rsp(8)), (63, rsp(8)), (64, Row::NONE)]) {
        assert_eq!(rule(&table, CODE_ADDRESS + at), row, "+{at}");
    }
    // Many states remembered at a time.
    let deep = format!("{} 41 0e10 {}", "0a".repeat(12), "410b".repeat(12));
    let table = Frames::usual().function(CODE_ADDRESS, 64, &deep).table(64).unwrap();
    assert_eq!((rule(&table, CODE_ADDRESS + 1), rule(&table, CODE_ADDRESS + 13)), (rsp(16), rsp(8)));
    assert_eq!(table.stats().damaged, 0);
}
