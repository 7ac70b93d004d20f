//! The ledger: one counter for every way a hit can end.
//!
//! Per probe, `hits` equals the sum of its outcomes; what is left over is `unaccounted` and must be 0. Each tool declares
//! its probes and counters with [`counters!`](crate::counters).

/// Room for counters in a ledger. Every tool's ledger has the same size, so that one map type serves all.
pub const MAX_COUNTERS: usize = 64;

crate::wire! {
    /// A ledger on one CPU.
    pub struct Counters {
        /// Indexed by the tool's counter.
        pub of: [u64; MAX_COUNTERS],
    }
}

/// What an outcome means for the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The number of hits itself.
    Hits,
    /// The hit is in the data.
    Recorded,
    /// The hit is rightly not in the data.
    Filtered,
    /// The hit was left out by sampling, and the estimates account for it.
    SampledOut,
    /// The hit should be in the data and is not.
    Lost,
    /// Not an outcome of a hit: a remark on the quality of the data.
    Quality,
}

/// A counter, for those who do not know the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in reports.
    pub name: &'static str,
    /// The name of its probe in reports.
    pub probe: &'static str,
    /// What it means for the data.
    pub class: Class,
}

/// The counters of a tool.
pub trait Ledger: Copy {
    /// Every counter, in index order.
    const ENTRIES: &'static [Entry];

    /// Place of the counter.
    fn index(self) -> usize;
}

/// Declares the ledger of a tool: its probes, and its counters with probe and class.
#[macro_export]
macro_rules! counters {
    (
        probes { $($(#[$probe_doc:meta])* $probe_variant:ident = $probe_name:literal),* $(,)? }
        $($(#[$doc:meta])* $variant:ident = $name:literal in $probe:ident as $class:ident),* $(,)?
    ) => {
        /// A kind of probe with a ledger of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Probe { $($(#[$probe_doc])* $probe_variant),* }

        impl Probe {
            /// Every probe.
            pub const ALL: &'static [Probe] = &[$(Probe::$probe_variant),*];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Probe::$probe_variant => $probe_name),* }
            }
        }

        /// Index of a kernel-side counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $($(#[$doc])* $variant),* }

        impl Counter {
            /// Every counter, in index order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];
            /// Number of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name),* }
            }
            /// The probe whose hits this counts.
            pub const fn probe(self) -> Probe {
                match self { $(Counter::$variant => Probe::$probe),* }
            }
            /// What the outcome means for the data.
            pub const fn class(self) -> $crate::ledger::Class {
                match self { $(Counter::$variant => $crate::ledger::Class::$class),* }
            }
        }

        const _: () = assert!(Counter::COUNT <= $crate::ledger::MAX_COUNTERS, "the ledger is full");

        impl $crate::ledger::Ledger for Counter {
            const ENTRIES: &'static [$crate::ledger::Entry] = &[$($crate::ledger::Entry {
                name: $name,
                probe: Probe::$probe.name(),
                class: $crate::ledger::Class::$class,
            }),*];

            #[inline(always)]
            fn index(self) -> usize {
                self as usize
            }
        }

        #[cfg(test)]
        mod ledger_tests {
            use super::{Counter, Probe};
            use $crate::ledger::Class;

            #[test]
            fn the_index_is_the_position() {
                for (i, counter) in Counter::ALL.iter().enumerate() {
                    assert_eq!(*counter as usize, i);
                }
            }

            #[test]
            fn every_probe_has_exactly_one_hit_counter() {
                for probe in Probe::ALL {
                    let hits =
                        Counter::ALL.iter().filter(|c| c.probe() == *probe && c.class() == Class::Hits);
                    assert_eq!(hits.count(), 1);
                }
            }
        }
    };
}
