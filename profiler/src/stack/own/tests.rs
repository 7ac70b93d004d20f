use super::*;
use crate::{
    naming::Catalog,
    report::{Frame, Function, Made, Stack},
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
        unloaded: false,
        made: None,
        functions: vec![],
        unresolved: None,
    }
}

fn by_data(frames: &[Frame], wrappers: &Wrappers) -> Own {
    let stack = Stack { pid: 1, frames: (0..frames.len()).collect(), ..Stack::default() };
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
        frame("/srv/pong", "serde_json::to_vec", Some("/home/x/.cargo/registry/src/serde_json/src/ser.rs")),
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
fn own_code_without_a_name_is_not_skipped() {
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
fn known_wrappers_are_skipped_and_listed() {
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
fn the_start_of_a_thread_is_named_only_if_there_is_nothing_else() {
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
fn code_that_a_macro_derived_is_skipped() {
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
fn a_method_of_the_program_is_named_instead_of_the_jdk_below_it() {
    let made = |name| Frame { module: None, file_offset: None, ..frame("", name, None) };
    let jvm = |name| frame("/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so", name, None);
    let inner = [
        jvm("os::malloc(unsigned long, MEMFLAGS)"),
        jvm("Unsafe_AllocateMemory0"),
        made("long jdk.internal.misc.Unsafe.allocateMemory0(long)"),
        made("long jdk.internal.misc.Unsafe.allocateMemory(long)"),
    ];
    let outer = [
        made("Interpreter"),
        made("StubRoutines (1)"),
        jvm("JavaCalls::call_virtual(JavaValue*, Handle, Klass*, Symbol*, Symbol*, JavaThread*)"),
        jvm("thread_entry(JavaThread*, JavaThread*)"),
        jvm("thread_native_entry(Thread*)"),
    ];
    let method = "void Field$$Lambda$1/0x00007fcfa4000a08.run()";
    let own = [made("void java.nio.DirectByteBuffer.<init>(int)"), made(method)];
    let library = [made("boolean java.util.concurrent.FutureTask.runAndReset()")];
    assert_eq!(named(&[&inner[..], &own, &library, &outer].concat()), "Field$$Lambda$1.run");
    // Compiled code keeps no frame pointer without an option, and who called is not known.
    assert_eq!(named(&[&inner[..], &outer].concat()), "jdk.internal.misc.Unsafe.allocateMemory");
    let stub = [made("counter_overflow Runtime1 stub")];
    let frames = [&[jvm("AllocateHeap"), jvm("CompileQueue::add")][..], &stub, &outer].concat();
    assert_eq!(named(&frames), "CompileQueue::add");
}

#[test]
fn a_script_is_named_instead_of_its_runtime() {
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
    // If stacks end there, the row says what is missing.
    let by = |name: &str, offset| {
        let made = Some(Made { by: Some(name.to_owned()), offset });
        Frame { made, ..nameless.clone() }
    };
    let frames = [runtime("os::malloc"), runtime("Unsafe_AllocateMemory0"), by("Java", 0x40)];
    assert_eq!(named(&frames), "Unsafe_AllocateMemory0  its Java callers cannot be seen");
    let method = Frame {
        functions: vec![function("long jdk.internal.misc.Unsafe.allocateMemory(long)", None)],
        ..by("Java", 0x40)
    };
    let frames = [runtime("os::malloc"), runtime("Unsafe_AllocateMemory0"), method];
    assert_eq!(named(&frames), "jdk.internal.misc.Unsafe.allocateMemory  its Java callers cannot be seen");
    let own = Frame { functions: vec![function("void game.Chat.keep(int)", None)], ..by("Java", 0x40) };
    assert_eq!(named(&[runtime("os::malloc"), own]), "game.Chat.keep");
    // Code that no runtime's function stands for is called by its runtime, and two pieces of it differ.
    assert_eq!(named(&[by("LuaJIT", 0xff76)]), "LuaJIT code+0xff76");
    assert_eq!(named(&[by("LuaJIT", 0xfe5a)]), "LuaJIT code+0xfe5a");
    // The runtime that ran the script also allocates, further out.
    let node = |name| frame("/usr/bin/node", name, None);
    let frames = [node("node::Buffer::New()"), made("JS:*keep /srv/chat.js:2:20"), node("node::Malloc")];
    assert_eq!(named(&frames), "keep /srv/chat.js:2:20");
    // A server of the user's own that embeds a runtime.
    let frames = [frame("/srv/node-server", "Chat::keep()", None), made("JS:^onMessage /srv/chat.js:9:1")];
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
