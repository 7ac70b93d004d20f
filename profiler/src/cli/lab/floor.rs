//! `profiler __floor`

use std::io::Write as _;

use profiler::{exit::ExitCode, lab::empty_probes};

use super::{Done, args::FloorArgs, observe, stop::Stop};

/// Attaches, reports that it has, and waits to be interrupted.
pub(crate) fn run(args: &FloorArgs) -> Done {
    observe::require_root()?;
    observe::event_loop()?.block_on(async {
        let mut signals = Stop::listen(1)?;
        let stop = signals.next();
        empty_probes::hold(args.pid, args.method.into(), args.what.into(), stop, |line| {
            // Measuring programs wait for this line. If it cannot be written, nobody reads it.
            let _ = writeln!(std::io::stderr(), "{line}");
        })
        .await
    })?;
    Ok(ExitCode::Ok)
}
