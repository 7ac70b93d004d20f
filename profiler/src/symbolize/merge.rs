//! One answer from what debug information and symbols say of a place.

use super::{Resolved, mangled};
use crate::{report::Function, text::Text};

/// The functions by debug information, with the function that was compiled under its full name. `symbol` is its name in
/// a symbol table, mangled.
///
/// Debug information cut down to line tables, the usual choice for release builds, calls `server::Rooms::open` just
/// `open`; the symbol table knows better.
pub(super) fn named(mut functions: Vec<Function>, symbol: Option<&str>) -> Option<Resolved> {
    let symbol = symbol.map(|symbol| mangled::readable(symbol, None));
    match (functions.last_mut(), symbol) {
        (Some(compiled), Some(symbol)) => {
            // Without a name there is a line only, or the part of the debug information that has the name is missing.
            if compiled.name.is_empty() || qualifies(&symbol, &compiled.name.terminal()) {
                compiled.name = Text::from(symbol);
            }
        }
        (None, Some(symbol)) => {
            functions.push(Function { name: Text::from(symbol), file: None, line: None, inlined: false });
        }
        (Some(_) | None, None) => {}
    }
    functions.retain(|function| !function.name.is_empty());
    (!functions.is_empty()).then_some(Resolved { functions, unresolved: None, start: None })
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

#[cfg(test)]
mod tests {
    use super::*;

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
