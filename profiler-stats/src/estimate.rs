//! A figure together with what is known about its uncertainty.

/// A value and its confidence interval, in the unit that the field holding it names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Lower confidence limit, never above `value`.
    pub low: f64,
    /// Upper confidence limit, never below `value`; missing if the observation sets no upper limit.
    pub high: Option<f64>,
    /// True if `value` follows from counts alone, without sampling or a model. The interval then only says what a
    /// repetition of the same observation would show.
    pub exact: bool,
}
