//! Rotary position embedding.

use std::rc::Rc;

use crate::{Device, Error, Result, Tensor, TensorOptions, Variable};

const OP: &str = "RotaryEmbedding";

/// Rotates queries and keys by angles that grow with their position, so that their products depend
/// on the distance alone (Su et al., 2021, RoFormer).
///
/// Element i of the first half of a head and element i of the second half turn together by
/// position · theta^(-2i / head_dim): the layout of GPT-NeoX and of LLaMA's weights in Hugging
/// Face's form ("rotate half"). RoFormer's own code and Meta's pair neighbours instead; their
/// weights need their rows reordered.
///
/// It has no parameters, and its tables take the dtype of what they are applied to. A clone shares
/// them.
///
/// ```
/// use flodl::*;
/// let rope = RotaryEmbedding::new(64, 2048)?;
/// let q = Variable::new(Tensor::randn(&[2, 8, 10, 64], TensorOptions::default())?, true);
/// let (q, k) = rope.apply(&q, &q)?;
/// assert_eq!(q.shape(), k.shape());
/// let mha = MultiheadAttention::new(512, 8)?.rotary(rope)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// Cosines and sines `[max_seq_len, head_dim / 2]` in f64.
    tables: Rc<[Tensor; 2]>,
    head_dim: i64,
    max_seq_len: i64,
    theta: f64,
}

impl RotaryEmbedding {
    /// Base 10000, on the CPU.
    ///
    /// # Errors
    /// When the width is odd or a size is not positive.
    pub fn new(head_dim: i64, max_seq_len: i64) -> Result<Self> {
        Self::on_device(head_dim, max_seq_len, Device::CPU)
    }

    /// Base 10000, on a device.
    ///
    /// # Errors
    /// When the width is odd, a size is not positive, or the device cannot be used.
    pub fn on_device(head_dim: i64, max_seq_len: i64, device: Device) -> Result<Self> {
        Self::on_device_theta(head_dim, max_seq_len, 10_000.0, device)
    }

    /// With another base, on a device.
    ///
    /// # Errors
    /// When the width is odd, a size or the base is not positive, or the device cannot be used.
    pub fn on_device_theta(
        head_dim: i64,
        max_seq_len: i64,
        theta: f64,
        device: Device,
    ) -> Result<Self> {
        if head_dim < 2 || head_dim % 2 != 0 {
            let what = format!("head_dim {head_dim} must be even and positive");
            return Err(Error::invalid(OP, what));
        }
        if max_seq_len < 1 {
            let what = format!("max_seq_len {max_seq_len} must be positive");
            return Err(Error::invalid(OP, what));
        }
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(Error::invalid(OP, format!("theta {theta} must be positive")));
        }
        let half = head_dim / 2;
        let angle = |p: i64, i: i64| p as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64);
        let angles = (0..max_seq_len).flat_map(|p| (0..half).map(move |i| (p, i)));
        let (cos, sin): (Vec<f64>, Vec<f64>) =
            angles.map(|(p, i)| (angle(p, i).cos(), angle(p, i).sin())).unzip();
        let table = |v: &[f64]| Tensor::from_f64(v, &[max_seq_len, half], device);
        let tables = Rc::new([table(&cos)?, table(&sin)?]);
        Ok(RotaryEmbedding { tables, head_dim, max_seq_len, theta })
    }

    /// Width of a head.
    pub fn head_dim(&self) -> i64 {
        self.head_dim
    }

    /// Positions that there are angles for.
    pub fn max_seq_len(&self) -> i64 {
        self.max_seq_len
    }

    /// What decides results.
    pub(crate) fn describe(&self) -> String {
        format!("{}, {}, {}", self.head_dim, self.max_seq_len, self.theta)
    }

    /// Rotates queries and keys `[…, length, head_dim]`, each from position 0 on.
    ///
    /// # Errors
    /// As for [`RotaryEmbedding::apply_one`].
    pub fn apply(&self, query: &Variable, key: &Variable) -> Result<(Variable, Variable)> {
        Ok((self.apply_one(query)?, self.apply_one(key)?))
    }

    /// Rotates `[…, length, head_dim]` from position 0 on.
    ///
    /// # Errors
    /// When the width differs, the sequence is too long, or for integers.
    pub fn apply_one(&self, x: &Variable) -> Result<Variable> {
        let shape = x.shape();
        let [.., length, width] = shape[..] else {
            return Err(self.misfit(shape));
        };
        if width != self.head_dim || length > self.max_seq_len {
            return Err(self.misfit(shape));
        }
        x.with_data(|t| t.check_float(OP))?;
        let half = width / 2;
        let options = TensorOptions { dtype: x.dtype(), device: x.device() };
        let table = |t: &Tensor| -> Result<Variable> {
            let t = t.narrow(0, 0, length)?.to_dtype(options.dtype)?;
            Ok(Variable::constant(t.to_device(options.device)?))
        };
        let (cos, sin) = (table(&self.tables[0])?, table(&self.tables[1])?);
        let (a, b) = (x.narrow(-1, 0, half)?, x.narrow(-1, half, half)?);
        let first = a.mul(&cos)?.sub(&b.mul(&sin)?)?;
        let second = b.mul(&cos)?.add(&a.mul(&sin)?)?;
        first.cat(&second, -1)
    }

    fn misfit(&self, got: Vec<i64>) -> Error {
        let expected = format!("[..., length <= {}, {}]", self.max_seq_len, self.head_dim);
        Error::Shape { op: OP, expected, got }
    }
}
