//! Queues of a socket over time.

use super::socket::State;

/// Most points of a history. One that lasts longer has points for longer intervals.
const MOST_POINTS: usize = 600;

/// The highest queues of an interval, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Point {
    pub(crate) receive: u64,
    pub(crate) send: u64,
}

impl Point {
    fn of(state: &State) -> Point {
        Point { receive: state.receive_queue.unwrap_or_default(), send: state.send_queue.unwrap_or_default() }
    }

    fn or(self, other: Point) -> Point {
        Point { receive: self.receive.max(other.receive), send: self.send.max(other.send) }
    }
}

/// Queues at each look, or the highest of several looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The look that the first point is of.
    pub(crate) first_look: u64,
    /// Looks of each point, a power of two.
    pub(crate) step: u64,
    pub(crate) points: Vec<Point>,
}

impl History {
    /// One that begins with this look.
    pub(crate) fn beginning(look: u64) -> History {
        History { first_look: look, step: 1, points: Vec::new() }
    }

    /// Takes the state at a look. Those at which the socket was not seen count as empty.
    pub(crate) fn take(&mut self, look: u64, state: &State) {
        let Some(behind) = look.checked_sub(self.first_look) else { return };
        while behind / self.step >= MOST_POINTS as u64 {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| pair.iter().copied().fold(Point::default(), Point::or))
                .collect();
            self.step *= 2;
        }
        let place = (behind / self.step) as usize;
        if self.points.len() <= place {
            self.points.resize(place + 1, Point::default());
        }
        if let Some(point) = self.points.get_mut(place) {
            *point = point.or(Point::of(state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(receive: u64, send: u64) -> State {
        State { receive_queue: Some(receive), send_queue: Some(send), ..State::default() }
    }

    #[test]
    fn a_history_keeps_its_highest_points_within_bounds() {
        let mut history = History::beginning(5);
        for look in 5..5 + 2 * MOST_POINTS as u64 {
            history.take(look, &state(look, if look == 17 { 900 } else { 1 }));
        }
        assert_eq!((history.step, history.points.len()), (2, MOST_POINTS));
        // Looks 5 and 6 are the first point.
        assert_eq!(history.points[0], Point { receive: 6, send: 1 });
        assert_eq!(history.points[6], Point { receive: 18, send: 900 });
        assert_eq!(history.points.last(), Some(&Point { receive: 4 + 2 * MOST_POINTS as u64, send: 1 }));
        history.take(3, &state(7, 7));
        assert_eq!(history.points.len(), MOST_POINTS, "a look before the first one is none of its");
    }

    #[test]
    fn looks_without_the_socket_are_empty() {
        let mut history = History::beginning(1);
        history.take(1, &state(3, 0));
        history.take(4, &state(2, 1));
        let points: Vec<_> = history.points.iter().map(|point| (point.receive, point.send)).collect();
        assert_eq!(points, [(3, 0), (0, 0), (0, 0), (2, 1)]);
    }
}
