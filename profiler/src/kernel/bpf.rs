//! The bpf(2) calls that aya 0.14 lacks or makes only together with others: programs loaded one by one, from any
//! thread, uprobe links for many sites at once, run statistics, batched reads.
//!
//! Layouts are those of `union bpf_attr`, include/uapi/linux/bpf.h. An upgrade of aya replaces most of this file.

mod maps;

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

pub(crate) use self::maps::{BareMap, create_map, for_each_element, freeze, lookup, update};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ENABLE_STATS: libc::c_long = 32;

const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PROG_TYPE_PERF_EVENT: u32 = 7;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_RAW_TP: u32 = 23;
const BPF_PERF_EVENT: u32 = 41;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// How a program is attached to many uprobe sites with one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MultiKind {
    /// `BPF_TRACE_UPROBE_MULTI` (Linux 6.6): at entry, or at return.
    Multi = 48,
    /// `BPF_TRACE_UPROBE_SESSION` (Linux 6.13): at entry and, if the program says so, at return.
    Session = 57,
}

/// What a program is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramKind {
    /// A perf event at one uprobe site.
    Perf,
    /// A link to many uprobe sites.
    Multi(MultiKind),
    /// A tracepoint whose arguments the program does not look at.
    Tracepoint,
    /// A tracepoint of which the verifier knows the types (`tp_btf`), by the number of its type in the kernel's BTF.
    TypedTracepoint(u32),
    /// A perf event that samples.
    Sample,
}

impl ProgramKind {
    fn program_type(self) -> u32 {
        match self {
            Self::Perf | Self::Multi(_) => BPF_PROG_TYPE_KPROBE,
            Self::Tracepoint => BPF_PROG_TYPE_RAW_TRACEPOINT,
            Self::TypedTracepoint(_) => BPF_PROG_TYPE_TRACING,
            Self::Sample => BPF_PROG_TYPE_PERF_EVENT,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::Multi(kind) => kind as u32,
            Self::TypedTracepoint(_) => BPF_TRACE_RAW_TP,
            Self::Perf | Self::Tracepoint | Self::Sample => 0,
        }
    }
}

/// One attribute block, written field by field at the offsets of `union bpf_attr`.
struct Attr([u8; 144]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 144])
    }

    fn u32(mut self, at: usize, value: u32) -> Attr {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Attr {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Attr {
        self.u32(at, fd.as_raw_fd() as u32)
    }

    fn call(&mut self, command: libc::c_long) -> io::Result<libc::c_long> {
        // SAFETY: the block is as large as the kernel is told; pointers in it are to memory that the callers keep
        // alive over the call and that is as large as the lengths beside them say.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), self.0.len()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    fn call_for_fd(&mut self, command: libc::c_long) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: these commands return a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    fn read_u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }
}

/// Loads an object's BTF.
pub(crate) fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    Attr::new().u64(0, btf.as_ptr() as u64).u32(16, btf.len() as u32).call_for_fd(BPF_BTF_LOAD)
}

/// A program to be loaded.
pub(crate) struct ProgramSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) instructions: &'a [u8],
    pub(crate) license: &'a CStr,
    pub(crate) kind: ProgramKind,
    pub(crate) btf: BorrowedFd<'a>,
    /// Record size, bytes and count of the function info.
    pub(crate) func_info: (usize, &'a [u8], usize),
}

/// Loads a program; `log` receives the verifier's words.
pub(crate) fn load_program(spec: &ProgramSpec<'_>, log: &mut Vec<u8>) -> io::Result<OwnedFd> {
    let (record, functions, count) = spec.func_info;
    let attr = |log: &mut [u8]| {
        let mut attr = Attr::new()
            .u32(0, spec.kind.program_type())
            .u32(4, (spec.instructions.len() / 8) as u32)
            .u64(8, spec.instructions.as_ptr() as u64)
            .u64(16, spec.license.as_ptr() as u64)
            .u32(68, spec.kind.attach_type())
            .fd(72, spec.btf)
            .u32(76, record as u32)
            .u64(80, functions.as_ptr() as u64)
            .u32(88, count as u32);
        if let ProgramKind::TypedTracepoint(number) = spec.kind {
            attr = attr.u32(108, number);
        }
        if !log.is_empty() {
            attr = attr.u32(24, 1).u32(28, log.len() as u32).u64(32, log.as_mut_ptr() as u64);
        }
        for (i, byte) in spec.name.bytes().take(15).enumerate() {
            attr.0[48 + i] = byte;
        }
        attr
    };
    // Without a log first: writing it takes longer than verifying.
    match attr(&mut []).call_for_fd(BPF_PROG_LOAD) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EPERM)) => {
            *log = vec![0; 16 << 20];
            attr(log).call_for_fd(BPF_PROG_LOAD)
        }
        result => result,
    }
}

