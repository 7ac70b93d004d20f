//! Writing results: standard output and the files of `-o`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
};

use profiler::{
    error::{Error, ErrorKind, Result},
    render::{Colour, Format, HumanOptions},
    report::{Invoker, OutputTarget, Report},
};

use super::args::OutputArgs;

/// Where the results of a command go.
#[derive(Debug)]
pub(crate) struct Outputs {
    format: Format,
    files: Vec<OutputTarget>,
    human: HumanOptions,
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
        let human = HumanOptions { width: width(), colour: colour(args.no_color), top: args.top, verbose };
        Ok(Outputs { format: args.format, files, human, invoker })
    }

    /// The report in the form for standard output.
    pub(crate) fn render(&self, report: &Report) -> Result<String> {
        self.format.render(report, &self.human)
    }

    /// Writes a report everywhere. A file that fails does not keep the others, or standard output, from theirs.
    pub(crate) fn write(&self, report: &Report) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let mut failed = None;
        let to_stdout = OutputTarget::Stdout(self.format);
        for target in std::iter::once(&to_stdout).chain(&self.files) {
            let plain = HumanOptions { colour: false, ..self.human };
            let human = if matches!(target, OutputTarget::Stdout(_)) { &self.human } else { &plain };
            let written = target
                .format()
                .render(report, human)
                .and_then(|content| target.write(content.as_bytes(), &self.invoker, &mut stdout));
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

/// Whether to colour what goes to standard output.
pub(super) fn colour(no_color: bool) -> bool {
    let wanted = if no_color { Colour::Never } else { Colour::Auto };
    wanted.decide(std::env::var_os("NO_COLOR").as_deref(), io::stdout().is_terminal())
}

/// Columns of the terminal that standard output is, else the default.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout().as_fd());
    size.map_or(0, |size| usize::from(size.ws_col)).max(profiler::render::DEFAULT_WIDTH.min(80)).min(160)
}
