//! Where functions of our own lie in our own executable: processes that we start from it are probed there.

use crate::{
    error::{Error, ErrorKind, Result},
    target::modules::{Layout, Modules, Place},
};

/// Path that leads to our own executable, whatever became of its name.
pub(crate) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Offset of the code at one of our addresses in our executable.
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
