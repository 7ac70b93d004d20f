//! Programs that a tool can do without, and what is not known then.

use std::collections::BTreeSet;

use crate::report::Section;

/// What is not known without a program at requests of io_uring.
pub(crate) const NO_RING: &str = "operations of io_uring are not counted";

/// A program that a tool can do without.
pub(crate) struct Optional {
    pub(crate) program: &'static str,
    /// The names that its tracepoint has in kernels.
    pub(crate) tracepoints: &'static [&'static str],
    /// What is not known without it, in words.
    pub(crate) without: &'static str,
}

/// A program that is not attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) program: &'static str,
    /// What is not known without it.
    pub(crate) without: &'static str,
    /// Why it is not attached.
    pub(crate) why: String,
}

impl LeftOut {
    /// A program, if there is a reason why it is not attached.
    pub(super) fn unless_attached(
        program: &'static str,
        without: &'static str,
        why: Option<String>,
    ) -> Option<LeftOut> {
        let why = why?;
        tracing::info!("{program} is left out: {why}");
        Some(LeftOut { program, without, why })
    }
}

/// What is not known because programs are not attached, with the reason: one sentence for what several find out together.
pub(crate) fn unknown(left_out: &[LeftOut]) -> Vec<String> {
    let mut said = BTreeSet::new();
    let first = left_out.iter().filter(|left_out| said.insert(left_out.without));
    first.map(|LeftOut { without, why, .. }| format!("{without}: {why}")).collect()
}

/// Says that below the first table, which is the one that is always shown.
pub(crate) fn note_unknown(sections: &mut [Section], unknown: impl IntoIterator<Item = String>) {
    if let Some(section) = sections.first_mut() {
        section.notes.extend(unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_programs_find_out_together_is_said_once() {
        let left_out = [("completed", NO_RING), ("submit", NO_RING), ("issued", "requests are not counted")]
            .map(|(program, without)| LeftOut { program, without, why: format!("no tracepoint {program}") });
        assert_eq!(
            unknown(&left_out),
            [
                "operations of io_uring are not counted: no tracepoint completed",
                "requests are not counted: no tracepoint issued",
            ]
        );
        assert!(unknown(&[]).is_empty());
    }
}
