//! Which BPF helpers the programs of an object call, and which of them the running kernel lacks, found by asking its
//! verifier.
//!
//! A program that calls a helper without arguments is refused either way; the verifier's log says whether the helper
//! is unknown or its arguments are wrong. Its wording has changed over time, so a helper that every supported kernel has
//! and a number that no kernel has are asked about first: if these answers are wrong, the log is not understood.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use aya_obj::{
    ProgramSection,
    generated::{BPF_CALL, BPF_JMP, bpf_func_id},
};

use super::{
    bpf::{self, ProgramKind},
    types::Types,
};

/// A helper without arguments that every kernel has (Linux 4.1).
const KNOWN: u32 = bpf_func_id::BPF_FUNC_ktime_get_ns as u32;
/// No helper has this number.
const UNKNOWN: u32 = 1 << 20;
/// A tracepoint that every kernel has; which helpers there are does not depend on the tracepoint.
const SOME_TRACEPOINT: &str = "sched_process_exec";

/// What an iterator over tasks is attached to.
pub(crate) const TASK_ITERATOR: &str = "bpf_iter_task";

/// What programs are attached to. Each has helpers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attached {
    Uprobe,
    Tracepoint,
    TypedTracepoint,
    Iterator,
    PerfEvent,
}

impl Attached {
    /// `None` if no program of ours is attached so.
    fn of(section: &ProgramSection) -> Option<Attached> {
        match section {
            ProgramSection::UProbe { .. } | ProgramSection::URetProbe { .. } => Some(Attached::Uprobe),
            ProgramSection::RawTracePoint => Some(Attached::Tracepoint),
            ProgramSection::BtfTracePoint => Some(Attached::TypedTracepoint),
            ProgramSection::Iter { .. } => Some(Attached::Iterator),
            ProgramSection::PerfEvent => Some(Attached::PerfEvent),
            _ => None,
        }
    }

    fn kind(self) -> io::Result<ProgramKind> {
        Ok(match self {
            Attached::Uprobe => ProgramKind::Perf,
            Attached::Tracepoint => ProgramKind::Tracepoint,
            Attached::PerfEvent => ProgramKind::Sample,
            Attached::TypedTracepoint => {
                let number = Types::of_kernel()?.tracepoint(SOME_TRACEPOINT);
                ProgramKind::TypedTracepoint(number.ok_or_else(|| has_no_type(SOME_TRACEPOINT))?)
            }
            Attached::Iterator => {
                let number = Types::of_kernel()?.function(TASK_ITERATOR);
                ProgramKind::Iterator(number.ok_or_else(|| has_no_type(TASK_ITERATOR))?)
            }
        })
    }
}

fn has_no_type(of: &str) -> io::Error {
    io::Error::other(format!("the kernel has no type for {of}"))
}

/// Numbers of helpers (`enum bpf_func_id`), by what the programs that call them are attached to.
type Calls = BTreeMap<Attached, BTreeSet<u32>>;

/// The helpers of some objects, on the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Helpers {
    /// How many are called.
    pub(crate) called: usize,
    /// Names of those that the kernel lacks.
    pub(crate) missing: Vec<String>,
}

impl Helpers {
    /// Looks at all programs of these objects. `None` if the verifier's log is not understood.
    ///
    /// # Errors
    /// If an object cannot be read, or if nothing can be loaded at all.
    pub(crate) fn of(objects: &[&[u8]]) -> io::Result<Option<Helpers>> {
        let mut calls = Calls::new();
        for object in objects {
            for (attached, numbers) in self::calls(object)? {
                calls.entry(attached).or_default().extend(numbers);
            }
        }
        let mut missing = BTreeSet::new();
        for (attached, numbers) in &calls {
            let kind = attached.kind()?;
            if lacks(kind, KNOWN)? || !lacks(kind, UNKNOWN)? {
                return Ok(None);
            }
            for number in numbers {
                if lacks(kind, *number)? {
                    missing.insert(*number);
                }
            }
        }
        let called = calls.into_values().flatten().collect::<BTreeSet<u32>>().len();
        Ok(Some(Helpers { called, missing: missing.into_iter().map(name).collect() }))
    }
}

