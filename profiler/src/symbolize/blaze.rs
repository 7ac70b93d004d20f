//! blazesym behind [`Symbolize`]: the only file that names it.

use std::path::Path;

use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer, source};

use super::{Resolved, Symbolize};
use crate::{report::Function, text::Text};

/// Longest mangled name that is demangled: some symbols are built to exhaust demanglers.
const MAX_MANGLED_BYTES: usize = 4096;

/// Resolves through ELF symbols and DWARF.
pub(super) struct Blaze(Symbolizer);

impl Blaze {
    pub(super) fn new() -> Blaze {
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false) // a file is held open and does not change
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .enable_demangling(true)
            .build();
        Blaze(symbolizer)
    }
}

impl Blaze {
    /// Only ever from an ELF file: as the source of a process, the library would believe any map file that it finds.
    fn look_up(&self, file: &Path, offsets: &[u64], debug_info: bool) -> Result<Vec<Symbolized<'_>>, String> {
        let mut elf = source::Elf::new(file);
        elf.debug_syms = debug_info;
        let input = Input::FileOffset(offsets);
        self.0.symbolize(&source::Source::Elf(elf), input).map_err(|error| error.to_string())
    }
}

impl Symbolize for Blaze {
    fn resolve(&mut self, file: &Path, offsets: &[u64]) -> Vec<Resolved> {
        let by_symbols = self.look_up(file, offsets, false);
        // Damaged debug information must not cost the names that the symbol table has.
        let by_debug_info = self.look_up(file, offsets, true);
        match (by_debug_info, by_symbols) {
            (Ok(found), Ok(symbols)) => found.iter().zip(&symbols).map(|(f, s)| qualified(f, s)).collect(),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => found.iter().map(resolved).collect(),
            (Err(_), Err(error)) => {
                let why = format!("symbols cannot be read: {error}");
                vec![Resolved::unknown(why); offsets.len()]
            }
        }
    }
}

/// What the debug information says, with the function that was compiled under its full name. Debug information cut
/// down to line tables, the usual choice for release builds, calls `server::Rooms::open` just `open`; the symbol
/// table knows better.
fn qualified(debug_info: &Symbolized<'_>, symbol: &Symbolized<'_>) -> Resolved {
    let mut names = resolved(debug_info);
    if let (Some(compiled), Symbolized::Sym(symbol)) = (names.functions.last_mut(), symbol)
        && qualifies(&symbol.name, &compiled.name.terminal())
    {
        compiled.name = cut(&symbol.name);
    }
    names
}

/// Whether `symbol` is `name` with the path to it. A symbol can also be another function's of the same code: then
/// the debug information, which the stack's lines come from, is left alone.
fn qualifies(symbol: &str, name: &str) -> bool {
    let name = name.split('<').next().unwrap_or_default();
    if name.is_empty() || name.contains("::") || name.contains('(') {
        return false;
    }
    // Debug information numbers closures and `async` blocks, and each kind has a name of its own.
    let is_closure = name.starts_with('{');
    if is_closure {
        return symbol.contains("::{{closure}}") || symbol.contains("::{closure#");
    }
    symbol.match_indices(name).any(|(at, _)| {
        let ends = !symbol[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        ends && symbol[..at].ends_with("::")
    })
}

fn resolved(symbolized: &Symbolized<'_>) -> Resolved {
    match symbolized {
        Symbolized::Sym(symbol) => Resolved { functions: functions(symbol), unresolved: None },
        Symbolized::Unknown(reason) => Resolved::unknown(match reason {
            Reason::MissingSyms | Reason::UnknownAddr => "no symbol covers it (stripped?)".to_owned(),
            other => other.to_string(),
        }),
    }
}

/// The innermost inlined function first, the one that was compiled last.
fn functions(symbol: &Sym<'_>) -> Vec<Function> {
    let mut outer_to_inner = vec![function(&symbol.name, symbol.code_info.as_deref(), false)];
    for inlined in &symbol.inlined {
        outer_to_inner.push(function(&inlined.name, inlined.code_info.as_ref(), true));
    }
    outer_to_inner.reverse();
    outer_to_inner
}

fn function(name: &str, place: Option<&CodeInfo<'_>>, inlined: bool) -> Function {
    Function {
        name: cut(name),
        file: place.map(|p| Text::from(AsRef::<Path>::as_ref(&p.to_path()))),
        line: place.and_then(|p| p.line),
        inlined,
    }
}

fn cut(name: &str) -> Text {
    let name: String = name.chars().take(MAX_MANGLED_BYTES).collect();
    Text::from(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::qualifies;

    #[test]
    fn a_symbol_gives_the_path_to_a_function() {
        assert!(qualifies("pong::chat::ChatHistory::push", "push"));
        assert!(qualifies("<pong::chat::Chat as core::clone::Clone>::clone", "clone"));
        assert!(qualifies("tokio::runtime::task::raw::poll::<T>", "poll<alloc::sync::Arc<T>>"));
        assert!(qualifies("std::thread::_State_impl<F>::_M_run()", "_M_run"));
        assert!(qualifies("pong::server::serve::{{closure}}", "{async_fn#0}"));
        assert!(qualifies("pong::server::serve::{closure#0}", "{closure#0}<pong::Room>"));
    }

    #[test]
    fn a_symbol_of_another_function_does_not() {
        assert!(!qualifies("pong::chat::ChatHistory::push_all", "push"));
        assert!(!qualifies("pong::chat::ChatHistory::unpush", "push"));
        assert!(!qualifies("pong::chat::trim", "{closure#0}"));
        assert!(!qualifies("push", "push"));
        assert!(!qualifies("other::Worker::run", "Worker::run"));
        assert!(!qualifies("a::operator()(int)", "operator()"));
        assert!(!qualifies("a::b", ""));
    }
}
