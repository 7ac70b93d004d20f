//! Confidence limits of counts: how far may the truth be from what was counted?
//!
//! Items that matter are often few, so the limits come from the Poisson and binomial distributions themselves
//! and not from the normal curve. All limits are one-sided: each is wrong with probability `tail` at most, and two
//! of them with `tail` each make a two-sided interval of confidence `1 - 2 tail`.

use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc_inv;
use statrs::function::gamma::{gamma_lr, gamma_ur, ln_gamma};

/// One minus the confidence of every interval that is not stated otherwise.
pub(super) const ALPHA: f64 = 0.05;

/// Above this count the closed approximation of Wilson and Hilferty is used: there it is right to six digits.
const LARGE: f64 = 1_000.0;

/// The value that a standard normal variable exceeds with probability `tail`.
pub(super) fn normal(tail: f64) -> f64 {
    std::f64::consts::SQRT_2 * erfc_inv(2.0 * tail)
}

/// Garwood's upper limit of the mean of a Poisson variable that came out as `count`: half the chi-square quantile
/// with `2 count + 2` degrees of freedom. Fractional counts interpolate.
pub(super) fn poisson_upper(count: f64, tail: f64) -> f64 {
    if count <= 0.0 {
        return -tail.ln();
    }
    let shape = count + 1.0;
    let start = wilson_hilferty(shape, normal(tail));
    if count > LARGE {
        return start;
    }
    // The chance to see at most `count` falls with the mean; the mean where it is `tail` is the limit.
    solve(start, |mean| tail - gamma_ur(shape, mean), |mean| gamma_density(shape, mean))
}

/// Garwood's lower limit of the mean of a Poisson variable that came out as `count`: half the chi-square quantile
/// with `2 count` degrees of freedom.
pub(super) fn poisson_lower(count: f64, tail: f64) -> f64 {
    if count <= 0.0 {
        return 0.0;
    }
    let start = wilson_hilferty(count, -normal(tail));
    if count > LARGE {
        return start;
    }
    solve(start, |mean| gamma_lr(count, mean) - tail, |mean| gamma_density(count, mean))
}

/// Upper Clopper-Pearson limit of a share of which `hits` of `trials` were seen. Fractional counts interpolate.
pub(super) fn share_upper(hits: f64, trials: f64, tail: f64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    if hits <= 0.0 {
        return 1.0 - tail.powf(1.0 / trials);
    }
    bisect(|share| 1.0 - beta_reg(hits + 1.0, trials - hits, share) <= tail)
}

/// Lower Clopper-Pearson limit of a share of which `hits` of `trials` were seen.
pub(super) fn share_lower(hits: f64, trials: f64, tail: f64) -> f64 {
    1.0 - share_upper(trials - hits, trials, tail)
}

/// The chance to see at least `hits` in `trials` if the true share is `share`.
pub(super) fn at_least(hits: u64, trials: u64, share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    if hits == 0 {
        return 1.0;
    }
    if hits > trials {
        return 0.0;
    }
    let (k, n) = (hits as f64, trials as f64);
    if n > LARGE && share > 0.0 && share < 1.0 {
        let sd = (n * share * (1.0 - share)).sqrt();
        return statrs::function::erf::erfc((k - 0.5 - n * share) / (sd * std::f64::consts::SQRT_2)) / 2.0;
    }
    beta_reg(k, n - k + 1.0, share)
}

/// Approximate quantile of a gamma variable: its cube root is nearly normal (Wilson and Hilferty 1931).
fn wilson_hilferty(shape: f64, z: f64) -> f64 {
    let root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt());
    shape * root.max(0.01).powi(3)
}

fn gamma_density(shape: f64, x: f64) -> f64 {
    ((shape - 1.0) * x.ln() - x - ln_gamma(shape)).exp()
}

