//! The function that names a row: the innermost function of the program's own code that is not a wrapper of a library's function.

mod named;
mod unique;
mod wrappers;

use std::collections::HashSet;

use crate::{
    naming::{self, Call, Kind},
    text::Text,
};

pub(crate) use named::{Named, Weight};
pub(crate) use unique::{beside, labels};

/// The function that names a stack, and its place. Two stacks with the same `function`, `file` and `line` are
/// of the same site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Own {
    /// The label of the row: the function as people write it.
    pub(crate) label: Text,
    /// The function; for code without a name its file and address, `server+0x1eae98`.
    pub(crate) function: Text,
    /// Where the function begins, in the same form: for code without a name, if the unwind information says so.
    pub(crate) begins: Option<Text>,
    /// The program file that it is in; `None` for code made at run time.
    pub(crate) module: Option<Text>,
    /// Its source file, if known.
    pub(crate) file: Option<Text>,
    /// The line in it, of the call that leads to the observed one, if known.
    pub(crate) line: Option<u32>,
    /// Its caller, in the same form; `None` if it is unknown.
    pub(crate) caller: Option<Text>,
    /// The address of the call in the program file's own terms.
    pub(crate) address: Option<u64>,
    /// The wrappers below it, the innermost first.
    pub(crate) skipped: Vec<Text>,
}

/// Functions that were found to be wrappers: the program file, and their [`Call::identity`].
type Wrappers = HashSet<(Option<Text>, Text)>;

/// Most functions of a wrapper between it and the observed function. A name further out may be that of something else.
const MOST_PARTS: usize = 2;

