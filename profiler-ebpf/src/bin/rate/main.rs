//! Counts how often each thread passes a site, by class of site, and does nothing else: from that, the cost of the real probes is
//! predicted before they are attached.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", allow(missing_docs, reason = "a program has no public items"))]

#[cfg(target_arch = "bpf")]
mod programs {
    use core::ffi::c_void;

    use aya_ebpf::{
        helpers::generated::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns},
        macros::map,
        maps::HashMap,
    };
    use profiler_common::rate::{CLASSES, COLD_NS, COOLING_NS, ThreadRate};
    use profiler_ebpf as _; // the licence and the panic handler

    const BPF_NOEXIST: u64 = 1;
    const BPF_F_NO_PREALLOC: u32 = 1;

    /// Hits by thread. When it is full, further threads are not counted.
    #[map]
    static RATES: HashMap<u32, ThreadRate> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

    /// A hit. The cookie is the class of the site.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = "uprobe")]
    pub(crate) fn rate_hit(ctx: *mut c_void) -> u32 {
        // SAFETY: the context of this program, and a helper without arguments.
        let (class, tid, now) = unsafe {
            (bpf_get_attach_cookie(ctx) as usize, bpf_get_current_pid_tgid() as u32, bpf_ktime_get_ns())
        };
        if class >= CLASSES {
            return 0;
        }
        if RATES.get_ptr_mut(tid).is_none() {
            let _ = RATES.insert(
                tid,
                ThreadRate { of: [0; CLASSES], cooling_ns: [0; CLASSES], last_ns: now },
                BPF_NOEXIST,
            );
        }
        if let Some(rate) = RATES.get_ptr_mut(tid) {
            // SAFETY: a map value that only this thread writes.
            let last = unsafe { (&raw mut (*rate).last_ns).replace(now) };
            let cooling = now.wrapping_sub(last).saturating_sub(COLD_NS[0]).min(COOLING_NS);
            // SAFETY: as above, and an index that was checked.
            unsafe {
                *(&raw mut (*rate).of).cast::<u64>().add(class) += 1;
                *(&raw mut (*rate).cooling_ns).cast::<u64>().add(class) += cooling;
            }
        }
        0
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
