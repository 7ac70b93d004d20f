//! Combining the rules of functions into the rules of a whole text.

use profiler_common::unwind::Row;

use super::evaluate::Piece;
use super::pack::Packer;
use super::read::Text;
use super::{Error, PADDING_BYTES, Table};
use crate::unwind::dictionary::{Dictionary, Translation};

/// A function, and the translation of the numbers in its rows.
struct Placed<'p> {
    start: u64,
    end: u64,
    rows: &'p [(u32, Row)],
    translation: &'p Translation,
}

/// Makes the table from all pieces of all sources: by precedence, and in the order of each section.
pub(super) fn merge(text: &Text, sources: &[Vec<Piece>], cut_short: u64) -> Result<Table, Error> {
    let mut rules = Dictionary::default();
    let translations: Vec<Vec<Translation>> =
        sources.iter().map(|pieces| pieces.iter().map(|piece| rules.adopt(&piece.rules)).collect()).collect();
    let mut functions = Vec::new();
    for (pieces, translations) in sources.iter().zip(&translations) {
        add(&mut functions, pieces, translations);
    }
    let mut packer = Packer::new(text);
    put(&functions, &mut packer)?;
    let mut table = packer.finish(rules)?;
    table.stats.functions = functions.len() as u64;
    table.stats.damaged = cut_short + sources.iter().flatten().map(|piece| piece.damaged).sum::<u64>();
    Ok(table)
}

/// Adds the functions of one source where earlier sources have none.
fn add<'p>(functions: &mut Vec<Placed<'p>>, pieces: &'p [Piece], translations: &'p [Translation]) {
    let mut found: Vec<Placed<'p>> = Vec::new();
    for (piece, translation) in pieces.iter().zip(translations) {
        found.extend(piece.functions.iter().map(|function| Placed {
            start: function.start,
            end: function.end,
            rows: piece.rows_of(function),
            translation,
        }));
    }
    // Before an end, only the last function that begins before it can be in force.
    let is_free = |function: &Placed<'_>| {
        let behind = functions.partition_point(|other| other.start < function.end);
        functions[..behind].last().is_none_or(|other| other.end <= function.start)
    };
    if !functions.is_empty() {
        found.retain(is_free);
    }
    functions.append(&mut found);
    // A stable sort: of functions at one address, the first one of the section stays first.
    functions.sort_by_key(|function| function.start);
    functions.dedup_by_key(|function| function.start);
}

/// Passes every change of the rule to the packer, by address.
fn put(functions: &[Placed<'_>], packer: &mut Packer) -> Result<(), Error> {
    let starts = functions.iter().map(|function| function.start).skip(1).chain([u64::MAX]);
    let mut reached = None;
    for (function, next_start) in functions.iter().zip(starts) {
        if let Some(reached) = reached
            && function.start - reached > PADDING_BYTES
        {
            packer.set(reached, Row::NONE)?;
        }
        let end = function.end.min(next_start);
        for (distance, row) in function.rows {
            let address = function.start + u64::from(*distance);
            if address >= end {
                break;
            }
            packer.set(address, function.translation.row(*row))?;
        }
        reached = Some(end);
    }
    reached.map_or(Ok(()), |end| packer.set(end, Row::NONE))
}
