//! Where the kernel keeps the return addresses that return probes have replaced.

use crate::kernel::types::{Member, Types};

const PLACES: [Member; 9] = [
    ("TASK_MM", "task_struct", &["mm"]),
    ("MM_XOL_AREA", "mm_struct", &["uprobes_state", "xol_area"]),
    ("XOL_AREA_VADDR", "xol_area", &["vaddr"]),
    ("TASK_UTASK", "task_struct", &["utask"]),
    ("UTASK_RETURN_INSTANCES", "uprobe_task", &["return_instances"]),
    ("UTASK_VADDR", "uprobe_task", &["vaddr"]),
    ("RETURN_STACK", "return_instance", &["stack"]),
    ("RETURN_ORIGINAL", "return_instance", &["orig_ret_vaddr"]),
    ("RETURN_NEXT", "return_instance", &["next"]),
];

/// Offsets of those members in this kernel.
#[derive(Debug, Default)]
pub(crate) struct Returns([[u8; 8]; PLACES.len()]);

impl Returns {
    /// Looks them up. If a member is missing, all are 0: then stacks end at return probes, and are marked as ended
    /// there.
    pub(crate) fn of_kernel() -> Returns {
        Self::look_up().unwrap_or_else(|error| {
            tracing::info!("stacks end at return probes: {error}");
            Returns::default()
        })
    }

    /// Looks them up.
    ///
    /// # Errors
    /// If the kernel has no types, or lacks a member, which is named.
    pub(crate) fn look_up() -> std::io::Result<Returns> {
        let globals = Types::of_kernel()?.globals(&PLACES)?;
        let places: Vec<[u8; 8]> = globals.into_iter().map(|(_, offset)| offset).collect();
        Ok(Returns(places.try_into().unwrap_or_default()))
    }

    /// The values of the kernel side's read-only globals.
    pub(crate) fn globals(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        PLACES.iter().zip(&self.0).map(|((name, ..), bytes)| (*name, bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_all_members() {
        let returns = Returns::of_kernel();
        let lasting = |(name, bytes): &(&str, &[u8])| *name == "XOL_AREA_VADDR" && bytes != &[0; 8];
        assert!(returns.globals().any(|global| lasting(&global)));
        assert_eq!(returns.globals().count(), PLACES.len());
    }
}
