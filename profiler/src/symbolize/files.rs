//! All sources of names for program files, in order.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use super::{
    Answer, Resolved, Settings, Symbolize,
    blaze::Symbols,
    bytes::{Bytes, Unpacker},
    dwarf::{DebugFile, DebugInfo},
    merge::named,
    notes::Notes,
    place::Program,
    search::{FoundFile, Place, Search, Wanted},
    servers::Fetcher,
    tables::{self, SymbolTable},
};
use crate::{
    elf::{FunctionStarts, Image},
    text::Text,
};

/// Names functions of program files.
pub(super) struct Files {
    settings: Settings,
    fetcher: Option<RefCell<Fetcher>>,
    symbols: Symbols,
    unpacker: Unpacker,
    known: HashMap<PathBuf, Result<Known, String>>,
}

/// The state of one file.
struct Known {
    bytes: Arc<Bytes>,
    names: Names,
}

/// The sources of names of one file.
#[derive(Default)]
struct Names {
    debug_info: Option<DebugInfo>,
    tables: Vec<SymbolTable>,
    notes: Notes,
    /// Held, because tables are read by its path.
    debug_file: Option<FoundFile>,
}

impl Files {
    /// Without any file yet.
    pub(super) fn new(settings: Settings) -> Files {
        let fetcher = settings.servers.as_ref().map(Fetcher::new).map(RefCell::new);
        Files {
            settings,
            fetcher,
            symbols: Symbols::new(),
            unpacker: Unpacker::default(),
            known: HashMap::new(),
        }
    }

    /// Names functions of a file that is not here, from debug files of its build. `addresses` are those of the file
    /// itself.
    pub(super) fn resolve_build(
        &mut self,
        module: &Text,
        build_id: &str,
        addresses: &[u64],
        ask_servers: bool,
    ) -> Answer {
        let program = Program { path: PathBuf::new(), name: module.clone(), root: None };
        let search = Search {
            debug_dirs: &self.settings.debug_dirs,
            fetcher: self.fetcher.as_ref().filter(|_| ask_servers),
            program: &program,
        };
        let mut names = Names::default();
        let wanted = Wanted { build_id: Some(build_id.to_owned()), link: None };
        names.add_debug_file(&wanted, &search, &mut self.unpacker);
        let resolved = names.of(addresses, None, &search, &self.symbols, &mut self.unpacker);
        Answer { resolved, notes: names.notes }
    }
}

/// Whether a separate debug file of a program is installed in one of the usual places.
pub fn has_debug_file(program: &Program, image: &Image<'_>) -> bool {
    let search = Search { debug_dirs: &[], fetcher: None, program };
    search.debug_file(&Wanted::by(image), &mut Notes::default()).is_some()
}

impl Symbolize for Files {
    fn resolve(&mut self, program: &Program, offsets: &[u64]) -> Answer {
        let Files { settings, fetcher, symbols, unpacker, known } = self;
        let search = Search { debug_dirs: &settings.debug_dirs, fetcher: fetcher.as_ref(), program };
        let opened =
            known.entry(program.path.clone()).or_insert_with(|| Known::open(program, &search, unpacker));
        match opened {
            Ok(known) => known.resolve(offsets, &search, symbols, unpacker),
            Err(why) => Answer::unknown(format!("symbols cannot be read: {why}"), offsets.len()),
        }
    }
}

impl Known {
    fn open(program: &Program, search: &Search<'_>, unpacker: &mut Unpacker) -> Result<Known, String> {
        let read = || Bytes::map(&File::open(&program.path)?);
        let bytes = read().map_err(|error| error.to_string())?;
        let image = Image::parse(&bytes).map_err(|error| format!("it is {error}"))?;
        let mut names = Names::default();
        let place = program.directory().zip(program.file_name()).zip(program.roots().into_iter().next());
        let place = place.map(|((directory, name), root)| Place { root, path: directory.join(name) });
        names.debug_info = guarded(&mut names.notes, |notes| {
            let own = DebugFile { bytes: &bytes, image: &image, shown: "the file itself", place };
            DebugInfo::read(&own, search, unpacker, notes)
        });
        match names.debug_info {
            Some(_) => names.notes.sources.insert(0, "its debug information".to_owned()),
            None => names.add_debug_file(&Wanted::by(&image), search, unpacker),
        }
        names.tables.extend(tables::of_program(&image, &program.path, unpacker, &mut names.notes));
        Ok(Known { bytes: Arc::clone(&bytes), names })
    }

    fn resolve(
        &mut self,
        offsets: &[u64],
        search: &Search<'_>,
        symbols: &Symbols,
        unpacker: &mut Unpacker,
    ) -> Answer {
        let Ok(image) = Image::parse(&self.bytes) else {
            return Answer::unknown("symbols cannot be read".to_owned(), offsets.len());
        };
        let addresses: Vec<Option<u64>> = offsets.iter().map(|offset| image.address(*offset)).collect();
        let covered: Vec<u64> = addresses.iter().copied().flatten().collect();
        let mut found = self.names.of(&covered, Some(&image), search, symbols, unpacker).into_iter();
        let outside = || Resolved::unknown("outside of the code of the file");
        let starts = FunctionStarts::of(&image);
        let start_of = |resolved: &Resolved, address: Option<u64>| {
            address.filter(|_| resolved.functions.is_empty()).and_then(|address| starts.start_of(address))
        };
        let resolved = addresses.iter().map(|at| {
            let resolved = at.and_then(|_| found.next()).unwrap_or_else(outside);
            Resolved { start: start_of(&resolved, *at), ..resolved }
        });
        Answer { resolved: resolved.collect(), notes: self.names.notes.clone() }
    }
}

