//! Combining debug information and symbols into one answer.

use super::{Resolved, mangled};
use crate::{report::Function, text::Text};

/// The functions of debug information. The function that was not inlined gets its full name from `symbol`, its mangled
/// name in a symbol table.
///
/// Debug information cut down to line tables, the usual choice for release builds, calls `server::Rooms::open` just
/// `open`; the symbol table has the full name.
pub(super) fn named(mut functions: Vec<Function>, symbol: Option<&str>) -> Option<Resolved> {
    let symbol = symbol.map(|symbol| mangled::readable(symbol, None));
    match (functions.last_mut(), symbol) {
        (Some(compiled), Some(symbol)) => {
            // If it has no name, there is only a line, or the part of the debug information with the name is missing.
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

/// Whether `symbol` is `name` with its path. Several functions can share code and a symbol may name another one of
/// them: then the name of the debug information stays, like its lines.
fn qualifies(symbol: &str, name: &str) -> bool {
    let name = name.split('<').next().unwrap_or_default();
    if name.is_empty() || name.contains("::") || name.contains('(') {
        return false;
    }
    // Debug information numbers closures and `async` blocks, and names each kind in its own way.
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
