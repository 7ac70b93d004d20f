//! Names as people write them.

use std::borrow::Cow;

use super::files;
use crate::{
    report::{Frame, Function},
    text::Text,
};

/// Written between a function and the one that it was inlined into.
const INSIDE: &str = " › ";

/// The name of a function of a frame; `None` if the frame has no such function.
///
/// Debug information calls a closure `{closure#0}` and, cut down to line tables, `server::Rooms::push` just `push`. The
/// name of an inlined function says little without the function that it was inlined into: `server::host ›
/// {async_fn#0}`. If that outer function is other people's code, the module of the source file is named in its place.
pub fn spelled(frame: &Frame, nth: usize) -> Option<Text> {
    let function = frame.functions.get(nth)?;
    let name = readable(&function.name);
    if function.inlined && !has_path(&name) {
        let outer = frame.functions.iter().skip(nth + 1).find(|outer| has_path(&readable(&outer.name)));
        // Without an outer function it is a language without paths.
        if let Some(outer) = outer {
            return Some(Text::from(inside(function, outer)));
        }
    }
    if let Some(written) =
        lambda(&name).or_else(|| script(&name)).or_else(|| python(&name)).or_else(|| hidden_class(&name))
    {
        return Some(Text::from(written));
    }
    let (path, is_closure) = without_closures(without_copy(&name));
    Some(if is_closure && !path.is_empty() {
        // Code that the compiler made of an `async fn` or a closure: the function that contains it is named.
        Text::from(format!("{path}{INSIDE}{{closure}}"))
    } else if name.len() > without_copy(&name).len() {
        Text::from(without_copy(&name))
    } else {
        function.name.clone()
    })
}

/// A lambda of C++, `f(int)::{lambda(int)#1}::operator()(int) const`, as `f › {lambda#1}`.
fn lambda(name: &str) -> Option<String> {
    let (function, rest) = name.split_once("::{lambda(")?;
    let (head, _) = rest.split_once("}::operator()")?;
    let number = head.rsplit_once('#').map_or("", |(_, number)| number);
    Some(format!("{}{INSIDE}{{lambda#{number}}}", bare(function)))
}

/// The kind of code, which V8 writes before the names of JavaScript functions. Node.js 18 and older has one for each
/// kind.
const V8_KINDS: &[&str] = &["JS:", "LazyCompile:", "Function:", "InterpretedFunction:", "Eval:", "Script:"];
/// The mark after it: which of V8's compilers made the code. One function is compiled by several, one after the other.
const V8_TIERS: &[char] = &['*', '^', '~', '+', '\''];

/// A function of JavaScript: `JS:*push /srv/chat.js:4:1` is `push /srv/chat.js:4:1`.
fn script(name: &str) -> Option<String> {
    let rest = V8_KINDS.iter().find_map(|kind| name.strip_prefix(kind))?.trim_start_matches(V8_TIERS);
    let anonymous = if rest.starts_with(' ') { "(anonymous)" } else { "" };
    Some(format!("{anonymous}{rest}"))
}

/// A function of Python: `py::push:/srv/chat.py` is `push /srv/chat.py`.
fn python(name: &str) -> Option<String> {
    let (function, file) = name.strip_prefix("py::")?.split_once(':')?;
    Some(format!("{function} {file}"))
}

/// A method of a class that the JVM made for a lambda, `void Chat$$Lambda$1/0x00007fcfa4000a08.run()`, without the
/// address in it, which differs in each run.
fn hidden_class(name: &str) -> Option<String> {
    let (class, rest) = name.split_once("/0x")?;
    let method = rest.get(rest.find('.')?..)?;
    let is_numbered = class.ends_with(|c: char| c.is_ascii_digit());
    (is_numbered && class.contains("$$Lambda$")).then(|| format!("{class}{method}"))
}

/// The name of a function without a path that was inlined into `outer`.
fn inside(function: &Function, outer: &Function) -> String {
    let whole = readable(&function.name);
    let name = bare(&whole);
    if is_program(function) == is_program(outer) {
        return format!("{}{INSIDE}{name}", without_closures(&bare(&readable(&outer.name))).0);
    }
    match function.file.as_ref().and_then(|file| module_of_source(&readable(file))) {
        Some(module) if name.starts_with('{') => format!("{module}{INSIDE}{name}"),
        Some(module) => format!("{module}::{name}"),
        None => name,
    }
}

/// Whether a function's source says that it is the program's own.
fn is_program(function: &Function) -> bool {
    function.file.as_ref().is_some_and(|file| files::source(&readable(file)) == files::Source::Program)
}

