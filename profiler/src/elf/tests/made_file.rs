//! Program files made for the test, whole and damaged.

use std::path::Path;

use proptest::prelude::{ProptestConfig, any, proptest};

use super::super::forwarding::{Callee, Callees, Forwarding};
use super::super::placement::{ArgUse, Obstacle, SiteReason};
use super::super::runtime::Runtime;
use super::super::{Error, Image, Symbol, SymbolKind};
pub(super) use super::build::MadeFile;
use super::build::{CODE_ADDRESS, CODE_OFFSET, FUNC, IFUNC, OBJECT};

fn symbol(name: &str, address: u64, size: u64, kind: SymbolKind) -> Symbol {
    let file_offset = address - CODE_ADDRESS + CODE_OFFSET;
    Symbol { name: name.to_owned(), address, size, file_offset, kind }
}

#[test]
fn functions_of_both_tables() {
    let file = MadeFile::new()
        .code(&"90".repeat(0x40))
        .export("malloc", FUNC, 1, 0x1000, 0x10)
        .symbol(b"malloc@@GLIBC_2.2.5", FUNC, 1, 0x1000, 0x10)
        .symbol(b"cfree@GLIBC_2.2.5", FUNC, 1, 0x1010, 8)
        .symbol(b"free", FUNC, 1, 0x1010, 8)
        // Assembly without sizes: up to the next function, and to the end of the segment.
        .symbol(b"start", FUNC, 1, 0x1018, 0)
        .symbol(b"memcpy", IFUNC, 1, 0x1020, 8)
        .symbol(b"last", FUNC, 1, 0x1030, 0)
        // Larger than the segment; not mapped; undefined; data; not UTF-8.
        .symbol(b"large", FUNC, 1, 0x1038, 0x1000)
        .symbol(b"nowhere", FUNC, 1, 0x1040, 8)
        .symbol(b"imported", FUNC, 0, 0, 0)
        .symbol(b"table", OBJECT, 1, 0x1000, 8)
        .symbol(b"\xff\xfe", FUNC, 1, 0x1000, 8)
        .bytes();
    let image = Image::parse(&file).unwrap();
    let want = [
        symbol("malloc", 0x1000, 0x10, SymbolKind::Function),
        symbol("cfree", 0x1010, 8, SymbolKind::Function),
        symbol("free", 0x1010, 8, SymbolKind::Function),
        symbol("start", 0x1018, 8, SymbolKind::Function),
        symbol("memcpy", 0x1020, 8, SymbolKind::Resolver),
        symbol("last", 0x1030, 8, SymbolKind::Function),
        symbol("large", 0x1038, 8, SymbolKind::Function),
    ];
    assert_eq!(image.functions(&|_| true), want);
    assert_eq!(image.functions(&|name| name == "free"), want[2..3]);
    assert_eq!(image.file_offset(0x103f), Some(CODE_OFFSET + 0x3f));
    assert_eq!(image.file_offset(0x1040), None);
    assert_eq!(image.address(CODE_OFFSET + 0x3f), Some(0x103f));
    assert_eq!(image.address(CODE_OFFSET - 1), None);
    assert_eq!(image.code(0x103e, 100), [0x90, 0x90]);
}

#[test]
fn what_a_file_says_about_itself() {
    let plain = MadeFile::new().code("c3").bytes();
    let image = Image::parse(&plain).unwrap();
    assert_eq!((image.build_id(), image.interpreter()), (None, None));
    assert!(image.is_stripped() && !image.is_go() && !image.has_dwarf());
    assert!(image.runtimes().is_empty());

    let full = MadeFile::new()
        .code("c3")
        .function("main", 0x1000, 1)
        .note("GNU", 1, &[0; 16])
        .note("GNU", 3, &[0xab, 0x01, 0xff])
        .section(".debug_info", 0, vec![1])
        .interpreter("/lib64/ld-linux-x86-64.so.2")
        .bytes();
    let image = Image::parse(&full).unwrap();
    assert_eq!(image.build_id().as_deref(), Some("ab01ff"));
    assert_eq!(image.interpreter(), Some(Path::new("/lib64/ld-linux-x86-64.so.2")));
    assert!(!image.is_stripped() && image.has_dwarf() && !image.is_go());
}

