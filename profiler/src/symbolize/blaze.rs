//! blazesym behind [`Symbolize`]: the only file that names it.

use std::path::Path;

use blazesym::symbolize::{CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer, source};

use super::{Request, Resolved, Symbolize};
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

impl Symbolize for Blaze {
    fn resolve(&mut self, request: &Request) -> Vec<Resolved> {
        let with_dwarf = source::Source::Elf(source::Elf::new(&request.file));
        let input = Input::FileOffset(request.offsets.as_slice());
        if let Ok(symbols) = self.0.symbolize(&with_dwarf, input) {
            return symbols.iter().map(resolved).collect();
        }
        // Damaged debug information must not cost the names that the symbol table has.
        let mut plain = source::Elf::new(&request.file);
        plain.debug_syms = false;
        match self.0.symbolize(&source::Source::Elf(plain), input) {
            Ok(symbols) => symbols.iter().map(resolved).collect(),
            Err(error) => {
                let why = format!("symbols cannot be read: {error}");
                vec![Resolved::unknown(why); request.offsets.len()]
            }
        }
    }
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
    let name: String = name.chars().take(MAX_MANGLED_BYTES).collect();
    Function {
        name: Text::from(name.as_str()),
        file: place.map(|p| Text::from(AsRef::<Path>::as_ref(&p.to_path()))),
        line: place.and_then(|p| p.line),
        inlined,
    }
}
