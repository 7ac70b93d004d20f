//! Findings: sentences that answer the question, each with its rule and the rows and numbers that it is based on.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Unit, Value};
use crate::text::{Text, visible};

/// Longest text of a finding, in characters: well below the limit that readers have for strings.
const MAX_TEXT: usize = 4096;

/// One sentence of the answer. [`Finding::new`] keeps `text` and `sentence` the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of finding, for programs: `TOOL.WHAT`. Empty in reports of versions without rules.
    #[serde(default)]
    pub rule: Cow<'static, str>,
    /// The sentence as one line that is safe to print: characters of names that could control a terminal are escaped.
    #[serde(default)]
    pub text: String,
    /// The sentence in parts, so that each format can escape the untrusted names in it.
    pub sentence: Vec<Phrase>,
    /// The rows that it is based on, the most important first.
    #[serde(default)]
    pub rows: Vec<RowRef>,
    /// The numbers that it is based on, not rounded as in the sentence.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// A number that a finding is based on.
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

impl Phrase {
    /// Our own words.
    pub fn plain(words: impl Into<String>) -> Phrase {
        Phrase::Plain(words.into())
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The fault that the tool looks for was found.
    Problem,
    /// The answer is limited, for example because it is too early or data are missing.
    Limit,
    /// Information.
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
    /// Makes a finding. `rule` is `TOOL.WHAT` and never changes its meaning.
    pub fn new(rule: impl Into<Cow<'static, str>>, severity: Severity, sentence: Vec<Phrase>) -> Finding {
        let text = text_of(&sentence);
        Finding { severity, rule: rule.into(), text, sentence, rows: Vec::new(), evidence: Vec::new() }
    }

    /// Makes a finding whose sentence contains no names from the target.
    pub fn plain(
        rule: impl Into<Cow<'static, str>>,
        severity: Severity,
        words: impl Into<String>,
    ) -> Finding {
        Finding::new(rule, severity, vec![Phrase::Plain(words.into())])
    }

    /// Sets the rows that it is based on.
    #[must_use]
    pub fn on(mut self, rows: Vec<RowRef>) -> Finding {
        self.rows = rows;
        self
    }

    /// Adds a number that it is based on.
    #[must_use]
    pub fn because(mut self, name: impl Into<Cow<'static, str>>, unit: Unit, value: Value) -> Finding {
        self.evidence.push(Evidence { name: name.into(), unit, value });
        self
    }

    /// Whether it is a decision of `--gate` instead of something that was found.
    pub(crate) fn is_of_gate(&self) -> bool {
        self.rule.starts_with("gate.")
    }

    /// Makes `text` again from `sentence`: a file may contradict itself, and old versions did not write the text.
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
    fn the_text_of_long_names_is_cut() {
        let name = Phrase::Name(Text::from("\u{e0041}".repeat(1000)));
        let finding = Finding::new("sample.leak", Severity::Problem, vec![name; 9]);
        assert_eq!(finding.text.chars().count(), MAX_TEXT + 1);
        assert!(finding.text.ends_with('…'));
    }
}
