//! Offsets of the members of kernel structures that the kernel side reads to find the names of open files.

use std::io;

use crate::kernel::types::{Member, Types};

const MEMBERS: [Member; 43] = [
    ("TASK_FILES", "task_struct", &["files"]),
    ("TASK_PLACES", "task_struct", &["fs"]),
    ("PLACES_WORKING", "fs_struct", &["pwd"]),
    ("FILES_TABLE", "files_struct", &["fdt"]),
    ("TABLE_MOST", "fdtable", &["max_fds"]),
    ("TABLE_FILES", "fdtable", &["fd"]),
    ("FILE_PATH", "file", &["f_path"]),
    ("PATH_ENTRY", "path", &["dentry"]),
    ("PATH_MOUNT", "path", &["mnt"]),
    ("FILE_DATA", "file", &["private_data"]),
    ("FILE_INODE", "file", &["f_inode"]),
    ("INODE_NUMBER", "inode", &["i_ino"]),
    ("INODE_MODE", "inode", &["i_mode"]),
    ("INODE_FILESYSTEM", "inode", &["i_sb"]),
    ("FILESYSTEM_DEVICE", "super_block", &["s_dev"]),
    ("ENTRY_INODE", "dentry", &["d_inode"]),
    ("ENTRY_PARENT", "dentry", &["d_parent"]),
    ("ENTRY_HASH", "dentry", &["d_name", "hash"]),
    ("ENTRY_BYTES", "dentry", &["d_name", "len"]),
    ("ENTRY_NAME", "dentry", &["d_name", "name"]),
    ("ENTRY_BUCKET", "dentry", &["d_hash", "pprev"]),
    ("MOUNT_INNER", "mount", &["mnt"]),
    ("MOUNT_PARENT", "mount", &["mnt_parent"]),
    ("MOUNT_POINT", "mount", &["mnt_mountpoint"]),
    ("MOUNT_NAMESPACE", "mount", &["mnt_ns"]),
    ("MOUNT_ROOT", "vfsmount", &["mnt_root"]),
    ("POLL_TREE", "eventpoll", &["rbr", "rb_root", "rb_node"]),
    ("NODE_PARENT", "rb_node", &["__rb_parent_color"]),
    ("NODE_LEFT", "rb_node", &["rb_left"]),
    ("NODE_RIGHT", "rb_node", &["rb_right"]),
    ("ITEM_NODE", "epitem", &["rbn"]),
    ("ITEM_POLL", "epitem", &["ep"]),
    ("ITEM_FILE", "epitem", &["ffd", "file"]),
    ("ITEM_DESCRIPTOR", "epitem", &["ffd", "fd"]),
    ("SOCKET_SOCK", "socket", &["sk"]),
    ("SOCKET_KIND", "socket", &["type"]),
    ("SOCK_FAMILY", "sock_common", &["skc_family"]),
    ("SOCK_STATE", "sock_common", &["skc_state"]),
    ("SOCK_LOCAL_PORT", "sock_common", &["skc_num"]),
    ("SOCK_REMOTE_PORT", "sock_common", &["skc_dport"]),
    ("SOCK_PROTOCOL", "sock", &["sk_protocol"]),
    ("SOCK_LOCAL", "sock_common", &["skc_rcv_saddr"]),
    ("SOCK_REMOTE", "sock_common", &["skc_daddr"]),
];

/// Members that only kernels with IPv6 have.
const OF_V6: [Member; 2] = [
    ("SOCK_LOCAL_V6", "sock_common", &["skc_v6_rcv_saddr"]),
    ("SOCK_REMOTE_V6", "sock_common", &["skc_v6_daddr"]),
];

/// Members that only kernels with Unix sockets have.
const OF_UNIX: [Member; 4] = [
    ("UNIX_ADDRESS", "unix_sock", &["addr"]),
    ("UNIX_PEER", "unix_sock", &["peer"]),
    ("ADDRESS_BYTES", "unix_address", &["len"]),
    ("ADDRESS_NAME", "unix_address", &["name"]),
];

/// Members that only kernels with io_uring have, and rings that threads register (Linux 5.18).
const OF_RINGS: [Member; 2] = [
    ("TASK_RINGS", "task_struct", &["io_uring"]),
    ("RINGS_REGISTERED", "io_uring_task", &["registered_rings"]),
];

/// The offsets, as settings of an object whose programs look at open files. Offsets that only IPv6, Unix sockets or io_uring need
/// stay 0 on a kernel without these.
///
/// # Errors
/// If this kernel lacks another member.
pub(crate) fn globals(types: &Types) -> io::Result<Vec<(&'static str, [u8; 8])>> {
    let mut globals = types.globals(&MEMBERS)?;
    for optional in [&OF_V6[..], &OF_UNIX, &OF_RINGS] {
        globals.extend(types.globals(optional).unwrap_or_default());
    }
    for (name, member) in [("TCP_WRITTEN_TO", "write_seq"), ("TCP_SENT_TO", "snd_nxt")] {
        globals.push((name, types.offset("tcp_sock", &[member]).unwrap_or(0).to_ne_bytes()));
    }
    globals.push(("TCP_NAGLE", types.offset("tcp_sock", &["nonagle"]).unwrap_or(0).to_ne_bytes()));
    let source_port = types.offset("inet_sock", &["inet_sport"]).unwrap_or(0);
    globals.push(("SOCK_SOURCE_PORT", source_port.to_ne_bytes()));
    // Before Linux 6.9 it shares a byte with other members.
    globals.push(("SOCK_LOCKS", types.bits("sock", "sk_userlocks").unwrap_or(0).to_ne_bytes()));
    Ok(globals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_them_all() {
        let types = Types::of_kernel().unwrap();
        let globals = globals(&types).unwrap();
        // Only the first members of their structures are at offset 0, and only on some kernels.
        const MAY_BE_FIRST: [&str; 7] = [
            "TABLE_MOST",
            "PATH_MOUNT",
            "MOUNT_ROOT",
            "NODE_PARENT",
            "ITEM_NODE",
            "INODE_MODE",
            "SOCK_REMOTE",
        ];
        let first = globals.iter().filter(|(_, bytes)| *bytes == [0; 8]).map(|(name, _)| *name);
        let odd: Vec<&str> = first.filter(|name| !MAY_BE_FIRST.contains(name)).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }
}
