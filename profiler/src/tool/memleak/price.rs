//! The cost of the programs, as far as it is known beforehand.

use super::options::Options;
use crate::{capture::cost::prices::Programs, observe::admission::Taken};

/// Run time of the programs that follow everything: between a loop whose calls all come from one place (0.6 µs for a
/// call and its release) and a server whose stacks are deep and change with every call (1.9 µs).
const EXACT: Programs = Programs { call_ns: 950.0, look_ns: 150.0, returns: true };
/// The same for a sampled run: 104 ns for a hit of a game server, calls and releases together, where one call in a hundred is
/// sampled and followed. It costs more if more are sampled, so the figure is given as a minimum.
const SAMPLED: Programs = Programs { call_ns: 125.0, look_ns: 85.0, returns: false };

/// The cost of the programs of a run.
pub(super) fn taken(options: &Options) -> Taken {
    let is_sampled = options.sample_bytes.is_some();
    Taken { programs: if is_sampled { SAMPLED } else { EXACT }, sampled: Some(SAMPLED), is_sampled }
}
