//! Facts of a program file for placing probes: the functions that it defines, which instruction of a function to probe,
//! which functions forward to others, and how to step out of functions without frame pointer.
//!
//! Everything here works on the bytes of one ELF file for x86_64 and nothing else: no process, no privileges. The bytes
//! come from the target and are not trusted: for any bytes there is an answer or an [`Error`], after an amount of work
//! that the size of the file bounds.
//!
//! Addresses are virtual addresses *of the file* (`p_vaddr`), before the loader adds its bias, unless a name says
//! `file_offset`. uprobes are placed by file offset.

pub mod caller_step;
pub mod forwarding;
pub mod placement;
pub mod returns;
pub mod runtime;

mod debug_sections;
mod flow;
mod image;
mod imports;
mod mover;
mod symbols;
mod unpack;
mod unwind_entries;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use debug_sections::{DebugSection, SharedLink};
pub(crate) use image::Loaded;
pub use image::{Error, Image};
pub use mover::Mover;
pub use symbols::{Symbol, SymbolKind};
#[cfg(test)]
pub(crate) use unpack::Packing;
pub use unpack::SectionError;
pub(crate) use unpack::{unpack, unpack_xz};
pub(crate) use unwind_entries::FunctionStarts;
