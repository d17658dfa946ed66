//! The order of samples in an epoch. An order depends on the seed and the epoch alone, so a
//! resumed run meets the samples that it would have met.

use crate::{Error, Result, Rng};

/// Gives the indices of an epoch.
pub trait Sampler: Send {
    /// Number of samples to choose from.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The indices of an epoch, in order; the same epoch gives the same indices.
    fn indices(&mut self, epoch: usize) -> Vec<usize>;
    /// Number of indices in an epoch.
    fn epoch_len(&self) -> usize {
        self.len()
    }
    /// What it is called where a run that resumes compares its sampler with the saved one.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        path.rsplit("::").next().unwrap_or(path)
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        (**self).indices(epoch)
    }
    fn epoch_len(&self) -> usize {
        (**self).epoch_len()
    }
    fn name(&self) -> &'static str {
        (**self).name()
    }
}

/// The generator of an epoch.
fn epoch_rng(seed: u64, epoch: usize) -> Rng {
    // An odd multiplier spreads the epochs over the seeds.
    Rng::seed(seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn shuffled(mut order: Vec<usize>, seed: u64, epoch: usize) -> Vec<usize> {
    epoch_rng(seed, epoch).shuffle(&mut order);
    order
}

/// Every sample once, in an order that depends on the seed and the epoch.
#[derive(Clone, Debug)]
pub struct RandomSampler {
    n: usize,
    seed: u64,
}

impl RandomSampler {
    /// For `n` samples.
    pub fn new(n: usize, seed: u64) -> Self {
        RandomSampler { n, seed }
    }
}

impl Sampler for RandomSampler {
    fn len(&self) -> usize {
        self.n
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        shuffled((0..self.n).collect(), self.seed, epoch)
    }
}

/// Every sample once, in order.
#[derive(Clone, Debug)]
pub struct SequentialSampler {
    n: usize,
}

impl SequentialSampler {
    /// For `n` samples.
    pub fn new(n: usize) -> Self {
        SequentialSampler { n }
    }
}

impl Sampler for SequentialSampler {
    fn len(&self) -> usize {
        self.n
    }

    fn indices(&mut self, _epoch: usize) -> Vec<usize> {
        (0..self.n).collect()
    }
}

/// A pass over the data cut into several epochs: `splits` epochs in a row meet every sample once.
/// For sets so large that one would like to look at the model more than once a pass.
///
/// ```
/// use flodl::*;
/// let mut sampler = SplitSampler::new(10, 3, 2);
/// let mut seen = [sampler.indices(0), sampler.indices(1)].concat();
/// seen.sort();
/// assert_eq!(seen, (0..10).collect::<Vec<_>>());
/// ```
#[derive(Clone, Debug)]
pub struct SplitSampler {
    n: usize,
    seed: u64,
    splits: usize,
}

impl SplitSampler {
    /// For `n` samples; 0 splits are taken as 1.
    pub fn new(n: usize, seed: u64, splits: usize) -> Self {
        SplitSampler { n, seed, splits: splits.max(1) }
    }

    /// Number of epochs in a pass over the data.
    pub fn splits(&self) -> usize {
        self.splits
    }
}

impl Sampler for SplitSampler {
    fn len(&self) -> usize {
        self.n
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        let (pass, part) = (epoch / self.splits, epoch % self.splits);
        let order = shuffled((0..self.n).collect(), self.seed, pass);
        let at = |k: usize| (k as u128 * self.n as u128 / self.splits as u128) as usize;
        order[at(part)..at(part + 1)].to_vec()
    }

    /// The largest part's; parts differ by at most one sample.
    fn epoch_len(&self) -> usize {
        self.n.div_ceil(self.splits)
    }
}

/// The given samples once, in another order each epoch.
#[derive(Clone, Debug)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
    seed: u64,
}

impl SubsetRandomSampler {
    /// For these samples.
    pub fn new(indices: Vec<usize>, seed: u64) -> Self {
        SubsetRandomSampler { indices, seed }
    }
}

impl Sampler for SubsetRandomSampler {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        shuffled(self.indices.clone(), self.seed, epoch)
    }
}

/// Samples drawn in proportion to weights: rare classes as often as common ones.
///
/// ```
/// use flodl::*;
/// let mut sampler = WeightedRandomSampler::new(&[0.0, 1.0, 3.0], 1000, true, 5)?;
/// let counts = sampler.indices(0).iter().fold([0; 3], |mut c, &i| { c[i] += 1; c });
/// assert!(counts[0] == 0 && (700..800).contains(&counts[2]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    weights: Vec<f64>,
    samples: usize,
    replacement: bool,
    seed: u64,
}

