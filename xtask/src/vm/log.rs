//! Signs in a kernel's log that something went wrong.

/// Parts of lines by which the kernel reports a defect of its own, or a process that was harmed.
const COMPLAINTS: [&str; 18] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "Kernel panic",
    "general protection fault",
    "kernel BUG at",
    "Unable to handle",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "self-detected stall",
    "detected stalls",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    // A process hit a breakpoint that has no handler, or an address that is not mapped.
    "trap int3",
    "segfault at",
];

/// The lines that complain.
pub(super) fn complaints<'l>(lines: impl IntoIterator<Item = &'l str>) -> Vec<&'l str> {
    lines.into_iter().filter(|line| COMPLAINTS.iter().any(|part| line.contains(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_found() {
        let log = [
            "WARNING: CPU: 0 PID: 70 at kernel/events/uprobes.c:1 uprobe_x+0x1/0x2",
            "BUG: kernel NULL pointer dereference, address: 0000000000000010",
            "BUG: sleeping function called from invalid context at mm/x.c:1",
            "Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: INFO: rcu_tasks_rude detected stalls on tasks:",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [x:1]",
            "INFO: task profiler:99 blocked for more than 120 seconds.",
            "WARNING: possible circular locking dependency detected",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "books[99]: segfault at 10 ip 0000000000401136 sp 00007ffd0 error 4 in books[401000+1000]",
            "traps: books[99] trap int3 ip:7f sp:7f error:0 in libc.so.6[7f+1]",
        ];
        assert_eq!(complaints(log), log);
    }

    #[test]
    fn the_usual_words_are_none() {
        let log = [
            "Linux version 6.1.0-56-cloud-amd64 (gcc-12 (Debian 12.2.0) 12.2.0, GNU ld 2.40)",
            "Spectre V2 : Kernel not compiled with retpoline; no mitigation available!",
            "x86/cpu: User Mode Instruction Prevention (UMIP) activated",
            "rcu: Hierarchical RCU implementation.",
            "audit: type=1326 audit(1.2:3): auid=0 uid=0 pid=99 comm=\"exe\" sig=31 code=0x80000000",
            "clocksource: Switched to clocksource tsc-early",
            "WARN_ON is configured",
            // A profiler was killed while it attached: the tests that do so deal with it.
            "uprobe: profiler:2661 failed to unregister, leaking uprobe",
        ];
        assert!(complaints(log).is_empty(), "{:?}", complaints(log));
    }
}
