//! Walks of real programs, kept with all that they depend on: registers, stack, mappings, and the rows of unwind tables that
//! were looked at. The walker's own source walks them again, on any machine and without root.
#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use profiler::unwind::host::{self, HostSpace, Start, Walked};
use profiler_common::unwind::walk::Machine;
use profiler_common::unwind::{
    Block, CHUNK_ROWS, MAX_MAPPINGS, Mapping, Mappings, NO_MAPPING, Rare, Row, Tables, unmarked,
};
use profiler_common::witness::{Context, Record};
use serde::{Deserialize, Serialize};

/// What a walk finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    frames: Vec<u64>,
    end: u64,
    guessed: u64,
}

impl Outcome {
    /// What the kernel side found.
    pub(crate) fn of(record: &Record) -> Outcome {
        Outcome { frames: record.frames().to_vec(), end: record.end, guessed: record.guessed }
    }
}

/// A walk and what it depends on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordedWalk {
    context: u64,
    registers: [u64; 16],
    ip: u64,
    /// Where the stack's bytes begin.
    stack_from: u64,
    /// Base64.
    stack: String,
    /// Start, bytes, bias, first block, base and blocks of those that were met.
    mappings: Vec<[u64; 6]>,
    /// By number: the block, and its rows.
    blocks: BTreeMap<u32, (u64, Vec<u32>)>,
    /// Rules of the dictionary by number, as bytes.
    rules: BTreeMap<u32, Vec<u8>>,
    outcome: Outcome,
}

impl RecordedWalk {
    /// Walks what was recorded; what is found, and what that depended on.
    pub(crate) fn of(space: &HostSpace, record: &Record) -> (Outcome, RecordedWalk) {
        let machine = Recorder {
            space,
            record,
            reach: Cell::new(0),
            blocks: RefCell::default(),
            rules: RefCell::default(),
        };
        let bytes: Vec<u8> = record.stack.iter().flat_map(|word| word.to_le_bytes()).collect();
        let outcome = run(&machine, &space.mappings, record.context, record.ip, &record.registers);
        let met = |mapping: &&Mapping| {
            let holds = |frame: &u64| frame.wrapping_sub(mapping.start) <= mapping.bytes;
            mapping.bytes > 0 && outcome.frames.iter().any(holds)
        };
        let numbers = |m: &Mapping| [m.start, m.bytes, m.bias, m.first_block, m.base.into(), m.blocks.into()];
        let recorded = RecordedWalk {
            context: record.context,
            registers: record.registers,
            ip: record.ip,
            stack_from: record.stack_from,
            stack: BASE64_STANDARD.encode(&bytes[..machine.reach.get()]),
            mappings: space.mappings.list.iter().filter(met).map(numbers).collect(),
            blocks: machine.blocks.into_inner(),
            rules: machine.rules.into_inner(),
            outcome: outcome.clone(),
        };
        (outcome, recorded)
    }

    /// What was found.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Walks again.
    pub(crate) fn replay(&self) -> Outcome {
        let none = Mapping { start: 0, bytes: 0, bias: 0, first_block: 0, base: 0, blocks: 0 };
        let mut mappings =
            Box::new(Mappings { starts: [NO_MAPPING; MAX_MAPPINGS], list: [none; MAX_MAPPINGS] });
        for (at, [start, bytes, bias, first_block, base, blocks]) in self.mappings.iter().copied().enumerate()
        {
            mappings.starts[at] = start;
            let (base, blocks) = (base as u32, blocks as u32);
            mappings.list[at] = Mapping { start, bytes, bias, first_block, base, blocks };
        }
        let mut chunks: BTreeMap<u32, Box<[Row; CHUNK_ROWS]>> = BTreeMap::new();
        for (block, rows) in self.blocks.values() {
            let block = Block(*block);
            let chunk = chunks.entry(block.chunk()).or_insert_with(|| Box::new([Row::default(); CHUNK_ROWS]));
            for (row, place) in rows.iter().zip(&mut chunk[block.first_in_chunk() as usize..]) {
                *place = Row(*row);
            }
        }
        let rules = self.rules.iter().map(|(number, bytes)| (*number, rule_of(bytes))).collect();
        let stack = BASE64_STANDARD.decode(&self.stack).expect("base64");
        let replayer = Replayer { walk: self, stack, chunks, rules };
        run(&replayer, &mappings, self.context, self.ip, &self.registers)
    }
}

