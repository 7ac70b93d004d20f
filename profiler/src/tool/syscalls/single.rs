//! The table of single calls (`--slow`), each with the file or socket that it used.

use profiler_common::{
    file::{LEAST_POLL_NS, NO_FILE, Unknown},
    syscalls::{NO_PATH, SlowCall},
};

use super::{
    rows::comm,
    tables::{CALL, Single, THREAD, Tables},
};
use crate::{
    kernel::calls,
    observe::files::calls::use_of,
    report::{Role, Row, Section, StackRef, Unit, Value},
    units,
};

const SLOW_TITLE: &str = "Single calls, the longest first; those that wait come last";

const ENOENT: i64 = libc::ENOENT as i64;
const EFAULT: i64 = libc::EFAULT as i64;
const ENAMETOOLONG: i64 = libc::ENAMETOOLONG as i64;
/// Of a path that is cut, in bytes: with a mark at its end it is as long as text can be.
const LONGEST_CUT: usize = 4092;
const EINTR: i64 = libc::EINTR as i64;
/// Results from here on are errors (`MAX_ERRNO`, include/linux/err.h).
const FIRST_ERROR: u64 = -4095i64 as u64;

/// Whether a call uses more than one file.
fn has_other_file(call: u64) -> bool {
    use_of(call).polls() || use_of(call).second() != 0
}

/// In place of a path.
fn unread() -> Value {
    Value::Unknown("its path could not be read".to_owned())
}

impl Tables<'_> {
    pub(super) fn single_calls(&self) -> Section {
        let rows = self.singles.iter().map(|single| {
            let mut cells = self.whose(single.space).to_vec();
            cells.push(Value::Exact(single.call.tid));
            // The name that the thread had then: it may have ended since.
            cells.push(Value::Name(comm(single.call.comm)));
            cells.push(Value::Word(calls::call(single.call.call)));
            cells.push(Value::Exact(single.call.start_ns.saturating_sub(self.on.began_ns())));
            cells.push(Value::Exact(single.call.duration_ns));
            cells.push(Value::Word(calls::result(single.call.result.cast_signed())));
            cells.push(Value::Exact(single.call.argument));
            cells.push(self.file(single));
            cells.push(self.other_file(single));
            Row { cells, stacks: StackRef::user(single.stack), severity: None }
        });
        let has_other = self.singles.iter().any(|single| has_other_file(single.call.call));
        let keys = [THREAD[0], THREAD[1], CALL, ("start_ns", "At", Unit::Nanos, Role::Key, true)];
        let sums = [
            ("duration_ns", "Took", Unit::Nanos, Role::Max, true),
            ("result", "Result", Unit::None, Role::Label, true),
            ("argument", "First argument", Unit::None, Role::Label, false),
            ("file", "File", Unit::None, Role::Name, true),
            ("other_file", "Other file", Unit::None, Role::Label, has_other),
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

    /// The file of a call, or the path that it names.
    fn file(&self, single: &Single) -> Value {
        let SlowCall { files: [file, ..], no_file, path_bytes, .. } = single.call;
        let failed = |error: i64| single.call.result.cast_signed() == -error;
        let path = match &*single.path {
            // The kernel takes no more than it could be read here, and refuses what is longer.
            path if failed(ENAMETOOLONG) => {
                &[path.get(..LONGEST_CUT).unwrap_or(path), "…".as_bytes()].concat()
            }
            path => path,
        };
        match path_bytes {
            // Others have the file of the descriptor without a path.
            0 if use_of(single.call.call).path() != 0 && failed(ENOENT) => {
                Value::Unknown("its path is empty".to_owned())
            }
            0 if use_of(single.call.call).path() != 0 && failed(EFAULT) => unread(),
            NO_PATH => unread(),
            _ => self.on.files.of_call(file, no_file, path),
        }
    }

    /// The second file of a call that uses two, such as `sendfile`, and what an epoll watches. Empty for others.
    fn other_file(&self, single: &Single) -> Value {
        let SlowCall { files: [file, other, watched @ ..], watched: count, watches_more, no_file, .. } =
            single.call;
        let used = use_of(single.call.call);
        let is_refused = Unknown::of_number(no_file) == Unknown::Refused;
        if used.polls() && file == NO_FILE || used.second() != 0 && is_refused {
            return self.on.files.of_call(NO_FILE, no_file, &[]);
        }
        if used.polls() && single.call.duration_ns < LEAST_POLL_NS {
            return Value::Unknown("not looked for: the call was too short".to_owned());
        }
        // The descriptor may not be that of an epoll.
        let has_failed = single.call.result >= FIRST_ERROR && single.call.result.cast_signed() != -EINTR;
        if used.polls() && !has_failed {
            return self.on.files.watched(&watched, count, watches_more != 0);
        }
        self.on.files.of_number(other).unwrap_or_else(|| match used.second() {
            0 => Value::Word(String::new()),
            _ => Value::Unknown("its descriptor was not open, or was closed during the call, or there was no room for its name".to_owned()),
        })
    }
}
