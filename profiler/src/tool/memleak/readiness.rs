//! Whether `memleak` can observe a process, and what it would do.

use super::{
    admission, allocators, args, canary, harm,
    load::OBJECT,
    options::Options,
    probes::{Preview, Probes, check},
};
use crate::{
    capture::{cost::prices::Traps, uprobe::Method},
    error::{Error, Result},
    observe::{settings::Targets, space::Space},
    target::{modules::Modules, process::Process},
    tool::{
        About,
        foresight::{AllocatorFound, Forecast, Foresight, Site},
    },
};

/// The tool, for those who ask what there is.
pub(crate) const ABOUT: About = About {
    name: "memleak",
    question: "Which call stacks allocate memory that is never freed?",
    sees: &[
        "every call of malloc, calloc, realloc and the like, of free, and of C++ new and delete that have memory of \
         their own: of glibc, musl, jemalloc, tcmalloc and mimalloc, dynamic or static, by their symbols",
        "pools of your own, named by --alloc-fn and --free-fn",
    ],
    cannot_see: &[
        "what was allocated before it was attached: releases of it are counted, its stacks are unknown",
        "memory taken from the kernel directly (mmap, brk): heaps of garbage collectors, engines and Wine, file caches",
        "child processes, without --children",
        "programs of Go and 32-bit programs: they are refused",
    ],
    example: "sudo profiler memleak --pid 4242 --older 30m",
    explained: "profiler follows every allocation and release from now on. Once blocks are\n\
        older than --older, it tells stacks that leak from caches, long-lived state\n\
        and churn.",
    options: args::options,
    make: args::make,
    has_uprobes: true,
    probes_calls: false,
    object: OBJECT,
    trial: canary::try_out,
    foresee,
    predict,
};

/// What it would do with a process. `method`: the best way of attaching that works here, if one does.
fn foresee(process: Process, modules: &mut Modules, method: Option<Method>) -> Result<Foresight> {
    let pid = process.pid();
    let mut space = Space::new(0, process, modules)?;
    let mut probes = Probes::default();
    let checked = check(&space, modules);
    let has_sessions = method == Some(Method::Session);
    let Preview { sites, refused } = probes.preview(&mut space, modules, &Options::default(), has_sessions);
    let nothing = || sites.iter().all(|site| site.left_out.is_some()).then(|| probes.nothing_to_probe(pid));
    let targets = Targets::Pids(vec![pid]);
    let copies = || harm::refuse_what_copies_its_code(&probes, &space.process, modules, &targets).err();
    let refused: Option<Error> = checked.err().or(refused).or_else(nothing).or_else(copies);
    // What is refused is not probed.
    let sites = if refused.is_some() { Vec::new() } else { sites };
    let notes = std::mem::take(&mut space.notes);
    Ok(Foresight { allocators: found(&sites), sites, refused, notes })
}

/// What it would cost the process, with the default options.
fn predict(
    process: Process,
    modules: &mut Modules,
    method: Method,
    traps: &Traps,
) -> Result<Option<Forecast>> {
    let pid = process.pid();
    let mut space = Space::new(0, process, modules)?;
    let mut probes = Probes::default();
    probes.plan(&mut space, modules, &Options::default());
    admission::predict(probes.passed(pid), method, traps)
}

/// The allocators behind these sites, one per file.
fn found(sites: &[Site]) -> Vec<AllocatorFound> {
    let mut found: Vec<AllocatorFound> = Vec::new();
    for module in sites.iter().map(|site| &site.module) {
        if found.iter().any(|known| known.module == *module) {
            continue;
        }
        let functions: Vec<String> =
            sites.iter().filter(|site| site.module == *module).map(|site| site.function.terminal()).collect();
        let name = allocators::family(&module.terminal(), &functions).to_owned();
        found.push(AllocatorFound { name, module: module.clone(), functions: functions.len() as u64 });
    }
    found
}
