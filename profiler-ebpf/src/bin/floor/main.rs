//! Programs that do nothing, for functions of the target and for system calls: what is left is what the kernel takes for a probe, the
//! floor of every tool that probes the same places. Only measurements attach them.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod programs {
    use core::ffi::c_void;

    use profiler_ebpf as _; // the licence and the panic handler

    /// Entry and return in one; 0 at entry asks for the return.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "uprobe")]
    pub(crate) fn floor_session(_ctx: *mut c_void) -> u32 {
        0
    }

    /// Entry alone.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "uprobe")]
    pub(crate) fn floor_entry(_ctx: *mut c_void) -> u32 {
        0
    }

    /// Return alone.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "uretprobe")]
    pub(crate) fn floor_return(_ctx: *mut c_void) -> u32 {
        0
    }

    /// Entry of a release.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "uprobe")]
    pub(crate) fn floor_free(_ctx: *mut c_void) -> u32 {
        0
    }

    /// Entry or return of every system call.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "tp_btf")]
    pub(crate) fn floor_call(_ctx: *mut c_void) -> i32 {
        0
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
