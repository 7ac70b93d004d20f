//! Attaching programs to functions of a running process.
//!
//! The best way that the kernel supports is used: a *session* (one program for entry and return, and the return can be
//! skipped), else *multi* links (many sites, one link), else one perf event per site, which is slow to detach (about
//! 100 ms each). Links are file descriptors: whatever happens to us, the kernel closes them.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    cost::prices::{RunTime, RunTimes},
    object::{Object, explain},
};
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, MultiKind, ProgramKind},
        perf,
    },
};

/// `ENOTSUPP` of include/linux/errno.h, which libc lacks: the instruction cannot be probed.
const ENOTSUPP: i32 = 524;

/// The programs of a tool that follow function calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallPrograms {
    /// Entry and return in one.
    pub(crate) session: &'static str,
    /// Entry alone.
    pub(crate) entry: &'static str,
    /// Return alone.
    pub(crate) ret: &'static str,
    /// At the `ret` instructions of functions that must not have a return probe.
    pub(crate) at_ret: &'static str,
    /// The program at the entry of functions whose return is not followed.
    pub(crate) plain: &'static str,
}

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// One perf event per site.
    Perf,
    /// Multi links for entry and return.
    Multi,
    /// A session link for both.
    Session,
}

impl Method {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Method::Perf => "perf uprobes",
            Method::Multi => "uprobe_multi",
            Method::Session => "uprobe session",
        }
    }
}

/// One place to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeSite {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// The program gets this at each hit.
    pub(crate) cookie: u64,
}

/// Links of one attachment. Dropping this detaches the probes.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Closed one after the other, in the order in which they were created.
    pub(super) held: Vec<OwnedFd>,
    /// Sites that the kernel refused to probe, by offset.
    pub(crate) refused: Vec<u64>,
}

/// A program in the kernel.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: &'static str,
    kind: ProgramKind,
    fd: OwnedFd,
}

/// Attaches programs by the best method that works.
pub(crate) struct Attacher {
    /// The best method that may be tried.
    allowed: Method,
    used: Method,
    calls: CallPrograms,
    loaded: Vec<Loaded>,
}

/// The programs that will be needed for following calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    allowed: Method,
    calls: CallPrograms,
}

impl Ahead {
    /// Loads the programs of the best method that works, which takes long. If one cannot be loaded, it is tried again
    /// when it is needed, and the error is reported then.
    pub(crate) fn load(self, object: &Object) -> Vec<Loaded> {
        let Ahead { allowed, calls } = self;
        let multi = ProgramKind::Multi(MultiKind::Multi);
        let ways = [
            (Method::Session, vec![(calls.session, ProgramKind::Multi(MultiKind::Session))]),
            (Method::Multi, vec![(calls.ret, multi), (calls.entry, multi)]),
            (Method::Perf, vec![(calls.ret, ProgramKind::Perf), (calls.entry, ProgramKind::Perf)]),
        ];
        let load = |programs: Vec<_>| -> io::Result<Vec<Loaded>> {
            let load = |(name, kind)| Ok(Loaded { name, kind, fd: object.load_program(name, kind)? });
            programs.into_iter().map(load).collect()
        };
        let possible = ways.into_iter().filter(|(way, _)| *way <= allowed);
        possible.map(|(_, programs)| load(programs)).find_map(io::Result::ok).unwrap_or_default()
    }
}

impl Attacher {
    /// `at_most` is for measurements. Methods that the kernel lacks are not tried: their programs would be loaded and
    /// verified in vain.
    pub(crate) fn new(calls: CallPrograms, at_most: Method) -> Attacher {
        let known = [(Method::Session, MultiKind::Session), (Method::Multi, MultiKind::Multi)]
            .into_iter()
            .filter(|(method, _)| *method <= at_most)
            .find(|(_, kind)| bpf::knows_multi(*kind));
        let allowed = known.map_or(Method::Perf, |(method, _)| method);
        if allowed < at_most {
            tracing::info!("the kernel has no {}; using {}", at_most.name(), allowed.name());
        }
        Attacher { allowed, used: Method::Perf, calls, loaded: Vec::new() }
    }

    /// The best method in use.
    pub(crate) fn method(&self) -> Method {
        self.used
    }