/// What the programs of an object call, themselves and in their functions.
fn calls(object: &[u8]) -> io::Result<Calls> {
    if object.is_empty() {
        return Err(io::Error::other("this binary was built without BPF objects (PROFILER_EBPF=skip)"));
    }
    let mut object = aya_obj::Object::parse(object).map_err(io::Error::other)?;
    // Puts the functions that a program calls behind its own instructions.
    let code = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&code).map_err(io::Error::other)?;
    let mut calls = Calls::new();
    for (name, program) in &object.programs {
        let attached = Attached::of(&program.section)
            .ok_or_else(|| io::Error::other(format!("{name} is attached in an unknown way")))?;
        let function = object.functions.get(&program.function_key());
        let instructions = function.map(|function| function.instructions.as_slice()).unwrap_or_default();
        // A call of another source than 0 is a call of a function of the object.
        let called = instructions.iter().filter(|instruction| {
            u32::from(instruction.code) == BPF_JMP | BPF_CALL && instruction.src_reg() == 0
        });
        calls.entry(attached).or_default().extend(called.map(|instruction| instruction.imm as u32));
    }
    Ok(calls)
}

/// The name of a helper, or its number if it is newer than the bindings.
fn name(number: u32) -> String {
    if number >= bpf_func_id::__BPF_FUNC_MAX_ID as u32 {
        return format!("helper {number}");
    }
    // SAFETY: the numbers of helpers have no gaps (`___BPF_FUNC_MAPPER`, include/uapi/linux/bpf.h), so there is a
    // variant for every number below the last.
    let id = unsafe { std::mem::transmute::<u32, bpf_func_id>(number) };
    format!("{id:?}").trim_start_matches("BPF_FUNC_").to_owned()
}

fn lacks(kind: ProgramKind, number: u32) -> io::Result<bool> {
    const CALL: u64 = (BPF_JMP | BPF_CALL) as u64;
    const EXIT: u64 = 0x95;
    let mut log = vec![0u8; 4096];
    match bpf::load_bare(kind, &[u64::from(number) << 32 | CALL, EXIT], &mut log) {
        Ok(_) => Ok(false),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
            let words = String::from_utf8_lossy(&log);
            if words.trim_matches('\0').is_empty() { Err(error) } else { Ok(says_that_it_lacks(&words)) }
        }
        Err(error) => Err(error),
    }
}

/// What verifiers say of a helper that they do not know, or not for this kind of program.
fn says_that_it_lacks(words: &str) -> bool {
    // Up to 6.6, from 6.7 on, and of numbers beyond the last helper.
    ["unknown func", "cannot use helper", "invalid func"].iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    static OBJECTS: [(&str, &[u8]); 4] = [
        ("ground", crate::observe::ground::OBJECT),
        ("witness", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/witness"))),
        ("rate", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rate"))),
        ("floor", aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floor"))),
    ];

    #[test]
    fn the_calls_of_objects_are_read_and_have_names() {
        for (object, bytes) in OBJECTS {
            if bytes.is_empty() {
                return testbed::skip::skip("built with PROFILER_EBPF=skip");
            }
            let calls = calls(bytes).unwrap();
            assert!(!calls.is_empty(), "{object} has no programs");
            for number in calls.values().flatten() {
                assert!(!name(*number).starts_with("helper "), "{object}: {number}");
            }
            // Tracepoint programs call the first, one uprobe program calls the second; the third is called by a function.
            if object == "witness" {
                for (attached, helper) in [
                    (Attached::Tracepoint, "task_pt_regs"),
                    (Attached::Uprobe, "get_stackid"),
                    (Attached::PerfEvent, "probe_read_user"),
                ] {
                    let calls = &calls[&attached];
                    assert!(calls.iter().any(|number| name(*number) == helper), "{helper}: {calls:?}");
                }
                assert!(!calls[&Attached::Tracepoint].contains(&(bpf_func_id::BPF_FUNC_get_stackid as u32)));
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(calls(&[]).unwrap_err().to_string().contains("PROFILER_EBPF=skip"));
        assert!(calls(b"no object").is_err());
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        for (number, expected) in
            [(5, "ktime_get_ns"), (112, "probe_read_user"), (181, "loop"), (211, "cgrp_storage_delete")]
        {
            assert_eq!(name(number), expected);
        }
        assert_eq!(name(212), "helper 212");
    }

    #[test]
    fn the_verifiers_words_are_understood() {
        for words in [
            "unknown func bpf_loop#181\n",
            "program of this type cannot use helper bpf_loop#181\n",
            "invalid func unknown#1048576\n",
        ] {
            assert!(says_that_it_lacks(words), "{words}");
        }
        for words in ["R1 !read_ok\n", "R2 type=ctx expected=func, func\n"] {
            assert!(!says_that_it_lacks(words), "{words}");
        }
    }
}
