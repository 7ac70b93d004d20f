//! The answer: findings, each a sentence with the rule that made it and the rows that it rests on.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Unit, Value};
use crate::text::{Text, visible};

/// Longest text of a finding, in characters. Readers refuse strings that are far longer.
const MAX_TEXT: usize = 4096;

/// One sentence of the answer. Made by [`Finding::new`], so that the text is always that of the sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of what was found, `TOOL.WHAT`, for programs; empty in reports of versions that had none.
    #[serde(default)]
    pub rule: Cow<'static, str>,
    /// The sentence as one line that can be printed as it is: in names, characters that could act on a terminal are
    /// spelled out.
    #[serde(default)]
    pub text: String,
    /// The sentence, in parts, so that untrusted names inside it are escaped by each format.
    pub sentence: Vec<Phrase>,
    /// The rows that it rests on, the most important first.
    #[serde(default)]
    pub rows: Vec<RowRef>,
    /// The numbers that it rests on, exact as they were measured: the sentence rounds them.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// A number that a finding rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// Stable name for programs, with the unit at its end.
    pub name: Cow<'static, str>,
    /// Unit of the value.
    pub unit: Unit,
    /// The value.
    pub value: Value,
}

/// A row of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RowRef {
    /// Index of the section.
    pub section: usize,
    /// Index of the row in its section.
    pub row: usize,
}

/// Part of a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phrase {
    /// Our own words.
    Plain(String),
    /// A name from the target.
    Name(Text),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// What was asked about was found.
    Problem,
    /// The answer is limited: too early, incomplete, out of sight.
    Limit,
    /// Good to know.
    Info,
}

impl Severity {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Problem => "problem",
            Severity::Limit => "limit",
            Severity::Info => "info",
        }
    }
}

impl Finding {
    /// A finding; `rule` is `TOOL.WHAT` and never changes its meaning.
    pub fn new(rule: impl Into<Cow<'static, str>>, severity: Severity, sentence: Vec<Phrase>) -> Finding {
        let text = text_of(&sentence);
        Finding { severity, rule: rule.into(), text, sentence, rows: Vec::new(), evidence: Vec::new() }
    }

    /// A finding in our own words alone.
    pub fn plain(
        rule: impl Into<Cow<'static, str>>,
        severity: Severity,
        words: impl Into<String>,
    ) -> Finding {
        Finding::new(rule, severity, vec![Phrase::Plain(words.into())])
    }

    /// Names the rows that it rests on.
    #[must_use]
    pub fn on(mut self, rows: Vec<RowRef>) -> Finding {
        self.rows = rows;
        self
    }

    /// Adds a number that it rests on.
    #[must_use]
    pub fn because(mut self, name: impl Into<Cow<'static, str>>, unit: Unit, value: Value) -> Finding {
        self.evidence.push(Evidence { name: name.into(), unit, value });
        self
    }

    /// Whether it says what `--gate` decided, and not what was found.
    pub(crate) fn is_of_gate(&self) -> bool {
        self.rule.starts_with("gate.")
    }

    /// Makes the text that of the sentence: whoever wrote the file may have had other intentions, and versions before
    /// did not write it.
    pub(crate) fn spell(&mut self) {
        self.text = text_of(&self.sentence);
    }
}

fn text_of(sentence: &[Phrase]) -> String {
    let parts = sentence.iter().map(|phrase| match phrase {
        Phrase::Plain(words) => visible(words).into_owned(),
        Phrase::Name(name) => name.terminal(),
    });
    let text: String = parts.collect();
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_sentence_and_cannot_act_on_a_terminal() {
        let sentence = vec![
            Phrase::Plain("LEAK: ".to_owned()),
            Phrase::Name(Text::from("a\x1b[2Jb")),
            Phrase::Plain(" grows.".to_owned()),
        ];
        let finding = Finding::new("sample.leak", Severity::Problem, sentence);
        assert_eq!(finding.text, r"LEAK: a\x1b[2Jb grows.");
    }

    #[test]
    fn a_long_name_does_not_make_a_text_that_readers_refuse() {
        let name = Phrase::Name(Text::from("\u{e0041}".repeat(1000)));
        let finding = Finding::new("sample.leak", Severity::Problem, vec![name; 9]);
        assert_eq!(finding.text.chars().count(), MAX_TEXT + 1);
        assert!(finding.text.ends_with('…'));
    }
}
