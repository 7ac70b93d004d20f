//! The columns of the table of stacks.

use super::reasons::why;
use crate::{
    report::{Column, ColumnSpec, Form, Role, Unit, Value, WHOSE},
    stack::own::Own,
    stats::{
        estimate::Estimate,
        lifetimes::{
            analyze::Judged,
            growth::Growth,
            rows::StackRow,
            verdict::{Judgement, Verdict},
        },
    },
    text::Text,
    units,
};

/// Shown in place of every value that incomplete data cannot support.
const WITHHELD: &str = "withheld: the data are incomplete";

/// The columns, in order. `{A}` in a title stands for the age asked about.
const COLUMNS: [ColumnSpec; 14] = [
    ("verdict", "Verdict", Unit::None, Role::Label, true),
    ("function", "Function", Unit::None, Role::Name, true),
    ("old_bytes", "Live > {A}", Unit::Bytes, Role::Gauge, true),
    ("live_bytes", "Live", Unit::Bytes, Role::Gauge, true),
    ("live_blocks", "Live blocks", Unit::Count, Role::Gauge, false),
    ("old_blocks", "Blocks > {A}", Unit::Count, Role::Gauge, false),
    ("allocs", "Allocations", Unit::Count, Role::Sum, false),
    ("alloc_bytes", "Allocated", Unit::Bytes, Role::Sum, false),
    ("frees", "Frees", Unit::Count, Role::Sum, false),
    ("survival", "Survive {A}", Unit::Ratio, Role::Gauge, true),
    ("hazard_per_hour", "Freed late/h", Unit::PerHour, Role::Gauge, true),
    ("growth_bytes_per_hour", "Growth", Unit::BytesPerHour, Role::Gauge, true),
    ("why", "Why", Unit::None, Role::Label, false),
    ("passed_over", "Passed over", Unit::None, Role::Label, false),
];

/// Columns that only sites have, behind the others. The keys are those of [`site_key`].
const OF_SITES: [ColumnSpec; 5] = [
    ("stacks", "Stacks", Unit::Count, Role::Gauge, true),
    ("symbol", "Symbol", Unit::None, Role::Key, false),
    ("module", "File", Unit::None, Role::Key, false),
    ("place", "Place", Unit::None, Role::Key, false),
    ("covers", "Covers", Unit::None, Role::Key, false),
];
/// Columns that only stacks have.
const OF_STACKS: [ColumnSpec; 2] =
    [("site", "Site", Unit::Count, Role::Label, false), ("stack_id", "Stack", Unit::None, Role::Key, false)];

fn columns(age: &str, last: &[ColumnSpec], several: bool, drawn: bool) -> Vec<Column> {
    let column = |spec: &ColumnSpec| {
        let (name, title, unit, _, shown) = *spec;
        let (title, shown) = (title.replace("{A}", age), shown && (name != "pid" || several));
        Column { title, shown, ..Column::of(spec, form(name, unit, drawn)) }
    };
    WHOSE.iter().chain(&COLUMNS).chain(last).map(column).collect()
}

/// Survival and rates are estimates. Numbers and sizes of memory are exact, or estimates if blocks are drawn.
fn form(name: &str, unit: Unit, drawn: bool) -> Form {
    let is_of_memory = COLUMNS.iter().any(|column| column.0 == name);
    match unit {
        Unit::Ratio | Unit::PerHour | Unit::BytesPerHour => Form::Interval,
        Unit::Bytes | Unit::Count if drawn && is_of_memory => Form::Interval,
        _ => Form::Single,
    }
}

/// The columns of sites; people see the process if there are several. `drawn`: whether only some blocks are followed (`--sample-bytes`).
pub(super) fn site_columns(age: &str, several: bool, drawn: bool) -> Vec<Column> {
    columns(age, &OF_SITES, several, drawn)
}

/// The columns of stacks, the same.
pub(super) fn stack_columns(age: &str, several: bool, drawn: bool) -> Vec<Column> {
    columns(age, &OF_STACKS, several, drawn)
}

/// A row: the process, which of its programs, the cells, and what only this kind of row has.
pub(super) fn with_ends((pid, program): (u32, u64), cells: Vec<Value>, last: Vec<Value>) -> Vec<Value> {
    [Value::Exact(pid.into()), Value::Exact(program)].into_iter().chain(cells).chain(last).collect()
}

/// What identifies a site, independent of other sites: the function, its file, its place in the source, and whether the row is
/// about a line or about a function with everything that it calls.
pub(super) fn site_key(own: Option<&Own>, with_callees: bool) -> [Value; 4] {
    let missing = |why: &str| Value::Unknown(why.to_owned());
    let named =
        |name: Option<&Text>, why| name.map_or_else(|| missing(why), |name| Value::Name(name.clone()));
    let place = own.and_then(Own::source_place);
    let covers = if with_callees { "function and callees" } else { "line" };
    [
        named(own.map(|own| &own.function), "no frame has a name"),
        named(own.and_then(|own| own.module.as_ref()), "code without a file"),
        named(place.as_ref(), "no line is known"),
        Value::Word(covers.to_owned()),
    ]
}

