//! Progress on standard error, and the live view on a terminal.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiler::{error::Result, stage::Stage, tool::memleak, units};

use super::waiting::Watch;

use super::output;

/// Tells how an observation goes on.
#[derive(Debug)]
pub(crate) struct Teller {
    bar: Option<ProgressBar>,
    quiet: bool,
    length: Option<Duration>,
    live: bool,
    /// Nobody reads standard output any more.
    unread: Cell<bool>,
}

impl Teller {
    /// `live`: interim reports are redrawn on the terminal.
    pub(crate) fn new(quiet: bool, length: Option<Duration>, every: bool) -> Teller {
        let live = every && io::stdout().is_terminal();
        let bar = (!quiet && !live && io::stderr().is_terminal()).then(|| bar(length));
        Teller { bar, quiet, length, live, unread: Cell::new(false) }
    }

    /// Says what is being waited for, as long as the result is held.
    pub(crate) fn watch(&self, stage: Stage) -> Watch {
        Watch::start(stage, self.bar.clone(), self.quiet)
    }

    /// One line that stays.
    pub(crate) fn line(&self, words: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(words),
            None => {
                // Without standard error there is nobody to tell.
                let _ = writeln!(io::stderr(), "{words}");
            }
        }
    }

    /// Numbers that change.
    pub(crate) fn progress(&self, progress: &memleak::Progress) {
        let Some(bar) = &self.bar else { return };
        if self.length.is_some() {
            bar.set_position(progress.elapsed.as_millis() as u64);
        }
        let lost = match progress.lost {
            0 => String::new(),
            n => format!(", {} LOST", units::count(n as f64)),
        };
        bar.set_message(format!(
            "{} hits, {} live blocks, {} stacks{lost}  (Ctrl-C: report now)",
            units::count(progress.hits as f64),
            units::count(progress.live_blocks as f64),
            progress.stacks
        ));
    }

    /// An interim report: redrawn in place on a terminal, else one after the other.
    pub(crate) fn interim(&self, page: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        let written = if self.live {
            // Home, as much of the page as fits with every line cleared behind it, and clear the rest.
            let lines: Vec<&str> = page.lines().take(rows().saturating_sub(1)).collect();
            write!(out, "\x1b[H{}\x1b[K\n\x1b[J", lines.join("\x1b[K\n"))
        } else {
            writeln!(out, "{page}")
        };
        match written.and_then(|()| out.flush()) {
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
                self.unread.set(true);
                Ok(())
            }
            written => written.map_err(|cause| output::failed(&cause)),
        }
    }

    /// Whether nobody reads the interim reports any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Makes room on the screen for the live view.
    pub(crate) fn begin(&self) {
        if self.live {
            let mut out = io::stdout().lock();
            let _ = write!(out, "\x1b[2J\x1b[H").and_then(|()| out.flush());
        }
    }

    /// Takes the moving parts off the screen.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.live {
            let mut out = io::stdout().lock();
            let _ = write!(out, "\x1b[H\x1b[J").and_then(|()| out.flush());
        }
    }
}

/// Rows of the terminal.
fn rows() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(24, |size| usize::from(size.ws_row)).max(2)
}

fn bar(length: Option<Duration>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let (bar, template) = match length {
        Some(length) => {
            let bar = ProgressBar::with_draw_target(Some(length.as_millis() as u64), target);
            (bar, "{elapsed_precise} [{bar:20}] {msg}")
        }
        None => (ProgressBar::with_draw_target(None, target), "{elapsed_precise} {spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
