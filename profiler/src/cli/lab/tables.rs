//! `profiler __tables`

use std::path::{Path, PathBuf};
use std::time::Instant;

use profiler::{
    error::{Error, ErrorKind},
    unwind::{
        file::ProgramFile,
        table::{self, Options, Table},
    },
};
use serde::Serialize;

use super::{Done, args::TablesArgs, print_json};

/// What is printed.
#[derive(Serialize)]
struct Measured {
    /// Threads at work.
    threads: usize,
    /// How often everything was done.
    runs: usize,
    files: Vec<OfFile>,
    /// The median time of making all tables together, mapping the files included.
    all_ms: f64,
}

#[derive(Serialize)]
struct OfFile {
    file: String,
    /// The median time of making this table alone, mapping the file included.
    ms: f64,
    text_bytes: u64,
    table_bytes: usize,
    /// `table_bytes` in percent of `text_bytes`.
    table_percent: f64,
    functions: u64,
    rows: usize,
    rare_rules: usize,
    rare_rows: u64,
    unsupported_rows: u64,
    damaged: u64,
}

/// Makes the tables of these files and prints sizes and times as JSON.
pub(crate) fn run(args: &TablesArgs) -> Done {
    let options =
        Options { threads: args.threads.unwrap_or(Options::default().threads), ..Options::default() };
    let mut files = Vec::new();
    for path in &args.files {
        let (ms, tables) = timed(args.runs, std::slice::from_ref(path), &options)?;
        files.extend(tables.iter().map(|table| of_file(path, ms, table)));
    }
    let (all_ms, _) = timed(args.runs, &args.files, &options)?;
    let measured = Measured { threads: options.threads, runs: args.runs, files, all_ms };
    print_json(&measured)
}

/// The tables of these files, and the median time of making them all.
fn timed(runs: usize, paths: &[PathBuf], options: &Options) -> Result<(f64, Vec<Table>), Error> {
    let mut times = Vec::new();
    let mut tables = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        tables = make(paths, options)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times.get(times.len() / 2).copied().unwrap_or(0.0), tables))
}

fn make(paths: &[PathBuf], options: &Options) -> Result<Vec<Table>, Error> {
    let open = |path: &PathBuf| {
        ProgramFile::open(path).map_err(|error| {
            Error::on(ErrorKind::InvalidFile, "tried to map", path.as_path()).because_of(error)
        })
    };
    let files: Vec<ProgramFile> = paths.iter().map(open).collect::<Result<_, _>>()?;
    let made = table::build_all(&files.iter().collect::<Vec<_>>(), options);
    let one = |(path, made): (&PathBuf, Result<Table, table::Error>)| {
        made.map_err(|error| {
            Error::on(ErrorKind::InvalidFile, "tried to make the unwind table of", path.as_path())
                .because_of(error)
                .hint("name programs or shared libraries for x86_64")
        })
    };
    paths.iter().zip(made).map(one).collect()
}

fn of_file(path: &Path, ms: f64, table: &Table) -> OfFile {
    let stats = table.stats();
    OfFile {
        file: path.display().to_string(),
        ms,
        text_bytes: stats.text_bytes,
        table_bytes: table.size_bytes(),
        table_percent: 100.0 * table.size_bytes() as f64 / stats.text_bytes as f64,
        functions: stats.functions,
        rows: table.rows().len(),
        rare_rules: table.rules().rules().len() - 1,
        rare_rows: stats.rare_changes,
        unsupported_rows: stats.unsupported_changes,
        damaged: stats.damaged,
    }
}
