//! `memleak` as a tool of an observation.

use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use profiler_common::{
    ledger::{Class, Ledger},
    memleak::{FREES_NEST, counters::Counter},
};

use super::{
    blocks::{Blocks, Room},
    collect::Snapshot,
    load::{fill_weights, load, room_for},
    options::Options,
    plan::{Allocators, WANTED},
    price::taken,
    readiness::{ABOUT, FOR_GO},
    section,
    sentences::needed,
    session::Session,
    totals::{self, Totals},
};
use crate::{
    capture::{
        cost::{
            CostMeter, Reading,
            prices::{Hits, Programs},
        },
        counted::{self, unreadable},
        object::Object,
        uprobe::{Attacher, CallPrograms, Links, Loaded},
    },
    error::{Error, ErrorKind, Result},
    observe::{
        Beginning, Observation, Part, admission,
        functions::{
            At, Probes,
            refusals::{check, check_image},
        },
        ground::Ground,
        leave_out_unseen,
        memory::Memory,
        settings::Settings,
        space::Space,
    },
    report::{Ended, Probed},
    stats::lifetimes::{before::Before, moments::Moments, recent::Recent},
    target::{
        maps,
        modules::{ModuleId, Modules},
        start::Start,
    },
    tool::{About, Counts, Loading, Preloading, Tool},
    units,
};

pub(crate) const PROGRAMS: CallPrograms = CallPrograms {
    session: "memleak_session",
    entry: "memleak_entry",
    ret: "memleak_return",
    at_ret: "memleak_ret",
    plain: "memleak_free",
};

/// The tool in one observation.
pub(crate) struct Memleak {
    pub(super) options: Options,
    pub(super) attacher: Attacher,
    loaded: Option<Maps>,
    probes: BTreeMap<u16, Probes>,
    room: Room,
    pub(super) max_blocks: u32,
    /// When the kernel side's clock of ages began, on the monotonic clock.
    pub(super) start_ns: u64,
    /// Anonymous memory of the targets before anything was attached, in bytes.
    pub(super) bytes_before: u64,
    /// Their memory by kind, since then.
    pub(super) memory: Memory,
    /// What they held at the last look.
    pub(super) recent: Recent,
    /// The end of address spaces that are gone, in age units.
    pub(super) ends: BTreeMap<u16, u64>,
    /// Counters when the last probe was attached.
    pub(super) early: [u64; Counter::COUNT],
    /// Counters when detaching began.
    pub(super) late: Option<[u64; Counter::COUNT]>,
    /// The judgements of the previous interim report.
    pub(super) before: Before,
    read: Option<(Snapshot, Moments)>,
}

/// The kernel side's maps.
struct Maps {
    object: Arc<Object>,
    totals: Totals,
    blocks: Blocks,
}

impl Memleak {
    /// The tool for an observation with these settings.
    pub(crate) fn new(options: Options, settings: &Settings) -> Memleak {
        Memleak {
            options,
            attacher: Attacher::new(PROGRAMS, settings.method),
            loaded: None,
            probes: BTreeMap::new(),
            room: Room::new(0, 0),
            max_blocks: 0,
            start_ns: 0,
            bytes_before: 0,
            memory: Memory::default(),
            recent: Recent::default(),
            ends: BTreeMap::new(),
            early: [0; Counter::COUNT],
            late: None,
            before: Before::default(),
            read: None,
        }
    }

    fn maps(&self) -> Result<&Maps> {
        self.loaded.as_ref().ok_or_else(|| unreadable("the maps", std::io::ErrorKind::NotFound.into()))
    }

    pub(super) fn object(&self) -> Result<&Object> {
        self.maps().map(|maps| &*maps.object)
    }

    pub(super) fn totals(&self) -> Result<&Totals> {
        self.maps().map(|maps| &maps.totals)
    }

    pub(super) fn blocks(&self) -> Result<&Blocks> {
        self.maps().map(|maps| &maps.blocks)
    }

    fn counters(&self) -> Result<[u64; Counter::COUNT]> {
        counted::counters(self.object()?, <Counter as Ledger>::ENTRIES)
    }

