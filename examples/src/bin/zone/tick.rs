//! The loop: 20 turns a second in a thread of its own, `zone-tick`. It owns the zone and the players' socket.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::Duration;

use crate::books::Books;
use crate::clock;
use crate::config;
use crate::events::Events;
use crate::gateway::{self, Gateway, Peer};
use crate::options::FaultOptions;
use crate::protocol::{ClientMessage, ENTRIES_AT_ONCE, Entry, ServerKind};
use crate::redis::Redis;
use crate::save::Saver;
use crate::spectators::Stage;
use crate::store::{Loaded, Order, item_key};
use crate::world::{Snapshot, World};

/// Time of one turn.
pub(crate) const PERIOD: Duration = Duration::from_millis(50);
/// Players at once; more are refused.
const MOST_PLAYERS: usize = 10_000;
/// A player of whom nothing is heard for so long has left.
const SILENCE: Duration = Duration::from_secs(5);

/// A player who is here.
#[derive(Debug)]
struct Player {
    peer: Peer,
    name: String,
    /// Number in the zone.
    entity: usize,
    score: u32,
    /// Things picked up in this visit.
    loot: u32,
    heard_ns: u64,
}

/// What is wrong with the loop; nothing, if it is healthy.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Saves the world itself.
    pub(crate) saves: bool,
    pub(crate) chatty: bool,
    pub(crate) busy_poll: bool,
    /// Reads the rules in each turn.
    pub(crate) rereads_config: bool,
    /// Asks the backend itself, for each item of a player.
    pub(crate) asks: Option<Redis>,
}

impl Faults {
    /// Those that were asked for.
    pub(crate) fn planted(options: &FaultOptions, asks: Option<Redis>) -> Self {
        Self {
            saves: options.autosave_on_tick,
            chatty: options.chatty,
            busy_poll: options.busy_poll,
            rereads_config: options.reread_config,
            asks,
        }
    }
}

/// What the loop is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) gateway: Gateway,
    pub(crate) books: Arc<Books>,
    pub(crate) events: Events,
    pub(crate) stage: Stage,
    pub(crate) orders: SyncSender<Order>,
    pub(crate) loaded: Receiver<Loaded>,
    pub(crate) saver: Saver,
    pub(crate) snapshots: SyncSender<Snapshot>,
    pub(crate) autosave: Duration,
    pub(crate) items: usize,
    pub(crate) config: PathBuf,
    pub(crate) faults: Faults,
    pub(crate) stop: Arc<AtomicBool>,
}

/// The loop while it runs.
#[derive(Debug)]
struct Loop {
    parts: Parts,
    players: HashMap<SocketAddr, Player>,
    next_session: u32,
    /// Clock time of the next save.
    save_at_ns: u64,
    /// What a player sees, made anew for each.
    seen: Vec<Entry>,
}

impl Parts {
    /// The body of the thread: turns until it is told to stop, then the last save. Says how many datagrams the kernel dropped.
    pub(crate) fn run(self) -> Option<u64> {
        let save_at_ns = clock::now_ns() + clock::ns(self.autosave);
        let mut running =
            Loop { parts: self, players: HashMap::new(), next_session: 1, save_at_ns, seen: Vec::new() };
        running.turns();
        running.close()
    }
}

impl Loop {
    fn turns(&mut self) {
        let period = clock::ns(PERIOD);
        let mut deadline = clock::now_ns();
        while !self.parts.stop.load(Ordering::Relaxed) {
            let began = clock::now_ns();
            self.turn(began);
            let ended = clock::now_ns();
            let ticks = &self.parts.books.ticks;
            ticks.done.one();
            ticks.longest_ns.raise_to(ended - began);
            if ended - began > period {
                ticks.slow.one();
            }
            deadline += period;
            // Turns that are missed are not made up for: their players would get them all at once.
            let late = ended.saturating_sub(deadline) / period;
            ticks.left_out.add(late);
            deadline += late * period;
            if self.parts.faults.busy_poll {
                self.spin_on_the_socket(deadline);
            } else {
                clock::sleep_until(deadline);
            }
        }
    }

