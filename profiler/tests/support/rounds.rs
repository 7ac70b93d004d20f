//! Several rounds of one measurement.

/// Number of rounds. Their medians are compared: single rounds differ by a third or more where other machines share the processors.
const ROUNDS: usize = 7;

/// A figure that was measured in several rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Its median.
    pub(crate) median: f64,
    /// How far the rounds lie apart, without the lowest and the highest one: the noise of this machine.
    pub(crate) spread: f64,
}

/// Measures each figure in so many rounds.
pub(crate) fn measure<const N: usize>(mut round: impl FnMut() -> [f64; N]) -> [Measured; N] {
    let rounds: [[f64; N]; ROUNDS] = std::array::from_fn(|_| round());
    std::array::from_fn(|figure| {
        let mut of_it = rounds.map(|round| round[figure]);
        of_it.sort_by(f64::total_cmp);
        Measured { median: of_it[ROUNDS / 2], spread: of_it[ROUNDS - 2] - of_it[1] }
    })
}

/// The bar for every figure for what a thread loses: a quarter of it, or two percentage points, and the noise of this machine.
pub(crate) fn assert_near(what: &str, said: Measured, truth: Measured) {
    let off = (said.median - truth.median).abs();
    let bar = (0.25 * truth.median).max(0.02) + said.spread.max(truth.spread);
    super::remark(&format!("{what}: {said:?} was said, {truth:?} is true"));
    assert!(off <= bar, "{what}: {said:?} was said, {truth:?} is true");
}
