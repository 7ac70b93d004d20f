//! Where the members of kernel structures are, in bytes: from the types of the running kernel.

use aya_ebpf::Global;

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub(super) static $name: Global<u64> = Global::new(0);)*
    };
}

members! {
    /// `task_struct.files`
    TASK_FILES,
    /// `task_struct.fs`
    TASK_PLACES,
    /// `fs_struct.pwd`
    PLACES_WORKING,
    /// `task_struct.io_uring`; 0: the kernel has no io_uring.
    TASK_RINGS,
    /// `io_uring_task.registered_rings`; 0: it has none.
    RINGS_REGISTERED,
    /// `files_struct.fdt`
    FILES_TABLE,
    /// `fdtable.max_fds`
    TABLE_MOST,
    /// `fdtable.fd`
    TABLE_FILES,
    /// `file.f_path`
    FILE_PATH,
    /// `path.dentry`
    PATH_ENTRY,
    /// `path.mnt`
    PATH_MOUNT,
    /// `file.private_data`
    FILE_DATA,
    /// `file.f_inode`
    FILE_INODE,
    /// `inode.i_ino`
    INODE_NUMBER,
    /// `inode.i_mode`
    INODE_MODE,
    /// `inode.i_sb`
    INODE_FILESYSTEM,
    /// `super_block.s_dev`
    FILESYSTEM_DEVICE,
    /// `dentry.d_inode`
    ENTRY_INODE,
    /// `dentry.d_parent`
    ENTRY_PARENT,
    /// `dentry.d_name.hash`
    ENTRY_HASH,
    /// `dentry.d_name.len`
    ENTRY_BYTES,
    /// `dentry.d_name.name`
    ENTRY_NAME,
    /// `dentry.d_hash.pprev`
    ENTRY_BUCKET,
    /// `mount.mnt`
    MOUNT_INNER,
    /// `mount.mnt_parent`
    MOUNT_PARENT,
    /// `mount.mnt_mountpoint`
    MOUNT_POINT,
    /// `mount.mnt_ns`
    MOUNT_NAMESPACE,
    /// `vfsmount.mnt_root`
    MOUNT_ROOT,
    /// `eventpoll.rbr.rb_root.rb_node`
    POLL_TREE,
    /// `rb_node.__rb_parent_color`
    NODE_PARENT,
    /// `rb_node.rb_left`
    NODE_LEFT,
    /// `rb_node.rb_right`
    NODE_RIGHT,
    /// `epitem.rbn`
    ITEM_NODE,
    /// `epitem.ep`
    ITEM_POLL,
    /// `epitem.ffd.file`
    ITEM_FILE,
    /// `epitem.ffd.fd`
    ITEM_DESCRIPTOR,
    /// `socket.sk`
    SOCKET_SOCK,
    /// `socket.type`
    SOCKET_KIND,
    /// `sock_common.skc_family`
    SOCK_FAMILY,
    /// `sock_common.skc_state`
    SOCK_STATE,
    /// `sock_common.skc_num`
    SOCK_LOCAL_PORT,
    /// `sock_common.skc_dport`
    SOCK_REMOTE_PORT,
    /// `sock_common.skc_rcv_saddr`
    SOCK_LOCAL,
    /// `sock_common.skc_daddr`
    SOCK_REMOTE,
    /// `sock_common.skc_v6_rcv_saddr`
    SOCK_LOCAL_V6,
    /// `sock_common.skc_v6_daddr`
    SOCK_REMOTE_V6,
    /// `sock.sk_userlocks`, in bits; 0: not known.
    SOCK_LOCKS,
    /// `sock.sk_protocol`
    SOCK_PROTOCOL,
    /// `tcp_sock.nonagle`; 0: not known.
    TCP_NAGLE,
    /// `tcp_sock.write_seq`
    TCP_WRITTEN_TO,
    /// `tcp_sock.snd_nxt`
    TCP_SENT_TO,
    /// `inet_sock.inet_sport`; 0: the kernel does not tell.
    SOCK_SOURCE_PORT,
    /// `unix_sock.addr`
    UNIX_ADDRESS,
    /// `unix_sock.peer`
    UNIX_PEER,
    /// `unix_address.len`
    ADDRESS_BYTES,
    /// `unix_address.name`
    ADDRESS_NAME,
}
