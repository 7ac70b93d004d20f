//! Do things that come and go pile up? Items are acquired and released: blocks of memory, say, or
//! descriptors.
//!
//! `rows` has what each call stack acquired, released and still holds; `judge` says whether it leaks, and rests on `survival`,
//! `hazard` (are old items still released?), `growth` (do ever more of them come? by `arrivals`), `survivors` (those that
//! outlived an age) and `growers` (few items that grow for ever). `analyze` judges all stacks, `sites` all stacks of one place
//! together (`pool`), `above` those of a function, and `before` keeps what an earlier look said.

mod above;
pub mod analyze;
mod arrivals;
pub mod before;
mod growers;
pub mod growth;
pub mod hazard;
pub mod judge;
pub mod live;
pub mod moments;
mod pool;
pub mod recent;
pub mod rows;
#[cfg(any(test, feature = "lab"))]
mod sample;
#[cfg(test)]
mod scene;
pub mod sites;
pub mod survival;
pub mod survivors;
pub mod verdict;
