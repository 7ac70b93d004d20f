//! Several rounds of one measurement.

/// Number of rounds. Medians are compared, because single rounds differ by a third or more where other machines share the processors.
const ROUNDS: usize = 7;

/// The median of each figure over all rounds.
pub(crate) fn medians<const N: usize>(mut round: impl FnMut() -> [f64; N]) -> [f64; N] {
    let rounds: [[f64; N]; ROUNDS] = std::array::from_fn(|_| round());
    std::array::from_fn(|figure| {
        let mut of_it = rounds.map(|round| round[figure]);
        of_it.sort_by(f64::total_cmp);
        of_it[ROUNDS / 2]
    })
}
