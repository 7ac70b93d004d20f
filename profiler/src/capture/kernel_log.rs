//! What programs in the kernel log with `-vv`: rare events only. Otherwise the level is 0 when they are loaded, and the verifier
//! removes the code that logs.

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError},
};

use aya_log::{EbpfLogger, Level};
use log::Record;
use profiler_common::event::{EVENTS, Event};

use crate::kernel::bpf;

/// The global that holds the level, and the ring for records. The objects of tools use the ring of the ground.
pub(crate) const LEVEL: &str = aya_log::LEVEL;
pub(crate) const RING: &str = "AYA_LOGS";

/// Size of the ring if nothing is logged, in bytes: the smallest that the kernel makes.
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

/// The log of the programs that use one ring.
pub(crate) struct KernelLog {
    logger: EbpfLogger<Bridge>,
    last: Arc<Mutex<Option<Line>>>,
}

impl KernelLog {
    /// The log of a loaded program, and of all that use the same ring; `None` if nothing is logged, or if the kernel denies access.
    pub(crate) fn of(program: BorrowedFd<'_>) -> Option<KernelLog> {
        if wanted().0 == 0 {
            return None;
        }
        let number = bpf::program_number(program).ok()?;
        let last = Arc::default();
        match EbpfLogger::init_from_id_with_logger(number, Bridge(Arc::clone(&last))) {
            Ok(logger) => Some(KernelLog { logger, last }),
            Err(error) => {
                tracing::debug!("what programs in the kernel log cannot be read: {error}");
                None
            }
        }
    }

    /// Passes on what was logged.
    pub(crate) fn hand_on(&mut self) {
        self.logger.flush();
        if let Some(line) = self.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
            line.hand_on();
        }
    }
}

/// The last record, and how often it came in a row: a full table logs the same at every hit.
struct Line {
    is_warning: bool,
    words: String,
    times: u64,
}

impl Line {
    fn hand_on(&self) {
        let Line { is_warning, words, times } = self;
        let often = if *times == 1 { String::new() } else { format!(" ({times} times)") };
        if *is_warning {
            tracing::warn!("in the kernel: {words}{often}");
        } else {
            tracing::debug!("in the kernel: {words}{often}");
        }
    }
}

/// From the records of the kernel side to those of user space, by way of the last one.
struct Bridge(Arc<Mutex<Option<Line>>>);

impl log::Log for Bridge {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let logged = record.args().to_string();
        let words = if record.target() == EVENTS { words(&logged).unwrap_or(logged) } else { logged };
        let is_warning = record.level() <= log::Level::Warn;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(line) if line.words == words => line.times += 1,
            _ => {
                if let Some(line) = last.replace(Line { is_warning, words, times: 1 }) {
                    line.hand_on();
                }
            }
        }
    }

    fn flush(&self) {}
}

/// The words for the numbers of an event.
fn words(numbers: &str) -> Option<String> {
    let mut numbers = numbers.split(' ').map_while(|number| number.parse::<u64>().ok());
    let event = Event::of_number(numbers.next()?.try_into().ok()?)?;
    let (first, second) = (numbers.next()?, numbers.next()?);
    Some(match event {
        Event::Execed => format!("process {first} replaced its program: it has address space {second} now"),
        Event::RecordLost => {
            format!("the record of process {first}, address space {second}, did not fit into the ring")
        }
        Event::StackTableFull => format!("a stack of address space {first} got no number: all are taken"),
        Event::StackRingFull => {
            format!("the frames of stack {second} of address space {first} did not fit into the ring")
        }
        Event::BlockRefused => {
            let why = std::io::Error::from_raw_os_error(i32::try_from(first).ok()?);
            format!("a block of {second} bytes was not recorded: {why}")
        }
        Event::CallAbandoned => {
            format!("an allocation of {second} bytes in address space {first} was left without returning")
        }
        Event::ThreadRefused => format!("there is no memory for thread {first} of process {second}"),
        Event::CellRefused => format!("there is no memory to count call {second} of thread {first}"),
        Event::ErrorRefused => format!("there is no room for the error of call {second} of thread {first}"),
        Event::CallerRefused => format!("there is no room for the caller of call {second} of thread {first}"),
        Event::SlowCallLost => format!("slow call {second} of thread {first} did not fit into the ring"),
        Event::UringRefused => {
            format!("there is no room to count operation {second} of io_uring in address space {first}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_words_of_its_own() {
        let said: std::collections::BTreeSet<_> =
            (0..Event::ALL.len()).map(|number| words(&format!("{number} 7 11")).unwrap()).collect();
        assert_eq!(said.len(), Event::ALL.len());
        assert_eq!(
            words("4 7 11").unwrap(),
            "a block of 11 bytes was not recorded: Argument list too long (os error 7)"
        );
        assert_eq!(words(&format!("{} 7 11", Event::ALL.len())), None);
        assert_eq!(words("4 7"), None);
    }
}
