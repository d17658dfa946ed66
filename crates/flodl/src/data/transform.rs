//! Changes to samples on their way into a batch. A random change depends on the seed, the epoch and
//! the sample's place in it, never on which thread makes it.

use std::fmt;
use std::sync::Arc;

use crate::{DType, Device, Error, Result, Rng, Tensor};

/// Which pick of an epoch a sample is: the seed of all that is random about it.
///
/// ```
/// use flodl::*;
/// let key = PickKey::new(1, 0, 5, 17);
/// assert_eq!(key.rng().usize(1000), PickKey::new(1, 0, 5, 17).rng().usize(1000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PickKey {
    seed: u64,
    epoch: usize,
    position: usize,
    index: usize,
}

impl PickKey {
    /// The pick at `position` of an epoch, which is sample `index`.
    pub fn new(seed: u64, epoch: usize, position: usize, index: usize) -> Self {
        PickKey { seed, epoch, position, index }
    }

    /// The epoch.
    pub fn epoch(&self) -> usize {
        self.epoch
    }

    /// The place in the epoch's order.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The sample's index in the data set.
    pub fn index(&self) -> usize {
        self.index
    }

    /// A generator of this pick's own.
    pub fn rng(&self) -> Rng {
        Rng::seed(self.stream())
    }

    pub(super) fn stream(&self) -> u64 {
        let numbers = [self.epoch as u64, self.position as u64, self.index as u64];
        numbers.iter().fold(self.seed, |h, &n| {
            // The finaliser of splitmix64: neighbours end far apart.
            let mut z = (h ^ n).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }
}

type BatchFn = dyn Fn(Vec<Tensor>, &[PickKey]) -> Result<Vec<Tensor>> + Send + Sync;

/// The name keeps a clone cheap and the type nameable.
struct TransformInner {
    f: Box<BatchFn>,
}

/// A function on the tensors of a batch, with the key of each of its samples.
///
/// ```
/// use flodl::*;
/// let noisy = TransformFn::new(|mut tensors, keys| {
///     let noise: Vec<f32> = keys.iter().map(|k| k.rng().normal(0.0, 0.1) as f32).collect();
///     let noise = Tensor::from_f32(&noise, &[keys.len() as i64, 1], Device::CPU)?;
///     tensors[0] = tensors[0].add(&noise)?;
///     Ok(tensors)
/// });
/// let x = Tensor::zeros(&[8, 3], TensorOptions::default())?;
/// let mut loader = DataLoader::new(TensorDataset::new(vec![x])?, 4).shuffle(1).transform(noisy);
/// assert!(loader.epoch(0)?.next().unwrap()?.get(0).abs()?.max()?.item()? > 0.0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct TransformFn(Arc<TransformInner>);

impl fmt::Debug for TransformFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransformFn")
    }
}

