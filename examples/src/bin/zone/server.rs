//! The server from its first line to its last: what it opens, which threads it has, and in which order it ends.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread::JoinHandle;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::books::Books;
use crate::children::Child;
use crate::clock;
use crate::config::{self, Rules};
use crate::events;
use crate::faults::{self, Places, Planted};
use crate::gateway::Gateway;
use crate::options::ServerOptions;
use crate::print_line;
use crate::redis::{Redis, Waiter};
use crate::save::{self, Saver};
use crate::spectators;
use crate::stop::Stop;
use crate::store::Store;
use crate::threads;
use crate::tick::{Faults, Parts};
use crate::world::{Snapshot, World};

/// How long a child may take until it is ready.
const READY_WITHIN_NS: u64 = 10_000_000_000;
/// How long the bots may take to leave, and the backend to end.
const FINISH_WITHIN_NS: u64 = 5_000_000_000;
/// Orders that may wait for the store: everybody may come and go at once.
const MOST_ORDERS: usize = 1 << 16;

/// The last line of a run.
#[derive(Debug, Serialize)]
struct LastLine<'a> {
    #[serde(flatten)]
    books: &'a Books,
    /// Datagrams that the kernel dropped because the players' receive buffer was full, by its own count; null if it did not say.
    kernel_drops: Option<u64>,
    /// The turn at which the loaded world was saved; null if there was none.
    loaded_tick: Option<u64>,
    /// What the bots have counted; null if there are none.
    bots: Value,
    planted: Vec<Planted>,
}

/// `zone`: serves until a signal comes or `--for` has passed; either is a success.
pub(crate) fn run(options: &ServerOptions) -> anyhow::Result<()> {
    let mut stop = Stop::listen(false)?;
    let books = Arc::new(Books::default());
    let home = Home::open(options)?;
    let loaded = save::load(&home.world)?;
    let loaded_tick = loaded.as_ref().map(|snapshot| snapshot.tick);
    let rules = config::open(&home.beside("zone.toml"), &books)?;

    let gateway = Gateway::open(options.listen, options.faults.small_rcvbuf, Arc::clone(&books))?;
    let listener = TcpListener::bind(options.listen_spectators)
        .with_context(|| format!("listening on {}", options.listen_spectators))?;
    let mut places = Places {
        directory: Some(home.directory.clone()),
        world: Some(home.world.clone()),
        players: Some(gateway.address().context("asking for the players' port")?),
        spectators: Some(listener.local_addr().context("asking for the spectators' port")?),
        ..Places::default()
    };
    let Some((backend, backend_at)) = backend(options, &stop)? else { return Ok(()) };
    places.backend = Some(backend_at);
    announce(&places)?;

    let world = world(options, loaded, rules);
    let server = Server::start(options, &home, gateway, listener, world, backend_at, &books)?;
    let bots = bots(options, &mut places, &stop)?;
    stop.after(options.run_for);
    stop.wait_until(u64::MAX);

    // Players leave while the loop still answers them; then everything else, each before what it hands its work to.
    let bots = bots.and_then(|bots| bots.finish(clock::now_ns() + FINISH_WITHIN_NS));
    let bots = bots.and_then(|line| serde_json::from_str(&line).ok()).unwrap_or(Value::Null);
    let kernel_drops = server.end()?;
    if let Some(backend) = backend {
        backend.finish(clock::now_ns() + FINISH_WITHIN_NS);
    }
    let planted = faults::planted(options, &places);
    print_line(&serde_json::to_string(&LastLine { books: &books, kernel_drops, loaded_tick, bots, planted })?)
}

/// Where the files are.
#[derive(Debug)]
struct Home {
    world: PathBuf,
    directory: PathBuf,
    /// Removed when it is dropped.
    _temporary: Option<TempDir>,
}

