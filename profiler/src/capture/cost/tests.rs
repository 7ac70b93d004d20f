use std::sync::mpsc::channel;

use super::*;

const GUESS: Programs = Programs { call_ns: 1000.0, look_ns: 100.0, returns: true };

fn own_tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Uses up some processor time of this thread.
fn work() {
    let own = own_tid();
    let before = threads::had(own).unwrap();
    let begun = Instant::now();
    while threads::had(own).unwrap().since(before).busy_ns < 30_000_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "its time stands still");
    }
}

fn reading(tid: u32, calls: u64) -> Reading {
    let hits = Hits { entries: calls, ..Hits::default() };
    let threads = vec![(tid, ThreadHits { calls, ..ThreadHits::default() })];
    Reading { threads, hits, ..Reading::default() }
}

#[test]
fn time_before_a_thread_was_first_seen_is_not_counted() {
    work();
    let mut meter = CostMeter::new(Instant::now(), GUESS, true);
    // As where it is one more than are looked at in the beginning.
    meter.attached(std::iter::empty());
    meter.add(reading(own_tid(), 1));
    assert_eq!(meter.spending.mean(), None, "all that it had was before");
    work();
    meter.add(reading(own_tid(), 2));
    let share = meter.spending.mean().unwrap();
    assert_eq!(share.tid, own_tid());
}

#[test]
fn a_thread_that_began_since_has_had_all_of_its_time_since() {
    let mut meter = CostMeter::new(Instant::now(), GUESS, true);
    meter.attached(std::iter::empty());
    // The kernel says in ticks when a thread began.
    while ticks_now() <= meter.began_ticks {
        thread::yield_now();
    }
    let (tell, told) = channel();
    let (end, ends) = channel::<()>();
    let worker = thread::spawn(move || {
        work();
        tell.send(own_tid()).unwrap();
        ends.recv()
    });
    let tid = told.recv().unwrap();
    meter.add(reading(tid, 1));
    assert_eq!(meter.spending.mean().map(|share| share.tid), Some(tid));
    drop(end);
    assert!(worker.join().unwrap().is_err());
}
