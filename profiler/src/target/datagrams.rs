//! Sockets of a process, as far as `/proc` shows them.

use std::{fs, io::ErrorKind, path::Path};

/// Whether a process has a UDP socket; true if that cannot be found out.
pub(crate) fn has_datagrams(pid: u32) -> bool {
    has_datagrams_in(Path::new(&format!("/proc/{pid}")))
}

/// The same, given the directory of the process in `/proc`.
fn has_datagrams_in(process: &Path) -> bool {
    // A kernel without IPv6 has no `udp6`.
    let table = |kind: &str| match fs::read_to_string(process.join("net").join(kind)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(String::new()),
        read => read.ok(),
    };
    let (Some(tables), Ok(descriptors)) = (
        ["udp", "udp6"].map(table).into_iter().collect::<Option<Vec<_>>>(),
        fs::read_dir(process.join("fd")),
    ) else {
        return true;
    };
    // Column 10 is the inode.
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let inodes: Vec<String> =
        lines.filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().nth(9)?))).collect();
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .any(|link| inodes.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, UdpSocket},
        os::unix::fs::symlink,
    };

    use super::*;

    #[test]
    fn datagram_sockets_are_found() {
        // Another test of this process may have such a socket open, so only the positive answer can be checked here.
        let _stream = TcpListener::bind("127.0.0.1:0").unwrap();
        let _socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(has_datagrams(std::process::id()));
        assert!(has_datagrams(u32::MAX / 2), "nothing is known of it");
    }

    #[test]
    fn a_kernel_without_ipv6_has_one_table() {
        let process = tempfile::tempdir().unwrap();
        let path = |name: &str| process.path().join(name);
        let table =
            |inode: u32| format!("  sl  local_address ...\n 1: 0100007F:1 0:0 07 0:0 0:0 0 0 0 {inode} 2\n");
        fs::create_dir(path("net")).unwrap();
        fs::create_dir(path("fd")).unwrap();
        fs::write(path("net/udp"), table(8)).unwrap();
        symlink("socket:[7]", path("fd/3")).unwrap();
        assert!(!has_datagrams_in(process.path()), "socket 7 is a stream");
        fs::write(path("net/udp"), table(7)).unwrap();
        assert!(has_datagrams_in(process.path()));
        fs::write(path("net/udp"), table(8)).unwrap();
        fs::write(path("net/udp6"), table(7)).unwrap();
        assert!(has_datagrams_in(process.path()));
        fs::remove_dir_all(path("fd")).unwrap();
        assert!(has_datagrams_in(process.path()), "nothing is known of it");
    }
}
