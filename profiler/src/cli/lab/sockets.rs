//! `profiler __sockets`

use std::{io::Write as _, time::Duration};

use profiler::lab::sockets::Alone;

use super::{Done, args::SocketsArgs, observe, print_json, stop::Stop};

/// Attaches, says so, and looks until it is interrupted; then prints what was seen as JSON.
pub(crate) fn run(args: &SocketsArgs) -> Done {
    observe::require_root()?;
    let mut alone = Alone::attach(&args.pid, args.most)?;
    let every = Duration::from_millis(args.every);
    observe::event_loop()?.block_on(async {
        let mut signals = Stop::listen(1)?;
        let mut stop = std::pin::pin!(signals.next());
        // Tests wait for this line. If it cannot be written, nobody reads it.
        let _ = writeln!(std::io::stderr(), "attached");
        while tokio::time::timeout(every, &mut stop).await.is_err() {
            alone.look()?;
        }
        Ok::<_, profiler::error::Error>(())
    })?;
    print_json(&alone.finish()?)
}
