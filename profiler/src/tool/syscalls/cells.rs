//! Reads the cells of threads, and the cells that threads of one name share, so that each call is counted in exactly one of them.
//!
//! When a thread ends, its cells may be added to shared ones and given to other threads. A reader that is not careful then sees
//! the same calls twice, or not at all. If threads end all the time, there is never a moment to read all cells at once. So cells
//! are then read one system call at a time, which is quick enough.

use std::collections::BTreeMap;

use profiler_common::syscalls::{Cell, ErrorKey, Folds, SharedKey};

use crate::error::Result;

/// How often all cells are read at once before they are read one system call at a time.
const TRIES_AT_ONCE: usize = 2;
/// How often the cells of one call are read, until no cells were given back meanwhile.
const TRIES: usize = 200;
/// How often keys are listed: more may appear when a thread gives its cells back.
const LISTS: usize = 4;

/// A system call of an address space. Cells are only ever added to shared cells of the same call.
pub(super) type OneCall = u64;

/// What was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) cells: Vec<Cell>,
    /// Keys of shared cells.
    pub(super) errors: Vec<(ErrorKey, u64)>,
}

/// Where the cells of one call are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) own: Vec<u32>,
    pub(super) shared: Vec<SharedKey>,
    pub(super) errors: Vec<ErrorKey>,
}

/// The kernel side's counts.
pub(super) trait Books {
    /// How often threads have given their cells back.
    fn folds(&self) -> Result<Folds>;
    /// Everything at once.
    fn all(&self) -> Result<Read>;
    /// Where the threads' own cells are now.
    fn own_places(&self) -> Result<BTreeMap<OneCall, Vec<u32>>>;
    /// Adds where shared cells and their errors are now.
    fn shared_places(&self, places: &mut BTreeMap<OneCall, Places>) -> Result<()>;
    /// A cell of a thread; `None` if it is now used for another call.
    fn own(&self, of: OneCall, index: u32) -> Option<Cell>;
    /// A shared cell.
    fn shared(&self, key: &SharedKey) -> Result<Option<Cell>>;
    /// Errors of a shared cell.
    fn errors(&self, key: &ErrorKey) -> Result<Option<u64>>;
}

/// Reads everything.
///
/// # Errors
/// If a map cannot be read.
pub(super) fn read(books: &impl Books) -> Result<Read> {
    for _ in 0..TRIES_AT_ONCE {
        let before = books.folds()?;
        let all = books.all()?;
        if before.begun == before.done && books.folds()?.begun == before.begun {
            return Ok(all);
        }
    }
    by_call(books)
}

fn by_call(books: &impl Books) -> Result<Read> {
    let own = books.own_places()?;
    let mut read: BTreeMap<OneCall, (Places, Read)> = BTreeMap::new();
    for _ in 0..LISTS {
        // After the threads' own cells: whatever they gave back since is then in a shared cell that is listed here.
        let mut places: BTreeMap<OneCall, Places> =
            own.iter().map(|(of, own)| (*of, Places { own: own.clone(), ..Places::default() })).collect();
        books.shared_places(&mut places)?;
        let mut are_gone = false;
        for (of, places) in places {
            if read.get(&of).is_some_and(|(before, _)| *before == places) {
                continue;
            }
            let one = one_call(books, of, &places)?;
            let found_own = one.cells.iter().filter(|cell| cell.tid != 0).count();
            are_gone |= found_own < places.own.len();
            read.insert(of, (places, one));
        }
        if !are_gone {
            break;
        }
    }
    let mut all = Read::default();
    for (_, mut one) in read.into_values() {
        all.cells.append(&mut one.cells);
        all.errors.append(&mut one.errors);
    }
    Ok(all)
}