/// The module of a Rust source file: `pong::server` of `/src/pong/src/server.rs`, and `alloc::vec` of
/// `/rustc/…/library/alloc/src/vec/mod.rs`.
fn module_of_source(path: &str) -> Option<String> {
    let (before, inside) = path.strip_suffix(".rs")?.rsplit_once("/src/")?;
    let folder = before.rsplit('/').next()?;
    // The directory of a package from the registry ends in its version.
    let package = match folder.rsplit_once('-') {
        Some((package, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => package,
        _ => folder,
    };
    let mut parts: Vec<&str> = inside.split('/').collect();
    let package = if parts.first() == Some(&"bin") && parts.len() > 1 {
        parts.remove(0);
        parts.remove(0)
    } else {
        package
    };
    let modules = parts.into_iter().filter(|part| !matches!(*part, "mod" | "lib" | "main"));
    let package = package.replace('-', "_");
    Some(std::iter::once(package.as_str()).chain(modules).collect::<Vec<_>>().join("::"))
}

/// Whether a name stands for something without a name in the source: a closure, an `async` block.
pub fn is_nameless(name: &Text) -> bool {
    let name = readable(name);
    let last = name.rsplit(INSIDE).next().unwrap_or(&name);
    (last.starts_with('{') && last.ends_with('}')) || last == "operator()"
}

/// A name without result and arguments. Type parameters stay.
pub fn short(name: &Text) -> Text {
    let text = readable(name);
    if matches!(text, Cow::Owned(_)) || text.contains(INSIDE) {
        return name.clone();
    }
    Text::from(without_result_and_arguments(without_copy(&text)))
}

/// Cuts result and arguments. A name without arguments has no result either: its spaces belong to it (`counter_overflow
/// Runtime1 stub`).
fn without_result_and_arguments(name: &str) -> &str {
    let without = without_arguments(name);
    if without.len() == name.len() {
        return name;
    }
    without.get(result_ends(without)..).unwrap_or(without)
}

/// A name as text, lossily. A name that is not UTF-8 is not spelled in another way.
fn readable(name: &Text) -> Cow<'_, str> {
    String::from_utf8_lossy(name.raw())
}

/// Without the marks that a compiler appends to parts and copies of a function.
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

/// A name without result, arguments, type parameters and marks of the compiler: `void a::B<T>::f<U>(int) const [clone
/// .cold]` is `a::B::f`.
pub fn bare(name: &str) -> String {
    let name = name.split(" [clone").next().unwrap_or(name);
    without_parameters(without_suffix(without_result_and_arguments(name)))
}

/// Without the type parameters after a name. Angle brackets at its beginning belong to it: `<T as Trait>::f`.
fn without_parameters(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut depth = 0_u32;
    let mut previous = ' ';
    for c in name.chars() {
        let operator = out.ends_with("operator") || out.ends_with("operator<");
        if c == '<' && !operator && (depth > 0 || previous.is_alphanumeric() || "_:)}".contains(previous)) {
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

/// Up to the parenthesis of the arguments, at the outermost level.
fn without_arguments(name: &str) -> &str {
    if has_spaces(name) {
        return name;
    }
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

/// Where the type of the result ends, which C++ puts before the names of templates.
fn result_ends(name: &str) -> usize {
    let mut depth = 0_u32;
    let mut ends = 0;
    for (at, c) in name.char_indices() {
        let before = name.get(..at).unwrap_or_default();
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' if before.ends_with(['-', '=']) => {}
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            // `operator new` and `<T as Trait>` have spaces of their own.
            ' ' if depth == 0 && !before.ends_with("operator") && !has_spaces(name) => ends = at + 1,
            _ => {}
        }
    }
    ends
}

/// Whether spaces are part of a name: in JavaScript (`push /srv/chat.js:4:1`), and in what is shown in place of a name.
fn has_spaces(name: &str) -> bool {
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut parts = name.rsplit(':');
    let is_place = is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some();
    is_place || name.contains(" code+0x") || name.starts_with("code at ") || name.contains(" at 0x")
}

/// Without the suffixes that a compiler appends to parts and copies of a function: `.cold`, `.isra.0`, `.constprop.3`.
fn without_suffix(name: &str) -> &str {
    const SUFFIXES: &[&str] =
        &[".cold", ".isra.", ".constprop.", ".part.", ".lto_priv.", ".localalias", ".llvm."];
    let ends = SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min();
    ends.map_or(name, |ends| name.get(..ends).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            function_address: None,
            unloaded: false,
            made: None,
            functions: names.iter().enumerate().map(function).collect(),
            unresolved: None,
        }
    }

    #[test]
    fn an_inlined_function_without_a_path_is_named_with_its_outer_function() {
        for (names, is) in [
            (&["{async_fn#0}", "pong::server::host::{{closure}}"][..], "pong::server::host › {async_fn#0}"),
            (&["{closure#1}", "push", "pong::room::Room::tick"], "pong::room::Room::tick › {closure#1}"),
            (&["push", "game::Room::tick(int, std::vector<int>)"], "game::Room::tick › push"),
            (&["pong::chat::push", "pong::room::tick"], "pong::chat::push"),
            // C has no paths.
            (&["chat_push", "main"], "chat_push"),
            (&["pong::server::host::{{closure}}::{{closure}}"], "pong::server::host › {closure}"),
            (
                &["game::Server::tick(int)::{lambda(int)#1}::operator()[abi:cxx11](int) const"],
                "game::Server::tick › {lambda#1}",
            ),
            (&["JS:*push /srv/chat.js:4:1"], "push /srv/chat.js:4:1"),
            (&["JS:^ /srv/chat.js:4:1"], "(anonymous) /srv/chat.js:4:1"),
            (&["py::push:/srv/chat.py"], "push /srv/chat.py"),
            (&["py::<module>:/srv/chat.py"], "<module> /srv/chat.py"),
            (&["LazyCompile:*push /srv/chat.js:4:1"], "push /srv/chat.js:4:1"),
            (&["Function:~push /srv/chat.js:4:1"], "push /srv/chat.js:4:1"),
            (&["void Field$$Lambda$1/0x00007fcfa4000a08.run()"], "void Field$$Lambda$1.run()"),
            // All lambdas would have one name.
            (&["void Field$$Lambda/0x00007fcfa4000a08.run()"], "void Field$$Lambda/0x00007fcfa4000a08.run()"),
            (&["raw_alloc.isra.0"], "raw_alloc"),
            (&["Room::tick(int) [clone .cold]"], "Room::tick(int)"),
            (&["{{closure}}"], "{{closure}}"),
        ] {
            assert_eq!(spelled(&frame(names), 0), Some(Text::from(is)));
        }
        assert_eq!(spelled(&frame(&[]), 0), None);
    }

    #[test]
    fn inside_foreign_code_the_module_is_named() {
        let named = |name: &str, file: &str, outer: (&str, &str)| {
            let mut frame = frame(&[name, outer.0]);
            frame.functions[0].file = Some(Text::from(file));
            frame.functions[1].file = Some(Text::from(outer.1));
            spelled(&frame, 0).unwrap().terminal()
        };
        let tokio = (
            "tokio::time::Timeout<T>::poll",
            "/home/a/.cargo/registry/src/x/tokio-1.54.1/src/time/timeout.rs",
        );
        let own = ("pong::room::tick", "/home/a/pong/src/room.rs");
        let server = "/home/a/examples/src/bin/pong/server.rs";
        assert_eq!(named("{async_block#0}", server, tokio), "pong::server › {async_block#0}");
        let vec = "/rustc/59807616e1/library/alloc/src/vec/mod.rs";
        assert_eq!(named("with_capacity<u8, alloc::alloc::Global>", vec, own), "alloc::vec::with_capacity");
        assert_eq!(named("push<game::Room>", "/home/a/pong/src/chat.rs", own), "pong::room::tick › push");
        // No source of Rust.
        assert_eq!(named("push", "/home/a/pong/chat.h", tokio), "push");
        for (path, module) in [
            ("/x/tokio-tungstenite-0.30.0/src/lib.rs", Some("tokio_tungstenite")),
            ("/x/game/src/net/session.rs", Some("game::net::session")),
            ("/x/game/src/bin/tool.rs", Some("tool")),
            ("/x/game/build.rs", None),
        ] {
            assert_eq!(module_of_source(path).as_deref(), module);
        }
    }

    #[test]
    fn a_short_name_has_no_arguments() {
        for (name, is) in [
            ("game::Pool<game::Player>::make(int)", "game::Pool<game::Player>::make"),
            ("java.lang.String game.Chat.keep(int, java.lang.String)", "game.Chat.keep"),
            ("JS:^keep /srv/chat.js:2:20", "JS:^keep /srv/chat.js:2:20"),
            ("counter_overflow Runtime1 stub", "counter_overflow Runtime1 stub"),
            ("StubRoutines (1)", "StubRoutines (1)"),
            ("push /srv/chat.js:4:1", "push /srv/chat.js:4:1"),
            ("(anonymous) /srv/chat.js:4:1", "(anonymous) /srv/chat.js:4:1"),
            ("wrapped+0x11a2", "wrapped+0x11a2"),
            ("code at 0x7f21", "code at 0x7f21"),
            ("LuaJIT code+0xff76", "LuaJIT code+0xff76"),
            ("<module> /srv/chat.py", "<module> /srv/chat.py"),
            ("a::b › {async_fn#0}", "a::b › {async_fn#0}"),
        ] {
            assert_eq!(short(&Text::from(name)), Text::from(is));
        }
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
