//! Instructions that a kernel's verifier looked at, by program, as the tests print them.

use std::collections::BTreeMap;

/// How a line of a test begins that says `PROGRAM INSTRUCTIONS HOW`.
const START: &str = "VERIFIED ";

/// Instructions by program, each number with the ways of loading that it stands for, in the order of their first sight.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verified(BTreeMap<String, Vec<(u64, Vec<String>)>>);

impl Verified {
    /// Takes the lines about the verifier out of what a test said, and returns the others.
    pub(super) fn take<'s>(&mut self, said: &'s str) -> Vec<&'s str> {
        said.lines().filter(|line| self.add(line).is_none()).collect()
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.strip_prefix(START)?.splitn(3, ' ');
        let (program, instructions, how) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let numbers = self.0.entry(program.to_owned()).or_default();
        match numbers.iter_mut().find(|(number, _)| *number == instructions) {
            Some((_, ways)) => ways.push(how.to_owned()),
            None => numbers.push((instructions, vec![how.to_owned()])),
        }
        Some(())
    }

    /// One line per program.
    pub(super) fn lines(&self) -> Vec<String> {
        let number = |(number, ways): &(u64, Vec<String>)| format!("{number} ({})", ways.join("; "));
        let line = |(program, numbers): (&String, &Vec<_>)| {
            format!("{program} {}", numbers.iter().map(number).collect::<Vec<_>>().join(", "))
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_of_a_program_stand_together() {
        let mut verified = Verified::default();
        let said = "VERIFIED b_entry 90 exact, perf\nattached\nVERIFIED b_entry 90 exact, multi\nVERIFIED a_exec 7 exact, perf\n\
                    VERIFIED b_entry 120 sampled, perf\nVERIFIED nothing\n";
        assert_eq!(verified.take(said), ["attached", "VERIFIED nothing"]);
        let expected =
            ["a_exec 7 (exact, perf)", "b_entry 90 (exact, perf; exact, multi), 120 (sampled, perf)"];
        assert_eq!(verified.lines(), expected);
    }
}
