//! Reads of the kernel's maps that fail during an observation: the kernel may run out of memory for a moment.

use crate::error::Result;

/// How many reads of one kind may fail in a row: those of ten seconds.
const MOST: u32 = 40;

/// Failures by what was read.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The periodic look of the tools.
    pub(super) look: InARow,
    /// The counts for the progress.
    pub(super) counts: InARow,
    /// The cost for threads.
    pub(super) cost: InARow,
    /// Interim reports.
    pub(super) report: InARow,
}

/// How many of the last reads have failed in a row.
#[derive(Debug, Default)]
pub(super) struct InARow(u32);

impl InARow {
    /// The value that was read; `None` if the observation goes on without it. The failure is logged.
    ///
    /// # Errors
    /// The last one, once too many have failed in a row.
    pub(super) fn forgive<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => {
                self.0 = 0;
                Ok(Some(read))
            }
            Err(error) if self.0 < MOST => {
                self.0 += 1;
                tracing::warn!("the observation goes on without what could not be read: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    fn failed() -> Result<()> {
        Err(Error::new(ErrorKind::Kernel, "tried to read a map"))
    }

    #[test]
    fn reads_may_fail_but_not_for_long() {
        let mut failures = InARow::default();
        for _ in 0..3 {
            for _ in 0..MOST {
                assert_eq!(failures.forgive(failed()).unwrap(), None);
            }
            assert_eq!(failures.forgive(Ok(())).unwrap(), Some(()));
        }
        for _ in 0..MOST {
            assert_eq!(failures.forgive(failed()).unwrap(), None);
        }
        assert!(failures.forgive(failed()).is_err());
    }
}
