//! What goes wrong, said so that the user can act: what was tried on what, the cause, and one hint.
//!
//! Every string that enters an [`Error`] is made visible (`text::visible`), so an error can be printed or logged as
//! it is. Names from the target enter through [`Error::on`], which escapes them as [`Text::terminal`] does.

use std::{fmt, sync::Arc};

use crate::exit::ExitCode;
use crate::text::{Text, visible};

/// The result of everything that can fail for a reason outside of this program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Callers decide by this; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line is wrong.
    Usage,
    /// An input file is not what it has to be.
    InvalidFile,
    /// An input file was written by a newer version of this program.
    NewerFile,
    /// An input file ends too early.
    TruncatedFile,
    /// There is no such process, or it is gone.
    NoSuchProcess,
    /// A privilege is missing.
    Permission,
    /// The kernel lacks something, or refused it.
    Kernel,
    /// The target is of a kind that cannot be observed (kernel thread, 32-bit, moving stacks).
    UnsupportedTarget,
    /// The target has nothing that the tool could observe: no allocator, no symbols.
    NothingToObserve,
    /// A limit was reached: memory, file descriptors, the size of a map.
    Limit,
    /// The safety guard stopped the observation.
    Safety,
    /// The result could not be written.
    Output,
    /// Interrupted before anything was measured.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of a run that ends with this.
    pub const fn exit_code(self) -> ExitCode {
        match self {
            ErrorKind::Usage | ErrorKind::InvalidFile | ErrorKind::NewerFile => ExitCode::Usage,
            // Not a usage error: a script must not take half a file for a file without regressions.
            ErrorKind::TruncatedFile => ExitCode::Incomplete,
            ErrorKind::NoSuchProcess
            | ErrorKind::Permission
            | ErrorKind::Kernel
            | ErrorKind::UnsupportedTarget
            | ErrorKind::NothingToObserve
            | ErrorKind::Limit => ExitCode::CannotObserve,
            ErrorKind::Safety => ExitCode::SafetyStop,
            ErrorKind::Output => ExitCode::Output,
            ErrorKind::Interrupted => ExitCode::Interrupted,
        }
    }
}

/// An error for the user. `Display` prints one line, `tried ...: cause`, with the whole chain of causes; the hint is
/// separate. `source` returns the error of another library that is behind it, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: ErrorKind,
    tried: String,
    cause: Option<String>,
    hint: Option<String>,
    source: Option<Arc<Source>>,
}

/// An error of another library, which [`Error::because_of`] keeps.
type Source = dyn std::error::Error + Send + Sync;

/// Errors are equal if they say the same. Their sources cannot be compared, but what they say is in `cause`.
impl PartialEq for Parts {
    fn eq(&self, other: &Parts) -> bool {
        (self.kind, &self.tried, &self.cause, &self.hint)
            == (other.kind, &other.tried, &other.cause, &other.hint)
    }
}

impl Eq for Parts {}

impl Error {
    /// An error of `kind`; `tried` says what was tried on what: "tried to read the symbols of /usr/bin/srv".
    pub fn new(kind: ErrorKind, tried: impl fmt::Display) -> Error {
        Error(Box::new(Parts { kind, tried: shown(tried), cause: None, hint: None, source: None }))
    }

    /// As [`Error::new`], for something whose name comes from the target or from a file system: `tried` is followed by
    /// the escaped name.
    pub fn on(kind: ErrorKind, tried: impl fmt::Display, name: impl Into<Text>) -> Error {
        Error::new(kind, format_args!("{tried} {}", name.into().terminal()))
    }

