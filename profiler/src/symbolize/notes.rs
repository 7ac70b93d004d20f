//! Where the names of one file come from, and why not from better sources.

use crate::units;

/// Messages for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The sources of names, the best first.
    pub sources: Vec<String>,
    /// Files that cannot be read, or are referred to and missing, so that names or lines are missing.
    pub problems: Vec<String>,
    /// Files that were looked for and do not exist.
    pub absent: Vec<String>,
    /// Files with split debug information that could not be read: a message about the first, and how many.
    split: Option<(String, u64)>,
    /// Why servers did not give a debug file.
    pub(super) unfetched: Vec<String>,
}

impl Notes {
    /// Notes a problem, once.
    pub(super) fn problem(&mut self, words: String) {
        if !self.problems.contains(&words) {
            self.problems.push(words);
        }
    }

    /// Notes that a file with split debug information is missing, or cannot be read.
    pub(super) fn split_problem(&mut self, words: String) {
        match &mut self.split {
            Some((_, more)) => *more += 1,
            None => self.split = Some((words, 0)),
        }
    }

    /// All problems.
    pub fn all_problems(&self) -> Vec<String> {
        self.problems_here().chain(self.unfetched.iter().cloned()).collect()
    }

    /// The problems with files that are on this machine.
    pub(super) fn problems_here(&self) -> impl Iterator<Item = String> {
        let split = self.split.as_ref().map(|(first, more)| match more {
            0 => first.clone(),
            more => format!("{first}; {} like it", units::plural(*more, "more file", "more files")),
        });
        self.problems.iter().cloned().chain(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_files_that_are_missing_are_one_problem() {
        let mut notes = Notes::default();
        for number in 0..1000 {
            notes.split_problem(format!("/build/{number}.dwo was not found"));
            notes.problem("its .debug_line is damaged".to_owned());
        }
        let expected = ["its .debug_line is damaged", "/build/0.dwo was not found; 999 more files like it"];
        assert_eq!(notes.all_problems(), expected);
    }
}
