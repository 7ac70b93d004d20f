//! Progress on standard error, and the live view on a terminal.

use std::{
    cell::{Cell, RefCell},
    io::{self, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiler::{error::Result, observe::Progress, render::HumanOptions, report::Report, stage::Stage};

use super::{live::LiveView, output, output::Outputs, status::Status, terminal::Terminal, waiting::Watch};

/// Interval of progress lines where lines cannot be redrawn.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Shows the progress of an observation.
#[derive(Debug)]
pub(crate) struct Teller {
    err: Terminal,
    quiet: bool,
    status: RefCell<Status>,
    bar: Option<ProgressBar>,
    live: Option<RefCell<LiveView>>,
    /// When the last line of progress was written.
    said: Cell<Duration>,
    /// Whether standard output has no reader any more.
    unread: Cell<bool>,
}

impl Teller {
    /// `live`: how to show the live view, if there is one.
    pub(crate) fn new(quiet: bool, status: Status, live: Option<HumanOptions>) -> Teller {
        let err = Terminal::stderr();
        let bar = (!quiet && live.is_none() && err.redraws).then(bar);
        Teller {
            err,
            quiet,
            status: RefCell::new(status),
            bar,
            live: live.map(|options| RefCell::new(LiveView::new(options))),
            said: Cell::new(Duration::ZERO),
            unread: Cell::new(false),
        }
    }

    /// Shows what is being waited for, as long as the result is held.
    pub(crate) fn watch(&self, stage: Stage) -> Watch {
        Watch::start(stage, self.bar.clone(), self.quiet)
    }

    /// Writes a line that stays.
    pub(crate) fn line(&self, words: &str) {
        if self.quiet {
            return;
        }
        match (&self.bar, &self.live) {
            (Some(bar), _) => bar.println(self.err.lines("", words).trim_end()),
            // Standard error is most likely the same screen.
            (None, Some(live)) if self.err.rows.is_some() => live.borrow_mut().keep(words),
            (None, _) => self.err.say("", words),
        }
    }

    /// Shows numbers that change.
    pub(crate) fn progress(&self, progress: &Progress) {
        let mut status = self.status.borrow_mut();
        status.update(progress);
        if let Some(live) = &self.live {
            let drawn = live.borrow_mut().tick(|width| status.line(width));
            return self.written(drawn);
        }
        if let Some(bar) = &self.bar {
            // The last column stays empty: some terminals wrap after it.
            bar.set_message(status.line(self.err.width - 1));
        } else if !self.quiet
            && self.err.rows.is_some()
            && progress.elapsed.saturating_sub(self.said.get()) >= SAY_EVERY
        {
            self.said.set(progress.elapsed);
            self.err.say("", &status.line(self.err.width));
        }
    }

    /// Shows an interim report: redrawn in place on a terminal, else one after the other.
    pub(crate) fn interim(&self, outputs: &Outputs, report: &Report) -> Result<()> {
        let shown = match &self.live {
            Some(live) => live.borrow_mut().show(report),
            None => {
                let page = outputs.render_interim(report)?;
                let mut out = io::stdout().lock();
                out.write_all(page.as_bytes()).and_then(|()| out.flush())
            }
        };
        match shown {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(output::failed(cause)),
            shown => {
                self.written(shown);
                Ok(())
            }
        }
    }

    /// Whether the interim reports have no reader any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Makes room on the screen for the live view.
    pub(crate) fn begin(&self) {
        if let Some(live) = &self.live {
            self.written(live.borrow().begin());
        }
    }

    /// Removes the changing parts from the screen.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(live) = &self.live {
            live.borrow_mut().finish().iter().for_each(|words| self.err.say("", words));
        }
    }

    fn written(&self, written: io::Result<()>) {
        if written.is_err() {
            self.unread.set(true);
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