    #[inline(never)]
    fn turn(&mut self, now_ns: u64) {
        self.read_datagrams(now_ns);
        self.take_in_loaded_players();
        self.drop_silent_players(now_ns);
        if self.parts.faults.rereads_config {
            self.reread_config_in_tick();
        }
        if self.parts.faults.asks.is_some() {
            self.get_items_one_by_one();
        }
        self.parts.world.step();
        self.send_updates();
        self.parts.stage.show(&self.parts.world);
        if now_ns >= self.save_at_ns {
            self.autosave();
            self.save_at_ns = now_ns + clock::ns(self.parts.autosave);
        }
    }

    /// Reads what has arrived since the last turn, all of it.
    #[inline(never)]
    fn read_datagrams(&mut self, now_ns: u64) {
        let mut budget = gateway::turn_budget();
        while let Some((from, message)) = self.parts.gateway.receive(&mut budget) {
            match message {
                ClientMessage::Join { name } => self.join(from, name, now_ns),
                ClientMessage::Input { session, dx, dy, action } => match self.players.get_mut(&from) {
                    Some(player) if player.peer.session == session => {
                        player.heard_ns = now_ns;
                        self.parts.world.steer(player.entity, dx, dy);
                        self.act(from, action);
                    }
                    _ => self.parts.books.udp.strays.one(),
                },
                ClientMessage::Bye { session } => self.bye(from, session),
            }
        }
    }

