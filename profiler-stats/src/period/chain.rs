//! Which of the stalls are the beats of a given period?
//!
//! A chain of beats is worth what its links are, each from one beat to the next that was seen: the logarithm of the density of its
//! deviation from a whole number of periods, against one that knows nothing of the period, less a price for what was passed over. The
//! best chain is found by dynamic programming, in time proportional to the number of stalls.

/// Price of a stall that is no beat: the logarithm of how much rarer than beats they are taken to be. With 0.5 to 2, hits differ by 2 %
/// (from the simulation in this module's tests).
const EXTRA_PRICE: f64 = 1.0;
/// Price of a beat that is missing, in the same way. With 0.3 to 1, hits differ by 1 %.
const MISSING_PRICE: f64 = 0.3;
/// A link passes over at most this many stalls.
const MOST_PASSED: usize = 2;
/// A link is at most this many periods long. If 20 % of the beats are missing, one in 400,000 is followed by a longer one.
const MOST_PERIODS: f64 = 8.0;

/// A stall that is a beat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beat {
    /// Which stall.
    pub(super) index: usize,
    /// When, in mean gaps.
    pub(super) place: f64,
    /// How many periods after the first beat.
    pub(super) number: u32,
}

/// The best chain that ends with a stall.
struct Node {
    worth: f64,
    /// The stall before, and how many periods ago it was.
    from: Option<(usize, u32)>,
}

/// The best chain of beats that are `period` apart, if the standard deviation of one period is the share `scatter` of it. Has at least
/// one beat if there is a stall.
pub(super) fn best(places: &[f64], period: f64, scatter: f64) -> Vec<Beat> {
    let mut nodes: Vec<Node> = Vec::with_capacity(places.len());
    for (index, &place) in places.iter().enumerate() {
        let mut node = Node { worth: -EXTRA_PRICE * index as f64, from: None };
        let nearest = index.saturating_sub(MOST_PASSED + 1);
        for (from, (earlier, before)) in places.iter().zip(&nodes).enumerate().skip(nearest) {
            let Some((periods, worth)) = link((place - earlier) / period, scatter) else { continue };
            let worth = before.worth + worth - EXTRA_PRICE * (index - from - 1) as f64;
            if worth > node.worth {
                node = Node { worth, from: Some((from, periods)) };
            }
        }
        nodes.push(node);
    }
    let last = places.len().saturating_sub(1);
    let worth = |(index, node): &(usize, &Node)| node.worth - EXTRA_PRICE * (last - index) as f64;
    let end = nodes.iter().enumerate().max_by(|one, other| worth(one).total_cmp(&worth(other)));
    end.map_or(Vec::new(), |(index, _)| back(places, &nodes, index))
}

/// How many periods a gap of `periods` is, and what it is worth as a link.
fn link(periods: f64, scatter: f64) -> Option<(u32, f64)> {
    let whole = periods.round();
    if !(1.0..=MOST_PERIODS).contains(&whole) {
        return None;
    }
    // The variances of the periods in between add up.
    let deviation = scatter * whole.sqrt();
    let off = (periods - whole) / deviation;
    let density = -(deviation * std::f64::consts::TAU.sqrt()).ln() - off * off / 2.0;
    Some((whole as u32, density - MISSING_PRICE * (whole - 1.0)))
}

/// The chain that ends with a stall, from its first beat.
fn back(places: &[f64], nodes: &[Node], end: usize) -> Vec<Beat> {
    let mut links = Vec::new();
    let mut at = Some((end, 0));
    while let Some((index, periods)) = at {
        links.push((index, periods));
        at = nodes.get(index).and_then(|node| node.from);
    }
    let mut number = 0;
    let mut beats: Vec<Beat> = Vec::with_capacity(links.len());
    // A link's length was noted with the beat that it comes from.
    for &(index, periods) in links.iter().rev() {
        let place = places.get(index).copied().unwrap_or(0.0);
        beats.push(Beat { index, place, number });
        number += periods;
    }
    beats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(places: &[f64], period: f64) -> Vec<(usize, u32)> {
        best(places, period, 0.07).iter().map(|beat| (beat.index, beat.number)).collect()
    }

    #[test]
    fn missing_beats_are_counted_and_other_stalls_passed_over() {
        let places = [0.0, 1.02, 1.5, 3.0, 3.4, 3.6, 4.03, 5.0];
        assert_eq!(numbers(&places, 1.0), [(0, 0), (1, 1), (3, 3), (6, 4), (7, 5)]);
    }

    #[test]
    fn stalls_before_the_first_beat_and_after_the_last_are_no_beats() {
        assert_eq!(numbers(&[0.0, 0.55, 1.55, 2.55, 3.5, 4.0], 1.0), [(1, 0), (2, 1), (3, 2), (4, 3)]);
    }

    #[test]
    fn a_pause_of_more_periods_than_a_link_has_ends_a_chain() {
        assert_eq!(numbers(&[0.0, 1.0, 2.0, 10.0, 11.0], 1.0).len(), 5);
        assert_eq!(numbers(&[0.0, 1.0, 2.0, 11.0, 12.0], 1.0), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(numbers(&[], 1.0), []);
    }
}
