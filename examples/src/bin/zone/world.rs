//! The zone itself: creatures that wander, players who walk, and ground that wears. Pure: no clock, no network.
//!
//! Lengths are units (the zone is a square of 1,600), speeds are units per turn.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::protocol::Entry;

/// Side of the zone.
pub(crate) const SIDE: f32 = 1600.0;
/// Cells per side: who stands in a cell sees that one and those around it.
const CELLS: usize = 8;
const PLAYER_SPEED: f32 = 6.0;
const FULL_HEALTH: u16 = 100;

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Creature,
    Player,
}

/// Something that moves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entity {
    pub(crate) kind: Kind,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) health: u16,
    dx: f32,
    dy: f32,
    /// Turns until a creature thinks again.
    thinks_in: u16,
}

impl Entity {
    /// A healthy one that stands still.
    pub(crate) fn at(kind: Kind, x: f32, y: f32) -> Self {
        Self { kind, x, y, health: FULL_HEALTH, dx: 0.0, dy: 0.0, thinks_in: 0 }
    }

    fn moves(&self) -> bool {
        self.dx != 0.0 || self.dy != 0.0
    }

    fn walk(&mut self) {
        self.x = (self.x + self.dx).clamp(0.0, SIDE - 1.0);
        self.y = (self.y + self.dy).clamp(0.0, SIDE - 1.0);
    }
}

/// Everything in the zone.
#[derive(Debug)]
pub(crate) struct World {
    tick: u64,
    /// By number. The place of a player who has left is free until the next one comes.
    entities: Vec<Option<Entity>>,
    free: Vec<usize>,
    /// How worn the ground is, a byte for each spot.
    terrain: Vec<u8>,
    creature_speed: f32,
    rng: StdRng,
    /// Who moved in this turn, by cell.
    moved: Vec<Vec<usize>>,
}

impl World {
    /// A zone at the beginning of a turn, with these creatures and this ground.
    pub(crate) fn new(tick: u64, creatures: Vec<Entity>, terrain: Vec<u8>, seed: u64) -> Self {
        Self {
            tick,
            entities: creatures.into_iter().map(Some).collect(),
            free: Vec::new(),
            terrain,
            creature_speed: 1.0,
            rng: StdRng::seed_from_u64(seed),
            moved: vec![Vec::new(); CELLS * CELLS],
        }
    }

    /// Creatures at places that follow from the seed alone.
    pub(crate) fn creatures(count: usize, seed: u64) -> Vec<Entity> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut place = || rng.random_range(0.0..SIDE);
        (0..count).map(|_| Entity::at(Kind::Creature, place(), place())).collect()
    }

    /// How fast creatures walk from now on.
    pub(crate) fn set_creature_speed(&mut self, units_per_turn: f32) {
        self.creature_speed = units_per_turn;
    }

    /// Turns since the zone was made, over all runs of the server.
    pub(crate) fn tick(&self) -> u64 {
        self.tick
    }

    /// A player comes in at a place of their own. The number is theirs until they leave.
    pub(crate) fn enter(&mut self) -> usize {
        let (x, y) = (self.rng.random_range(0.0..SIDE), self.rng.random_range(0.0..SIDE));
        let player = Some(Entity::at(Kind::Player, x, y));
        if let Some(number) = self.free.pop() {
            self.entities[number] = player;
            return number;
        }
        self.entities.push(player);
        self.entities.len() - 1
    }

    /// A player leaves.
    pub(crate) fn leave(&mut self, number: usize) {
        if let Some(place) = self.entities.get_mut(number)
            && place.take().is_some()
        {
            self.free.push(number);
        }
    }

    /// Which way a player walks.
    pub(crate) fn steer(&mut self, number: usize, dx: i8, dy: i8) {
        if let Some(Some(entity)) = self.entities.get_mut(number) {
            entity.dx = f32::from(dx.signum()) * PLAYER_SPEED;
            entity.dy = f32::from(dy.signum()) * PLAYER_SPEED;
        }
    }

    /// One turn.
    pub(crate) fn step(&mut self) {
        self.tick += 1;
        self.moved.iter_mut().for_each(Vec::clear);
        for (number, place) in self.entities.iter_mut().enumerate() {
            let Some(entity) = place else { continue };
            if entity.kind == Kind::Creature {
                think(entity, &mut self.rng, self.creature_speed);
            }
            if entity.moves() {
                entity.walk();
                self.moved[cell(entity.x, entity.y)].push(number);
                let spots = self.terrain.len().max(1);
                let spot = (entity.y as usize * SIDE as usize + entity.x as usize) % spots;
                if let Some(worn) = self.terrain.get_mut(spot) {
                    *worn = worn.saturating_add(1);
                }
            }
        }
    }

    /// Who moved in this turn where this entity can see it: first its own cell, then those around it.
    pub(crate) fn seen_by(&self, number: usize) -> impl Iterator<Item = Entry> + '_ {
        let place = self.entities.get(number).and_then(Option::as_ref);
        let cells = place.map(|entity| cells_around(entity.x, entity.y)).into_iter().flatten();
        cells.flat_map(|cell| &self.moved[cell]).filter_map(|number| self.entry(*number))
    }

    /// Everybody, as spectators see them.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.entities.len()).filter_map(|number| self.entry(number))
    }

    /// Where an entity is; `None` if it has left.
    pub(crate) fn entry(&self, number: usize) -> Option<Entry> {
        let entity = self.entities.get(number)?.as_ref()?;
        let kind = match entity.kind {
            Kind::Creature => 0,
            Kind::Player => 1,
        };
        Some(Entry { id: number as u32, x: entity.x, y: entity.y, health: entity.health, kind })
    }

    /// What is to be saved: players are not, the backend has them.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let entities = self.entities.iter().flatten();
        let creatures = entities.filter(|entity| entity.kind == Kind::Creature).cloned().collect();
        Snapshot { tick: self.tick, creatures, terrain: self.terrain.clone() }
    }
}

