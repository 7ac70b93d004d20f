//! Making tables, several files at a time.

use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use rayon::{
    ThreadPoolBuilder,
    iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _},
};

use super::evaluate::{Piece, evaluate};
use super::known;
use super::merge::merge;
use super::read::{Material, material};
use super::{Error, Table};
use crate::{kernel::priority::use_batch_scheduling, unwind::file::ProgramFile};

/// Entries that one thread decodes at a time: some hundred microseconds of work.
const ENTRIES_PER_PIECE: usize = 2048;
/// Most threads, however many processors there are: the server that we observe needs them.
const MOST_THREADS: usize = 8;

/// How tables are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads at work; at least one is started. They have the priority of the caller, who waits for them, but do not
    /// preempt running threads.
    pub threads: usize,
    /// Directories of separate debug files.
    pub debug_roots: Vec<PathBuf>,
}

impl Default for Options {
    /// As many threads as processors, up to 8; debug files under `/usr/lib/debug`.
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Options { threads: processors.min(MOST_THREADS), debug_roots: vec![PathBuf::from("/usr/lib/debug")] }
    }
}

/// Makes the table of one file.
///
/// # Errors
/// If the file is not a program, has no unwind information, or its unwind information is absurd; see [`enum@Error`].
pub fn build(file: &ProgramFile, options: &Options) -> Result<Table, Error> {
    build_all(&[file], options).pop().unwrap_or(Err(Error::NoUnwindInformation))
}

/// Makes the tables of several files. Results are in the order of the files. The table of a file depends on its bytes
/// alone, not on the other files.
pub fn build_all(files: &[&ProgramFile], options: &Options) -> Vec<Result<Table, Error>> {
    build_all_reporting(files, options, &|_| {})
}

/// As [`build_all`]. Any of the threads calls `done` with the number of files whose entries are all decoded, which is
/// nearly all of the work.
pub(crate) fn build_all_reporting(
    files: &[&ProgramFile],
    options: &Options,
    done: &(dyn Fn(usize) + Sync),
) -> Vec<Result<Table, Error>> {
    let materials = in_parallel(options.threads, files, |file| material(file, &options.debug_roots));
    let tasks: Vec<Task> = tasks(&materials).collect();
    let to_do: Vec<AtomicUsize> = files.iter().map(|_| AtomicUsize::new(0)).collect();
    tasks.iter().for_each(|task| _ = to_do[task.file].fetch_add(1, Relaxed));
    let finished = AtomicUsize::new(to_do.iter().filter(|tasks| tasks.load(Relaxed) == 0).count());
    let run = |task: &Task| {
        let piece = task.run(&materials);
        if to_do[task.file].fetch_sub(1, Relaxed) == 1 {
            done(finished.fetch_add(1, Relaxed) + 1);
        }
        piece
    };
    let mut pieces = in_parallel(options.threads, &tasks, run).into_iter();
    // Tasks are in order, so that those of one source are together.
    let decoded: Vec<Decoded<'_>> = materials
        .iter()
        .map(|material| {
            let material = material.as_ref().map_err(|error| *error)?;
            let mut of_source =
                |entries: usize| pieces.by_ref().take(entries.div_ceil(ENTRIES_PER_PIECE)).collect();
            let mut sources: Vec<Vec<Piece>> =
                material.sources.iter().map(|source| of_source(source.entries.list.len())).collect();
            sources.push(vec![known::piece(&material.known)]);
            Ok((material, sources))
        })
        .collect();
    in_parallel(options.threads, &decoded, |decoded| {
        let (material, sources) = decoded.as_ref().map_err(|error| *error)?;
        let cut_short = material.sources.iter().filter(|source| source.entries.cut_short).count();
        merge(&material.text, sources, cut_short as u64)
    })
}

/// A file and its decoded entries, by source.
type Decoded<'m> = Result<(&'m Material<'m>, Vec<Vec<Piece>>), Error>;

/// Entries to be decoded.
struct Task {
    file: usize,
    source: usize,
    entries: Range<usize>,
}

fn tasks(materials: &[Result<Material<'_>, Error>]) -> impl Iterator<Item = Task> {
    let sources = materials.iter().enumerate().flat_map(|(file, material)| {
        material.iter().flat_map(move |material| {
            material
                .sources
                .iter()
                .enumerate()
                .map(move |(source, found)| (file, source, found.entries.list.len()))
        })
    });
    sources.flat_map(|(file, source, count)| {
        (0..count).step_by(ENTRIES_PER_PIECE).map(move |start| {
            let end = count.min(start + ENTRIES_PER_PIECE);
            Task { file, source, entries: start..end }
        })
    })
}

impl Task {
    fn run(&self, materials: &[Result<Material<'_>, Error>]) -> Piece {
        let material = materials.get(self.file).and_then(|material| material.as_ref().ok());
        let source =
            material.and_then(|material| material.sources.get(self.source).zip(Some(&material.text)));
        let task = source
            .and_then(|(source, text)| Some((source, source.entries.list.get(self.entries.clone())?, text)));
        task.map_or_else(Piece::default, |(source, entries, text)| evaluate(source, entries, text))
    }
}

/// Calls `work` with every item, on several threads. Results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads.clamp(1, items.len().max(1)))
        .thread_name(|_| "unwind-tables".to_owned())
        .start_handler(|_| use_batch_scheduling())
        .build();
    match pool {
        Ok(pool) => pool.install(|| items.par_iter().with_max_len(1).map(&work).collect()),
        // If no thread can be started, the work is done on this one.
        Err(_) => items.iter().map(work).collect(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::in_parallel;

    #[test]
    fn work_is_done_once_in_order_and_at_the_priority_of_the_caller() {
        let own = getpriority_process(None).unwrap();
        let items: Vec<u32> = (0..1000).collect();
        for threads in [0, 1, 3, 5000] {
            let done = in_parallel(threads, &items, |item| (*item, getpriority_process(None).unwrap()));
            assert_eq!(done, items.iter().map(|item| (*item, own)).collect::<Vec<_>>());
        }
        assert!(in_parallel(4, &[0_u32; 0], |item| *item).is_empty());
    }
}
