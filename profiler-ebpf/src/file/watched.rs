//! What an instance of epoll watches.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use profiler_common::file::MAX_WATCHED;

use super::{File, members as of, read};

/// Most moves from one node of the tree to another: enough for 128 files.
const MOST_MOVES: u32 = 384;
/// The bits of a parent's address that are the colour of its child.
const COLOUR: u64 = 3;

/// A file, and the descriptor under which a process knows it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Known {
    pub file: File,
    pub descriptor: u64,
}

/// The watched files, in a map. It also has the state of the search, of which the verifier then keeps no track.
#[repr(C)]
pub struct Watched {
    /// How many there are, as far as they were counted.
    pub count: u64,
    /// The instance of epoll: address of its `struct eventpoll`.
    poll: u64,
    /// Where the search has come to in the tree; 0: at its end.
    pub node: u64,
    /// What comes next there.
    next: Next,
    /// The first of them. The kernel may change the tree meanwhile, so these are candidates: the descriptor may refer to another file.
    pub first: [Known; MAX_WATCHED],
}

type Next = u64;
/// The left child, if there is one.
const LEFT: Next = 0;
/// The node itself, and then its right child.
const ITSELF: Next = 1;
/// The parent.
const PARENT: Next = 2;

/// What the kernel's loop hands to each of its turns.
struct Search {
    watched: *mut Watched,
}

/// Finds the files that an instance of epoll watches.
///
/// # Safety
/// `to` is a map value.
#[inline(always)]
pub unsafe fn watched(poll: File, to: *mut Watched) {
    // SAFETY: the caller vouches for the place. The callback gets a pointer to it, and the loop ends before this function does.
    unsafe {
        let poll = poll.data();
        (*to).poll = poll;
        (*to).count = 0;
        (*to).next = LEFT;
        (*to).node = read(poll + of::POLL_TREE.load());
        let mut search = Search { watched: to };
        bpf_loop(MOST_MOVES, step as *mut c_void, (&raw mut search).cast(), 0);
    }
}

/// Goes to the next node. Returns 1, which ends the loop, behind the last.
#[inline(never)]
extern "C" fn step(_turn: u32, search: *mut c_void) -> i64 {
    // SAFETY: the search of `watched`, which waits for this loop.
    unsafe {
        let to = (*search.cast::<Search>()).watched;
        let (node, next) = ((*to).node, (*to).next);
        if node == 0 {
            return 1;
        }
        if next == PARENT {
            let parent = read::<u64>(node + of::NODE_PARENT.load()) & !COLOUR;
            (*to).node = parent;
            if read::<u64>(parent + of::NODE_RIGHT.load()) != node {
                (*to).next = ITSELF;
            }
            return 0;
        }
        let side = if next == LEFT { of::NODE_LEFT.load() } else { of::NODE_RIGHT.load() };
        let child: u64 = read(node + side);
        if next == ITSELF {
            let item = node - of::ITEM_NODE.load();
            // The node was freed, or this is no epoll.
            if read::<u64>(item + of::ITEM_POLL.load()) != (*to).poll {
                return 1;
            }
            add(to, item);
        }
        if child == 0 {
            (*to).next = next + 1;
        } else {
            (*to).node = child;
            (*to).next = LEFT;
        }
    }
    0
}

/// Adds a watched file.
#[inline(always)]
unsafe fn add(to: *mut Watched, item: u64) {
    // SAFETY: the caller vouches for the place; the mask keeps the index below the number of files.
    unsafe {
        let count = (&raw const (*to).count).read_volatile();
        (*to).count = count + 1;
        if count < MAX_WATCHED as u64 {
            let descriptor: u32 = read(item + of::ITEM_DESCRIPTOR.load());
            let file = File::at(read::<u64>(item + of::ITEM_FILE.load()) + of::FILE_PATH.load());
            let at = (&raw mut (*to).first).cast::<Known>().add(count as usize & (MAX_WATCHED - 1));
            *at = Known { file, descriptor: descriptor.into() };
        }
    }
}
