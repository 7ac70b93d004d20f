//! Offsets of our own functions in our own executable, for probing processes that we start from it.

use crate::{
    error::{Error, ErrorKind, Result},
    target::modules::{Layout, Modules, Place},
};

/// A path to our own executable, even if the file was renamed or deleted.
pub(crate) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Offset in our executable of the code at an address.
///
/// # Errors
/// If our own mappings cannot be read.
pub(crate) fn own_offset(address: usize) -> Result<u64> {
    let tried = || Error::new(ErrorKind::Kernel, "tried to find our own code in our executable");
    let mut modules = Modules::default();
    let layout = Layout::read(std::process::id(), &mut modules).map_err(|e| tried().because_of(e))?;
    let Place::File(_, offset) = layout.place(address as u64) else {
        return Err(tried().because("it is in no file"));
    };
    Ok(offset)
}
