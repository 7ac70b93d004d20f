//! The table of single calls (`--slow`), each with the file or socket that it used.

use super::{
    names,
    rows::comm,
    tables::{CALL, THREAD, Tables},
};
use crate::{
    report::{Role, Row, Section, StackRef, Unit, Value},
    units,
};

const SLOW_TITLE: &str = "Single calls, the longest first; those that wait come last";

impl Tables<'_> {
    pub(super) fn single_calls(&self) -> Section {
        let rows = self.singles.iter().map(|single| {
            let mut cells = self.whose(single.space).to_vec();
            cells.push(Value::Exact(single.call.tid));
            // The name that the thread had then: it may have ended since.
            cells.push(Value::Name(comm(single.call.comm)));
            cells.push(Value::Word(names::call(single.call.call)));
            cells.push(Value::Exact(single.call.start_ns.saturating_sub(self.on.began_ns())));
            cells.push(Value::Exact(single.call.duration_ns));
            cells.push(Value::Word(names::result(single.call.result.cast_signed())));
            cells.push(Value::Exact(single.call.argument));
            cells.push(self.on.files.of_call(single.call.file, single.call.no_file));
            Row { cells, stacks: StackRef::user(single.stack), severity: None }
        });
        let keys = [THREAD[0], THREAD[1], CALL, ("start_ns", "At", Unit::Nanos, Role::Key, true)];
        let sums = [
            ("duration_ns", "Took", Unit::Nanos, Role::Max, true),
            ("result", "Result", Unit::None, Role::Label, true),
            ("argument", "First argument", Unit::None, Role::Label, false),
            ("file", "File", Unit::None, Role::Name, true),
        ];
        let mut section = self.section("slow", SLOW_TITLE, &keys, rows.collect(), &sums);
        for (number, which) in [
            (self.left_out.work, "that are not meant to wait"),
            (self.left_out.wait, "that are meant to wait"),
        ] {
            if number > 0 {
                let more = units::plural(number as usize, "more call", "more calls");
                section.notes.push(format!(
                    "{more} {which} took at least {} (--slow): only the longest are listed",
                    self.slow
                ));
            }
        }
        if self.not_sent > 0 {
            let more = units::plural(self.not_sent as usize, "call", "calls");
            section
                .notes
                .push(format!("{more}, of any thread, did not fit into the ring and may be missing here"));
        }
        section.number_rows();
        section
    }
}
