//! What the first line calls the leaking sites: a function without a name appears once, however many of its places
//! leak.

use std::collections::BTreeMap;

use crate::{
    stack::own::{Own, beside},
    stats::lifetimes::{sites::JudgedSite, verdict::Verdict},
    text::Text,
};

/// What the first line calls each site, given the labels of their rows: if several sites of one function without a name leak, the
/// function with the place. `owns`: the functions that name the sites.
pub(super) fn spoken(
    sites: &[JudgedSite],
    labels: &[Option<Text>],
    owns: &[Option<&Own>],
) -> Vec<Option<Text>> {
    let begins = |site: usize| {
        let own = (*owns.get(site)?)?;
        Some((&own.module, own.begins.as_ref()?))
    };
    let mut places: BTreeMap<_, usize> = BTreeMap::new();
    let leaks = |site: &JudgedSite| site.judgement.verdict == Verdict::Leak;
    let leaking = sites.iter().enumerate().filter(|(_, site)| leaks(site));
    for function in leaking.filter_map(|(site, _)| begins(site)) {
        *places.entry(function).or_default() += 1;
    }
    let label = |(site, label): (usize, &Option<Text>)| {
        let function = begins(site).filter(|function| places.get(function).is_some_and(|places| *places > 1));
        let place = owns.get(site).copied().flatten().and_then(Own::place);
        match function.zip(place) {
            Some(((_, function), place)) => Some(beside(function, &place)),
            None => label.clone(),
        }
    };
    labels.iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::lifetimes::{
        rows::StackRow,
        verdict::{Judgement, Reason},
    };

    fn nameless(begins: u64, address: u64) -> Own {
        let name = |address: u64| Text::from(format!("server+{address:#x}"));
        Own {
            label: name(address),
            function: name(address),
            begins: Some(name(begins)),
            module: Some(Text::from("/srv/server")),
            file: None,
            line: None,
            caller: None,
            address: Some(address),
            skipped: Vec::new(),
        }
    }

    #[test]
    fn a_function_without_a_name_is_one_wherever_it_leaks() {
        let owns = [nameless(0x1000, 0x1010), nameless(0x1000, 0x1034), nameless(0x2000, 0x2010)];
        let owns: Vec<Option<&Own>> = owns.iter().map(Some).collect();
        let labels: Vec<Option<Text>> = owns.iter().map(|own| Some(own.unwrap().label.clone())).collect();
        let leak = |place: usize| JudgedSite {
            row: StackRow::default(),
            judgement: Judgement::sample(Verdict::Leak, Reason::KeptAndGrowing, 1.0),
            leaking: None,
            stacks: vec![place],
            through: None,
        };
        let sites = [leak(0), leak(1), leak(2)];
        let said = |sites: &[JudgedSite]| -> Vec<String> {
            spoken(sites, &labels, &owns).into_iter().map(|label| label.unwrap().terminal()).collect()
        };
        assert_eq!(said(&sites), ["server+0x1000  at 0x1010", "server+0x1000  at 0x1034", "server+0x2010"]);
        // If only one place leaks, the address says which: it is what addr2line takes.
        let churn = Judgement::sample(Verdict::Churn, Reason::ReleasedSoon, 0.0);
        let one = [leak(0), JudgedSite { judgement: churn, ..leak(1) }, leak(2)];
        assert_eq!(said(&one)[0], "server+0x1010");
    }
}
