//! Empty programs at the entry and the return of every system call: what the kernel alone takes.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::{
    capture::object::{Object, Settings, explain},
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        types::Types,
    },
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floor"));

/// The attached programs. Dropping them takes them away.
pub struct Floor {
    _held: Vec<OwnedFd>,
}

impl Floor {
    /// Attaches them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach() -> Result<Floor> {
        let object = Object::load("floor", OBJECT, Settings::default())?;
        let attach = || -> std::io::Result<Vec<OwnedFd>> {
            let types = Types::of_kernel()?;
            let mut held = Vec::new();
            for tracepoint in ["sys_exit", "sys_enter"] {
                let missing = || std::io::Error::other(format!("the kernel has no tracepoint {tracepoint}"));
                let kind = ProgramKind::TypedTracepoint(types.tracepoint(tracepoint).ok_or_else(missing)?);
                let program = object.load_program("floor_call", kind)?;
                held.push(bpf::open_typed_tracepoint(program.as_fd())?);
                held.push(program);
            }
            Ok(held)
        };
        let tried = Error::new(ErrorKind::Kernel, "tried to attach empty programs to system calls");
        Ok(Floor { _held: attach().map_err(|error| explain(tried, error))? })
    }
}
