//! The kernel side's object, with room for what is expected.

use std::time::Duration;

use profiler_common::{
    age::UNIT_NS,
    memleak::sampling::{WEIGHT_POINTS, point_size_bytes},
};

use super::{blocks::Room, collect, options::Options};
use crate::{
    capture::object::{Maps, Object, Settings},
    error::Result,
    kernel::ticks::Ticks,
    observe::monotonic_ns,
    unwind::returns::Returns,
};

const TOOL: &str = "memleak";
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memleak"));
/// Least room for live blocks: a server that leaks may be small when it is attached to. It costs 16 MiB.
const LEAST_BLOCKS: u64 = 1 << 20;
/// Most room, unless the user asks for more.
const MOST_BLOCKS: u64 = 1 << 22;

/// The object with minimal room, for trying it out.
pub(crate) fn load_small() -> Result<Object> {
    load(&Options::default(), monotonic_ns(), 16, Room::new(0, 1024), Maps::new())
}

pub(super) fn load(
    options: &Options,
    start_ns: u64,
    max_stacks: u32,
    room: Room,
    shared: Maps,
) -> Result<Object> {
    let entries = vec![
        ("BUCKETS", room.buckets()),
        ("BLOCKS", room.spilled),
        ("PARTS", (room.spilled / 4).max(16)),
        ("TOTALS", max_stacks),
    ];
    let stacks = max_stacks.to_ne_bytes();
    let sample = options.sample_bytes.unwrap_or(0).to_ne_bytes();
    let start = start_ns.to_ne_bytes();
    let shift = room.shift().to_ne_bytes();
    let ticks = Ticks::read(start_ns);
    let returns = Returns::of_kernel();
    let start_ticks = ticks.map_or(0, |t| t.now).to_ne_bytes();
    let tick_units = ticks.map_or(0, |t| t.units).to_ne_bytes();
    let part = part_shift(options.older).to_ne_bytes();
    let own: [(&str, &[u8]); 7] = [
        ("START_NS", &start),
        ("START_TICKS", &start_ticks),
        ("TICK_UNITS", &tick_units),
        ("MAX_STACKS", &stacks),
        ("SAMPLE_BYTES", &sample),
        ("BUCKET_SHIFT", &shift),
        ("PART_SHIFT", &part),
    ];
    let globals = own.into_iter().chain(returns.globals()).collect();
    Object::load(TOOL, OBJECT, Settings { globals, entries, shared })
}

/// log2 of the step, in age units, in which growing blocks get parts: between a sixteenth and an eighth of the age asked
/// about.
fn part_shift(older: Duration) -> u32 {
    let eighth = older.as_nanos() as u64 / UNIT_NS / 8;
    eighth.max(1).ilog2()
}

/// Room for live blocks. A block per 128 bytes of what the targets hold now is expected, and four times as many are
/// followed, within the limits above.
pub(super) fn room_for(held_bytes: u64, options: &Options) -> Room {
    let drawn = options.sample_bytes.map_or(128, |mean| mean.max(128));
    let expected = held_bytes / drawn;
    let most = (expected * 4).clamp(LEAST_BLOCKS, MOST_BLOCKS) as u32;
    let most = options.max_blocks.unwrap_or(most);
    Room::new(expected.min(most.into()), most)
}

pub(super) fn fill_weights(object: &Object, options: &Options) -> Result<()> {
    let Some(mean) = options.sample_bytes else { return Ok(()) };
    for point in 0..WEIGHT_POINTS {
        let weight = collect::weight(point_size_bytes(point), mean as f64);
        object.write("WEIGHTS", &(point as u32), &weight)?;
    }
    Ok(())
}
