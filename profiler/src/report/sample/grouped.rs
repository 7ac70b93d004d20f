//! A report with a table of sites and a detail table of their stacks.

use super::{MIB, columns, leak_row, meta, pong, stack};
use crate::report::{Column, Frames, Report, Role, Row, RowRef, Section, Unit, Value};

/// One site that leaks in three stacks, `room::Room::tick and what it calls`, and one that leaks in one stack, at a line of
/// that function. The first holds 60 MiB and grows by 3 MiB/h, the second holds 5 MiB and grows by 1 MiB/h.
pub(crate) fn grouped() -> Report {
    let mut report = pong();
    report.meta = meta();
    let mut frames = Frames::default();
    let tick = "room::Room::tick";
    let of = |frames: &mut Frames, inner: &str| stack(frames, 4242, &[inner, tick]);
    let inner = ["chat::History::push", "chat::History::trim", "net::broadcast"];
    report.stacks = inner.iter().map(|name| of(&mut frames, name)).collect();
    report.stacks.push(stack(&mut frames, 4242, &[tick]));
    report.frames = frames.into_vec();
    report.identify_stacks();
    let sites = vec![
        leak_row(&format!("{tick}{}", crate::naming::AND_BELOW), 60 * MIB, 3.0, Some(0)),
        leak_row(&format!("{tick}{}room.rs:43", crate::naming::BESIDE), 5 * MIB, 1.0, Some(3)),
    ];
    let behind = |row: Row, site: u64| {
        let cells = row.cells.into_iter().chain([Value::Exact(site)]);
        Row { cells: cells.collect(), ..row }
    };
    let [push, trim, broadcast] = inner;
    let stacks = vec![
        behind(leak_row(push, 30 * MIB, 1.5, Some(0)), 0),
        behind(leak_row(trim, 20 * MIB, 1.0, Some(1)), 0),
        behind(leak_row(broadcast, 10 * MIB, 0.5, Some(2)), 0),
        behind(leak_row(tick, 5 * MIB, 1.0, Some(3)), 1),
    ];
    let site = Column {
        name: "site".into(),
        title: "Site".into(),
        unit: Unit::Count,
        role: Role::Label,
        shown: false,
        form: None,
    };
    let section = |name: &str, rows, columns, detail| Section {
        name: name.into(),
        title: format!("All {name}"),
        columns,
        rows,
        notes: vec![],
        detail,
        folded: None,
    };
    report.sections = vec![
        section("sites", sites, columns(), false),
        section("stacks", stacks, columns().into_iter().chain([site]).collect(), true),
    ];
    report.findings[0].rows = (0..2).map(|row| RowRef { section: 0, row }).collect();
    report.sum_up();
    report
}
