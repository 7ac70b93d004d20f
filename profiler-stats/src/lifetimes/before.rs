//! What the interim report before said of stacks and sites: an answer is taken back if something speaks against it, not
//! because a look falls where less is proved than before.

use std::collections::{HashMap, HashSet};

use super::{
    analyze::Judged,
    sites::JudgedSite,
    verdict::{Said, Verdict},
};

/// The verdicts of an earlier look at the same observation. Without one, nothing was said.
#[derive(Debug, Default)]
pub struct Before {
    stacks: HashMap<u32, Said>,
    /// The site of each stack.
    site_of: HashMap<u32, usize>,
    /// How many stacks each site had, and what it was called.
    sites: Vec<(usize, Said)>,
    /// The stacks of each function that leaked while its sites did not.
    functions: Vec<Vec<u32>>,
}

impl Before {
    /// What was said after one more look; `sites` are those of the `stacks`.
    pub fn after(&self, stacks: &[Judged<'_>], sites: &[JudgedSite]) -> Before {
        let mut before = Before::default();
        before.stacks.extend(stacks.iter().map(|stack| {
            let number = stack.row.stack;
            (number, Said::after(self.of_stack(number), stack.judgement.verdict))
        }));
        for site in sites {
            let members = || site.stacks.iter().filter_map(|&at| stacks.get(at)).map(|stack| stack.row.stack);
            if site.through.is_some() {
                before.functions.push(members().collect());
                continue;
            }
            let place = before.sites.len();
            let said = Said::after(self.of_site(members()), site.judgement.verdict);
            before.sites.push((site.stacks.len(), said));
            before.site_of.extend(members().map(|stack| (stack, place)));
        }
        before
    }

    /// What a stack was called.
    pub(super) fn of_stack(&self, stack: u32) -> Option<Said> {
        self.stacks.get(&stack).copied()
    }

    /// What a site was called that had these stacks, or some of them: new ones come, and names that were not known yet
    /// bring sites together. Of several it is the worst. A site that has lost stacks to another one is a new site.
    pub(super) fn of_site(&self, stacks: impl Iterator<Item = u32>) -> Option<Said> {
        let mut found: HashMap<usize, usize> = HashMap::new();
        for site in stacks.filter_map(|stack| self.site_of.get(&stack)) {
            *found.entry(*site).or_insert(0) += 1;
        }
        let whole = found.into_iter().filter_map(|(site, stacks)| {
            self.sites.get(site).filter(|(all, _)| *all == stacks).map(|(_, said)| *said)
        });
        let badness = |said: &Said| match said.verdict {
            Verdict::Leak => 2,
            Verdict::Young => 1,
            Verdict::LongLived | Verdict::Cache | Verdict::Churn => 0,
        };
        whole.max_by_key(badness)
    }

    /// What a function with these stacks was called: a leak, if an earlier function that leaked had all its stacks among them.
    pub(super) fn of_function(&self, stacks: impl Iterator<Item = u32>) -> Option<Said> {
        if self.functions.is_empty() {
            return None;
        }
        let stacks: HashSet<u32> = stacks.collect();
        let was_leak =
            self.functions.iter().any(|earlier| earlier.iter().all(|stack| stacks.contains(stack)));
        was_leak.then_some(Said::first(Verdict::Leak))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        analyze::analyze,
        rows::{StackRow, Window},
        sites::sites,
    };
    use super::*;

    #[test]
    fn a_site_is_known_again_by_its_stacks() {
        let said = |verdict| Some(Said::first(verdict));
        let window = Window { length_units: 1 << 14, older_units: 1 << 12 };
        let rows: Vec<StackRow> = (1..=4).map(|stack| StackRow { stack, ..StackRow::default() }).collect();
        let mut stacks = analyze(&rows, &window, &Before::default());
        stacks[0].judgement.verdict = Verdict::Leak;
        let leaking = stacks[0].row.stack;
        // Stacks 1 and 2 are one site, and 3 and 4 another.
        let judged = sites(&stacks, &window, &Before::default(), |place| stacks[place].row.stack > 2);
        let before = Before::default().after(&stacks, &judged);
        assert_eq!((before.of_stack(leaking), before.of_stack(9)), (said(Verdict::Leak), None));
        let of = |stacks: &[u32]| before.of_site(stacks.iter().copied());
        assert_eq!(leaking, 1);
        assert_eq!((of(&[1, 2]), of(&[3, 4])), (said(Verdict::Leak), said(Verdict::Young)));
        assert_eq!((of(&[2, 9, 1]), of(&[4, 3, 2, 1])), (said(Verdict::Leak), said(Verdict::Leak)));
        assert_eq!((of(&[1]), of(&[9]), of(&[1, 3, 4])), (None, None, said(Verdict::Young)));

        // A function that leaks is not the site of its stacks.
        let mut judged = judged;
        judged[0].through = Some(0);
        let before = Before::default().after(&stacks, &judged);
        let of_function = |stacks: &[u32]| before.of_function(stacks.iter().copied());
        assert_eq!((of_function(&[1, 2, 3]), of_function(&[1, 3, 4])), (said(Verdict::Leak), None));
        assert_eq!(before.of_site([1, 2].into_iter()), None);
    }
}
