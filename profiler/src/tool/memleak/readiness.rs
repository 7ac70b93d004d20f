//! Whether `memleak` can observe a process, and what it would do.

use super::{allocators, args, canary, load::OBJECT, options::Options, plan::Allocators, price::taken};
use crate::{
    capture::{cost::prices::Traps, uprobe::Method},
    error::Result,
    observe::{
        admission,
        functions::{self, Probes, refusals::check},
        settings::DEFAULT_MAX_COST,
        space::Space,
    },
    target::{modules::Modules, process::Process},
    tool::{
        About,
        foresight::{AllocatorFound, Forecast, Foresight, Site},
    },
};

/// What to do with a Go program.
pub(super) const FOR_GO: &str = "go tool pprof http://HOST/debug/pprof/heap";

/// The tool, as the registry has it.
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
    finds_leaks: true,
    has_uprobes: true,
    probes_calls: false,
    object: OBJECT,
    trial: |method| canary::try_out(method).map(|()| Vec::new()),
    foresee,
    predict,
};

/// What it would do with a process. `method`: the best way of attaching that works here, if any.
fn foresee(process: Process, modules: &mut Modules, method: Option<Method>) -> Result<Foresight> {
    let options = Options::default();
    let check = |space: &Space, modules: &Modules| check(space, modules, FOR_GO);
    let foresight = functions::foresee(process, modules, method, &Allocators::of(&options), check)?;
    Ok(Foresight { allocators: found(&foresight.sites), ..foresight })
}

/// What it would cost the process, with the default options.
fn predict(
    process: Process,
    modules: &mut Modules,
    method: Method,
    traps: &Traps,
) -> Result<Option<Forecast>> {
    let pid = process.pid();
    let options = Options::default();
    let mut space = Space::new(0, process, modules)?;
    let mut probes = Probes::default();
    probes.plan(&mut space, modules, &Allocators::of(&options));
    admission::predict(probes.passed(pid), method, traps, &taken(&options), Some(DEFAULT_MAX_COST))
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
