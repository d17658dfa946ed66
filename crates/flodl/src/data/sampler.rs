//! The order of samples in an epoch.

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
}

/// The generator of an epoch.
fn epoch_rng(seed: u64, epoch: usize) -> Rng {
    // An odd multiplier spreads the epochs over the seeds.
    Rng::seed(seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
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
        let mut order: Vec<usize> = (0..self.n).collect();
        epoch_rng(self.seed, epoch).shuffle(&mut order);
        order
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

/// One random pass over all samples in several epochs: each epoch is one part of it, so that a large
/// set is tested and saved more often than once a pass.
#[derive(Clone, Debug)]
pub struct SplitSampler {
    whole: RandomSampler,
    splits: usize,
}

impl SplitSampler {
    /// For `n` samples in `splits` parts (0 counts as 1), whose sizes differ by one at most.
    pub fn new(n: usize, seed: u64, splits: usize) -> Self {
        SplitSampler { whole: RandomSampler::new(n, seed), splits: splits.max(1) }
    }

    /// Number of epochs in a pass.
    pub fn splits(&self) -> usize {
        self.splits
    }
}

impl Sampler for SplitSampler {
    fn len(&self) -> usize {
        self.whole.n
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        let (pass, part) = (epoch / self.splits, epoch % self.splits);
        let order = self.whole.indices(pass);
        let start =
            |part: usize| (order.len() as u128 * part as u128 / self.splits as u128) as usize;
        order[start(part)..start(part + 1)].to_vec()
    }

    /// The size of the largest part.
    fn epoch_len(&self) -> usize {
        self.whole.n.div_ceil(self.splits)
    }
}

/// Samples as often as their weights say: rare classes can be drawn as often as common ones.
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    weights: Vec<f64>,
    samples: usize,
    replacement: bool,
    seed: u64,
}

impl WeightedSampler {
    /// Draws `samples` indices in an epoch, in proportion to `weights`, which need not sum to one.
    ///
    /// # Errors
    /// When a weight is negative or not finite, or too few are above 0.
    ///
    /// ```
    /// use flodl::*;
    /// let mut sampler = WeightedSampler::new(&[1.0, 0.0, 3.0], 1000, true, 7)?;
    /// let drawn = sampler.indices(0);
    /// assert!(!drawn.contains(&1));
    /// let third = drawn.iter().filter(|&&i| i == 2).count();
    /// assert!((700..800).contains(&third));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(weights: &[f64], samples: usize, replacement: bool, seed: u64) -> Result<Self> {
        let bad = |what: String| Err(Error::invalid("WeightedSampler", what));
        if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            return bad(format!("weight {} of sample {i} is not a finite number >= 0", weights[i]));
        }
        let drawable = weights.iter().filter(|w| **w > 0.0).count();
        let wanted = if replacement { samples.min(1) } else { samples };
        if drawable < wanted {
            return bad(format!("{wanted} samples wanted, {drawable} have a weight above 0"));
        }
        Ok(WeightedSampler { weights: weights.to_vec(), samples, replacement, seed })
    }
}

impl Sampler for WeightedSampler {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        let mut rng = epoch_rng(self.seed, epoch);
        if self.replacement {
            let mut total = 0.0;
            let mut edges = Vec::with_capacity(self.weights.len());
            for w in &self.weights {
                total += w;
                edges.push(total);
            }
            // Rounding may carry a draw to the very end, past samples of weight 0.
            let last = self.weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
            let draw = |_| {
                let at = rng.f64() * total;
                edges.partition_point(|&edge| edge <= at).min(last)
            };
            return (0..self.samples).map(draw).collect();
        }
        // Efraimidis and Spirakis (2006): the largest u^(1/w) are a weighted draw without return.
        let weights = self.weights.iter().enumerate().filter(|w| *w.1 > 0.0);
        let mut keys: Vec<(f64, usize)> =
            weights.map(|(i, w)| ((1.0 - rng.f64()).ln() / w, i)).collect();
        keys.sort_by(|a, b| b.0.total_cmp(&a.0));
        keys.into_iter().take(self.samples).map(|k| k.1).collect()
    }

    fn epoch_len(&self) -> usize {
        self.samples
    }
}

/// Some samples of a set, in the given order or shuffled.
#[derive(Clone, Debug)]
pub struct SubsetSampler {
    indices: Vec<usize>,
    seed: Option<u64>,
}

impl SubsetSampler {
    /// These samples, in this order.
    pub fn new(indices: Vec<usize>) -> Self {
        SubsetSampler { indices, seed: None }
    }

    /// Another order in each epoch.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl Sampler for SubsetSampler {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn indices(&mut self, epoch: usize) -> Vec<usize> {
        let mut order = self.indices.clone();
        if let Some(seed) = self.seed {
            epoch_rng(seed, epoch).shuffle(&mut order);
        }
        order
    }
}