impl WeightedRandomSampler {
    /// `samples` draws an epoch from `0..weights.len()`. Weights need not sum to 1.
    ///
    /// # Errors
    /// When a weight is negative or not finite, all are 0, or more samples are asked for without
    /// replacement than have a weight.
    pub fn new(weights: &[f64], samples: usize, replacement: bool, seed: u64) -> Result<Self> {
        let op = "WeightedRandomSampler";
        if let Some(w) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return Err(Error::invalid(op, format!("weight {w} must be finite and not negative")));
        }
        let possible = weights.iter().filter(|&&w| w > 0.0).count();
        if possible == 0 {
            return Err(Error::invalid(op, "at least one weight must be above 0"));
        }
        if !replacement && samples > possible {
            let what = format!("{samples} samples without replacement, of {possible} with weight");
            return Err(Error::invalid(op, what));
        }
        Ok(WeightedRandomSampler { weights: weights.to_vec(), samples, replacement, seed })
    }
}

impl Sampler for WeightedRandomSampler {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        let mut rng = epoch_rng(self.seed, epoch);
        if self.replacement {
            let mut total = 0.0;
            let sums: Vec<f64> = self
                .weights
                .iter()
                .map(|w| {
                    total += w;
                    total
                })
                .collect();
            // The largest index with a weight, should rounding lead past the end.
            let last = self.weights.iter().rposition(|&w| w > 0.0).unwrap_or(0);
            let draw = |_| sums.partition_point(|&s| s <= rng.f64() * total).min(last);
            return (0..self.samples).map(draw).collect();
        }
        // Efraimidis and Spirakis 2006: the largest u^(1/w) are a draw without replacement.
        let mut keys: Vec<(f64, usize)> = Vec::with_capacity(self.weights.len());
        for (i, &w) in self.weights.iter().enumerate() {
            let u = 1.0 - rng.f64();
            if w > 0.0 {
                keys.push((u.ln() / w, i));
            }
        }
        keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        keys.into_iter().take(self.samples).map(|(_, i)| i).collect()
    }

    fn epoch_len(&self) -> usize {
        self.samples
    }
}

/// Numbers of samples in parts: the fractions of `n`, the last part taking what rounding leaves.
fn parts(op: &'static str, n: usize, fractions: &[f64]) -> Result<Vec<usize>> {
    let sum: f64 = fractions.iter().sum();
    if fractions.is_empty() || fractions.iter().any(|f| f.is_nan() || *f < 0.0) {
        return Err(Error::invalid(op, format!("fractions {fractions:?} must not be negative")));
    }
    if (sum - 1.0).abs() > 1e-6 {
        return Err(Error::invalid(op, format!("fractions {fractions:?} sum to {sum}, not 1")));
    }
    let mut bounds = 0.0;
    let mut start = 0;
    Ok(fractions
        .iter()
        .enumerate()
        .map(|(i, f)| {
            bounds += f;
            let last = i + 1 == fractions.len();
            let end = if last { n } else { ((bounds * n as f64).round() as usize).clamp(start, n) };
            let size = end - start;
            start = end;
            size
        })
        .collect())
}

/// The indices `0..n` in random order, cut into parts by fractions that sum to 1.
///
/// # Errors
/// When the fractions do not sum to 1.
///
/// ```
/// let parts = flodl::random_split(10, &[0.8, 0.2], 42)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), flodl::Error>(())
/// ```
pub fn random_split(n: usize, fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let sizes = parts("random_split", n, fractions)?;
    let mut order = shuffled((0..n).collect(), seed, 0).into_iter();
    Ok(sizes.into_iter().map(|size| order.by_ref().take(size).collect()).collect())
}

/// [`random_split`] in which every class has its share of every part.
///
/// # Errors
/// When the fractions do not sum to 1.
pub fn stratified_split(labels: &[i64], fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>> {
    let op = "stratified_split";
    parts(op, 0, fractions)?;
    let mut classes = std::collections::BTreeMap::<i64, Vec<usize>>::new();
    for i in shuffled((0..labels.len()).collect(), seed, 0) {
        classes.entry(labels[i]).or_default().push(i);
    }
    let mut out = vec![Vec::new(); fractions.len()];
    for members in classes.into_values() {
        let sizes = parts(op, members.len(), fractions)?;
        let mut members = members.into_iter();
        for (part, size) in out.iter_mut().zip(sizes) {
            part.extend(members.by_ref().take(size));
        }
    }
    // Classes side by side would make batches of one class each.
    Ok(out.into_iter().map(|part| shuffled(part, seed, 1)).collect())
}
