//! The format of `world.db`: a header, creatures, the ground, and a checksum over all of it. Numbers are little-endian.

use anyhow::{Context, ensure};

use crate::protocol::take;
use crate::world::{Entity, Kind, SIDE, Snapshot};

const MAGIC: [u8; 8] = *b"ZONE\x00\x00\x00\x01";
/// Most creatures of a zone.
pub(crate) const MOST_CREATURES: usize = 100_000;
/// Largest ground of a zone, in bytes.
pub(crate) const MOST_TERRAIN_BYTES: usize = 256 << 20;

/// Writes a snapshot down.
pub(crate) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + snapshot.creatures.len() * 10 + snapshot.terrain.len());
    bytes.extend(MAGIC);
    bytes.extend(snapshot.tick.to_le_bytes());
    bytes.extend((snapshot.creatures.len() as u64).to_le_bytes());
    bytes.extend((snapshot.terrain.len() as u64).to_le_bytes());
    for creature in &snapshot.creatures {
        bytes.extend(creature.x.to_le_bytes());
        bytes.extend(creature.y.to_le_bytes());
        bytes.extend(creature.health.to_le_bytes());
    }
    bytes.extend(&snapshot.terrain);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// Reads a snapshot.
///
/// # Errors
/// If the file is not one of ours, or not whole.
pub(crate) fn decode(bytes: &[u8]) -> anyhow::Result<Snapshot> {
    let (content, checksum) = bytes.split_last_chunk().context("it is too short")?;
    let rest = &mut &content[..];
    ensure!(take(rest) == Some(MAGIC), "it is not a world of this version");
    ensure!(crc32fast::hash(content).to_le_bytes() == *checksum, "its checksum is wrong");
    let mut number = || take(rest).map(u64::from_le_bytes).context("its header is too short");
    let (tick, creatures, terrain_bytes) = (number()?, number()?, number()?);
    ensure!(creatures <= MOST_CREATURES as u64, "it has too many creatures");
    ensure!(terrain_bytes <= MOST_TERRAIN_BYTES as u64, "its ground is too large");
    let creatures: Option<_> = (0..creatures).map(|_| creature(rest)).collect();
    let creatures = creatures.context("it has fewer creatures than it says")?;
    ensure!(rest.len() as u64 == terrain_bytes, "its ground is not as large as it says");
    Ok(Snapshot { tick, creatures, terrain: rest.to_vec() })
}

fn creature(bytes: &mut &[u8]) -> Option<Entity> {
    let mut position = || take(bytes).map(|bytes| f32::from_le_bytes(bytes).clamp(0.0, SIDE - 1.0));
    let (x, y) = (position()?, position()?);
    let health = u16::from_le_bytes(take(bytes)?);
    let mut creature = Entity::at(Kind::Creature, x, y);
    creature.health = health;
    Some(creature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    fn snapshot() -> Snapshot {
        Snapshot { tick: 77, creatures: World::creatures(5, 1), terrain: vec![3; 100] }
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        assert_eq!(decode(&encode(&snapshot())).unwrap(), snapshot());
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_refused() {
        let whole = encode(&snapshot());
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
    }
}
