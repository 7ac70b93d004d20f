//! The sites in the allocators that people run, each checked against `objdump -d`.

use super::super::placement::{ArgUse, Obstacle, Site, SiteReason, site};
use super::fixture;

const GLIBC: &str = include_str!("../../../tests/fixtures/entry_code/glibc.txt");
const LIBSTDCXX: &str = include_str!("../../../tests/fixtures/entry_code/libstdcxx.txt");
const JEMALLOC: &str = include_str!("../../../tests/fixtures/entry_code/jemalloc.txt");
const TCMALLOC: &str = include_str!("../../../tests/fixtures/entry_code/tcmalloc.txt");
const MIMALLOC: &str = include_str!("../../../tests/fixtures/entry_code/mimalloc.txt");
const MUSL: &str = include_str!("../../../tests/fixtures/entry_code/musl.txt");
const MUSL_STATIC: &str = include_str!("../../../tests/fixtures/entry_code/musl_static.txt");
const CET: &str = include_str!("../../../tests/fixtures/entry_code/cet.txt");

/// The entry itself is emulated.
const ENTRY: Site = Site { offset: 0, emulated: true, reason: SiteReason::EntryEmulated };

const fn past(offset: u64, skipped: u32) -> Site {
    Site { offset, emulated: true, reason: SiteReason::PastSetup { skipped } }
}

const fn stuck(obstacle: Obstacle) -> Site {
    Site { offset: 0, emulated: false, reason: SiteReason::EntryOnly(obstacle) }
}

/// Checks every function of a fixture: name, number of arguments that are read, expected site.
fn check(text: &str, expected: &[(&str, u32, Site)]) {
    let functions = fixture(text);
    for &(name, arguments, ref want) in expected {
        let function = &functions[name];
        let got = site(&function.code, function.address, ArgUse::first(arguments));
        assert_eq!(got, *want, "{name} with {arguments} arguments");
    }
    for name in functions.keys() {
        assert!(expected.iter().any(|(known, ..)| known == name), "{name} has no expectation");
    }
}

#[test]
fn glibc_2_36() {
    check(
        GLIBC,
        &[
            ("malloc", 1, ENTRY),
            // test %rdi,%rdi; je: not the push behind it, which free(NULL) does not reach.
            ("free", 1, past(3, 1)),
            ("cfree", 1, past(3, 1)),
            ("calloc", 2, ENTRY),
            ("realloc", 2, ENTRY),
            // mul %rdx overwrites rdx; a probe that reads less could go to the jo.
            ("reallocarray", 3, stuck(Obstacle::ArgumentChanged(3))),
            ("reallocarray", 1, past(9, 3)),
            ("posix_memalign", 3, past(7, 1)),
            ("aligned_alloc", 2, past(7, 1)),
            ("memalign", 2, past(7, 1)),
            ("valloc", 1, past(7, 1)),
            ("pvalloc", 1, past(7, 1)),
        ],
    );
}

#[test]
fn libstdcxx_12() {
    check(
        LIBSTDCXX,
        &[
            // endbr64; test; mov; push %rbx.
            ("_Znwm", 1, past(0xc, 3)),
            ("_Znam", 1, past(4, 1)),
            ("_ZnwmRKSt9nothrow_t", 1, stuck(Obstacle::StackMoved(4))),
            ("_ZnamRKSt9nothrow_t", 1, stuck(Obstacle::StackMoved(4))),
            ("_ZnwmSt11align_val_t", 2, past(4, 1)),
            ("_ZnamSt11align_val_t", 2, past(4, 1)),
            ("_ZnwmSt11align_val_tRKSt9nothrow_t", 2, stuck(Obstacle::StackMoved(4))),
            ("_ZdlPv", 1, past(4, 1)),
            ("_ZdlPvm", 1, past(4, 1)),
            ("_ZdaPv", 1, past(4, 1)),
            ("_ZdaPvm", 1, past(4, 1)),
            ("_ZdlPvSt11align_val_t", 1, past(4, 1)),
            // mov %rdx,%rsi before the jmp.
            ("_ZdlPvmSt11align_val_t", 1, past(7, 2)),
            ("_ZdlPvmSt11align_val_t", 2, stuck(Obstacle::ArgumentChanged(4))),
        ],
    );
}

