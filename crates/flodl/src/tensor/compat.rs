//! Methods that programs written for tensors with an autograd of their own call. A [`Tensor`] never
//! records; [`crate::Variable`] does.

use super::Tensor;
use crate::backend::{AdamOptions, OptimUpdate, Rule};
use crate::{Error, Result};

/// Why a tensor has no gradient.
fn no_tape(op: &'static str) -> Error {
    Error::Autograd {
        op,
        what: "a Tensor records nothing; wrap it with Variable::new(tensor, true)".into(),
    }
}

impl Tensor {
    /// The tensor itself for `false`.
    ///
    /// # Errors
    /// For `true`: gradients belong to [`crate::Variable`].
    pub fn set_requires_grad(&self, requires_grad: bool) -> Result<Tensor> {
        if requires_grad { Err(no_tape("set_requires_grad")) } else { Ok(self.clone()) }
    }

    /// Always false.
    pub fn requires_grad(&self) -> bool {
        false
    }

    /// Never possible.
    ///
    /// # Errors
    /// Always: gradients belong to [`crate::Variable`].
    pub fn backward(&self) -> Result<()> {
        Err(no_tape("backward"))
    }

    /// Always `None`.
    pub fn grad(&self) -> Option<Tensor> {
        None
    }

    /// Never possible.
    ///
    /// # Errors
    /// Always: gradients belong to [`crate::Variable`].
    pub fn set_grad(&self, grad: &Tensor) -> Result<()> {
        let _ = grad;
        Err(no_tape("set_grad"))
    }

    /// Nothing to clear.
    ///
    /// # Errors
    /// None.
    pub fn zero_grad(&self) -> Result<()> {
        Ok(())
    }

    /// Nothing to clear.
    pub fn zero_grad_set_to_none(&self) {}

    /// Always true.
    pub fn is_leaf(&self) -> bool {
        true
    }

    /// Never possible: [`clip_grad_norm`](crate::clip_grad_norm()) clips the gradients of parameters.
    ///
    /// # Errors
    /// Always: gradients belong to [`crate::Variable`].
    pub fn clip_grad_norm_fused(params: &[Tensor], max_norm: f64) -> Result<f64> {
        let _ = (params, max_norm);
        Err(Error::Autograd {
            op: "clip_grad_norm_fused",
            what: "a Tensor has no gradient; clip_grad_norm clips those of parameters".into(),
        })
    }

    /// The values of an image batch `[N, C, H, W]` with channels innermost in memory; the shape
    /// stays. Kernels take either order.
    ///
    /// # Errors
    /// When there are not four dims.
    pub fn to_channels_last(&self) -> Result<Tensor> {
        if self.ndim() != 4 {
            return Err(Error::Shape {
                op: "to_channels_last",
                expected: "4 dims, [N, C, H, W]".into(),
                got: self.shape(),
            });
        }
        self.permute(&[0, 2, 3, 1])?.contiguous()?.permute(&[0, 3, 1, 2])
    }

    /// Whether this is an image batch `[N, C, H, W]` with channels innermost in memory.
    pub fn is_channels_last(&self) -> bool {
        self.ndim() == 4 && self.permute(&[0, 2, 3, 1]).is_ok_and(|t| t.is_contiguous())
    }

    /// One step of Adam on this parameter and its moments, in place; `step` counts from 1. A weight
    /// decay is decoupled (AdamW).
    ///
    /// # Errors
    /// When shapes or dtypes differ.
    pub fn adam_step(
        &mut self,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        step: i64,
    ) -> Result<()> {
        let step = counted("adam_step", step)?;
        let options = AdamOptions {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
            decoupled: true,
            step,
            ..AdamOptions::default()
        };
        self.adam("adam_step", &options, grad, m, v)
    }

    /// [`Tensor::adam_step`] on several parameters, with a learning rate for each.
    ///
    /// # Errors
    /// When the lists differ in length, or shapes or dtypes differ.
    pub fn adam_step_batched(
        params: &mut [Tensor],
        grads: &[Tensor],
        ms: &mut [Tensor],
        vs: &mut [Tensor],
        lrs: &mut [f64],
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        step: i64,
    ) -> Result<()> {
        let n = params.len();
        same_length("adam_step_batched", n, &[grads.len(), ms.len(), vs.len(), lrs.len()])?;
        for i in 0..n {
            let (m, v) = (&mut ms[i], &mut vs[i]);
            params[i].adam_step(&grads[i], m, v, lrs[i], beta1, beta2, eps, weight_decay, step)?;
        }
        Ok(())
    }

