//! What was counted since the previous report.

use std::collections::BTreeMap;

use super::{
    children::Gathered,
    rows::{Rows, Who},
};
use crate::text::Text;

/// Whose calls a row has: a thread's, or those of several threads of one name. The numbers that [`Who`] has for names differ from
/// report to report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Thread(u32),
    Several(Text),
}

/// What the previous report had for a thread and a call.
#[derive(Clone, Debug)]
struct Said {
    /// Calls that had ended, and the time in them.
    sums: [u64; 2],
    /// The name of the thread.
    name: Text,
}

/// What the previous report had: by address space, call, and whose calls they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Before(BTreeMap<(u16, u64, Whose), Said>);

impl Before {
    /// The same, with calls put together in the rows that the new report has.
    fn gathered(&self, gathered: &Gathered) -> BTreeMap<(u16, u64, Whose), Said> {
        let mut all: BTreeMap<(u16, u64, Whose), Said> = BTreeMap::new();
        for ((space, call, whose), said) in &self.0 {
            let number = gathered.number(*space);
            let whose = if number == *space { whose.clone() } else { Whose::Several(said.name.clone()) };
            let nothing = || Said { sums: [0; 2], name: said.name.clone() };
            add(&mut all.entry((number, *call, whose)).or_insert_with(nothing).sums, said.sums);
        }
        all
    }
}

impl Rows {
    /// What the next report begins from.
    pub(super) fn before(&self) -> Before {
        let said = self.by.iter().map(|((who, call), sum)| {
            let said = Said { sums: [sum.calls(), sum.total_ns], name: self.name_of(*who) };
            ((who.space, *call, self.whose(*who)), said)
        });
        Before(said.collect())
    }

    /// Computes what was counted since the previous report. `gathered`: which processes share a row now.
    pub(super) fn since(&mut self, before: &Before, gathered: &Gathered) {
        let mut before = before.gathered(gathered);
        let mut new: BTreeMap<(Who, u64), [u64; 2]> = BTreeMap::new();
        // Counts of threads that have since given their cells back: they are now in a row of several threads.
        let mut moved: BTreeMap<(u16, u64, Text), [u64; 2]> = BTreeMap::new();
        let mut move_away =
            |space, call, said: Said| add(moved.entry((space, call, said.name)).or_default(), said.sums);
        for ((who, call), sum) in &self.by {
            let now = [sum.calls(), sum.total_ns];
            let row = new.entry((*who, *call)).or_insert(now);
            let Some(mut said) = before.remove(&(who.space, *call, self.whose(*who))) else { continue };
            if now[0] < said.sums[0] {
                // The thread id was reused.
                move_away(who.space, *call, said);
            } else {
                take(row, &mut said.sums);
            }
        }
        for ((space, call, _), said) in before {
            move_away(space, call, said);
        }
        // First take them from the row of the same name. The rest had another name when their thread ended.
        for is_named in [true, false] {
            for ((who, call), row) in new.iter_mut().filter(|((who, _), _)| who.is_several()) {
                let name = self.name_of(*who);
                let own = |(space, of, from): &(u16, u64, Text)| {
                    (*space, *of) == (who.space, *call) && (!is_named || *from == name)
                };
                moved.iter_mut().filter(|(key, _)| own(key)).for_each(|(_, sums)| take(row, sums));
            }
        }
        for (key, [calls, ns]) in new {
            if let Some(sum) = self.by.get_mut(&key) {
                sum.recent = (calls, ns);
            }
        }
    }

    fn whose(&self, who: Who) -> Whose {
        if who.is_several() { Whose::Several(self.name_of(who)) } else { Whose::Thread(who.tid) }
    }

    fn name_of(&self, who: Who) -> Text {
        self.names.get(&who).cloned().unwrap_or_else(|| Text::from(""))
    }
}

fn add(sums: &mut [u64; 2], more: [u64; 2]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Subtracts from both what they have in common.
fn take(row: &mut [u64; 2], from: &mut [u64; 2]) {
    for (row, from) in row.iter_mut().zip(from) {
        let both = (*row).min(*from);
        *row -= both;
        *from -= both;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::syscalls::rows::{SEVERAL, Sum};

    const CALL: u64 = 0;

    /// Rows of one call: thread id or number of a name, name, calls, and time.
    fn rows(of: &[(u32, &str, u64, u64)]) -> Rows {
        let mut rows = Rows::default();
        for (tid, name, returned, total_ns) in of.iter().copied() {
            let who = Who { space: 0, tid };
            rows.by.insert((who, CALL), Sum { returned, total_ns, ..Sum::default() });
            rows.names.insert(who, name.into());
        }
        rows
    }

    /// What was counted between two reports, by name.
    fn recent(before: &[(u32, &str, u64, u64)], now: &[(u32, &str, u64, u64)]) -> Vec<(String, (u64, u64))> {
        let mut rows_now = rows(now);
        rows_now.since(&rows(before).before(), &Gathered::default());
        let mut recent: Vec<(String, (u64, u64))> =
            rows_now.by.iter().map(|((who, _), sum)| (rows_now.names[who].terminal(), sum.recent)).collect();
        recent.sort();
        recent
    }

    fn said(of: &[(&str, (u64, u64))]) -> Vec<(String, (u64, u64))> {
        of.iter().map(|(name, sums)| ((*name).to_owned(), *sums)).collect()
    }

    #[test]
    fn calls_since_the_previous_report_are_counted_by_thread_and_call() {
        assert_eq!(recent(&[], &[(7, "tick", 10, 100)]), said(&[("tick", (10, 100))]));
        assert_eq!(recent(&[(7, "tick", 10, 100)], &[(7, "tick", 13, 190)]), said(&[("tick", (3, 90))]));
        assert_eq!(recent(&[(7, "main", 10, 100)], &[(7, "tick", 13, 190)]), said(&[("tick", (3, 90))]));
    }

    #[test]
    fn threads_of_a_name_keep_their_sums_when_the_number_of_the_name_changes() {
        let before = [(SEVERAL, "conn", 1_000, 10), (SEVERAL | 1, "task", 50, 5)];
        let now = [(SEVERAL, "task", 52, 6), (SEVERAL | 1, "conn", 1_030, 14)];
        assert_eq!(recent(&before, &now), said(&[("conn", (30, 4)), ("task", (2, 1))]));
    }

    #[test]
    fn calls_of_a_thread_that_gave_its_cells_back_are_not_new() {
        // The thread kept its name, and made ten more calls.
        let before = [(7, "task", 1_000, 100), (SEVERAL, "conn", 20, 2)];
        let now = [(SEVERAL, "conn", 25, 3), (SEVERAL | 1, "task", 1_010, 101)];
        assert_eq!(recent(&before, &now), said(&[("conn", (5, 1)), ("task", (10, 1))]));
        // The thread had another name when it ended. That name is not known, but its calls are not new.
        let now = [(SEVERAL, "conn", 25, 3), (SEVERAL | 1, "late", 1_010, 101)];
        let sums = recent(&before, &now);
        assert_eq!(sums.iter().map(|(_, (calls, _))| calls).sum::<u64>(), 15, "{sums:?}");
        // The thread id was reused.
        let now = [(7, "next", 3, 1), (SEVERAL, "conn", 20, 2), (SEVERAL | 1, "task", 1_000, 100)];
        assert_eq!(recent(&before, &now), said(&[("conn", (0, 0)), ("next", (3, 1)), ("task", (0, 0))]));
    }
}
