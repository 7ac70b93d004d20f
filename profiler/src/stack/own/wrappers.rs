//! Allocation wrappers that are not on a list, found from the data: what happens to a block depends on the wrapper's
//! caller.
//!
//! `engine_alloc(size)` says nothing about a leak, `chat_push()` says where it is. Both may be called from many places,
//! so the number of callers does not distinguish them. Two signs do: each caller of a wrapper asks for its own size,
//! and some callers free what others keep. A function that leaks does so for every caller.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Least blocks of a caller for its size and fate to count.
const MIN_BLOCKS: u64 = 8;
/// Least callers of a wrapper; [`MIN_CALLERS_IF_NAMED`] if its name says that it allocates.
const MIN_CALLERS: usize = 3;
const MIN_CALLERS_IF_NAMED: usize = 2;
/// Least different sizes for the size to be the callers' choice.
const MIN_SIZES: usize = 3;
/// With this many callers that ask for this many different sizes, a function is a wrapper without further signs. A
/// program may have several, for `malloc`, `calloc` and `realloc`: then none of them has half of all callers, or a
/// caller that keeps its blocks.
const MANY_USES: usize = 12;
const MANY_SIZES: usize = 6;
/// With this many callers, mean sizes of this many different powers of two are enough: callers of a wrapper of
/// `realloc` ask for another size each time.
const SOME_USES: usize = 6;
const MANY_ORDERS: usize = 4;
/// Least callers of a function that most of the program uses.
const MIN_SHARED: usize = 6;
/// A caller frees if at least the first share of its blocks is freed, and keeps if at most the second is.
const FREES: f64 = 0.9;
const KEEPS: f64 = 0.1;
/// Signs that make a wrapper.
const MIN_SIGNS: usize = 2;
/// Least share of the blocks of a function that must come through wrappers for the function to be a part of them.
const THROUGH_WRAPPERS: f64 = 0.9;
/// Most levels of wrappers around wrappers.
const MAX_LEVELS: usize = 4;

/// One call stack: the functions of the program's own code, and what was allocated through it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Path {
    /// Numbers of the functions, the innermost first, without known wrappers.
    pub(super) functions: Vec<u32>,
    /// Blocks allocated.
    pub(super) blocks: u64,
    /// Their sizes, in bytes.
    pub(super) bytes: u64,
    /// Blocks that were freed again.
    pub(super) freed: u64,
}

/// The functions that are allocation wrappers. `says_so` returns whether a function's name says that it allocates.
///
/// Functions are examined from the allocator outwards: a function is a candidate if all functions below it are
/// wrappers.
pub(super) fn wrappers(paths: &[Path], says_so: impl Fn(u32) -> bool) -> HashSet<u32> {
    let mut found = HashSet::new();
    loop {
        let mut candidates: BTreeMap<u32, Vec<At<'_>>> = BTreeMap::new();
        let mut callers = BTreeSet::new();
        for path in paths {
            let Some(depth) = path.functions.iter().position(|function| !found.contains(function)) else {
                continue;
            };
            let at = At { path, depth };
            callers.extend(at.caller().map(|caller| (path.functions.get(depth), caller.function())));
            candidates.entry(at.function()).or_default().push(at);
        }
        let all = callers.len();
        let wraps =
            |(function, stacks): &(&u32, &Vec<At<'_>>)| is_wrapper(**function, stacks, all, &says_so, 1);
        let new: Vec<u32> = candidates.iter().filter(wraps).map(|(function, _)| *function).collect();
        if new.is_empty() {
            return found;
        }
        found.extend(new);
    }
}

/// A place in a path.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a Path,
    depth: usize,
}

impl<'a> At<'a> {
    fn function(self) -> u32 {
        self.path.functions.get(self.depth).copied().unwrap_or(u32::MAX)
    }

    /// The next other function further out: recursion is not a call by another function.
    fn caller(self) -> Option<At<'a>> {
        let function = self.function();
        let out = self.path.functions.iter().skip(self.depth).position(|caller| *caller != function)?;
        Some(At { path: self.path, depth: self.depth + out })
    }
}

