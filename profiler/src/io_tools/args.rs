//! Options that all of these tools have.

use clap::{Args, ValueEnum};

/// Which stacks are taken.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct StacksArgs {
    /// Whether call stacks are taken: of slow operations, and of a few others of each kind.
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "slow")]
    stacks: Whose,
}

/// Which operations have their stack taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Slow ones.
    Slow,
    /// None.
    None,
}

impl StacksArgs {
    /// Whether any are.
    pub(crate) fn any(self) -> bool {
        self.stacks == Whose::Slow
    }
}
