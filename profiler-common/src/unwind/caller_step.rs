//! Steps over functions without a frame pointer, for stacks of an address space whose mappings are not known yet.

use crate::wire;

wire! {
    /// How to step over a function that keeps no frame pointer, at one return address inside it.
    pub struct CallerStep {
        /// Distance from the stack pointer after the return to the canonical frame address, in bytes.
        pub cfa_from_rsp_bytes: u32,
        /// Distance below the canonical frame address where the caller's frame pointer is saved; 0: not saved.
        pub rbp_below_cfa_bytes: u32,
    }
}
