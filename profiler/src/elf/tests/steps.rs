//! Steps out of functions without frame pointer, checked against `readelf --debug-dump=frames-interp`.

use super::super::caller_step::{CallerStep, CallerStepError, CallerSteps};
use super::super::{Image, Symbol};
use super::made_file::MadeFile;
use super::own_files::{LIBSTDCXX, read_or_say};

/// Build id of Debian 12's libstdc++6 12.2.0-14+deb12u1, the one whose addresses stand below.
const DEBIAN_12: &str = "289ee39f8c07bd4fa48102dfeeb7e6f9c76158b4";

const fn step(return_address: u64, cfa_from_rsp: u16, rbp_saved_at: Option<u16>) -> CallerStep {
    CallerStep { return_address, cfa_from_rsp, rbp_saved_at }
}

fn operators(image: &Image<'_>) -> Vec<Symbol> {
    image.functions(&|name| name.starts_with("_Znwm") || name.starts_with("_Znam"))
}

#[test]
fn operator_new_of_libstdcxx() {
    let Some(file) = read_or_say(LIBSTDCXX) else { return };
    let image = Image::parse(&file).unwrap();
    let functions = operators(&image);
    let found = image.caller_steps(&functions).unwrap();
    let plain = functions.iter().find(|function| function.name == "_Znwm").unwrap();
    let of_plain =
        found.steps.iter().filter(|s| s.return_address - plain.address < plain.size).collect::<Vec<_>>();
    // Whatever the build, it calls malloc and, when that fails, the handler.
    assert!(of_plain.len() >= 2, "{of_plain:?}");
    if image.build_id().as_deref() != Some(DEBIAN_12) {
        println!("another build of libstdc++: exact steps not compared");
        return;
    }
    let want = [
        // _Znwm: push %rbx.
        step(0xa958c, 16, None),
        step(0xa9598, 16, None),
        step(0xa95a3, 16, None),
        // _ZnwmRKSt9nothrow_t, _ZnamRKSt9nothrow_t: sub $8,%rsp.
        step(0xa95bd, 16, None),
        step(0xa95ed, 16, None),
        // _ZnwmSt11align_val_t: push %rbp; push %rbx; sub $8,%rsp.
        step(0xa9618, 32, Some(16)),
        step(0xa9646, 32, Some(16)),
        step(0xa9657, 32, Some(16)),
        step(0xa9662, 32, Some(16)),
        // The aligned ones that do not throw.
        step(0xa967d, 16, None),
        step(0xa96ad, 16, None),
    ];
    assert_eq!(found, CallerSteps { steps: want.to_vec(), without_rule: 0 });
}

/// A made function: push %rbp; push %rbx; sub $8,%rsp; call; and its unwind table, written by hand.
fn made(rules: &str) -> CallerSteps {
    let file =
        MadeFile::new().function("f", 0x1000, 12).code("55 53 4883ec08 e800000000 c3").unwind(rules).bytes();
    let image = Image::parse(&file).unwrap();
    image.caller_steps(&image.functions(&|_| true)).unwrap()
}

#[test]
fn rules_of_a_made_table() {
    let only = |steps: &[CallerStep]| CallerSteps { steps: steps.to_vec(), without_rule: 0 };
    // advance 1, CFA +16, rbp at c-16; advance 1, CFA +24, rbx at c-24; advance 4, CFA +32.
    let pushed = "41 0e10 8602 41 0e18 8303 44 0e20";
    assert_eq!(made(pushed), only(&[step(0x100b, 32, Some(16))]));
    // The row that begins at the return address is not the one of the call.
    assert_eq!(made(&format!("{pushed} 45 0e08")), only(&[step(0x100b, 32, Some(16))]));
    // rbp untouched, and said to be so (DW_CFA_same_value).
    assert_eq!(made("0e20"), only(&[step(0x100b, 32, None)]));
    assert_eq!(made("0e20 0806"), only(&[step(0x100b, 32, None)]));

    let none = CallerSteps { steps: Vec::new(), without_rule: 1 };
    // CFA by rbp; rbp in another register; rbp lost; return address elsewhere; a CFA below the return address.
    assert_eq!(made("0c0610"), none);
    assert_eq!(made("0e20 090603"), none);
    assert_eq!(made("0e20 0706"), none);
    assert_eq!(made("0e20 9002"), none);
    assert_eq!(made("0e00"), none);
    // A CFA too far away, and an instruction that does not exist.
    assert_eq!(made("0e808004"), none);
    assert_eq!(made("3f"), none);
}

#[test]
fn a_file_without_unwind_table() {
    let file = MadeFile::new().function("f", 0x1000, 1).code("c3").bytes();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.caller_steps(&[]), Err(CallerStepError::NoUnwindTable));
}
