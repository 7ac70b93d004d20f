//! The bpf(2) calls that aya 0.14 lacks, or makes only together with others: loading one program from any thread,
//! uprobe links for many sites at once, run statistics, batched reads.
//!
//! Arguments are members of `union bpf_attr` (include/uapi/linux/bpf.h), in the bindings of aya-obj.

mod maps;

use std::{
    ffi::{CStr, CString},
    fs::File,
    io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_UPROBE_MULTI_RETURN, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type,
    bpf_stats_type,
};

pub(crate) use self::maps::{BareMap, create_map, delete, for_each_element, freeze, lookup, update};

/// Bytes of a program's name in the kernel, with the 0 that ends it (`BPF_OBJ_NAME_LEN`).
const NAME_BYTES: usize = 16;

/// How a program is attached to many uprobe sites with one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MultiKind {
    /// `BPF_TRACE_UPROBE_MULTI` (Linux 6.6): at entry, or at return.
    Multi = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
    /// `BPF_TRACE_UPROBE_SESSION` (Linux 6.13): at entry and, if the program says so, at return. A number, because the
    /// bindings of aya-obj 0.3 are older.
    Session = 57,
}

/// What a program is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramKind {
    /// A perf event at one uprobe site.
    Perf,
    /// A link to many uprobe sites.
    Multi(MultiKind),
    /// A raw tracepoint. The verifier does not know the types of its arguments.
    Tracepoint,
    /// A tracepoint with typed arguments (`tp_btf`), by the number of its type in the kernel's BTF.
    TypedTracepoint(u32),
    /// An iterator over tasks or their descriptors, by the number of the type of `bpf_iter_task` or `bpf_iter_task_file` in the kernel's BTF.
    Iterator(u32),
    /// A perf event that samples.
    Sample,
}

impl ProgramKind {
    fn program_type(self) -> bpf_prog_type {
        match self {
            Self::Perf | Self::Multi(_) => bpf_prog_type::BPF_PROG_TYPE_KPROBE,
            Self::Tracepoint => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
            Self::TypedTracepoint(_) | Self::Iterator(_) => bpf_prog_type::BPF_PROG_TYPE_TRACING,
            Self::Sample => bpf_prog_type::BPF_PROG_TYPE_PERF_EVENT,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::Multi(kind) => kind as u32,
            Self::TypedTracepoint(_) => bpf_attach_type::BPF_TRACE_RAW_TP as u32,
            Self::Iterator(_) => bpf_attach_type::BPF_TRACE_ITER as u32,
            Self::Perf | Self::Tracepoint | Self::Sample => 0,
        }
    }
}

/// Arguments with every member 0. The kernel takes 0 as "not given", and refuses other values in members that it does
/// not know.
fn no_arguments() -> bpf_attr {
    // SAFETY: every member is made of integers, for which 0 is a value.
    unsafe { mem::zeroed() }
}

/// Makes the system call.
fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the size passed is that of the arguments. Pointers in them are to memory that the callers keep alive over
    // the call and that is as large as the lengths beside them say.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes the system call with a command that returns a new descriptor.
fn call_for_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A descriptor in the form of the kernel's structures.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// An address in the form of the kernel's structures.
fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

/// Loads an object's BTF.
pub(crate) fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_7.btf = address(btf);
    attr.__bindgen_anon_7.btf_size = btf.len() as u32;
    call_for_fd(bpf_cmd::BPF_BTF_LOAD, &mut attr)
}

/// A program to load.
pub(crate) struct ProgramSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) instructions: &'a [u8],
    pub(crate) license: &'a CStr,
    pub(crate) kind: ProgramKind,
    pub(crate) btf: BorrowedFd<'a>,
    /// Record size, bytes and count of the function info.
    pub(crate) func_info: (usize, &'a [u8], usize),
}

