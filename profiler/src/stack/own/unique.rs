//! Labels that distinguish rows.

use std::collections::{BTreeMap, BTreeSet};

use super::Own;
use crate::{naming::BESIDE, text::Text};

/// The labels of rows. Different sites have different labels: a name that several sites have is followed by the line,
/// else by the caller, else by the address. `None` for a row without a name.
pub(crate) fn labels(rows: &[Option<&Own>]) -> Vec<Option<Text>> {
    let mut alike: BTreeMap<&Text, Vec<&Own>> = BTreeMap::new();
    for own in rows.iter().flatten() {
        alike.entry(&own.label).or_default().push(own);
    }
    let told_by: BTreeMap<&Text, Distinction> =
        alike.iter().filter_map(|(label, owns)| Some((*label, distinction(owns)?))).collect();
    let label = |own: &&Own| match told_by.get(&own.label).and_then(|tell| tell(own)) {
        Some(apart) => beside(&own.label, &apart),
        None => own.label.clone(),
    };
    rows.iter().map(|own| own.as_ref().map(label)).collect()
}

/// A name, followed by what distinguishes it.
pub(crate) fn beside(name: &Text, what: &Text) -> Text {
    Text::new([name.raw(), BESIDE.as_bytes(), what.raw()].concat())
}

type Distinction = fn(&Own) -> Option<Text>;

/// What distinguishes the sites with one label; `None` if there is only one site.
fn distinction(owns: &[&Own]) -> Option<Distinction> {
    const ALL: [Distinction; 5] = [Own::source_line, called_by, module, Own::place, everything];
    let sites: BTreeSet<_> = owns.iter().map(|own| site(own)).collect();
    if sites.len() < 2 {
        return None;
    }
    ALL.into_iter().find(|tell| {
        let mut site_of: BTreeMap<Text, _> = BTreeMap::new();
        owns.iter()
            .all(|own| tell(own).is_some_and(|apart| *site_of.entry(apart).or_insert(site(own)) == site(own)))
    })
}

/// The site of a row: the line, else the address of the call.
fn site(own: &Own) -> (Option<&Text>, Option<&Text>, Option<u32>, Option<u64>) {
    let address = if own.line.is_some() { None } else { own.address };
    (own.module.as_ref(), own.file.as_ref(), own.line, address)
}

fn called_by(own: &Own) -> Option<Text> {
    let caller = own.caller.as_ref()?;
    Some(Text::new([b"called by ", caller.raw()].concat()))
}

fn module(own: &Own) -> Option<Text> {
    own.module.clone()
}

/// Everything that is known. If that is equal too, the sites cannot be distinguished.
fn everything(own: &Own) -> Option<Text> {
    let all = [own.source_line(), called_by(own), own.place(), own.module.clone()];
    let all: Vec<Text> = all.into_iter().flatten().collect();
    Some(Text::new(all.iter().map(Text::raw).collect::<Vec<_>>().join(&b", "[..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(line: Option<u32>, caller: &str, address: u64) -> Own {
        Own {
            label: Text::from("push"),
            function: Text::from("push"),
            begins: None,
            module: Some(Text::from("/srv/pong")),
            file: line.map(|_| Text::from("/src/chat.c")),
            line,
            caller: Some(Text::from(caller)),
            address: Some(address),
            skipped: vec![],
        }
    }

    fn shown(owns: &[Own]) -> Vec<String> {
        let owns: Vec<Option<&Own>> = owns.iter().map(Some).collect();
        labels(&owns).into_iter().map(|label| label.unwrap().terminal()).collect()
    }

    #[test]
    fn one_site_has_the_name_alone() {
        assert_eq!(shown(&[own(Some(7), "tick", 1), own(Some(7), "join", 2)]), ["push", "push"]);
        assert_eq!(labels(&[None]), [None]);
    }

    #[test]
    fn sites_are_distinguished_by_line_else_by_caller_else_by_address() {
        assert_eq!(
            shown(&[own(Some(7), "tick", 1), own(Some(9), "tick", 2)]),
            ["push  chat.c:7", "push  chat.c:9"]
        );
        assert_eq!(
            shown(&[own(None, "tick", 1), own(None, "join", 2)]),
            ["push  called by tick", "push  called by join"]
        );
        assert_eq!(shown(&[own(None, "tick", 1), own(None, "tick", 2)]), ["push  at 0x1", "push  at 0x2"]);
        // One line is known, the other is not, and the callers are equal.
        assert_eq!(shown(&[own(Some(7), "tick", 1), own(None, "tick", 2)]), ["push  at 0x1", "push  at 0x2"]);
        let other = Own { module: Some(Text::from("/srv/libchat.so")), ..own(None, "tick", 1) };
        assert_eq!(shown(&[own(None, "tick", 1), other]), ["push  /srv/pong", "push  /srv/libchat.so"]);
        // Three sites that no single trait distinguishes.
        let mixed =
            [own(None, "tick", 1), own(None, "join", 1), Own { module: None, ..own(None, "tick", 1) }];
        let labels = shown(&mixed);
        assert!(labels.iter().collect::<BTreeSet<_>>().len() >= 2, "{labels:?}");
    }

    #[test]
    fn other_names_are_left_alone() {
        let other = Own { label: Text::from("tick"), ..own(Some(8), "main", 3) };
        assert_eq!(shown(&[own(Some(7), "tick", 1), other]), ["push", "tick"]);
    }
}
