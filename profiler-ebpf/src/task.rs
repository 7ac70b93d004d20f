//! State of the current thread, which the kernel keeps with the thread itself: it is found without hashing, belongs to no other
//! context, and is freed with the thread.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::{bpf_get_current_task_btf, generated::bpf_task_storage_get};

/// A map of type `BPF_MAP_TYPE_TASK_STORAGE` (Linux 5.11). aya-ebpf has no type for it.
#[repr(C)]
pub struct TaskStorage<T: 'static> {
    r#type: *const [i32; 29],
    key: *const i32,
    value: *const T,
    map_flags: *const [i32; 1], // BPF_F_NO_PREALLOC, which the kernel demands of this type
}

// SAFETY: the struct only describes the map to the loader; nothing ever reads or writes through its pointers.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// Declares the map.
    #[allow(clippy::new_without_default, reason = "a map is declared, never made at run time")]
    pub const fn new() -> Self {
        TaskStorage { r#type: ptr::null(), key: ptr::null(), value: ptr::null(), map_flags: ptr::null() }
    }

    /// The state of the current thread, zeroed at first use. `None` if the kernel has no memory, or is already
    /// inside this function on this CPU.
    #[inline(always)]
    pub fn current(&'static self) -> Option<*mut T> {
        const CREATE: u64 = 1; // BPF_LOCAL_STORAGE_GET_F_CREATE, include/uapi/linux/bpf.h
        // SAFETY: the map is a static, the task is the kernel's own pointer to the current task.
        let value = unsafe {
            bpf_task_storage_get(
                ptr::from_ref(self).cast_mut().cast::<c_void>(),
                bpf_get_current_task_btf().cast(),
                ptr::null_mut(),
                CREATE,
            )
        };
        if value.is_null() { None } else { Some(value.cast()) }
    }
}