impl Names {
    /// Adds the separate debug file, if there is one that matches.
    fn add_debug_file(&mut self, wanted: &Wanted, search: &Search<'_>, unpacker: &mut Unpacker) {
        let Some(found) = search.debug_file(wanted, &mut self.notes) else { return };
        let tables = &mut self.tables;
        self.debug_info = guarded(&mut self.notes, |notes| {
            let image = Image::parse_debug_file(&found.bytes).map_err(|error| error.to_string())?;
            if !image.is_stripped() {
                tables.push(SymbolTable::Of(found.held_path()));
            }
            let place = Some(Place { root: found.root.clone(), path: found.path.clone() });
            let file = DebugFile { bytes: &found.bytes, image: &image, shown: &found.shown, place };
            DebugInfo::read(&file, search, unpacker, notes)
        });
        let what = if self.debug_info.is_some() { "debug information" } else { "the symbol table" };
        self.notes.sources.insert(0, format!("{what} of {}", found.shown));
        self.debug_file = Some(found);
    }

    /// The answers for these addresses of the file, in order. `image` is the file, if it is here.
    fn of(
        &mut self,
        addresses: &[u64],
        image: Option<&Image<'_>>,
        search: &Search<'_>,
        symbols: &Symbols,
        unpacker: &mut Unpacker,
    ) -> Vec<Resolved> {
        let by_symbol = symbol_names(&mut self.tables, image, symbols, addresses, &mut self.notes);
        let mut functions = vec![Vec::new(); addresses.len()];
        if let Some(debug_info) = &self.debug_info {
            let all = guarded(&mut self.notes, |notes| {
                let of = |address: &u64| debug_info.functions(*address, search, unpacker, notes);
                Ok(Some(addresses.iter().map(of).collect()))
            });
            match all {
                Some(all) => functions = all,
                None => self.debug_info = None,
            }
        }
        let why = self.why_nameless();
        let of = |(functions, symbol): (_, Option<String>)| {
            named(functions, symbol.as_deref()).unwrap_or_else(|| Resolved::unknown(why.as_str()))
        };
        functions.into_iter().zip(by_symbol).map(of).collect()
    }

    /// Why an uncovered place has no name. This is repeated for each such place, so it leaves out that servers have no
    /// file either.
    fn why_nameless(&self) -> String {
        match self.notes.problems_here().next() {
            Some(problem) => format!("no symbol covers it; {problem}"),
            None if self.debug_info.is_some() => "no symbol covers it".to_owned(),
            None => "no symbol covers it (stripped?)".to_owned(),
        }
    }
}

/// The name of each address in the first table that has one. A table that cannot be read is replaced, once, by a list
/// of the program's symbols.
fn symbol_names(
    tables: &mut Vec<SymbolTable>,
    image: Option<&Image<'_>>,
    symbols: &Symbols,
    addresses: &[u64],
    notes: &mut Notes,
) -> Vec<Option<String>> {
    let mut names = vec![None; addresses.len()];
    let mut failed = false;
    tables.retain(|table| match table.names(symbols, addresses) {
        Ok(found) => {
            for (name, found) in names.iter_mut().zip(found) {
                *name = name.take().or(found);
            }
            true
        }
        Err(why) => {
            notes.problem(format!("a symbol table cannot be read: {why}"));
            failed = true;
            false
        }
    });
    if failed
        && !tables.iter().any(|table| matches!(table, SymbolTable::Listed(_)))
        && let Some(image) = image
    {
        let listed = tables::listed(image, notes);
        if let Ok(found) = listed.names(symbols, addresses) {
            for (name, found) in names.iter_mut().zip(found) {
                *name = name.take().or(found);
            }
        }
        tables.push(listed);
    }
    if let Some(image) = image {
        // Stubs have no symbols, but a symbol without a size before them (`_init`) would cover them.
        let of_stubs = names.iter_mut().zip(addresses).filter(|(_, address)| image.is_stub(**address));
        of_stubs.for_each(|(name, _)| *name = None);
    }
    names
}

/// Reads something, and notes what goes wrong as a problem. The files come from anywhere: a defect in a library that
/// reads them must cost the names of one file, not of all.
fn guarded<T>(notes: &mut Notes, read: impl FnOnce(&mut Notes) -> Result<Option<T>, String>) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| read(notes)));
    let why = match done {
        Ok(Ok(read)) => return read,
        Ok(Err(why)) => why,
        Err(_) => "the debug information is damaged, and its reader failed on it".to_owned(),
    };
    notes.problem(why);
    None
}
