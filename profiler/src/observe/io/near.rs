//! Members of kernel structures that the programs read together, a structure at a time.

use crate::{
    error::{Error, ErrorKind, Result},
    kernel::types::Types,
};

/// A structure, how many of its bytes are read at once from its beginning, and its members that must lie within.
type Near = (&'static str, u64, &'static [&'static [&'static str]]);

/// What programs that look at files read,
const OF_FILES: [Near; 3] = [
    ("dentry", 128, &[&["d_inode"], &["d_parent"], &["d_name"], &["d_hash", "pprev"]]),
    ("inode", 128, &[&["i_ino"], &["i_mode"]]),
    ("path", 128, &[&["dentry"]]),
];
/// and what those read that look at sockets.
const OF_SOCKETS: [Near; 5] = [
    ("inode", 128, &[&["i_ino"], &["i_mode"]]),
    ("socket", 32, &[&["sk"], &["type"]]),
    ("sock_common", 128, &[&["skc_family"], &["skc_state"], &["skc_num"], &["skc_dport"]]),
    ("sock_common", 128, &[&["skc_rcv_saddr"], &["skc_daddr"]]),
    // A kernel without IPv6 does not have these.
    ("sock_common", 128, &[&["skc_v6_rcv_saddr"], &["skc_v6_daddr"]]),
];

/// Checks that members lie where the programs read them: those of sockets, or those of files.
///
/// # Errors
/// If one is further away.
pub(super) fn check(types: &Types, has_sockets: bool) -> Result<()> {
    let all: &[Near] = if has_sockets { &OF_SOCKETS } else { &OF_FILES };
    let members = all
        .iter()
        .flat_map(|(structure, bytes, members)| members.iter().map(move |path| (*structure, *path, *bytes)));
    for (structure, path, bytes) in members {
        let Some(offset) = types.offset(structure, path) else { continue };
        if offset + 8 > bytes {
            let tried = Error::new(ErrorKind::Kernel, "tried to find the files of calls");
            return Err(tried.because(format_args!(
                "in this kernel, {structure}.{} is further away than profiler reads",
                path.join(".")
            )));
        }
    }
    Ok(())
}
