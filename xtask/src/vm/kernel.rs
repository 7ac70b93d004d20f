//! Kernels to boot: Debian's cloud kernels, taken out of their packages and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use super::sources::{self, Sources};
use crate::process::{self, command};

/// The kernels that are tried if none is named: the oldest that is supported, and the one that has multi links but no
/// sessions.
pub(super) const USUAL: [&str; 2] = ["6.1", "6.12"];

/// The Debian releases that a series is looked for in, if the configured ones do not have it.
const RELEASES: [(&str, &str); 2] = [("6.1", "bookworm"), ("6.12", "trixie")];

/// A kernel that can be booted.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As it was asked for.
    pub(super) name: String,
    /// The package that it is from, with its version; else where the file is.
    pub(super) origin: String,
    /// The compressed image.
    pub(super) image: PathBuf,
}

/// Finds a kernel: a file, or a series (`6.1`), kept under `cache` once it was fetched.
pub(super) fn find(name: &str, cache: &Path) -> Result<Kernel> {
    let file = Path::new(name);
    if file.is_file() {
        let image = fs::canonicalize(file).with_context(|| format!("cannot find {name}"))?;
        return Ok(Kernel { name: name.to_owned(), origin: image.display().to_string(), image });
    }
    if !is_series(name) {
        bail!("`{name}` is neither a kernel image nor a series like 6.1");
    }
    let folder = cache.join(format!("linux-{name}"));
    let (image, note) = (folder.join("vmlinuz"), folder.join("package"));
    if !image.is_file() {
        fetch(name, cache, &folder)?;
    }
    let origin = fs::read_to_string(&note).with_context(|| format!("cannot read {}", note.display()))?;
    Ok(Kernel { name: name.to_owned(), origin: origin.trim().to_owned(), image })
}

fn is_series(name: &str) -> bool {
    name.split('.').count() == 2 && name.split('.').all(|part| part.parse::<u32>().is_ok())
}

fn fetch(series: &str, cache: &Path, folder: &Path) -> Result<()> {
    let release = RELEASES.iter().find(|(of, _)| *of == series).map(|(_, release)| *release);
    let configured = fetch_from(&Sources::configured(), series, folder);
    let (Err(error), Some(release)) = (&configured, release) else { return configured };
    println!("vm: {error:#}; looking in Debian's {release}");
    fetch_from(&sources::of_release(release, &cache.join("apt"))?, series, folder)
}

fn fetch_from(sources: &Sources, series: &str, folder: &Path) -> Result<()> {
    let names = sources.package_names(&format!("linux-image-{series}."));
    let package = newest(&names, series)
        .with_context(|| format!("no package has a cloud kernel of the series {series} here"))?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let archive = sources.download(package, folder)?;
    let image = format!("./boot/vmlinuz-{}", package.trim_start_matches("linux-image-"));
    extract(&archive, &image, folder)?;
    let mut version = command("dpkg-deb");
    version.args(["--show", "--showformat", "${Package} ${Version}"]).arg(&archive);
    let version = process::ask(&mut version).context("cannot read the package's version")?;
    fs::write(folder.join("package"), version).context("cannot note the package's version")?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    // Last: what has this file is whole.
    let extracted = folder.join(image.rsplit('/').next().unwrap_or_default());
    fs::rename(extracted, folder.join("vmlinuz")).context("cannot name the kernel's image")
}

/// Takes one file out of a package, without its directories.
fn extract(archive: &Path, file: &str, folder: &Path) -> Result<()> {
    let mut files = command("dpkg-deb");
    files.arg("--fsys-tarfile").arg(archive).stdout(Stdio::piped());
    let mut files = files.spawn().context("cannot run dpkg-deb")?;
    let stream = files.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = command("tar");
    tar.args(["--extract", "--strip-components=2", "--directory"]).arg(folder).arg(file).stdin(stream);
    process::run(&mut tar)?;
    let status = files.wait().context("cannot wait for dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb failed on {} ({status})", archive.display());
    }
    Ok(())
}

/// The cloud kernel with the highest version among packages: signed, and not the one with debugging symbols.
fn newest<'n>(names: &'n [String], series: &str) -> Option<&'n str> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64")?;
        let numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        let of_series = version.strip_prefix(series)?.starts_with('.');
        of_series.then(|| numbers.map(|part| part.parse().ok()).collect())?
    };
    let versions = names.iter().filter_map(|name| Some((version(name)?, name.as_str())));
    versions.max().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_series_is_taken() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.1.0-58-cloud-amd64-dbg",
            "linux-image-6.1.0-59-cloud-amd64-unsigned",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(newest(&names, "6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest(&names, "6.12"), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest(&names, "6.6"), None);
    }

    #[test]
    fn a_kernel_is_a_file_or_a_series() {
        let cache = std::env::temp_dir();
        let file = std::env::current_exe().unwrap();
        assert_eq!(find(file.to_str().unwrap(), &cache).unwrap().image, file);
        assert!(find("no-such-file", &cache).unwrap_err().to_string().contains("neither"));
        assert!(is_series("6.12") && !is_series("6") && !is_series("6.x") && !is_series("6.1.2"));
    }
}
