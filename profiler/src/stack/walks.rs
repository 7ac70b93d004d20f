//! How the walks of all stacks ended: walk statistics over all stacks.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use profiler_common::{
    record::NO_STACK,
    unwind::walk::{End, MAX_FRAMES},
};

use super::{
    Spaces,
    advice::{Missing, advice},
    stacks::{Stacks, Walked},
};
use crate::{
    report::{Complete, Cut, EndedIn, Frame, Unnamed, WalkMethod, Walks},
    target::modules::Modules,
    text::Text,
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

/// Prefixes of the file names of the libraries in which threads and processes begin.
const C_LIBRARIES: &[&str] = &["libc.so", "libc-2.", "libpthread", "ld-musl"];

/// Why the callers of the outermost frame are unknown; `None` if a thread or process begins there. `end` is one of
/// [`End`]; any other number stands for a walk by frame pointers, which has no reason for its end.
pub(super) fn cut_off(end: u8, depth: usize, outermost: Option<&Frame>) -> Option<String> {
    if u64::from(end) == End::ROOT {
        return None;
    }
    if let Some(words) = End::WORDS.get(usize::from(end)) {
        return Some((*words).to_owned());
    }
    if outermost.is_some_and(is_root) {
        None
    } else if depth + 1 >= MAX_FRAMES {
        Some(End::WORDS[End::LIMIT as usize].to_owned())
    } else {
        Some("walked by frame pointers, whose chain breaks off".to_owned())
    }
}

/// Whether the place where a walk ended explains the reason.
pub(super) fn has_place(end: u8, depth: usize) -> bool {
    u64::from(end) != End::LIMIT && depth + 1 < MAX_FRAMES
}

/// Whether a thread or process begins in a frame. In a C library without debug symbols that function has no name: a
/// walk that ends in such a library without a name is complete.
fn is_root(outermost: &Frame) -> bool {
    match outermost.functions.last() {
        Some(function) => ROOTS.contains(&function.name.terminal().as_str()),
        None => outermost.module.as_ref().is_some_and(|module| {
            let path = module.terminal();
            let name = path.rsplit('/').next().unwrap_or(&path);
            C_LIBRARIES.iter().any(|start| name.starts_with(start))
        }),
    }
}

/// How the walks of all stacks ended, including those that the report does not show. `walked`: the number of each
/// stack, and how often it was walked.
pub(crate) fn walks(
    walked: &[(u32, u64)],
    stacks: &Stacks,
    spaces: &(impl Spaces + ?Sized),
    modules: &Modules,
) -> Walks {
    let mut sum = Sum::default();
    for &(stack, walks) in walked.iter().filter(|(_, walks)| *walks > 0) {
        match stacks.walked(stack, modules) {
            Some(walked) => sum.add(walks, walked),
            None if stack == NO_STACK => sum.lose("too many different stacks", 0, walks),
            None => sum.lose("the frames did not reach profiler", 1, walks),
        }
    }
    let advice = advice(&sum.missing, spaces);
    Walks { advice, ..sum.finish() }
}

/// Different stacks, and walks.
type Count = (u64, u64);

fn count(to: &mut Count, stacks: u64, walks: u64) {
    to.0 += stacks;
    to.1 = to.1.saturating_add(walks);
}

/// Walks that were cut for one reason: in total, and by the file in which they ended.
#[derive(Default)]
struct Cuts<'a> {
    all: Count,
    ended_in: HashMap<Option<&'a Text>, Count>,
}

