//! What programs log with `-vv`. Otherwise the level is 0 when they are loaded, and the verifier removes the code.

use aya_log_ebpf::macro_support::{
    AYA_LOGS, Argument as _, DisplayHint, Field, Header, Level, LogValueLength, level_enabled,
};
use profiler_common::event::{EVENTS, Event};

/// Room for a record, in bytes.
const ROOM: usize = 128;
/// Values of a record: three numbers, each behind its hint, and what is between them.
const VALUES: u32 = 8;

/// Logs an event with its two numbers, as the event documents them.
#[inline(always)]
pub fn event(event: Event, first: u64, second: u64) {
    log_event(event as u32, first, second);
}

/// A function with a symbol: the verifier looks at it once for each program, and not once for each call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_event(event: u32, first: u64, second: u64) -> i32 {
    if level_enabled(Level::Debug) {
        let _ = send(event, first, second);
    }
    0
}

/// Does what `debug!(target: EVENTS, "{} {} {}", ..)` of aya-log does, with a record of constant size. The macro computes the
/// size at run time, and so the verifier looks at the statement once for each possible size: 2,700 instructions instead of 150.
#[inline(always)]
fn send(event: u32, first: u64, second: u64) -> Option<()> {
    let header = Header::new(EVENTS, Level::Debug, "", "", 0, VALUES)?;
    let (kind, hint) = DisplayHint::Default.as_argument();
    let hint = Field::new(kind, hint)?;
    let (kind, space) = " ".as_argument();
    let space = Field::new(kind, space)?;
    let (kind, event) = event.as_argument();
    let event = Field::new(kind, event)?;
    let (kind, first) = first.as_argument();
    let first = Field::new(kind, first)?;
    let (kind, second) = second.as_argument();
    let second = Field::new(kind, second)?;

    let mut record = AYA_LOGS.reserve::<[u8; ROOM]>(0)?;
    let to = record.as_mut_ptr().cast::<u8>();
    let mut at = size_of::<LogValueLength>();
    let mut put = |bytes: &[u8]| {
        let end = at + bytes.len();
        if end > ROOM {
            return None;
        }
        // SAFETY: the record has room up to there.
        unsafe { to.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        at = end;
        Some(())
    };
    let all = header
        .with_bytes(&mut put)
        .and_then(|()| hint.with_bytes(&mut put))
        .and_then(|()| event.with_bytes(&mut put))
        .and_then(|()| space.with_bytes(&mut put))
        .and_then(|()| hint.with_bytes(&mut put))
        .and_then(|()| first.with_bytes(&mut put))
        .and_then(|()| space.with_bytes(&mut put))
        .and_then(|()| hint.with_bytes(&mut put))
        .and_then(|()| second.with_bytes(&mut put));
    // SAFETY: as above; a length is not aligned.
    unsafe { to.cast::<LogValueLength>().write_unaligned(at as LogValueLength) };
    match all {
        Some(()) => record.submit(0),
        None => record.discard(0),
    }
    all
}
