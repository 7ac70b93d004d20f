//! What reports call a file: its path, the kernel's name of a file that is in no directory, or the addresses of a socket.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use profiler_common::file::{
    AF_INET, AF_INET6, AF_UNIX, Addresses, CUT, DELETED, DETACHED, S_IFMT, S_IFSOCK, SERVICE, SHORTENED,
    SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, TCP_LISTEN, UNNAMED, socket::Side,
};

use super::File;
use crate::text::Text;

const S_IFIFO: u32 = 0x1000; // include/uapi/linux/stat.h
const AF_NETLINK: u16 = 16;

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
        if record.flags & SERVICE != 0 {
            return Text::new(self.service(Side::of_number(record.inode), &record.addresses, &file.name));
        }
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

    /// What the sockets of a service have in common.
    pub(super) fn service(&self, side: Side, of: &Addresses, name: &[u8]) -> Vec<u8> {
        let mut label = protocol(of).as_bytes().to_vec();
        match (side, of.family) {
            (Side::Unnamed, _) => label.extend_from_slice(b" without a name"),
            (Side::Calls, AF_UNIX) => label.extend([&b" to "[..], &unix_name(name)].concat()),
            (Side::Serves | Side::Bound, AF_UNIX) => label.extend([&b" "[..], &unix_name(name)].concat()),
            (Side::Calls, _) => {
                let to = SocketAddr::new(address(of.family, &of.remote), of.remote_port);
                label.extend(format!(" to {}", self.hidden(to, is_near(to.ip()))).into_bytes());
            }
            (Side::Serves | Side::Bound, _) => label.extend(format!(" :{}", of.local_port).into_bytes()),
            (Side::Loose, _) if of.kind == SOCK_STREAM => label.extend_from_slice(b", not connected"),
            (Side::Loose, AF_INET) if of.kind == SOCK_DGRAM => {
                label.extend_from_slice(b", ports that the kernel chose");
            }
            (Side::Loose | Side::Other, _) => {}
        }
        label
    }

    /// The peer of a connection: without its port, which is another one for each of them.
    pub(super) fn peer(&self, of: &Addresses) -> Option<String> {
        if of.remote_port == 0 || !matches!(of.family, AF_INET | AF_INET6) {
            return None;
        }
        let peer = address(of.family, &of.remote);
        Some(if self.show_peers || peer.is_loopback() { peer.to_string() } else { self.hash(peer) })
    }

    fn hash(&self, address: IpAddr) -> String {
        // 48 bits: of 65,536 addresses, two have the same with a chance of 1 in 130,000.
        format!("peer-{:012x}", self.hash.hash_one(address) >> 16)
    }

    /// An address, or what stands for it.
    fn hidden(&self, of: SocketAddr, is_shown: bool) -> String {
        match is_shown || self.show_peers {
            true => of.to_string(),
            false => format!("{}:{}", self.hash(of.ip()), of.port()),
        }
    }

    fn socket(&self, of: &Addresses, name: &[u8], inode: u64) -> Vec<u8> {
        let mut label = protocol(of).as_bytes().to_vec();
        match of.family {
            AF_UNIX if name.is_empty() => {
                label.extend(format!(" without a name, inode {inode}").into_bytes());
            }
            AF_UNIX => label.extend([&b" "[..], &unix_name(name)].concat()),
            AF_INET | AF_INET6 => label.extend(self.ends(of).into_bytes()),
            _ => label.extend(format!(":[{inode}]").into_bytes()),
        }
        if of.state == TCP_LISTEN && matches!(of.kind, SOCK_STREAM | SOCK_SEQPACKET) {
            label.extend_from_slice(b", listening");
        }
        label
    }

    /// Both ends of a socket of IPv4 or IPv6.
    fn ends(&self, of: &Addresses) -> String {
        let local = SocketAddr::new(address(of.family, &of.local), of.local_port);
        if of.remote_port == 0 {
            return format!(" {local}");
        }
        let remote = SocketAddr::new(address(of.family, &of.remote), of.remote_port);
        let remote = self.hidden(remote, remote.ip().is_loopback() || remote.ip() == local.ip());
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

fn protocol(of: &Addresses) -> &'static str {
    match (of.family, of.kind) {
        (AF_UNIX, SOCK_DGRAM) => "unix datagrams",
        (AF_UNIX, SOCK_SEQPACKET) => "unix packets",
        (AF_UNIX, _) => "unix",
        (AF_INET | AF_INET6, SOCK_STREAM) => "tcp",
        (AF_INET | AF_INET6, SOCK_DGRAM) => "udp",
        (AF_NETLINK, _) => "netlink",
        _ => "socket",
    }
}

/// The name of a Unix socket as `ss` shows it: an abstract one begins with a zero byte.
fn unix_name(name: &[u8]) -> Vec<u8> {
    match name {
        [0, abstracted @ ..] => [b"@", abstracted].concat(),
        path => path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    }
}

fn address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        // An IPv4 peer of an IPv6 socket.
        _ => Ipv6Addr::from(*bytes).to_canonical(),
    }
}