/// Loads a program. If the verifier refuses it, `log` receives the verifier's log.
pub(crate) fn load_program(spec: &ProgramSpec<'_>, log: &mut Vec<u8>) -> io::Result<OwnedFd> {
    let (record, functions, count) = spec.func_info;
    let mut attr = program(spec.kind, spec.instructions, spec.license);
    attr.__bindgen_anon_3.prog_name = kernel_name(spec.name);
    attr.__bindgen_anon_3.prog_btf_fd = number(spec.btf);
    attr.__bindgen_anon_3.func_info_rec_size = record as u32;
    attr.__bindgen_anon_3.func_info = address(functions);
    attr.__bindgen_anon_3.func_info_cnt = count as u32;
    // First without a log: writing it takes longer than verifying.
    match call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EPERM)) => {
            *log = vec![0; 16 << 20];
            keep_log(&mut attr, log);
            call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
        }
        result => result,
    }
}

/// Loads a few instructions without types. `log`, unless it is empty, receives the verifier's log.
pub(crate) fn load_bare(kind: ProgramKind, instructions: &[u64], log: &mut [u8]) -> io::Result<OwnedFd> {
    // SAFETY: the same memory, of which any bytes are valid.
    let instructions =
        unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast::<u8>(), size_of_val(instructions)) };
    let mut attr = program(kind, instructions, c"Dual MIT/GPL");
    if !log.is_empty() {
        keep_log(&mut attr, log);
    }
    call_for_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// A name in the form of the kernel's structures: cut to fit, with a 0 at the end.
fn kernel_name(name: &str) -> [libc::c_char; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (byte, letter) in bytes.iter_mut().take(NAME_BYTES - 1).zip(name.bytes()) {
        *byte = letter as libc::c_char;
    }
    bytes
}

/// What every program is loaded with.
fn program(kind: ProgramKind, instructions: &[u8], license: &CStr) -> bpf_attr {
    let mut attr = no_arguments();
    attr.__bindgen_anon_3.prog_type = kind.program_type() as u32;
    attr.__bindgen_anon_3.expected_attach_type = kind.attach_type();
    attr.__bindgen_anon_3.insn_cnt = (instructions.len() / size_of::<bpf_insn>()) as u32;
    attr.__bindgen_anon_3.insns = address(instructions);
    attr.__bindgen_anon_3.license = address(license);
    if let ProgramKind::TypedTracepoint(type_number) | ProgramKind::Iterator(type_number) = kind {
        attr.__bindgen_anon_3.attach_btf_id = type_number;
    }
    attr
}

/// Asks for the verifier's log.
fn keep_log(attr: &mut bpf_attr, log: &mut [u8]) {
    attr.__bindgen_anon_3.log_level = 1;
    attr.__bindgen_anon_3.log_size = log.len() as u32;
    attr.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
}

/// Runs a few instructions once in the kernel (Linux 5.10), and returns their result.
pub(crate) fn run_once(instructions: &[u64]) -> io::Result<u32> {
    let program = load_bare(ProgramKind::Tracepoint, instructions, &mut [])?;
    let mut attr = no_arguments();
    attr.test.prog_fd = number(program.as_fd());
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel wrote this member; any bytes are valid for it.
    Ok(unsafe { attr.test.retval })
}

/// Attaches a program to sites (file offset and cookie) of one file, in all threads of process `pid`.
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
    let mut attr = no_arguments();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.attach_type = kind as u32;
    attr.link_create.__bindgen_anon_3.uprobe_multi.path = address(path.as_c_str());
    attr.link_create.__bindgen_anon_3.uprobe_multi.offsets = address(offsets.as_slice());
    attr.link_create.__bindgen_anon_3.uprobe_multi.cookies = address(cookies.as_slice());
    attr.link_create.__bindgen_anon_3.uprobe_multi.cnt = sites.len() as u32;
    attr.link_create.__bindgen_anon_3.uprobe_multi.flags =
        if at_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 };
    attr.link_create.__bindgen_anon_3.uprobe_multi.pid = pid;
    call_for_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Whether the kernel has such links. A kernel without them loads the program and refuses to attach it, with `EINVAL`
