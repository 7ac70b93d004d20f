//! The exit codes of the program: the answer that scripts read.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The observation was made, or every claim holds.
    Ok = 0,
    /// A claim is refuted, or there is a regression.
    Refuted = 1,
    /// The command line, or a file named on it, is wrong.
    Usage = 2,
    /// The data do not decide the claim.
    Inconclusive = 3,
    /// Cannot observe: permission, kernel, symbols, no such process.
    CannotObserve = 4,
    /// Stopped by the safety guard.
    SafetyStop = 5,
    /// The data are incomplete: losses could change the answer.
    Incomplete = 6,
    /// The result could not be written.
    Output = 7,
    /// Interrupted before anything was measured.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, in ascending order: the table of the help text and of the documentation.
    pub const ALL: [ExitCode; 9] = [
        ExitCode::Ok,
        ExitCode::Refuted,
        ExitCode::Usage,
        ExitCode::Inconclusive,
        ExitCode::CannotObserve,
        ExitCode::SafetyStop,
        ExitCode::Incomplete,
        ExitCode::Output,
        ExitCode::Interrupted,
    ];

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What the code means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            ExitCode::Ok => "done, or every claim holds",
            ExitCode::Refuted => "a claim is refuted, or there is a regression",
            ExitCode::Usage => "the command line or a file named on it is wrong",
            ExitCode::Inconclusive => "the data do not decide the claim",
            ExitCode::CannotObserve => "cannot observe: permission, kernel, symbols, no such process",
            ExitCode::SafetyStop => "stopped by the safety guard",
            ExitCode::Incomplete => "the data are incomplete: losses could change the answer",
            ExitCode::Output => "the result could not be written",
            ExitCode::Interrupted => "interrupted before anything was measured",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn the_numbers_are_a_promise() {
        let codes: Vec<u8> = ExitCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }
}