#[test]
fn jemalloc_5_3() {
    check(
        JEMALLOC,
        &[
            ("malloc", 1, past(7, 1)),
            // Nine instructions that only read, up to the jne.
            ("free", 1, past(0x30, 9)),
            ("aligned_alloc", 2, ENTRY),
            ("_Znwm", 1, past(7, 1)),
            ("_ZnwmSt11align_val_t", 2, ENTRY),
            ("_ZdlPv", 1, ENTRY),
            ("_ZdlPvm", 1, past(3, 1)),
            ("_ZdlPvmSt11align_val_t", 1, past(3, 1)),
        ],
    );
}

#[test]
fn tcmalloc_2_10() {
    check(
        TCMALLOC,
        &[
            ("malloc", 1, past(0xd, 3)),
            ("free", 1, past(0xa, 2)),
            ("calloc", 2, past(0xc, 2)),
            ("memalign", 2, past(0xa, 2)),
            ("posix_memalign", 3, past(0xb, 3)),
            ("valloc", 1, ENTRY),
            ("pvalloc", 1, ENTRY),
            ("_Znwm", 1, past(0xd, 3)),
            ("_ZdlPvm", 1, past(0xa, 2)),
            ("_ZnwmSt11align_val_t", 2, past(0xd, 3)),
        ],
    );
}

#[test]
fn mimalloc_2_0() {
    check(
        MIMALLOC,
        &[
            // rdi becomes the thread's heap before the first branch.
            ("malloc", 1, stuck(Obstacle::ArgumentChanged(0xa))),
            ("free", 1, past(6, 2)),
            ("cfree", 1, ENTRY),
            ("calloc", 2, stuck(Obstacle::ArgumentChanged(0xa))),
            ("realloc", 2, stuck(Obstacle::ArgumentChanged(0xa))),
            ("reallocarray", 3, ENTRY),
            ("posix_memalign", 3, ENTRY),
            ("aligned_alloc", 2, ENTRY),
            ("mi_zalloc", 1, stuck(Obstacle::ArgumentChanged(0xa))),
            ("mi_new", 1, ENTRY),
            ("_ZnwmSt11align_val_t", 2, ENTRY),
            ("_ZdlPvm", 1, ENTRY),
        ],
    );
}

#[test]
fn musl_1_2() {
    check(
        MUSL,
        &[
            ("malloc", 1, ENTRY),
            ("free", 1, ENTRY),
            ("calloc", 2, ENTRY),
            ("realloc", 2, ENTRY),
            ("reallocarray", 3, past(6, 2)),
            ("posix_memalign", 3, ENTRY),
            ("aligned_alloc", 2, ENTRY),
            ("memalign", 2, ENTRY),
            ("valloc", 1, stuck(Obstacle::ArgumentChanged(3))),
        ],
    );
    check(MUSL_STATIC, &[("malloc", 1, ENTRY), ("free", 1, ENTRY), ("realloc", 2, ENTRY)]);
}

#[test]
fn built_with_control_flow_protection() {
    check(
        CET,
        &[
            ("pool_get", 1, stuck(Obstacle::StackMoved(4))),
            ("pool_put", 1, past(7, 2)),
            ("pool_zero", 2, stuck(Obstacle::ArgumentChanged(0xa))),
            ("pool_forward", 1, past(9, 2)),
            ("pool_forward", 2, stuck(Obstacle::ArgumentChanged(4))),
            ("pool_loop", 1, stuck(Obstacle::ArgumentChanged(0x17))),
            // Without an argument to keep, the loop itself is in the way: its jne leads to +0x10.
            ("pool_loop", 0, stuck(Obstacle::JumpFrom(0x11ea))),
            ("pool_switch", 2, stuck(Obstacle::StackMoved(6))),
        ],
    );
}
