//! Which BPF helpers the running kernel has for uprobe programs, found by asking its verifier.
//!
//! A program that calls a helper without arguments is refused either way; the verifier's words tell whether it is the
//! helper or the arguments that it does not like. The words have changed over time, so a helper that every supported
//! kernel has and a number that no kernel has are asked about first: if these answers are wrong, so is the method.

use std::io;

use super::bpf::{self, ProgramKind};

/// The helpers that our programs call, by number (`enum bpf_func_id`, include/uapi/linux/bpf.h).
pub(crate) const USED: [(u32, &str); 15] = [
    (1, "map_lookup_elem"),
    (2, "map_update_elem"),
    (3, "map_delete_elem"),
    (5, "ktime_get_ns"),
    (7, "get_prandom_u32"),
    (14, "get_current_pid_tgid"),
    (109, "send_signal"),
    (112, "probe_read_user"),
    (118, "jiffies64"),
    (130, "ringbuf_output"),
    (156, "task_storage_get"),
    (158, "get_current_task_btf"),
    (173, "get_func_ip"),
    (174, "get_attach_cookie"),
    (181, "loop"),
];
/// A helper without arguments that every kernel has (Linux 4.1).
const KNOWN: u32 = 5;
/// No helper has this number.
const UNKNOWN: u32 = 1 << 20;

/// Names of the helpers among [`USED`] that this kernel lacks; `None` if the verifier's words are not understood.
///
/// # Errors
/// If nothing can be loaded at all.
pub(crate) fn missing() -> io::Result<Option<Vec<&'static str>>> {
    if lacks(KNOWN)? || !lacks(UNKNOWN)? {
        return Ok(None);
    }
    let mut missing = Vec::new();
    for (number, name) in USED {
        if lacks(number)? {
            missing.push(name);
        }
    }
    Ok(Some(missing))
}

fn lacks(number: u32) -> io::Result<bool> {
    const CALL: u64 = 0x85;
    const EXIT: u64 = 0x95;
    let mut log = vec![0u8; 4096];
    match bpf::load_bare(ProgramKind::Perf, &[u64::from(number) << 32 | CALL, EXIT], &mut log) {
        Ok(_) => Ok(false),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
            let words = String::from_utf8_lossy(&log);
            if words.trim_matches('\0').is_empty() { Err(error) } else { Ok(says_that_it_lacks(&words)) }
        }
        Err(error) => Err(error),
    }
}

/// What verifiers say of a helper that there is not, or not for this kind of program.
fn says_that_it_lacks(words: &str) -> bool {
    // Up to 6.6, from 6.7 on, and of numbers beyond the last helper.
    ["unknown func", "cannot use helper", "invalid func"].iter().any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the programs call is what is asked about: nothing more, and nothing less.
    #[test]
    fn the_helpers_are_those_that_the_programs_call() {
        let bytes: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memleak"));
        if bytes.is_empty() {
            return testbed::skip::skip("built with PROFILER_EBPF=skip");
        }
        let object = aya_obj::Object::parse(bytes).unwrap();
        let instructions = object.functions.values().flat_map(|function| &function.instructions);
        // BPF_JMP | BPF_CALL; of another source than 0 is a call of a function of its own.
        let called: std::collections::BTreeSet<u32> = instructions
            .filter(|instruction| instruction.code == 0x85 && instruction.src_reg() == 0)
            .map(|instruction| instruction.imm as u32)
            .collect();
        assert_eq!(called.into_iter().collect::<Vec<_>>(), USED.map(|(number, _)| number));
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
