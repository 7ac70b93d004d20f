use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{chown, symlink},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::*;

/// A root directory with a map file in it, and the state of reading it.
struct Target {
    root: tempfile::TempDir,
    location: Location,
    map: PerfMap,
}

impl Target {
    fn new(content: &[u8]) -> Target {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let location = Location::in_directory(root.path(), own_user(), SystemTime::UNIX_EPOCH);
        let target = Target { root, location, map: PerfMap::default() };
        fs::write(target.file(), content).unwrap();
        target
    }

    fn file(&self) -> PathBuf {
        self.root.path().join("tmp/perf-7.map")
    }

    fn append(&self, content: &[u8]) {
        OpenOptions::new().append(true).open(self.file()).unwrap().write_all(content).unwrap();
    }

    /// The name of an address, or the reason in brackets.
    fn name(&mut self, address: u64) -> String {
        let resolved = self.map.resolve(&self.location, &[address]).remove(0);
        match resolved.functions.first() {
            Some(function) => function.name.terminal(),
            None => format!("[{}]", resolved.unresolved.unwrap()),
        }
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn names_what_the_file_names_and_says_what_it_does_not() {
    let mut target = Target::new(b"1000 10 a\nnonsense\n2000 10 b c\n");
    assert_eq!((target.name(0x1000), target.name(0x200f)), ("a".to_owned(), "b c".to_owned()));
    assert_eq!(target.name(0x1010), "[made at run time, and /tmp/perf-7.map does not have it]");
}

#[test]
fn what_is_added_is_read_and_a_later_line_wins() {
    let mut target = Target::new(b"1000 10 old\n2000 10 half of a li");
    assert_eq!(target.name(0x1000), "old");
    assert!(target.name(0x2000).starts_with('['), "a line without an end may be cut");
    target.append(b"ne\n1000 10 new\n");
    assert_eq!((target.name(0x1000), target.name(0x2000)), ("new".to_owned(), "half of a line".to_owned()));
}

#[test]
fn a_file_that_was_written_anew_is_read_anew() {
    let mut target = Target::new(b"1000 10 old\n2000 10 gone\n");
    assert_eq!(target.name(0x2000), "gone");
    // Longer than before, and the same file: only its content tells.
    fs::write(target.file(), b"1000 10 new\n3000 10 more\n4000 10 and more\n").unwrap();
    assert_eq!((target.name(0x1000), target.name(0x3000)), ("new".to_owned(), "more".to_owned()));
    assert!(target.name(0x2000).starts_with('['));
    // Shorter.
    fs::write(target.file(), b"5000 10 last\n").unwrap();
    assert_eq!(target.name(0x5000), "last");
    assert!(target.name(0x1000).starts_with('['));
    // Another file under the name.
    fs::remove_file(target.file()).unwrap();
    fs::write(target.file(), b"5000 10 next\n6000 10 another\n").unwrap();
    assert_eq!((target.name(0x5000), target.name(0x6000)), ("next".to_owned(), "another".to_owned()));
}

#[test]
fn what_was_read_outlives_the_file() {
    let mut target = Target::new(b"1000 10 a\n");
    assert_eq!(target.name(0x1000), "a");
    fs::remove_file(target.file()).unwrap();
    assert_eq!(target.name(0x1000), "a");
    assert_eq!(target.name(0x2000), "[made at run time, and there is no /tmp/perf-7.map]");
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting_for_it() {
    let mut target = Target::new(b"");
    let real = target.root.path().join("real");
    fs::write(&real, b"1000 10 a\n").unwrap();
    fs::remove_file(target.file()).unwrap();
    symlink("/real", target.file()).unwrap();
    assert!(target.name(0x1000).contains("refused: it is a symbolic link"), "{}", target.name(0x1000));
    fs::remove_file(target.file()).unwrap();
    fs::create_dir(target.file()).unwrap();
    assert!(target.name(0x1000).contains("refused: it is not a regular file"), "{}", target.name(0x1000));
    fs::remove_dir(target.file()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, target.file(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(target.name(0x1000).contains("refused: it is not a regular file"), "{}", target.name(0x1000));
}

#[test]
fn a_directory_that_leads_out_of_the_targets_root_does_not() {
    let mut target = Target::new(b"");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("perf-7.map"), b"1000 10 of the host\n").unwrap();
    fs::remove_dir_all(target.root.path().join("tmp")).unwrap();
    symlink(outside.path(), target.root.path().join("tmp")).unwrap();
    assert!(target.name(0x1000).starts_with('['), "{}", target.name(0x1000));
    // One that stays inside is the target's own business.
    fs::remove_file(target.root.path().join("tmp")).unwrap();
    fs::create_dir(target.root.path().join("scratch")).unwrap();
    symlink("/scratch", target.root.path().join("tmp")).unwrap();
    fs::write(target.file(), "").unwrap_err();
    fs::write(target.root.path().join("scratch/perf-7.map"), b"1000 10 its own\n").unwrap();
    assert_eq!(target.name(0x1000), "its own");
}

#[test]
fn the_file_of_another_user_is_refused() {
    let mut target = Target::new(b"1000 10 a\n");
    target.location = Location::in_directory(target.root.path(), own_user() + 1, SystemTime::UNIX_EPOCH);
    if own_user() == 0 {
        // Root may write for everybody.
        assert_eq!(target.name(0x1000), "a");
        chown(target.file(), Some(33), None).unwrap();
    }
    let name = target.name(0x2000);
    assert!(name.contains("refused: it belongs to user"), "{name}");
}

#[test]
fn a_file_from_before_the_process_is_refused() {
    let mut target = Target::new(b"1000 10 a\n");
    let later = SystemTime::now() + Duration::from_secs(60);
    target.location = Location::in_directory(target.root.path(), own_user(), later);
    let name = target.name(0x1000);
    assert!(name.contains("refused: it was last written before the process began"), "{name}");
}

#[test]
fn a_file_without_lines_ends() {
    let mut endless = Target::new(&vec![b'7'; 3 * CHUNK_BYTES + 5]);
    assert!(endless.name(0x1000).starts_with('['));
    endless.append(b"\n1000 10 a\n");
    assert_eq!(endless.name(0x1000), "a");
}

#[test]
fn a_file_that_is_too_large_is_read_in_part_and_says_so() {
    let mut target = Target::new(b"1000 10 a\n");
    OpenOptions::new().write(true).open(target.file()).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    let name = target.name(0x2000);
    assert!(name.contains("the file is too large"), "{name}");
    assert_eq!(target.name(0x1000), "a");
}

#[test]
fn a_name_is_untrusted_text() {
    let mut target = Target::new(b"1000 10 \x1b[2J\xff\n2000 10 ");
    target.append(&[b'n'; 9000]);
    target.append(b"\n");
    assert_eq!(target.name(0x1000), r"\x1b[2J\xff");
    assert!(target.name(0x2000).ends_with("n…"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_read_in_any_parts_gives_the_names_of_the_whole(
        lines in proptest::collection::vec(
            prop_oneof![
                (0u64..256, 1u64..32).prop_map(|(start, size)| format!("{start:x} {size:x} f{start}\n").into_bytes()),
                proptest::collection::vec(any::<u8>(), 0..40),
            ],
            0..40,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = lines.concat();
        let cut = cut.index(whole.len() + 1);
        let mut in_parts = Target::new(&whole[..cut]);
        in_parts.name(0);
        in_parts.append(&whole[cut..]);
        let mut at_once = Target::new(&whole);
        for address in 0..300 {
            prop_assert_eq!(in_parts.name(address), at_once.name(address));
        }
    }
}
