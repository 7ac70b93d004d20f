//! Targets of programs that ended, or became another program, before we could read anything about them. The kernel side has counted their
//! calls all the same.

use std::collections::BTreeMap;

use profiler_common::space::{EXECED, FORKED, Space as Registered};

use super::observation::Observation;
use crate::{report::Target, text::Text};

/// How a target ended whose process became another program.
pub(super) const REPLACED: &str = "replaced itself by exec";

/// The targets of such programs, by the number of their address space. `names`: those of threads, by the number of their address space
/// and their id. Processes that were forked and ended as the same program are left out: there may be thousands.
pub(super) fn targets(on: &Observation<'_>, names: &BTreeMap<(u16, u32), Text>) -> Vec<(u16, Target)> {
    let registered: Vec<(u16, Registered)> = (0..on.ground.taken_spaces())
        .filter_map(|number| Some((number, on.ground.complete_space(number)?)))
        .filter(|(number, _)| !on.left_out.contains(number))
        .collect();
    let is_known = |number: u16| on.spaces.iter().any(|space| space.number == number);
    let mut brief = chosen(&registered);
    brief.retain(|(number, _)| !is_known(*number));
    brief
        .into_iter()
        .map(|(number, space)| (number, target(&space, name(names, number, space.tgid))))
        .collect()
}

/// Programs that processes became by exec, and those that they were before.
fn chosen(registered: &[(u16, Registered)]) -> Vec<(u16, Registered)> {
    let became: Vec<u32> = registered
        .iter()
        .filter(|(_, space)| space.origin == EXECED)
        .map(|(_, space)| space.before)
        .collect();
    let is_one = |(number, space): &&(u16, Registered)| {
        space.origin == EXECED || space.origin == FORKED && became.contains(&u32::from(*number))
    };
    registered.iter().filter(is_one).copied().collect()
}

/// The name of the first thread of a process, or else that of another one.
fn name(names: &BTreeMap<(u16, u32), Text>, number: u16, pid: u32) -> Option<&Text> {
    names
        .get(&(number, pid))
        .or_else(|| names.range((number, 0)..=(number, u32::MAX)).next().map(|(_, name)| name))
}

fn target(space: &Registered, name: Option<&Text>) -> Target {
    Target {
        pid: space.tgid,
        name: name.cloned().unwrap_or_else(|| Text::from("")),
        exe: Text::from(""),
        build_id: None,
        ended: Some(if space.replaced != 0 { REPLACED } else { "ended" }.to_owned()),
        killed_by: None,
        probes: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_processes_that_execed_are_chosen() {
        let space =
            |origin, before, replaced| Registered { origin, before, replaced, ..Registered::given(7) };
        let registered = [
            (0, space(profiler_common::space::GIVEN, 0, 1)),
            (1, space(EXECED, 0, 0)),
            (2, space(FORKED, 0, 0)),
            (3, space(FORKED, 0, 1)),
            (4, space(EXECED, 3, 0)),
        ];
        let chosen = chosen(&registered);
        assert_eq!(chosen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3, 4]);
        let [first, last] = [&chosen[1], &chosen[2]].map(|(_, space)| target(space, Some(&Text::from("pp"))));
        assert_eq!(
            (first.pid, first.name.terminal().as_str(), first.ended.as_deref()),
            (7, "pp", Some(REPLACED))
        );
        assert_eq!(last.ended.as_deref(), Some("ended"));
    }
}
