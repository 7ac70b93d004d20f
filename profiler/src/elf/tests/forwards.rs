//! Which functions hand their calls over.

use super::super::forwarding::{Callee, Callees, Forwarding, Reference, forwards_to};
use super::unhex;

const ENTRY: u64 = 0x1000;
const TARGET: u64 = 0x2000;
const STUB: u64 = 0x3000;
const SLOT: u64 = 0x4000;
const THROW: u64 = 0x5000;

/// Asks about a function at [`ENTRY`] with another part at 0x1800; `malloc` has a stub and a slot.
fn ask(body: &str, outlined: &str) -> Option<Forwarding> {
    let (body, outlined) = (unhex(body), unhex(outlined));
    let range = ENTRY..ENTRY + body.len() as u64;
    let code = |address: u64| {
        let part = |at: u64, bytes| address.checked_sub(at).and_then(|by| bytes_from(bytes, by));
        part(ENTRY, &body).or_else(|| part(0x1800, &outlined)).unwrap_or_default()
    };
    forwards_to(range, &Callees { addresses: &[TARGET], names: &["malloc"] }, &code, &|reference| {
        match reference {
            Reference::Stub(STUB) | Reference::Slot(SLOT) => Some("malloc"),
            Reference::Stub(THROW) => Some("__cxa_throw"),
            Reference::Stub(0x5100) => Some("free"),
            _ => None,
        }
    })
}

fn bytes_from(bytes: &[u8], by: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(by).ok()?..).filter(|rest| !rest.is_empty())
}

/// A direct branch with a 32-bit displacement, from `offset` behind [`ENTRY`].
fn branch(opcode: &str, offset: u64, target: u64) -> String {
    let length = opcode.len() as u64 / 2 + 4;
    let by = target.wrapping_sub(ENTRY + offset + length);
    let by = by.to_le_bytes()[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{opcode}{by}")
}

fn every(to: Callee) -> Option<Forwarding> {
    Some(Forwarding { to, every_call: true })
}

fn some(to: Callee) -> Option<Forwarding> {
    Some(Forwarding { to, every_call: false })
}

fn malloc() -> Callee {
    Callee::Name("malloc".to_owned())
}

#[test]
fn every_call_goes_over() {
    // jmp target
    assert_eq!(ask(&branch("e9", 0, TARGET), ""), every(Callee::Address(TARGET)));
    // endbr64; jmp malloc@plt
    assert_eq!(ask(&format!("f30f1efa {}", branch("e9", 4, STUB)), ""), every(malloc()));
    // call *malloc@GOTPCREL(%rip); ret
    assert_eq!(ask(&format!("{} c3", branch("ff15", 0, SLOT)), ""), every(malloc()));
    assert_eq!(ask(&branch("ff25", 0, SLOT), ""), every(malloc()));
    // A conditional tail call whose other way meets the target too.
    let both = format!("{} {}", branch("0f85", 0, TARGET), branch("e9", 6, STUB));
    assert_eq!(ask(&both, ""), every(Callee::Address(TARGET)));
    // A loop around the call, as in operator new: push; call malloc; test; je -> call malloc; pop; ret
    let looped = format!("53 {} 4885c0 74f6 5b c3", branch("e8", 1, STUB));
    assert_eq!(ask(&looped, ""), every(malloc()));
}

#[test]
fn some_calls_go_over() {
    // test %rdi,%rdi; jne target; ret
    let guarded = format!("4885ff {} c3", branch("0f85", 3, TARGET));
    assert_eq!(ask(&guarded, ""), some(Callee::Address(TARGET)));
    // je +5 over the call; ret
    assert_eq!(ask(&format!("7405 {} c3", branch("e8", 2, TARGET)), ""), some(Callee::Address(TARGET)));
    // jmp *%rax on the other way.
    let table = format!("7502 ffe0 {}", branch("e9", 4, TARGET));
    assert_eq!(ask(&table, ""), some(Callee::Address(TARGET)));
    // A tail call to something else on the other way.
    let other = format!("{} {}", branch("0f85", 0, 0x5100), branch("e9", 6, TARGET));
    assert_eq!(ask(&other, ""), some(Callee::Address(TARGET)));
}

#[test]
fn nothing_goes_over() {
    assert_eq!(ask("c3", ""), None);
    assert_eq!(ask("", ""), None);
    assert_eq!(ask("06", ""), None);
    // Calls free, returns.
    assert_eq!(ask(&format!("{} c3", branch("e8", 0, 0x5100)), ""), None);
    // The call stands behind the return, where nothing leads.
    assert_eq!(ask(&format!("c3 {}", branch("e8", 1, TARGET)), ""), None);
    // Behind the end of the function begins another one.
    let range = ENTRY..ENTRY + 1;
    let code = unhex(&format!("90 {}", branch("e9", 1, TARGET)));
    let targets = Callees { addresses: &[TARGET], names: &[] };
    let all = |address: u64| bytes_from(&code, address.wrapping_sub(ENTRY)).unwrap_or_default();
    assert_eq!(forwards_to(range.clone(), &targets, &all, &|_| None), None);
    // A function that calls itself does not forward.
    let targets = Callees { addresses: &[ENTRY], names: &[] };
    let code = unhex(&branch("e9", 0, ENTRY));
    let all = |address: u64| bytes_from(&code, address.wrapping_sub(ENTRY)).unwrap_or_default();
    assert_eq!(forwards_to(ENTRY..ENTRY + 5, &targets, &all, &|_| None), None);
}

#[test]
fn ways_that_never_return_do_not_count() {
    // jne to the outlined part, which throws; jmp target.
    let body = format!("{} {}", branch("0f85", 0, 0x1800), branch("e9", 6, TARGET));
    let throw = branch("e8", 0x800, THROW);
    assert_eq!(ask(&body, &throw), every(Callee::Address(TARGET)));
    assert_eq!(ask(&body, "0f0b"), every(Callee::Address(TARGET)));
    assert_eq!(ask(&body, "c3"), some(Callee::Address(TARGET)));
    // The outlined part comes back and meets the target.
    assert_eq!(ask(&body, &branch("e9", 0x800, ENTRY + 6)), every(Callee::Address(TARGET)));
}
