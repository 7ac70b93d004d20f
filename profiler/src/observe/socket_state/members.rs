//! Offsets of the members of kernel structures that the kernel side reads.

use std::{fmt, io};

use crate::kernel::types::{Member, Types};

/// Something that is not known of any socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// What is not known.
    pub(crate) what: &'static str,
    /// Why.
    pub(crate) reason: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: not known: {}", self.what, self.reason)
    }
}

/// Settings of the object: names, and offsets as their bytes.
type Settings = Vec<(&'static str, [u8; 8])>;

/// Members without which no socket can be found.
const REQUIRED: [Member; 20] = [
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("OF_SOCKET_SOCK", "socket", &["sk"]),
    ("OF_NET_INODE", "net", &["ns", "inum"]),
    ("OF_FAMILY", "sock_common", &["skc_family"]),
    ("OF_STATE", "sock_common", &["skc_state"]),
    ("OF_COOKIE", "sock_common", &["skc_cookie"]),
    ("OF_NET", "sock_common", &["skc_net", "net"]),
    ("OF_PORT", "sock_common", &["skc_num"]),
    ("OF_SOCKET", "sock", &["sk_socket"]),
    ("OF_TYPE", "sock", &["sk_type"]),
    ("OF_PROTOCOL", "sock", &["sk_protocol"]),
    ("OF_RECEIVE_MEMORY", "sock", &["sk_backlog", "rmem_alloc"]),
    ("OF_QUEUE_FIRST", "sock", &["sk_receive_queue", "next"]),
    ("OF_QUEUE_LAST", "sock", &["sk_receive_queue", "prev"]),
    ("OF_QUEUE_LENGTH", "sock", &["sk_receive_queue", "qlen"]),
    ("OF_ERROR", "sock", &["sk_err"]),
    ("SOCK_LOCAL_PORT", "sock_common", &["skc_num"]),
    ("SOCK_REMOTE_PORT", "sock_common", &["skc_dport"]),
    ("SOCK_LOCAL", "sock_common", &["skc_rcv_saddr"]),
    ("SOCK_REMOTE", "sock_common", &["skc_daddr"]),
];

/// Members that only kernels with IPv6 have.
const OF_V6: [Member; 2] = [
    ("SOCK_LOCAL_V6", "sock_common", &["skc_v6_rcv_saddr"]),
    ("SOCK_REMOTE_V6", "sock_common", &["skc_v6_daddr"]),
];

/// A kernel without these has the drops of UDP where those of all others are.
const APART: [Member; 3] = [
    ("OF_DROP_COUNTERS", "sock", &["sk_drop_counters"]),
    ("OF_DROPS_0", "numa_drop_counters", &["drops0"]),
    ("OF_DROPS_1", "numa_drop_counters", &["drops1"]),
];

/// Members that stand for one value each, and what is not known without.
const OPTIONAL: [(Member, &str); 25] = [
    (("OF_SEND_MEMORY", "sock", &["sk_wmem_alloc"]), "send queue of UDP"),
    (("OF_RECEIVE_LIMIT", "sock", &["sk_rcvbuf"]), "receive limit"),
    (("OF_SEND_LIMIT", "sock", &["sk_sndbuf"]), "send limit"),
    (("OF_DROPS", "sock", &["sk_drops"]), "drops"),
    (("OF_BACKLOG", "sock", &["sk_ack_backlog"]), "connections that wait"),
    (("OF_BACKLOG_LIMIT", "sock", &["sk_max_ack_backlog"]), "limit of connections that wait"),
    (("OF_SOURCE_PORT", "inet_sock", &["inet_sport"]), "port of a closed socket"),
    (("OF_READER_FIRST", "udp_sock", &["reader_queue", "next"]), "age of datagrams"),
    (("OF_DEFICIT", "udp_sock", &["forward_deficit"]), "what the receive buffer of UDP has given back"),
    (("OF_UNIX_QUEUED", "unix_sock", &["inq_len"]), "receive queue of Unix sockets"),
    (("OF_RECEIVED_TO", "tcp_sock", &["rcv_nxt"]), "receive queue of TCP"),
    (("OF_READ_TO", "tcp_sock", &["copied_seq"]), "receive queue of TCP"),
    (("OF_WRITTEN_TO", "tcp_sock", &["write_seq"]), "send queue of TCP"),
    (("OF_ACKED_TO", "tcp_sock", &["snd_una"]), "send queue of TCP"),
    (("OF_SRTT", "tcp_sock", &["srtt_us"]), "round-trip time"),
    (("OF_CONGESTION_WINDOW", "tcp_sock", &["snd_cwnd"]), "congestion window"),
    (("OF_PEER_WINDOW", "tcp_sock", &["snd_wnd"]), "window of the peer"),
    (("OF_RETRANSMITS", "tcp_sock", &["total_retrans"]), "retransmits"),
    (("OF_BYTES_ACKED", "tcp_sock", &["bytes_acked"]), "acknowledged bytes"),
    (("OF_BYTES_RECEIVED", "tcp_sock", &["bytes_received"]), "received bytes"),
    (("OF_BYTES_SENT", "tcp_sock", &["bytes_sent"]), "sent bytes"),
    (("OF_SEGMENTS_IN", "tcp_sock", &["segs_in"]), "received segments"),
    (("OF_SEGMENTS_OUT", "tcp_sock", &["segs_out"]), "sent segments"),
    (("OF_LOST", "tcp_sock", &["lost_out"]), "lost segments"),
    (("OF_RTT_MIN", "tcp_sock", &["rtt_min", "s"]), "least round-trip time"),
];

/// The offsets, as settings of the object, and what this kernel lacks.
///
/// # Errors
/// If the kernel lacks a member without which no socket can be found.
pub(super) fn globals(types: &Types) -> io::Result<(Settings, Vec<Lack>)> {
    let mut globals = types.globals(&REQUIRED)?;
    globals.push(("OF_SOCKET_INODE", inode(types)?.to_ne_bytes()));
    for optional in [&OF_V6[..], &APART] {
        globals.extend(types.globals(optional).unwrap_or_default());
    }
    let mut lacks = Vec::new();
    let mut lacking = |what, reason: String| lacks.push(Lack { what, reason });
    let members: Vec<Member> = OPTIONAL.iter().map(|(member, _)| *member).collect();
    // One search finds all of them; the few that are missing are looked for one by one, to say which they are.
    match types.globals(&members) {
        Ok(all) => globals.extend(all),
        Err(_) => {
            for (member, what) in OPTIONAL {
                match types.globals(&[member]) {
                    Ok(one) => globals.extend(one),
                    Err(missing) => lacking(what, missing.to_string()),
                }
            }
        }
    }
    match types.bits("tcp_sock", "nonagle") {
        Some(bits) if bits.is_multiple_of(8) => globals.push(("OF_NO_DELAY", (bits / 8).to_ne_bytes())),
        _ => lacking(
            "delay of small segments",
            "this kernel has no tcp_sock.nonagle where a byte begins".into(),
        ),
    }
    let own = types.offset("sk_buff", &["cb"]);
    for (name, member) in [("OF_SEGMENT_BEGIN", "seq"), ("OF_SEGMENT_END", "end_seq")] {
        // Without it, the program that needs it is not attached.
        if let Some((own, place)) = own.zip(types.offset("tcp_skb_cb", &[member])) {
            globals.push((name, (own + place).to_ne_bytes()));
        }
    }
    // The windowed minimum keeps three samples, of which the first is the minimum (include/linux/win_minmax.h).
    let value = types.offset("minmax_sample", &["v"]);
    for (name, bytes) in globals.iter_mut().filter(|(name, _)| *name == "OF_RTT_MIN") {
        match value {
            Some(value) => *bytes = (u64::from_ne_bytes(*bytes) + value).to_ne_bytes(),
            None => {
                tracing::debug!("{name}: this kernel has no minmax_sample.v");
                *bytes = u64::MAX.to_ne_bytes();
            }
        }
    }
    Ok((globals, lacks))
}

/// From a `struct socket` to the number of the inode that it is allocated with.
fn inode(types: &Types) -> io::Result<u64> {
    let offset = |structure, path: &[&str]| {
        let missing = || io::Error::other(format!("this kernel has no {structure}.{}", path.join(".")));
        types.offset(structure, path).ok_or_else(missing)
    };
    let inode = offset("socket_alloc", &["vfs_inode"])? + offset("inode", &["i_ino"])?;
    Ok(inode.wrapping_sub(offset("socket_alloc", &["socket"])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_what_is_required() {
        let types = Types::of_kernel().unwrap();
        let (globals, lacks) = globals(&types).unwrap();
        assert!(globals.len() > REQUIRED.len() + 20, "{lacks:?}");
        let first: Vec<_> =
            globals.iter().filter(|(_, bytes)| *bytes == [0; 8]).map(|(name, _)| *name).collect();
        // The union of the addresses begins the structure.
        assert!(first.iter().all(|name| ["SOCK_REMOTE", "OF_DROPS_0"].contains(name)), "{first:?}");
    }
}
