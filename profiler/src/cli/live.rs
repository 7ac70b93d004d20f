//! The live view: it uses the screen of standard output, and is redrawn in place.

use profiler::{
    render::{self, HumanOptions},
    report::Report,
};

use super::terminal;

/// What is on the screen.
#[derive(Debug)]
pub(crate) struct LiveView {
    options: HumanOptions,
    status: String,
    report: Option<Report>,
    /// Lines for standard error, if that is the same screen: they are written when the view is gone.
    notices: Vec<String>,
}

impl LiveView {
    /// A view with these options; its size is that of the screen.
    pub(crate) fn new(options: HumanOptions) -> LiveView {
        LiveView { options, status: String::new(), report: None, notices: Vec::new() }
    }

    /// The bytes that scroll the contents of the screen away, so that the view does not overwrite them.
    pub(crate) fn begin() -> String {
        let rows = terminal::stdout_size().map_or(0, |size| size.rows);
        format!("{}\x1b[H\x1b[J", "\n".repeat(rows))
    }

    /// Sets the first line. Returns the bytes that draw the view.
    pub(crate) fn tick(&mut self, line: impl FnOnce(usize) -> String) -> String {
        self.status = line(terminal::stdout_size().map_or(self.options.width, |size| size.columns));
        self.draw()
    }

    /// Sets the report. Returns the bytes that draw the view.
    pub(crate) fn show(&mut self, report: &Report) -> String {
        self.report = Some(report.clone());
        self.draw()
    }

    /// Keeps a line until the view is gone.
    pub(crate) fn keep(&mut self, words: &str) {
        self.notices.push(words.to_owned());
    }

    /// The bytes that remove the view from the screen, and the lines that were kept.
    pub(crate) fn finish(&mut self) -> (String, Vec<String>) {
        ("\x1b[H\x1b[J".to_owned(), std::mem::take(&mut self.notices))
    }

    fn draw(&self) -> String {
        // The size may change at any time.
        let Some(size) = terminal::stdout_size() else { return String::new() };
        let options = HumanOptions { width: size.columns, ..self.options };
        let lines = render::live(&self.status, self.report.as_ref(), &options, size.rows);
        frame(&lines, size.rows)
    }
}

/// The bytes that draw the lines from the top on a screen of `rows` rows, without scrolling it.
fn frame(lines: &[String], rows: usize) -> String {
    let mut out = "\x1b[H".to_owned();
    for (number, line) in lines.iter().take(rows).enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        // Each row is cleared first: after a line that fills its row, the cursor is still on its last character.
        out.push_str("\x1b[2K");
        out.push_str(line);
    }
    if lines.len() < rows {
        out.push_str("\r\n\x1b[J");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn no_line_is_written_below_the_screen() {
        let lines = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(frame(&lines, 3), "\x1b[H\x1b[2Ka\r\n\x1b[2Kb\r\n\x1b[2Kc");
        assert_eq!(frame(&lines, 2), "\x1b[H\x1b[2Ka\r\n\x1b[2Kb");
        assert_eq!(frame(&lines[..1], 3), "\x1b[H\x1b[2Ka\r\n\x1b[J");
    }
}
