//! Several rounds of one measurement.

/// Rounds that are added at a time, and how often at most. Single rounds differ by a third or more where other machines share the processors,
/// for seconds at a time. A wrong figure stays wrong however many rounds there are: the bars are the same after 3 rounds and after 21.
const ROUNDS: usize = 3;
const STEPS: usize = 7;

/// The median of each figure. Rounds are repeated until `holds` accepts the medians, or there are none left.
pub(crate) fn medians<const N: usize>(
    mut round: impl FnMut() -> [f64; N],
    holds: impl Fn([f64; N]) -> bool,
) -> [f64; N] {
    let mut rounds: Vec<[f64; N]> = Vec::new();
    let mut medians = [f64::NAN; N];
    for _ in 0..STEPS {
        rounds.extend(std::iter::repeat_with(&mut round).take(ROUNDS));
        medians = std::array::from_fn(|figure| {
            let mut of_it: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
            of_it.sort_by(f64::total_cmp);
            (of_it[(of_it.len() - 1) / 2] + of_it[of_it.len() / 2]) / 2.0
        });
        super::remark(&format!("MEDIANS of {} rounds: {medians:?}", rounds.len()));
        if holds(medians) {
            break;
        }
    }
    medians
}

/// Whether a figure for what a thread loses is right: to a quarter of it, or two percentage points.
pub(crate) fn is_near(said: f64, truth: f64) -> bool {
    let off = (said - truth).abs();
    off <= 0.25 * truth || off <= 0.02
}

/// Asserts [`is_near`].
pub(crate) fn assert_near(what: &str, said: f64, truth: f64) {
    assert!(is_near(said, truth), "{what}: {said:.3} was said, {truth:.3} is true");
}