#[derive(Default)]
struct Sum<'a> {
    all: Count,
    by_tables: Count,
    by_pointers: Count,
    cut: BTreeMap<String, Cuts<'a>>,
    named_frames: u64,
    unnamed: HashMap<(Option<&'a Text>, &'a str), u64>,
    /// By address space.
    missing: BTreeMap<u16, Missing>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, walks: u64, walked: Walked<'a>) {
        count(&mut self.all, 1, walks);
        let missing = self.missing.entry(walked.space).or_default();
        let add = |sum: &mut u64, frames: u64| *sum = sum.saturating_add(frames.saturating_mul(walks));
        add(&mut missing.made_frames, walked.made.0);
        add(&mut missing.names, walked.made.1);
        add(&mut missing.interpreted, walked.interpreted);
        add(&mut missing.evaluated, walked.evaluated);
        add(&mut missing.hidden, u64::from(walked.hides_scripts));
        missing.callers |= walked.ended_in == Some(None);
        let named = walked.frames.saturating_sub(walked.unnamed.len() as u64);
        self.named_frames = self.named_frames.saturating_add(named.saturating_mul(walks));
        for unnamed in walked.unnamed {
            *self.unnamed.entry(unnamed).or_default() += walks;
        }
        let Some(cut) = walked.cut else {
            let by = if walked.guessed { &mut self.by_pointers } else { &mut self.by_tables };
            return count(by, 1, walks);
        };
        let cuts = self.cut.entry(cut).or_default();
        count(&mut cuts.all, 1, walks);
        if let Some(module) = walked.ended_in {
            count(cuts.ended_in.entry(module).or_default(), 1, walks);
        }
    }

    /// Walks whose frames are unknown.
    fn lose(&mut self, reason: &str, stacks: u64, walks: u64) {
        count(&mut self.all, stacks, walks);
        count(&mut self.cut.entry(reason.to_owned()).or_default().all, stacks, walks);
    }

    fn finish(self) -> Walks {
        let methods =
            [(WalkMethod::UnwindTables, self.by_tables), (WalkMethod::FramePointers, self.by_pointers)];
        let complete = methods.into_iter().filter(|(_, (stacks, _))| *stacks > 0);
        let mut complete: Vec<Complete> =
            complete.map(|(method, (stacks, walks))| Complete { method, stacks, walks }).collect();
        complete.sort_by_key(|by| Reverse(by.walks));
        let cut = self.cut.into_iter().map(|(reason, cuts)| {
            let places = cuts.ended_in.into_iter();
            let mut ended_in: Vec<EndedIn> = places
                .map(|(module, (stacks, walks))| EndedIn { module: module.cloned(), stacks, walks })
                .collect();
            ended_in.sort_by(|a, b| b.walks.cmp(&a.walks).then_with(|| a.module.cmp(&b.module)));
            Cut { reason, stacks: cuts.all.0, walks: cuts.all.1, ended_in }
        });
        let mut cut: Vec<Cut> = cut.collect();
        cut.sort_by(|a, b| b.walks.cmp(&a.walks).then_with(|| a.reason.cmp(&b.reason)));
        let unnamed = self.unnamed.into_iter().map(|((module, reason), frames)| Unnamed {
            module: module.cloned(),
            reason: reason.to_owned(),
            frames,
        });
        let mut unnamed: Vec<Unnamed> = unnamed.collect();
        unnamed.sort_by(|a, b| {
            b.frames.cmp(&a.frames).then_with(|| (&a.module, &a.reason).cmp(&(&b.module, &b.reason)))
        });
        let frames = self.named_frames + unnamed.iter().map(|unnamed| unnamed.frames).sum::<u64>();
        let ((stacks, walks), named_frames) = (self.all, self.named_frames);
        Walks { stacks, walks, complete, cut, frames, named_frames, unnamed, advice: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::record::ENDED_SOMEHOW;

    use super::{super::Nowhere, *};
    use crate::report::Function;

    fn frame(module: &str, name: Option<&str>) -> Frame {
        let function = |name: &str| Function { name: name.into(), file: None, line: None, inlined: false };
        Frame {
            address: 1,
            module: Some(Text::from(module)),
            build_id: None,
            file_offset: Some(1),
            file_address: Some(1),
            function_address: None,
            unloaded: false,
            made: None,
            functions: name.map(function).into_iter().collect(),
            unresolved: name.is_none().then(|| "stripped".to_owned()),
        }
    }

    fn ends_in(depth: usize, outermost: Frame) -> Option<String> {
        cut_off(ENDED_SOMEHOW, depth, Some(&outermost))
    }

    #[test]
    fn a_stack_is_whole_if_it_ends_where_threads_begin() {
        assert_eq!(ends_in(3, frame("/srv/pong", Some("main"))), None);
        assert_eq!(ends_in(3, frame("/usr/lib/libc.so.6", Some("start_thread"))), None);
        assert_eq!(ends_in(3, frame("/usr/lib/libc.so.6", None)), None);
        assert_eq!(ends_in(MAX_FRAMES, frame("/lib/ld-musl-x86_64.so.1", None)), None);
        assert_eq!(cut_off(0, 3, Some(&frame("/srv/pong", Some("work")))), None);
    }

    #[test]
    fn a_cut_stack_has_a_reason() {
        for outermost in [
            frame("/srv/pong", Some("work")),
            frame("/srv/pong", None),
            frame("/usr/lib/libc.so.6", Some("qsort_r")),
            frame("/srv/libcurl.so.4", None),
        ] {
            assert!(ends_in(3, outermost).unwrap().contains("frame pointers"));
        }
        let deep = ends_in(MAX_FRAMES - 1, frame("/srv/pong", Some("recurse"))).unwrap();
        assert!(deep.contains("deeper than 127"), "{deep}");
        // A walk by tables knows how it ended, whatever the names.
        let main = frame("/srv/pong", Some("main"));
        let no_table = End::NO_TABLE as u8;
        assert!(cut_off(no_table, 3, Some(&main)).unwrap().contains("without unwind information"));
        assert!(has_place(no_table, 3) && !has_place(End::LIMIT as u8, MAX_FRAMES));
        assert!(!has_place(ENDED_SOMEHOW, MAX_FRAMES));
    }

    fn walked<'a>(guessed: bool, cut: Option<(&str, Option<&'a Text>)>) -> Walked<'a> {
        Walked {
            space: 3,
            guessed,
            frames: 10,
            unnamed: if cut.is_some() { vec![(None, "nobody"), (None, "told us")] } else { vec![] },
            made: if cut.is_some() { (5, 2) } else { (0, 0) },
            interpreted: u64::from(guessed),
            evaluated: 0,
            hides_scripts: guessed,
            cut: cut.map(|(why, _)| why.to_owned()),
            ended_in: cut.map(|(_, module)| module),
        }
    }

    #[test]
    fn every_walk_is_counted_once_and_the_most_frequent_come_first() {
        let (a, b) = (Text::from("/srv/a.so"), Text::from("/srv/b.so"));
        let mut sum = Sum::default();
        sum.add(7, walked(false, None));
        sum.add(11, walked(true, None));
        sum.add(3, walked(false, Some(("no table", Some(&a)))));
        sum.add(5, walked(true, Some(("no table", None))));
        sum.add(1, walked(false, Some(("no table", Some(&a)))));
        sum.add(2, walked(false, Some(("unreadable", Some(&b)))));
        sum.lose("too many", 0, 13);
        let missing =
            Missing { made_frames: 55, names: 22, callers: true, interpreted: 16, evaluated: 0, hidden: 16 };
        assert_eq!(sum.missing[&3], missing);
        let walks = sum.finish();
        assert_eq!((walks.stacks, walks.walks), (6, 42));
        let complete: Vec<_> = walks.complete.iter().map(|c| (c.method, c.stacks, c.walks)).collect();
        assert_eq!(complete, [(WalkMethod::FramePointers, 1, 11), (WalkMethod::UnwindTables, 1, 7)]);
        let cut: Vec<_> = walks.cut.iter().map(|c| (c.reason.as_str(), c.stacks, c.walks)).collect();
        assert_eq!(cut, [("too many", 0, 13), ("no table", 3, 9), ("unreadable", 1, 2)]);
        let places = walks.cut[1].ended_in.iter().map(|e| (e.module.as_ref().map(Text::terminal), e.walks));
        assert_eq!(places.collect::<Vec<_>>(), [(None, 5), (Some("/srv/a.so".to_owned()), 4)]);
        assert_eq!(walks.complete_ratio(), Some(18.0 / 42.0));
        assert_eq!((walks.frames, walks.named_frames), (290, 180 + 88));
        let unnamed: Vec<_> = walks.unnamed.iter().map(|u| (u.reason.as_str(), u.frames)).collect();
        assert_eq!(unnamed, [("nobody", 11), ("told us", 11)]);
    }

    #[test]
    fn without_walks_there_are_no_shares() {
        let walks = walks(&[], &Stacks::default(), &Nowhere, &Modules::default());
        assert_eq!((walks.walks, walks.complete_ratio(), walks.named_ratio()), (0, None, None));
    }

    #[test]
    fn walks_without_a_stack_are_walks_too() {
        let walked = [(NO_STACK, 5), (1, 3), (2, 0)];
        let walks = walks(&walked, &Stacks::default(), &Nowhere, &Modules::default());
        assert_eq!((walks.stacks, walks.walks, walks.cut.len()), (1, 8, 2));
    }
}