impl TransformFn {
    /// From a function.
    pub fn new(
        f: impl Fn(Vec<Tensor>, &[PickKey]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Self {
        TransformFn(Arc::new(TransformInner { f: Box::new(f) }))
    }

    /// A [`Transform`] of each sample of the first tensor.
    pub fn each(transform: impl Transform + 'static) -> Self {
        Self::new(move |mut tensors, keys| {
            let Some(first) = tensors.first_mut() else { return Ok(tensors) };
            let samples = first.unbind(0)?;
            if samples.len() != keys.len() {
                let what = format!("{} samples with {} keys", samples.len(), keys.len());
                return Err(Error::invalid("TransformFn", what));
            }
            let changed = samples
                .into_iter()
                .zip(keys)
                .map(|(t, k)| transform.apply(t, &mut k.rng()))
                .collect::<Result<Vec<_>>>()?;
            if !changed.is_empty() {
                *first = Tensor::stack(&changed.iter().collect::<Vec<_>>(), 0)?;
            }
            Ok(tensors)
        })
    }

    /// Changes a batch.
    ///
    /// # Errors
    /// What the function says.
    pub fn apply(&self, tensors: Vec<Tensor>, keys: &[PickKey]) -> Result<Vec<Tensor>> {
        (self.0.f)(tensors, keys)
    }
}

/// A change to one sample; images are `[channels, height, width]`.
pub trait Transform: Send + Sync {
    /// The sample, changed.
    ///
    /// # Errors
    /// When the transform does not fit the sample.
    fn apply(&self, sample: Tensor, rng: &mut Rng) -> Result<Tensor>;
}

impl<F: Fn(Tensor, &mut Rng) -> Result<Tensor> + Send + Sync> Transform for F {
    fn apply(&self, sample: Tensor, rng: &mut Rng) -> Result<Tensor> {
        self(sample, rng)
    }
}

/// Transforms one after the other.
///
/// ```
/// use flodl::*;
/// let train = Compose::new()
///     .then(ToTensor)
///     .then(RandomCrop::new(28).padding(2))
///     .then(RandomHorizontalFlip::new(0.5)?)
///     .then(Normalize::new(&[0.1307], &[0.3081])?);
/// let image = Tensor::zeros(&[1, 28, 28], TensorOptions { dtype: DType::UInt8, ..Default::default() })?;
/// assert_eq!(train.apply(image, &mut Rng::seed(1))?.shape(), [1, 28, 28]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Default)]
pub struct Compose(Vec<Box<dyn Transform>>);

impl Compose {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a transform behind the others.
    pub fn then(mut self, transform: impl Transform + 'static) -> Self {
        self.0.push(Box::new(transform));
        self
    }
}

impl Transform for Compose {
    fn apply(&self, sample: Tensor, rng: &mut Rng) -> Result<Tensor> {
        self.0.iter().try_fold(sample, |s, t| t.apply(s, rng))
    }
}

/// Height and width of an image `[channels, height, width]`.
pub(super) fn size(op: &'static str, image: &Tensor) -> Result<(i64, i64)> {
    match image.shape()[..] {
        [_, h, w] => Ok((h, w)),
        _ => Err(Error::Shape {
            op,
            expected: "an image [channels, height, width]".into(),
            got: image.shape(),
        }),
    }
}

/// The part of an image whose top left corner is at `(y, x)`.
fn crop(image: &Tensor, y: i64, x: i64, (h, w): (i64, i64)) -> Result<Tensor> {
    image.narrow(1, y, h)?.narrow(2, x, w)
}

/// A size given as one number for a square, or as `[height, width]`.
pub trait IntoSize {
    /// Height and width.
    fn into_size(self) -> (i64, i64);
}

impl IntoSize for i64 {
    fn into_size(self) -> (i64, i64) {
        (self, self)
    }
}

impl IntoSize for [i64; 2] {
    fn into_size(self) -> (i64, i64) {
        (self[0], self[1])
    }
}

/// Bytes from 0 to 255 as float32 from 0 to 1; floats stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToTensor;

impl Transform for ToTensor {
    fn apply(&self, sample: Tensor, _rng: &mut Rng) -> Result<Tensor> {
        match sample.dtype() {
            DType::UInt8 => sample.to_dtype(DType::Float32)?.div_scalar(255.0),
            dtype if dtype.is_float() => Ok(sample),
            got => Err(Error::DType { op: "ToTensor", expected: "uint8 or a float".into(), got }),
        }
    }
}

/// The middle of an image.
#[derive(Clone, Copy, Debug)]
pub struct CenterCrop((i64, i64));

impl CenterCrop {
    /// Of this size.
    pub fn new(size: impl IntoSize) -> Self {
        CenterCrop(size.into_size())
    }
}

/// That a part of this size fits an image.
fn check_crop(op: &'static str, part: (i64, i64), whole: (i64, i64), t: &Tensor) -> Result<()> {
    if (0..=whole.0).contains(&part.0) && (0..=whole.1).contains(&part.1) {
        return Ok(());
    }
    let expected = format!("an image of at least {} by {}", part.0, part.1);
    Err(Error::Shape { op, expected, got: t.shape() })
}

impl Transform for CenterCrop {
    fn apply(&self, sample: Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let whole = size("CenterCrop", &sample)?;
        check_crop("CenterCrop", self.0, whole, &sample)?;
        // torchvision rounds halves to even.
        let at = |n: i64| ((n as f64) / 2.0).round_ties_even() as i64;
        crop(&sample, at(whole.0 - self.0.0), at(whole.1 - self.0.1), self.0)
    }
}

/// A random part of an image, which may be padded with zeros first.
#[derive(Clone, Copy, Debug)]
pub struct RandomCrop {
    size: (i64, i64),
    padding: i64,
}

impl RandomCrop {
    /// Of this size.
    pub fn new(size: impl IntoSize) -> Self {
        RandomCrop { size: size.into_size(), padding: 0 }
    }

    /// Zeros on every side before the crop.
    pub fn padding(mut self, padding: i64) -> Self {
        self.padding = padding;
        self
    }
}

impl Transform for RandomCrop {
    fn apply(&self, sample: Tensor, rng: &mut Rng) -> Result<Tensor> {
        let (h, w) = size("RandomCrop", &sample)?;
        if self.padding < 0 {
            let what = format!("padding {} must not be negative", self.padding);
            return Err(Error::invalid("RandomCrop", what));
        }
        let p = self.padding;
        let whole = (h + 2 * p, w + 2 * p);
        check_crop("RandomCrop", self.size, whole, &sample)?;
        let y = rng.range(0, whole.0 - self.size.0 + 1);
        let x = rng.range(0, whole.1 - self.size.1 + 1);
        let padded = if p > 0 { sample.pad(&[p, p, p, p], 0.0)? } else { sample };
        crop(&padded, y, x, self.size)
    }
}

/// Swaps left and right with a probability.
#[derive(Clone, Copy, Debug)]
pub struct RandomHorizontalFlip(f64);

impl RandomHorizontalFlip {
    /// With probability `p`.
    ///
    /// # Errors
    /// When `p` is outside 0 to 1.
    pub fn new(p: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            let what = format!("p {p} must be from 0 to 1");
            return Err(Error::invalid("RandomHorizontalFlip", what));
        }
        Ok(RandomHorizontalFlip(p))
    }
}

impl Transform for RandomHorizontalFlip {
    fn apply(&self, sample: Tensor, rng: &mut Rng) -> Result<Tensor> {
        size("RandomHorizontalFlip", &sample)?;
        if rng.bernoulli(self.0) { sample.flip(&[2]) } else { Ok(sample) }
    }
}

/// Takes each channel's mean off and divides by its deviation.
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Tensor,
    std: Tensor,
}