    /// Attaches to a space with what is needed for it.
    fn with<T>(
        &mut self,
        number: u16,
        ground: &Ground,
        attach: impl FnOnce(&mut Probes, &mut At<'_>) -> Result<T>,
    ) -> Result<T> {
        let object = Arc::clone(&self.maps()?.object);
        let mut at = At { ground, object: &object, attacher: &mut self.attacher, looks_nest: FREES_NEST };
        attach(self.probes.entry(number).or_default(), &mut at)
    }

    /// A function that the user named and that does not exist is an error: the report would lack it.
    fn require_custom(&self) -> Result<()> {
        for custom in &self.options.custom {
            let name = custom.name.as_str();
            let mut probed = self.probes.values().flat_map(|probes| &probes.probed);
            if !probed.any(|probed| probed.function.terminal() == name) {
                return Err(Error::new(
                    ErrorKind::NothingToObserve,
                    format_args!("tried to find function {name}"),
                )
                .because("no file that the target maps defines it")
                .hint("give the name as `nm` prints it (mangled); a stripped binary has none"));
            }
        }
        Ok(())
    }

    /// Why nothing is probed in a space.
    pub(super) fn nothing_to_probe(&self, space: &Space) -> Error {
        let nothing = Probes::default();
        self.probes.get(&space.number).unwrap_or(&nothing).nothing_to_probe(space.process.pid(), &WANTED)
    }

    fn probes_of(&mut self, space: Option<u16>) -> impl Iterator<Item = &mut Probes> {
        let probes = self.probes.iter_mut();
        probes
            .filter(move |(number, _)| space.is_none_or(|space| space == **number))
            .map(|(_, probes)| probes)
    }
}

impl Tool for Memleak {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn programs(&self) -> Programs {
        taken(&self.options).programs
    }

    fn answers_after(&self) -> Duration {
        needed(self.options.older)
    }

    fn too_short(&self, settings: &Settings) -> Option<String> {
        self.options.too_short(settings.length)
    }

    fn check_file(&self, image: &Path) -> Result<()> {
        check_image(image, FOR_GO)
    }

    fn check(&self, space: &Space, modules: &Modules) -> Result<()> {
        check(space, modules, FOR_GO)
    }

    fn begin(&mut self, beginning: &Beginning<'_>) -> Loading {
        let Beginning { settings, spaces, launched, start_ns, .. } = *beginning;
        self.start_ns = start_ns;
        self.bytes_before = match launched {
            true => 0,
            false => spaces.iter().filter_map(|s| maps::anonymous_bytes(s.process.pid()).ok()).sum(),
        };
        self.room = room_for(self.bytes_before, &self.options);
        self.max_blocks = self.room.spilled;
        let (options, room, stacks) = (self.options.clone(), self.room, settings.max_stacks);
        Box::new(move |shared| load(&options, start_ns, stacks, room, shared))
    }

    fn plan(&mut self, space: &mut Space, modules: &mut Modules, ahead: Option<&[PathBuf]>) -> Vec<ModuleId> {
        let probes = self.probes.entry(space.number).or_default();
        match ahead {
            Some(files) => probes.plan_ahead(space, modules, &Allocators::of(&self.options), files),
            None => {
                probes.plan(space, modules, &Allocators::of(&self.options));
                Vec::new()
            }
        }
    }

    fn loaded(&mut self, object: Object, max_stacks: u32) -> Result<()> {
        let totals = Totals::map(&object, max_stacks as usize)?;
        let blocks = Blocks::map(&object, self.room)?;
        fill_weights(&object, &self.options)?;
        self.loaded = Some(Maps { object: Arc::new(object), totals, blocks });
        Ok(())
    }

    fn refuse(&self, spaces: &[Space], modules: &Modules, settings: &Settings) -> Result<()> {
        let nothing = Probes::default();
        spaces.iter().try_for_each(|space| {
            let probes = self.probes.get(&space.number).unwrap_or(&nothing);
            probes.refuse_what_copies_its_code(&space.process, modules, &settings.targets)
        })
    }

    fn admit(&mut self, spaces: &[Space], settings: &Settings, cost: &mut CostMeter) -> Result<bool> {
        let passed = spaces
            .iter()
            .filter_map(|space| Some(self.probes.get(&space.number)?.passed(space.process.pid())));
        admission::admit(&passed.collect::<Vec<_>>(), &taken(&self.options), settings, cost)
    }

    fn preloading(&self) -> Option<Preloading> {
        let ahead = self.attacher.ahead();
        let object = Arc::clone(&self.loaded.as_ref()?.object);
        Some(Box::new(move || ahead.load(&object)))
    }

    fn preloaded(&mut self, loaded: Vec<Loaded>) {
        self.attacher.adopt(loaded);
    }

    fn attach_first(&mut self, space: &mut Space, ground: &Ground) -> Result<()> {
        self.with(space.number, ground, |probes, at| probes.attach_looks(space, at))
    }

