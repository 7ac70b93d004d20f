//! Loading the object, attaching its programs, and reading its maps.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use memmap2::MmapRaw;
use profiler_common::{
    histogram::BUCKETS,
    ledger::Ledger as _,
    socket::{Counter, DropKey, SOCKET_SLOTS, SocketAges, SocketRecord},
};

use super::members::{self, Lack};
use crate::{
    capture::{
        casts,
        counted::counters,
        mapped,
        object::{Maps, Object, Settings, explain},
        tracepoints::Tracepoints,
    },
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        lockdown,
        types::Types,
    },
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/socket_state"));
/// The type of an iterator over descriptors.
const DESCRIPTOR_ITERATOR: &str = "bpf_iter_task_file";
/// Sections of the object: the number of the look, and the filter in front of the table of sockets.
const LOOK: &str = ".bss.looks";
const SLOTS: &str = ".bss.sockets";
/// The program that no tracepoint can replace.
const STATES: (&str, &str) = ("sockets_state", "inet_sock_set_state");
/// Programs that can be done without: their tracepoints, and what is not known without them. What ends a measurement comes before what
/// begins it.
const OPTIONAL: [(&str, &str, &str); 7] = [
    (
        "sockets_received",
        "sock_recv_length",
        "age of datagrams and of what Unix sockets receive; reads of datagrams",
    ),
    ("sockets_read", "tcp_rcv_space_adjust", "age of TCP data"),
    ("sockets_overrun", "udp_fail_queue_rcv_skb", "when datagrams were dropped"),
    ("sockets_dropped", "kfree_skb", "why packets were dropped"),
    ("sockets_retransmit", "tcp_retransmit_skb", "when segments were sent again"),
    ("sockets_reset_in", "tcp_receive_reset", "resets that arrived"),
    ("sockets_reset_out", "tcp_send_reset", "resets that were sent"),
];
/// The program that is told of data, and what stands in for it where the kernel has no tracepoint for that (before Linux 6.3).
const ARRIVALS: (&str, &str) = ("sockets_ready", "sk_data_ready");
const TCP_ARRIVALS: (&str, &str) = ("sockets_arrived", "tcp_probe");
const WITHOUT_ARRIVALS: &str =
    "age of datagrams and of what Unix sockets receive; receive queue of UDP between looks";
const WITHOUT_TCP_ARRIVALS: &str = "age of TCP data; receive queue of TCP between looks";
/// The tracepoint that says the socket of a packet only in newer kernels (Linux 6.11), and the name of that argument.
const DROPS: (&str, &str) = ("kfree_skb", "rx_sk");

/// How much room the kernel side has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Sockets at the same time, those that were closed since the last look included. Each takes 0.7 KiB once it is used.
    pub(crate) sockets: u32,
    /// Sockets that listen.
    pub(crate) listeners: u32,
    /// Reasons of drops, each for one socket.
    pub(crate) reasons: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { sockets: 1 << 14, listeners: 1 << 10, reasons: 1 << 13 }
    }
}

/// The loaded programs. Dropping them takes them away.
pub(crate) struct Probes {
    object: Object,
    attached: Tracepoints,
    /// The program that looks at a descriptor.
    look: OwnedFd,
    number: MmapRaw,
    slots: MmapRaw,
    lacks: Vec<Lack>,
    reasons: BTreeMap<u32, String>,
}

fn tried(what: &str) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried {what}"))
}

impl Probes {
    /// Creates the maps and loads the program that looks; nothing is attached. `shared`: the maps of the observation.
    ///
    /// # Errors
    /// If the kernel has no types, lacks a member that is required, does not let programs read its memory, or refuses a map.
    pub(crate) fn load(limits: Limits, shared: Maps) -> Result<Probes> {
        let what = "to read the state of sockets";
        if lockdown::is_confidential() {
            return Err(tried(what)
                .because("the kernel does not let programs read its memory (lockdown=confidentiality)")
                .hint("start the kernel with lockdown=integrity"));
        }
        let types = Types::of_kernel().map_err(|e| tried(what).because_of(e))?;
        let (places, lacks) = members::globals(&types).map_err(|e| tried(what).because_of(e))?;
        let mut globals: Vec<_> = places.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        let casts = casts::of_sockets(&types);
        globals.extend(casts.iter().map(|(name, number)| (*name, number.as_slice())));
        let entries = vec![
            ("SOCKET_STATES", limits.sockets),
            ("LISTENERS", limits.listeners),
            ("SOCKET_DROPS", limits.reasons),
        ];
        let object = Object::load("the state of sockets", OBJECT, Settings { globals, entries, shared })?;
        let look = (|| {
            let missing =
                || io::Error::other(format!("the kernel's types do not have {DESCRIPTOR_ITERATOR}"));
            let iterator = types.function(DESCRIPTOR_ITERATOR).ok_or_else(missing)?;
            object.load_program("sockets_look", ProgramKind::Iterator(iterator))
        })()
        .map_err(|e| explain(tried(what), e))?;
        let number = mapped::writable(&object, LOOK, size_of::<u64>())?;
        let slots = mapped::writable(&object, SLOTS, size_of::<u32>() * SOCKET_SLOTS)?;
        let reasons = types.enumerators("skb_drop_reason", "SKB_DROP_REASON_");
        Ok(Probes { object, attached: Tracepoints::default(), look, number, slots, lacks, reasons })
    }