/// Reads the cells of one call while none are given back, if there is such a moment.
fn one_call(books: &impl Books, of: OneCall, places: &Places) -> Result<Read> {
    let mut read = Read::default();
    for _ in 0..TRIES {
        let before = books.folds()?;
        if before.begun != before.done {
            std::thread::yield_now();
            continue;
        }
        read.cells = places.own.iter().filter_map(|index| books.own(of, *index)).collect();
        for key in &places.shared {
            read.cells.extend(books.shared(key)?);
        }
        read.errors.clear();
        for key in &places.errors {
            read.errors.extend(books.errors(key)?.map(|count| (*key, count)));
        }
        if books.folds()?.begun == before.begun {
            break;
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Threads of one name, some of which give their cells back while they are read.
    #[derive(Default)]
    struct Ending {
        own: BTreeMap<u32, (u64, u64)>,
        shared: BTreeMap<u64, u64>,
        errors: BTreeMap<u64, u64>,
        folds: u64,
        looks: usize,
        /// Which threads give their cells back, and before which read.
        ends: Vec<(usize, u32)>,
    }

    struct Fake(RefCell<Ending>);

    const COMM: [u64; 2] = [7, 0];

    fn shared_key(call: u64) -> SharedKey {
        SharedKey { space: 0, call, comm: COMM }
    }

    fn error_key(call: u64) -> ErrorKey {
        ErrorKey { space: 0, tid: 0, call, error: 11, comm: COMM }
    }

    fn cell(tid: u32, call: u64, count: u64) -> Cell {
        // SAFETY: any bytes are valid for a wire type.
        let mut cell: Cell = unsafe { std::mem::zeroed() };
        (cell.tid, cell.call, cell.count) = (tid, call, count);
        (cell.errors[0], cell.error_counts[0]) = (11, if tid == 0 { 0 } else { count });
        cell
    }

    impl Fake {
        /// Three threads with two calls each: calls 1 and 2, with 10 and 1 times the number of the thread; each call fails.
        fn new(ends: &[(usize, u32)]) -> Fake {
            let own =
                (1..=3u64).flat_map(|tid| [(2 * tid as u32, (1, 10 * tid)), (2 * tid as u32 + 1, (2, tid))]);
            Fake(RefCell::new(Ending { own: own.collect(), ends: ends.to_vec(), ..Ending::default() }))
        }

        fn look<T>(&self, look: impl FnOnce(&Ending) -> T) -> T {
            let ending = &mut *self.0.borrow_mut();
            ending.looks += 1;
            let now = ending.looks;
            for (_, index) in ending.ends.clone().into_iter().filter(|(when, _)| *when == now) {
                if let Some((call, count)) = ending.own.remove(&index) {
                    *ending.shared.entry(call).or_default() += count;
                    *ending.errors.entry(call).or_default() += count;
                    ending.folds += 1;
                }
            }
            look(ending)
        }
    }

    impl Books for Fake {
        fn folds(&self) -> Result<Folds> {
            Ok(self.look(|of| Folds { begun: of.folds, done: of.folds }))
        }

        fn all(&self) -> Result<Read> {
            let mut read = Read::default();
            for (call, indexes) in self.own_places()? {
                read.cells.extend(indexes.into_iter().filter_map(|index| self.own(call, index)));
            }
            let mut places = BTreeMap::new();
            self.shared_places(&mut places)?;
            for place in places.into_values() {
                read.cells.extend(self.shared(&place.shared[0])?);
                read.errors.extend(self.errors(&place.errors[0])?.map(|count| (place.errors[0], count)));
            }
            Ok(read)
        }

        fn own_places(&self) -> Result<BTreeMap<OneCall, Vec<u32>>> {
            Ok(self.look(|of| {
                let mut places: BTreeMap<OneCall, Vec<u32>> = BTreeMap::new();
                of.own.iter().for_each(|(index, (call, _))| places.entry(*call).or_default().push(*index));
                places
            }))
        }

        fn shared_places(&self, places: &mut BTreeMap<OneCall, Places>) -> Result<()> {
            self.look(|of| {
                for call in of.shared.keys() {
                    let of_call = places.entry(*call).or_default();
                    of_call.shared.push(shared_key(*call));
                    of_call.errors.push(error_key(*call));
                }
            });
            Ok(())
        }

        fn own(&self, of: OneCall, index: u32) -> Option<Cell> {
            let found = self.look(|ending| ending.own.get(&index).copied());
            found.filter(|(call, _)| *call == of).map(|(call, count)| cell(index, call, count))
        }

        fn shared(&self, key: &SharedKey) -> Result<Option<Cell>> {
            Ok(self.look(|of| of.shared.get(&key.call).map(|count| cell(0, key.call, *count))))
        }

        fn errors(&self, key: &ErrorKey) -> Result<Option<u64>> {
            Ok(self.look(|of| of.errors.get(&key.call).copied()))
        }
    }

    /// Calls and errors, by call.
    fn sums(read: &Read) -> BTreeMap<u64, (u64, u64)> {
        let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for cell in &read.cells {
            let sum = sums.entry(cell.call).or_default();
            *sum = (sum.0 + cell.count, sum.1 + cell.error_counts.iter().sum::<u64>());
        }
        read.errors.iter().for_each(|(key, count)| sums.entry(key.call).or_default().1 += count);
        sums
    }

    #[test]
    fn each_call_is_read_once_whenever_threads_end() {
        let truth = BTreeMap::from([(1, (60, 60)), (2, (6, 6))]);
        let mut torn = 0;
        for first in 1..60 {
            for second in first..60 {
                let ends = [(first, 2), (first, 3), (second, 4), (second, 5), (second + 3, 6)];
                assert_eq!(sums(&read(&Fake::new(&ends)).unwrap()), truth, "{first} {second}");
                torn += usize::from(sums(&Fake::new(&ends).all().unwrap()) != truth);
            }
        }
        assert!(torn > 100, "what is read at once is wrong if threads end meanwhile: {torn}");
    }
}
