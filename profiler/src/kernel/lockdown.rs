//! Lockdown of the kernel (kernel_lockdown(7)). In the mode `confidentiality` no BPF program may read the kernel's memory.

/// Where the kernel says its mode, if securityfs is mounted.
pub(crate) const FILE: &str = "/sys/kernel/security/lockdown";

/// The active mode, which is in brackets: `none [integrity] confidentiality`.
pub(crate) fn active(modes: &str) -> Option<&str> {
    modes.split(['[', ']']).nth(1)
}

/// Whether the mode is `confidentiality`. If it cannot be read, it is not.
pub(crate) fn is_confidential() -> bool {
    std::fs::read_to_string(FILE).is_ok_and(|modes| active(&modes) == Some("confidentiality"))
}
