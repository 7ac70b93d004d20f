//! What the programs in the kernel log, with `-vv`: rare events only. Otherwise their level is 0 when they are loaded, and the verifier
//! removes what would log.

use std::os::fd::BorrowedFd;

use aya_log::{EbpfLogger, Level};

use crate::kernel::bpf;

/// The global of the kernel side that has the level, and the ring that records go through.
pub(super) const LEVEL: &str = aya_log::LEVEL;
pub(super) const RING: &str = "AYA_LOGS";

/// Bytes of the ring if nothing is logged: the least that the kernel makes.
const NO_RING_BYTES: u32 = 1 << 12;
const RING_BYTES: u32 = 1 << 16;

/// The level to load programs with, and the size of their ring in bytes.
pub(super) fn wanted() -> (u8, u32) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        (Level::Debug as u8, RING_BYTES)
    } else {
        (0, NO_RING_BYTES)
    }
}

/// The records of one object.
pub(super) struct KernelLog(EbpfLogger<Bridge>);

impl KernelLog {
    /// Those of the object of a loaded program; `None` if nothing is logged, or if the kernel does not let us.
    pub(super) fn of(program: BorrowedFd<'_>) -> Option<KernelLog> {
        if wanted().0 == 0 {
            return None;
        }
        let number = bpf::program_number(program).ok()?;
        match EbpfLogger::init_from_id_with_logger(number, Bridge) {
            Ok(logger) => Some(KernelLog(logger)),
            Err(error) => {
                tracing::debug!("what programs in the kernel log cannot be read: {error}");
                None
            }
        }
    }

    /// Hands on what was logged.
    pub(super) fn hand_on(&mut self) {
        self.0.flush();
    }
}

/// From the records of the kernel side to those of user space.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error | log::Level::Warn => tracing::warn!("in the kernel: {}", record.args()),
            _ => tracing::debug!("in the kernel: {}", record.args()),
        }
    }

    fn flush(&self) {}
}
