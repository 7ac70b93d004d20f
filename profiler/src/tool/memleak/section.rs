//! From judged stacks to the tool's part of the report.

use super::{collect::Snapshot, coverage::coverage, foremost, session::Session, table::Table};
use crate::{
    error::Result,
    observe::Part,
    report::identity::identify,
    stack::own::{Named, Weight},
    stats::lifetimes::{
        analyze::{Judged, analyze},
        before::Before,
        moments::Moment,
    },
    units,
};

/// Makes the part, and what the next report compares with.
pub(super) fn part(session: Session<'_>, snapshot: &Snapshot, moment: &Moment) -> Result<(Part, Before)> {
    let window = moment.window();
    let judged = analyze(&snapshot.rows, &window, &session.tool.before);
    let weights: Vec<Weight> = judged.iter().map(weight).collect();
    let named = Named::new(&weights, |number, frames| session.on.stack_of(number, frames));
    // The processes that allocated.
    let seen = judged.iter().map(|stack| session.on.program_of(stack.row.stack).0).collect();
    let table = Table::new(session, &judged, &named, &window);
    let said = table.said(&session.tool.before);
    let mut part = Part { settings: settings(session).into_iter().collect(), ..Part::default() };
    let (found, frames) = named.report(table.shown.iter().map(|&place| judged[place].row.stack));
    part.frames = frames;
    let places = found.into_iter().map(|stack| {
        part.stacks.push(stack?);
        Some(part.stacks.len() - 1)
    });
    let places: Vec<Option<usize>> = places.collect();
    identify(&mut part.stacks, &part.frames);
    coverage(session, snapshot, &mut part);
    (part.sections, part.findings) =
        table.sections(session, &part.stacks, &places, &snapshot.counters, part.losses.is_empty());
    foremost::complete(&mut part, session, &snapshot.counters, &seen)?;
    Ok((part, said))
}

fn weight(judged: &Judged<'_>) -> Weight {
    let row = judged.row;
    Weight {
        stack: row.stack,
        things: row.acquired,
        size_sum: row.acquired_bytes,
        gone: row.acquired.saturating_sub(row.live),
    }
}

fn settings(session: Session<'_>) -> Vec<(String, String)> {
    let options = &session.tool.options;
    let mut settings = vec![
        ("older".to_owned(), units::exact_duration(options.older)),
        ("method".to_owned(), session.tool.attacher.method().name().to_owned()),
        ("max_blocks".to_owned(), session.tool.max_blocks.to_string()),
    ];
    if let Some(mean) = options.sample_bytes {
        settings.push(("sample_bytes".to_owned(), units::exact_bytes(mean)));
    }
    settings
}
