//! Attaching the programs of `witness`.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use super::{On, Work};
use crate::{
    capture::object::{Object, explain},
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        perf,
        types::Types,
    },
};

/// Attached programs. Dropping this detaches them.
pub(super) struct Attached {
    /// Instructions that the verifier processed, by program.
    pub(super) verified: Vec<(&'static str, u32)>,
    held: Vec<OwnedFd>,
}

impl Attached {
    pub(super) fn to(object: &Object, pid: u32, on: &[On]) -> Result<Attached> {
        let mut attached = Attached { verified: Vec::new(), held: Vec::new() };
        for on in on {
            attached.add(object, pid, on).map_err(|error| {
                explain(Error::new(ErrorKind::Kernel, format_args!("tried to attach to {on:?}")), error)
            })?;
        }
        Ok(attached)
    }

    fn add(&mut self, object: &Object, pid: u32, on: &On) -> io::Result<()> {
        match on {
            On::Samples(hz) => self.sample(object, *hz),
            On::SystemCalls => {
                let program = self.load(object, "witness_trace", ProgramKind::Tracepoint)?;
                let link = bpf::open_tracepoint(program.as_fd(), c"sys_enter")?;
                self.held.extend([program, link]);
                Ok(())
            }
            On::TypedSystemCalls => {
                let missing = || io::Error::other("the kernel's types have no tracepoint sys_enter");
                let number = Types::of_kernel()?.tracepoint("sys_enter").ok_or_else(missing)?;
                let kind = ProgramKind::TypedTracepoint(number);
                let program = self.load(object, "witness_trace", kind)?;
                let link = bpf::open_typed_tracepoint(program.as_fd())?;
                self.held.extend([program, link]);
                Ok(())
            }
            On::Probe(file, offset) => self.probe(object, "witness_probe", pid, file, *offset, false),
            On::Return(file, offset) => self.probe(object, "witness_return", pid, file, *offset, true),
            On::Timed(file, offset, work) => {
                let program = match work {
                    Work::Nothing => "witness_nothing",
                    Work::Walk => "witness_walk",
                    Work::Kernel => "witness_kernel",
                };
                self.probe(object, program, pid, file, *offset, false)
            }
        }
    }

    fn sample(&mut self, object: &Object, hz: u32) -> io::Result<()> {
        let program = self.load(object, "witness_sample", ProgramKind::Sample)?;
        for cpu in aya::util::online_cpus().map_err(|(_, error)| error)? {
            let event = perf::open_clock(cpu, hz)?;
            let link = bpf::link_perf_event(program.as_fd(), event.as_fd(), 0)?;
            self.held.extend([link, event]);
        }
        self.held.push(program);
        Ok(())
    }

    fn probe(
        &mut self,
        object: &Object,
        name: &'static str,
        pid: u32,
        file: &Path,
        offset: u64,
        at_return: bool,
    ) -> io::Result<()> {
        let program = self.load(object, name, ProgramKind::Perf)?;
        let event = perf::open_uprobe(file, offset, at_return, pid)?;
        let link = bpf::link_perf_event(program.as_fd(), event.as_fd(), 0)?;
        self.held.extend([link, event, program]);
        Ok(())
    }

    fn load(&mut self, object: &Object, name: &'static str, kind: ProgramKind) -> io::Result<OwnedFd> {
        let program = object.load_program(name, kind)?;
        self.verified.push((name, bpf::verified_instructions(program.as_fd())?));
        Ok(program)
    }
}
