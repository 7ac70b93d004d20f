//! Creating and freezing maps, and reading and writing them from user space.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use aya_obj::generated::bpf_cmd;

use super::{address, call, call_for_fd, no_arguments, number};

/// A map to create, to see whether the kernel allows it.
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

/// Creates a map. `types`: a BTF object, and the number of the type in it that keys and values have.
pub(crate) fn create_map(map: BareMap, types: Option<(BorrowedFd<'_>, u32)>) -> io::Result<OwnedFd> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_1.map_type = map.kind;
    attr.__bindgen_anon_1.key_size = map.key_bytes;
    attr.__bindgen_anon_1.value_size = map.value_bytes;
    attr.__bindgen_anon_1.max_entries = map.entries;
    attr.__bindgen_anon_1.map_flags = map.flags;
    if let Some((btf, type_number)) = types {
        attr.__bindgen_anon_1.btf_fd = number(btf);
        attr.__bindgen_anon_1.btf_key_type_id = type_number;
        attr.__bindgen_anon_1.btf_value_type_id = type_number;
    }
    call_for_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr)
}

/// Makes a map read-only for user space. The verifier then takes its contents as constants.
pub(crate) fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_2.map_fd = number(map);
    call(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(|_| ())
}

/// Reads one element; `values` has one entry per possible CPU for a per-CPU map, else one.
pub(crate) fn lookup<K, V: Copy>(map: BorrowedFd<'_>, key: &K, values: &mut [V]) -> io::Result<()> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_2.map_fd = number(map);
    attr.__bindgen_anon_2.key = address(key);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = values.as_mut_ptr() as u64;
    call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr).map(|_| ())
}

/// Writes one element.
pub(crate) fn update<K, V: ?Sized>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_2.map_fd = number(map);
    attr.__bindgen_anon_2.key = address(key);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = address(value);
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(|_| ())
}

/// Deletes one element.
pub(crate) fn delete<K>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = no_arguments();
    attr.__bindgen_anon_2.map_fd = number(map);
    attr.__bindgen_anon_2.key = address(key);
    call(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr).map(|_| ())
}

/// Reads a hash map in batches of whole buckets, each consistent in itself, and calls `each` with every element.
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
        let mut attr = no_arguments();
        attr.batch.in_batch = if first { 0 } else { address(&position) };
        attr.batch.out_batch = next.as_mut_ptr() as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = room as u32;
        attr.batch.map_fd = number(map);
        let result = call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
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
        // SAFETY: the kernel wrote this member; any bytes are valid for it.
        let count = (unsafe { attr.batch.count } as usize).min(room);
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
