//! What reports call a file: its path, the kernel's name of a file that is in no directory, or the addresses of a socket.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use profiler_common::file::{
    AF_INET, AF_INET6, AF_UNIX, Addresses, CUT, DELETED, DETACHED, S_IFMT, S_IFSOCK, SHORTENED, TCP_LISTEN,
    UNNAMED,
};

use super::File;
use crate::text::Text;

const S_IFIFO: u32 = 0x1000; // include/uapi/linux/stat.h
const AF_NETLINK: u16 = 16;
const STREAM: u16 = 1; // SOCK_STREAM
const DATAGRAMS: u16 = 2; // SOCK_DGRAM
const PACKETS: u16 = 5; // SOCK_SEQPACKET

/// Makes the labels of files.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// Whether addresses of peers are shown as they are. Otherwise they are replaced by a hash that only this run knows.
    pub(super) show_peers: bool,
    /// Its keys are random and differ in each run, so nobody can find an address by hashing all there are.
    hash: RandomState,
}

impl Labels {
    pub(super) fn of(&self, file: &File) -> Text {
        let record = &file.record;
        if record.mode & S_IFMT == S_IFSOCK {
            return Text::new(self.socket(&record.addresses, &file.name, record.inode));
        }
        if record.flags & UNNAMED != 0 {
            return Text::new(match file.name.as_slice() {
                [] if record.mode & S_IFMT == S_IFIFO => format!("pipe:[{}]", record.inode).into_bytes(),
                [] => format!("inode {}", record.inode).into_bytes(),
                name => name.to_vec(),
            });
        }
        let mut label = Vec::new();
        if record.flags & CUT != 0 {
            label.extend_from_slice("…".as_bytes());
        }
        label.extend(whole_parts(&file.name));
        if record.flags & SHORTENED != 0 {
            label.extend_from_slice("…".as_bytes());
        }
        if record.flags & DETACHED != 0 {
            label.extend_from_slice(b" (mounted nowhere)");
        }
        if record.flags & DELETED != 0 {
            label.extend_from_slice(b" (deleted)");
        }
        Text::new(label)
    }

    fn socket(&self, of: &Addresses, name: &[u8], inode: u64) -> Vec<u8> {
        let kind = match (of.family, of.kind) {
            (AF_UNIX, DATAGRAMS) => "unix datagrams",
            (AF_UNIX, PACKETS) => "unix packets",
            (AF_UNIX, _) => "unix",
            (AF_INET | AF_INET6, STREAM) => "tcp",
            (AF_INET | AF_INET6, DATAGRAMS) => "udp",
            (AF_NETLINK, _) => "netlink",
            _ => "socket",
        };
        let mut label = kind.as_bytes().to_vec();
        match of.family {
            AF_UNIX => {
                label.push(b' ');
                match name {
                    // An abstract address begins with a zero byte; `ss` shows it so.
                    [0, abstracted @ ..] => label.extend([b"@", abstracted].concat()),
                    [] => label.extend(format!("without a name, inode {inode}").into_bytes()),
                    path => label.extend(path.split(|byte| *byte == 0).next().unwrap_or_default()),
                }
            }
            AF_INET | AF_INET6 => label.extend(self.ends(of).into_bytes()),
            _ => label.extend(format!(":[{inode}]").into_bytes()),
        }
        if of.state == TCP_LISTEN && matches!(of.kind, STREAM | PACKETS) {
            label.extend_from_slice(b", listening");
        }
        label
    }

    /// Both ends of a socket of IPv4 or IPv6.
    fn ends(&self, of: &Addresses) -> String {
        let address = |bytes: &[u8; 16]| {
            let [a, b, c, d, ..] = *bytes;
            match of.family {
                AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                // An IPv4 peer of an IPv6 socket.
                _ => Ipv6Addr::from(*bytes).to_canonical(),
            }
        };
        let local = SocketAddr::new(address(&of.local), of.local_port);
        if of.remote_port == 0 {
            return format!(" {local}");
        }
        let remote = address(&of.remote);
        let remote = match self.show_peers || remote.is_loopback() || remote == local.ip() {
            true => SocketAddr::new(remote, of.remote_port).to_string(),
            false => format!("peer-{:08x}:{}", self.hash.hash_one(remote) as u32, of.remote_port),
        };
        // The kernel forgets the port of a connection that has ended.
        let local = match local.port() {
            0 => {
                local.to_string().strip_suffix(":0").map(|address| format!("{address}:?")).unwrap_or_default()
            }
            _ => local.to_string(),
        };
        format!(" {local} to {remote}")
    }
}

