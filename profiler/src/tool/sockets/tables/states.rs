//! Tables of what no call shows: queues and drops, and the state of TCP.

use std::cmp::Reverse;

use super::{Tables, What};
use crate::{
    observe::socket_state::{
        Tracked,
        standing::{Backlog, Queue, Standing, Tcp},
    },
    report::{Row, Section, Series, Unit, Value},
    text::Text,
    tool::sockets::columns::{self, SERVICE},
    units,
};

const NS_PER_US: u64 = 1_000;
/// Time between two looks.
const LOOK_NS: u64 = 1_000_000_000;
/// In place of a value.
const UNSAID: &str = "this kernel does not say it";

impl Tables<'_> {
    /// Queues, drops, and how old data was when it was read.
    pub(super) fn queues(&self) -> Section {
        let mut standings = self.standings(|_| true);
        standings.sort_by_key(|(_, of)| Reverse((of.dropped.count, of.receive.most.max(of.send.most))));
        let rows = standings.iter().map(|(what, standing)| {
            let mut cells = self.tabled.whose(what.space);
            cells.push(what.service.value());
            cells.extend(self.queue_cells(standing));
            cells.extend(self.over_time(what));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let title = "Queues and drops, the most dropped first";
        let mut section = self.tabled.section("queues", title, &[SERVICE], rows.collect(), &columns::QUEUES);
        section.notes = self.given.states.notes(self.given.connections);
        section.notes.extend(self.given.states.without_history());
        let without: u64 = standings.iter().map(|(_, of)| of.ages_without_histogram).sum();
        if without > 0 {
            let words = "ages of data are missing here: 1,024 sockets at a time have a histogram of them";
            section.notes.push(format!("{} {words}", units::count(without as f64)));
        }
        section
    }

    /// What TCP says of its connections.
    pub(super) fn tcp(&self) -> Section {
        let mut standings = self.standings(|of| of.tcp.connections > 0);
        standings.sort_by_key(|(_, of)| Reverse((of.tcp.retransmits.segments, of.tcp.connections)));
        let rows = standings.iter().map(|(what, standing)| {
            let mut cells = self.tabled.whose(what.space);
            cells.push(what.service.value());
            cells.extend(tcp_cells(&standing.tcp));
            Row { cells, stacks: Vec::new(), severity: None }
        });
        let title = "TCP: round-trip times, retransmissions and connects";
        let mut section = self.tabled.section("tcp", title, &[SERVICE], rows.collect(), &columns::TCP);
        section.notes = self.given.states.of_networks();
        section
    }

    fn standings(&self, is_shown: impl Fn(&Standing) -> bool) -> Vec<(&What, Standing)> {
        self.sockets
            .iter()
            .map(|(what, sockets)| (what, sockets.standing()))
            .filter(|(_, standing)| is_shown(standing))
            .collect()
    }

    fn queue_cells(&self, standing: &Standing) -> Vec<Value> {
        let Standing { receive, send, dropped, reasons, backlog, .. } = standing;
        let of = |queue: &Queue| [queue.now, queue.most].map(|bytes| counted(bytes, queue.unknown));
        let mut cells = vec![Value::Exact(standing.open)];
        cells.extend([of(receive), of(send)].concat());
        let mut sorted: Vec<_> = reasons.iter().collect();
        sorted.sort_by_key(|(_, count)| Reverse(**count));
        let words: Vec<String> = sorted
            .iter()
            .map(|(reason, count)| format!("{count} {}", self.given.states.reason(**reason)))
            .collect();
        cells.extend([
            counted(dropped.count, dropped.unknown),
            if words.is_empty() {
                Value::Word("none".to_owned())
            } else {
                Value::Name(Text::from(words.join(", ").as_str()))
            },
            ages(standing),
        ]);
        let none = || Value::Unknown("it does not listen".to_owned());
        let waiting =
            |of: fn(&Backlog) -> u64| backlog.as_ref().map_or_else(none, |backlog| Value::Exact(of(backlog)));
        cells.extend([
            waiting(|of| of.now),
            waiting(|of| of.most),
            waiting(|of| of.limit),
            backlog.as_ref().map_or_else(none, |backlog| counted(backlog.dropped, backlog.unknown)),
        ]);
        cells
    }

    /// The queues of a service at each look: sums over its sockets.
    fn over_time(&self, what: &What) -> [Value; 2] {
        let histories = || {
            let sockets = self.sockets.get(what).into_iter().flat_map(|of| &of.tracked);
            sockets.filter_map(|tracked| tracked.history.as_ref())
        };
        let Some(step) = histories().map(|history| history.step).max() else {
            return [(); 2].map(|()| Value::Unknown("nothing was in a queue at any look".to_owned()));
        };
        let looks = self.given.states.looks().max(1);
        let mut values = vec![(0, 0); looks.div_ceil(step) as usize];
        for history in histories() {
            // A coarser step is a multiple of each finer one. Of several points in one, the highest counts.
            let mut most = vec![(0, 0); values.len()];
            for (index, point) in history.points.iter().enumerate() {
                let look = history.first_look.saturating_sub(1) + index as u64 * history.step;
                if let Some((receive, send)) = most.get_mut((look / step) as usize) {
                    *receive = point.receive.max(*receive);
                    *send = point.send.max(*send);
                }
            }
            for (sum, (receive, send)) in values.iter_mut().zip(most) {
                *sum = (sum.0 + receive, sum.1 + send);
            }
        }
        let series = |name: &str, of: fn(&(u64, u64)) -> u64| {
            let values = values.iter().map(|value| Some(of(value) as f64)).collect();
            let (name, unit) = (name.to_owned(), Unit::Bytes);
            Value::Series(Series { name, unit, start_ns: 0, step_ns: step * LOOK_NS, values })
        };
        [series("receive queue", |of| of.0), series("send queue", |of| of.1)]
    }
}

/// A sum, if it is known of all sockets.
fn counted(sum: u64, unknown: u64) -> Value {
    match unknown {
        0 => Value::Exact(sum),
        _ => Value::Unknown("this kernel does not say it of all of them".to_owned()),
    }
}

/// How old data was when it was read.
fn ages(of: &Standing) -> Value {
    match (&of.ages, of.ages_without_histogram) {
        (Some(ages), _) => Value::Histogram(ages.clone()),
        (None, 0) => Value::Unknown("no age was measured".to_owned()),
        _ => Value::Unknown("no room was left for histograms of its sockets".to_owned()),
    }
}

fn tcp_cells(tcp: &Tcp) -> Vec<Value> {
    let unmeasured = || Value::Unknown("the kernel has not measured any".to_owned());
    let mean_ns = (tcp.measured > 0).then(|| (tcp.srtt_us * NS_PER_US) as f64 / tcp.measured as f64);
    let connects = tcp.connects.clone();
    vec![
        Value::Exact(tcp.connections),
        mean_ns.map_or_else(unmeasured, Value::known),
        tcp.rtt_min_us.map_or_else(unmeasured, |us| Value::Exact(us * NS_PER_US)),
        Value::Exact(tcp.retransmits.segments),
        Value::Exact(tcp.retransmits.of),
        Value::known(tcp.retransmits.share()),
        Value::Exact(tcp.zero_windows),
        Value::Exact(tcp.resets_received),
        Value::Exact(tcp.resets_sent),
        Value::Exact(tcp.attempts),
        Value::Exact(tcp.refused),
        Value::Exact(tcp.timed_out),
        Value::Exact(tcp.unanswered),
        Value::Exact(tcp.longest_unanswered_ns),
        connects.map_or_else(
            || Value::Unknown("no connect has succeeded meanwhile".to_owned()),
            Value::Histogram,
        ),
    ]
}

/// What the table of connections has of the state of each.
pub(super) fn of_connection(tracked: Option<&&Tracked>) -> [Value; 5] {
    let Some(tracked) = tracked else {
        return [(); 5].map(|()| Value::Unknown("its state was not seen".to_owned()));
    };
    let state = &tracked.socket.state;
    let known =
        |value: Option<u64>, why: &str| value.map_or_else(|| Value::Unknown(why.to_owned()), Value::Exact);
    let queue = |bytes: Option<u64>| if tracked.has_queues() { bytes } else { Some(0) };
    let dropped = || tracked.overruns().map(|of| of.dropped);
    [
        known(queue(state.receive_queue), UNSAID),
        known(queue(state.send_queue), UNSAID),
        known(state.srtt_us.filter(|us| *us > 0).map(|us| us * NS_PER_US), "none was measured"),
        known(tracked.retransmits().map(|of| of.segments), "only TCP has segments"),
        known(if tracked.has_datagrams() { dropped() } else { Some(0) }, UNSAID),
    ]
}
