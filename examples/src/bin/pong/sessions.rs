//! Who is here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Number of a visit; never used twice.
pub(crate) type SessionId = u64;

/// Notices a player may have waiting; older ones are dropped for newer ones.
pub(crate) const INBOX_NOTICES: usize = 64;

/// An event of a player, sent with the next notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    /// A match was won, and this is the new place on the leaderboard.
    Won { rank: u32 },
    /// A match was lost, and this is the new place on the leaderboard.
    Lost { rank: u32 },
}

/// The server's memory of one visit of a player: three blocks on the heap.
#[derive(Debug)]
pub(crate) struct Session {
    name: String,
    inbox: Vec<Notice>,
    online: bool,
    matches: [u32; 2],
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionStore {
    by_id: HashMap<SessionId, Box<Session>>,
    next_id: SessionId,
    online: usize,
    /// Planted fault: see [`SessionStore::disconnect`].
    forget_to_remove: bool,
}

impl SessionStore {
    /// An empty store.
    pub(crate) fn new(forget_to_remove: bool) -> Self {
        Self { forget_to_remove, ..Self::default() }
    }

    /// Opens a session for a player who has just come.
    #[inline(never)]
    pub(crate) fn connect(&mut self, name: &str) -> SessionId {
        let session = Box::new(Session {
            name: name.to_owned(),
            inbox: Vec::with_capacity(INBOX_NOTICES),
            online: true,
            matches: [0; 2],
        });
        let id = self.next_id;
        self.next_id += 1;
        self.by_id.insert(id, session);
        self.online += 1;
        id
    }

    /// Closes the session of a player who has left. With the fault planted it is only marked, for a clean-up that
    /// nobody ever wrote.
    pub(crate) fn disconnect(&mut self, id: SessionId) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        if std::mem::replace(&mut session.online, false) {
            self.online -= 1;
        }
        if !self.forget_to_remove {
            self.by_id.remove(&id);
        }
    }

    /// Leaves a notice for a player, unless they have gone.
    pub(crate) fn notify(&mut self, id: SessionId, notice: Notice) {
        let Some(session) = self.by_id.get_mut(&id).filter(|session| session.online) else { return };
        match notice {
            Notice::Won { .. } => session.matches[0] += 1,
            Notice::Lost { .. } => session.matches[1] += 1,
        }
        if session.inbox.len() == INBOX_NOTICES {
            session.inbox.remove(0);
        }
        session.inbox.push(notice);
    }

    /// Takes the notices that wait for a player, oldest first. The inbox keeps its memory.
    pub(crate) fn take_notices(&mut self, id: SessionId) -> Vec<Notice> {
        self.by_id.get_mut(&id).map(|session| session.inbox.drain(..).collect()).unwrap_or_default()
    }

    /// The player's name, as long as the session is there.
    pub(crate) fn name(&self, id: SessionId) -> Option<&str> {
        self.by_id.get(&id).map(|session| session.name.as_str())
    }

    /// How many players are here.
    pub(crate) fn online(&self) -> usize {
        self.online
    }
}

/// Heap bytes that one session asks for, beside its place in the map; for a name of `name_bytes`.
pub(crate) fn heap_bytes(name_bytes: usize) -> usize {
    name_bytes + INBOX_NOTICES * size_of::<Notice>() + size_of::<Session>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthy_store_is_empty_when_all_have_left() {
        let mut store = SessionStore::new(false);
        let ids: Vec<_> = (0..10).map(|n| store.connect(&format!("bot {n}"))).collect();
        assert_eq!(store.online(), 10);
        assert_eq!(store.name(ids[3]), Some("bot 3"));
        ids.iter().for_each(|&id| store.disconnect(id));
        assert_eq!((store.online(), store.by_id.len()), (0, 0));
    }

    #[test]
    fn the_planted_fault_keeps_every_session() {
        let mut store = SessionStore::new(true);
        for _ in 0..10 {
            let id = store.connect("ada");
            store.disconnect(id);
            store.disconnect(id);
        }
        assert_eq!((store.online(), store.by_id.len()), (0, 10));
    }

    #[test]
    fn notices_wait_in_order_and_are_told_once() {
        let mut store = SessionStore::new(false);
        let id = store.connect("ada");
        for rank in 0..=INBOX_NOTICES as u32 {
            store.notify(id, Notice::Won { rank });
        }
        let notices = store.take_notices(id);
        assert_eq!(notices.len(), INBOX_NOTICES);
        assert_eq!(notices[0], Notice::Won { rank: 1 }, "the oldest made room");
        assert_eq!(store.take_notices(id), []);
    }

    #[test]
    fn nobody_is_notified_after_leaving() {
        let mut store = SessionStore::new(true);
        let id = store.connect("ada");
        store.disconnect(id);
        store.notify(id, Notice::Lost { rank: 9 });
        assert_eq!(store.take_notices(id), []);
    }
}
