//! How fast the leaking functions grow.

use std::collections::BTreeMap;

use super::Leak;
use crate::{naming, text::Text, units};

/// How many places of one function the sentence names.
const MOST_PLACES: usize = 3;

/// Bytes and blocks per hour.
type Rate = (f64, f64);

/// A growing function, with all its leaking sites.
pub(super) struct Grown<'a> {
    function: Option<&'a [u8]>,
    /// What distinguishes its sites, each once: lines, callers, addresses or files.
    places: Vec<&'a [u8]>,
    /// By process, and there by address space.
    rates: BTreeMap<u32, BTreeMap<u16, Rate>>,
}

/// The functions that leak, the fastest first.
pub(super) fn grown<'a>(leaks: &[Leak<'a>]) -> Vec<Grown<'a>> {
    let mut functions: Vec<Grown<'a>> = Vec::new();
    for leak in leaks {
        let (function, beside) = leak.label.map(naming::apart).unzip();
        let index = functions.iter().position(|grown| grown.function == function);
        let index = index.unwrap_or_else(|| {
            functions.push(Grown { function, places: Vec::new(), rates: BTreeMap::new() });
            functions.len() - 1
        });
        let (pid, space) = leak.program;
        if let Some(grown) = functions.get_mut(index) {
            if let Some(place) = beside.flatten().filter(|place| !grown.places.contains(place)) {
                grown.places.push(place);
            }
            let rate = grown.rates.entry(pid).or_default().entry(space).or_default();
            *rate = (rate.0 + leak.growth_bytes_per_hour, rate.1 + leak.blocks_per_hour());
        }
    }
    functions.sort_by(|a, b| faster(b.rate(), a.rate()));
    functions
}

fn faster(a: Rate, b: Rate) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
}

impl Grown<'_> {
    /// The sum over all processes. If a process was several programs in turn, the fastest of them counts: they never grew at the
    /// same time.
    fn rate(&self) -> Rate {
        let fastest = |spaces: &BTreeMap<u16, Rate>| spaces.values().copied().max_by(|a, b| faster(*a, *b));
        let add = |sum: Rate, more: Rate| (sum.0 + more.0, sum.1 + more.1);
        self.rates.values().filter_map(fastest).fold((0.0, 0.0), add)
    }

    /// The processes in which it grows.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.rates.keys().copied().collect()
    }

    /// Its name, with the places where it leaks if there are several: `push (chat.c:7, chat.c:9)`. `None` if it has no name.
    pub(super) fn name(&self) -> Option<Text> {
        let name = self.function?;
        if self.places.is_empty() {
            return Some(Text::new(name));
        }
        let (named, more) = self.places.split_at(self.places.len().min(MOST_PLACES));
        let mut places = named.join(&b", "[..]);
        if !more.is_empty() {
            places.extend_from_slice(format!(" and {} more", more.len()).as_bytes());
        }
        Some(Text::new([name, b" (", &places, b")"].concat()))
    }

    /// Its growth; in blocks if they have no size.
    pub(super) fn per_hour(&self) -> String {
        let (bytes, blocks) = self.rate();
        if bytes <= 0.0 && blocks > 0.0 {
            return format!("{} blocks/h", units::count(blocks));
        }
        units::bytes_per_hour(bytes).trim_start_matches('+').to_owned()
    }
}