    fn attach(&mut self, space: &mut Space, ground: &Ground, modules: &Modules) -> Result<()> {
        self.with(space.number, ground, |probes, at| probes.attach_calls(space, at, modules))
    }

    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()> {
        // Not earlier: memory that a target takes while probes are being attached would be growth that no followed
        // block explains.
        self.memory = Memory::start(&on.spaces, on.command().is_some());
        self.require_custom()?;
        leave_out_unseen(on, |space| self.sees(space.number), |space| self.nothing_to_probe(space))?;
        self.early = self.counters()?;
        Ok(())
    }

    fn attached_line(&self, on: &Observation<'_>) -> String {
        let functions: usize = self.probes.values().map(|probes| probes.probed.len()).sum();
        let functions = units::plural(functions, "function", "functions");
        let (who, took) = (on.who(), on.attach_time().as_millis());
        format!("attached: {functions} of {who}, by {} in {took} ms", self.attacher.method().name())
    }

    fn attach_anew(
        &mut self,
        space: &mut Space,
        ground: &Ground,
        modules: &mut Modules,
        is_new: bool,
    ) -> Result<usize> {
        let options = self.options.clone();
        self.with(space.number, ground, |probes, at| {
            let before = probes.probed.len();
            probes.plan(space, modules, &Allocators::of(&options));
            if is_new {
                let start = Start::of_process(space.process.pid());
                probes.refuse_if_copied(space.process.pid(), modules, &start)?;
            }
            probes.attach_looks(space, at)?;
            probes.attach_calls(space, at, modules)?;
            Ok(probes.probed.len() - before)
        })
    }

    fn sees(&self, space: u16) -> bool {
        self.probes.get(&space).is_some_and(Probes::has_probes)
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.memory.look(&on.spaces, false);
        self.memory.families.look(on.living());
        self.look_at_held(on)
    }

    fn counts(&self) -> Result<Counts> {
        let counters = self.counters()?;
        let of = |c: Counter| counters[c as usize];
        let sum = |class: Class| Counter::ALL.iter().filter(|c| c.class() == class).map(|c| of(*c)).sum();
        let gone = of(Counter::FreeFreed) + of(Counter::ReturnReleased);
        Ok(Counts {
            hits: sum(Class::Hits),
            lost: sum(Class::Lost),
            things: (of(Counter::ReturnRecorded).saturating_sub(gone), "live blocks"),
        })
    }

    fn reading(&self, with_threads: bool) -> Result<Reading> {
        let counters = self.counters()?;
        let of = |counter: Counter| counters[counter as usize];
        let hits = Hits {
            entries: of(Counter::EntryHits),
            returns: of(Counter::ReturnHits),
            looks: of(Counter::FreeHits),
            stepped: of(Counter::SingleStepped),
        };
        let threads = if with_threads { counted::thread_hits(self.object()?)? } else { Vec::new() };
        Ok(Reading { threads, hits, measured: self.attacher.run_times(), ..Reading::default() })
    }

    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        Box::new(self.loaded.iter().flat_map(|maps| maps.object.own_maps()))
    }

    fn probed(&self, space: u16) -> &[Probed] {
        self.probes.get(&space).map_or(&[], |probes| &probes.probed)
    }

    fn closing(&mut self) {
        self.late = self.counters().ok();
    }

    fn has_calls_under_way(&self) -> bool {
        self.counters().is_ok_and(|counters| totals::under_way(&counters) > 0)
    }

    fn take_first(&mut self, space: Option<u16>) -> Vec<Links> {
        self.probes_of(space).flat_map(Probes::take_calls).collect()
    }

    fn take_last(&mut self, space: Option<u16>) -> Vec<Links> {
        self.probes_of(space).flat_map(Probes::take_looks).collect()
    }

    fn snapshot(&mut self, on: &mut Observation<'_>, ended: Ended) -> Result<()> {
        self.memory.look(&on.spaces, ended != Ended::Running);
        let begun = Instant::now();
        let moments = self.moments(on)?;
        let mut snapshot = self.read(on, &moments)?;
        if ended == Ended::Running {
            self.keep(on, &snapshot.rows, &moments, begun);
        }
        self.as_they_lived(on, &mut snapshot.rows, &moments);
        self.read = Some((snapshot, moments));
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let nothing = || unreadable("what was recorded", std::io::ErrorKind::NotFound.into());
        let (snapshot, moments) = self.read.take().ok_or_else(nothing)?;
        let session = Session { tool: self, on };
        let (part, said) = section::part(session, &snapshot, &moments.whole)?;
        self.before = said;
        Ok(part)
    }
}
