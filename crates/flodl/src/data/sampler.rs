//! The order of samples in an epoch.

use crate::Rng;

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
        // An odd multiplier spreads the epochs over the seeds.
        let seed = self.seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Rng::seed(seed).shuffle(&mut order);
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
