//! The verdict, from all answers.

use serde::{Deserialize, Serialize};

use super::{
    check::{Answer, Check},
    tools::ToolState,
};
use crate::tool::TOOLS;

/// Whether something can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Everything can.
    Ready,
    /// Something can; `reasons` says what is missing.
    ReadyWithLimits,
    /// Nothing can.
    NotReady,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Whether something can be observed.
    pub readiness: Readiness,
    /// If nothing can be observed, why; else the limits. The most important first.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Concludes. Nothing can be observed if something required is missing, or if no tool can work; every other answer
    /// but yes is a limit.
    pub(super) fn of(checks: &[Check], tools: &[ToolState]) -> Verdict {
        let of_check = |check: &Check| match check.tools.as_deref() {
            Some(tools) => format!("{}: {} (this limits {})", check.title, check.seen, tools.join(", ")),
            None => format!("{}: {}", check.title, check.seen),
        };
        let of_tool = |tool: &ToolState| {
            format!("{}: {}", tool.name, tool.why.as_deref().unwrap_or("it could not be tried"))
        };
        let mut reasons: Vec<String> = checks.iter().filter(|c| c.blocks()).map(of_check).collect();
        let over = |tool: &ToolState| {
            let forecast = tool.forecast.as_ref().filter(|forecast| forecast.is_over())?;
            Some(format!("{}: {}", tool.name, forecast.sentence()))
        };
        // A tool that would refuse the process for its cost cannot work either.
        if tools.iter().all(|tool| tool.answer == Answer::No || over(tool).is_some()) {
            reasons.extend(tools.iter().map(|tool| over(tool).unwrap_or_else(|| of_tool(tool))));
        }
        if !reasons.is_empty() {
            return Verdict { readiness: Readiness::NotReady, reasons };
        }
        reasons.extend(checks.iter().filter(|check| check.limits()).map(of_check));
        reasons.extend(tools.iter().filter(|tool| tool.answer != Answer::Yes).map(of_tool));
        reasons.extend(tools.iter().filter_map(over));
        let readiness = if reasons.is_empty() { Readiness::Ready } else { Readiness::ReadyWithLimits };
        Verdict { readiness, reasons }
    }

    /// The first line for people: the answer alone.
    pub fn headline(&self) -> String {
        match (self.readiness, self.reasons.len()) {
            (Readiness::Ready, _) => "READY".to_owned(),
            (Readiness::ReadyWithLimits, n) => {
                let limits = if n == 1 { "1 limit".to_owned() } else { format!("{n} limits") };
                // Who came for a tool that cannot work must not take the others for it.
                let of_tool = |reason: &&String| {
                    TOOLS
                        .iter()
                        .any(|tool| reason.strip_prefix(tool.name).is_some_and(|rest| rest.starts_with(": ")))
                };
                match self.reasons.iter().find(of_tool) {
                    Some(reason) => format!("READY with {limits}, NOT for {reason}"),
                    None => format!("READY with {limits}"),
                }
            }
            (Readiness::NotReady, _) => {
                format!(
                    "NOT READY: {}",
                    self.reasons.first().map_or("nothing can be observed", String::as_str)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{check::Need, sample};

    fn verdict(change: impl FnOnce(&mut Vec<Check>, &mut Vec<ToolState>)) -> Verdict {
        let mut sample = sample::ready();
        change(&mut sample.checks, &mut sample.tools);
        Verdict::of(&sample.checks, &sample.tools)
    }

    #[test]
    fn all_yes_is_ready() {
        assert_eq!(verdict(|_, _| {}).headline(), "READY");
    }

    #[test]
    fn one_missing_requirement_blocks_everything() {
        let verdict = verdict(|checks, _| {
            checks[0].answer = Answer::No;
            checks[0].need = Need::Required;
        });
        assert_eq!(verdict.readiness, Readiness::NotReady);
        assert!(verdict.headline().starts_with("NOT READY: types (BTF): "), "{}", verdict.headline());
    }

    #[test]
    fn an_unknown_answer_is_a_limit() {
        for need in [Need::Required, Need::Useful] {
            let verdict = verdict(|checks, _| {
                checks[0].answer = Answer::CannotTell;
                checks[0].need = need;
            });
            assert_eq!(verdict.headline(), "READY with 1 limit");
        }
        let verdict = verdict(|checks, tools| {
            checks[1].answer = Answer::No;
            checks[1].need = Need::Useful;
            tools[0].answer = Answer::CannotTell;
        });
        assert_eq!(verdict.headline(), "READY with 2 limits");
    }

    #[test]
    fn what_one_tool_needs_does_not_keep_the_others_from_work() {
        let verdict = verdict(|checks, _| {
            checks[0].answer = Answer::No;
            checks[0].need = Need::Required;
            checks[0].tools = Some(vec!["one".to_owned()]);
        });
        assert_eq!(verdict.headline(), "READY with 1 limit");
        assert!(verdict.reasons[0].ends_with(" (this limits one)"), "{verdict:?}");
    }

    #[test]
    fn what_would_be_refused_for_its_cost_is_not_ready() {
        let costly = sample::costly();
        assert_eq!(costly.verdict.readiness, Readiness::NotReady);
        let line = costly.verdict.headline();
        assert!(line.starts_with("NOT READY: sample: thread tick (4243) would lose ~41"), "{line}");
        assert_eq!(costly.exit_code(), crate::exit::ExitCode::SafetyStop, "as sample would end");
        assert_eq!(sample::refused().exit_code(), crate::exit::ExitCode::CannotObserve);
        let mut without_root = costly;
        without_root.checks[0].answer = Answer::No;
        without_root.checks[0].need = Need::Required;
        assert_eq!(without_root.exit_code(), crate::exit::ExitCode::CannotObserve, "that comes first");
    }

    #[test]
    fn a_machine_on_which_no_tool_works_is_not_ready() {
        let verdict = verdict(|_, tools| {
            tools[0].answer = Answer::No;
            tools[0].why = Some("it is a Go program".to_owned());
        });
        assert_eq!(verdict.headline(), "NOT READY: sample: it is a Go program");
    }
}
