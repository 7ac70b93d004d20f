//! Writing results: standard output and the files of `-o`.

use std::io::{self, Write as _};

use profiler::{
    error::{Error, ErrorKind, Result},
    render::{self, Format, HumanOptions},
    report::{Invoker, OutputTarget, Report},
};

use super::{args::OutputArgs, terminal::Terminal};

/// Where the results of a command go.
#[derive(Debug)]
pub(crate) struct Outputs {
    format: Format,
    files: Vec<OutputTarget>,
    human: HumanOptions,
    terminal: Terminal,
    invoker: Invoker,
}

impl Outputs {
    /// Looks at the terminal, and makes sure that the files can be written: before an observation, not after.
    pub(crate) fn new(args: &OutputArgs, verbose: bool) -> Result<Outputs> {
        let invoker = Invoker::current();
        let files = args.outputs.iter().map(|argument| OutputTarget::parse(argument, args.format));
        let files = files.collect::<Result<Vec<_>>>()?;
        for file in &files {
            file.check(&invoker)?;
        }
        let terminal = Terminal::stdout(args.no_color);
        let human = HumanOptions { top: args.top, verbose, ..terminal.options() };
        Ok(Outputs { format: args.format, files, human, terminal, invoker })
    }

    /// The report in the form for standard output.
    pub(crate) fn render(&self, report: &Report) -> Result<String> {
        self.format.render(report, &self.human)
    }

    /// An interim report, of which others follow: people see an empty line between two.
    pub(crate) fn render_interim(&self, report: &Report) -> Result<String> {
        self.render(report).map(|page| page + between(self.format))
    }

    /// How to show a view that is drawn anew in place, if standard output is a screen for people.
    pub(crate) fn live(&self) -> Option<HumanOptions> {
        (self.terminal.redraws && self.format == Format::Human).then_some(self.human)
    }

    /// Whether nothing but standard output was asked for.
    pub(crate) fn is_stdout_alone(&self) -> bool {
        self.files.is_empty()
    }

    /// As [`Outputs::render`], with the answer at the end, too, where the screen would not show it any more.
    fn render_last(&self, report: &Report) -> Result<String> {
        let text = self.render(report)?;
        Ok(match self.format {
            Format::Human => self.terminal.with_answer_last(text, || render::answer(report, &self.human)),
            _ => text,
        })
    }

    /// Writes a report everywhere. A file that fails does not keep the others, or standard output, from theirs.
    pub(crate) fn write(&self, report: &Report) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let mut failed = None;
        let to_stdout = OutputTarget::Stdout(self.format);
        for target in std::iter::once(&to_stdout).chain(&self.files) {
            let plain = HumanOptions { colour: false, ..self.human };
            let content = match target {
                OutputTarget::Stdout(_) => self.render_last(report),
                OutputTarget::File { format, .. } => format.render(report, &plain),
            };
            let written =
                content.and_then(|content| target.write(content.as_bytes(), &self.invoker, &mut stdout));
            if let Err(error) = written {
                failed.get_or_insert(error);
            }
        }
        let _ = stdout.flush();
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Makes a write beyond `ulimit -f` return an error: by default SIGXFSZ ends us and leaves a part of a file. The handler does
/// nothing; commands that we start would inherit `SIG_IGN`.
pub(super) fn survive_file_size_limit() {
    // SAFETY: it does nothing. Where it cannot be installed, all is as before.
    let _ = unsafe { signal_hook::low_level::register(libc::SIGXFSZ, || {}) };
}

/// What stands between two reports. An empty line is no line of JSON.
fn between(format: Format) -> &'static str {
    match format {
        Format::Jsonl => "",
        _ => "\n",
    }
}

/// Writes to standard output. It is no failure if that is a pipe that nobody reads any more.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|cause| failed(&cause)),
    }
}

/// Standard output cannot be written.
pub(super) fn failed(cause: &io::Error) -> Error {
    Error::new(ErrorKind::Output, "tried to write to standard output")
        .because_of(cause)
        .hint("write to a file on another disk instead")
}
