//! Augmentation: what is done to a batch on its way out of the data set.

use std::fmt;
use std::sync::Arc;

use crate::{Result, Rng, Tensor};

/// Where a sample stands: in which epoch, at which place, which index. Random numbers that come
/// from it are the same whatever the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PickKey {
    /// Seed of the loader.
    pub seed: u64,
    /// The epoch.
    pub epoch: usize,
    /// Place in the epoch.
    pub position: usize,
    /// Index in the data set.
    pub index: usize,
}

impl PickKey {
    /// A generator for this sample in this epoch.
    pub fn rng(&self) -> Rng {
        let words = [self.seed, self.epoch as u64, self.position as u64, self.index as u64];
        Rng::seed(words.into_iter().fold(0x6a09_e667_f3bc_c909, mix))
    }
}

/// The finaliser of splitmix64 over both words: near keys give far seeds.
pub(super) fn mix(state: u64, word: u64) -> u64 {
    let mut x = state.rotate_left(23) ^ word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

type Function = dyn Fn(Vec<Tensor>, &[PickKey]) -> Result<Vec<Tensor>> + Send + Sync;

/// A function on the tensors of a batch, with a key for each of its samples.
///
/// ```
/// use flodl::*;
/// // Half of the images are mirrored.
/// let mirror = TransformFn::new(|mut tensors, keys| {
///     let images = tensors[0].clone();
///     let pick = |key: &PickKey| f64::from(u8::from(key.rng().bernoulli(0.5)));
///     let mask: Vec<f64> = keys.iter().map(pick).collect();
///     let mask = Tensor::from_f64(&mask, &[keys.len() as i64, 1, 1, 1], Device::CPU)?;
///     tensors[0] = Tensor::where_cond(&mask.gt_scalar(0.5)?, &images.flip(&[3])?, &images)?;
///     Ok(tensors)
/// });
/// let images = Tensor::rand(&[8, 1, 4, 4], TensorOptions::default())?;
/// let mut loader = DataLoader::new(TensorDataset::new(vec![images])?, 4).transform(mirror);
/// for batch in loader.epoch(0)? {
///     assert_eq!(batch?.get(0).shape(), [4, 1, 4, 4]);
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct TransformFn(Arc<Function>);

impl TransformFn {
    /// From a function; it may run in several threads at once.
    pub fn new(
        f: impl Fn(Vec<Tensor>, &[PickKey]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        TransformFn(Arc::new(f))
    }

    pub(super) fn apply(&self, tensors: Vec<Tensor>, keys: &[PickKey]) -> Result<Vec<Tensor>> {
        (self.0)(tensors, keys)
    }
}

impl fmt::Debug for TransformFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransformFn")
    }
}