    /// The programs that will be needed, to load them on another thread and pass them to [`Attacher::adopt`].
    pub(crate) fn ahead(&self) -> Ahead {
        Ahead { allowed: self.allowed, calls: self.calls }
    }

    /// Takes over programs that were loaded ahead.
    pub(crate) fn adopt(&mut self, loaded: Vec<Loaded>) {
        self.loaded.extend(loaded);
    }

    /// Whether many sites can be probed by one link, which is detached quickly.
    pub(crate) fn has_multi(&self) -> bool {
        self.allowed >= Method::Multi
    }

    /// How long the programs ran while run statistics were on.
    pub(crate) fn run_times(&self) -> RunTimes {
        let mut times = RunTimes::default();
        for loaded in &self.loaded {
            let Ok((ns, runs)) = bpf::run_stats(loaded.fd.as_fd()) else { continue };
            let of = match loaded.name {
                name if name == self.calls.plain => &mut times.looks,
                name if name == self.calls.at_ret => &mut times.at_ret,
                _ => &mut times.calls,
            };
            *of = of.and(RunTime { ns, runs });
        }
        times
    }

    /// Follows calls: entry, and the return unless the program skips it. `None` if the kernel has no sessions: without
    /// them, every call would get a return probe.
    pub(crate) fn follow_unless_skipped(
        &mut self,
        object: &Object,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> Result<Option<Links>> {
        if self.allowed < Method::Session {
            return Ok(None);
        }
        match self.multi(object, self.calls.session, MultiKind::Session, false, file, pid, sites) {
            Ok(links) => Ok(Some(links)),
            Err(error) if unsupported(&error) => {
                self.step_down(Method::Multi, &error);
                Ok(None)
            }
            Err(error) => Err(cannot_attach(file, pid, error)),
        }
    }

    /// Follows calls: entry and return.
    pub(crate) fn follow(
        &mut self,
        object: &Object,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> Result<Links> {
        if let Some(links) = self.follow_unless_skipped(object, file, pid, sites)? {
            return Ok(links);
        }
        if self.allowed >= Method::Multi {
            // The return first: a return without an entry is ignored, while an entry without a return would be missed.
            let ret = self.multi(object, self.calls.ret, MultiKind::Multi, true, file, pid, sites);
            match ret {
                Ok(mut links) => {
                    let entry =
                        self.multi(object, self.calls.entry, MultiKind::Multi, false, file, pid, sites);
                    links.append(entry.map_err(|e| cannot_attach(file, pid, e))?);
                    return Ok(links);
                }
                Err(error) if unsupported(&error) => self.step_down(Method::Perf, &error),
                Err(error) => return Err(cannot_attach(file, pid, error)),
            }
        }
        let mut links = self.perf(object, self.calls.ret, true, file, pid, sites)?;
        links.append(self.perf(object, self.calls.entry, false, file, pid, sites)?);
        Ok(links)
    }

    /// Probes entries only.
    pub(crate) fn look(
        &mut self,
        object: &Object,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> Result<Links> {
        self.instructions(object, self.calls.plain, file, pid, sites)
    }

    /// Follows calls without return probes: `entries`, and the `ret` instructions of the same functions.
    pub(crate) fn follow_to_ret(
        &mut self,
        object: &Object,
        file: &Path,
        pid: u32,
        entries: &[ProbeSite],
        returns: &[ProbeSite],
    ) -> Result<Links> {
        let mut links = self.instructions(object, self.calls.at_ret, file, pid, returns)?;
        links.append(self.instructions(object, self.calls.entry, file, pid, entries)?);
        Ok(links)
    }

    /// Probes single instructions.
    fn instructions(
        &mut self,
        object: &Object,
        program: &'static str,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> Result<Links> {
        if self.allowed >= Method::Multi {
            match self.multi(object, program, MultiKind::Multi, false, file, pid, sites) {
                Ok(links) => return Ok(links),
                Err(error) if unsupported(&error) => self.step_down(Method::Perf, &error),
                Err(error) => return Err(cannot_attach(file, pid, error)),
            }
        }
        self.perf(object, program, false, file, pid, sites)
    }

    fn step_down(&mut self, to: Method, error: &io::Error) {
        tracing::info!(
            "{} cannot be used here ({error}); falling back to {}",
            self.allowed.name(),
            to.name()
        );
        self.allowed = to;
    }

    #[allow(clippy::too_many_arguments, reason = "the arguments of one kernel call")]
    fn multi(
        &mut self,
        object: &Object,
        program: &'static str,
        kind: MultiKind,
        at_return: bool,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> io::Result<Links> {
        let fd = self.program(object, program, ProgramKind::Multi(kind))?;
        let pairs: Vec<(u64, u64)> = sites.iter().map(|s| (s.offset, s.cookie)).collect();
        let links = link_or_bisect(&pairs, &mut |pairs| {
            bpf::link_uprobe_multi(fd, kind, at_return, file, pairs, pid)
        })?;
        self.used = self.used.max(match kind {
            MultiKind::Session => Method::Session,
            MultiKind::Multi => Method::Multi,
        });
        Ok(links)
    }

    /// A perf event per site.
    fn perf(
        &mut self,
        object: &Object,
        program: &'static str,
        at_return: bool,
        file: &Path,
        pid: u32,
        sites: &[ProbeSite],
    ) -> Result<Links> {
        let failed = |error: io::Error| cannot_attach(file, pid, error);
        let fd = self.program(object, program, ProgramKind::Perf).map_err(failed)?;
        let mut links = Links::default();
        for site in sites {
            let event = perf::open_uprobe(file, site.offset, at_return, pid).map_err(failed)?;
            let link = bpf::link_perf_event(fd, event.as_fd(), site.cookie).map_err(failed)?;
            links.held.extend([link, event]);
        }
        Ok(links)
    }

    /// The descriptor of a program, which is loaded at first use.
    fn program(
        &mut self,
        object: &Object,
        program: &'static str,
        kind: ProgramKind,
    ) -> io::Result<BorrowedFd<'_>> {
        let known = self.loaded.iter().position(|l| l.name == program && l.kind == kind);
        let index = match known {
            Some(index) => index,
            None => {
                let fd = object.load_program(program, kind)?;
                self.loaded.push(Loaded { name: program, kind, fd });
                self.loaded.len() - 1
            }
        };
        Ok(self.loaded[index].fd.as_fd())
    }
}

/// Links a program to sites, which are pairs of file offset and cookie.
type Linker<'a> = dyn FnMut(&[(u64, u64)]) -> io::Result<OwnedFd> + 'a;

/// One link for all sites. If an instruction among them cannot be probed, several links for the others.
fn link_or_bisect(sites: &[(u64, u64)], link: &mut Linker<'_>) -> io::Result<Links> {
    if sites.is_empty() {
        return Ok(Links::default());
    }
    match link(sites) {
        Ok(fd) => Ok(Links { held: vec![fd], ..Links::default() }),
        Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
            if let [(offset, _)] = sites {
                return Ok(Links { refused: vec![*offset], ..Links::default() });
            }
            let (left, right) = sites.split_at(sites.len() / 2);
            let mut links = link_or_bisect(left, link)?;
            links.append(link_or_bisect(right, link)?);
            Ok(links)
        }
        Err(error) => Err(error),
    }
}

impl Links {
    fn append(&mut self, other: Links) {
        self.held.extend(other.held);
        self.refused.extend(other.refused);
    }
}

/// Whether the kernel lacks this way of attaching.
fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
        || error.kind() == io::ErrorKind::InvalidInput
}

fn cannot_probe(file: &Path) -> Error {
    Error::on(ErrorKind::Kernel, "tried to probe functions of", PathBuf::from(file).as_os_str())
}

fn cannot_attach(file: &Path, pid: u32, error: io::Error) -> Error {
    let tried = cannot_probe(file);
    match error.raw_os_error() {
        Some(libc::ESRCH) => {
            Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
                .because("it has ended")
                .hint("start it again and observe the new process, or start it under profiler: -- COMMAND")
        }
        Some(libc::EINVAL) => tried.because_of(error).hint(
            "another tracer may hold the same instruction with a different setting; stop it and try again",
        ),
        _ => explain(tried, error),
    }
}
