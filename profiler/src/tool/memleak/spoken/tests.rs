use super::{
    super::{
        rows::StackRow,
        verdict::{Judgement, Reason},
    },
    *,
};

/// A program of some stacks, each with the functions that it leads through and its growth; 0 for one that frees all.
struct Program(Vec<(Vec<&'static str>, f64)>);

impl Program {
    /// The server's own work beside what is looked at: as many stacks below its main loop.
    fn with_work(mut stacks: Vec<(Vec<&'static str>, f64)>, others: usize) -> Program {
        const WORK: [&str; 3] = ["parse", "plan", "fetch"];
        stacks.extend((0..others).map(|n| (vec![WORK[n % 3], "exec_simple_query", "main"], 0.0)));
        Program(stacks)
    }

    fn rows(&self) -> Vec<StackRow> {
        let row = |(number, (_, growth)): (usize, &(Vec<&str>, f64))| StackRow {
            stack: number as u32,
            old_bytes: *growth as u64,
            ..StackRow::default()
        };
        self.0.iter().enumerate().map(row).collect()
    }

    /// Where its functions leak together, and what that is called: the sites by the innermost function.
    fn caller(&self) -> Option<(&'static str, Vec<&'static str>)> {
        let rows = self.rows();
        let judgement = |growth: f64| match growth {
            0.0 => Judgement::sample(Verdict::Churn, Reason::FreedSoon, 0.0),
            growth => Judgement::sample(Verdict::Leak, Reason::KeptAndGrowing, growth),
        };
        let judged: Vec<Judged<'_>> = rows
            .iter()
            .zip(&self.0)
            .map(|(row, (_, growth))| Judged { row, judgement: judgement(*growth) })
            .collect();
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, (path, _)) in self.0.iter().enumerate() {
            places.entry(path[0]).or_default().push(place);
        }
        let sites: Vec<JudgedSite> = places
            .values()
            .map(|stacks| JudgedSite {
                row: StackRow::pool(stacks.iter().map(|&place| &rows[place])),
                judgement: judgement(stacks.iter().map(|&place| self.0[place].1).sum()),
                leaking: None,
                stacks: stacks.clone(),
                through: None,
            })
            .collect();
        let name = |site: usize| self.0[sites[site].stacks[0]].0[0];
        let found = caller(&judged, &sites, name, |_| (), |place| self.0[place].0.clone())?;
        Some((self.0[found.at.0].0[found.at.1], found.sites.iter().map(|&site| name(site)).collect()))
    }
}

/// As PostgreSQL keeps a prepared statement.
fn statements() -> Vec<(Vec<&'static str>, f64)> {
    let below = |mut path: Vec<&'static str>| {
        path.extend(["PrepareQuery", "exec_simple_query", "main"]);
        path
    };
    vec![
        (below(vec!["copyObjectImpl", "CompleteCachedPlan"]), 2_000.0),
        (below(vec!["copyObjectImpl", "list_copy_deep", "CompleteCachedPlan"]), 2_000.0),
        (below(vec!["copy_rte", "list_copy_deep", "CompleteCachedPlan"]), 600.0),
        (below(vec!["CreateCachedPlan"]), 150.0),
        (below(vec!["transform"]), 0.0),
        (below(vec!["parse"]), 0.0),
    ]
}

#[test]
fn one_cause_with_several_allocations_is_named_by_its_function() {
    let found = Program::with_work(statements(), 12).caller();
    assert_eq!(found, Some(("PrepareQuery", vec!["CreateCachedPlan", "copyObjectImpl", "copy_rte"])));
    // What leaks elsewhere, but hardly, keeps its own name.
    let mut stacks = statements();
    stacks.push((vec!["remember", "exec_simple_query", "main"], 50.0));
    let found = Program::with_work(stacks, 12).caller();
    assert_eq!(found, Some(("PrepareQuery", vec!["CreateCachedPlan", "copyObjectImpl", "copy_rte"])));
}

#[test]
fn no_main_loop_is_named() {
    // Nearly all stacks lead through what the leaks have in common.
    let leaks = vec![
        (vec!["chat_push", "exec_simple_query", "main"], 500.0),
        (vec!["session_open", "exec_simple_query", "main"], 400.0),
    ];
    assert_eq!(Program::with_work(leaks.clone(), 30).caller(), None);
    // Not all, but hardly any of those that do leak.
    let mut stacks = leaks;
    stacks.extend((0..30).map(|_| (vec!["load", "start", "main"], 0.0)));
    assert_eq!(Program::with_work(stacks, 30).caller(), None);
    // A small program, of which nobody can say.
    assert_eq!(Program::with_work(statements(), 3).caller(), None);
}

#[test]
fn one_function_with_nearly_all_growth_has_its_own_name() {
    let mut stacks = statements();
    stacks[0].1 = 200_000.0;
    assert_eq!(Program::with_work(stacks, 12).caller(), None);
    assert_eq!(Program::with_work(Vec::new(), 12).caller(), None);
    assert_eq!(Program::with_work(statements()[..2].to_vec(), 12).caller(), None, "of one function");
}

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
        by_function(sites, &labels, &owns).into_iter().map(|label| label.unwrap().terminal()).collect()
    };
    assert_eq!(said(&sites), ["server+0x1000  at 0x1010", "server+0x1000  at 0x1034", "server+0x2010"]);
    // Of one place the address says where: it is what addr2line takes.
    let churn = Judgement::sample(Verdict::Churn, Reason::FreedSoon, 0.0);
    let one = [leak(0), JudgedSite { judgement: churn, ..leak(1) }, leak(2)];
    assert_eq!(said(&one)[0], "server+0x1010");
}
