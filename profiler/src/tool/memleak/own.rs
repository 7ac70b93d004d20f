//! What a row is named by: the innermost function of the program's own code that is not an allocation wrapper.

mod named;
mod unique;
mod wrappers;

use std::collections::HashSet;

use crate::{
    naming::{self, Call, Kind},
    text::Text,
};

pub(super) use named::Named;
pub(super) use unique::labels;

/// What a stack is named by, and where that is. Two stacks with the same `function`, `file` and `line` were allocated at
/// the same site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// What the row shows: the function as people write it.
    pub(super) label: Text,
    /// The function; for code without a name its file and address, `server+0x1eae98`.
    pub(super) function: Text,
    /// The program file that it is in; `None` for code that was made at run time.
    pub(super) module: Option<Text>,
    /// Its source file, if known.
    pub(super) file: Option<Text>,
    /// The line in it, of the call that leads to the allocation, if known.
    pub(super) line: Option<u32>,
    /// Who called it, the same way; `None` if nobody is known.
    pub(super) caller: Option<Text>,
    /// The address of the call, as the program file counts.
    pub(super) address: Option<u64>,
    /// The allocation wrappers further in, the innermost first.
    pub(super) skipped: Vec<Text>,
}

/// Functions that were found to be allocation wrappers: the program file, and what [`Call::identity`] says.
type Wrappers = HashSet<(Option<Text>, Text)>;

/// Functions of a wrapper between it and the allocator, at most. A name far out may be that of another thing.
const MOST_PARTS: usize = 2;

