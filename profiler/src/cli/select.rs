//! Which rows of a recorded report are shown.

use clap::{Args, builder::NonEmptyStringValueParser};
use profiler::{report::Selection, units::options::bytes};

/// Which rows of a report.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    /// Only rows whose function, or any frame or file of whose stack, has this in its name; * and ? are wildcards.
    #[arg(long = "match", value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) matching: Option<String>,
    /// Only this table, by its name in JSON. With --format csv, which has one table: the first unless another is named.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) section: Option<String>,
    /// Sort by this column, by its name in JSON or its heading, such as 'Took p99': largest first.
    #[arg(long, value_name = "COLUMN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) sort: Option<String>,
    /// Leave out rows that hold less than SIZE, unless they leak. Needs a table with a column of bytes.
    #[arg(long, value_name = "SIZE", default_value = "0B", value_parser = bytes)]
    pub(crate) min_bytes: u64,
}

impl From<&SelectArgs> for Selection {
    fn from(args: &SelectArgs) -> Selection {
        Selection {
            section: args.section.clone(),
            matching: args.matching.clone(),
            sort: args.sort.clone(),
            min_bytes: args.min_bytes,
        }
    }
}
