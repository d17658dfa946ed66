//! Histories of values, one per epoch, and what can be said of their last few.

/// The history of one observed value.
///
/// Every question about the last `window` values takes 0 as "all of them", and answers false when
/// there are fewer than `window` values, fewer than two, or a NaN among them: too little to go by is
/// never a reason to stop a training. A smaller value is taken as the better one, as for a loss.
///
/// ```
/// use flodl::Trend;
/// let loss = Trend::new(vec![4.0, 2.0, 1.0, 1.0, 1.0]);
/// assert!(loss.improving(5) && !loss.stalled(5, 1e-3));
/// assert!(loss.stalled(3, 1e-3) && loss.converged(3, 1e-3));
/// assert!(!Trend::new(vec![]).stalled(3, 1e-3));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trend {
    values: Vec<f64>,
}

impl Trend {
    /// A history, oldest first.
    pub fn new(values: Vec<f64>) -> Self {
        Trend { values }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, oldest first.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The last `n` values; all when there are fewer.
    pub fn last(&self, n: usize) -> &[f64] {
        &self.values[self.len().saturating_sub(n)..]
    }

    /// The newest value; NaN when there is none.
    pub fn latest(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    /// The mean of all values; NaN when there is none.
    pub fn mean(&self) -> f64 {
        mean(&self.values)
    }

    /// The smallest value; NaN when there is none.
    pub fn min(&self) -> f64 {
        self.values.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest value; NaN when there is none.
    pub fn max(&self) -> f64 {
        self.values.iter().copied().fold(f64::NAN, f64::max)
    }

    /// Change per epoch over the last `window` values, by least squares; of those that there are
    /// when they are fewer. NaN for fewer than two.
    pub fn slope(&self, window: usize) -> f64 {
        let values = if window == 0 { &self.values[..] } else { self.last(window) };
        slope(values)
    }

    /// The last `window` values when there are enough of them for a verdict.
    fn window(&self, window: usize) -> Option<&[f64]> {
        let n = if window == 0 { self.len() } else { window };
        (n >= 2 && self.len() >= n).then(|| self.last(n))
    }

    /// Whether the last `window` values neither rise nor fall: a slope of less than `tol` either
    /// way.
    pub fn stalled(&self, window: usize, tol: f64) -> bool {
        self.window(window).is_some_and(|v| slope(v).abs() < tol)
    }

    /// Whether the last `window` values fall.
    pub fn improving(&self, window: usize) -> bool {
        self.window(window).is_some_and(|v| slope(v) < 0.0)
    }

    /// Whether the last `window` values agree: their variance is less than `tol`.
    pub fn converged(&self, window: usize, tol: f64) -> bool {
        self.window(window).is_some_and(|v| {
            let m = mean(v);
            v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (v.len() as f64) < tol
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn slope(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let (mx, my) = ((values.len() - 1) as f64 / 2.0, mean(values));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (i, y) in values.iter().enumerate() {
        let dx = i as f64 - mx;
        xy += dx * (y - my);
        xx += dx * dx;
    }
    xy / xx
}

/// Several histories, asked together. Questions about an empty group are false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrendGroup(pub Vec<Trend>);

impl TrendGroup {
    /// Number of histories.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no histories.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The histories.
    pub fn trends(&self) -> &[Trend] {
        &self.0
    }

    fn all(&self, f: impl Fn(&Trend) -> bool) -> bool {
        !self.is_empty() && self.0.iter().all(f)
    }

    /// Whether each is [`Trend::improving`].
    pub fn all_improving(&self, window: usize) -> bool {
        self.all(|t| t.improving(window))
    }

    /// Whether one is [`Trend::improving`].
    pub fn any_improving(&self, window: usize) -> bool {
        self.0.iter().any(|t| t.improving(window))
    }

    /// Whether each is [`Trend::stalled`].
    pub fn all_stalled(&self, window: usize, tol: f64) -> bool {
        self.all(|t| t.stalled(window, tol))
    }

    /// Whether one is [`Trend::stalled`].
    pub fn any_stalled(&self, window: usize, tol: f64) -> bool {
        self.0.iter().any(|t| t.stalled(window, tol))
    }

    /// Whether each is [`Trend::converged`].
    pub fn all_converged(&self, window: usize, tol: f64) -> bool {
        self.all(|t| t.converged(window, tol))
    }

    /// Whether one is [`Trend::converged`].
    pub fn any_converged(&self, window: usize, tol: f64) -> bool {
        self.0.iter().any(|t| t.converged(window, tol))
    }

    /// The mean of the slopes; NaN when there is none, or when one is NaN.
    pub fn mean_slope(&self, window: usize) -> f64 {
        mean(&self.slopes(window))
    }

    /// The slope of each.
    pub fn slopes(&self, window: usize) -> Vec<f64> {
        self.0.iter().map(|t| t.slope(window)).collect()
    }
}
