//! Progress on standard error, and the live view on a terminal.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiler::{error::Result, observe::Progress, render::HumanOptions, report::Report, stage::Stage, units};

use super::{
    live::LiveView, output, output::Outputs, status::Status, terminal::Terminal, waiting::Watch,
    writer::Writer,
};

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
    writer: RefCell<Writer>,
    /// Interim reports for which the reader of standard output was too slow.
    left_out: Cell<u64>,
}

impl Teller {
    /// `live`: how to show the live view, if there is one.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(crate) fn new(quiet: bool, status: Status, live: Option<HumanOptions>) -> Result<Teller> {
        let err = Terminal::stderr();
        let bar = (!quiet && live.is_none() && err.redraws).then(bar);
        Ok(Teller {
            err,
            quiet,
            status: RefCell::new(status),
            bar,
            live: live.map(|options| RefCell::new(LiveView::new(options))),
            said: Cell::new(Duration::ZERO),
            writer: RefCell::new(Writer::start()?),
            left_out: Cell::new(0),
        })
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
            (None, _) => self.writer.borrow().line(self.err.lines("", words)),
        }
    }

    /// Shows numbers that change.
    pub(crate) fn progress(&self, progress: &Progress) {
        let mut status = self.status.borrow_mut();
        status.update(progress);
        if let Some(live) = &self.live {
            let drawn = live.borrow_mut().tick(|width| status.line(width));
            return self.draw(drawn);
        }
        if let Some(bar) = &self.bar {
            // The last column stays empty: some terminals wrap after it.
            bar.set_message(status.line(self.err.width - 1));
        } else if !self.quiet
            && self.err.rows.is_some()
            && progress.elapsed.saturating_sub(self.said.get()) >= SAY_EVERY
        {
            self.said.set(progress.elapsed);
            self.writer.borrow().line(self.err.lines("", &status.line(self.err.width)));
        }
    }

    /// Shows an interim report: redrawn in place on a terminal, else one after the other.
    pub(crate) fn interim(&self, outputs: &Outputs, report: &Report) -> Result<()> {
        if let Some(live) = &self.live {
            self.draw(live.borrow_mut().show(report));
        } else if self.writer.borrow().has_room() {
            let page = outputs.render_interim(report)?;
            self.writer.borrow().page(page);
        } else {
            self.left_out.set(self.left_out.get() + 1);
        }
        self.failure()
    }

    /// Draws the live view. Leaves that out if the terminal does not keep up: the next view has newer numbers.
    fn draw(&self, drawn: String) {
        let writer = self.writer.borrow();
        if writer.has_room() {
            writer.page(drawn);
        }
    }

    /// Whether the interim reports have no reader any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.writer.borrow().is_unread()
    }

    fn failure(&self) -> Result<()> {
        self.writer.borrow().failure().map_or(Ok(()), |cause| Err(output::failed(cause)))
    }

    /// Makes room on the screen for the live view.
    pub(crate) fn begin(&self) {
        if self.live.is_some() {
            self.draw(LiveView::begin());
        }
    }

    /// Removes the changing parts from the screen, and waits until everything is written.
    ///
    /// # Errors
    /// If standard output could not be written.
    pub(crate) fn finish(&self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mut writer = self.writer.borrow_mut();
        if let Some(live) = &self.live {
            let (cleared, kept) = live.borrow_mut().finish();
            writer.page(cleared);
            kept.iter().for_each(|words| writer.line(self.err.lines("", words)));
        }
        if self.left_out.get() > 0 {
            let reports =
                units::plural(self.left_out.get() as usize, "interim report was", "interim reports were");
            let words = format!("{reports} left out: standard output was not read fast enough");
            writer.line(self.err.lines("", &words));
        }
        writer.finish();
        drop(writer);
        self.failure()
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
