//! What `memleak` adds to a malloc and its free.

use anyhow::{Result, bail};

use super::{Figures, Rig};

pub(super) fn run(_rig: &Rig) -> Result<Figures> {
    bail!("the memleak bench has no body yet");
}