#[test]
fn runtimes_by_notes_symbols_and_names() {
    let by_note = MadeFile::new().code("c3").note("Go", 4, b"id").bytes();
    let by_section = MadeFile::new().code("c3").section(".gopclntab", 0, vec![0]).bytes();
    for file in [by_note, by_section] {
        assert_eq!(Image::parse(&file).unwrap().runtimes(), [Runtime::Go]);
    }
    assert!(Runtime::Go.is_refused() && !Runtime::V8.is_refused());
    let embedded = MadeFile::new()
        .code("c3")
        .export("DotNetRuntimeInfo", OBJECT, 1, 0, 8)
        .export("luaJIT_setmode", FUNC, 1, 0x1000, 1)
        .symbol(b"luaJIT_setmode", FUNC, 1, 0x1000, 1)
        // Only asked for, not defined.
        .import("JNI_CreateJavaVM", 0x9000, 7)
        .bytes();
    assert_eq!(Image::parse(&embedded).unwrap().runtimes(), [Runtime::DotNet, Runtime::LuaJit]);

    let mapped =
        ["/usr/lib/jvm/lib/server/libjvm.so", "/usr/lib/libc.so.6", "/opt/libpython3.11.so.1.0 (deleted)"];
    assert_eq!(Runtime::of_files(mapped.iter().map(Path::new)), [Runtime::Jvm, Runtime::CPython]);
    assert_eq!(Runtime::of_file(Path::new("/opt/erts/bin/beam.smp")), Some(Runtime::Beam));
    assert_eq!(Runtime::of_file(Path::new("/")), None);
}

#[test]
fn engines_by_the_names_of_their_files() {
    for (file, runtime) in [
        ("/opt/game/Binaries/Linux/WorldServer-Linux-Shipping", Some(Runtime::Unreal)),
        ("/opt/game/libUnrealEditor-Core.so", Some(Runtime::Unreal)),
        ("/opt/game/GameAssembly.so", Some(Runtime::Il2Cpp)),
        ("/opt/game/Data/Mono/x86_64/libmonobdwgc-2.0.so", Some(Runtime::Mono)),
        ("/usr/lib/wine/wine64-preloader", Some(Runtime::Wine)),
        ("/usr/lib/x86_64-linux-gnu/wine/x86_64-unix/ntdll.so", Some(Runtime::Wine)),
        ("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so", Some(Runtime::DotNet)),
        ("/usr/bin/wine-shop", None),
        ("/opt/game/server", None),
    ] {
        assert_eq!(Runtime::of_file(Path::new(file)), runtime, "{file}");
    }
    let unity = MadeFile::new().code("c3").export("il2cpp_init", FUNC, 1, 0x1000, 1).bytes();
    assert_eq!(Image::parse(&unity).unwrap().runtimes(), [Runtime::Il2Cpp]);
}

#[test]
fn other_ways_into_a_function() {
    // test; je +0; ret; 8 bytes later a part that jumps to the je.
    let code = "4885ff 0f8402000000 c3 90 e9f3ffffff";
    let made = |file: MadeFile| {
        let file = file.code(code).bytes();
        let image = Image::parse(&file).unwrap();
        let function = image.functions(&|name| name == "free").remove(0);
        image.site(&function, ArgUse::first(1)).reason
    };
    let whole = || MadeFile::new().function("free", 0x1000, 10);
    assert_eq!(made(whole()), SiteReason::EntryOnly(Obstacle::JumpFrom(0x100b)));
    let second = || MadeFile::new().function("free", 0x1000, 10).function("free_nonnull", 0x1003, 7);
    assert_eq!(made(second()), SiteReason::EntryOnly(Obstacle::EnteredElsewhere));
    // An alias, and a function behind the site, do not matter; nor does code that the function does not lead to.
    let harmless =
        MadeFile::new().function("free", 0x1000, 10).function("cfree", 0x1000, 10).function("f", 0x100a, 1);
    let file = harmless.code("4885ff 0f8400000000 c3 90 e9f3ffffff").bytes();
    let image = Image::parse(&file).unwrap();
    let function = image.functions(&|name| name == "free").remove(0);
    assert_eq!(image.site(&function, ArgUse::first(1)).reason, SiteReason::PastSetup { skipped: 1 });
}

