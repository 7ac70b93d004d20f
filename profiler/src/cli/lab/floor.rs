//! `profiler __floor`

use std::io::Write as _;

use profiler::{
    error::{Error, ErrorKind},
    exit::ExitCode,
    lab::empty_probes,
};

use super::{Done, args::FloorArgs, observe, stop::Stop};

/// Attaches, reports that it has, and waits to be interrupted.
pub(crate) fn run(args: &FloorArgs) -> Done {
    observe::require_root()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Limit, "tried to start the event loop").because_of(e))?;
    runtime.block_on(async {
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
