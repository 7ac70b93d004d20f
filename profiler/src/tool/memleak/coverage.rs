//! The ledger and the quality of stacks and names, as they stand in the report.

use profiler_common::memleak::counters::Counter;

use super::{collect::Snapshot, session::Session};
use crate::{observe::Part, units};

/// The smallest block of an allocator, in bytes. Its own bookkeeping for a block needs as much.
const SMALLEST_BLOCK_BYTES: u64 = 16;

/// Puts the coverage of a snapshot into a part.
pub(super) fn coverage(session: Session<'_>, snapshot: &Snapshot, part: &mut Part) {
    let counters = &snapshot.counters;
    let count = |c: Counter| counters[c as usize];
    let freed = session.counts_while_all_attached(counters)[Counter::FreeUntracked as usize];
    part.losses = losses(&count);
    part.account::<Counter>(counters);
    part.walked = snapshot.rows.iter().map(|row| (row.stack, row.acquired)).collect();
    part.before_attach = before(session.tool.bytes_before, freed);
}

/// The losses, each with advice.
fn losses(count: &dyn Fn(Counter) -> u64) -> Vec<String> {
    let shown = |n: u64| units::count(n as f64);
    let mut because = Vec::new();
    let mut lost = |n: u64, words: &str| {
        if n > 0 {
            because.push(format!("{} {words}", shown(n)));
        }
    };
    lost(
        count(Counter::ReturnLostFull),
        "blocks did not fit into the table of live blocks: use --max-blocks with a larger number, or --sample-bytes",
    );
    lost(
        count(Counter::ReturnLostMemory) + count(Counter::EntryLostThread),
        "calls were lost because the kernel had no memory for them: free memory, or use --sample-bytes",
    );
    lost(count(Counter::ReturnLostBusy), "blocks were lost because their table was busy: use --sample-bytes");
    lost(count(Counter::ReturnLostAddress), "blocks were lost because their address could not be read");
    lost(
        count(Counter::EntryUnsafe),
        "calls of operator new for more than 1 GiB were not followed: where they fail, that would end the process",
    );
    lost(
        count(Counter::GrewAnew),
        "blocks that grew count as new since there was no room for their parts: use a longer --older, or --sample-bytes",
    );
    lost(count(Counter::OldLost), "blocks that a realloc had taken over were lost sight of");
    lost(
        count(Counter::StackTableFull),
        "allocations have no stack because there were too many different ones: use --max-stacks",
    );
    because
}

/// Says what was in use before. `freed`: releases of unknown blocks. A block that was allocated between the first probe and the
/// last, and released later, is counted among them: so the number is limited to what fits into that memory.
fn before(bytes: u64, freed: u64) -> Option<String> {
    if bytes == 0 {
        return None;
    }
    let held = units::bytes(bytes as f64);
    let freed = match freed.min(bytes / SMALLEST_BLOCK_BYTES) {
        0 => "none of it was freed since".to_owned(),
        n => format!("up to {} of its blocks were freed since", units::count(n as f64)),
    };
    Some(format!("{held} of anonymous memory were in use before, and are not judged; {freed}"))
}

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    fn no_more_blocks_were_freed_than_there_was_room_for() {
        let freed = |freed| before(112 << 10, freed).unwrap().split_once("; ").unwrap().1.to_owned();
        assert_eq!(freed(0), "none of it was freed since");
        assert_eq!(freed(31), "up to 31 of its blocks were freed since");
        assert_eq!(freed(157_000), "up to 7.2k of its blocks were freed since");
        assert_eq!(before(0, 5), None);
    }
}
