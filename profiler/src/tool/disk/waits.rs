//! What operations wait for, by the functions of the kernel in which their threads stop running.

use std::collections::BTreeMap;

use profiler_common::disk::{Wait, WaitKey};

use crate::{error::Result, kernel::symbols::Symbols, observe::io::Probes};

/// What an operation waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The journal of the filesystem: a transaction that must be on the device first.
    Journal,
    /// The kernel slows down threads that write faster than devices do.
    Throttling,
    /// A free place in the queue of a device.
    Queue,
    /// A device: a request to end.
    Device,
    /// A lock of a file, a directory or a filesystem, that another thread has.
    Lock,
    /// Anything else: the function of the kernel is what is known.
    Other,
}

impl Cause {
    /// Its name in reports.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Cause::Journal => "journal",
            Cause::Throttling => "writeback throttling",
            Cause::Queue => "full queue",
            Cause::Device => "device",
            Cause::Lock => "lock",
            Cause::Other => "other",
        }
    }
}

/// Functions that show a cause wherever they are in a stack, by how their names begin; the first that fits counts.
const SHOWN_BY: [(&str, Cause); 16] = [
    ("balance_dirty_pages", Cause::Throttling),
    ("wbt_wait", Cause::Throttling),
    ("rq_qos_wait", Cause::Throttling),
    ("blk_throtl", Cause::Throttling),
    ("jbd2_", Cause::Journal),
    ("wait_transaction_locked", Cause::Journal),
    ("add_transaction_credits", Cause::Journal),
    ("start_this_handle", Cause::Journal),
    ("xlog_", Cause::Journal),
    ("btrfs_wait_log", Cause::Journal),
    ("blk_mq_get_tag", Cause::Queue),
    ("rwsem_down", Cause::Lock),
    ("__mutex_lock", Cause::Lock),
    ("mutex_lock", Cause::Lock),
    ("down_", Cause::Lock),
    ("io_schedule", Cause::Device),
];
/// Functions that only help to wait, by how their names begin: what calls them says more.
const HELPERS: [&str; 16] = [
    "bpf_",
    "__bpf_",
    "__traceiter_",
    "__schedule",
    "schedule",
    "preempt_schedule",
    "io_schedule",
    "__wait_on_bit",
    "out_of_line_wait_on_bit",
    "bit_wait",
    "wait_for_completion",
    "__wait_for_common",
    "do_wait_for_common",
    "rwsem_down",
    "__mutex_lock",
    "mutex_lock",
];

/// Why a thread stops running in these functions, and in which of them: the innermost one that is no helper.
fn cause(functions: &[&str]) -> (Cause, Option<String>) {
    let is_helper = |name: &str| HELPERS.iter().any(|start| name.starts_with(start));
    let place = functions.iter().find(|name| !is_helper(name)).map(|name| (*name).to_owned());
    let shown = SHOWN_BY.iter().find(|(start, _)| functions.iter().any(|name| name.starts_with(start)));
    (shown.map_or(Cause::Other, |(_, cause)| cause.clone()), place)
}

/// Waits of the operations of one kind on one file, in one address space, for one cause, in one function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) space: u16,
    /// Number of the file.
    pub(super) file: u32,
    pub(super) operation: u32,
    pub(super) cause: Cause,
    /// Empty if the function is not known.
    pub(super) function: String,
}

/// How often and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waited {
    pub(super) count: u64,
    pub(super) total_ns: u64,
    pub(super) max_ns: u64,
}

impl Waited {
    pub(super) fn add(&mut self, other: Waited) {
        self.count += other.count;
        self.total_ns += other.total_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

/// All waits.
pub(super) type Waits = BTreeMap<Place, Waited>;

/// Reads them. The kernel's functions are read once, when there is something to name.
///
/// # Errors
/// If the map cannot be read.
pub(super) fn read(probes: &Probes, symbols: &mut Option<Symbols>) -> Result<Waits> {
    let mut found: Vec<(WaitKey, Wait)> = Vec::new();
    probes.each("WAITS", |key: WaitKey, wait: Wait| found.push((key, wait)))?;
    let mut waits = Waits::new();
    if found.is_empty() {
        return Ok(waits);
    }
    let symbols = symbols.get_or_insert_with(|| {
        let read = Symbols::of_kernel();
        read.inspect_err(|error| tracing::info!("functions of the kernel have no names: {error}"))
            .unwrap_or_default()
    });
    for (key, wait) in found.iter().filter(|(_, wait)| wait.count > 0) {
        let functions: Vec<&str> = wait
            .frames
            .iter()
            .take_while(|frame| **frame != 0)
            .filter_map(|frame| symbols.of_return(*frame))
            .collect();
        let (cause, function) = cause(&functions);
        let place = Place {
            space: key.space as u16,
            file: key.file,
            operation: key.operation as u32,
            cause,
            function: function.unwrap_or_default(),
        };
        let Wait { count, total_ns, max_ns, .. } = *wait;
        waits.entry(place).or_default().add(Waited { count, total_ns, max_ns });
    }
    Ok(waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_show_what_is_waited_for() {
        let of = |functions: &[&str]| {
            let (cause, place) = cause(functions);
            (cause, place.unwrap_or_default())
        };
        let own = |rest: &[&'static str]| {
            [&["bpf_prog_1_switch", "__traceiter_sched_switch", "__schedule", "schedule"], rest].concat()
        };
        assert_eq!(
            of(&own(&["jbd2_log_wait_commit", "ext4_sync_file", "do_fsync"])),
            (Cause::Journal, "jbd2_log_wait_commit".to_owned())
        );
        assert_eq!(
            of(&own(&["io_schedule", "folio_wait_bit_common", "filemap_read"])),
            (Cause::Device, "folio_wait_bit_common".to_owned())
        );
        assert_eq!(
            of(&own(&[
                "schedule_timeout",
                "io_schedule_timeout",
                "balance_dirty_pages",
                "generic_perform_write"
            ])),
            (Cause::Throttling, "balance_dirty_pages".to_owned())
        );
        assert_eq!(
            of(&own(&["rwsem_down_write_slowpath", "ext4_buffered_write_iter"])),
            (Cause::Lock, "ext4_buffered_write_iter".to_owned())
        );
        assert_eq!(of(&own(&["pipe_read"])), (Cause::Other, "pipe_read".to_owned()));
        assert_eq!(of(&[]), (Cause::Other, String::new()));
    }
}
