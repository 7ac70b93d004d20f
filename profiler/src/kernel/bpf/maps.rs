//! Maps: created, frozen, and read and written from user space.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use super::Attr;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_FREEZE: libc::c_long = 22;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// A map to be created, for the sake of seeing whether the kernel does it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BareMap {
    /// `enum bpf_map_type`.
    pub(crate) kind: u32,
    /// Size of a key in bytes.
    pub(crate) key_bytes: u32,
    /// Size of a value in bytes.
    pub(crate) value_bytes: u32,
    /// Elements, or bytes of a ring.
    pub(crate) entries: u32,
    /// `BPF_F_...`.
    pub(crate) flags: u32,
}

/// Creates a map. `types`: BTF, and the number of the type in it that keys and values have.
pub(crate) fn create_map(map: BareMap, types: Option<(BorrowedFd<'_>, u32)>) -> io::Result<OwnedFd> {
    let attr = Attr::new()
        .u32(0, map.kind)
        .u32(4, map.key_bytes)
        .u32(8, map.value_bytes)
        .u32(12, map.entries)
        .u32(16, map.flags);
    // btf_fd, btf_key_type_id, btf_value_type_id.
    let mut attr = match types {
        Some((btf, number)) => attr.fd(48, btf).u32(52, number).u32(56, number),
        None => attr,
    };
    attr.call_for_fd(BPF_MAP_CREATE)
}

/// Lets nobody write a map from user space any more: what it holds is constant for the verifier.
pub(crate) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    Attr::new().fd(0, map).call(BPF_MAP_FREEZE).map(|_| ())
}

/// Reads one element; `values` has one entry per possible CPU for a per-CPU map, else one.
pub(crate) fn lookup<K, V: Copy>(map: BorrowedFd<'_>, key: &K, values: &mut [V]) -> io::Result<()> {
    Attr::new()
        .fd(0, map)
        .u64(8, std::ptr::from_ref(key) as u64)
        .u64(16, values.as_mut_ptr() as u64)
        .call(BPF_MAP_LOOKUP_ELEM)
        .map(|_| ())
}

/// Writes one element.
pub(crate) fn update<K, V: ?Sized>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    Attr::new()
        .fd(0, map)
        .u64(8, std::ptr::from_ref(key) as u64)
        .u64(16, std::ptr::from_ref(value).cast::<u8>() as u64)
        .call(BPF_MAP_UPDATE_ELEM)
        .map(|_| ())
}

/// Reads a hash map in batches of whole buckets, each consistent in itself, and hands every element to `each`.
pub(crate) fn for_each_element<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(K, V),
) -> io::Result<()> {
    let mut room = 16_384usize;
    let mut position = [0u8; 8];
    let mut first = true;
    loop {
        let mut keys: Vec<K> = Vec::with_capacity(room);
        let mut values: Vec<V> = Vec::with_capacity(room);
        let mut next = [0u8; 8];
        // struct batch: in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags.
        let mut attr = Attr::new()
            .u64(0, if first { 0 } else { position.as_ptr() as u64 })
            .u64(8, next.as_mut_ptr() as u64)
            .u64(16, keys.as_mut_ptr() as u64)
            .u64(24, values.as_mut_ptr() as u64)
            .u32(32, room as u32)
            .fd(36, map);
        let result = attr.call(BPF_MAP_LOOKUP_BATCH);
        let last = match result {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) => {
                    room *= 2; // one bucket alone is larger than the room
                    continue;
                }
                _ => return Err(error),
            },
        };
        let count = (attr.read_u32(32) as usize).min(room);
        // SAFETY: the kernel wrote this many keys and values, and any bytes are valid for the wire types.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        for (key, value) in keys.into_iter().zip(values) {
            each(key, value);
        }
        if last {
            return Ok(());
        }
        first = false;
        position = next;
    }
}
