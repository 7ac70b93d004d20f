//! Naming frames of a report after it was made, also on another machine.

use std::{collections::BTreeMap, thread};

use super::{Settings, files::Files, worker::STACK_BYTES};
use crate::{
    naming::{self, Catalog, Kind},
    report::{FileNames, Frame, Function, Phrase, Report, Stack, Unnamed, Value},
    text::Text,
};

/// Names frames of a report by build id and address, from debug files that were missing when it was made, and gives the
/// new names to rows and findings. Frames with a line are left alone.
///
/// Returns how many frames have a better name now.
pub fn resolve_later(report: &mut Report, settings: Settings) -> usize {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let named = thread.spawn_scoped(scope, || resolve(report, settings));
        // If no thread can be started, or a library fails, the report stays as it was.
        named.ok().and_then(|named| named.join().ok()).unwrap_or(0)
    })
}

fn resolve(report: &mut Report, settings: Settings) -> usize {
    let mut files = Files::new(settings);
    let mut by_build: BTreeMap<(Text, String), Vec<usize>> = BTreeMap::new();
    for (index, frame) in report.frames.iter().enumerate().filter(|(_, frame)| can_be_better(frame)) {
        if let (Some(module), Some(build_id)) = (&frame.module, &frame.build_id) {
            by_build.entry((module.clone(), build_id.clone())).or_default().push(index);
        }
    }
    let mut renamed: BTreeMap<Text, Text> = BTreeMap::new();
    let mut better = 0;
    for ((module, build_id), frames) in by_build {
        let address = |index: &usize| Some((*index, report.frames.get(*index)?.file_address?));
        let (frames, addresses): (Vec<usize>, Vec<u64>) = frames.iter().filter_map(address).unzip();
        // As when the report was made: if all names are known, no server learns which programs run here.
        let is_nameless = |index: &usize| report.frames.get(*index).is_some_and(|f| f.functions.is_empty());
        let ask_servers = frames.iter().any(is_nameless);
        let answer = files.resolve_build(&module, &build_id, &addresses, ask_servers);
        for (index, resolved) in frames.into_iter().zip(answer.resolved) {
            let Some(frame) = report.frames.get_mut(index) else { continue };
            if is_better(&resolved.functions, frame) {
                let stood_for_it = frame.functions.is_empty().then(|| naming::place(frame));
                frame.functions = resolved.functions;
                frame.unresolved = None;
                frame.function_address = None;
                renamed.extend(stood_for_it.zip(called(frame)));
                better += 1;
            }
        }
        note(&mut report.coverage.files, module, build_id, &answer.notes);
    }
    rename(report, &renamed);
    recount(report);
    better
}

/// The name of a row that this frame names: its innermost function of the program itself, else its outermost.
fn called(frame: &Frame) -> Option<Text> {
    let frames = std::slice::from_ref(frame);
    let catalog = Catalog::new(frames);
    let calls = catalog.calls(&Stack { frames: vec![0], ..Stack::default() });
    let own = calls.iter().find(|call| call.kind == Kind::Own);
    own.or_else(|| calls.last()).map(|call| naming::short(call.name))
}

fn can_be_better(frame: &Frame) -> bool {
    frame.functions.iter().all(|function| function.line.is_none())
}

fn is_better(functions: &[Function], than: &Frame) -> bool {
    match functions {
        [] => false,
        _ if than.functions.is_empty() => true,
        functions => functions.iter().any(|function| function.line.is_some()),
    }
}

/// Records where the names of a file come from now.
fn note(files: &mut Vec<FileNames>, module: Text, build_id: String, notes: &super::Notes) {
    let later = |words: &String| format!("{words} (read later)");
    let is_it = |file: &FileNames| file.module == module && file.build_id.as_ref() == Some(&build_id);
    let problems = notes.all_problems();
    if let Some(file) = files.iter_mut().find(|file| is_it(file)) {
        // Problems with other sources cost no names any more.
        if !notes.sources.is_empty() {
            file.problems.clear();
        }
        file.sources.splice(0..0, notes.sources.iter().map(later));
        file.problems.extend(problems);
        file.absent.clone_from(&notes.absent);
    } else {
        files.push(FileNames {
            module,
            build_id: Some(build_id),
            sources: notes.sources.iter().map(later).collect(),
            problems,
            absent: notes.absent.clone(),
        });
    }
}

/// Replaces old names in rows and findings, such as `server+0x12a`, also where they distinguish rows.
fn rename(report: &mut Report, renamed: &BTreeMap<Text, Text>) {
    let cells = report.sections.iter_mut().flat_map(|s| &mut s.rows).flat_map(|row| &mut row.cells);
    for cell in cells {
        if let Value::Name(name) = cell {
            *name = replaced(name, renamed);
        }
    }
    for finding in &mut report.findings {
        for phrase in &mut finding.sentence {
            if let Phrase::Name(name) = phrase {
                *name = replaced(name, renamed);
            }
        }
        finding.spell();
    }
}

fn replaced(name: &Text, renamed: &BTreeMap<Text, Text>) -> Text {
    let part = |part: &[u8]| match renamed.get(&Text::from(part)) {
        Some(new) => new.raw().to_vec(),
        None => part.to_vec(),
    };
    let parts: Vec<Vec<u8>> = name.raw().split(|byte| *byte == b' ').map(part).collect();
    Text::new(parts.join(&b' '))
}

/// Counts the frames with a name again. All frames of walks are frames of the report: if no frame of a file lacks a
/// name, none of a walk does.
fn recount(report: &mut Report) {
    let nameless = |module: &Option<Text>| {
        report.frames.iter().any(|frame| frame.module == *module && frame.functions.is_empty())
    };
    if let Some(walks) = &mut report.coverage.walks {
        let (left, named) = walks.unnamed.drain(..).partition(|unnamed| nameless(&unnamed.module));
        walks.unnamed = left;
        let named: Vec<Unnamed> = named;
        walks.named_frames = named
            .iter()
            .fold(walks.named_frames, |sum, now| sum.saturating_add(now.frames))
            .min(walks.frames);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{report::sample, symbolize::Servers};

    #[test]
    fn servers_are_asked_for_files_with_frames_without_a_name_only() {
        let problems = |nameless: bool| {
            let mut report = sample::pong();
            report.frames.truncate(1);
            let frame = &mut report.frames[0];
            (frame.module, frame.build_id, frame.file_address) =
                (Some("srv".into()), Some("ab12".into()), Some(16));
            let function = Function { name: "f".into(), file: None, line: None, inlined: false };
            frame.functions = if nameless { vec![] } else { vec![function] };
            report.coverage.files.clear();
            // Nobody listens there.
            let servers = Servers {
                urls: vec!["http://127.0.0.1:1/".to_owned()],
                kept: None,
                patience: Duration::from_secs(5),
            };
            resolve_later(&mut report, Settings { servers: Some(servers), ..Settings::default() });
            report
                .coverage
                .files
                .iter()
                .flat_map(|file| file.problems.clone())
                .collect::<Vec<String>>()
                .join("; ")
        };
        assert!(!problems(false).contains("127.0.0.1"), "{}", problems(false));
        let asked = problems(true);
        assert!(asked.contains("127.0.0.1") && !asked.contains("read later"), "{asked}");
    }
}