/// or `EOPNOTSUPP`. So this attaches the smallest program to a directory, which a kernel with such links refuses with
/// `EBADF`. Any other answer counts as yes.
pub(crate) fn knows_multi(kind: MultiKind) -> bool {
    // include/uapi/linux/bpf.h, struct bpf_insn: `r0 = 0`, which the verifier requires, and `exit`.
    const DO_NOTHING: [u64; 2] = [0xb7, 0x95];
    let link = |program: OwnedFd| {
        link_uprobe_multi(program.as_fd(), kind, false, Path::new("/"), &[(0, 0)], std::process::id())
    };
    let program = load_bare(ProgramKind::Multi(kind), &DO_NOTHING, &mut []);
    let refused = program.and_then(link).err().and_then(|error| error.raw_os_error());
    !matches!(refused, Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Attaches a program to a perf event. The program gets `cookie` at each hit (Linux 5.15).
pub(crate) fn link_perf_event(
    program: BorrowedFd<'_>,
    event: BorrowedFd<'_>,
    cookie: u64,
) -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_fd = number(event);
    attr.link_create.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    attr.link_create.__bindgen_anon_3.perf_event.bpf_cookie = cookie;
    call_for_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to a tracepoint by name.
pub(crate) fn open_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.raw_tracepoint.name = address(name);
    attr.raw_tracepoint.prog_fd = number(program);
    call_for_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Attaches a program to the tracepoint that it was loaded for.
pub(crate) fn open_typed_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.raw_tracepoint.prog_fd = number(program);
    call_for_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// Runs an iterator once for each thread of a process (Linux 6.1), which is given by its id in our pid namespace.
pub(crate) fn for_each_thread(program: BorrowedFd<'_>, pid: u32) -> io::Result<()> {
    iterate(program, pid)
}

/// Runs an iterator over descriptors once for each that a process has open (Linux 6.1). Threads that share a table of descriptors have them
/// together.
pub(crate) fn for_each_descriptor(program: BorrowedFd<'_>, pid: u32) -> io::Result<()> {
    iterate(program, pid)
}

fn iterate(program: BorrowedFd<'_>, pid: u32) -> io::Result<()> {
    // `union bpf_iter_link_info`, of which the member for tasks is `{ tid, pid, pid_fd }`.
    let of_process = [0, pid, 0, 0];
    let mut attr = no_arguments();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    attr.link_create.__bindgen_anon_3.__bindgen_anon_1.iter_info = address(&of_process);
    attr.link_create.__bindgen_anon_3.__bindgen_anon_1.iter_info_len = size_of_val(&of_process) as u32;
    let link = call_for_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    let mut attr = no_arguments();
    attr.iter_create.link_fd = number(link.as_fd());
    let mut iterator = File::from(call_for_fd(bpf_cmd::BPF_ITER_CREATE, &mut attr)?);
    // It runs while it is read, and writes nothing.
    io::copy(&mut iterator, &mut io::sink()).map(drop)
}

/// Switches run statistics on for every BPF program of the system until the descriptor is closed (Linux 5.8).
pub(crate) fn enable_run_stats() -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
    call_for_fd(bpf_cmd::BPF_ENABLE_STATS, &mut attr)
}

/// Run time in nanoseconds and number of runs of a program while statistics were on.
pub(crate) fn run_stats(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let info = program_info(program)?;
    Ok((info.run_time_ns, info.run_cnt))
}

/// How often a program was to run on a processor that was running it already, and was not (Linux 5.12).
pub(crate) fn missed_runs(program: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(program_info(program)?.recursion_misses)
}

/// Instructions that the verifier processed for a program (Linux 5.16).
pub(crate) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(program_info(program)?.verified_insns)
}

/// The number of a program in the kernel.
pub(crate) fn program_number(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(program_info(program)?.id)
}

fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: it is made of integers, for which 0 is a value.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    let mut attr = no_arguments();
    attr.info.bpf_fd = number(program);
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}
