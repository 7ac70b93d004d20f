//! The ledger and the quality of stacks and names, as they stand in the report.

use profiler_common::{
    ledger::{Class, Counter, Probe},
    memleak::MAX_FRAMES,
};

use super::{collect::Snapshot, session::Session};
use crate::{
    report::{Coverage, Frame, Ledger, Outcome, OutcomeClass, Stack},
    units,
};

/// Outermost functions of a complete stack: a thread or a process starts here.
const ROOTS: &[&str] = &[
    "_start",
    "__libc_start_main",
    "__libc_start_call_main",
    "__libc_start_main_impl",
    "libc_start_main_stage2",
    "start_thread",
    "clone",
    "clone3",
    "__clone",
    "start",
    "main",
];

/// Beginnings of the file names of the libraries in which threads and processes begin.
const C_LIBRARIES: &[&str] = &["libc.so", "libc-2.", "libpthread", "ld-musl"];

/// Builds the coverage of a snapshot. `stacks` and `frames` are those of the report, cut-off stacks marked.
pub(super) fn coverage(
    session: &Session<'_>,
    snapshot: &Snapshot,
    stacks: &[Stack],
    frames: &[Frame],
) -> Coverage {
    let counters = &snapshot.counters;
    let count = |c: Counter| counters[c as usize];
    let quality = Counter::ALL.iter().filter(|c| c.class() == Class::Quality && count(**c) > 0);
    let because = losses(&count);
    let named = frames.iter().filter(|f| !f.functions.is_empty()).count();
    let ratio = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let complete_stacks = stacks.iter().filter(|stack| stack.incomplete.is_none()).count();
    Coverage {
        complete: because.is_empty(),
        incomplete_because: because,
        ledger: Probe::ALL.iter().map(|probe| ledger(*probe, counters)).collect(),
        quality: quality.map(|c| (c.name().to_owned(), count(*c))).collect(),
        complete_stacks_ratio: ratio(complete_stacks, stacks.len()),
        stack_method: "unwind tables; frame pointers where code has none".to_owned(),
        named_frames_ratio: ratio(named, frames.len()),
        before_attach: before(session, count(Counter::FreeUntracked)),
    }
}

fn ledger(probe: Probe, counters: &[u64; Counter::COUNT]) -> Ledger {
    let of_probe = Counter::ALL.iter().filter(|c| c.probe() == probe);
    let hits = of_probe.clone().find(|c| c.class() == Class::Hits).map_or(0, |c| counters[*c as usize]);
    let outcomes = of_probe.filter_map(|c| {
        let class = match c.class() {
            Class::Hits | Class::Quality => return None,
            Class::Recorded => OutcomeClass::Recorded,
            Class::Filtered => OutcomeClass::Filtered,
            Class::SampledOut => OutcomeClass::SampledOut,
            Class::Lost => OutcomeClass::Lost,
        };
        Some(Outcome { name: c.name().to_owned(), class, count: counters[*c as usize] })
    });
    Ledger::new(probe.name(), hits, outcomes.collect())
}

/// What was lost, each with what to do about it.
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
    lost(count(Counter::OldLost), "blocks that a realloc had taken over were lost sight of");
    lost(
        count(Counter::StackTableFull),
        "allocations have no stack because there were too many different ones: use --max-stacks",
    );
    because
}

/// Why the callers of the outermost frame are unknown; `None` if a thread or process begins there.
pub(super) fn cut_off(stack: &Stack, frames: &[Frame]) -> Option<String> {
    if reaches_root(stack, frames) {
        None
    } else if stack.frames.len() + 1 >= MAX_FRAMES {
        Some(format!("the stack is deeper than the {} frames that are kept", stack.frames.len()))
    } else {
        Some("the chain of frame pointers ends here; code that was built without them breaks it".to_owned())
    }
}

/// Whether the outermost frame is where a thread or process begins. In a C library without debug symbols that place
/// has no name; a chain that ends in such a library without a name ends there.
fn reaches_root(stack: &Stack, frames: &[Frame]) -> bool {
    let Some(outermost) = stack.frames.last().and_then(|i| frames.get(*i)) else { return false };
    match outermost.functions.last() {
        Some(function) => ROOTS.contains(&function.name.terminal().to_string().as_str()),
        None => outermost.module.as_ref().is_some_and(|module| {
            let path = module.terminal().to_string();
            let name = path.rsplit('/').next().unwrap_or(&path);
            C_LIBRARIES.iter().any(|start| name.starts_with(start))
        }),
    }
}

fn before(session: &Session<'_>, untracked: u64) -> Option<String> {
    if session.bytes_before == 0 {
        return None;
    }
    let held = units::bytes(session.bytes_before as f64);
    let freed = match untracked {
        0 => "none of it was freed since".to_owned(),
        n => format!("{} of its blocks were freed since", units::count(n as f64)),
    };
    Some(format!("{held} of anonymous memory were in use before, and are not judged; {freed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::Function, text::Text};

    fn frame(module: &str, name: Option<&str>) -> Frame {
        let function = |name: &str| Function { name: name.into(), file: None, line: None, inlined: false };
        Frame {
            address: 1,
            module: Some(Text::from(module)),
            build_id: None,
            file_offset: Some(1),
            functions: name.map(function).into_iter().collect(),
            unresolved: name.is_none().then(|| "stripped".to_owned()),
        }
    }

    fn ends_in(depth: usize, outermost: Frame) -> Option<String> {
        let frames = [frame("/srv/pong", Some("work")), outermost];
        let mut indices = vec![0; depth - 1];
        indices.push(1);
        cut_off(&Stack { pid: 1, frames: indices, incomplete: None }, &frames)
    }

    #[test]
    fn a_stack_is_whole_if_it_ends_where_threads_begin() {
        assert_eq!(ends_in(3, frame("/srv/pong", Some("main"))), None);
        assert_eq!(ends_in(3, frame("/usr/lib/libc.so.6", Some("start_thread"))), None);
        assert_eq!(ends_in(3, frame("/usr/lib/libc.so.6", None)), None);
        assert_eq!(ends_in(MAX_FRAMES, frame("/lib/ld-musl-x86_64.so.1", None)), None);
    }

    #[test]
    fn a_stack_that_is_cut_says_why() {
        for outermost in [
            frame("/srv/pong", Some("work")),
            frame("/srv/pong", None),
            frame("/usr/lib/libc.so.6", Some("qsort_r")),
            frame("/srv/libcurl.so.4", None),
        ] {
            assert!(ends_in(3, outermost).unwrap().contains("frame pointers"));
        }
        assert!(
            ends_in(MAX_FRAMES - 1, frame("/srv/pong", Some("recurse")))
                .unwrap()
                .contains("deeper than the 126")
        );
    }
}
