//! The current thread: what the kernel knows of it, and state of ours, which the kernel keeps with the thread itself: it is found without hashing, belongs to no other
//! context, and is freed with the thread.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    Global,
    helpers::{bpf_get_current_task_btf, generated::bpf_task_storage_get},
};

use crate::space;

/// `task_struct.pid`, in bytes, like the next ones: from the types of the running kernel.
#[unsafe(no_mangle)]
pub static TASK_PID: Global<u64> = Global::new(0);
/// `task_struct.tgid`
#[unsafe(no_mangle)]
pub static TASK_TGID: Global<u64> = Global::new(0);
/// `task_struct.comm`
#[unsafe(no_mangle)]
pub static TASK_COMM: Global<u64> = Global::new(0);
/// `task_struct.thread_info.status`
#[unsafe(no_mangle)]
pub static TASK_STATUS: Global<u64> = Global::new(0);

/// A task, as the kernel gives it, with its type.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// A task that the kernel gave as an argument of a typed tracepoint.
    ///
    /// # Safety
    /// The verifier knows its type.
    #[inline(always)]
    pub unsafe fn given(task: *const u8) -> Task {
        Task(task)
    }

    /// Where it is.
    #[inline(always)]
    pub fn pointer(self) -> *const u8 {
        self.0
    }

    /// A member, at an offset that the loader vouches for.
    #[inline(always)]
    pub fn member<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the kernel makes such loads safe, whatever they meet.
        unsafe { member(self.0, offset) }
    }
}

/// The current task.
#[inline(always)]
pub fn task() -> Task {
    // SAFETY: a helper without arguments.
    Task(unsafe { bpf_get_current_task_btf().cast::<u8>().cast_const() })
}

/// A member of a kernel structure, of which the verifier knows the type.
///
/// # Safety
/// `of` was given by the kernel with its type; the loader vouches for the offset.
#[inline(always)]
pub unsafe fn member<T: Copy>(of: *const u8, offset: u64) -> T {
    // SAFETY: the kernel makes such loads safe, whatever they meet.
    unsafe { of.add(offset as usize).cast::<T>().read_volatile() }
}

/// The thread id of a task.
#[inline(always)]
pub fn tid_of(task: Task) -> u32 {
    task.member(TASK_PID.load())
}

/// The process of a task.
#[inline(always)]
pub fn tgid_of(task: Task) -> u32 {
    task.member(TASK_TGID.load())
}

/// Whether the process of a task may be observed.
#[inline(always)]
pub fn is_candidate(task: Task) -> bool {
    space::may_be_observed(tgid_of(task))
}

/// The name of a task.
#[inline(always)]
pub fn comm(task: Task) -> [u64; 2] {
    [task.member(TASK_COMM.load()), task.member(TASK_COMM.load() + 8)]
}

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

    /// The state of another thread, if it has one. Typed tracepoints may ask (Linux 5.11).
    #[inline(always)]
    pub fn of(&'static self, task: Task) -> Option<*mut T> {
        // SAFETY: the map is a static, and the verifier knows the type of the task.
        let value = unsafe {
            bpf_task_storage_get(
                ptr::from_ref(self).cast_mut().cast::<c_void>(),
                task.pointer().cast_mut().cast(),
                ptr::null_mut(),
                0,
            )
        };
        if value.is_null() { None } else { Some(value.cast()) }
    }
}
