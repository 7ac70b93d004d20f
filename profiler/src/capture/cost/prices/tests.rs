//! What is predicted, and what measured run times come to.

use profiler_common::rate::{CALL, class};

use super::*;

const TRAPS: Traps = Traps {
    entry_ns: 500.0,
    return_ns: 300.0,
    stepped_ns: 9_000.0,
    cold_entry_ns: 350.0,
    cold_return_ns: 150.0,
    calibrated: true,
};
const PROGRAMS: Programs = Programs { call_ns: 1_000.0, look_ns: 200.0, returns: true };
/// What the programs make cold of the hits of calls and as many looks: they run 400 ns a hit.
const COOLED: f64 = 400.0 / COOLING_NS as f64;

fn counted(calls: u64, looks: u64, busy_ns: u64) -> Counted {
    let mut hits = [0; CLASSES];
    hits[class(CALL, false) as usize] = calls;
    hits[class(LOOK, false) as usize] = looks;
    Counted { hits, cooling_ns: [0; CLASSES], busy_ns, could_ns: busy_ns, user_ns: 0 }
}

#[test]
fn what_counting_itself_took_is_not_the_threads_own_time() {
    // 580 ns of each hit are ours: of a second with a million hits, 420 ms are the thread's own.
    let share = counted(500_000, 500_000, 1_000_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
    let ours = 500_000.0 * (1_800.0 + COOLED * 500.0 + 700.0 + COOLED * 350.0);
    assert!((share - ours / (ours + 0.42e9)).abs() < 1e-9, "{share}");
}

#[test]
fn a_forecast_does_not_depend_on_how_long_was_counted() {
    let short = counted(1_000, 900, 20_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
    let long = counted(50_000, 45_000, 1_000_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
    assert!((short - long).abs() < 1e-12);
    assert!((0.1..0.2).contains(&short), "{short}");
}

#[test]
fn a_thread_with_time_to_spare_loses_less_of_it() {
    let busy = counted(10_000, 10_000, 50_000_000);
    let idle = Counted { could_ns: 1_000_000_000, ..busy };
    let (busy, idle) = (busy.forecast(&TRAPS, &PROGRAMS), idle.forecast(&TRAPS, &PROGRAMS));
    // 27.3 ms of ours, beside 38.4 ms of its own.
    assert_eq!(busy.of_busy, idle.of_busy);
    assert_eq!(busy.of_all, busy.of_busy);
    assert!((idle.of_all - (0.025 + 0.0085 * COOLED)).abs() < 1e-9, "{idle:?}");
}

#[test]
fn a_share_stays_a_share() {
    assert_eq!(counted(0, 0, 1_000_000).forecast(&TRAPS, &PROGRAMS).of_all, 0.0);
    // More hits than fit into the time: the processor time was read a tick too early.
    let share = counted(1_000, 1_000, 1_000).forecast(&TRAPS, &PROGRAMS).of_busy;
    assert!(share > 0.99 && share < 1.0, "{share}");
    assert_eq!(counted(1, 1, 0).hits_per_s(), 0.0);
}

#[test]
fn single_steps_and_returns_that_are_not_seen_count_for_what_they_are() {
    let mut stepped = counted(0, 0, 1_000_000_000);
    stepped.hits[class(CALL, true) as usize] = 10_000;
    let emulated = counted(10_000, 0, 1_000_000_000);
    let share = |counted: &Counted, programs| counted.forecast(&TRAPS, programs).of_busy;
    assert!(share(&stepped, &PROGRAMS) > 4.0 * share(&emulated, &PROGRAMS));
    let mut to_ret = counted(0, 0, 1_000_000_000);
    to_ret.hits[class(CALL_TO_RET, false) as usize] = 10_000;
    assert!(share(&to_ret, &PROGRAMS) > 4.0 * share(&emulated, &PROGRAMS));
    let sampled = Programs { call_ns: 70.0, look_ns: 60.0, returns: false };
    assert!(share(&emulated, &sampled) < 0.4 * share(&emulated, &PROGRAMS));
}

#[test]
fn prices_are_what_was_measured() {
    let hits = Hits { entries: 1_000, returns: 1_000, looks: 1_000, stepped: 0 };
    let measured = RunTimes {
        calls: RunTime { ns: 80_000, runs: 200 },
        at_ret: RunTime::default(),
        looks: RunTime { ns: 20_000, runs: 100 },
    };
    let prices = Prices::of(hits, &TRAPS, 0.0, &measured, &PROGRAMS);
    assert!((prices.call_ns - (500.0 + 300.0 + 800.0)).abs() < 1e-9, "{prices:?}");
    assert!((prices.look_ns - 700.0).abs() < 1e-9, "{prices:?}");
    assert!((prices.trap_ns - 1_300.0 / 3.0).abs() < 1e-9, "{prices:?}");
    // A sampled run: hardly any return is seen.
    let sampled = Prices::of(Hits { returns: 10, ..hits }, &TRAPS, 0.0, &measured, &PROGRAMS);
    assert!(sampled.call_ns < 1_000.0, "{sampled:?}");
    // Nothing is measured yet.
    let guessed = Prices::of(hits, &TRAPS, 0.0, &RunTimes::default(), &PROGRAMS);
    assert!((guessed.call_ns - 1_800.0).abs() < 1e-9, "{guessed:?}");
    assert_eq!(Prices::of(Hits::default(), &TRAPS, 0.0, &measured, &PROGRAMS).trap_ns, 0.0);
}

#[test]
fn returns_at_ret_instructions_and_stepped_entries_cost_a_single_step() {
    let hits = Hits { entries: 1_000, returns: 1_000, looks: 0, stepped: 500 };
    let measured = RunTimes {
        calls: RunTime { ns: 100, runs: 100 },
        at_ret: RunTime { ns: 100, runs: 100 },
        looks: RunTime::default(),
    };
    let prices = Prices::of(hits, &TRAPS, 0.0, &measured, &PROGRAMS);
    assert!((prices.call_ns - (500.0 + 4_250.0 + 9_000.0 + 2.0)).abs() < 1e-9, "{prices:?}");
}

#[test]
fn hits_that_find_the_caches_cold_cost_more() {
    let warm = counted(10_000, 10_000, 100_000_000);
    let mut cold = warm;
    cold.cooling_ns[class(CALL, false) as usize] = 10_000 * COOLING_NS;
    cold.cooling_ns[class(LOOK, false) as usize] = 10_000 * COOLING_NS;
    let (warm_price, cold_price) =
        (warm.forecast(&TRAPS, &PROGRAMS).of_busy, cold.forecast(&TRAPS, &PROGRAMS).of_busy);
    // 27.3 ms of ours beside 88.4 ms of its own; 33.5 ms beside 81.4 ms, as counting was dearer too.
    let ours = 25.0 + 8.5 * COOLED;
    assert!((warm_price - ours / (ours + 88.4)).abs() < 1e-9, "{warm_price}");
    assert!((cold_price - 33.5 / 114.9).abs() < 1e-9, "{cold_price}");
    assert_eq!((warm.late(), cold.late()), (Some(0.0), Some(1.0)));
    // It only computed meanwhile, but for a quarter of the time.
    let computing = Counted { user_ns: 66_300_000, ..cold };
    let computing_price = computing.forecast(&TRAPS, &PROGRAMS).of_busy;
    assert!(warm_price < computing_price && computing_price < cold_price, "{computing_price}");
    let hits = Hits { entries: 1_000, returns: 1_000, looks: 1_000, stepped: 0 };
    let prices = Prices::of(hits, &TRAPS, 0.5, &RunTimes::default(), &PROGRAMS);
    assert!((prices.call_ns - (1_800.0 + 250.0)).abs() < 1e-9, "{prices:?}");
    assert!((prices.look_ns - (700.0 + 175.0)).abs() < 1e-9, "{prices:?}");
}

#[test]
fn time_in_the_kernel_is_what_is_left_of_a_threads_own() {
    assert_eq!(kernel_share(100.0, 25.0), 0.75);
    assert_eq!(kernel_share(100.0, 130.0), 0.0, "ticks are coarse");
    assert_eq!(kernel_share(-5.0, 0.0), 0.0);
}
