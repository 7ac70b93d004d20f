//! The numbers that sentences rest on, before they are rounded.

use std::time::Duration;

use crate::report::Value;

/// A number that a sentence rests on: exact if it is a whole one.
pub(super) fn measured(value: f64) -> Value {
    match value >= 0.0 && value.fract() == 0.0 && value < u64::MAX as f64 {
        true => Value::Exact(value as u64),
        false => Value::estimate(value, value, Some(value)),
    }
}

/// A length of time as evidence.
pub(super) fn nanos(length: Duration) -> Value {
    Value::Exact(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
}
