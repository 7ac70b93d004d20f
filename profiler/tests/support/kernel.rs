//! What the running kernel can do, by its own word: not by its version, because distributions port features back.

use std::fs;
use std::sync::LazyLock;

/// What came after Linux 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// A tracepoint where a process has read from a socket (Linux 6.3).
    ReadsOfSockets,
    /// Many sites, one link (Linux 6.6).
    Multi,
    /// The tracepoint of drops says whose packet it was (Linux 6.11).
    SocketsOfDrops,
    /// Entry and return in one program (Linux 6.13).
    Session,
    /// The exit code of a process can be read after its parent has reaped it (Linux 6.15).
    EndOfCollected,
    /// A tracepoint where it looks for a page of a mapped file (Linux 6.11).
    FaultStart,
}

/// The types of the running kernel, and with them the names of all structs and enumerators.
static TYPES: LazyLock<Vec<u8>> =
    LazyLock::new(|| fs::read("/sys/kernel/btf/vmlinux").expect("the kernel has BTF"));

/// Whether the kernel has it.
pub(crate) fn has(feature: Feature) -> bool {
    let name: &[u8] = match feature {
        Feature::ReadsOfSockets => b"\0btf_trace_sock_recv_length\0",
        Feature::Multi => b"\0BPF_TRACE_UPROBE_MULTI\0",
        // The argument. The tracepoint itself is older.
        Feature::SocketsOfDrops => b"\0rx_sk\0",
        Feature::Session => b"\0BPF_TRACE_UPROBE_SESSION\0",
        Feature::EndOfCollected => b"\0pidfs_exit_info\0",
        Feature::FaultStart => b"\0btf_trace_mm_filemap_fault\0",
    };
    // SAFETY: both pointers are to slices of the lengths that stand beside them. (The standard library would look
    // through these megabytes byte by byte in a build without optimisation.)
    let found = unsafe { libc::memmem(TYPES.as_ptr().cast(), TYPES.len(), name.as_ptr().cast(), name.len()) };
    !found.is_null()
}

/// The best way of attaching that the kernel has, as profiler names it.
pub(crate) fn best_method() -> &'static str {
    if has(Feature::Session) {
        "uprobe session"
    } else if has(Feature::Multi) {
        "uprobe_multi"
    } else {
        "perf uprobes"
    }
}