fn is_wrapper(
    function: u32,
    stacks: &[At<'_>],
    all_callers: usize,
    says_so: &impl Fn(u32) -> bool,
    level: usize,
) -> bool {
    let mut callers: BTreeMap<u32, Vec<At<'_>>> = BTreeMap::new();
    for caller in stacks.iter().filter_map(|at| at.caller()) {
        callers.entry(caller.function()).or_default().push(caller);
    }
    if has_signs(says_so(function), &callers, all_callers) {
        return true;
    }
    let blocks = |stacks: &[At<'_>]| stacks.iter().map(|at| at.path.blocks).sum::<u64>() as f64;
    let through: f64 = callers
        .iter()
        .filter(|(caller, stacks)| {
            level < MAX_LEVELS && is_wrapper(**caller, stacks, all_callers, says_so, level + 1)
        })
        .map(|(_, stacks)| blocks(stacks))
        .sum();
    through > 0.0 && through >= THROUGH_WRAPPERS * blocks(stacks)
}

/// Whether the fate of a function's blocks depends on its callers.
fn has_signs(says_so: bool, callers: &BTreeMap<u32, Vec<At<'_>>>, all_callers: usize) -> bool {
    let uses: Vec<Use> =
        callers.values().map(|stacks| Use::of(stacks)).filter(|of| of.blocks >= MIN_BLOCKS).collect();
    if uses.len() < if says_so { MIN_CALLERS_IF_NAMED } else { MIN_CALLERS } {
        return false;
    }
    let sized: Vec<u64> = uses.iter().filter_map(|of| of.size).collect();
    let sizes = sized.iter().collect::<BTreeSet<_>>().len();
    let size =
        sizes >= MIN_SIZES.min(uses.len()) && 2 * sized.len() >= uses.len() && 2 * sizes >= sized.len();
    let fate =
        uses.iter().any(|of| of.freed_share() >= FREES) && uses.iter().any(|of| of.freed_share() <= KEEPS);
    let shared = callers.len() >= MIN_SHARED && 2 * callers.len() >= all_callers;
    let orders = uses.iter().map(|of| of.mean_size.checked_ilog2()).collect::<BTreeSet<_>>().len();
    if uses.len() >= SOME_USES && orders >= MANY_ORDERS {
        return true;
    }
    if size && uses.len() >= MANY_USES && sizes >= MANY_SIZES {
        return true;
    }
    [says_so, size, fate, shared].into_iter().filter(|sign| *sign).count() >= MIN_SIGNS
}

/// What one caller allocated.
struct Use {
    blocks: u64,
    freed: u64,
    /// The size of each of its blocks, if the sum shows that they may all have the same.
    size: Option<u64>,
    /// Their size on average, in bytes.
    mean_size: u64,
}

impl Use {
    fn of(stacks: &[At<'_>]) -> Use {
        let blocks = stacks.iter().map(|at| at.path.blocks).sum();
        let bytes: u64 = stacks.iter().map(|at| at.path.bytes).sum();
        let size = bytes.checked_div(blocks).filter(|size| {
            stacks
                .iter()
                .all(|at| at.path.blocks.checked_mul(*size).is_some_and(|bytes| bytes == at.path.bytes))
        });
        let mean_size = bytes.checked_div(blocks).unwrap_or_default();
        Use { blocks, freed: stacks.iter().map(|at| at.path.freed).sum(), size, mean_size }
    }

    fn freed_share(&self) -> f64 {
        self.freed as f64 / self.blocks as f64
    }
}

/// Ends of words that say that a function allocates.
const ALLOCATE: &[&str] = &["alloc", "allocate", "alloc0"];

/// Whether a function's name says that it allocates: `engine_alloc`, `Pool::allocate`, `newBlockAlloc`.
pub(super) fn says_so(bare: &str) -> bool {
    let name = bare.rsplit("::").next().unwrap_or(bare);
    words(name).iter().any(|word| {
        ALLOCATE.iter().any(|end| word.ends_with(end))
            && !word.contains("dealloc")
            && !word.contains("unalloc")
    })
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const MALLOCS: u32 = 1;
    const WRAPS: u32 = 2;
    const NONE: [u32; 0] = [];

    fn path(functions: &[u32], blocks: u64, size: u64, freed: u64) -> Path {
        Path { functions: functions.to_vec(), blocks, bytes: blocks * size, freed }
    }

    fn found(paths: &[Path]) -> Vec<u32> {
        let mut found: Vec<u32> = wrappers(paths, |_| false).into_iter().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_wrapper_of_a_wrapper_is_found_by_what_its_callers_do() {
        let through = |caller, blocks, size, freed| path(&[MALLOCS, WRAPS, caller, 99], blocks, size, freed);
        let paths = [through(10, 900, 96, 0), through(11, 900, 216, 700), through(12, 900, 1016, 900)];
        assert_eq!(found(&paths), [MALLOCS, WRAPS]);
        // Inlined calls, recursion, and a stack that goes around the outer one make no difference.
        let mut more = paths.to_vec();
        more.push(path(&[MALLOCS, MALLOCS, WRAPS, 13, 99], 50, 33, 50));
        more.push(path(&[MALLOCS, 14, 99], 20, 64, 0));
        assert_eq!(found(&more), [MALLOCS, WRAPS]);
    }

    #[test]
    fn a_function_that_leaks_for_every_caller_is_not_a_wrapper() {
        // The same block each time, however many the callers are.
        let push = |caller| path(&[20, caller, 99], 500, 80, 0);
        assert_eq!(found(&[push(1), push(2), push(3)]), NONE);
        let many: Vec<Path> = (30..60).map(push).collect();
        assert_eq!(found(&many), NONE);
        // Of sizes that differ from call to call.
        let varied = |caller, bytes| Path { bytes, ..push(caller) };
        assert_eq!(found(&[varied(1, 40_001), varied(2, 38_777), varied(3, 41_243)]), NONE);
        // Two callers are not enough, whatever they do.
        assert_eq!(found(&[path(&[20, 1, 99], 500, 80, 0), path(&[20, 2, 99], 500, 96, 500)]), NONE);
    }

    #[test]
    fn loops_and_recursion_do_not_count_as_callers() {
        // One hot site below `main`, and others that it calls.
        let paths = [path(&[1, 99], 10_000, 64, 0), path(&[2, 99], 10, 8, 10), path(&[3, 99], 10, 16, 10)];
        assert_eq!(found(&paths), NONE);
        let deep = |depth: usize| {
            let mut functions = vec![5; depth];
            functions.push(99);
            path(&functions, 100, 32 + depth as u64, if depth.is_multiple_of(2) { 100 } else { 0 })
        };
        let depths: Vec<Path> = (1..40).map(deep).collect();
        assert_eq!(found(&depths), NONE);
    }

    #[test]
    fn several_entries_of_one_allocator_are_wrappers_too() {
        // core <- {alloc, calloc, strdup} <- many.
        let mut paths = Vec::new();
        for (entry, first) in [(40, 100), (41, 200), (42, 300)] {
            for n in 0..8 {
                paths.push(path(
                    &[MALLOCS, entry, first + n, 99],
                    100,
                    16 * u64::from(n + 1),
                    if n % 2 == 0 { 0 } else { 100 },
                ));
            }
        }
        assert_eq!(found(&paths), [MALLOCS, 40, 41, 42]);
    }

    #[test]
    fn many_callers_with_sizes_of_their_own_are_enough() {
        // As in a server of which two wrappers share the callers, all of which free.
        let through = |wrapper: u32, callers: u32| {
            (0..callers)
                .map(move |n| path(&[wrapper, 100 * wrapper + n, 99], 50, 24 + 16 * u64::from(n % 7), 50))
        };
        let paths: Vec<Path> = through(1, 12).chain(through(2, 13)).collect();
        assert_eq!(found(&paths), [1, 2]);
        let few: Vec<Path> = through(1, 11).chain(through(2, 11)).chain(through(3, 11)).collect();
        assert_eq!(found(&few), NONE);
    }

    /// As a server's wrapper of `realloc`, which is one of many functions that allocate.
    #[test]
    fn callers_that_ask_for_sizes_of_different_orders_are_enough() {
        let through = |caller: u32, bytes| Path {
            bytes,
            ..path(&[1, caller, 99], 100, 1, if caller == 17 { 0 } else { 100 })
        };
        let sizes = [2_853, 2_969, 6_437, 961, 800, 1_548_801, 160_003];
        let mut paths: Vec<Path> = (11..).zip(sizes).map(|(caller, bytes)| through(caller, bytes)).collect();
        paths.extend((20..60).map(|n| path(&[n, 99], 100, 64, 100)));
        assert_eq!(found(&paths), [1]);
        // Messages whose lengths differ from one to the next, and of one kind not much from those of another.
        let lengths = [2_853, 2_969, 6_437, 1_961, 3_800, 4_801, 5_003];
        let mut paths: Vec<Path> =
            (11..).zip(lengths).map(|(caller, bytes)| through(caller, bytes)).collect();
        paths.extend((20..60).map(|n| path(&[n, 99], 100, 64, 100)));
        assert_eq!(found(&paths), NONE);
    }

    #[test]
    fn a_container_that_most_of_the_program_uses_is_skipped() {
        let append = |caller: u32| Path {
            bytes: 10_007 + u64::from(caller),
            ..path(&[7, caller, 99], 100, 1, if caller.is_multiple_of(2) { 0 } else { 100 })
        };
        let paths: Vec<Path> = (10..18).map(append).collect();
        assert_eq!(found(&paths), [7]);
        // With few users it is the program's own matter.
        assert_eq!(found(&paths[..4]), NONE);
    }

    #[test]
    fn a_function_named_as_an_allocator_needs_less_evidence() {
        let paths = [path(&[1, 10, 99], 100, 24, 0), path(&[1, 11, 99], 100, 40, 0)];
        assert_eq!(wrappers(&paths, |function| function == 1), HashSet::from([1]));
        assert_eq!(wrappers(&paths, |_| false), HashSet::new());
        // The same block from everywhere: it is a constructor.
        let paths = [path(&[1, 10, 99], 100, 24, 0), path(&[1, 11, 99], 100, 24, 0)];
        assert_eq!(wrappers(&paths, |function| function == 1), HashSet::new());
        for name in [
            "engine_alloc",
            "raw_alloc",
            "Pool::allocate",
            "mem_malloc",
            "emalloc",
            "newBlockAlloc",
            "game::Heap::allocate",
        ] {
            assert!(says_so(name), "{name}");
        }
        for name in ["chat_push", "allocation_report", "dealloc_all", "Allocator::tick", "ballocks"] {
            assert!(!says_so(name), "{name}");
        }
    }

    #[test]
    fn few_blocks_are_not_evidence() {
        let paths = [path(&[1, 10, 9], 3, 24, 0), path(&[1, 11, 9], 3, 40, 3), path(&[1, 12, 9], 3, 48, 0)];
        assert_eq!(found(&paths), NONE);
    }
}