/// Loads a few instructions without types; `log`, unless it is empty, receives the verifier's words.
pub(crate) fn load_bare(kind: ProgramKind, instructions: &[u64], log: &mut [u8]) -> io::Result<OwnedFd> {
    let attr = Attr::new()
        .u32(0, kind.program_type())
        .u32(4, instructions.len() as u32)
        .u64(8, instructions.as_ptr() as u64)
        .u64(16, c"Dual MIT/GPL".as_ptr() as u64)
        .u32(68, kind.attach_type());
    let mut attr = match log.len() {
        0 => attr,
        bytes => attr.u32(24, 1).u32(28, bytes as u32).u64(32, log.as_mut_ptr() as u64),
    };
    attr.call_for_fd(BPF_PROG_LOAD)
}

/// Runs a few instructions once, in the kernel (Linux 5.10); what they return.
pub(crate) fn run_once(instructions: &[u64]) -> io::Result<u32> {
    let program = load_bare(ProgramKind::Tracepoint, instructions, &mut [])?;
    let mut run = Attr::new().fd(0, program.as_fd());
    run.call(BPF_PROG_TEST_RUN)?;
    Ok(run.read_u32(4))
}

/// Attaches a program to sites (file offsets) of one file. `pid` is a process; its threads are covered.
pub(crate) fn link_uprobe_multi(
    program: BorrowedFd<'_>,
    kind: MultiKind,
    at_return: bool,
    path: &Path,
    sites: &[(u64, u64)],
    pid: u32,
) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let offsets: Vec<u64> = sites.iter().map(|(offset, _)| *offset).collect();
    let cookies: Vec<u64> = sites.iter().map(|(_, cookie)| *cookie).collect();
    Attr::new()
        .fd(0, program)
        .u32(8, kind as u32)
        .u64(16, path.as_ptr() as u64)
        .u64(24, offsets.as_ptr() as u64)
        .u64(40, cookies.as_ptr() as u64)
        .u32(48, sites.len() as u32)
        .u32(52, if at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 })
        .u32(56, pid)
        .call_for_fd(BPF_LINK_CREATE)
}

/// Whether the kernel knows such links. It loads programs for links that it does not know, and says so only when they
/// are attached: so this asks to attach the smallest program to what is no file, which a kernel that knows the link
/// refuses for that reason (`EBADF`). True also where the answer is another one.
pub(crate) fn knows_multi(kind: MultiKind) -> bool {
    // include/uapi/linux/bpf.h: struct bpf_insn. r0 = 0, for which the verifier asks, and exit.
    const DO_NOTHING: [u64; 2] = [0xb7, 0x95];
    let program = Attr::new()
        .u32(0, BPF_PROG_TYPE_KPROBE)
        .u32(4, DO_NOTHING.len() as u32)
        .u64(8, DO_NOTHING.as_ptr() as u64)
        .u64(16, c"Dual MIT/GPL".as_ptr() as u64)
        .u32(68, kind as u32)
        .call_for_fd(BPF_PROG_LOAD);
    let link = |program: OwnedFd| {
        link_uprobe_multi(program.as_fd(), kind, false, Path::new("/"), &[(0, 0)], std::process::id())
    };
    let refused = program.and_then(link).err().and_then(|error| error.raw_os_error());
    !matches!(refused, Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Attaches a program to a perf event; `cookie` is handed to it at each hit (Linux 5.15).
pub(crate) fn link_perf_event(
    program: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> io::Result<OwnedFd> {
    Attr::new()
        .fd(0, program)
        .fd(4, event)
        .u32(8, BPF_PERF_EVENT)
        .u64(16, cookie)
        .call_for_fd(BPF_LINK_CREATE)
}

/// Attaches a program to a tracepoint by name.
pub(crate) fn open_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    Attr::new().u64(0, name.as_ptr() as u64).fd(8, program).call_for_fd(BPF_RAW_TRACEPOINT_OPEN)
}

/// Attaches a program to the tracepoint that it was loaded for.
pub(crate) fn open_typed_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Attr::new().fd(8, program).call_for_fd(BPF_RAW_TRACEPOINT_OPEN)
}

/// Switches run statistics on for every BPF program of the system until the descriptor is closed (Linux 5.8).
pub(crate) fn enable_run_stats() -> io::Result<OwnedFd> {
    const BPF_STATS_RUN_TIME: u32 = 0;
    Attr::new().u32(0, BPF_STATS_RUN_TIME).call_for_fd(BPF_ENABLE_STATS)
}

/// Run time in nanoseconds and number of runs of a program, while statistics were on.
pub(crate) fn run_stats(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let info = program_info(program)?;
    Ok((info.read_u64(192), info.read_u64(200)))
}

/// Instructions that the verifier has looked at (Linux 5.16).
pub(crate) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(program_info(program)?.read_u64(216) as u32)
}

/// `struct bpf_prog_info` up to its field `verified_insns`: run_time_ns at 192, run_cnt at 200, verified_insns at 216.
fn program_info(program: BorrowedFd<'_>) -> io::Result<Info> {
    let mut info = Info([0; 224]);
    Attr::new()
        .fd(0, program)
        .u32(4, info.0.len() as u32)
        .u64(8, info.0.as_mut_ptr() as u64)
        .call(BPF_OBJ_GET_INFO_BY_FD)?;
    Ok(info)
}

struct Info([u8; 224]);

impl Info {
    fn read_u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_ne_bytes(bytes)
    }
}
