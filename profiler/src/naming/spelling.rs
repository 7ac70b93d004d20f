//! Names as people write them.

use std::borrow::Cow;

use crate::{report::Frame, text::Text};

/// Stands between a function and the one that it was inlined into.
const INSIDE: &str = " › ";

/// The name of a function of a frame; `None` if the frame has no such function.
///
/// Debug information calls a closure `{closure#0}` and, cut down to line tables, `server::Rooms::push` just `push`. Where a
/// function was inlined, its name says little without that of the function it was inlined into: `server::host ›
/// {async_fn#0}`.
pub fn spelled(frame: &Frame, nth: usize) -> Option<Text> {
    let function = frame.functions.get(nth)?;
    let name = readable(&function.name);
    if function.inlined && !has_path(&name) {
        let enclosing = frame.functions.iter().skip(nth + 1).map(|outer| readable(&outer.name));
        // Of a language without paths if there is none.
        if let Some(outer) = enclosing.into_iter().find(|outer| has_path(outer)) {
            return Some(Text::from(format!("{}{INSIDE}{name}", without_closures(&bare(&outer)).0)));
        }
    }
    let (path, closures) = without_closures(without_copy(&name));
    Some(match closures {
        // Made by the compiler of an `async fn` or a closure: the function is what was written.
        true if !path.is_empty() => Text::from(format!("{path}{INSIDE}{{closure}}")),
        _ if name.len() > without_copy(&name).len() => Text::from(without_copy(&name)),
        _ => function.name.clone(),
    })
}

/// Whether a name is that of something that has none in the source: a closure, an `async` block.
pub fn is_nameless(name: &Text) -> bool {
    let name = readable(name);
    name.ends_with('}') && name.rsplit(INSIDE).next().is_some_and(|last| last.starts_with('{'))
}

/// A name as text. What is no text has nothing that could be spelled better.
fn readable(name: &Text) -> Cow<'_, str> {
    String::from_utf8_lossy(name.raw())
}

/// Without what a compiler appends to parts and copies of a function.
fn without_copy(name: &str) -> &str {
    without_suffix(name.split(" [clone").next().unwrap_or(name))
}

fn has_path(name: &str) -> bool {
    bare(name).contains("::")
}

/// The function that a closure is in, and whether the name was that of a closure.
fn without_closures(name: &str) -> (&str, bool) {
    let mut path = name;
    while let Some((outer, last)) = path.rsplit_once("::") {
        if !last.starts_with('{') {
            break;
        }
        path = outer;
    }
    (path, path.len() < name.len())
}

/// A name without result, arguments, type parameters, and what a compiler puts behind it: `void a::B<T>::f<U>(int) const
/// [clone .cold]` is `a::B::f`.
pub fn bare(name: &str) -> String {
    let name = name.split(" [clone").next().unwrap_or(name);
    let name = without_arguments(name);
    let name = name.get(result_ends(name)..).unwrap_or(name);
    without_parameters(without_suffix(name))
}

/// Without the type parameters that follow on a name. Brackets at its beginning belong to it: `<T as Trait>::f`.
fn without_parameters(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_u32;
    let mut previous = ' ';
    for c in name.chars() {
        let operator = out.ends_with("operator") || out.ends_with("operator<");
        if c == '<' && !operator && (depth > 0 || previous.is_alphanumeric() || "_:)".contains(previous)) {
            depth += 1;
        } else if c == '>' && depth > 0 && previous != '-' {
            depth -= 1;
        } else if depth == 0 {
            out.push(c);
        }
        previous = c;
    }
    // Rust writes `f::<T>`.
    let out = out.strip_suffix("::").unwrap_or(&out);
    if depth == 0 { out.replace("::::", "::") } else { name.to_owned() }
}

