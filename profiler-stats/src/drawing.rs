//! Drawing items by their size: a larger one is drawn with a greater chance, and stands for fewer.

/// How many items of this size a drawn one stands for: one over the probability that it is drawn (Horvitz and Thompson 1952).
/// `mean_bytes` is the mean gap between drawn bytes.
pub fn stands_for(size_bytes: f64, mean_bytes: f64) -> f64 {
    1.0 / -(-size_bytes.max(1.0) / mean_bytes).exp_m1()
}
