//! Findings: what stalls, how regularly, and which work on files is pointless.

use std::{collections::HashMap, time::Duration};

use super::{
    lines::{File, Line, Lines, What},
    operations::Operation,
    rules,
    tables::Tables,
};
use crate::{
    observe::io::{Alive, Moment, Of},
    report::{Finding, Phrase, Severity, Unit, Value},
    units,
};

/// What findings are made from.
pub(super) struct Facts<'a> {
    pub(super) tables: &'a Tables<'a>,
    pub(super) moments: &'a HashMap<Of, Vec<Moment>>,
    pub(super) alive: &'a [Alive],
    pub(super) slow: Duration,
    pub(super) length: Duration,
    pub(super) now_ns: u64,
}

/// All findings, the most important first.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    vec![time(facts)]
}

/// Which file and operation take the most time.
fn time(facts: &Facts<'_>) -> Finding {
    let lines = &facts.tables.lines;
    let count: u64 = lines.values().map(|line| line.sum.count).sum();
    let total: u64 = lines.values().map(|line| line.sum.total_ns).sum();
    let Some((what, line)) = lines.iter().max_by_key(|(_, line)| line.sum.total_ns) else {
        let words = format!("No operation on a file ended in {}.", units::duration(facts.length));
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    };
    let share = units::percent(line.sum.total_ns as f64 / total.max(1) as f64);
    let of_a_thread = units::percent(total as f64 / facts.length.as_nanos().max(1) as f64);
    let mut sentence = vec![Phrase::Plain(format!(
        "{} operations on files took {} ({of_a_thread} of one thread's time); {share} of it is {} of ",
        units::count(count as f64),
        units::nanos(total as f64),
        what.operation.name(),
    ))];
    sentence.push(match &what.file {
        File::Known(name) => Phrase::Name(name.clone()),
        File::Unknown(_) => Phrase::plain("a file that is not known"),
    });
    sentence.push(Phrase::plain("."));
    Finding::new(rules::TIME, Severity::Info, sentence)
        .on(facts.tables.row(what))
        .because("operations", Unit::Count, Value::Exact(count))
        .because("total_ns", Unit::Nanos, Value::Exact(total))
}
