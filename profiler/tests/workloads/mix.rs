//! A busy Rust program: maps, strings, sorting, panics that are caught, a thread. Ends when stdin ends.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::panic::{catch_unwind, set_hook};

#[inline(never)]
fn words(seed: u64) -> usize {
    let mut counts = BTreeMap::new();
    for i in 0..50 {
        *counts.entry(format!("word{} {:.3}", (seed + i) % 17, i as f64 * 0.5)).or_insert(0usize) += 1;
    }
    counts.values().sum()
}

#[inline(never)]
fn panics(depth: u64) -> u64 {
    let room = vec![depth; 3];
    assert!(depth > 0, "the bottom");
    panics(depth - 1) + black_box(room)[0]
}

#[inline(never)]
fn sorted(mut seed: u64) -> u64 {
    let mut numbers: Vec<u64> = (0..200)
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        })
        .collect();
    numbers.sort_by_key(|number| black_box(*number) % 1000);
    numbers[0]
}

fn work(rounds: impl Iterator<Item = u64>) {
    for seed in rounds {
        black_box(words(seed));
        black_box(sorted(seed));
        let _ = black_box(catch_unwind(|| panics(seed % 9)));
    }
}

fn main() {
    set_hook(Box::new(|_| {}));
    std::thread::spawn(|| work(0..));
    std::thread::spawn(|| work(7..));
    println!("READY");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}
