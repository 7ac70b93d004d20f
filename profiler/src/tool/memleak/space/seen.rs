//! When an address space was observed, and its end.

use super::Space;

/// When an address space was observed. Nanoseconds are those of the monotonic clock, and age units those of births.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Since when; `None` if since the observation began.
    pub(crate) since_ns: Option<u64>,
    /// When it was last known to go on.
    pub(crate) alive_ns: u64,
    /// When its end was noticed.
    pub(crate) noticed_ns: Option<u64>,
    /// Its end, once it was looked for, in age units.
    pub(crate) end_units: Option<u64>,
}

impl Seen {
    /// Since now.
    pub(crate) fn since(now_ns: u64) -> Seen {
        Seen { since_ns: Some(now_ns), alive_ns: now_ns, ..Seen::default() }
    }

    /// Whether it has ended, and it is not known yet when.
    pub(crate) fn end_is_open(&self) -> bool {
        self.noticed_ns.is_some() && self.end_units.is_none()
    }
}

impl Space {
    /// It has ended, as is noticed now.
    pub(crate) fn end(&mut self, how: String, now_ns: u64) {
        self.ended = Some(how);
        self.seen.noticed_ns = Some(now_ns);
    }
}