    /// Planted fault (`--busy-poll`): asks the socket again and again where it should sleep.
    #[inline(never)]
    fn spin_on_the_socket(&mut self, deadline_ns: u64) {
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= deadline_ns {
                return;
            }
            self.read_datagrams(now_ns);
        }
    }

    /// A player who asks again has not heard the answer.
    fn join(&mut self, from: SocketAddr, name: String, now_ns: u64) {
        let is_full = self.players.len() >= MOST_PLAYERS;
        let player = match self.players.entry(from) {
            Place::Occupied(known) => known.into_mut(),
            Place::Vacant(_) if is_full => return self.parts.books.players.refused.one(),
            Place::Vacant(place) => {
                let session = self.next_session;
                self.next_session = self.next_session.wrapping_add(1);
                self.parts.events.tell(format!("join {name} session {session}"));
                self.parts.books.players.joined.one();
                // A store that is that far behind does not get to know of a player; they begin with nothing.
                let _ =
                    self.parts.orders.try_send(Order::Load { address: from, session, name: name.clone() });
                place.insert(Player {
                    peer: Peer { address: from, session, sequence: 1 },
                    name,
                    entity: self.parts.world.enter(),
                    score: 0,
                    loot: 0,
                    heard_ns: now_ns,
                })
            }
        };
        player.heard_ns = now_ns;
        self.parts.gateway.send(&mut player.peer, ServerKind::Welcome, self.parts.world.tick(), &[]);
    }

    /// What a player does beside walking.
    fn act(&mut self, from: SocketAddr, action: u8) {
        let Some(player) = self.players.get_mut(&from) else { return };
        match action {
            1 => {
                player.score = player.score.saturating_add(1);
                self.parts.events.tell(format!("hit {} score {}", player.name, player.score));
            }
            2 => {
                player.loot += 1;
                let item = player.loot as usize % self.parts.items;
                self.parts.events.tell(format!("loot {} item {item}", player.name));
                let order = Order::Loot { name: player.name.clone(), item, count: player.loot };
                // Picked up again next time, if the store is that far behind.
                let _ = self.parts.orders.try_send(order);
            }
            _ => {}
        }
    }

    /// Somebody who is not here any more says goodbye again if the answer was lost: they get another one.
    fn bye(&mut self, from: SocketAddr, session: u32) {
        let mut peer = match self.players.get(&from) {
            Some(player) if player.peer.session == session => {
                self.parts.books.players.left.one();
                let Some(player) = self.players.remove(&from) else { return };
                self.see_off(player)
            }
            _ => Peer { address: from, session, sequence: 0 },
        };
        self.parts.gateway.send(&mut peer, ServerKind::Goodbye, self.parts.world.tick(), &[]);
    }

    fn see_off(&mut self, player: Player) -> Peer {
        let place = self.parts.world.entry(player.entity);
        self.parts.world.leave(player.entity);
        self.parts.events.tell(format!("leave {} score {}", player.name, player.score));
        let (x, y) = place.map_or((0.0, 0.0), |entry| (entry.x, entry.y));
        let order = Order::Save { name: player.name, score: player.score, x, y };
        if self.parts.orders.try_send(order).is_err() {
            self.parts.books.backend.players_not_saved.one();
        }
        player.peer
    }

    fn take_in_loaded_players(&mut self) {
        for loaded in self.parts.loaded.try_iter() {
            if let Some(player) = self.players.get_mut(&loaded.address)
                && player.peer.session == loaded.session
            {
                player.score = player.score.saturating_add(loaded.score);
            }
        }
    }

    fn drop_silent_players(&mut self, now_ns: u64) {
        let limit = clock::ns(SILENCE);
        let silent = self.players.iter().filter(|(_, player)| now_ns.saturating_sub(player.heard_ns) > limit);
        let silent: Vec<_> = silent.map(|(address, _)| *address).collect();
        for address in silent {
            if let Some(player) = self.players.remove(&address) {
                self.parts.books.players.timed_out.one();
                self.see_off(player);
            }
        }
    }

    /// One datagram for each player.
    #[inline(never)]
    fn send_updates(&mut self) {
        let Parts { world, gateway, faults, .. } = &mut self.parts;
        for player in self.players.values_mut() {
            self.seen.clear();
            self.seen.extend(world.seen_by(player.entity).take(ENTRIES_AT_ONCE));
            if faults.chatty {
                gateway.send_each_entity_alone(&mut player.peer, world.tick(), &self.seen);
            } else {
                gateway.send(&mut player.peer, ServerKind::Update, world.tick(), &self.seen);
            }
        }
    }

    /// Planted fault (`--reread-config`): opens, reads and closes a file in each turn that has not changed.
    #[inline(never)]
    fn reread_config_in_tick(&mut self) {
        // The rules that we have are as good.
        if let Ok(rules) = config::read(&self.parts.config, &self.parts.books) {
            self.parts.world.set_creature_speed(rules.creature_speed);
        }
    }

    /// Planted fault (`--n-plus-one`): one round trip for each item of a player, another player in each turn, and the loop
    /// waits for all of them. One request could ask for everything.
    #[inline(never)]
    fn get_items_one_by_one(&mut self) {
        let Some(redis) = &mut self.parts.faults.asks else { return };
        let turn = self.parts.world.tick() as usize;
        let Some(player) = self.players.values().nth(turn % self.players.len().max(1)) else { return };
        for item in 0..self.parts.items {
            let key = item_key(&player.name, item);
            let asked = redis.ask_one(&[b"GET", key.as_bytes()], &self.parts.books.backend.commands.get);
            if asked.is_err() {
                // It is in the books; the next turn tries again.
                return;
            }
        }
    }

    fn autosave(&mut self) {
        if self.parts.faults.saves {
            return self.autosave_on_tick();
        }
        match self.parts.snapshots.try_send(self.parts.world.snapshot()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.parts.books.save.left_out.one(),
            Err(TrySendError::Disconnected(_)) => self.parts.books.save.failed.one(),
        }
    }

    /// Planted fault (`--autosave-on-tick`): the loop itself writes the world, and waits until the device has it.
    #[inline(never)]
    fn autosave_on_tick(&mut self) {
        let before = self.parts.books.save.saves.get();
        self.parts.saver.save(&self.parts.world.snapshot());
        self.parts.books.save.saves_on_tick.add(self.parts.books.save.saves.get() - before);
    }

    /// The end: what has arrived is read, everybody leaves, the world is saved once more.
    fn close(mut self) -> Option<u64> {
        self.read_datagrams(clock::now_ns());
        let drops = self.parts.gateway.kernel_drops();
        for (_, player) in std::mem::take(&mut self.players) {
            self.see_off(player);
        }
        if self.parts.faults.saves {
            self.autosave_on_tick();
        } else if self.parts.snapshots.send(self.parts.world.snapshot()).is_err() {
            self.parts.books.save.failed.one();
        }
        drops
    }
}
