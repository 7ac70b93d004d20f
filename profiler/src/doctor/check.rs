//! One question with three possible answers, and the consequences.

use serde::{Deserialize, Serialize};

use crate::tool::TOOLS;

/// The answer to a question about this machine or a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was tried, and it works.
    Yes,
    /// It was tried, and it does not work.
    No,
    /// It could not be tried, or the result is inconclusive.
    CannotTell,
}

impl Answer {
    /// The answer for people.
    pub const fn word(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::CannotTell => "?",
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The running kernel.
    Kernel,
    /// What profiler itself may do.
    Privileges,
    /// The process asked about.
    Target,
}

/// How much depends on a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Nothing can be observed without it.
    Required,
    /// Something is missing, slower or coarser without it.
    Useful,
    /// No tool depends on it today.
    Informative,
}

/// One question, its answer, and the consequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// Name for programs; it stays the same.
    pub name: String,
    /// What it is about.
    pub area: Area,
    /// What is asked, in a few words for people.
    pub title: String,
    /// The answer.
    pub answer: Answer,
    /// What was tried, and the result.
    pub seen: String,
    /// How much depends on it.
    pub need: Need,
    /// What is missing because of the answer; absent if it is yes.
    pub disables: Option<String>,
    /// What would change the answer; absent if it is yes.
    pub remedy: Option<String>,
    /// A command to copy that changes the answer. Where only another kernel or another start of the target would, a
    /// command that shows the present state. Absent if the answer is yes, or if there is no such command.
    pub fix: Option<String>,
    /// The tools that depend on it; absent if all do.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
}

/// A question, and the consequences if its answer is not yes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) area: Area,
    pub(crate) title: &'static str,
    pub(crate) need: Need,
    pub(crate) disables: &'static str,
    pub(crate) remedy: &'static str,
    pub(crate) fix: Option<&'static str>,
}

impl Question {
    /// The check with this answer.
    pub(crate) fn answered(&self, answer: Answer, seen: impl Into<String>) -> Check {
        let unless_yes = |words: &str| (answer != Answer::Yes).then(|| words.to_owned());
        Check {
            name: self.name.to_owned(),
            area: self.area,
            title: self.title.to_owned(),
            answer,
            seen: seen.into(),
            need: self.need,
            disables: unless_yes(self.disables),
            remedy: unless_yes(self.remedy),
            fix: self.fix.and_then(unless_yes),
            tools: None,
        }
    }

    /// Yes or no.
    pub(crate) fn decided(&self, yes: bool, seen: impl Into<String>) -> Check {
        self.answered(if yes { Answer::Yes } else { Answer::No }, seen)
    }
}

impl Check {
    /// The same for a question that could not be tried without privileges: getting them comes first, whatever else
    /// would help.
    #[must_use]
    pub(crate) fn untried(self) -> Check {
        let (remedy, fix) = ("run it as root, so that it can be tried", "sudo profiler doctor");
        Check { remedy: Some(remedy.to_owned()), fix: Some(fix.to_owned()), ..self }
    }

    /// The same for a question that matters only to tools with probes on functions of the target.
    #[must_use]
    pub(crate) fn of_uprobe_tools(self) -> Check {
        self.of_those(TOOLS.iter().map(|tool| (tool.name, tool.has_uprobes)))
    }

    /// The same for a question that matters to some tools: names, and whether it does.
    #[must_use]
    pub(crate) fn of_those<'a>(self, tools: impl Iterator<Item = (&'a str, bool)> + Clone) -> Check {
        let some = tools.clone().any(|(_, depends)| !depends);
        let names = || tools.filter(|(_, depends)| *depends).map(|(name, _)| name.to_owned()).collect();
        Check { tools: some.then(names), ..self }
    }

    /// Whether nothing can be observed because of it.
    pub fn blocks(&self) -> bool {
        self.need == Need::Required && self.answer == Answer::No && self.tools.is_none()
    }

    /// Whether it limits what can be observed, or may limit it.
    pub fn limits(&self) -> bool {
        let matters =
            self.need != Need::Informative && self.tools.as_ref().is_none_or(|tools| !tools.is_empty());
        self.answer != Answer::Yes && !self.blocks() && matters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question = Question {
        name: "name",
        area: Area::Target,
        title: "title",
        need: Need::Required,
        disables: "",
        remedy: "",
        fix: None,
    };

    #[test]
    fn what_some_tools_do_without_blocks_none_of_them() {
        let of = |depends: [bool; 2]| {
            QUESTION.answered(Answer::No, "").of_those(["one", "two"].into_iter().zip(depends))
        };
        let (all, one, none) = (of([true, true]), of([true, false]), of([false, false]));
        assert_eq!((&all.tools, all.blocks(), all.limits()), (&None, true, false));
        assert_eq!(
            (one.tools.as_deref(), one.blocks(), one.limits()),
            (Some(&["one".to_owned()][..]), false, true)
        );
        assert!(!none.blocks() && !none.limits());
    }
}
