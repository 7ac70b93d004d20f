//! The exit codes of the program: the answer that scripts read.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The observation was made; with `--gate`, no problem was found that is not excused.
    Ok = 0,
    /// With `--gate`: a problem was found that is not excused.
    Refuted = 1,
    /// The command line, or a file named on it, is wrong.
    Usage = 2,
    /// With `--gate`: the answer is open or limited.
    Inconclusive = 3,
    /// Cannot observe: permission, kernel, symbols, no such process.
    CannotObserve = 4,
    /// Refused or stopped by the safety guard, or a target died of a breakpoint.
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
            ExitCode::Ok => "done; with --gate: no problem found",
            ExitCode::Refuted => "with --gate: a problem was found, or the command failed",
            ExitCode::Usage => "the command line, or a file named on it, is wrong",
            ExitCode::Inconclusive => "with --gate: undecided, or the answer is limited",
            ExitCode::CannotObserve => "cannot observe: permission, kernel, symbols, no such process",
            ExitCode::SafetyStop => "refused or stopped by the safety guard, or a target died of SIGTRAP",
            ExitCode::Incomplete => "the data are incomplete: losses could change the answer",
            ExitCode::Output => "the result could not be written",
            ExitCode::Interrupted => "interrupted before anything was measured",
        }
    }
}

/// The table of exit codes for the help text, with lines of at most 80 columns.
pub fn table() -> String {
    let line = |code: ExitCode| format!("  {:>3}  {}\n", code.code(), code.meaning());
    let lines: String = ExitCode::ALL.into_iter().map(line).collect();
    format!("Exit codes:\n{}", lines.trim_end())
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitCode, table};

    #[test]
    fn the_table_of_the_readme_is_that_of_the_codes() {
        let readme = testbed::place::checkout().join("README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let section = readme.split("\n## Exit codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let plain = |row: &str| row.replace('`', "");
        let expected = ExitCode::ALL.map(|code| format!("| {} | {} |", code.code(), code.meaning()));
        assert_eq!(rows.into_iter().map(plain).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_table_of_the_help_fits_a_terminal() {
        assert!(table().lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn the_numbers_are_a_promise() {
        let codes: Vec<u8> = ExitCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }
}