impl Normalize {
    /// One mean and one deviation a channel.
    ///
    /// # Errors
    /// When their numbers differ or a deviation is 0.
    pub fn new(mean: &[f32], std: &[f32]) -> Result<Self> {
        if mean.len() != std.len() || mean.is_empty() {
            let what = format!("{} means and {} deviations", mean.len(), std.len());
            return Err(Error::invalid("Normalize", what));
        }
        if std.contains(&0.0) {
            return Err(Error::invalid("Normalize", "a deviation of 0 would divide by zero"));
        }
        let column = |v: &[f32]| Tensor::from_f32(v, &[v.len() as i64, 1, 1], Device::CPU);
        Ok(Normalize { mean: column(mean)?, std: column(std)? })
    }
}

impl Transform for Normalize {
    fn apply(&self, sample: Tensor, _rng: &mut Rng) -> Result<Tensor> {
        size("Normalize", &sample)?;
        if sample.shape()[0] != self.mean.shape()[0] {
            let expected = format!("{} channels", self.mean.shape()[0]);
            return Err(Error::Shape { op: "Normalize", expected, got: sample.shape() });
        }
        let like = |t: &Tensor| t.to_dtype(sample.dtype())?.to_device(sample.device());
        sample.sub(&like(&self.mean)?)?.div(&like(&self.std)?)
    }
}
