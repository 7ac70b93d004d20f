//! The exactness workload in Rust: alloc, alloc_zeroed, realloc and dealloc of `std::alloc`, from eight threads, with
//! books. Same protocol and same books as `books.h`.
//!
//! rustc --edition 2024 -O -g -C force-frame-pointers=yes books.rs
//!
//! The books of a thread live in its own stack frame and on a heap block made before `READY`: between `go` and `DONE`
//! only the sites allocate.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::sync::{Arc, Barrier, Mutex};

const SITES: [&str; 4] = ["site_alloc", "site_alloc_zeroed", "site_realloc", "site_alloc_aligned"];
const BEFORE_SITE: usize = SITES.len();
const RING: usize = 2048;
const SHARED: usize = 512;
const BEFORE: usize = 199;

#[derive(Clone, Copy)]
struct Block {
    address: *mut u8,
    layout: Layout,
    site: usize,
}

// A block is owned by whoever holds this value.
unsafe impl Send for Block {}

#[derive(Clone, Copy, Default)]
struct Book {
    allocs: u64,
    alloc_bytes: u64,
    frees: u64,
    freed_bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Books {
    sites: [Book; SITES.len() + 1],
    untracked_frees: u64,
    untracked_reallocs: u64,
    failed_calls: u64,
}

// The number keeps the compiler from folding functions with the same body into one.

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn site_before(layout: &Layout) -> *mut u8 {
    std::hint::black_box(0);
    std::hint::black_box(unsafe { alloc(*layout) })
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn site_alloc(layout: &Layout) -> *mut u8 {
    std::hint::black_box(1);
    std::hint::black_box(unsafe { alloc(*layout) })
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn site_alloc_zeroed(layout: &Layout) -> *mut u8 {
    std::hint::black_box(2);
    std::hint::black_box(unsafe { alloc_zeroed(*layout) })
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn site_alloc_aligned(layout: &Layout) -> *mut u8 {
    std::hint::black_box(3);
    std::hint::black_box(unsafe { alloc(*layout) })
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn site_realloc(block: *mut u8, layout: &Layout, size: usize) -> *mut u8 {
    std::hint::black_box(4);
    std::hint::black_box(unsafe { realloc(block, *layout, size) })
}

/// xorshift64*, as in `workload.h`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * bound) >> 32
    }

    fn size(&mut self) -> usize {
        let bound = match self.below(1024) {
            0..900 => 512,
            900..1010 => 8192,
            1010..1023 => 65536,
            _ => 524_288,
        };
        1 + self.below(bound) as usize
    }
}

impl Books {
    fn enter(&mut self, site: usize, address: *mut u8, layout: Layout) -> Option<Block> {
        if address.is_null() {
            self.failed_calls += 1;
            return None;
        }
        self.sites[site].allocs += 1;
        self.sites[site].alloc_bytes += layout.size() as u64;
        Some(Block { address, layout, site })
    }

    fn strike(&mut self, block: &Block) {
        self.sites[block.site].frees += 1;
        self.sites[block.site].freed_bytes += block.layout.size() as u64;
    }

    fn allocate(&mut self, random: &mut Random) -> Option<Block> {
        let size = random.size();
        let plain = Layout::from_size_align(size, 16).unwrap();
        let aligned = Layout::from_size_align(size, 32 << random.below(6)).unwrap();
        match random.below(3) {
            0 => self.enter(0, unsafe { site_alloc(&plain) }, plain),
            1 => self.enter(1, unsafe { site_alloc_zeroed(&plain) }, plain),
            _ => self.enter(3, unsafe { site_alloc_aligned(&aligned) }, aligned),
        }
    }

    /// Over-aligned blocks are resized too: the standard library then allocates, copies and frees.
    fn resize(&mut self, block: Block, random: &mut Random) -> Option<Block> {
        let size = random.size();
        let moved = unsafe { site_realloc(block.address, &block.layout, size) };
        if moved.is_null() {
            self.failed_calls += 1;
            return Some(block);
        }
        self.strike(&block);
        self.untracked_reallocs += u64::from(block.site == BEFORE_SITE);
        self.enter(2, moved, Layout::from_size_align(size, block.layout.align()).unwrap())
    }

    fn release(&mut self, block: Block) {
        self.strike(&block);
        self.untracked_frees += u64::from(block.site == BEFORE_SITE);
        unsafe { dealloc(block.address, block.layout) };
    }
}

struct Worker {
    random: Random,
    ring: Vec<Option<Block>>,
    books: Books,
}

impl Worker {
    fn new(seed: u64) -> Worker {
        let mut worker =
            Worker { random: Random(seed), ring: vec![None; RING], books: Books::default() };
        for place in 0..BEFORE {
            let layout = Layout::from_size_align(worker.random.size(), 16).unwrap();
            worker.ring[place] = worker.books.enter(BEFORE_SITE, unsafe { site_before(&layout) }, layout);
        }
        worker
    }

    fn step(&mut self, shared: &Mutex<[Option<Block>; SHARED]>) {
        let place = self.random.below(RING as u64) as usize;
        let choice = self.random.below(64);
        if choice < 20 && self.ring[place].is_some() {
            let other = self.random.below(SHARED as u64) as usize;
            std::mem::swap(&mut self.ring[place], &mut shared.lock().unwrap()[other]);
        }
        self.ring[place] = match self.ring[place] {
            None => self.books.allocate(&mut self.random),
            Some(block) if choice >= 44 => self.books.resize(block, &mut self.random),
            Some(block) => {
                self.books.release(block);
                None
            }
        };
    }
}

fn option(name: &str, otherwise: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|a| a != name);
    arguments.nth(1).map_or(otherwise, |value| value.parse().unwrap())
}

/// Waits for a line, byte by byte into a fixed buffer; false at the end of stdin or at `quit`.
fn wait_for(word: &str, stdin: &mut File) -> bool {
    let (mut line, mut length) = ([0u8; 64], 0);
    loop {
        let mut byte = [0u8];
        if stdin.read(&mut byte).unwrap_or(0) == 0 {
            return false;
        }
        if byte[0] != b'\n' {
            line[length.min(63)] = byte[0];
            length += 1;
            continue;
        }
        match &line[..length.min(64)] {
            b"quit" => return false,
            said if said == word.as_bytes() => return true,
            _ => length = 0,
        }
    }
}

fn site_json(name: &str, book: &Book) -> String {
    format!(
        "{{\"function\":\"{name}\",\"allocs\":{},\"alloc_bytes\":{},\"frees\":{},\"live\":{},\"live_bytes\":{}}}",
        book.allocs,
        book.alloc_bytes,
        book.frees,
        book.allocs - book.frees,
        book.alloc_bytes - book.freed_bytes
    )
}

/// Sums the books and walks the live blocks a second time.
fn report(workers: &[Books], rings: &[Vec<Option<Block>>], shared: &[Option<Block>], ops: u64) -> Option<String> {
    let mut total = Books::default();
    for books in workers {
        for (sum, book) in total.sites.iter_mut().zip(&books.sites) {
            sum.allocs += book.allocs;
            sum.alloc_bytes += book.alloc_bytes;
            sum.frees += book.frees;
            sum.freed_bytes += book.freed_bytes;
        }
        total.untracked_frees += books.untracked_frees;
        total.untracked_reallocs += books.untracked_reallocs;
        total.failed_calls += books.failed_calls;
    }
    for (site, book) in total.sites.iter().enumerate() {
        let live = rings.iter().flatten().chain(shared).flatten().filter(|block| block.site == site);
        let (count, bytes) = live.fold((0, 0), |(n, b), block| (n + 1, b + block.layout.size() as u64));
        if (book.allocs - book.frees, book.alloc_bytes - book.freed_bytes) != (count, bytes) {
            return None;
        }
    }
    let sites: Vec<String> = SITES.iter().zip(&total.sites).map(|(name, book)| site_json(name, book)).collect();
    Some(format!(
        "{{\"allocator\":\"rust\",\"threads\":{},\"ops\":{ops},\"sites\":[{}],\"before\":{},\"untracked_frees\":{},\
         \"untracked_reallocs\":{},\"null_frees\":0,\"failed_calls\":{}}}",
        workers.len(),
        sites.join(","),
        site_json("site_before", &total.sites[BEFORE_SITE]),
        total.untracked_frees,
        total.untracked_reallocs,
        total.failed_calls
    ))
}

fn main() {
    let (threads, ops, seed) = (option("--threads", 8), option("--ops", 1_000_000), option("--seed", 1));
    let mut stdin = unsafe { File::from_raw_fd(0) };
    let shared = Arc::new(Mutex::new([None; SHARED]));
    // READY, go, DONE, quit. The books are written between the last two: what that allocates is freed or its own.
    let stage = Arc::new(Barrier::new(threads as usize + 1));
    let results = Arc::new(Mutex::new(Vec::with_capacity(threads as usize)));
    let mut handles = Vec::new();
    for thread in 0..threads {
        let (shared, stage, results) = (shared.clone(), stage.clone(), results.clone());
        handles.push(std::thread::spawn(move || {
            let seed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (thread + 1);
            let mut worker = Worker::new(seed);
            stage.wait();
            stage.wait();
            for _ in 0..ops / threads + u64::from(thread < ops % threads) {
                worker.step(&shared);
            }
            results.lock().unwrap().push((worker.books, worker.ring));
            stage.wait();
            stage.wait();
        }));
    }
    stage.wait();
    println!("pid {}\nREADY", std::process::id());
    std::io::stdout().flush().unwrap();
    if std::env::args().any(|a| a == "--wait") && !wait_for("go", &mut stdin) {
        return;
    }
    stage.wait();
    stage.wait();
    let (books, rings): (Vec<Books>, Vec<_>) = results.lock().unwrap().drain(..).unzip();
    let Some(line) = report(&books, &rings, &*shared.lock().unwrap(), ops) else { std::process::exit(72) };
    println!("{line}\nDONE");
    wait_for("quit", &mut stdin);
    stage.wait();
    for handle in handles {
        handle.join().unwrap();
    }
}
