//! What the first line about each server must say, and what no first line may say.
//!
//! Each expectation was judged by hand once: from the server's source, and from what it did while it was observed.

use super::observe::Answer;

/// The right answer about one server.
pub(super) struct Expected {
    /// The server's name.
    server: &'static str,
    /// What is found: any of these.
    rules: &'static [&'static str],
    /// The first name in the sentence contains one of these. Empty: any name that is allowed at all, or none.
    names: &'static [&'static str],
    /// Why this is right, for the table.
    pub(super) because: &'static str,
}

const LEAK: &[&str] = &["memleak.leak"];
const NO_LEAK: &[&str] = &["memleak.clean"];
/// What grows does not grow for ever, but that cannot be known in so short a time; a leak is the right answer to a
/// wrong `--older`.
const STILL_FILLING: &[&str] =
    &["memleak.leak", "memleak.undecided", "memleak.clean", "memleak.unexplained_growth"];

const EXPECTED: &[Expected] = &[
    Expected {
        server: "pong",
        rules: LEAK,
        names: &["ChatHistory::push"],
        because: "it was told to leak there",
    },
    Expected {
        server: "minetestserver",
        rules: STILL_FILLING,
        names: &["minetestserver+0x"],
        because: "the heap and the cache of its database fill with new parts of the world, and the program has no names",
    },
    Expected {
        server: "freeciv-server",
        rules: STILL_FILLING,
        names: &["freeciv-server+0x"],
        because: "the game grows by little with each turn: in 15s too little is old enough to judge; the program has no names",
    },
    Expected {
        server: "openttd",
        rules: STILL_FILLING,
        names: &["Layouter"],
        because: "nothing but the cache of laid out text grows, while towns get new names",
    },
    Expected {
        server: "teeworlds-server",
        rules: &["memleak.nothing_seen"],
        names: &[],
        because: "without players it allocates nothing",
    },
    Expected { server: "redis-server", rules: NO_LEAK, names: &[], because: "all keys are there soon" },
    Expected { server: "redis-server-P16", rules: NO_LEAK, names: &[], because: "all keys are there soon" },
    Expected {
        server: "mariadbd",
        rules: STILL_FILLING,
        names: &["MDL_", "mariadbd+0x", "tpool::", "handler::"],
        because: "the pool of pages, which it maps itself, fills while the load begins, and so does the table of locks (`MDL_map`)",
    },
    Expected {
        server: "nginx",
        rules: NO_LEAK,
        names: &[],
        because: "what a request takes is freed with it",
    },
    Expected {
        server: "node",
        rules: LEAK,
        names: &["node::Buffer::"],
        because: "a `Buffer` is made there; JavaScript functions have no names without an option",
    },
    Expected {
        server: "java",
        rules: LEAK,
        names: &["Unsafe_AllocateMemory0"],
        because: "this is where direct buffers get their memory; Java methods have no names without an option",
    },
    Expected {
        server: "luajit",
        rules: LEAK,
        names: &["LuaJIT code+0x"],
        because: "the block is got by compiled Lua code, which has no name and no caller that can be found",
    },
];

/// Names that do not show who keeps the memory: wrappers of an allocator, and what starts a program or a thread.
const USELESS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "zmalloc",
    "zcalloc",
    "zrealloc",
    "zmalloc_usable",
    "zmalloc_no_tcache",
    "ztrymalloc_usable",
    "my_malloc",
    "my_realloc",
    "my_multi_malloc",
    "alloc_root",
    "ut_allocator",
    "os::malloc",
    "os::realloc",
    "AllocateHeap",
    "palloc",
    "ngx_alloc",
    "ngx_calloc",
    "ngx_palloc",
    "ngx_pnalloc",
    "ngx_pcalloc",
    "ngx_palloc_large",
    "ngx_create_pool",
    "g_malloc",
    "xmalloc",
    "fc_real_malloc",
    "fc_real_calloc",
    "fc_real_realloc",
    "mem_alloc",
    "operator new",
    "std::allocator",
    "new_allocator",
    "allocate",
    "_M_allocate",
    "__rust_alloc",
    "alloc::alloc::alloc",
    "alloc::raw_vec::finish_grow",
    "__libc_start_call_main",
    "__libc_start_main",
    "__libc_start_main_impl",
    "_start",
    "start_thread",
    "clone",
    "clone3",
    "__clone3",
    "main",
    "a function without a name",
];

