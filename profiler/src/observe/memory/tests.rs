use super::{
    report::{finding, notes, section},
    *,
};
use crate::{
    observe::space::Seen,
    report::Value,
    target::{memory::Region, modules::Modules, process::Process},
    text::Text,
};

const MIB: u64 = 1 << 20;

fn region(start_mib: u64, end_mib: u64, kind: Kind, used_mib: u64) -> Region {
    Region { start: start_mib * MIB, end: end_mib * MIB, kind, used_bytes: used_mib * MIB }
}

fn reading(mib: u64, regions: Vec<Region>) -> Reading {
    Reading { bytes: mib * MIB, regions, ..Reading::default() }
}

fn grown(before: &Reading, now: &Reading, blocks: &[(u64, u64)]) -> Grown {
    let mut followed = vec![Followed::default(); now.regions.len()];
    for (address, size) in blocks {
        followed[now.region_of(*address).unwrap()].add(*size, None);
    }
    Grown {
        pid: 7,
        name: Text::from("srv"),
        before: before.bytes,
        after: now.bytes,
        shared: (0, 0),
        unmapped: unmapped(before, now),
        estimated: false,
        released: 0.0,
        released_at_most: 0.0,
        uses: uses(before, now, &followed),
    }
}

fn text(grown: &Grown) -> Option<String> {
    finding(std::slice::from_ref(grown), Duration::from_secs(5), "sample.growth").map(|finding| finding.text)
}

/// A child of a large server starts with its parent's memory; an old process that moves into the cgroup brings what it
/// had.
#[test]
fn what_a_process_had_when_it_joined_is_not_growth() {
    let own = std::process::id();
    let seen = |came| {
        let mut space = Space::new(7, Process::open(own).unwrap(), &mut Modules::default()).unwrap();
        space.seen = Seen::since(came, 0);
        let mut memory = Memory::default();
        memory.look(std::slice::from_ref(&space), true);
        let mut grown = memory.explain(None).grown(&[space], |_| 0.0);
        grown.pop().unwrap()
    };
    for came in [Came::Forked, Came::Began, Came::Late] {
        let grown = seen(came);
        assert!(grown.growth() == 0 && grown.before > 0, "{came:?}: {grown:?}");
        assert_eq!(text(&grown), None, "{came:?}");
    }
    let execed = seen(Came::Execed);
    assert_eq!((execed.before, execed.growth()), (0, execed.after), "a program begins with nothing");
}

#[test]
fn growth_that_bypasses_allocators_is_reported() {
    let before = reading(10, vec![region(0, 20, Kind::Heap, 8), region(100, 104, Kind::Mapped, 2)]);
    let now = reading(60, vec![region(0, 20, Kind::Heap, 8), region(100, 154, Kind::Mapped, 52)]);
    assert_eq!(
        text(&grown(&before, &now, &[])).unwrap(),
        "Memory grew by 50 MiB in 5s, of which allocations that are followed explain 0 B: mmap of the target \
         itself (50 MiB)."
    );
}

#[test]
fn growth_that_live_blocks_explain_is_not_reported() {
    let before = reading(10, vec![region(0, 20, Kind::Heap, 10)]);
    let now = reading(60, vec![region(0, 70, Kind::Heap, 60)]);
    let blocks: Vec<(u64, u64)> = (20..68).map(|mib| (mib * MIB, MIB)).collect();
    let explained = grown(&before, &now, &blocks);
    assert_eq!((explained.unexplained(), text(&explained)), (2 * MIB, None));
    // Large blocks are mapped one by one, and end up in one mapping.
    let now = reading(60, vec![region(0, 20, Kind::Heap, 10), region(100, 150, Kind::Mapped, 50)]);
    let blocks: Vec<(u64, u64)> = (100..148).map(|mib| (mib * MIB + 16, MIB)).collect();
    let explained = grown(&before, &now, &blocks);
    assert_eq!((explained.unexplained(), text(&explained)), (2 * MIB, None));
    assert_eq!(explained.uses[0].holder, Holder::Mapped);
}

#[test]
fn mappings_of_an_allocator_and_of_the_target_are_kept_apart() {
    let before = reading(10, vec![region(100, 110, Kind::Mapped, 10)]);
    let now = reading(90, vec![region(100, 170, Kind::Mapped, 70), region(300, 320, Kind::Mapped, 20)]);
    let grown = grown(&before, &now, &[(101 * MIB, 64)]);
    let of = |holder: Holder| grown.uses.iter().find(|of| of.holder == holder).unwrap();
    let (allocator, mapped) = (of(Holder::Allocator), of(Holder::Mapped));
    assert_eq!((allocator.before, allocator.after), (10 * MIB, 70 * MIB));
    assert_eq!((mapped.before, mapped.after), (0, 20 * MIB));
    let said = text(&grown).unwrap();
    assert!(said.contains("what the allocator holds beside live blocks (60 MiB)"), "{said}");
    assert!(said.contains("mmap of the target itself (20 MiB)"), "{said}");
}

