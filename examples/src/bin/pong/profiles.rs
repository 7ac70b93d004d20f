//! Player cards: rendered once, kept for a while.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cards that are younger than the time to live.
#[derive(Debug)]
pub(crate) struct ProfileCache {
    ttl: Duration,
    cards: HashMap<String, Card>,
}

#[derive(Debug)]
struct Card {
    svg: Arc<str>,
    expires: Instant,
}

impl ProfileCache {
    /// An empty cache.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, cards: HashMap::new() }
    }

    /// The player's card, rendered anew if it is not there or too old.
    pub(crate) fn card(&mut self, name: &str, now: Instant) -> Arc<str> {
        match self.cards.get(name) {
            Some(card) if card.expires > now => Arc::clone(&card.svg),
            _ => self.render(name, now),
        }
    }

    #[inline(never)]
    fn render(&mut self, name: &str, now: Instant) -> Arc<str> {
        let svg: Arc<str> = draw(name).into();
        let card = Card { svg: Arc::clone(&svg), expires: now + self.ttl };
        self.cards.insert(name.to_owned(), card);
        svg
    }

    /// Drops what has expired. Without it the cards of players who never come back would stay.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.cards.retain(|_, card| card.expires > now);
    }
}

/// An 8 x 8 pattern, the left half mirrored to the right, in a colour of the player's own.
fn draw(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let bits = hasher.finish();
    let mut svg = String::from(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">"#);
    for cell in 0..32 {
        if bits >> cell & 1 == 1 {
            let (x, y) = (cell % 4, cell / 4);
            for x in [x, 7 - x] {
                // Writing to a String cannot fail.
                let _ = write!(svg, r#"<rect x="{x}" y="{y}" width="1" height="1"/>"#);
            }
        }
    }
    let _ = write!(svg, "<style>rect{{fill:hsl({} 70% 45%)}}</style></svg>", (bits >> 32) % 360);
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(2);

    #[test]
    fn a_card_is_shared_until_it_expires() {
        let start = Instant::now();
        let mut cache = ProfileCache::new(TTL);
        let first = cache.card("ada", start);
        assert!(Arc::ptr_eq(&first, &cache.card("ada", start + TTL / 2)));
        assert!(!Arc::ptr_eq(&first, &cache.card("ada", start + TTL)), "expired, so rendered anew");
        assert_eq!(cache.cards.len(), 1);
    }

    #[test]
    fn a_sweep_drops_exactly_what_has_expired() {
        let start = Instant::now();
        let mut cache = ProfileCache::new(TTL);
        cache.card("ada", start);
        cache.card("bob", start + TTL / 2);
        cache.sweep(start + TTL);
        assert_eq!(cache.cards.keys().collect::<Vec<_>>(), ["bob"]);
        cache.sweep(start + TTL * 2);
        assert!(cache.cards.is_empty());
    }

    #[test]
    fn a_card_depends_on_the_name_only() {
        assert_eq!(draw("ada"), draw("ada"));
        assert_ne!(draw("ada"), draw("bob"));
    }
}