/// Whether an address is on this machine or in a private network: then it is no player's.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(of) => of.is_loopback() || of.is_private() || of.is_link_local(),
        IpAddr::V6(of) => of.is_loopback() || of.is_unique_local() || of.is_unicast_link_local(),
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
        let listener = socket(AF_INET, SOCK_STREAM, "0.0.0.0:80", "0.0.0.0:0", TCP_LISTEN);
        assert_eq!(label(&labels, &listener), "tcp 0.0.0.0:80, listening");
        let connection = socket(AF_INET, SOCK_STREAM, "10.0.0.1:80", "192.0.2.7:4711", 1);
        assert_eq!(label(&labels, &connection), "tcp 10.0.0.1:80 to 192.0.2.7:4711");
        let mapped = socket(AF_INET6, SOCK_STREAM, "[::ffff:10.0.0.1]:80", "[::ffff:192.0.2.7]:4711", 1);
        assert_eq!(label(&labels, &mapped), "tcp 10.0.0.1:80 to 192.0.2.7:4711");
        let ended = socket(AF_INET, SOCK_STREAM, "10.0.0.1:0", "192.0.2.7:4711", 7);
        assert_eq!(label(&labels, &ended), "tcp 10.0.0.1:? to 192.0.2.7:4711");
        let datagrams = socket(AF_INET6, SOCK_DGRAM, "[::]:27015", "[::]:0", 7);
        assert_eq!(label(&labels, &datagrams), "udp [::]:27015");
    }

    #[test]
    fn peers_are_hashed_unless_they_are_asked_for_or_on_this_machine() {
        let labels = Labels::default();
        let one = socket(AF_INET, SOCK_STREAM, "10.0.0.1:80", "192.0.2.7:4711", 1);
        let other = socket(AF_INET, SOCK_STREAM, "10.0.0.1:80", "192.0.2.8:4711", 1);
        let [one, other] = [one, other].map(|file| label(&labels, &file));
        assert!(one.starts_with("tcp 10.0.0.1:80 to peer-") && one.ends_with(":4711"), "{one}");
        assert!(!one.contains("192.0.2") && one != other, "{one} {other}");
        let loopback = socket(AF_INET, SOCK_STREAM, "127.0.0.1:80", "127.0.0.1:4711", 1);
        assert_eq!(label(&labels, &loopback), "tcp 127.0.0.1:80 to 127.0.0.1:4711");
    }

    #[test]
    fn the_label_of_a_service_has_what_its_sockets_have_in_common() {
        let labels = Labels::default();
        let of = |side: Side, family, kind, local: &str, remote: &str| {
            let mut service = socket(family, kind, local, remote, 0);
            (service.record.flags, service.record.inode) = (SERVICE, side as u64);
            label(&labels, &service)
        };
        let (any, here) = ("0.0.0.0:0", "0.0.0.0:8080");
        assert_eq!(of(Side::Serves, AF_INET, SOCK_STREAM, here, any), "tcp :8080");
        assert_eq!(of(Side::Bound, AF_INET, SOCK_DGRAM, here, any), "udp :8080");
        assert_eq!(of(Side::Loose, AF_INET, SOCK_STREAM, any, any), "tcp, not connected");
        assert_eq!(of(Side::Loose, AF_INET, SOCK_DGRAM, any, any), "udp, ports that the kernel chose");
        // The address of a database is no secret; that of somebody on the internet is.
        assert_eq!(of(Side::Calls, AF_INET, SOCK_STREAM, any, "10.0.0.5:5432"), "tcp to 10.0.0.5:5432");
        let mapped = of(Side::Calls, AF_INET6, SOCK_STREAM, "[::]:0", "[::ffff:10.0.0.5]:5432");
        assert_eq!(mapped, "tcp to 10.0.0.5:5432");
        let far = of(Side::Calls, AF_INET, SOCK_STREAM, any, "192.0.2.7:443");
        assert!(far.starts_with("tcp to peer-") && far.ends_with(":443"), "{far}");
        let unix = |side: Side, name: &[u8]| {
            let mut service = file(S_IFSOCK, SERVICE, name);
            service.record.inode = side as u64;
            (service.record.addresses.family, service.record.addresses.kind) = (AF_UNIX, SOCK_STREAM);
            label(&labels, &service)
        };
        assert_eq!(unix(Side::Serves, b"/run/redis.sock\0"), "unix /run/redis.sock");
        assert_eq!(unix(Side::Calls, b"\0bus"), "unix to @bus");
        assert_eq!(unix(Side::Unnamed, b""), "unix without a name");
    }

    #[test]
    fn the_label_of_a_unix_socket_has_the_address_that_it_is_bound_to() {
        let labels = Labels::default();
        let bound = |name: &[u8]| {
            let mut file = file(S_IFSOCK, 0, name);
            (file.record.addresses.family, file.record.addresses.kind) = (AF_UNIX, SOCK_STREAM);
            label(&labels, &file)
        };
        assert_eq!(bound(b"/run/redis.sock\0"), "unix /run/redis.sock");
        assert_eq!(bound(b"\0bus"), "unix @bus");
        assert_eq!(bound(b""), "unix without a name, inode 7");
    }
}
