//! What crosses the border between the kernel side and the user side.
//!
//! Rules of this crate: `no_std`, no dependencies, `repr(C)` structs of integers and arrays only, every field's
//! unit in its name, no padding (checked at compile time by [`wire!`]). Code that both sides must agree on, such
//! as the age scale or the layout of a cookie, lives here once.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod age;
pub mod busiest;
pub mod call;
pub mod disk;
pub mod event;
pub mod file;
pub mod histogram;
pub mod io;
pub mod ledger;
pub mod memleak;
pub mod opaque;
pub mod rate;
pub mod record;
pub mod socket;
pub mod sockets;
pub mod space;
pub mod syscalls;
pub mod unwind;
pub mod witness;

/// Declares a wire struct: `repr(C)`, `Copy`, all zeroes valid, and no padding.
#[macro_export]
macro_rules! wire {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
        const _: () = {
            assert!(core::mem::size_of::<$name>() == 0 $(+ core::mem::size_of::<$ty>())*, "padding");
            assert!(core::mem::size_of::<$name>() % 8 == 0, "a map value is a multiple of 8 bytes");
        };
    };
}