/// What a stack is named by. `None` for a stack without frames.
///
/// The program's own code comes first, named or not; then, further in before further out, libraries and runtimes; then
/// the standard library, allocation functions, and at last where threads begin.
fn own(calls: &[Call<'_>], wrappers: &Wrappers) -> Option<Own> {
    let mut kinds: Vec<Kind> = calls.iter().map(|call| kind(call, wrappers)).collect();
    pass_over_parts(&mut kinds);
    let chosen = choose(calls, &kinds)?;
    let call = calls.get(chosen)?;
    let function = call.function;
    let passed = calls.iter().zip(&kinds).take(chosen).filter(|(call, kind)| is_notable(call, **kind));
    let mut skipped: Vec<Text> = passed.map(|(call, _)| call.name.clone()).collect();
    skipped.dedup();
    let mut own = Own {
        label: naming::short(call.name),
        function: call.name.clone(),
        module: call.frame.module.clone(),
        file: function.and_then(|function| function.file.clone()),
        line: function.and_then(|function| function.line),
        caller: caller(calls, chosen).map(|caller| caller.name.clone()),
        address: call.frame.file_address,
        skipped,
    };
    // A closure has no name but its number, which is of the function around it: only the line says which is meant.
    if naming::is_nameless(call.name)
        && let Some(line) = own.source_line()
    {
        own.label = unique::beside(call.name, &line);
    }
    Some(own)
}

impl Own {
    /// The line of the call that leads to the allocation: `chat.rs:41`.
    fn source_line(&self) -> Option<Text> {
        let (file, line) = self.file.as_ref().zip(self.line)?;
        let name = file.raw().rsplit(|byte| *byte == b'/').next().unwrap_or(file.raw());
        Some(Text::new([name, format!(":{line}").as_bytes()].concat()))
    }
}

/// What a wrapper that is known by name calls is a part of it: `malloc` ← `ngx_palloc_block`, which is nameless in a
/// stripped file, ← `ngx_palloc`; or the hook by which a library allocates.
fn pass_over_parts(kinds: &mut [Kind]) {
    let of_own = |kinds: &[Kind]| kinds.iter().filter(|kind| **kind == Kind::Own).count();
    // Behind code of others it is something else that calls, such as a runtime that calls a script.
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

/// The call further out of another function.
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

/// Whether the reader may want to hear that a call was passed over: not of `malloc` itself.
fn is_notable(call: &Call<'_>, kind: Kind) -> bool {
    kind == Kind::Wrapper && !call.in_standard_file
}

fn choose(calls: &[Call<'_>], kinds: &[Kind]) -> Option<usize> {
    let of = |wanted: Kind| kinds.iter().position(|kind| *kind == wanted);
    let named = |wanted: Kind| {
        let mut all = calls.iter().zip(kinds);
        all.position(|(call, kind)| *kind == wanted && call.function.is_some())
    };
    // Interpreters keep few names, and libraries those that others call.
    let foreign = || {
        let mut all = calls.iter().zip(kinds);
        all.position(|(call, kind)| match kind {
            Kind::Library => call.function.is_some(),
            kind => *kind == Kind::Interpreter,
        })
    };
    // A wrapper that only the data show is the program's own code all the same.
    let own_wrapper =
        || calls.iter().zip(kinds).rposition(|(call, kind)| call.kind == Kind::Own && *kind == Kind::Wrapper);
    own_call(calls, kinds)
        .or_else(own_wrapper)
        .or_else(foreign)
        .or_else(|| of(Kind::Library))
        .or_else(|| named(Kind::Plumbing))
        .or_else(|| of(Kind::Wrapper))
        .or_else(|| of(Kind::Plumbing))
        .or_else(|| of(Kind::Startup))
}

/// The innermost call of the program's own code. Without debug information nothing tells the crates apart that make up a
/// Rust program, except their names: its own is called as its file is.
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

/// The function of a runtime that code without a name called, if that code was made at run time: its address is of this run
/// only and nobody can look it up, while `Unsafe_AllocateMemory0` tells what kind of memory it is.
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
mod tests {
    use super::*;
    use crate::{
        naming::Catalog,
        report::{Frame, Function, Stack},
    };

    fn frame(module: &str, name: &str, file: Option<&str>) -> Frame {
        Frame { functions: vec![function(name, file)], ..nameless(module, 0x1000) }
    }

    fn function(name: &str, file: Option<&str>) -> Function {
        Function { name: Text::from(name), file: file.map(Text::from), line: None, inlined: false }
    }

    fn nameless(module: &str, address: u64) -> Frame {
        Frame {
            address: 0x7f00_0000_0000 + address,
            module: Some(Text::from(module)),
            build_id: None,
            file_offset: Some(address - 0x800),
            file_address: Some(address),
            function_address: None,
            functions: vec![],
            unresolved: None,
        }
    }

    fn by_data(frames: &[Frame], wrappers: &Wrappers) -> Own {
        let stack = Stack { pid: 1, frames: (0..frames.len()).collect(), incomplete: None };
        own(&Catalog::new(frames).calls(&stack), wrappers).unwrap()
    }

    fn named_of(frames: &[Frame]) -> Own {
        by_data(frames, &Wrappers::new())
    }

    fn named(frames: &[Frame]) -> String {
        named_of(frames).label.terminal()
    }

    #[test]
    fn the_users_function_is_named_not_the_library_below_it() {
        let frames = [
            frame("/usr/lib/libstdc++.so.6", "operator new(unsigned long)", None),
            frame("/srv/pong", "alloc::raw_vec::finish_grow", None),
            frame(
                "/srv/pong",
                "serde_json::to_vec",
                Some("/home/x/.cargo/registry/src/serde_json/src/ser.rs"),
            ),
            frame("/srv/pong", "pong::chat::ChatHistory::push", Some("/src/chat.rs")),
            frame("/srv/pong", "pong::main", None),
        ];
        let found = named_of(&frames);
        assert_eq!(found.label.terminal(), "pong::chat::ChatHistory::push");
        assert_eq!(found.caller, Some(Text::from("pong::main")));
        assert_eq!(found.skipped, []);
        assert_eq!(named(&frames[..3]), "serde_json::to_vec");
        assert_eq!(named(&frames[..1]), "operator new");
    }

    #[test]
    fn code_of_ones_own_without_a_name_is_not_passed_over_for_its_caller() {
        let frames = [
            nameless("/srv/server (deleted)", 0x1e_ae98),
            nameless("/srv/server (deleted)", 0x1e_0000),
            frame("/usr/lib/x86_64-linux-gnu/libc.so.6", "__libc_start_call_main", None),
            frame("/srv/server", "_start", None),
        ];
        let found = named_of(&frames);
        assert_eq!(found.label.terminal(), "server+0x1eae98");
        assert_eq!((found.function, found.address), (found.label, Some(0x1e_ae98)));
        let made = Frame { module: None, file_address: None, file_offset: None, ..nameless("", 0x1000) };
        assert_eq!(named(&[frame("/usr/bin/node", "main", None), made]), "code at 0x7f0000001000");
    }

    #[test]
    fn wrappers_that_everybody_knows_are_skipped_and_listed() {
        let frames = [
            frame("/usr/bin/redis-server", "je_malloc", None),
            frame("/usr/bin/redis-server", "ztrymalloc_usable_internal", None),
            frame("/usr/bin/redis-server", "zmalloc", None),
            frame("/usr/bin/redis-server", "listCreate", None),
            frame("/usr/bin/redis-server", "main", None),
        ];
        let found = named_of(&frames);
        assert_eq!(found.label.terminal(), "listCreate");
        let skipped: Vec<String> = found.skipped.iter().map(Text::terminal).collect();
        assert_eq!(skipped, ["je_malloc", "ztrymalloc_usable_internal", "zmalloc"]);
        // What a wrapper calls is a part of it.
        let nginx = "/usr/sbin/nginx";
        let part = nameless(nginx, 0x2_77b1);
        let request = frame(nginx, "ngx_http_create_request", None);
        let frames_of_pool = [part.clone(), frame(nginx, "ngx_palloc", None), request.clone()];
        let found = named_of(&frames_of_pool);
        assert_eq!((found.label.terminal().as_str(), found.skipped.len()), ("ngx_http_create_request", 2));
        let far = [part.clone(), part.clone(), part, frame(nginx, "ngx_palloc", None), request];
        assert_eq!(named(&far), "nginx+0x277b1");
        // One that only the data show; and if there is nothing else.
        let wrappers = [(frames[3].module.clone(), Text::from("listCreate"))].into_iter().collect();
        assert_eq!(by_data(&frames, &wrappers).label.terminal(), "main");
        assert_eq!(by_data(&frames[..4], &wrappers).label.terminal(), "listCreate");
    }

    #[test]
    fn where_a_thread_begins_is_named_only_if_there_is_nothing_else() {
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        let begin = frame(libc, "start_thread", None);
        let library = frame("/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0", "g_list_append", None);
        let wrapper = frame("/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0", "g_malloc", None);
        assert_eq!(named(&[wrapper.clone(), library.clone(), begin.clone()]), "g_list_append");
        assert_eq!(named(&[wrapper.clone(), begin.clone()]), "g_malloc");
        assert_eq!(named(std::slice::from_ref(&begin)), "start_thread");
        assert_eq!(named(&[wrapper, library, frame("/srv/chat", "main", None), begin]), "main");
        let interpreter = |name| frame("/usr/bin/python3.11", name, None);
        let frames = [interpreter("PyMem_Malloc"), interpreter("list_extend"), interpreter("main")];
        assert_eq!(named(&frames), "list_extend");
        let frames = [nameless("/usr/bin/python3.11", 0x51_0a2b), interpreter("_PyEval_EvalFrameDefault")];
        assert_eq!(named(&frames), "python3.11+0x510a2b");
    }

    #[test]
    fn code_that_a_macro_derived_is_passed_over_for_its_caller() {
        let own = Some("/src/protocol.rs");
        let frames = [
            frame("/srv/pong", "serde_json::ser::format_escaped", Some("/.cargo/registry/src/x/ser.rs")),
            frame("/srv/pong", "pong::protocol::_::<impl serde::Serialize for pong::Hello>::serialize", own),
            frame("/srv/pong", "pong::protocol::encode", own),
        ];
        assert_eq!(named(&frames), "pong::protocol::encode");
    }

    #[test]
    fn a_closure_is_named_by_its_function_and_line() {
        let mut outer = frame("/srv/pong", "pong::server::host::{{closure}}", Some("/src/server.rs"));
        let inner =
            Function { line: Some(133), inlined: true, ..function("{async_fn#0}", Some("/src/server.rs")) };
        outer.functions.insert(0, inner);
        let found = named_of(&[outer.clone()]);
        assert_eq!(found.label.terminal(), "pong::server::host › {async_fn#0}  server.rs:133");
        assert_eq!(found.function.terminal(), "pong::server::host › {async_fn#0}");
    }

    #[test]
    fn a_script_is_named_not_the_runtime_that_runs_it() {
        let made = |name| Frame { module: None, file_offset: None, ..frame("", name, None) };
        let frames = [
            frame("/usr/bin/node", "node::Buffer::New(v8::Isolate*, unsigned long)", None),
            made("Builtin:CallFunction"),
            made("JS:^allocUnsafeSlow node:buffer:414:50"),
            made("JS:^keepFrames /srv/chat.js:2:20"),
        ];
        assert_eq!(named(&frames), "keepFrames /srv/chat.js:2:20");
        let frames = [
            frame("/usr/lib/jvm/lib/server/libjvm.so", "Unsafe_AllocateMemory0", None),
            made("long jdk.internal.misc.Unsafe.allocateMemory0(long)"),
            made("java.lang.String game.Chat.keep(int, java.lang.String)"),
            made("StubRoutines (1)"),
        ];
        assert_eq!(named(&frames), "game.Chat.keep");
        // Without names of what was made at run time, the runtime's function says more than an address of this run.
        let nameless = Frame { functions: vec![], ..made("") };
        let runtime = |name| frame("/usr/lib/jvm/lib/server/libjvm.so", name, None);
        let frames = [runtime("os::malloc"), runtime("Unsafe_AllocateMemory0"), nameless.clone()];
        assert_eq!(named(&frames), "Unsafe_AllocateMemory0");
        let frames = [runtime("os::malloc"), nameless.clone(), runtime("thread_entry")];
        assert_eq!(named(&frames), "os::malloc");
        assert_eq!(named(&[nameless.clone(), runtime("thread_entry")]), naming::place(&nameless).terminal());
        // A server of one's own that has a runtime in it.
        // An allocation of the runtime that ran the script, further out.
        let node = |name| frame("/usr/bin/node", name, None);
        let frames = [node("node::Buffer::New()"), made("JS:*keep /srv/chat.js:2:20"), node("node::Malloc")];
        assert_eq!(named(&frames), "keep /srv/chat.js:2:20");
        let frames =
            [frame("/srv/node-server", "Chat::keep()", None), made("JS:^onMessage /srv/chat.js:9:1")];
        assert_eq!(named(&frames), "Chat::keep");
    }

    #[test]
    fn without_debug_information_the_crate_of_the_program_is_preferred() {
        let mut frames = vec![
            frame("/srv/game-server (deleted)", "alloc::raw_vec::finish_grow", None),
            frame("/srv/game-server (deleted)", "tungstenite::protocol::read", None),
            frame("/srv/game-server (deleted)", "<game_server::Room as tower::Service>::call", None),
            frame("/srv/game-server (deleted)", "game_server::main", None),
        ];
        assert_eq!(named(&frames), "<game_server::Room as tower::Service>::call");
        // Debug information outweighs names: `tungstenite` is not from the registry here, but the user's own.
        frames[1] = frame("/srv/game-server (deleted)", "tungstenite::protocol::read", Some("/src/read.rs"));
        assert_eq!(named(&frames), "tungstenite::protocol::read");
        // A C program: there are no crates.
        let frames = [frame("/srv/server", "pool_grow", None), frame("/srv/server", "Server::tick()", None)];
        assert_eq!(named(&frames), "pool_grow");
    }
}