/// The zone at the end of a turn, without its players.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) tick: u64,
    pub(crate) creatures: Vec<Entity>,
    pub(crate) terrain: Vec<u8>,
}

/// A creature walks for a while or rests for a while, whichever comes into its mind.
fn think(creature: &mut Entity, rng: &mut StdRng, speed: f32) {
    if creature.thinks_in > 0 {
        creature.thinks_in -= 1;
        return;
    }
    creature.thinks_in = rng.random_range(10..60);
    let rests = rng.random_bool(0.5);
    let angle = rng.random_range(0.0..std::f32::consts::TAU);
    (creature.dx, creature.dy) = if rests { (0.0, 0.0) } else { (angle.cos() * speed, angle.sin() * speed) };
}

fn cell(x: f32, y: f32) -> usize {
    row(y) * CELLS + row(x)
}

fn row(position: f32) -> usize {
    // A negative or undefined position becomes 0.
    ((position * CELLS as f32 / SIDE) as usize).min(CELLS - 1)
}

fn cells_around(x: f32, y: f32) -> impl Iterator<Item = usize> {
    const AROUND: [(isize, isize); 9] =
        [(0, 0), (-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
    let (column, row) = (row(x), row(y));
    AROUND.into_iter().filter_map(move |(right, down)| {
        let column = column.checked_add_signed(right).filter(|column| *column < CELLS)?;
        let row = row.checked_add_signed(down).filter(|row| *row < CELLS)?;
        Some(row * CELLS + column)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World::new(0, World::creatures(300, 1), vec![0; 4096], 1)
    }

    #[test]
    fn the_same_seed_makes_the_same_zone() {
        let run = || {
            let mut world = world();
            (0..100).for_each(|_| world.step());
            world.snapshot()
        };
        assert_eq!(run(), run());
        assert_eq!(run().tick, 100);
    }

    #[test]
    fn a_player_sees_who_moves_nearby_and_only_them() {
        let mut world = World::new(0, Vec::new(), Vec::new(), 1);
        let (ada, bob, far) = (world.enter(), world.enter(), world.enter());
        for (number, x) in [(ada, 100.0), (bob, 250.0), (far, 1500.0)] {
            let entity = world.entities[number].as_mut().unwrap();
            (entity.x, entity.y) = (x, 100.0);
            world.steer(number, 1, 0);
        }
        world.steer(ada, 0, 0);
        world.step();
        let seen: Vec<_> = world.seen_by(ada).map(|entry| (entry.id as usize, entry.x)).collect();
        assert_eq!(seen, [(bob, 250.0 + PLAYER_SPEED)]);
    }

    #[test]
    fn whoever_walks_stays_inside() {
        let mut world = World::new(0, Vec::new(), vec![0; 16], 1);
        let ada = world.enter();
        world.steer(ada, -1, 1);
        (0..1000).for_each(|_| world.step());
        let entry = world.entry(ada).unwrap();
        assert_eq!((entry.x, entry.y), (0.0, SIDE - 1.0));
    }

    #[test]
    fn the_place_of_one_who_left_is_taken_again_once() {
        let mut world = World::new(0, Vec::new(), Vec::new(), 1);
        let ada = world.enter();
        world.leave(ada);
        world.leave(ada);
        assert_eq!(world.entry(ada), None);
        assert_eq!((world.enter(), world.enter()), (0, 1));
    }

    #[test]
    fn about_half_of_the_creatures_walk() {
        let mut world = world();
        (0..200).for_each(|_| world.step());
        let walking: usize = world.moved.iter().map(Vec::len).sum();
        assert!((100..200).contains(&walking), "{walking} of 300");
    }
}
