//! Findings: what was sent and received, and what is wrong with it.

use std::time::Duration;

use super::{
    lines::{Line, Service, What},
    operations::Operation,
    rules,
    tables::Tables,
};
use crate::{
    report::{Finding, Phrase, Severity, Unit, Value},
    units,
};

/// What findings are made from.
pub(super) struct Facts<'a> {
    pub(super) tables: &'a Tables<'a>,
    pub(super) length: Duration,
}

/// All findings, the most important first.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    vec![traffic(facts)]
}

/// The name of a service in a sentence.
fn name(of: &What) -> Phrase {
    match &of.service {
        Service::Known(name) => Phrase::Name(name.clone()),
        Service::Unknown(_) => Phrase::plain("sockets that are not known"),
    }
}

/// What was sent and received, and where most of it.
fn traffic(facts: &Facts<'_>) -> Finding {
    let lines = &facts.tables.lines;
    let sum = |of: fn(&Line) -> u64| lines.values().map(of).sum::<u64>();
    let received = sum(|line| line.of(Operation::Receive).messages);
    let sent = sum(|line| line.of(Operation::Send).messages);
    let received_bytes = sum(|line| line.of(Operation::Receive).bytes);
    let sent_bytes = sum(|line| line.of(Operation::Send).bytes);
    let Some((what, line)) = lines.iter().max_by_key(|(_, line)| (line.messages(), line.bytes())) else {
        let words = format!("No operation on a socket ended in {}.", units::duration(facts.length));
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    };
    let share = units::percent(line.messages() as f64 / (received + sent).max(1) as f64);
    let sentence = vec![
        Phrase::Plain(format!(
            "{} receives ({}) and {} sends ({}) in {}; {share} of them on ",
            units::count(received as f64),
            units::bytes(received_bytes as f64),
            units::count(sent as f64),
            units::bytes(sent_bytes as f64),
            units::duration(facts.length),
        )),
        name(what),
        Phrase::plain("."),
    ];
    Finding::new(rules::TRAFFIC, Severity::Info, sentence)
        .on(facts.tables.row(what))
        .because("received", Unit::Count, Value::Exact(received))
        .because("sent", Unit::Count, Value::Exact(sent))
        .because("received_bytes", Unit::Bytes, Value::Exact(received_bytes))
        .because("sent_bytes", Unit::Bytes, Value::Exact(sent_bytes))
}
