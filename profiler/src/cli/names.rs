//! Where names come from, by the arguments, checked before an observation begins.

use std::{ffi::OsString, path::PathBuf};

use profiler::{
    error::{Error, ErrorKind, Result},
    symbolize::{DebugFileCache, Servers, Settings},
};

use super::args::NamesArgs;

/// Files in which distributions name their servers.
const SERVER_LISTS: &str = "/etc/debuginfod";

impl NamesArgs {
    /// The settings.
    ///
    /// # Errors
    /// If a directory cannot be read: an observation would take as long as usual, and have no names.
    pub(crate) fn settings(&self) -> Result<Settings> {
        for directory in &self.debug_dir {
            std::fs::read_dir(directory).map_err(|error| {
                Error::on(ErrorKind::Usage, "tried to look for debug files in", directory.as_path())
                    .because_of(error)
                    .hint("name a directory with --debug-dir")
            })?;
        }
        let servers = if self.debuginfod { Some(servers()?) } else { None };
        Ok(Settings { debug_dirs: self.debug_dir.clone(), servers })
    }
}

/// The servers that the tools of elfutils would ask.
fn servers() -> Result<Servers> {
    let mut urls = std::env::var("DEBUGINFOD_URLS").unwrap_or_default();
    if urls.trim().is_empty() {
        let files = std::fs::read_dir(SERVER_LISTS)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        let lists = files.filter(|path| path.extension().is_some_and(|extension| extension == "urls"));
        urls = lists.filter_map(|list| std::fs::read_to_string(list).ok()).collect::<Vec<_>>().join(" ");
    }
    // `ima:enforcing` and the like are settings of elfutils, not servers.
    let (urls, others): (Vec<&str>, Vec<&str>) =
        urls.split_whitespace().partition(|word| word.contains("://"));
    let urls: Vec<String> = urls.into_iter().map(str::to_owned).collect();
    if urls.is_empty() {
        let why = match others.iter().find(|word| !word.starts_with("ima:")) {
            Some(word) => format!("{:?} is not a URL: use https:// or http://", word),
            None => format!("DEBUGINFOD_URLS is not set, and {SERVER_LISTS} names none"),
        };
        return Err(Error::new(ErrorKind::Usage, "tried to find servers for --debuginfod")
            .because(why)
            .hint("sudo DEBUGINFOD_URLS='https://debuginfod.elfutils.org/' profiler ...   # sudo does not pass it on"));
    }
    Ok(Servers { urls, kept: cache()?, patience: Servers::PATIENCE })
}

/// The directory in which the tools of elfutils keep fetched files. If it was derived from `HOME` and another user
/// could change it, it is not used: sudo may leave `HOME` as it is.
fn cache() -> Result<Option<DebugFileCache>> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directory) = of("DEBUGINFOD_CACHE_PATH") {
        let directory = PathBuf::from(directory);
        return DebugFileCache::at(&directory).map(Some).map_err(|error| {
            Error::on(ErrorKind::Usage, "tried to keep debug files in", directory.as_path())
                .because_of(error)
                .hint("set DEBUGINFOD_CACHE_PATH to a directory of your own")
        });
    }
    let below_home = |home: OsString| PathBuf::from(home).join(".cache");
    let caches = of("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| of("HOME").map(below_home));
    Ok(caches.and_then(|caches| DebugFileCache::at(&caches.join("debuginfod_client")).ok()))
}
