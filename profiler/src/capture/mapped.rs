//! Arrays of the kernel side that are mapped into our memory: reading and writing them takes no system call.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, RawFd},
};

use memmap2::{MmapOptions, MmapRaw};

use super::object::{Object, explain};
use crate::error::{Error, ErrorKind, Result};

/// An array of wire types.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    map: MmapRaw,
    entries: u32,
    of: PhantomData<T>,
}

impl<T> Mapped<T> {
    /// Maps an array of this many elements.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn new(object: &Object, name: &str, entries: u32) -> Result<Mapped<T>> {
        const { assert!(size_of::<T>().is_multiple_of(8), "elements of arrays are aligned to 8 bytes") };
        let map = map_array(object, name, entries as usize * size_of::<T>(), MmapOptions::map_raw_read_only)?;
        Ok(Mapped { map, entries, of: PhantomData })
    }

    /// A pointer to an element; `None` beyond the last one. The kernel side may write at the same time.
    pub(crate) fn at(&self, index: u32) -> Option<*const T> {
        // SAFETY: within the mapping.
        (index < self.entries).then(|| unsafe { self.map.as_ptr().cast::<T>().add(index as usize) })
    }

    /// Elements from 1 to `last`, as far as the array has them.
    pub(crate) fn up_to(&self, last: u64) -> impl Iterator<Item = (u32, *const T)> + use<'_, T> {
        let last = last.min(u64::from(self.entries.saturating_sub(1))) as u32;
        (1..=last).filter_map(|index| Some((index, self.at(index)?)))
    }
}

/// Maps an array of this many bytes, which we write, too.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn writable(object: &Object, name: &str, bytes: usize) -> Result<MmapRaw> {
    map_array(object, name, bytes, MmapOptions::map_raw)
}

fn map_array(
    object: &Object,
    name: &str,
    bytes: usize,
    map: fn(&MmapOptions, RawFd) -> io::Result<MmapRaw>,
) -> Result<MmapRaw> {
    // The kernel allocates whole pages.
    map(MmapOptions::new().len(bytes.next_multiple_of(4096)), object.map(name)?.as_raw_fd())
        .map_err(|e| explain(Error::new(ErrorKind::Kernel, format_args!("tried to map BPF map {name}")), e))
}