#[test]
fn memory_that_an_allocator_divides_now_belonged_to_it_before() {
    let mapped = |start, end| region(start, end, Kind::Mapped, 1);
    let now = reading(60, vec![mapped(5, 22), mapped(30, 40), mapped(45, 60)]);
    let blocks = [(6 * MIB, 64), (46 * MIB, 64)];
    let was_divided = |start, end| {
        let grown = grown(&reading(1, vec![mapped(start, end)]), &now, &blocks);
        grown.uses.iter().any(|of| of.holder == Holder::Allocator && of.before == MIB)
    };
    for (start, end) in [(0, 10), (20, 30), (6, 7), (44, 46), (0, 70), (59, 70)] {
        assert!(was_divided(start, end), "{start} to {end}");
    }
    for (start, end) in [(0, 5), (22, 30), (30, 45), (60, 70)] {
        assert!(!was_divided(start, end), "{start} to {end}");
    }
}

#[test]
fn free_memory_of_an_allocator_matters_only_if_there_is_much() {
    let before = reading(100, vec![region(0, 900, Kind::Heap, 100)]);
    let with = |mib: u64| grown(&before, &reading(mib, vec![region(0, 900, Kind::Heap, mib)]), &[]);
    assert_eq!(text(&with(120)), None);
    assert!(text(&with(200)).is_some());
}

#[test]
fn a_large_block_that_was_never_touched_explains_nothing_else() {
    let before = reading(10, vec![region(0, 20, Kind::Heap, 10)]);
    let now = reading(
        60,
        vec![
            region(0, 20, Kind::Heap, 10),
            region(1000, 3000, Kind::Mapped, 0),
            region(5000, 5050, Kind::Mapped, 50),
        ],
    );
    let grown = grown(&before, &now, &[(1000 * MIB + 16, 2000 * MIB - 16)]);
    assert_eq!(grown.unexplained(), 50 * MIB);
}

#[test]
fn unmapped_memory_is_reported() {
    let before = reading(50, vec![region(0, 20, Kind::Heap, 10), region(100, 140, Kind::Mapped, 40)]);
    let now = reading(20, vec![region(0, 20, Kind::Heap, 10), region(100, 110, Kind::Mapped, 10)]);
    let grown = grown(&before, &now, &[]);
    assert_eq!((grown.unmapped, grown.unexplained(), text(&grown)), (30 * MIB, 0, None));
    assert_eq!(notes(&[grown])[0], "30 MiB that were in use at the start were unmapped since");
}

#[test]
fn every_row_has_a_cell_for_every_column() {
    let before = reading(10, vec![region(0, 20, Kind::Heap, 8)]);
    let now =
        reading(60, vec![region(0, 20, Kind::Heap, 8), region(100, 154, Kind::Named("lua".into()), 52)]);
    let section = section(&[grown(&before, &now, &[])]);
    assert_eq!(section.rows.len(), 3);
    assert!(section.rows.iter().all(|row| row.cells.len() == section.columns.len()));
    assert_eq!(section.rows[1].cells[1], Value::Name(Text::from("lua")));
}

#[test]
fn a_note_explains_a_total_that_differs_from_its_row() {
    let before = reading(30, vec![region(0, 20, Kind::Heap, 20), region(100, 110, Kind::Mapped, 10)]);
    let now = reading(40, vec![region(0, 20, Kind::Heap, 12), region(100, 128, Kind::Mapped, 28)]);
    let shrank = grown(&before, &now, &[(101 * MIB, MIB)]);
    // 10 MiB more, 1 MiB of it followed; but mapped memory grew by 18 MiB.
    assert_eq!((shrank.growth(), shrank.unexplained()), (10 * MIB, 10 * MIB));
    assert!(
        notes(std::slice::from_ref(&shrank))[0]
            .starts_with("the unexplained growth of all is the sum over its kinds")
    );
    let now = reading(40, vec![region(0, 20, Kind::Heap, 20), region(100, 128, Kind::Mapped, 20)]);
    assert!(notes(&[grown(&before, &now, &[(101 * MIB, MIB)])]).is_empty());
    // The kernel counts pages that have no kind.
    let now = reading(60, vec![region(0, 20, Kind::Heap, 20), region(100, 128, Kind::Mapped, 20)]);
    let less = notes(&[grown(&before, &now, &[(101 * MIB, MIB)])]);
    assert!(less[0].starts_with("all includes pages of no kind"), "{less:?}");
}

#[test]
fn blocks_that_were_freed_at_the_end_explain_what_was_read_before() {
    let before = reading(1, vec![region(0, 20, Kind::Heap, 1)]);
    let now = reading(27, vec![region(0, 20, Kind::Heap, 2), region(100, 130, Kind::Mapped, 25)]);
    let grew = || grown(&before, &now, &[]);
    assert!(text(&grew()).is_some());
    let mut released = Grown { released: 24.0 * MIB as f64, ..grew() };
    explain(&mut released.uses, released.released);
    assert_eq!((released.unexplained(), text(&released)), (2 * MIB, None));
    // Apart from them, memory grew that nobody follows.
    let mut mapped = Grown { released: 10.0 * MIB as f64, ..grew() };
    explain(&mut mapped.uses, mapped.released);
    let said = text(&mapped).unwrap();
    assert!(said.contains("explain 10 MiB: mmap of the target itself (15 MiB)"), "{said}");
    // What they held is not known.
    let bound = |mib: u64| Grown { released_at_most: (mib * MIB) as f64, ..grew() };
    assert_eq!((text(&bound(26)), text(&bound(25)).is_some()), (None, true));
}
