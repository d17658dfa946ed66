//! Random tensors, governed by [`crate::manual_seed`].

use super::Tensor;
use crate::rng;
use crate::shape;
use crate::{DType, Error, Result, TensorOptions};

impl Tensor {
    /// Uniform numbers in `[0, 1)`.
    ///
    /// # Errors
    /// For integer dtypes.
    pub fn rand(shape: &[i64], opts: TensorOptions) -> Result<Self> {
        Self::random("rand", shape, opts, |b, dtype, n, out| b.uniform(rng::draw(n), dtype, n, out))
    }

    /// Normally distributed numbers with mean 0 and variance 1.
    ///
    /// # Errors
    /// For integer dtypes.
    pub fn randn(shape: &[i64], opts: TensorOptions) -> Result<Self> {
        Self::random("randn", shape, opts, |b, dtype, n, out| b.normal(rng::draw(n), dtype, n, out))
    }

    fn random(
        name: &'static str,
        shape: &[i64],
        opts: TensorOptions,
        kernel: impl FnOnce(
            &dyn crate::backend::Backend,
            DType,
            usize,
            &mut crate::backend::Storage,
        ) -> Result<()>,
    ) -> Result<Self> {
        let dims = shape::sizes(name, shape)?;
        if !opts.dtype.is_float() {
            return Err(Error::DType {
                op: name,
                expected: "a floating-point dtype".into(),
                got: opts.dtype,
            });
        }
        let wide = if opts.dtype.is_half() { DType::Float32 } else { opts.dtype };
        let n = dims.iter().product();
        Tensor::build(&dims, wide, opts.device, |b, out| kernel(b, wide, n, out))?
            .to_dtype(opts.dtype)
    }

    /// Uniform numbers in the shape, dtype and device of another tensor.
    ///
    /// # Errors
    /// For integer dtypes.
    pub fn rand_like(t: &Tensor) -> Result<Tensor> {
        Self::rand(&t.shape(), t.options())
    }

    /// Normally distributed numbers in the shape, dtype and device of another tensor.
    ///
    /// # Errors
    /// For integer dtypes.
    pub fn randn_like(t: &Tensor) -> Result<Tensor> {
        Self::randn(&t.shape(), t.options())
    }

    /// Whole numbers in `low..high`, every one equally likely.
    ///
    /// # Errors
    /// When the range is empty.
    pub fn randint(low: i64, high: i64, shape: &[i64], opts: TensorOptions) -> Result<Self> {
        if low >= high {
            return Err(Error::invalid("randint", format!("the range {low}..{high} is empty")));
        }
        let dims = shape::sizes("randint", shape)?;
        let n: usize = dims.iter().product();
        Tensor::build(&dims, DType::Int64, opts.device, |b, out| {
            b.randint(rng::draw(n), low, high, n, out)
        })?
        .to_dtype(opts.dtype)
    }

    /// The numbers `0..n` in random order, as `Int64` unless the options ask for another integer
    /// or a float type explicitly through [`Tensor::to_dtype`].
    ///
    /// # Errors
    /// When `n` is negative.
    pub fn randperm(n: i64, opts: TensorOptions) -> Result<Self> {
        let dims = shape::sizes("randperm", &[n])?;
        let out = Tensor::build(&dims, DType::Int64, opts.device, |b, out| {
            b.randperm(rng::draw(dims[0]), dims[0], out)
        })?;
        // The default options mean Float32, which no permutation is wanted in.
        if opts.dtype == DType::default() { Ok(out) } else { out.to_dtype(opts.dtype) }
    }

    /// 1 with the probability that the element says, else 0.
    ///
    /// # Errors
    /// When a probability is NaN or outside `[0, 1]`.
    pub fn bernoulli(&self) -> Result<Tensor> {
        self.check_float("bernoulli")?;
        let inside = self.ge_scalar(0.0)?.logical_and(&self.le_scalar(1.0)?)?;
        if inside.all()?.item()? == 0.0 {
            return Err(Error::invalid("bernoulli", "probabilities must lie in [0, 1], not NaN"));
        }
        Tensor::rand_like(self)?.lt(self)?.to_dtype(self.dtype())
    }

    /// Draws `num_samples` indices from each row of weights (they need not add up to 1).
    ///
    /// # Errors
    /// When a weight is negative, NaN or infinite, a row is all 0, or more samples are asked for
    /// without replacement than there are positive weights.
    pub fn multinomial(&self, num_samples: i64, replacement: bool) -> Result<Tensor> {
        self.check_float("multinomial")?;
        if self.ndim() == 0 || self.ndim() > 2 || num_samples < 1 {
            return Err(Error::Shape {
                op: "multinomial",
                expected: format!("1 or 2 dims of weights and at least 1 sample ({num_samples})"),
                got: self.shape(),
            });
        }
        let weights = self.to_f64_vec()?;
        if weights.iter().any(|w| !(w.is_finite() && *w >= 0.0)) {
            return Err(Error::invalid(
                "multinomial",
                "weights must be finite and not negative, and never NaN",
            ));
        }
        let classes = *self.dims().last().expect("the shape was checked to have 1 or 2 dims");
        let mut shape = self.shape();
        *shape.last_mut().expect("the shape was checked to have 1 or 2 dims") = num_samples;
        let total: usize = shape::sizes("multinomial", &shape)?.iter().product();
        let (k, mut picked) = (num_samples as usize, Vec::new());
        let mut rng = rng::Rng::seed(rng::draw_seed());
        for row in weights.chunks(classes.max(1)) {
            let positive = row.iter().filter(|&&w| w > 0.0).count();
            if positive == 0 || (!replacement && k > positive) {
                return Err(Error::invalid(
                    "multinomial",
                    format!("{k} samples from a row with {positive} positive weights"),
                ));
            }
            if picked.capacity() == 0 && picked.try_reserve_exact(total).is_err() {
                return Err(Error::OutOfMemory {
                    device: self.device(),
                    requested: total * size_of::<i64>(),
                    in_use: flodl_cpu::alloc::memory_stats().current,
                });
            }
            if replacement {
                let sums: Vec<f64> = row
                    .iter()
                    .scan(0.0, |s, w| {
                        *s += w;
                        Some(*s)
                    })
                    .collect();
                let total = sums[classes - 1];
                let last = row
                    .iter()
                    .rposition(|&w| w > 0.0)
                    .expect("each row was checked to have a positive weight");
                picked.extend((0..k).map(|_| {
                    let u = rng.f64() * total;
                    sums.partition_point(|&s| s <= u).min(last) as i64
                }));
            } else {
                // Exponential races: the k smallest of -ln(u) / w.
                let mut race: Vec<(f64, i64)> = row
                    .iter()
                    .enumerate()
                    .filter(|&(_, &w)| w > 0.0)
                    .map(|(i, w)| (-(1.0 - rng.f64()).ln() / w, i as i64))
                    .collect();
                race.sort_by(|a, b| a.0.total_cmp(&b.0));
                picked.extend(race.iter().take(k).map(|&(_, i)| i));
            }
        }
        Tensor::from_i64(&picked, &shape, self.device())
    }
}