#[test]
fn forwarding_through_the_linkage_table() {
    // 0x1000: call stub; ret. 0x1006: endbr64; bnd jmp *0x9000. 0x1011: jmp *0x9008.
    let file = MadeFile::new()
        .code("e801000000 c3 f30f1efa f2ff25ef7f0000 ff25f17f0000")
        .function("new", 0x1000, 6)
        .function("tail", 0x1011, 6)
        .import("malloc", 0x9000, 7)
        .import("free", 0x9008, 6)
        .bytes();
    let image = Image::parse(&file).unwrap();
    let functions = image.functions(&|_| true);
    let ask = |index: usize, name| {
        image.forwards_to(&functions[index], &Callees { addresses: &[], names: &[name] })
    };
    let every = |name: &str| Some(Forwarding { to: Callee::Name(name.to_owned()), every_call: true });
    assert_eq!(ask(0, "malloc"), every("malloc"));
    assert_eq!(ask(0, "free"), None);
    assert_eq!(ask(1, "free"), every("free"));
}

#[test]
fn files_that_are_refused() {
    let good = MadeFile::new().code("c3").bytes();
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = good.clone();
        change(&mut file);
        Image::parse(&file).err()
    };
    assert_eq!(error(&|_| ()), None);
    assert_eq!(error(&|file| file.clear()), Some(Error::NotElf));
    assert_eq!(error(&|file| file[0] = b'#'), Some(Error::NotElf));
    assert_eq!(error(&|file| file[4] = 1), Some(Error::ThirtyTwoBit));
    assert_eq!(error(&|file| file[18] = 0xb7), Some(Error::OtherMachine(0xb7)));
    assert_eq!(
        error(&|file| file[5..20].copy_from_slice(b"\x02\x01\0\0\0\0\0\0\0\0\0\0\x03\0\x16")),
        Some(Error::OtherMachine(0x16))
    );
    assert_eq!(error(&|file| file[16] = 1), Some(Error::NotLoadable(1)));
    assert!(matches!(error(&|file| file.truncate(40)), Some(Error::Damaged(_))));
    assert!(matches!(error(&|file| file.truncate(100)), Some(Error::Damaged(_))));
    assert!(matches!(error(&|file| file.truncate(0x200)), Some(Error::Damaged(_))));
    // Without its section headers the program runs, and has no names.
    assert_eq!(error(&|file| file.truncate(0x201)), None);
}

/// Asks everything there is to ask.
fn exercise(file: &[u8]) {
    let Ok(image) = Image::parse(file) else { return };
    let functions = image.functions(&|_| true);
    for function in &functions {
        assert!(function.file_offset + function.size <= file.len() as u64);
        image.site(function, ArgUse::first(2));
        image.forwards_to(function, &Callees { addresses: &[0x1000], names: &["malloc"] });
    }
    let _ = image.caller_steps(&functions);
    let _ = (image.build_id(), image.interpreter(), image.runtimes(), image.has_dwarf());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn damaged_files_are_read_without_harm(
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..12),
        end: u16,
    ) {
        let mut file = MadeFile::new()
            .code("53 e80b000000 5b c3 4885ff 7400 c3 f30f1efa f2ff25f07f0000")
            .function("new", 0x1000, 8)
            .function("free", 0x1008, 6)
            .symbol(b"memcpy@V", IFUNC, 1, 0x1000, 0)
            .import("malloc", 0x9000, 7)
            .interpreter("/lib64/ld.so")
            .note("GNU", 3, &[1, 2, 3])
            .unwind("41 0e10 8302")
            .bytes();
        for (at, value) in changes {
            let at = usize::from(at) % file.len();
            file[at] = value;
        }
        exercise(&file);
        // Odd addresses: nothing in a foreign file is aligned for us.
        let mut shifted = vec![0];
        shifted.extend(&file);
        exercise(&shifted[1..]);
        file.truncate(usize::from(end) % (file.len() + 1));
        exercise(&file);
    }
}
