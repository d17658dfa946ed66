//! Adafactor: second moments of matrices kept as a column and a row.

use super::StateKind;
use super::core::{Method, Optim, OptimBuilder, constructors, setters};
use crate::backend::{Rule, SgdOptions};
use crate::{DType, Result, Tensor};

/// Adafactor (Shazeer and Stern, 2018), as PyTorch has it: of a matrix the second moments are kept
/// as one number for each row and each column, so the state is small; steps are relative to the
/// size of the weights.
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(64, 32)?;
/// let mut optimizer = Adafactor::new(&layer.parameters(), 1e-2).weight_decay(0.01);
/// layer.forward(&Variable::new(Tensor::ones(&[1, 64], TensorOptions::default())?, false))?
///     .sum()?
///     .backward()?;
/// optimizer.step()?;
/// # Ok::<(), Error>(())
/// ```
pub type Adafactor = Optim<AdafactorSettings>;
/// Sets up [`Adafactor`].
pub type AdafactorBuilder = OptimBuilder<AdafactorSettings>;

/// Settings of [`Adafactor`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdafactorSettings {
    beta2_decay: f64,
    eps: (Option<f64>, f64),
    d: f64,
    weight_decay: f64,
    maximize: bool,
}

impl Default for AdafactorSettings {
    fn default() -> Self {
        AdafactorSettings {
            beta2_decay: -0.8,
            eps: (None, 1e-3),
            d: 1.0,
            weight_decay: 0.0,
            maximize: false,
        }
    }
}

setters! { [] AdafactorSettings {
    /// In step t the second moments move towards the new squares by t to this power; -0.8 unless
    /// set.
    beta2_decay: f64,
    /// The least size of a gradient (the dtype's epsilon unless set) and of weights (1e-3) that
    /// steps are relative to.
    eps: (Option<f64>, f64),
    /// Root mean square of a step, before the learning rate, at most; 1 unless set.
    d: f64,
    /// Pulls the weights towards 0, by lr · wd of themselves.
    weight_decay: f64,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(AdafactorSettings);

/// The root of the mean square.
fn rms(x: &Tensor) -> Result<f64> {
    Ok(x.norm()?.item()? / (x.numel() as f64).sqrt())
}

impl AdafactorSettings {
    fn least(&self, dtype: DType) -> f64 {
        self.eps.0.unwrap_or(if dtype == DType::Float64 {
            f64::EPSILON
        } else {
            f32::EPSILON.into()
        })
    }
}

impl Method for AdafactorSettings {
    const KIND: StateKind = StateKind::Adafactor;
    const STATES: [&'static str; 3] = ["row_var", "col_var", "variance"];
    const WHOLE: bool = true;

    // The step is `whole`, which makes its own states.
    fn rule(&self, _: f64, _: u64, _: &mut f64) -> Rule {
        Rule::Sgd(SgdOptions::default())
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn fault(&self) -> Option<String> {
        let &AdafactorSettings { beta2_decay, eps: (eps1, eps2), d, weight_decay, .. } = self;
        let bad = |v: f64| v.is_nan() || v < 0.0;
        Some(match () {
            () if beta2_decay.is_nan() || beta2_decay > 0.0 => {
                format!("beta2_decay {beta2_decay} must not be positive")
            }
            () if bad(eps1.unwrap_or(0.0)) || bad(eps2) => {
                format!("eps {:?} must not be negative", self.eps)
            }
            () if d.is_nan() || d < 1.0 => format!("d {d} must be at least 1"),
            () if bad(weight_decay) => format!("weight_decay {weight_decay} must not be negative"),
            () => return None,
        })
    }

    fn state_shape(&self, state: usize, param: &[i64]) -> Vec<i64> {
        let mut shape = param.to_vec();
        // A row's number stands in a column, a column's in a row.
        if let (0 | 1, Some(at)) = (state, shape.len().checked_sub(1 + state)) {
            shape[at] = 1;
        }
        shape
    }

    fn whole(
        &self,
        lr: f64,
        step: u64,
        param: &mut Tensor,
        grad: &Tensor,
        state: &mut [Option<Tensor>; 3],
    ) -> Result<()> {
        if grad.numel() == 0 {
            return Ok(());
        }
        let least = self.least(grad.dtype());
        let gain = (step as f64).powf(self.beta2_decay);
        let alpha = self.eps.1.max(rms(param)?) * lr.min(1.0 / (step as f64).sqrt());
        if self.weight_decay != 0.0 {
            param.mul_scalar_(1.0 - lr * self.weight_decay)?;
        }
        let shape = grad.shape();
        let mut moved = |k: usize, towards: Tensor| -> Result<Tensor> {
            let before = match state[k].take() {
                Some(before) => before,
                None => Tensor::zeros(&self.state_shape(k, &shape), grad.options())?,
            };
            let after = before.lerp(&towards, gain)?;
            state[k] = Some(after.clone());
            Ok(after)
        };
        let variance = if shape.len() > 1 {
            let mean = |dim: i32| {
                let n = shape[(shape.len() as i32 + dim) as usize] as f64;
                grad.norm_p(2.0, dim, true)?.square()?.div_scalar(n)
            };
            let (rows, columns) = (moved(0, mean(-1)?)?, moved(1, mean(-2)?)?);
            rows.matmul(&columns)?.div(&rows.mean_dim(-2, true)?.clamp_min(least)?)?
        } else {
            moved(2, grad.square()?)?
        };
        let update = variance.clamp_min(least * least)?.rsqrt()?.mul(grad)?;
        let size = (rms(&update)? / self.d).max(1.0);
        param.add_scaled_(&update, -alpha / size)
    }
}
