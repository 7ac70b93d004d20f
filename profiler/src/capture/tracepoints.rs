//! Programs on typed tracepoints, and on events of perf that are none.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use super::object::{Object, explain};
use crate::{
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        perf,
        types::Types,
    },
};

/// Attached programs. Dropping them takes them away.
#[derive(Debug, Default)]
pub(crate) struct Tracepoints {
    programs: Vec<(&'static str, OwnedFd)>,
    links: Vec<(&'static str, OwnedFd)>,
}

impl Tracepoints {
    /// Whether any program is attached.
    pub(crate) fn are_attached(&self) -> bool {
        !self.links.is_empty()
    }

    /// Attaches programs, each to its tracepoint, in this order.
    ///
    /// # Errors
    /// If the kernel lacks a tracepoint or refuses a program.
    pub(crate) fn attach(
        &mut self,
        object: &Object,
        types: &Types,
        programs: &[(&'static str, &'static str)],
    ) -> Result<()> {
        programs.iter().try_for_each(|(program, tracepoint)| {
            self.attach_one(object, types, program, tracepoint).map_err(|error| {
                let tried = format_args!("tried to attach to the tracepoint {tracepoint}");
                explain(Error::new(ErrorKind::Kernel, tried), error)
            })
        })
    }

    /// Attaches a program that is left out where the kernel has none of these tracepoints, or refuses it. Returns why it is.
    pub(crate) fn attach_optional(
        &mut self,
        object: &Object,
        types: &Types,
        program: &'static str,
        tracepoints: &[&str],
    ) -> Option<String> {
        let known = tracepoints.iter().find(|tracepoint| types.tracepoint(tracepoint).is_some());
        let Some(tracepoint) = known else {
            return Some(format!("the kernel has no tracepoint {}", tracepoints.join(" or ")));
        };
        self.attach_one(object, types, program, tracepoint).err().map(|error| error.to_string())
    }

    /// Attaches a program to the ends of major faults on all processors. Returns why it is not attached.
    pub(crate) fn attach_to_major_faults(
        &mut self,
        object: &Object,
        program: &'static str,
    ) -> Option<String> {
        let mut attach = || -> io::Result<()> {
            let loaded = object.load_program(program, ProgramKind::Sample)?;
            for cpu in aya::util::online_cpus().map_err(|(_, error)| error)? {
                let event = perf::open_major_faults(cpu)?;
                let link = bpf::link_perf_event(loaded.as_fd(), event.as_fd(), 0)?;
                self.links.extend([(program, link), (program, event)]);
            }
            self.programs.push((program, loaded));
            Ok(())
        };
        let refused = attach().err().map(|error| error.to_string());
        if refused.is_some() {
            self.links.retain(|(of, _)| *of != program);
        }
        refused
    }

    fn attach_one(
        &mut self,
        object: &Object,
        types: &Types,
        program: &'static str,
        tracepoint: &str,
    ) -> io::Result<()> {
        let missing = || io::Error::other("the kernel's types do not have it");
        let number = types.tracepoint(tracepoint).ok_or_else(missing)?;
        let loaded = object.load_program(program, ProgramKind::TypedTracepoint(number))?;
        self.links.push((program, bpf::open_typed_tracepoint(loaded.as_fd())?));
        self.programs.push((program, loaded));
        Ok(())
    }

    /// Detaches these programs first, in this order, and then all others.
    pub(crate) fn detach(&mut self, first: &[&str]) {
        for program in first {
            self.links.retain(|(of, _)| of != program);
        }
        self.links.clear();
    }

    /// How often a program was not run, because an interrupt met that processor in the middle of it: as many events may be missing, of
    /// whatever process.
    pub(crate) fn missed(&self) -> u64 {
        self.programs.iter().map(|(_, program)| bpf::missed_runs(program.as_fd()).unwrap_or_default()).sum()
    }

    /// Instructions that the verifier has looked at, by program.
    pub(crate) fn verified(&self) -> Vec<(&'static str, u32)> {
        let verified = |(name, program): &(&'static str, OwnedFd)| {
            (*name, bpf::verified_instructions(program.as_fd()).unwrap_or_default())
        };
        self.programs.iter().map(verified).collect()
    }
}