    /// Says why. A second cause is put behind the first.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Error {
        let cause = shown(cause);
        self.0.cause = Some(match self.0.cause.take() {
            Some(outer) => format!("{outer}: {cause}"),
            None => cause,
        });
        self
    }

    /// Says why, with the whole chain of an error of another library, and keeps that error as the source. A second
    /// one replaces the first as the source.
    #[must_use]
    pub fn because_of(mut self, cause: impl Into<Box<Source>>) -> Error {
        let cause: Arc<Source> = cause.into().into();
        let mut next: Option<&dyn std::error::Error> = Some(&*cause);
        let mut said = String::new();
        while let Some(error) = next {
            let words = error.to_string();
            // Many errors repeat their source in their own message.
            if !said.contains(&words) {
                self = self.because(&words);
                said = words;
            }
            next = error.source();
        }
        self.0.source = Some(cause);
        self
    }

    /// Says what the user can do about it, as an imperative.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Error {
        self.0.hint = Some(shown(hint));
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The exit code of a run that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        self.0.kind.exit_code()
    }

    /// The causes, without what was tried; `None` if none was given.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// What the user can do about it, if there is something.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

fn shown(words: impl fmt::Display) -> String {
    visible(&words.to_string()).into_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Some(cause) => write!(f, "{}: {cause}", self.0.tried),
            None => f.write_str(&self.0.tried),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io};

    use super::{Error, ErrorKind};
    use crate::exit::ExitCode;

    #[test]
    fn one_line_says_what_was_tried_and_why_it_failed() {
        let error = Error::on(ErrorKind::Permission, "tried to attach to", "srv")
            .because("the kernel refused")
            .because_of(io::Error::from_raw_os_error(libc::EPERM))
            .hint("run as root");
        assert_eq!(
            error.to_string(),
            "tried to attach to srv: the kernel refused: Operation not permitted (os error 1)"
        );
        assert_eq!(error.advice(), Some("run as root"));
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Permission, ExitCode::CannotObserve));
    }

    #[test]
    fn nothing_in_an_error_can_act_on_a_terminal() {
        let error = Error::on(ErrorKind::Output, "tried to write", "a\x1b[2J\\")
            .because("line\nfeed")
            .hint("see \u{202e}txt");
        assert_eq!(error.to_string(), r"tried to write a\x1b[2J\\: line\x0afeed");
        assert_eq!(error.advice(), Some(r"see \u{202e}txt"));
    }

    #[test]
    fn a_cause_that_repeats_its_source_is_said_once() {
        let inner = io::Error::other("no space left");
        let outer = io::Error::other(inner);
        let error = Error::new(ErrorKind::Output, "tried to write x").because_of(outer);
        assert_eq!(error.to_string(), "tried to write x: no space left");
    }

    #[test]
    fn the_error_behind_it_is_kept() {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        let error = Error::new(ErrorKind::Permission, "tried to read x").because_of(denied());
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(libc::EACCES));
        // Also behind another error of ours, and in a copy.
        let outer = Error::new(ErrorKind::Kernel, "tried to observe").because_of(error.clone()).clone();
        assert_eq!(outer.to_string(), format!("tried to observe: tried to read x: {}", denied()));
        let ours = outer.source().and_then(|source| source.downcast_ref::<Error>()).unwrap();
        assert_eq!(ours, &error);
        assert!(ours.source().is_some_and(|source| source.is::<io::Error>()));
        assert!(Error::new(ErrorKind::Kernel, "x").because("y").source().is_none());
    }

    #[test]
    fn errors_that_say_the_same_are_equal() {
        let error = |kind, number| Error::new(kind, "x").because_of(io::Error::from_raw_os_error(number));
        assert_eq!(error(ErrorKind::Kernel, libc::EPERM), error(ErrorKind::Kernel, libc::EPERM));
        assert_ne!(error(ErrorKind::Kernel, libc::EPERM), error(ErrorKind::Kernel, libc::EBUSY));
        assert_ne!(error(ErrorKind::Kernel, libc::EPERM), error(ErrorKind::Limit, libc::EPERM));
    }

    #[test]
    fn a_truncated_input_is_never_a_success_or_a_usage_error() {
        assert_eq!(ErrorKind::TruncatedFile.exit_code(), ExitCode::Incomplete);
    }
}
