//! Medians and ratios over the rounds, and whether they keep within their bounds.

use serde_json::json;

use super::{
    super::{Figures, memleak::median},
    loads::{LOADS, Load, Measured},
};
use crate::process::{ask, command};

/// Upper bound of what a tool adds to an event, divided by what bpftrace adds.
const OVER_BPFTRACE: f64 = 0.6;
/// Upper bound of the loss of throughput of `redis-benchmark` without pipelining, in percent.
const LOSS_PERCENT: f64 = 5.0;
/// The loads whose ratio to bpftrace is that of the tool: what is added is most of their time.
const PLAIN: [&str; 2] = ["echo", "read"];

/// One measurement of one load under one way of observing, and right before it.
struct Round {
    load: &'static str,
    way: &'static str,
    bare: Measured,
    observed: Measured,
}

impl Round {
    fn added_ns(&self) -> f64 {
        self.observed.ns - self.bare.ns
    }

    fn loss_percent(&self) -> f64 {
        100.0 * (1.0 - self.observed.per_s / self.bare.per_s)
    }
}

/// All measurements, in the order in which they were taken.
#[derive(Default)]
pub(super) struct Taken(Vec<Round>);

impl Taken {
    /// Adds one measurement of each load.
    pub(super) fn add(
        &mut self,
        way: &'static str,
        bare: &[Option<Measured>],
        observed: &[Option<Measured>],
    ) {
        for (load, (bare, observed)) in LOADS.iter().zip(bare.iter().zip(observed)) {
            if let (Some(bare), Some(observed)) = (*bare, *observed) {
                self.0.push(Round { load: load.name, way, bare, observed });
            }
        }
    }

    /// A number of each round of a load, under one way of observing.
    fn of(&self, load: &str, way: &str, number: fn(&Round) -> f64) -> Vec<f64> {
        self.0.iter().filter(|round| round.load == load && round.way == way).map(number).collect()
    }

    pub(super) fn figures(&self, rounds: usize) -> Figures {
        let mut figures = Figures::new();
        for load in &LOADS {
            self.put(load, &mut figures);
        }
        let kernel = ask(command("uname").arg("-r")).unwrap_or_default();
        figures.insert("rounds".into(), rounds.into());
        figures.insert("kernel".into(), kernel.trim().into());
        figures
    }

    fn put(&self, load: &Load, figures: &mut Figures) {
        let mut put = |name: String, value: f64| {
            figures.insert(name, json!((value * 1000.0).round() / 1000.0));
        };
        let name = load.name;
        let bare: Vec<f64> =
            self.0.iter().filter(|round| round.load == name).map(|round| round.bare.ns).collect();
        if bare.is_empty() {
            return;
        }
        put(format!("{name}_bare_ns"), median(&bare));
        for (way, _) in super::WAYS {
            let added = self.of(name, way, Round::added_ns);
            if added.is_empty() {
                continue;
            }
            put(format!("{name}_{way}_added_ns"), median(&added));
            let loss = median(&self.of(name, way, Round::loss_percent));
            put(format!("{name}_{way}_loss_percent"), loss);
            if (name, way) == ("redis", "sockets") {
                judge(&format!("{name}_{way}_loss_percent"), loss, LOSS_PERCENT);
            }
        }
        let theirs = self.of(name, "bpftrace", Round::added_ns);
        let Some(tool) = load.tool.filter(|_| !theirs.is_empty()) else { return };
        let ours = self.of(name, tool, Round::added_ns);
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (ratio, over) = (median(&ratios), format!("{tool}_over_bpftrace"));
        judge(&format!("{name}_{over}"), ratio, OVER_BPFTRACE);
        put(format!("{name}_{over}"), ratio);
        if PLAIN.contains(&name) {
            put(over, ratio);
        }
    }
}

/// Says whether a figure keeps within its upper bound.
fn judge(name: &str, value: f64, bar: f64) {
    let holds = if value <= bar { "holds" } else { "DOES NOT HOLD" };
    println!("{name} {value:.3}, bar {bar}: {holds}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_compared_within_a_round() {
        let mut taken = Taken::default();
        let of = |ns: f64| -> Vec<Option<Measured>> {
            let only = |load: &Load| (load.name == "echo").then_some(Measured { ns, per_s: 1e9 / ns });
            LOADS.iter().map(only).collect()
        };
        for (bare, ours, theirs) in
            [(1000.0, 1250.0, 1500.0), (2000.0, 2500.0, 4000.0), (100.0, 150.0, 200.0)]
        {
            taken.add("sockets", &of(bare), &of(ours));
            taken.add("bpftrace", &of(bare), &of(theirs));
        }
        let figures = taken.figures(3);
        assert_eq!(figures["sockets_over_bpftrace"], 0.5);
        assert_eq!(figures["echo_sockets_added_ns"], 250.0);
        assert_eq!(figures["echo_bare_ns"], 1000.0);
        assert_eq!(figures["echo_bpftrace_loss_percent"], 50.0);
        assert!(!figures.contains_key("disk_over_bpftrace") && !figures.contains_key("redis_bare_ns"));
    }
}
