//! `--gate-above`: which leaks grow too slowly to count.
//!
//! A function may leak at several lines, and a leak in its callees may be provable only in total. So
//! the limit is one of functions: all leaks of a function are added up, and where a row stands for a function and what it
//! calls, also the leaks that only that function leads to.

use super::known;
use crate::{
    naming,
    report::{Report, Row, Site},
    text::Text,
    units,
};

/// Leaks of one function.
pub(super) struct Group {
    /// Its name; none for a leak without one, which has nothing in common with others.
    function: Option<String>,
    /// Places in the list of leaks.
    pub(super) members: Vec<usize>,
    /// Their growth together, in bytes per hour; none if it is not known of one.
    pub(super) growth_bytes_per_hour: Option<f64>,
}

/// Leaks by function. A leak may be in several groups.
pub(super) fn groups(report: &Report, leaks: &[Site]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, leak) in leaks.iter().enumerate() {
        let function = known::function(leak);
        if function.is_some() && groups.iter().any(|group| group.function == function) {
            continue;
        }
        let is_member = |(other, of): (usize, &Site)| {
            let is_it = other == place || (function.is_some() && known::function(of) == function);
            (is_it || calls(report, leaks, function.as_deref(), of)).then_some(other)
        };
        let members: Vec<usize> = leaks.iter().enumerate().filter_map(is_member).collect();
        let growth = members.iter().map(|&at| leaks.get(at)?.growth_bytes_per_hour).sum();
        groups.push(Group { function, members, growth_bytes_per_hour: growth });
    }
    groups
}

/// Whether one of the leaks is that of this function and what it calls, and every call stack of `of` leads through it.
fn calls(report: &Report, leaks: &[Site], function: Option<&str>, of: &Site) -> bool {
    let Some(function) = function else { return false };
    let is_above =
        |leak: &Site| known::is_with_callees(leak) && known::function(leak).as_deref() == Some(function);
    if !leaks.iter().any(is_above) {
        return false;
    }
    let details = of.rows.iter().flat_map(|&at| report.details(at)).map(|(_, row)| row);
    let mut rows: Vec<&Row> = details.collect();
    if rows.is_empty() {
        rows = of.rows.iter().filter_map(|&at| report.row(at)).collect();
    }
    let leads_through = |row: &&Row| {
        let mut frames = report.stack_of(row).into_iter().flat_map(|stack| report.frames_of(stack));
        frames.any(|frame| {
            let names = (0..frame.functions.len()).filter_map(|nth| naming::spelled(frame, nth));
            names.into_iter().any(|name| naming::short(&name).terminal() == function)
        })
    };
    !rows.is_empty() && rows.iter().all(leads_through)
}

impl Group {
    /// Whether its leaks count together and none of them does alone.
    pub(super) fn counts_together(&self, leaks: &[Site], above: f64) -> bool {
        let is_slow = |&at: &usize| {
            leaks.get(at).and_then(|leak| leak.growth_bytes_per_hour).is_some_and(|g| g < above)
        };
        self.members.len() > 1 && !self.is_below(above) && self.members.iter().all(is_slow)
    }

    /// Whether its growth is known, and less than this.
    pub(super) fn is_below(&self, above: f64) -> bool {
        self.growth_bytes_per_hour.is_some_and(|growth| growth < above)
    }

    /// `grows by 1.5 MiB/h at 2 sites together`.
    pub(super) fn together(&self) -> String {
        let growth = units::bytes_per_hour(self.growth_bytes_per_hour.unwrap_or_default());
        let sites = self.members.len();
        format!("grows by {} at {sites} sites together", growth.trim_start_matches('+'))
    }

    /// Its name.
    pub(super) fn name(&self) -> Option<Text> {
        self.function.as_deref().map(Text::from)
    }

    /// Why its leaks do not count.
    pub(super) fn excuse(&self, above: f64) -> String {
        let growth = self.growth_bytes_per_hour.unwrap_or_default();
        let it = match self.members.len() {
            1 => "it grows by".to_owned(),
            sites => format!("its function grows at {sites} sites by"),
        };
        let shown = units::bytes_per_hour(above);
        if units::bytes_per_hour(growth) != shown {
            return format!("{it} less than {} (--gate-above)", shown.trim_start_matches('+'));
        }
        // Rounded, they would be the same.
        let (growth, above) = units::apart(growth, above);
        format!("{it} {growth}/h, less than {above}/h (--gate-above)")
    }
}