/// The positive root of a rising function, by Newton's method kept inside a shrinking bracket.
fn solve(start: f64, f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high, mut x) = (0.0, f64::INFINITY, start);
    for _ in 0..60 {
        let y = f(x);
        if y < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x - y / slope(x);
        let next = if newton > low && newton < high {
            newton
        } else if high.is_finite() {
            (low + high) / 2.0
        } else {
            2.0 * x
        };
        let done = (next - x).abs() <= 1e-12 * x;
        x = next;
        if done {
            break;
        }
    }
    x
}

/// The smallest share in 0..=1 from which `beyond` holds, to 50 bits.
fn bisect(beyond: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if beyond(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "got {got}, want {want}");
    }

    #[test]
    fn poisson_limits_equal_garwoods_table() {
        let table = [
            (0.0, 0.0, 3.689),
            (1.0, 0.0253, 5.572),
            (2.0, 0.2422, 7.225),
            (3.0, 0.6187, 8.767),
            (4.0, 1.0899, 10.242),
            (5.0, 1.6235, 11.668),
            (10.0, 4.7954, 18.390),
            (20.0, 12.2165, 30.888),
            (50.0, 37.1110, 65.919),
            (100.0, 81.3640, 121.627),
        ];
        for (count, low, high) in table {
            close(poisson_lower(count, 0.025), low, 5.1e-4);
            close(poisson_upper(count, 0.025), high, 5.1e-4);
        }
    }

    #[test]
    fn nothing_seen_obeys_the_rule_of_three() {
        close(poisson_upper(0.0, 0.05), 2.9957, 1e-4);
    }

    #[test]
    fn chi_square_quantiles_equal_the_tables() {
        // Half of chi2(2n) at its 0.05, 0.01 and 0.001 points.
        close(2.0 * poisson_lower(5.0, 0.05), 3.940, 1e-3);
        close(2.0 * poisson_lower(10.0, 0.01), 8.260, 1e-3);
        close(2.0 * poisson_upper(4.0, 0.05), 18.307, 1e-3);
        close(2.0 * poisson_upper(9.0, 0.01), 37.566, 1e-3);
        close(2.0 * poisson_upper(14.0, 0.001), 59.703, 1e-3);
    }

    #[test]
    fn limits_are_inverses_of_the_distribution_and_join_the_approximation() {
        for tail in [0.05, 0.025, 0.0125, 0.001] {
            for count in [1.0, 2.0, 7.0, 33.0, 250.0, 999.0] {
                let (low, high) = (poisson_lower(count, tail), poisson_upper(count, tail));
                close(gamma_ur(count + 1.0, high), tail, 1e-9);
                close(gamma_lr(count, low), tail, 1e-9);
            }
            let step = poisson_upper(1_001.0, tail) - poisson_upper(1_000.0, tail);
            assert!((0.9..1.2).contains(&step), "{step}");
            let step = poisson_lower(1_001.0, tail) - poisson_lower(1_000.0, tail);
            assert!((0.8..1.1).contains(&step), "{step}");
        }
        assert!(poisson_upper(1e9, 0.025).is_finite());
    }

    #[test]
    fn share_limits_equal_clopper_and_pearsons() {
        for (hits, low, high) in
            [(0.0, 0.0, 0.3085), (1.0, 0.0025, 0.4450), (5.0, 0.1871, 0.8129), (10.0, 0.6915, 1.0)]
        {
            close(share_lower(hits, 10.0, 0.025), low, 5.1e-5);
            close(share_upper(hits, 10.0, 0.025), high, 5.1e-5);
        }
    }

    #[test]
    fn binomial_tail() {
        close(at_least(8, 10, 0.5), 56.0 / 1024.0, 1e-12);
        close(at_least(0, 10, 0.5), 1.0, 0.0);
        close(at_least(11, 10, 0.5), 0.0, 0.0);
        close(at_least(3, 10, 0.0), 0.0, 0.0);
        close(at_least(10, 10, 1.0 + 1e-16), 1.0, 0.0);
        close(at_least(5_000, 5_000, 1.0), 1.0, 0.0);
        close(at_least(520, 1_000, 0.5), at_least(521, 1_002, 0.5), 3e-3);
    }

    #[test]
    fn normal_quantile() {
        close(normal(0.025), 1.959964, 1e-6);
    }
}
