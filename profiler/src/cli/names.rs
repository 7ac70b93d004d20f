//! Where names come from: what the arguments say, checked before an observation begins.

use profiler::{
    error::{Error, ErrorKind, Result},
    symbolize::Settings,
};

use super::args::NamesArgs;

impl NamesArgs {
    /// The settings.
    ///
    /// # Errors
    /// If a directory cannot be read: an observation would take as long as usual, and have no names.
    pub(crate) fn settings(&self) -> Result<Settings> {
        for directory in &self.debug_dir {
            std::fs::read_dir(directory).map_err(|error| {
                Error::on(ErrorKind::Usage, "tried to look for debug files in", directory.as_path())
                    .because_of(&error)
                    .hint("name a directory with --debug-dir")
            })?;
        }
        Ok(Settings { debug_dirs: self.debug_dir.clone() })
    }
}
