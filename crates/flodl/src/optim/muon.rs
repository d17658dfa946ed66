//! Muon: momentum made orthogonal (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon>).

use super::StateKind;
use super::core::{Method, Optim, OptimBuilder, constructors, setters};
use crate::backend::Rule;
use crate::{DType, Error, Result, Tensor};

/// Muon, for the matrices of hidden layers: the momentum is replaced by the nearest
/// semi-orthogonal matrix, found by a few Newton-Schulz iterations in bfloat16, as PyTorch does.
/// Biases, embeddings and the last layer belong to an optimizer such as [`crate::AdamW`].
pub type Muon = Optim<MuonSettings>;
/// Sets up [`Muon`].
pub type MuonBuilder = OptimBuilder<MuonSettings>;

/// How the learning rate depends on a matrix's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MuonLr {
    /// √max(1, rows / columns).
    #[default]
    Original,
    /// 0.2 √max(rows, columns): steps as large as AdamW's (Liu et al., 2025).
    MatchRmsAdamW,
}

/// Settings of [`Muon`].
#[derive(Clone, Debug, PartialEq)]
pub struct MuonSettings {
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    ns_steps: usize,
    ns_coefficients: (f64, f64, f64),
    eps: f64,
    adjust_lr: MuonLr,
    maximize: bool,
}

impl Default for MuonSettings {
    fn default() -> Self {
        MuonSettings {
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            ns_steps: 5,
            ns_coefficients: (3.4445, -4.7750, 2.0315),
            eps: 1e-7,
            adjust_lr: MuonLr::Original,
            maximize: false,
        }
    }
}

setters! { [] MuonSettings {
    /// Decay of the mean of gradients; 0.95 unless set.
    momentum: f64,
    /// Looks ahead along the momentum; on unless set.
    nesterov: bool,
    /// Pulls the weights towards 0, by lr · wd of themselves; 0.1 unless set.
    weight_decay: f64,
    /// Newton-Schulz iterations; 5 unless set.
    ns_steps: usize,
    /// Coefficients of the iteration's polynomial.
    ns_coefficients: (f64, f64, f64),
    /// Smallest norm that is divided by.
    eps: f64,
    /// How the learning rate depends on a matrix's shape.
    adjust_lr: MuonLr,
    /// Climbs instead of descending.
    maximize: bool,
} }
constructors!(MuonSettings);

impl MuonSettings {
    /// The nearest semi-orthogonal matrix, roughly.
    fn orthogonal(&self, update: &Tensor) -> Result<Tensor> {
        let (a, b, c) = self.ns_coefficients;
        let shape = update.shape();
        let tall = shape[0] > shape[1];
        let mut x = update.to_dtype(DType::BFloat16)?;
        if tall {
            x = x.t()?.contiguous()?;
        }
        let norm = x.to_dtype(DType::Float32)?.norm()?.to_dtype(DType::BFloat16)?.item()?;
        x = x.div_scalar(norm.max(self.eps))?;
        // Products in f32; the other term is added in one rounding more, and the sum rounded to
        // bfloat16 once, as PyTorch does.
        let round = |t: Tensor| t.to_dtype(DType::BFloat16);
        for _ in 0..self.ns_steps {
            let wide = x.to_dtype(DType::Float32)?;
            let gram = round(wide.matmul(&wide.t()?)?)?.to_dtype(DType::Float32)?;
            let mut poly = gram.matmul(&gram)?.mul_scalar(c)?;
            poly.add_scaled_(&gram, b)?;
            let mut next = round(poly)?.to_dtype(DType::Float32)?.matmul(&wide)?;
            next.add_scaled_(&wide, a)?;
            x = round(next)?;
        }
        let x = if tall { x.t()?.contiguous()? } else { x };
        x.to_dtype(update.dtype())
    }
}

impl Method for MuonSettings {
    const KIND: StateKind = StateKind::Muon;
    const STATES: [&'static str; 3] = ["momentum_buffer", "", ""];
    const WHOLE: bool = true;

    // Its state is what gradient descent with momentum has; the step is `whole`.
    fn rule(&self, _: f64, _: u64, _: &mut f64) -> Rule {
        Rule::Lion { lr: 0.0, beta1: 0.0, beta2: 0.0, weight_decay: 0.0 }
    }

    fn momentum_mut(&mut self) -> Option<&mut f64> {
        Some(&mut self.momentum)
    }

    fn climbs(&self) -> bool {
        self.maximize
    }

    fn whole(
        &self,
        lr: f64,
        _step: u64,
        param: &mut Tensor,
        grad: &Tensor,
        state: &mut [Option<Tensor>; 3],
    ) -> Result<()> {
        let &[rows, columns] = &grad.shape()[..] else {
            return Err(Error::Shape {
                op: "Muon",
                expected: "matrices only; give other parameters to another optimizer".into(),
                got: grad.shape(),
            });
        };
        let Some(buffer) = &mut state[0] else { return Ok(()) };
        buffer.mul_scalar_(self.momentum)?;
        buffer.add_scaled_(grad, 1.0 - self.momentum)?;
        let update = if self.nesterov { grad.lerp(buffer, self.momentum)? } else { buffer.clone() };
        let (rows, columns) = (rows as f64, columns as f64);
        let adjusted = lr
            * match self.adjust_lr {
                MuonLr::Original => (rows / columns).max(1.0).sqrt(),
                MuonLr::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            };
        param.mul_scalar_(1.0 - lr * self.weight_decay)?;
        param.add_scaled_(&self.orthogonal(&update)?, -adjusted)
    }
}
