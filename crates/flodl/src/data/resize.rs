//! Images of another size.

use super::transform::{IntoSize, Transform, size};
use crate::{Error, Result, Rng, Tensor};

#[derive(Clone, Copy, Debug)]
enum Target {
    Size((i64, i64)),
    Shorter(i64),
}

/// Resizes images of floats `[C, H, W]` by bilinear interpolation; torchvision's `Resize`. A smaller
/// image is made of means, not of samples (antialiasing), unless that is turned off.
///
/// ```
/// use flodl::*;
/// let image = Tensor::rand(&[3, 48, 64], TensorOptions::default())?;
/// let rng = &mut Rng::seed(0);
/// assert_eq!(Resize::new([8, 9]).apply(image.clone(), rng)?.shape(), [3, 8, 9]);
/// assert_eq!(Resize::shorter(24).apply(image, rng)?.shape(), [3, 24, 32]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    target: Target,
    antialias: bool,
}

impl Resize {
    /// To this size.
    pub fn new(size: impl IntoSize) -> Self {
        Resize { target: Target::Size(size.into_size()), antialias: true }
    }

    /// The shorter side to this length, the other in proportion: what torchvision does with a single
    /// number.
    pub fn shorter(length: i64) -> Self {
        Resize { target: Target::Shorter(length), antialias: true }
    }

    /// Whether a smaller image is made of means; on unless set.
    pub fn antialias(mut self, antialias: bool) -> Self {
        self.antialias = antialias;
        self
    }
}

impl Transform for Resize {
    fn apply(&self, sample: Tensor, _rng: &mut Rng) -> Result<Tensor> {
        let (h, w) = size("Resize", &sample)?;
        let to = match self.target {
            Target::Size(size) => size,
            Target::Shorter(n) if h < 1 || w < 1 => (n, n),
            Target::Shorter(n) if w <= h => ((n as f64 * h as f64 / w as f64) as i64, n),
            Target::Shorter(n) => (n, (n as f64 * w as f64 / h as f64) as i64),
        };
        if to == (h, w) {
            return Ok(sample);
        }
        if !self.antialias || to.0 < 1 || to.1 < 1 {
            return sample.unsqueeze(0)?.interpolate(&[to.0, to.1], 1, false)?.squeeze(0);
        }
        if h < 1 || w < 1 {
            let expected = "an image that is not empty".into();
            return Err(Error::Shape { op: "Resize", expected, got: sample.shape() });
        }
        let weights = |from, to| Tensor::from_f64(&shares(from, to), &[to, from], sample.device());
        let (rows, columns) = (weights(h, to.0)?, weights(w, to.1)?);
        let dtype = sample.dtype();
        let across = sample.matmul(&columns.to_dtype(dtype)?.t()?)?;
        rows.to_dtype(dtype)?.matmul(&across)
    }
}

/// How much of each old place is in each new one, `[to, from]`: a triangle as wide as the image
/// shrinks, PyTorch's.
fn shares(from: i64, to: i64) -> Vec<f64> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let mut all = Vec::with_capacity((from * to) as usize);
    for i in 0..to {
        let centre = scale * (i as f64 + 0.5);
        let first = ((centre - reach + 0.5) as i64).max(0);
        let end = ((centre + reach + 0.5) as i64).min(from);
        let share = |j: i64| match (first..end).contains(&j) {
            true => (1.0 - ((j as f64 - centre + 0.5) / reach).abs()).max(0.0),
            false => 0.0,
        };
        let sum: f64 = (first..end).map(share).sum();
        all.extend((0..from).map(|j| share(j) / sum));
    }
    all
}
