//! From judged stacks to the report: sentences, table, meta data.

use profiler_common::{ledger::Class, memleak::counters::Counter};

use super::{
    analyze::analyze,
    collect::{Moment, Snapshot},
    coverage, foremost,
    own::Named,
    session::Session,
    table::{Table, program_of},
};
use crate::{
    error::Result,
    report::{Ended, Frames, Meta, Report, SCHEMA, Stack, Summary, Target, identity::identify},
    text::Text,
    units,
};

/// Builds the report.
pub(super) fn report(
    session: &mut Session<'_>,
    snapshot: &Snapshot,
    moment: &Moment,
    ended: Ended,
) -> Result<Report> {
    let window = moment.window();
    let judged = analyze(&snapshot.rows, &window, &session.before);
    if ended == Ended::Running {
        // An interim report shows the names that are there: nothing else would be looked after meanwhile.
        session.stacks.names.look_up(&session.modules, &session.spaces, &session.worker);
    } else {
        look_once_more(session);
        session.options.stage.begin("looking up names");
        session.worker.restore_priority();
        session.stacks.names.finish(&session.modules, &session.spaces, &session.worker);
        session.options.stage.end();
    }
    for space in &session.spaces {
        session.stacks.learn_maker(space.number, space.maker);
        session.stacks.learn_unloaded(space.number, space.unloaded());
    }
    let named = Named::new(&snapshot.rows, |number, frames| stack_of(session, number, frames));
    // The processes that allocated.
    let seen = judged.iter().map(|stack| program_of(session, stack.row.stack).0).collect();
    let table = Table::new(session, &judged, &named, &window);
    session.before = table.said(&session.before);
    let (found, frames) = named.report(table.shown.iter().map(|&place| judged[place].row.stack));
    let mut stacks = Vec::new();
    let places = found.into_iter().map(|stack| {
        stacks.push(stack?);
        Some(stacks.len() - 1)
    });
    let places: Vec<Option<usize>> = places.collect();
    identify(&mut stacks, &frames);
    let coverage = coverage::coverage(session, snapshot);
    let (sections, findings) =
        table.sections(session, &stacks, &places, &snapshot.counters, coverage.complete);
    let mut report = Report {
        schema: SCHEMA,
        meta: meta(session, snapshot, ended)?,
        verdict: Summary::default(),
        findings,
        sections,
        stacks,
        frames,
        coverage,
    };
    foremost::complete(&mut report, session, moment, &snapshot.counters, &seen)?;
    Ok(report)
}

/// What the targets map now that it is over: a library may have been unloaded just before.
fn look_once_more(session: &mut Session<'_>) {
    let Session { spaces, object, modules, stacks, .. } = session;
    for space in spaces.iter_mut().filter(|space| space.ended.is_none()) {
        space.refresh(object, modules);
        stacks.take_turns(space.number, &mut space.turns);
    }
}

fn stack_of(session: &Session<'_>, number: u32, frames: &mut Frames) -> Option<Stack> {
    let space = session.stacks.get(number)?.space;
    let pid = session.spaces.iter().find(|s| s.number == space).map_or(0, |s| s.process.pid());
    session.stacks.report(number, pid, &session.modules, frames)
}

fn meta(session: &mut Session<'_>, snapshot: &Snapshot, ended: Ended) -> Result<Meta> {
    let uname = rustix::system::uname();
    let options = session.options;
    let mut settings = vec![
        ("older".to_owned(), units::exact_duration(options.older)),
        ("method".to_owned(), session.attacher.method().name().to_owned()),
        ("max_stacks".to_owned(), options.max_stacks.to_string()),
        ("max_blocks".to_owned(), session.max_blocks.to_string()),
    ];
    if let Some(mean) = options.sample_bytes {
        settings.push(("sample_bytes".to_owned(), units::exact_bytes(mean)));
    }
    let length = session.length.unwrap_or_else(|| session.began.elapsed());
    let of = |wanted: &dyn Fn(Counter) -> bool| -> u64 {
        Counter::ALL.iter().filter(|c| wanted(**c)).map(|c| snapshot.counters[*c as usize]).sum()
    };
    let hits = of(&|c| c.class() == Class::Hits);
    let Session { cost, ground, object, .. } = session;
    let cost = cost.cost(length, hits, ground.maps().chain(object.own_maps()));
    Ok(Meta {
        tool: "memleak".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: options.command_line.iter().map(|word| Text::from(word.as_os_str())).collect(),
        host: Text::from(uname.nodename().to_string_lossy().as_ref()),
        kernel: uname.release().to_string_lossy().into_owned(),
        started_unix_ns: session.started_unix_ns,
        started: String::new(),
        length_ns: length.as_nanos() as u64,
        length_ms: 0,
        ended,
        targets: session.spaces.iter().map(target).collect(),
        settings: settings.into_iter().collect(),
        cost,
    })
}

fn target(space: &super::space::Space) -> Target {
    Target {
        pid: space.process.pid(),
        name: space.process.name().clone(),
        exe: space.exe.clone(),
        build_id: space.build_id.clone(),
        ended: space.ended.clone(),
        killed_by: space.killed_by,
        probes: space.probed.clone(),
        notes: space.notes.clone(),
    }
}
