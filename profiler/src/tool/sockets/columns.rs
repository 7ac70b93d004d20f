//! The columns of the tables.

use crate::report::{ColumnSpec, Role, Unit};

pub(super) const SERVICE: ColumnSpec = ("service", "Service", Unit::None, Role::Key, true);
pub(super) const PEER: ColumnSpec = ("peer", "Peer", Unit::None, Role::Key, true);
pub(super) const CONNECTION: [ColumnSpec; 5] = [
    SERVICE,
    PEER,
    ("remote_port", "Port", Unit::None, Role::Key, true),
    ("local_port", "Local port", Unit::None, Role::Key, false),
    ("start_ns", "Since", Unit::Nanos, Role::Key, false),
];

/// What was moved.
pub(super) const TRAFFIC: [ColumnSpec; 6] = [
    ("received", "Received", Unit::Count, Role::Sum, false),
    ("received_per_s", "In", Unit::PerSecond, Role::Gauge, true),
    ("received_bytes", "Bytes in", Unit::Bytes, Role::Sum, true),
    ("sent", "Sent", Unit::Count, Role::Sum, false),
    ("sent_per_s", "Out", Unit::PerSecond, Role::Gauge, true),
    ("sent_bytes", "Bytes out", Unit::Bytes, Role::Sum, true),
];

pub(super) const SERVICES: [ColumnSpec; 14] = [
    ("connections", "Conns", Unit::Count, Role::Sum, true),
    ("open", "Open", Unit::Count, Role::Gauge, true),
    ("accepted", "Accepted", Unit::Count, Role::Sum, false),
    ("connected", "Connected", Unit::Count, Role::Sum, false),
    ("life_ns", "Mean life", Unit::Nanos, Role::Gauge, false),
    ("answers", "Answers", Unit::Count, Role::Sum, false),
    ("answers_per_s", "Answers", Unit::PerSecond, Role::Gauge, true),
    ("answer_ns", "Answer", Unit::Nanos, Role::Gauge, true),
    ("answer_max_ns", "Longest", Unit::Nanos, Role::Max, false),
    ("operations", "Operations", Unit::Count, Role::Sum, false),
    ("peeks", "Peeks", Unit::Count, Role::Sum, false),
    ("not_ready", "Not ready", Unit::Count, Role::Sum, false),
    ("errors", "Errors", Unit::Count, Role::Sum, true),
    ("thread", "Thread", Unit::None, Role::Label, true),
];

pub(super) const PEERS: [ColumnSpec; 3] = [
    ("connections", "Conns", Unit::Count, Role::Sum, true),
    ("open", "Open", Unit::Count, Role::Gauge, true),
    ("ports", "Ports", Unit::Count, Role::Sum, true),
];

pub(super) const CONNECTIONS: [ColumnSpec; 11] = [
    ("state", "State", Unit::None, Role::Label, true),
    ("age_ns", "Age", Unit::Nanos, Role::Gauge, true),
    ("idle_ns", "Idle", Unit::Nanos, Role::Gauge, true),
    ("answers", "Answers", Unit::Count, Role::Sum, false),
    ("answer_mean_ns", "Mean answer", Unit::Nanos, Role::Gauge, true),
    ("answer_max_ns", "Longest", Unit::Nanos, Role::Max, true),
    ("receive_queue", "To read", Unit::Bytes, Role::Gauge, false),
    ("send_queue", "Unsent", Unit::Bytes, Role::Gauge, false),
    ("rtt_ns", "RTT", Unit::Nanos, Role::Gauge, false),
    ("retransmits", "Resent", Unit::Count, Role::Gauge, false),
    ("dropped", "Dropped", Unit::Count, Role::Gauge, false),
];

/// Queues and drops. Those of a socket that listens have connections in them.
pub(super) const QUEUES: [ColumnSpec; 14] = [
    ("open", "Open", Unit::Count, Role::Gauge, true),
    ("receive_queue", "To read", Unit::Bytes, Role::Gauge, true),
    ("receive_queue_max", "Most to read", Unit::Bytes, Role::Max, true),
    ("send_queue", "Unsent", Unit::Bytes, Role::Gauge, true),
    ("send_queue_max", "Most unsent", Unit::Bytes, Role::Max, true),
    ("dropped", "Dropped", Unit::Count, Role::Sum, true),
    ("drop_reasons", "Why packets were dropped", Unit::None, Role::Label, false),
    ("data_age_ns", "Data age", Unit::Nanos, Role::Gauge, true),
    ("backlog", "Waiting", Unit::Count, Role::Gauge, false),
    ("backlog_max", "Most waiting", Unit::Count, Role::Max, false),
    ("backlog_limit", "May wait", Unit::Count, Role::Max, false),
    ("not_taken", "Not taken", Unit::Count, Role::Sum, true),
    ("receive_over_time", "To read over time", Unit::Bytes, Role::Gauge, false),
    ("send_over_time", "Unsent over time", Unit::Bytes, Role::Gauge, false),
];

/// What only TCP has.
pub(super) const TCP: [ColumnSpec; 15] = [
    ("connections", "Conns", Unit::Count, Role::Sum, true),
    ("rtt_ns", "RTT", Unit::Nanos, Role::Gauge, true),
    ("rtt_min_ns", "Least", Unit::Nanos, Role::Gauge, true),
    ("retransmits", "Resent", Unit::Count, Role::Sum, true),
    ("segments", "Segments", Unit::Count, Role::Sum, false),
    ("retransmitted", "Resent", Unit::Ratio, Role::Gauge, false),
    ("zero_windows", "No window", Unit::Count, Role::Sum, false),
    ("resets_received", "Resets in", Unit::Count, Role::Sum, true),
    ("resets_sent", "Resets out", Unit::Count, Role::Sum, true),
    ("attempts", "Connects", Unit::Count, Role::Sum, false),
    ("refused", "Refused", Unit::Count, Role::Sum, true),
    ("timed_out", "Timed out", Unit::Count, Role::Sum, true),
    ("unanswered", "Unanswered", Unit::Count, Role::Sum, true),
    ("unanswered_max_ns", "Longest unanswered", Unit::Nanos, Role::Max, false),
    ("connect_ns", "Connect", Unit::Nanos, Role::Gauge, true),
];

/// Sums over operations.
pub(super) const SUMS: [ColumnSpec; 9] = [
    ("operations", "Operations", Unit::Count, Role::Sum, false),
    ("operations_per_s", "Ops", Unit::PerSecond, Role::Gauge, true),
    ("messages", "Messages", Unit::Count, Role::Sum, false),
    ("bytes", "Bytes", Unit::Bytes, Role::Sum, true),
    ("total_ns", "Time", Unit::Nanos, Role::Sum, true),
    ("duration_ns", "Took", Unit::Nanos, Role::Gauge, true),
    ("max_ns", "Longest", Unit::Nanos, Role::Max, false),
    ("not_ready", "Not ready", Unit::Count, Role::Sum, true),
    ("errors", "Errors", Unit::Count, Role::Sum, true),
];

pub(super) const FUNCTION: [ColumnSpec; 1] = [("function", "Called from", Unit::None, Role::Label, true)];

pub(super) const OVER_TIME: [ColumnSpec; 3] = [
    ("over_time", "Over time", Unit::PerSecond, Role::Gauge, true),
    ("bytes_over_time", "Bytes over time", Unit::BytesPerSecond, Role::Gauge, false),
    ("longest_over_time", "Longest over time", Unit::Nanos, Role::Gauge, false),
];
