//! Which helpers of the kernel the tools call, and which of them it lacks.

use super::{
    check::{Answer, Area, Check, Need, Question},
    refusal::tried,
};
use crate::{kernel::helpers::Helpers, observe::ground, tool::TOOLS};

const HELPERS: Question = Question {
    name: "helpers",
    area: Area::Kernel,
    title: "BPF helpers",
    need: Need::Required,
    disables: "the tools named",
    remedy: "Linux 6.1 or newer",
    fix: Some("uname -r"),
};

/// Asks about the helpers of every tool, and of the programs that all tools share. `may_bpf`: whether a refusal says
/// something about the kernel.
pub(super) fn check(may_bpf: bool) -> Check {
    let mut of_tools = Vec::new();
    for tool in TOOLS {
        match Helpers::of(&[ground::OBJECT, tool.object]) {
            Ok(helpers) => of_tools.push((tool.name, helpers)),
            Err(error) => return tried(&HELPERS, Err(error), may_bpf, ""),
        }
    }
    judge(&of_tools)
}

/// Concludes from the helpers of each tool; `None` if the verifier's log was not understood.
fn judge(of_tools: &[(&str, Option<Helpers>)]) -> Check {
    let known = of_tools.iter().map(|(name, helpers)| Some((*name, helpers.as_ref()?)));
    let Some(known) = known.collect::<Option<Vec<_>>>() else {
        return HELPERS.answered(Answer::CannotTell, "the verifier's log is not understood");
    };
    let words = |words: &dyn Fn(&(&str, &Helpers)) -> Option<String>| {
        known.iter().filter_map(words).collect::<Vec<_>>().join("; ")
    };
    let lacking = words(&|(name, helpers)| {
        (!helpers.missing.is_empty()).then(|| format!("{name} lacks {}", helpers.missing.join(", ")))
    });
    if lacking.is_empty() {
        let called = words(&|(name, helpers)| Some(format!("all {} that {name} calls", helpers.called)));
        return HELPERS.answered(Answer::Yes, called);
    }
    let lacks = known.iter().map(|(name, helpers)| (*name, !helpers.missing.is_empty()));
    HELPERS.answered(Answer::No, lacking).of_those(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helpers(called: usize, missing: &[&str]) -> Option<Helpers> {
        Some(Helpers { called, missing: missing.iter().map(|&name| name.to_owned()).collect() })
    }

    #[test]
    fn a_helper_that_one_tool_lacks_does_not_block_the_others() {
        let all = judge(&[("one", helpers(15, &[])), ("two", helpers(9, &[]))]);
        assert_eq!(
            (all.answer, all.seen.as_str()),
            (Answer::Yes, "all 15 that one calls; all 9 that two calls")
        );
        let one = judge(&[("one", helpers(15, &["loop", "jiffies64"])), ("two", helpers(9, &[]))]);
        assert_eq!(one.seen, "one lacks loop, jiffies64");
        assert!(one.limits() && !one.blocks() && one.tools == Some(vec!["one".to_owned()]), "{one:?}");
        let both = judge(&[("one", helpers(15, &["loop"])), ("two", helpers(9, &["loop"]))]);
        assert!(both.blocks() && both.seen == "one lacks loop; two lacks loop", "{both:?}");
    }

    #[test]
    fn a_log_that_is_not_understood_is_no_answer() {
        assert_eq!(judge(&[("one", helpers(1, &[])), ("two", None)]).answer, Answer::CannotTell);
    }

    /// The objects are read without any privilege.
    #[test]
    fn what_the_tools_call_can_be_asked_about() {
        let check = check(false);
        let readable = check.answer == Answer::Yes
            || check.seen.contains("privileges")
            || check.seen.contains("PROFILER_EBPF");
        assert!(readable, "{check:?}");
    }
}