    /// One step of Adam on several parameters, whose weight decay adds to the gradient. Gradients
    /// are divided by `grad_scale`; nothing happens when `found_inf` is not 0.
    ///
    /// # Errors
    /// When the lists differ in length, or shapes or dtypes differ.
    pub fn fused_adam_(
        params: &mut [Tensor],
        grads: &[Tensor],
        exp_avgs: &mut [Tensor],
        exp_avg_sqs: &mut [Tensor],
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        steps: &[i64],
        grad_scale: Option<&Tensor>,
        found_inf: Option<&Tensor>,
    ) -> Result<()> {
        let base = AdamOptions { lr, beta1, beta2, eps, weight_decay, ..AdamOptions::default() };
        let lists = (params, grads, exp_avgs, exp_avg_sqs);
        fused("fused_adam_", base, lists, steps, grad_scale, found_inf)
    }

    /// [`Tensor::fused_adam_`] with decoupled weight decay (AdamW).
    ///
    /// # Errors
    /// As for [`Tensor::fused_adam_`].
    pub fn fused_adamw_(
        params: &mut [Tensor],
        grads: &[Tensor],
        exp_avgs: &mut [Tensor],
        exp_avg_sqs: &mut [Tensor],
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
        steps: &[i64],
        grad_scale: Option<&Tensor>,
        found_inf: Option<&Tensor>,
    ) -> Result<()> {
        let base = AdamOptions {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
            decoupled: true,
            ..AdamOptions::default()
        };
        let lists = (params, grads, exp_avgs, exp_avg_sqs);
        fused("fused_adamw_", base, lists, steps, grad_scale, found_inf)
    }

    fn adam(
        &mut self,
        op: &'static str,
        options: &AdamOptions,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
    ) -> Result<()> {
        for other in [grad, &*m, &*v] {
            self.check_same(op, other)?;
            if other.dims() != self.dims() {
                return Err(Error::ShapeMismatch {
                    op,
                    lhs: self.shape(),
                    rhs: other.shape(),
                    why: "gradient and moments must have the parameter's shape".into(),
                });
            }
        }
        let (backend, grad) = (self.backend()?, grad.contiguous()?);
        let update = OptimUpdate {
            rule: Rule::Adam(*options),
            grad_scale: 1.0,
            param: self.target()?,
            grad: grad.operand(),
            state: [Some(m.target()?), Some(v.target()?), None],
        };
        backend.optim_step(grad.dtype(), vec![update])
    }
}

fn counted(op: &'static str, step: i64) -> Result<u64> {
    match u64::try_from(step) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Error::invalid(op, format!("step {step} must be at least 1"))),
    }
}

fn same_length(op: &'static str, n: usize, others: &[usize]) -> Result<()> {
    match others.iter().find(|&&m| m != n) {
        None => Ok(()),
        Some(m) => Err(Error::invalid(op, format!("lists of {n} and {m} tensors"))),
    }
}

/// Parameters, gradients and both moments.
type Lists<'a> = (&'a mut [Tensor], &'a [Tensor], &'a mut [Tensor], &'a mut [Tensor]);

fn fused(
    op: &'static str,
    base: AdamOptions,
    (params, grads, ms, vs): Lists<'_>,
    steps: &[i64],
    grad_scale: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<()> {
    let n = params.len();
    same_length(op, n, &[grads.len(), ms.len(), vs.len(), steps.len()])?;
    if let Some(found) = found_inf
        && found.item()? != 0.0
    {
        return Ok(());
    }
    let grad_scale = grad_scale.map_or(Ok(1.0), |s| s.item().map(|s| 1.0 / s))?;
    for i in 0..n {
        let options = AdamOptions { step: counted(op, steps[i])?, grad_scale, ..base };
        params[i].adam(op, &options, &grads[i], &mut ms[i], &mut vs[i])?;
    }
    Ok(())
}
