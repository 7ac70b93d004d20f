//! The programs.

use core::ffi::c_void;

use profiler_ebpf::socket::{age, events, look};

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident at $section:literal does $body:path;)*) => {
        $($(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        pub(crate) fn $name(ctx: *mut c_void) -> i32 {
            // SAFETY: the context of this program.
            unsafe { $body(ctx) };
            0
        })*
    };
}

programs! {
    /// Runs for each descriptor of a process.
    sockets_look at "iter/task_file" does look::descriptor;
    /// A TCP socket changes its state.
    sockets_state at "tp_btf/inet_sock_set_state" does events::state_changed;
    /// A datagram finds no room.
    sockets_overrun at "tp_btf/udp_fail_queue_rcv_skb" does events::overrun;
    /// A packet is dropped.
    sockets_dropped at "tp_btf/kfree_skb" does events::dropped;
    /// A segment is sent again.
    sockets_retransmit at "tp_btf/tcp_retransmit_skb" does events::retransmitted;
    /// A reset arrives.
    sockets_reset_in at "tp_btf/tcp_receive_reset" does events::reset_received;
    /// A reset is sent.
    sockets_reset_out at "tp_btf/tcp_send_reset" does events::reset_sent;
    /// The kernel announces data.
    sockets_ready at "tp_btf/sk_data_ready" does age::ready;
    /// A segment of TCP arrives.
    sockets_arrived at "tp_btf/tcp_probe" does age::tcp_arrived;
    /// A call has received.
    sockets_received at "tp_btf/sock_recv_length" does age::received;
    /// TCP data was read.
    sockets_read at "tp_btf/tcp_rcv_space_adjust" does age::tcp_read;
}