fn rule_of(bytes: &[u8]) -> Rare {
    assert_eq!(bytes.len(), size_of::<Rare>());
    // SAFETY: as many bytes as a rule has, and any are one.
    unsafe { bytes.as_ptr().cast::<Rare>().read_unaligned() }
}

/// Copies a part of a stack that begins at `start`.
fn copy(stack: &[u8], start: u64, to: *mut u64, bytes: u32, from: u64) -> Option<usize> {
    let at = usize::try_from(from.checked_sub(start)?).ok()?;
    let part = stack.get(at..at.checked_add(bytes as usize)?)?;
    // SAFETY: the caller has as much room.
    unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to.cast::<u8>(), part.len()) };
    Some(at + part.len())
}

/// A walk from these registers.
fn run<M: Machine>(machine: M, mappings: &Mappings, context: u64, ip: u64, registers: &[u64; 16]) -> Outcome {
    let start = Start { ip, sp: registers[7], fp: registers[6], returned: context == Context::RETURN };
    let Walked { frames, end, guessed } = host::walk(machine, mappings, start);
    Outcome { frames: frames.into_iter().map(|frame| unmarked(frame).0).collect(), end, guessed }
}

/// The tables of a process, noting what is looked at.
struct Recorder<'s> {
    space: &'s HostSpace,
    record: &'s Record,
    reach: Cell<usize>,
    blocks: RefCell<BTreeMap<u32, (u64, Vec<u32>)>>,
    rules: RefCell<BTreeMap<u32, Vec<u8>>>,
}

// SAFETY: as the arena.
unsafe impl Tables for &Recorder<'_> {
    fn block(self, index: u32) -> Option<Block> {
        let block = (&self.space.arena).block(index)?;
        if let Some(chunk) = (&self.space.arena).chunk(block.chunk()) {
            // SAFETY: a block's rows lie within its chunk.
            let row = |at: u32| unsafe { *chunk.add((block.first_in_chunk() + at) as usize) }.0;
            let rows = (0..block.row_count()).map(row).collect();
            self.blocks.borrow_mut().insert(index, (block.0, rows));
        }
        Some(block)
    }
    fn chunk(self, index: u32) -> Option<*const Row> {
        (&self.space.arena).chunk(index)
    }
    fn rare(self, index: u32) -> Option<*const Rare> {
        let rule = (&self.space.arena).rare(index)?;
        // SAFETY: the arena vouches for the rule.
        let bytes = unsafe { std::slice::from_raw_parts(rule.cast::<u8>(), size_of::<Rare>()) };
        self.rules.borrow_mut().insert(index, bytes.to_vec());
        Some(rule)
    }
}

// SAFETY: writes as many bytes as asked for, or none.
unsafe impl Machine for &Recorder<'_> {
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool {
        let record = self.record;
        // SAFETY: the stack of the record, as bytes.
        let stack = unsafe {
            std::slice::from_raw_parts(record.stack.as_ptr().cast::<u8>(), record.stack_bytes as usize)
        };
        let Some(reach) = copy(stack, record.stack_from, to, bytes, from) else { return false };
        self.reach.set(self.reach.get().max(reach));
        true
    }
    fn register(self, number: u32) -> Option<u64> {
        Some(self.record.registers[number as usize & 15])
    }
}

/// What was noted, walked again.
struct Replayer<'w> {
    walk: &'w RecordedWalk,
    stack: Vec<u8>,
    chunks: BTreeMap<u32, Box<[Row; CHUNK_ROWS]>>,
    rules: BTreeMap<u32, Rare>,
}

// SAFETY: chunks and rules are as large as they say.
unsafe impl Tables for &Replayer<'_> {
    fn block(self, index: u32) -> Option<Block> {
        Some(self.walk.blocks.get(&index).map_or(Block::default(), |(block, _)| Block(*block)))
    }
    fn chunk(self, index: u32) -> Option<*const Row> {
        self.chunks.get(&index).map(|chunk| chunk.as_ptr())
    }
    fn rare(self, index: u32) -> Option<*const Rare> {
        self.rules.get(&index).map(std::ptr::from_ref)
    }
}

// SAFETY: writes as many bytes as asked for, or none.
unsafe impl Machine for &Replayer<'_> {
    unsafe fn copy(self, to: *mut u64, bytes: u32, from: u64) -> bool {
        copy(&self.stack, self.walk.stack_from, to, bytes, from).is_some()
    }
    fn register(self, number: u32) -> Option<u64> {
        Some(self.walk.registers[number as usize & 15])
    }
}
