//! Members of kernel structures that the programs read together, a structure at a time.

use crate::{
    error::{Error, ErrorKind, Result},
    kernel::types::Types,
};

/// Members that lie within the first 128 bytes of their structures, which the programs read at once.
const NEAR: [(&str, &[&str]); 7] = [
    ("dentry", &["d_inode"]),
    ("dentry", &["d_parent"]),
    ("dentry", &["d_name"]),
    ("dentry", &["d_hash", "pprev"]),
    ("inode", &["i_ino"]),
    ("inode", &["i_mode"]),
    ("path", &["dentry"]),
];
const NEAR_BYTES: u64 = 128;
/// Members that lie within as many bytes of their structures, of tools that look at sockets.
const NEAR_SOCKETS: [(&str, &str, u64); 12] = [
    ("inode", "i_ino", 128),
    ("inode", "i_mode", 128),
    ("socket", "sk", 32),
    ("socket", "type", 32),
    ("sock_common", "skc_family", 128),
    ("sock_common", "skc_state", 128),
    ("sock_common", "skc_num", 128),
    ("sock_common", "skc_dport", 128),
    ("sock_common", "skc_rcv_saddr", 128),
    ("sock_common", "skc_daddr", 128),
    ("sock_common", "skc_v6_rcv_saddr", 128),
    ("sock_common", "skc_v6_daddr", 128),
];

/// Checks that members lie where the programs read them: those of sockets, or those of files.
///
/// # Errors
/// If one is further away.
pub(super) fn check(types: &Types, has_sockets: bool) -> Result<()> {
    let of_files = NEAR.map(|(structure, path)| (structure, path.to_vec(), NEAR_BYTES));
    let of_sockets = NEAR_SOCKETS.map(|(structure, member, bytes)| (structure, vec![member], bytes));
    let members = if has_sockets { of_sockets.to_vec() } else { of_files.to_vec() };
    for (structure, path, bytes) in members {
        // A kernel without IPv6 does not have its addresses.
        let Some(offset) = types.offset(structure, &path) else { continue };
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
