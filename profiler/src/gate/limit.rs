//! `--gate-above`: excuses leaks that grow slowly.
//!
//! A function may leak at several lines, and leaks in its callees may be provable only together. So the limit applies to functions: the
//! growth of all leaks of a function is added up. If a row covers a function with its callees, leaks that only this function
//! reaches are added too.

use super::known;
use crate::{
    naming,
    report::{Report, Row, Site},
    text::Text,
    units,
};

/// The leaks of one function.
pub(super) struct Group {
    /// Its name; `None` for a leak without a name, which is a group of its own.
    function: Option<String>,
    /// Indices in the list of leaks.
    pub(super) members: Vec<usize>,
    /// Their total growth in bytes per hour; `None` if the growth of one is unknown.
    pub(super) growth_bytes_per_hour: Option<f64>,
}

/// Groups leaks by function. A leak may be in several groups.
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

/// Whether one of the leaks covers this function with its callees, and every call stack of `of` contains the function.
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
    /// Whether its leaks exceed the limit together and none of them does alone.
    pub(super) fn counts_together(&self, leaks: &[Site], above: f64) -> bool {
        let is_slow = |&at: &usize| {
            leaks.get(at).and_then(|leak| leak.growth_bytes_per_hour).is_some_and(|g| g < above)
        };
        self.members.len() > 1 && !self.is_below(above) && self.members.iter().all(is_slow)
    }

    /// Whether its growth is known and less than `above`.
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
        // Rounded, both numbers would look the same.
        let (growth, above) = units::apart(growth, above);
        format!("{it} {growth}/h, less than {above}/h (--gate-above)")
    }
}
