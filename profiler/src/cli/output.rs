//! Writing results: standard output and the files of `-o`.

use std::{
    cell::{Cell, RefCell},
    io::{self, Write as _},
};

use profiler::{
    error::{Error, ErrorKind, Result},
    output::{Invoker, OutputTarget},
    render::{self, Format, HumanOptions},
    report::{FileId, Report},
};

use super::{args::OutputArgs, terminal::Terminal};

/// A file that must not be overwritten, if it exists, and the reason.
pub(crate) type Kept = (Option<FileId>, &'static str);

/// Where the results of a command are written.
#[derive(Debug)]
pub(crate) struct Outputs {
    format: Format,
    files: Vec<OutputTarget>,
    human: HumanOptions,
    terminal: Terminal,
    invoker: Invoker,
    /// Whether a report is on standard output already.
    began: Cell<bool>,
    /// The column names that the last table of values on standard output had.
    header: RefCell<String>,
}

impl Outputs {
    /// Looks at the terminal, and checks that the files can be written, before an observation begins. `kept` are files
    /// that must not be overwritten, with the reasons.
    pub(crate) fn new(args: &OutputArgs, verbose: bool, kept: &[Kept]) -> Result<Outputs> {
        let invoker = Invoker::current();
        let files = args.outputs.iter().map(|argument| OutputTarget::parse(argument, args.format));
        let mut wanted = Vec::new();
        for file in files {
            let file = file?;
            // Standard output gets the report in any case, and a file that is named twice gets it once.
            if matches!(file, OutputTarget::File { .. }) && !wanted.contains(&file) {
                wanted.push(file);
            }
        }
        let stdout = (FileId::of_stdout(), "standard output goes there, too");
        for file in &wanted {
            file.check(&invoker)?;
            for (kept, what) in kept.iter().chain([&stdout]) {
                kept.map_or(Ok(()), |kept| file.refuse_if_same(kept, what))?;
            }
        }
        let terminal = Terminal::stdout(args.no_color);
        let human = HumanOptions { top: args.top, verbose, ..terminal.options() };
        Ok(Outputs {
            format: args.format,
            files: wanted,
            human,
            terminal,
            invoker,
            began: Cell::new(false),
            header: RefCell::default(),
        })
    }

    /// The report in the form for standard output.
    pub(crate) fn render(&self, report: &Report) -> Result<String> {
        self.format.render(report, &self.human)
    }

    /// An interim report, of which others follow.
    pub(crate) fn render_interim(&self, report: &Report) -> Result<String> {
        let page = self.render(report)?;
        Ok(self.divided(report, page) + between(self.format))
    }

    /// The page, after a divider if there are pages on standard output already: people see where one ends, and when the
    /// next was made.
    fn divided(&self, report: &Report, page: String) -> String {
        match self.format {
            Format::Human if self.began.replace(true) => {
                format!("\n{}\n{page}", render::divider(report, &self.human))
            }
            Format::Csv => self.without_known_header(page),
            _ => page,
        }
    }

    /// Values without column names, if these are the same as before: a script reads all of them as one table.
    fn without_known_header(&self, page: String) -> String {
        let Some((header, rows)) = page.split_once('\n') else { return page };
        match self.header.replace(header.to_owned()) {
            before if before == header => rows.to_owned(),
            before if before.is_empty() => page,
            _ => format!("\n{page}"),
        }
    }

    /// How to show a redrawn view, if standard output is a screen for people.
    pub(crate) fn live(&self) -> Option<HumanOptions> {
        (self.terminal.redraws && self.format == Format::Human).then_some(self.human)
    }

    /// Whether standard output is the only output.
    pub(crate) fn is_stdout_alone(&self) -> bool {
        self.files.is_empty()
    }

    /// As [`Outputs::render`]; the answer is repeated at the end if it would have left the screen.
    fn render_last(&self, report: &Report) -> Result<String> {
        let text = self.render(report)?;
        Ok(match self.format {
            Format::Human => {
                let text = self.divided(report, text);
                self.terminal.with_answer_last(text, || render::answer(report, &self.human))
            }
            Format::Csv => self.divided(report, text),
            _ => text,
        })
    }

    /// Writes a report to all outputs. If one fails, the others are still written.
    pub(crate) fn write(&self, report: &Report) -> Result<()> {
        let files = self.write_files(report);
        self.write_stdout(report).and(files)
    }

    /// Writes a report to standard output.
    pub(crate) fn write_stdout(&self, report: &Report) -> Result<()> {
        let content = self.render_last(report)?;
        OutputTarget::Stdout(self.format).write(content.as_bytes(), &self.invoker, &mut io::stdout().lock())
    }

    /// Writes a report to the files. If one fails, the others are still written.
    pub(crate) fn write_files(&self, report: &Report) -> Result<()> {
        let plain = HumanOptions { colour: false, ..self.human };
        let write = |target: &OutputTarget| {
            let content = target.format().render(report, &plain)?;
            target.write(content.as_bytes(), &self.invoker, &mut io::sink())
        };
        let written: Vec<Result<()>> = self.files.iter().map(write).collect();
        written.into_iter().collect()
    }
}

/// Makes a write beyond `ulimit -f` return an error: by default SIGXFSZ would end us and leave a partial file. An empty
/// handler is used, because commands that we start would inherit `SIG_IGN`.
pub(super) fn survive_file_size_limit() {
    // SAFETY: the handler does nothing. If it cannot be installed, everything is as before.
    let _ = unsafe { signal_hook::low_level::register(libc::SIGXFSZ, || {}) };
}

/// Separates interim reports for programs. An empty line is neither a line of JSON nor a row; people see a divider
/// instead.
fn between(format: Format) -> &'static str {
    match format {
        Format::Human | Format::Jsonl | Format::Csv => "",
        _ => "\n",
    }
}

/// Writes to standard output. A pipe without a reader is not an error.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(failed),
    }
}

/// The error of a write to standard output.
pub(super) fn failed(cause: io::Error) -> Error {
    Error::new(ErrorKind::Output, "tried to write to standard output")
        .because_of(cause)
        .hint("write to a file on another disk instead")
}