/// The cells of a stack; without a verdict if the data do not support one. `skipped`: the allocation wrappers further in than the
/// function. `leaking`: the stacks that leak, if not all do; the old memory and the figures of the judgement are theirs.
pub(super) fn cells(
    judged: &Judged<'_>,
    leaking: Option<&StackRow>,
    verdict: Option<Verdict>,
    function: Option<Text>,
    skipped: Option<&[Text]>,
) -> Vec<Value> {
    let (row, judgement) = (judged.row, &judged.judgement);
    let drawn = row.weighted.as_ref();
    let kept = leaking.unwrap_or(row);
    let kept_drawn = kept.weighted.as_ref();
    let number = |exact: u64, estimate: Option<(f64, f64)>| match estimate {
        Some((value, variance)) => {
            let half = 1.96 * variance.max(0.0).sqrt();
            Value::estimate(value, (value - half).max(0.0), Some(value + half))
        }
        None => Value::Exact(exact),
    };
    let frees = drawn.map(|w| ((w.acquired.0 - w.live.0).max(0.0), w.acquired.1 - w.live.1));
    let hazard = &judgement.hazard;
    let why = why(judgement.reason);
    vec![
        verdict.map_or_else(|| Value::Unknown(WITHHELD.to_owned()), |v| Value::Word(v.name().to_owned())),
        function.map_or_else(|| Value::Unknown("no frame has a name".to_owned()), Value::Name),
        number(kept.old_bytes, kept_drawn.map(|w| w.old_bytes)),
        number(row.live_bytes, drawn.map(|w| w.live_bytes)),
        number(row.live, drawn.map(|w| w.live)),
        number(kept.old, kept_drawn.map(|w| w.old)),
        number(row.acquired, drawn.map(|w| w.acquired)),
        number(row.acquired_bytes, drawn.map(|w| w.acquired_bytes)),
        number(row.merged + row.lifetimes.died.iter().sum::<u64>(), frees),
        estimate(judgement.survival.as_ref(), "no block was watched for that long"),
        estimate((hazard.exposure_item_hours > 0.0).then_some(&hazard.per_hour), "no block got that old"),
        growth(judgement),
        Value::Word(match judgement.judged_after {
            Some(after) => {
                let after = units::rounded_up(after);
                format!("{why}; can be judged once observed for {after}")
            }
            None => why.to_owned(),
        }),
        passed_over(skipped.unwrap_or_default()),
    ]
}

fn passed_over(wrappers: &[Text]) -> Value {
    let names: Vec<&[u8]> = wrappers.iter().map(Text::raw).collect();
    if names.is_empty() {
        Value::Unknown("no allocation wrapper".to_owned())
    } else {
        Value::Name(Text::new(names.join(&b", "[..])))
    }
}

fn growth(judgement: &Judgement) -> Value {
    match judgement.growth {
        Growth::Stopped => Value::Word("stopped".to_owned()),
        // Its blocks get old one after the other, and none gets much older: the amount of old memory stays the same.
        _ if judgement.verdict == Verdict::Cache => Value::Word("bounded".to_owned()),
        _ => estimate(judgement.growth_bytes_per_hour.as_ref(), "observed for less than the age asked about"),
    }
}

fn estimate(estimate: Option<&Estimate>, missing: &str) -> Value {
    estimate.map_or_else(|| Value::Unknown(missing.to_owned()), |e| Value::estimate(e.value, e.low, e.high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::lifetimes::{hazard::LateHazard, verdict::Reason};

    #[test]
    fn what_cannot_go_on_growing_has_no_growth_per_hour() {
        let exact = |value| Estimate { value, low: value, high: Some(value), exact: true };
        let hazard = LateHazard {
            releases: 0,
            exposure_item_hours: 0.0,
            per_hour: exact(0.0),
            from_units: 0,
            to_units: 0,
        };
        let of = |verdict, reason, going| {
            let judgement = Judgement {
                verdict,
                reason,
                survival: None,
                hazard,
                growth: going,
                growth_bytes_per_hour: Some(exact(4096.0)),
                kept: None,
                judged_after: None,
            };
            growth(&judgement)
        };
        let word = |word: &str| Value::Word(word.to_owned());
        assert_eq!(of(Verdict::LongLived, Reason::StoppedGrowing, Growth::Stopped), word("stopped"));
        assert_eq!(of(Verdict::Cache, Reason::BoundedAge, Growth::Stopped), word("stopped"));
        assert_eq!(of(Verdict::Cache, Reason::BoundedAge, Growth::Continues), word("bounded"));
        assert_eq!(of(Verdict::Leak, Reason::KeptAndGrowing, Growth::Continues).number(), Some(4096.0));
    }
}