/// The function that names a stack. `None` for a stack without frames.
///
/// The program's own code comes first, named or not; then libraries and runtimes, the innermost first; then the
/// standard library, allocation functions, and last the functions where threads begin.
fn own(calls: &[Call<'_>], wrappers: &Wrappers) -> Option<Own> {
    let mut kinds: Vec<Kind> = calls.iter().map(|call| kind(call, wrappers)).collect();
    pass_over_parts(&mut kinds);
    let chosen = choose(calls, &kinds)?;
    let call = calls.get(chosen)?;
    let function = call.function;
    let passed = calls.iter().zip(&kinds).take(chosen).filter(|(call, kind)| is_notable(call, **kind));
    let mut skipped: Vec<Text> = passed.map(|(call, _)| call.name.clone()).collect();
    skipped.dedup();
    // Code without a file or a name has nothing but its address in the process.
    let made_at = call.frame.made.as_ref().filter(|_| function.is_none()).map(|_| call.frame.address);
    let mut own = Own {
        label: naming::short(call.name),
        function: call.name.clone(),
        begins: (call.identity != call.name).then(|| call.identity.clone()),
        module: call.frame.module.clone(),
        file: function.and_then(|function| function.file.clone()),
        line: function.and_then(|function| function.line),
        caller: caller(calls, chosen).map(|caller| caller.name.clone()),
        address: call.frame.file_address.or(made_at),
        skipped,
    };
    // A closure is named by the function around it and a number: only the line says which closure it is.
    if naming::is_nameless(call.name)
        && let Some(line) = own.source_line()
    {
        own.label = beside(call.name, &line);
    }
    if let Some(runtime) = unseen_callers(calls, chosen, &kinds) {
        own.label = beside(&own.label, &Text::from(format!("its {runtime} callers cannot be seen")));
    }
    Some(own)
}

/// The runtime in whose code the stack ends, if the chosen call is not the program's own: the function that asked for
/// the memory is further out.
fn unseen_callers<'a>(calls: &'a [Call<'a>], chosen: usize, kinds: &[Kind]) -> Option<&'a str> {
    let runtime = calls.last()?.frame.made.as_ref()?.by.as_deref()?;
    let is_own = kinds.get(chosen) == Some(&Kind::Own);
    (!is_own).then_some(runtime)
}

/// The functions of the program's own code in a stack, the innermost first, each as the name of everything that it and
/// its callees allocate.
fn path(calls: &[Call<'_>], wrappers: &Wrappers) -> Vec<Own> {
    let mut seen = HashSet::new();
    let own = calls.iter().filter(|call| kind(call, wrappers) == Kind::Own);
    let functions = own.filter(|call| seen.insert((call.frame.module.as_ref(), call.identity)));
    let of_call = |call: &Call<'_>| Own {
        label: Text::new([naming::short(call.identity).raw(), naming::AND_BELOW.as_bytes()].concat()),
        function: call.identity.clone(),
        begins: None,
        module: call.frame.module.clone(),
        file: None,
        line: None,
        caller: None,
        address: call.frame.file_address,
        skipped: Vec::new(),
    };
    functions.map(of_call).collect()
}

impl Own {
    /// The same with the whole path of the file: `src/chat.rs:41`.
    pub(crate) fn source_place(&self) -> Option<Text> {
        let (file, line) = self.file.as_ref().zip(self.line)?;
        Some(Text::new([file.raw(), format!(":{line}").as_bytes()].concat()))
    }

    /// The line of the call that leads to the allocation: `chat.rs:41`.
    fn source_line(&self) -> Option<Text> {
        let (file, line) = self.file.as_ref().zip(self.line)?;
        let name = file.raw().rsplit(|byte| *byte == b'/').next().unwrap_or(file.raw());
        Some(Text::new([name, format!(":{line}").as_bytes()].concat()))
    }

    /// The address of the call: `at 0x1eae98`.
    pub(crate) fn place(&self) -> Option<Text> {
        self.address.map(|address| Text::from(format!("at {address:#x}")))
    }
}

/// Functions that a well-known wrapper calls are part of it: `malloc` ← `ngx_palloc_block`, which has no name in a
/// stripped file, ← `ngx_palloc`; so is the hook by which a library allocates.
fn pass_over_parts(kinds: &mut [Kind]) {
    let of_own = |kinds: &[Kind]| kinds.iter().filter(|kind| **kind == Kind::Own).count();
    // After other people's code this is no longer so: a runtime may have called a script.
    let of_it = |kind: &&Kind| matches!(kind, Kind::Own | Kind::Wrapper | Kind::Plumbing);
    let first = kinds.iter().take_while(of_it).count();
    let outermost = (0..first).rev().find(|index| {
        let further_in = kinds.get(..*index).unwrap_or_default();
        kinds.get(*index) == Some(&Kind::Wrapper) && of_own(further_in) <= MOST_PARTS
    });
    for kind in kinds.iter_mut().take(outermost.unwrap_or(0)).filter(|kind| **kind == Kind::Own) {
        *kind = Kind::Wrapper;
    }
}

/// The next call further out that is of another function.
fn caller<'a>(calls: &'a [Call<'a>], of: usize) -> Option<&'a Call<'a>> {
    let name = calls.get(of)?.name;
    calls.get(of + 1..)?.iter().find(|call| call.name != name)
}

fn kind(call: &Call<'_>, wrappers: &Wrappers) -> Kind {
    match call.kind {
        Kind::Own if !wrappers.is_empty() => {
            let known = wrappers.contains(&(call.frame.module.clone(), call.identity.clone()));
            if known { Kind::Wrapper } else { Kind::Own }
        }
        kind => kind,
    }
}

/// Whether the report mentions that a call was skipped: `malloc` itself is not worth mentioning.
fn is_notable(call: &Call<'_>, kind: Kind) -> bool {
    kind == Kind::Wrapper && !call.in_standard_file
}

fn choose(calls: &[Call<'_>], kinds: &[Kind]) -> Option<usize> {
    let of = |wanted: Kind| kinds.iter().position(|kind| *kind == wanted);
    let named = |wanted: Kind| {
        let mut all = calls.iter().zip(kinds);
        all.position(|(call, kind)| *kind == wanted && call.function.is_some())
    };
    // Interpreters have few names, and libraries only those that others call.
    let foreign = || {
        let mut all = calls.iter().zip(kinds);
        all.position(|(call, kind)| match kind {
            Kind::Library => call.function.is_some(),
            kind => *kind == Kind::Interpreter,
        })
    };
    // A wrapper that was found from the data is still the program's own code.
    let own_wrapper =
        || calls.iter().zip(kinds).rposition(|(call, kind)| call.kind == Kind::Own && *kind == Kind::Wrapper);
    // The outermost one says most, because each is a part of the next.
    let wrapper = || {
        let parts = kinds.iter().take_while(|kind| matches!(kind, Kind::Wrapper | Kind::Plumbing)).count();
        kinds.get(..parts)?.iter().rposition(|kind| *kind == Kind::Wrapper)
    };
    own_call(calls, kinds)
        .or_else(own_wrapper)
        .or_else(foreign)
        .or_else(|| of(Kind::Library))
        .or_else(|| named(Kind::Plumbing))
        .or_else(wrapper)
        .or_else(|| of(Kind::Wrapper))
        .or_else(|| of(Kind::Plumbing))
        .or_else(|| of(Kind::Startup))
}

/// The innermost call of the program's own code. Without debug information, the crates of a Rust program differ only in
/// their names: its own crate is named like its file.
fn own_call(calls: &[Call<'_>], kinds: &[Kind]) -> Option<usize> {
    let own = || calls.iter().zip(kinds).enumerate().filter(|(_, (_, kind))| **kind == Kind::Own);
    let (innermost, (call, _)) = own().next()?;
    let sourceless = call.function.is_some_and(|function| function.file.is_none());
    let of_main_crate = |(call, _): (&Call<'_>, &Kind)| {
        call.function.is_some_and(|function| naming::is_of_main_crate(call.frame, &function.name.terminal()))
    };
    let by_crate = own().find(|(_, found)| sourceless && of_main_crate(*found));
    let chosen = by_crate.map_or(innermost, |(index, _)| index);
    Some(below_nameless_code(calls, kinds, chosen).unwrap_or(chosen))
}

/// The function of a runtime that unnamed code made at run time has called. The address of such code is only valid in
/// this run and cannot be looked up, while `Unsafe_AllocateMemory0` says what kind of memory it is.
fn below_nameless_code(calls: &[Call<'_>], kinds: &[Kind], chosen: usize) -> Option<usize> {
    let is_nameless = |call: &&Call<'_>| call.function.is_none() && call.frame.module.is_none();
    calls.get(chosen).filter(is_nameless)?;
    let further_in =
        || calls.iter().zip(kinds).take(chosen).enumerate().filter(|(_, (call, _))| call.function.is_some());
    let says_what = |(_, (_, kind)): &(usize, (&Call<'_>, &Kind))| {
        !matches!(kind, Kind::Wrapper | Kind::Plumbing | Kind::Startup)
    };
    let wraps = |(_, (call, kind)): &(usize, (&Call<'_>, &Kind))| is_notable(call, **kind);
    let found = further_in().find(says_what).or_else(|| further_in().rfind(wraps));
    found.map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