    /// Attaches the programs.
    ///
    /// # Errors
    /// If the kernel cannot follow the states of sockets.
    pub(crate) fn attach(&mut self) -> Result<()> {
        let types = Types::of_kernel().map_err(|e| tried("to read the kernel's types").because_of(e))?;
        self.attached.attach(&self.object, &types, &[STATES])?;
        for (program, tracepoint, what) in OPTIONAL {
            let (drops, socket) = DROPS;
            let reason = if tracepoint == drops && !types.has_argument(drops, socket) {
                Some(format!("in this kernel, the tracepoint {drops} does not say the socket"))
            } else {
                self.attached.attach_optional(&self.object, &types, program, &[tracepoint])
            };
            if let Some(reason) = reason {
                self.lacks.push(Lack { what, reason });
            }
        }
        self.attach_arrivals(&types);
        Ok(())
    }

    fn attach_arrivals(&mut self, types: &Types) {
        let (program, tracepoint) = ARRIVALS;
        let Some(reason) = self.attached.attach_optional(&self.object, types, program, &[tracepoint]) else {
            return;
        };
        self.lacks.push(Lack { what: WITHOUT_ARRIVALS, reason });
        let (program, tracepoint) = TCP_ARRIVALS;
        let has_ends = types.offset("tcp_skb_cb", &["end_seq"]).is_some();
        let reason = if has_ends {
            self.attached.attach_optional(&self.object, types, program, &[tracepoint])
        } else {
            Some("this kernel has no tcp_skb_cb.end_seq".to_owned())
        };
        if let Some(reason) = reason {
            self.lacks.push(Lack { what: WITHOUT_TCP_ARRIVALS, reason });
        }
    }

    /// See [`Tracepoints::missed`].
    pub(super) fn missed(&self) -> u64 {
        self.attached.missed()
    }

    /// What is not known of any socket, and why.
    pub(crate) fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// The kernel's name for a reason of a drop, without its beginning; `None`: the reason is none of the kernel's core.
    pub(crate) fn reason(&self, number: u64) -> Option<&str> {
        self.reasons.get(&u32::try_from(number).ok()?).map(String::as_str)
    }

    /// Begins a look, and returns its number.
    pub(super) fn begin_look(&self) -> u64 {
        // SAFETY: the first word of the mapping, which lives as long as this value. Programs only read it.
        let number = unsafe { AtomicU64::from_ptr(self.number.as_mut_ptr().cast()) };
        number.fetch_add(1, Ordering::Release) + 1
    }

    /// Looks at the descriptors of a process, which may have ended.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn look_at(&self, pid: u32) -> Result<()> {
        match bpf::for_each_descriptor(self.look.as_fd(), pid) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(explain(tried(&format!("to find the sockets of process {pid}")), error))
            }
            _ => Ok(()),
        }
    }

    /// All sockets, by cookie.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn sockets(&self) -> Result<Vec<(u64, SocketRecord)>> {
        self.all("SOCKET_STATES")
    }

    /// Dropped packets, by socket and reason.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn drops(&self) -> Result<Vec<(DropKey, u64)>> {
        self.all("SOCKET_DROPS")
    }

    fn all<K: Copy, V: Copy>(&self, map: &str) -> Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        bpf::for_each_element(self.object.map(map)?, |key, value| all.push((key, value)))
            .map_err(|e| tried(&format!("to read BPF map {map}")).because_of(e))?;
        Ok(all)
    }

    /// The histogram of ages with this number, if it belongs to this socket.
    pub(super) fn ages(&self, number: u64, cookie: u64) -> Option<[u64; BUCKETS]> {
        let mut read = [SocketAges { owner: 0, counts: [0; BUCKETS] }];
        let index = u32::try_from(number.checked_sub(1)?).ok()?;
        bpf::lookup(self.object.map("SOCKET_AGES").ok()?, &index, &mut read).ok()?;
        let [SocketAges { owner, counts }] = read;
        (owner == cookie).then_some(counts)
    }

    /// Removes a socket, and gives its room back.
    pub(super) fn forget(&self, cookie: u64, histogram: u64) {
        if self.object.map("SOCKET_STATES").is_ok_and(|map| bpf::delete(map, &cookie).is_ok()) {
            let slot = (cookie as usize) & (SOCKET_SLOTS - 1);
            // SAFETY: a word of the mapping, which lives as long as this value. The kernel side adds atomically.
            let count = unsafe { AtomicU32::from_ptr(self.slots.as_mut_ptr().cast::<u32>().add(slot)) };
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if self.ages(histogram, cookie).is_some() {
            let free = SocketAges { owner: 0, counts: [0; BUCKETS] };
            if let Err(error) = self.object.write("SOCKET_AGES", &(histogram as u32 - 1), &free) {
                tracing::debug!("a histogram of ages stays taken: {error}");
            }
        }
    }

    /// Removes a number of drops.
    pub(super) fn forget_drops(&self, key: &DropKey) {
        if let Ok(map) = self.object.map("SOCKET_DROPS")
            && let Err(error) = bpf::delete(map, key)
        {
            tracing::debug!("drops of a closed socket stay: {error}");
        }
    }

    /// The ledger; [`Counter::ENTRIES`] says what its numbers are.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn counters(&self) -> Result<[u64; Counter::COUNT]> {
        counters(&self.object, Counter::ENTRIES)
    }

    /// The descriptors of its own maps.
    pub(super) fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.object.own_maps()
    }

    /// Instructions that the verifier has looked at, by program.
    #[cfg(feature = "lab")]
    pub(crate) fn verified(&self) -> Vec<(&'static str, u32)> {
        let mut verified = self.attached.verified();
        verified.push(("sockets_look", bpf::verified_instructions(self.look.as_fd()).unwrap_or_default()));
        verified
    }

    /// Detaches the programs. What they have counted stays.
    pub(crate) fn close(&mut self) {
        self.attached.detach(&[ARRIVALS.0, TCP_ARRIVALS.0]);
    }
}
