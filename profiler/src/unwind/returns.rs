//! Where the kernel keeps the return addresses that return probes replaced.

use crate::kernel::types::Types;

/// Settings of the kernel side by name, and the members that they stand for.
const PLACES: [(&str, &str, &[&str]); 9] = [
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
    /// Looks them up. All are 0 if one is not there: stacks end at return probes then, and say so.
    pub(crate) fn of_kernel() -> Returns {
        let places = Types::of_kernel().and_then(|types| {
            let place = |(_, structure, path): &(&str, &str, &[&str])| {
                let missing = || std::io::Error::other(format!("no {structure}.{}", path.join(".")));
                types.offset(structure, path).map(u64::to_ne_bytes).ok_or_else(missing)
            };
            PLACES.iter().map(place).collect::<Result<Vec<_>, _>>()
        });
        match places {
            Ok(places) => Returns(places.try_into().unwrap_or_default()),
            Err(error) => {
                tracing::info!("stacks end at return probes: {error}");
                Returns::default()
            }
        }
    }

    /// As the kernel side's read-only globals.
    pub(crate) fn globals(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        PLACES.iter().zip(&self.0).map(|((name, ..), bytes)| (*name, bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_tells_them_all() {
        let returns = Returns::of_kernel();
        let lasting = |(name, bytes): &(&str, &[u8])| *name == "XOL_AREA_VADDR" && bytes != &[0; 8];
        assert!(returns.globals().any(|global| lasting(&global)));
        assert_eq!(returns.globals().count(), PLACES.len());
    }
}