/// Everything that is wrong with an answer; empty if it is right.
pub(super) fn faults(server: &str, answer: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    for name in &answer.names {
        if let Some(useless) = USELESS.iter().find(|useless| is_function(name, useless)) {
            faults.push(format!("names `{useless}`, which explains nothing"));
        }
    }
    if answer.text.contains("without a name") {
        faults.push("names a function without a name".into());
    }
    if !answer.stepped_over.is_empty() {
        let frames = answer.stepped_over.join(", ");
        faults.push(format!("blames the caller of code without a name ({frames})"));
    }
    let Some(expected) = of(server) else {
        faults.push("nobody has judged what is right".into());
        return faults;
    };
    if !expected.rules.contains(&answer.rule.as_str()) {
        faults.push(format!("finds {}, not {}", answer.rule, expected.rules.join(" or ")));
    }
    match answer.names.first() {
        Some(first)
            if !expected.names.is_empty() && !expected.names.iter().any(|name| first.contains(name)) =>
        {
            faults.push(format!("names {first} first, not {}", expected.names.join(" or ")));
        }
        None if answer.rule == LEAK[0] => faults.push("finds a leak and names nothing".into()),
        _ => {}
    }
    faults
}

/// What is right about a server.
pub(super) fn of(server: &str) -> Option<&'static Expected> {
    EXPECTED.iter().find(|expected| expected.server == server)
}

/// Whether `name` is this function, whatever its arguments, return type and place are.
fn is_function(name: &str, function: &str) -> bool {
    // `push  chat.rs:12`: the place comes behind the name.
    let name = name.split("  ").next().unwrap_or(name);
    let bare = without_brackets(name);
    let bare = bare.trim();
    let unqualified = bare.rsplit("::").next().unwrap_or(bare);
    bare == function || unqualified == function || bare.ends_with(&format!("::{function}"))
}

/// A name without its arguments and the parameters of its templates.
fn without_brackets(name: &str) -> String {
    let mut depth = 0_u32;
    let mut bare = String::new();
    for c in name.chars() {
        match c {
            '(' | '<' | '[' => depth += 1,
            ')' | '>' | ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => bare.push(c),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rule: &str, name: &str) -> Answer {
        Answer {
            rule: rule.into(),
            text: format!("LEAK: {name} grows."),
            names: vec![name.into()],
            stepped_over: Vec::new(),
        }
    }

    #[test]
    fn the_right_answer_has_no_fault() {
        assert_eq!(faults("pong", &answer("memleak.leak", "pong::chat::ChatHistory::push")), [""; 0]);
    }

    #[test]
    fn a_wrong_verdict_and_a_wrong_name_are_faults() {
        let found = faults("pong", &answer("memleak.clean", "Session::connect"));
        assert_eq!(
            found,
            ["finds memleak.clean, not memleak.leak", "names Session::connect first, not ChatHistory::push"]
        );
    }

    #[test]
    fn a_useless_name_is_a_fault_wherever_it_stands() {
        for name in [
            "zmalloc",
            "os::malloc(unsigned long, MemoryType)",
            "operator new(unsigned long)",
            "std::allocator<char>::allocate(unsigned long)",
            "__libc_start_call_main",
            "main  server.c:12",
        ] {
            let mut answer = answer("memleak.leak", "ChatHistory::push");
            answer.names.push(name.into());
            assert_eq!(faults("pong", &answer).len(), 1, "{name}");
        }
        for name in ["domain", "remain(main)", "ngx_http_alloc_large_header_buffer", "Pool<malloc>::get"] {
            let mut answer = answer("memleak.leak", "ChatHistory::push");
            answer.names.push(name.into());
            assert_eq!(faults("pong", &answer), [""; 0], "{name}");
        }
    }

    #[test]
    fn to_step_over_unnamed_code_and_to_name_nothing_are_faults() {
        let mut stepped = answer("memleak.leak", "ChatHistory::push");
        stepped.stepped_over = vec!["0x1234".into()];
        assert_eq!(faults("pong", &stepped), ["blames the caller of code without a name (0x1234)"]);
        let unnamed = Answer {
            text: "LEAK: a function without a name grows.".into(),
            names: vec!["ChatHistory::push".into()],
            ..answer("memleak.leak", "")
        };
        assert_eq!(faults("pong", &unnamed), ["names a function without a name"]);
    }

    #[test]
    fn a_server_that_nobody_judged_is_a_fault() {
        assert_eq!(faults("new", &answer("memleak.leak", "f")), ["nobody has judged what is right"]);
    }
}