/// A path without what follows a zero byte in a part of it: a file that was renamed while its name was read may have the length of the
/// longer name, and behind the shorter one other memory of the kernel.
fn whole_parts(path: &[u8]) -> Vec<u8> {
    let part = |part: &[u8]| part.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    path.split(|byte| *byte == b'/').map(part).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use profiler_common::file::FileRecord;

    use super::*;

    fn file(mode: u32, flags: u64, name: &[u8]) -> File {
        // SAFETY: any bytes are valid for a wire type.
        let record = FileRecord { mode, flags, inode: 7, ..unsafe { std::mem::zeroed() } };
        File { record, name: name.to_vec() }
    }

    fn label(labels: &Labels, file: &File) -> String {
        labels.of(file).terminal()
    }

    #[test]
    fn the_label_of_a_file_is_its_path_or_the_name_that_the_kernel_gave_it() {
        let labels = Labels::default();
        for (mode, flags, name, expected) in [
            (0o100_644, 0, &b"/srv/world.db"[..], "/srv/world.db"),
            (0o100_644, DELETED, b"/srv/world.db", "/srv/world.db (deleted)"),
            (0o100_644, CUT, b"/deep/file", "…/deep/file"),
            (0o100_644, SHORTENED, b"/many/bytes", "/many/bytes…"),
            (0o100_644, 0, b"/srv/new\0bytes of the longer name/a", "/srv/new/a"),
            (0o100_644, DETACHED, b"/file", "/file (mounted nowhere)"),
            (0o100_644, 0, b"/srv/a\nb", "/srv/a\\x0ab"),
            (0o100_777, UNNAMED, b"memfd:pool", "memfd:pool"),
            (0o600, UNNAMED, b"[eventfd]", "[eventfd]"),
            (0o010_600, UNNAMED, b"", "pipe:[7]"),
            (0o010_600, 0, b"/run/fifo", "/run/fifo"),
        ] {
            assert_eq!(label(&labels, &file(mode, flags, name)), expected);
        }
    }

    fn socket(family: u16, kind: u16, local: &str, remote: &str, state: u64) -> File {
        let mut of = file(S_IFSOCK, 0, b"");
        let bytes = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
                bytes
            }
            IpAddr::V6(ip) => ip.octets(),
        };
        let [local, remote]: [SocketAddr; 2] = [local, remote].map(|address| address.parse().unwrap());
        of.record.addresses = Addresses {
            family,
            kind,
            local_port: local.port(),
            remote_port: remote.port(),
            state,
            local: bytes(local.ip()),
            remote: bytes(remote.ip()),
        };
        of
    }

    #[test]
    fn the_label_of_an_internet_socket_has_both_ends() {
        let labels = Labels { show_peers: true, ..Labels::default() };
        let listener = socket(AF_INET, STREAM, "0.0.0.0:80", "0.0.0.0:0", TCP_LISTEN);
        assert_eq!(label(&labels, &listener), "tcp 0.0.0.0:80, listening");
        let connection = socket(AF_INET, STREAM, "10.0.0.1:80", "192.0.2.7:4711", 1);
        assert_eq!(label(&labels, &connection), "tcp 10.0.0.1:80 to 192.0.2.7:4711");
        let mapped = socket(AF_INET6, STREAM, "[::ffff:10.0.0.1]:80", "[::ffff:192.0.2.7]:4711", 1);
        assert_eq!(label(&labels, &mapped), "tcp 10.0.0.1:80 to 192.0.2.7:4711");
        let ended = socket(AF_INET, STREAM, "10.0.0.1:0", "192.0.2.7:4711", 7);
        assert_eq!(label(&labels, &ended), "tcp 10.0.0.1:? to 192.0.2.7:4711");
        let datagrams = socket(AF_INET6, DATAGRAMS, "[::]:27015", "[::]:0", 7);
        assert_eq!(label(&labels, &datagrams), "udp [::]:27015");
    }

    #[test]
    fn peers_are_hashed_unless_they_are_asked_for_or_on_this_machine() {
        let labels = Labels::default();
        let one = socket(AF_INET, STREAM, "10.0.0.1:80", "192.0.2.7:4711", 1);
        let other = socket(AF_INET, STREAM, "10.0.0.1:80", "192.0.2.8:4711", 1);
        let [one, other] = [one, other].map(|file| label(&labels, &file));
        assert!(one.starts_with("tcp 10.0.0.1:80 to peer-") && one.ends_with(":4711"), "{one}");
        assert!(!one.contains("192.0.2") && one != other, "{one} {other}");
        let loopback = socket(AF_INET, STREAM, "127.0.0.1:80", "127.0.0.1:4711", 1);
        assert_eq!(label(&labels, &loopback), "tcp 127.0.0.1:80 to 127.0.0.1:4711");
    }

    #[test]
    fn the_label_of_a_unix_socket_has_the_address_that_it_is_bound_to() {
        let labels = Labels::default();
        let bound = |name: &[u8]| {
            let mut file = file(S_IFSOCK, 0, name);
            (file.record.addresses.family, file.record.addresses.kind) = (AF_UNIX, STREAM);
            label(&labels, &file)
        };
        assert_eq!(bound(b"/run/redis.sock\0"), "unix /run/redis.sock");
        assert_eq!(bound(b"\0bus"), "unix @bus");
        assert_eq!(bound(b""), "unix without a name, inode 7");
    }
}
