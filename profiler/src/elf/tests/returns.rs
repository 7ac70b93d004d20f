//! Where functions return.

use super::super::Image;
use super::super::returns::HiddenReturn;
use super::build::{CODE_ADDRESS, CODE_OFFSET, FUNC, MadeFile};

/// Offsets of the returns of a function that is all of the code.
fn returns(hex: &str) -> Result<Vec<u64>, HiddenReturn> {
    let size = hex.split_whitespace().collect::<String>().len() as u64 / 2;
    let file = MadeFile::new().code(hex).function("f", CODE_ADDRESS, size).bytes();
    let image = Image::parse(&file).unwrap();
    let function = image.functions(&|name| name == "f").remove(0);
    let found = image.returns(&function);
    found.map(|offsets| offsets.into_iter().map(|offset| offset - CODE_OFFSET).collect())
}

#[test]
fn every_return_is_found() {
    // test edi,edi; je +3; push; pop; ret; xor eax,eax; ret
    assert_eq!(returns("85ff 7403 50 58 c3 31c0 c3"), Ok(vec![6, 9]));
}

#[test]
fn a_part_that_was_moved_away_belongs_to_the_function() {
    // jmp +0xb to f.cold at 0x10, which returns
    let code = "eb0e c3 90909090 90909090 90909090 90 c3";
    let file = MadeFile::new()
        .code(code)
        .function("f", CODE_ADDRESS, 3)
        .symbol(b"f.cold", FUNC, 1, CODE_ADDRESS + 0x10, 1)
        .bytes();
    let image = Image::parse(&file).unwrap();
    let function = image.functions(&|name| name == "f").remove(0);
    assert_eq!(image.returns(&function), Ok(vec![CODE_OFFSET + 2, CODE_OFFSET + 0x10]));
}

#[test]
fn returns_elsewhere_are_errors() {
    assert_eq!(returns("90 e900010000"), Err(HiddenReturn::TailCall(CODE_ADDRESS + 1)));
    assert_eq!(returns("ffe0"), Err(HiddenReturn::ComputedJump(CODE_ADDRESS)));
    assert_eq!(returns("0f0b"), Err(HiddenReturn::NeverReturns));
    assert_eq!(returns("06"), Err(HiddenReturn::Undecodable(CODE_ADDRESS)));
}

#[test]
fn files_that_can_unwind_are_recognised() {
    let plain = MadeFile::new().code("c3").bytes();
    assert!(!Image::parse(&plain).unwrap().may_unwind());
    let throwing = MadeFile::new().code("c3").import("__cxa_throw", 0x4000, 7).bytes();
    assert!(Image::parse(&throwing).unwrap().may_unwind());
}
