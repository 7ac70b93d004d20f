//! What was said, for those who come later.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Most lines sent at once. Players who missed more, or have just joined, get the last ones.
pub(crate) const LINES_AT_ONCE: usize = 32;

/// One line of chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChatLine {
    pub(crate) from: String,
    pub(crate) text: String,
}

/// The last lines, numbered from the first ever said.
#[derive(Debug)]
pub(crate) struct ChatHistory {
    lines: VecDeque<ChatLine>,
    keep: usize,
    /// Number of the line that comes next.
    next: u64,
    /// Planted fault: see [`ChatHistory::trim`].
    off_by_one: bool,
}

impl ChatHistory {
    /// A history as the last run of the server left it: full.
    #[inline(never)]
    pub(crate) fn restore(keep: usize, off_by_one: bool) -> Self {
        let lines = (0..keep)
            .map(|number| ChatLine { from: "yesterday".to_owned(), text: format!("line {number}") })
            .collect();
        Self { lines, keep, next: keep as u64, off_by_one }
    }

    /// Adds a line and drops the oldest.
    #[inline(never)]
    pub(crate) fn push(&mut self, from: &str, text: &str) {
        self.lines.push_back(ChatLine { from: from.to_owned(), text: text.to_owned() });
        self.next += 1;
        self.trim();
    }

    /// Keeps the last `keep` lines. With the fault planted it waits for the exact length `keep`; but a restored
    /// history has that length before the first line is added, so it is stepped over and nothing is ever dropped.
    fn trim(&mut self) {
        if self.off_by_one {
            if self.lines.len() == self.keep {
                self.lines.pop_front();
            }
            return;
        }
        while self.lines.len() > self.keep {
            self.lines.pop_front();
        }
    }

    /// The lines from number `seen` on, but no more than the last [`LINES_AT_ONCE`] of those that are still there;
    /// and the number to ask for next time.
    pub(crate) fn since(&self, seen: u64) -> (Vec<ChatLine>, u64) {
        let unseen = usize::try_from(self.next.saturating_sub(seen)).unwrap_or(usize::MAX).min(LINES_AT_ONCE);
        let skip = self.lines.len().saturating_sub(unseen);
        (self.lines.iter().skip(skip).cloned().collect(), self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(history: &mut ChatHistory, lines: usize) {
        for number in 0..lines {
            history.push("ada", &format!("new {number}"));
        }
    }

    #[test]
    fn a_healthy_history_keeps_the_last_lines() {
        let mut history = ChatHistory::restore(3, false);
        talk(&mut history, 100);
        let texts: Vec<_> = history.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["new 97", "new 98", "new 99"]);
    }

    #[test]
    fn the_planted_fault_keeps_everything() {
        let mut history = ChatHistory::restore(3, true);
        talk(&mut history, 100);
        assert_eq!(history.lines.len(), 103);
    }

    #[test]
    fn a_reader_gets_every_line_once() {
        let mut history = ChatHistory::restore(3, false);
        let (restored, seen) = history.since(0);
        assert_eq!((restored.len(), seen), (3, 3));
        history.push("ada", "gg");
        let (new, seen) = history.since(seen);
        assert_eq!(new, [ChatLine { from: "ada".into(), text: "gg".into() }]);
        assert_eq!(history.since(seen), (vec![], 4));
    }

    #[test]
    fn a_slow_reader_misses_what_was_dropped() {
        let mut history = ChatHistory::restore(3, false);
        talk(&mut history, 10);
        let (lines, seen) = history.since(3);
        assert_eq!((lines.len(), seen), (3, 13));
    }

    #[test]
    fn a_newcomer_is_not_told_the_whole_leak() {
        let mut history = ChatHistory::restore(3, true);
        talk(&mut history, 1000);
        let (lines, seen) = history.since(0);
        assert_eq!((lines.len(), seen), (LINES_AT_ONCE, 1003));
        assert_eq!(lines[LINES_AT_ONCE - 1].text, "new 999");
    }
}