impl Home {
    fn open(options: &ServerOptions) -> anyhow::Result<Self> {
        if let Some(world) = &options.world {
            let directory = save::directory_of(world);
            return Ok(Self { world: world.clone(), directory, _temporary: None });
        }
        let temporary =
            tempfile::Builder::new().prefix("zone-").tempdir().context("making a temporary directory")?;
        let directory = temporary.path().to_owned();
        Ok(Self { world: directory.join("world.db"), directory, _temporary: Some(temporary) })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The backend, and where it is; `None` if it is time to end already. There is no child if it is a Redis of the user's.
fn backend(options: &ServerOptions, stop: &Stop) -> anyhow::Result<Option<(Option<Child>, SocketAddr)>> {
    if let Some(redis) = options.redis {
        return Ok(Some((None, redis)));
    }
    let mut child = Child::start("zone-backend", &options.for_backend())?;
    let Some(line) = child.line(stop, clock::now_ns() + READY_WITHIN_NS)? else { return Ok(None) };
    let address = line.strip_prefix("backend on ").and_then(|address| address.parse().ok());
    Ok(Some((Some(child), address.with_context(|| format!("the backend says `{line}`"))?)))
}

fn announce(places: &Places) -> anyhow::Result<()> {
    let said = |address: Option<SocketAddr>| address.map_or_else(String::new, |address| address.to_string());
    let world = places.world.as_ref().map_or_else(String::new, |world| world.display().to_string());
    print_line(&format!(
        "listening on {}\npid {}\nspectators on {}\nbackend on {}\nworld {world}",
        said(places.players),
        std::process::id(),
        said(places.spectators),
        said(places.backend),
    ))
}

/// Starts the bots, waits until they are in, and says that we are ready.
fn bots(options: &ServerOptions, places: &mut Places, stop: &Stop) -> anyhow::Result<Option<Child>> {
    let (Some(players), Some(spectators)) = (places.players, places.spectators) else { return Ok(None) };
    let Some(arguments) = options.for_bots(reachable(players), reachable(spectators)) else {
        print_line("READY")?;
        return Ok(None);
    };
    let mut child = Child::start("zone-bots", &arguments)?;
    print_line(&format!("bots pid {}", child.pid()))?;
    let patience = clock::now_ns() + READY_WITHIN_NS;
    while let Some(line) = child.line(stop, patience)? {
        print_line(&line)?;
        if let Some(address) = line.strip_prefix("slow reader ") {
            places.slow_reader = address.parse().ok();
        }
        if line.starts_with("joined ") {
            print_line("READY")?;
            break;
        }
    }
    Ok(Some(child))
}

/// A server that listens everywhere is reached over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The world of an earlier run, or a new one.
fn world(options: &ServerOptions, loaded: Option<Snapshot>, rules: Rules) -> World {
    let snapshot = loaded.unwrap_or_else(|| Snapshot {
        tick: 0,
        creatures: World::creatures(options.creatures as usize, options.seed),
        terrain: vec![0; options.ground as usize * 1024],
    });
    let mut world = World::new(snapshot.tick, snapshot.creatures, snapshot.terrain, options.seed);
    world.set_creature_speed(rules.creature_speed);
    world
}

/// The threads.
#[derive(Debug)]
struct Server {
    stop: Arc<AtomicBool>,
    /// When the store gives up: see [`Store::give_up_ns`].
    give_up_ns: Arc<AtomicU64>,
    tick: JoinHandle<Option<u64>>,
    /// What the loop hands its work to; each ends when the loop has.
    others: Vec<(&'static str, JoinHandle<()>)>,
}

impl Server {
    fn start(
        options: &ServerOptions,
        home: &Home,
        gateway: Gateway,
        listener: TcpListener,
        world: World,
        backend_at: SocketAddr,
        books: &Arc<Books>,
    ) -> anyhow::Result<Self> {
        let planted = &options.faults;
        let shared = || Arc::clone(books);
        let stop = Arc::new(AtomicBool::new(false));
        let give_up_ns = Arc::new(AtomicU64::new(u64::MAX));
        let saver = Saver::new(&home.world, shared());
        let (snapshots, to_save) = sync_channel(1);
        let (orders, to_do) = sync_channel(MOST_ORDERS);
        let (to_loop, loaded) = channel();
        let (events, mut log) = events::open(&home.beside("events.log"), books)?;
        let (stage, stand) = spectators::open(listener, planted.nagle, shared())?;
        let items = options.items as usize;
        let store = Store {
            redis: Redis::new(backend_at, Waiter::Other, shared()),
            orders: to_do,
            loaded: to_loop,
            books: shared(),
            items,
            refreshes: !planted.n_plus_one,
            give_up_ns: Arc::clone(&give_up_ns),
        };
        let asks = planted.n_plus_one.then(|| Redis::new(backend_at, Waiter::Loop, shared()));
        let parts = Parts {
            world,
            gateway,
            books: shared(),
            events,
            stage,
            orders,
            loaded,
            saver: saver.clone(),
            snapshots,
            autosave: options.autosave,
            items,
            config: home.beside("zone.toml"),
            faults: Faults::planted(planted, asks),
            stop: Arc::clone(&stop),
        };
        let writes_each_line = planted.small_appends;
        let mut others = Vec::new();
        let mut start = |name, body: Box<dyn FnOnce() + Send>| -> anyhow::Result<()> {
            others.push((name, threads::spawn(name, body)?));
            Ok(())
        };
        start("zone-save", Box::new(move || save::save_in_background(&saver, &to_save)))?;
        start(
            "zone-log",
            Box::new(move || if writes_each_line { log.append_at_once() } else { log.append_in_batches() }),
        )?;
        start("zone-store", Box::new(move || store.run()))?;
        start("zone-watch", Box::new(move || stand.serve()))?;
        let tick = threads::spawn("zone-tick", move || parts.run())?;
        Ok(Self { stop, give_up_ns, tick, others })
    }

    /// Ends the loop, then the others when they have done what it left them. Says how many datagrams the kernel dropped.
    fn end(self) -> anyhow::Result<Option<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.give_up_ns.store(clock::now_ns() + FINISH_WITHIN_NS, Ordering::Relaxed);
        let kernel_drops = threads::join("zone-tick", self.tick)?;
        for (name, thread) in self.others {
            threads::join(name, thread)?;
        }
        Ok(kernel_drops)
    }
}
