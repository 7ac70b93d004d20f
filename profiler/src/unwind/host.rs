//! Walking stacks in user space, by the same source as the kernel side: of a stopped process, of our own, or of a
//! recorded one. For tests; tools let the kernel side walk.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use profiler_common::unwind::{
    Block, Mappings, Rare, Row, Tables,
    walk::{self, FRAME_ROOM, MAX_FRAMES, Machine, Walk},
};

use super::{
    arena::{Arena, Capacity},
    cache::Cache,
    file::ProgramFile,
    spaces::{Mapped, VDSO, walkable},
};
use crate::target::maps;

/// Room for the tables of 1 GiB of text; unused memory is never touched.
const CAPACITY: Capacity = Capacity { blocks: 1 << 22, chunks: 1 << 14 };

/// Tables and mappings of a process.
#[derive(Debug)]
pub struct HostSpace {
    /// The tables of all files that it maps.
    pub arena: Arena,
    /// The mappings.
    pub mappings: Box<Mappings>,
    /// Mappings without a table, by path, and why.
    pub left_out: Vec<(String, String)>,
}

impl HostSpace {
    /// Makes the tables of what a process maps now.
    ///
    /// # Errors
    /// If the process is gone or may not be read, or there is no memory.
    pub fn of(pid: u32) -> io::Result<HostSpace> {
        let mut mapped = Vec::new();
        for mapping in maps::executable(pid)? {
            if mapping.path.as_os_str() == VDSO {
                mapped.push(Mapped::vdso(pid, mapping)?);
            } else if mapping.file.inode != 0 {
                let file = mapping.open(pid).and_then(|(_, path)| ProgramFile::open(&path));
                mapped.push(Mapped { mapping, file: file.map(Arc::new).map_err(|e| e.to_string()) });
            }
        }
        let mut arena = Arena::anonymous(CAPACITY)?;
        let found = walkable(&mapped, &Cache::default(), &mut arena);
        Ok(HostSpace { arena, mappings: found.mappings, left_out: found.left_out })
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Address of the instruction.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer register.
    pub fp: u64,
    /// Whether `ip` is a return address.
    pub returned: bool,
}

/// The result of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The frames, innermost first, in the form that [`unmarked`](profiler_common::unwind::unmarked) reads.
    pub frames: Vec<u64>,
    /// One of [`End`](walk::End).
    pub end: u64,
    /// Frames found by their frame pointers alone.
    pub guessed: u64,
}

/// Walks a stack.
pub fn walk<M: Machine>(machine: M, mappings: &Mappings, start: Start) -> Walked {
    // SAFETY: a walk of zeroes is one that has not begun.
    let mut state: Box<Walk> = Box::new(unsafe { std::mem::zeroed() });
    let mut frames = vec![0; FRAME_ROOM];
    // SAFETY: all pointers are to memory of our own that is large enough.
    unsafe {
        walk::open(machine, &raw mut *state, start.sp);
        walk::begin(&raw mut *state, 0, start.ip, start.sp, start.fp, start.returned);
        for _ in 0..MAX_FRAMES {
            if walk::step(machine, mappings, &raw mut *state, frames.as_mut_ptr()) {
                break;
            }
        }
    }
    frames.truncate(state.depth as usize);
    Walked { frames, end: state.end, guessed: state.guessed }
}

/// A thread of a process whose memory can be read.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a> {
    /// Tables and mappings of the process.
    pub space: &'a HostSpace,
    /// Its memory, `/proc/PID/mem`.
    pub memory: &'a File,
    /// The thread's registers by DWARF number, as far as they are known.
    pub registers: &'a [u64],
}

// SAFETY: as the arena.
unsafe impl Tables for Thread<'_> {
    fn block(self, index: u32) -> Option<Block> {
        (&self.space.arena).block(index)
    }

    fn chunk(self, index: u32) -> Option<*const Row> {
        (&self.space.arena).chunk(index)
    }

    fn rare(self, index: u32) -> Option<*const Rare> {
        (&self.space.arena).rare(index)
    }
}

// SAFETY: `copy` writes as many bytes as it is asked for, or fails.
unsafe impl Machine for Thread<'_> {
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool {
        // SAFETY: the caller guarantees the room.
        let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), bytes as usize) };
        self.memory.read_exact_at(to, from).is_ok()
    }

    fn register(self, number: u32) -> Option<u64> {
        self.registers.get(number as usize).copied()
    }
}
