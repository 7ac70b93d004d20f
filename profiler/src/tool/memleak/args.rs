//! The options of `memleak` on the command line.

use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches as _, ValueEnum};

use super::{
    custom::{self, Custom},
    options::{LEAST_AGE, Options},
    tool::Memleak,
};
use crate::{
    observe::functions::plan::Placement,
    observe::settings::Settings,
    tool::Made,
    units::options::{bytes, duration_from, positive_bytes, whole},
};

/// The options that only this tool has.
#[derive(Debug, Args)]
struct MemleakArgs {
    /// Age from which a block is suspicious: one that healthy allocations never reach.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = age)]
    older: Duration,
    /// Leave out stacks that hold less than SIZE, unless they leak.
    #[arg(long, value_name = "SIZE", default_value = "0B", value_parser = bytes)]
    min_bytes: u64,
    /// Sample one allocation per SIZE bytes instead of following all: cheaper, and every figure is an estimate.
    #[arg(long, value_name = "SIZE", value_parser = positive_bytes)]
    sample_bytes: Option<u64>,
    /// Follow this allocation function too, e.g. 'pool_get:size=arg1,ptr=ret'. May be repeated.
    #[arg(long, value_name = "SPEC", value_parser = custom::parse_alloc)]
    alloc_fn: Vec<Custom>,
    /// Follow this release function too, e.g. 'pool_put:ptr=arg0'. May be repeated.
    #[arg(long, value_name = "SPEC", value_parser = custom::parse_free)]
    free_fn: Vec<Custom>,
    /// Live blocks to make room for. Default: by the memory that the target uses.
    #[arg(long, value_name = "N", value_parser = blocks, allow_negative_numbers = true)]
    max_blocks: Option<u32>,
    /// For measurements: where in a function to probe.
    #[arg(long, value_enum, default_value = "cheapest", hide = true)]
    placement: PlacementArg,
}

/// Where in a function to probe.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PlacementArg {
    /// The first instruction that the kernel emulates.
    Cheapest,
    /// The first instruction.
    First,
}

/// Adds the options to a command.
pub(crate) fn options(command: clap::Command) -> clap::Command {
    MemleakArgs::augment_args(command)
}

/// The tool as it was asked for.
///
/// # Errors
/// If the options are not those of [`options`].
pub(crate) fn make(matches: &ArgMatches, settings: &Settings) -> Made {
    let args = MemleakArgs::from_arg_matches(matches)?;
    let options = Options {
        older: args.older,
        sample_bytes: args.sample_bytes,
        min_bytes: args.min_bytes,
        max_blocks: args.max_blocks,
        custom: args.alloc_fn.into_iter().chain(args.free_fn).collect(),
        placement: match args.placement {
            PlacementArg::Cheapest => Placement::Cheapest,
            PlacementArg::First => Placement::FirstInstruction,
        },
    };
    Ok(Box::new(Memleak::new(options, settings)))
}

/// Ages below the clock's step cannot be distinguished.
fn age(text: &str) -> Result<Duration, String> {
    duration_from(LEAST_AGE, ": on some kernels the clock for ages does not tick more often", text)
}

fn blocks(text: &str) -> Result<u32, String> {
    whole(text, 1, 1 << 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_that_cannot_be_told_from_none_is_refused() {
        assert_eq!(age("10ms"), Ok(Duration::from_millis(10)));
        for short in ["9.9ms", "0.0000001s", "0s", "1ns"] {
            let why = age(short).unwrap_err();
            assert_eq!(
                why, "must be 10ms or more: on some kernels the clock for ages does not tick more often",
                "{short}"
            );
        }
        assert!(age("30").unwrap_err().starts_with("no unit"));
    }

    #[test]
    fn room_for_blocks_has_a_range() {
        assert_eq!(blocks("1"), Ok(1));
        for wrong in ["0", "134217729", "99999999999999999999"] {
            assert_eq!(blocks(wrong).unwrap_err(), "it takes a whole number from 1 to 134217728", "{wrong}");
        }
    }
}