/// Up to the brackets with the arguments, which follow on a name at the outermost level.
fn without_arguments(name: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in name.char_indices() {
        let before = name.get(..at).unwrap_or_default();
        match c {
            '(' if depth == 0
                && !before.is_empty()
                && !before.ends_with([':', ' '])
                && !before.ends_with("operator") =>
            {
                return before;
            }
            '<' | '(' | '{' | '[' => depth += 1,
            '>' if before.ends_with(['-', '=']) => {}
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    name
}

/// Where the type of a result ends, which C++ puts before the names of templates.
fn result_ends(name: &str) -> usize {
    let mut depth = 0_u32;
    let mut ends = 0;
    for (at, c) in name.char_indices() {
        let before = name.get(..at).unwrap_or_default();
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' if before.ends_with(['-', '=']) => {}
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            // `operator new`, `<T as Trait>`, and names of V8 (`JS:*push /srv/chat.js`) have spaces of their own.
            ' ' if depth == 0 && !before.ends_with("operator") && !before.starts_with("JS:") => ends = at + 1,
            _ => {}
        }
    }
    ends
}

/// Without what a compiler appends to parts and copies of a function: `.cold`, `.isra.0`, `.constprop.3`.
fn without_suffix(name: &str) -> &str {
    const SUFFIXES: &[&str] =
        &[".cold", ".isra.", ".constprop.", ".part.", ".lto_priv.", ".localalias", ".llvm."];
    let ends = SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min();
    ends.map_or(name, |ends| name.get(..ends).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Function;

    fn frame(names: &[&str]) -> Frame {
        let function = |(nth, name): (usize, &&str)| Function {
            name: Text::from(*name),
            file: None,
            line: None,
            inlined: nth + 1 < names.len(),
        };
        Frame {
            address: 1,
            module: None,
            build_id: None,
            file_offset: None,
            file_address: None,
            functions: names.iter().enumerate().map(function).collect(),
            unresolved: None,
        }
    }

    #[test]
    fn an_inlined_function_without_a_path_is_named_with_what_it_was_inlined_into() {
        for (names, is) in [
            (&["{async_fn#0}", "pong::server::host::{{closure}}"][..], "pong::server::host › {async_fn#0}"),
            (&["{closure#1}", "push", "pong::room::Room::tick"], "pong::room::Room::tick › {closure#1}"),
            (&["push", "game::Room::tick(int, std::vector<int>)"], "game::Room::tick › push"),
            (&["pong::chat::push", "pong::room::tick"], "pong::chat::push"),
            // C has no paths.
            (&["chat_push", "main"], "chat_push"),
            (&["pong::server::host::{{closure}}::{{closure}}"], "pong::server::host › {closure}"),
            (&["raw_alloc.isra.0"], "raw_alloc"),
            (&["Room::tick(int) [clone .cold]"], "Room::tick(int)"),
            (&["{{closure}}"], "{{closure}}"),
        ] {
            assert_eq!(spelled(&frame(names), 0), Some(Text::from(is)));
        }
        assert_eq!(spelled(&frame(&[]), 0), None);
    }

    #[test]
    fn a_bare_name_has_its_path_and_nothing_else() {
        for (name, is) in [
            ("chat_push", "chat_push"),
            ("raw_alloc.isra.0", "raw_alloc"),
            ("a::B::f(int, char const*) const", "a::B::f"),
            ("char* MallocT<char>(unsigned long)", "MallocT"),
            ("operator new(unsigned long)", "operator new"),
            ("operator new[](unsigned long)", "operator new[]"),
            ("game::Pool::operator()(int)", "game::Pool::operator()"),
            ("(anonymous namespace)::grow(int)", "(anonymous namespace)::grow"),
            ("<pong::Chat as core::clone::Clone>::clone", "<pong::Chat as core::clone::Clone>::clone"),
            ("std::vector<std::pair<int, int> > a::all<B>(int)", "a::all"),
            ("tokio::task::poll::<F>", "tokio::task::poll"),
            ("CowData<int>::_copy_on_write()", "CowData::_copy_on_write"),
            ("f(int) [clone .constprop.0]", "f"),
            ("JS:^keep /srv/chat.js:2:20", "JS:^keep /srv/chat.js:2:20"),
            (
                "long jdk.internal.misc.Unsafe.allocateMemory0(long)",
                "jdk.internal.misc.Unsafe.allocateMemory0",
            ),
        ] {
            assert_eq!(bare(name), is);
        }
    }
}
