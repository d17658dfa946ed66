//! Losses of tensors, without gradients. A reduction is [`Reduction`] or PyTorch's number for it.

use crate::backend::Reduction;
use crate::{Error, Result, Tensor, Variable, no_grad};

fn reduction(op: &'static str, r: impl TryInto<Reduction>) -> Result<Reduction> {
    let what = "reduction must be 0 (none), 1 (mean) or 2 (sum)";
    r.try_into().map_err(|_| Error::invalid(op, what))
}

/// Both as constants.
fn run(
    a: &Tensor,
    b: &Tensor,
    loss: impl FnOnce(&Variable, &Variable) -> Result<Variable>,
) -> Result<Tensor> {
    let (a, b) = (Variable::constant(a.clone()), Variable::constant(b.clone()));
    no_grad(|| loss(&a, &b)).map(|v| v.data())
}

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) => |$x:ident, $t:ident, $r:ident| $loss:expr;)*) => {
        impl Tensor {
            $($(#[$doc])*
            ///
            /// # Errors
            /// As for the function of this name; and when the reduction is none.
            pub fn $name(
                &self,
                target: &Tensor,
                reduction: impl TryInto<Reduction>
                $(, $arg: $type)*
            ) -> Result<Tensor> {
                let $r = self::reduction(stringify!($name), reduction)?;
                run(self, target, |$x, $t| $loss)
            })*
        }
    };
}

losses! {
    /// Squared differences.
    mse_loss() => |x, t, r| super::mse_loss_with(x, t, r);
    /// Cross-entropy of logits with classes or probabilities.
    cross_entropy_loss(ignore_index: i64, label_smoothing: f64) => |x, t, r| {
        let options = super::CrossEntropy {
            weight: None, ignore_index, label_smoothing, reduction: r,
        };
        super::cross_entropy_with(x, t, &options)
    };
    /// Binary cross-entropy of probabilities.
    bce_loss() => |x, t, r| super::bce_loss_with(x, t, None, r);
    /// Binary cross-entropy of logits.
    bce_with_logits_loss() => |x, t, r| super::bce_with_logits_loss_with(x, t, None, None, r);
    /// Absolute differences.
    l1_loss() => |x, t, r| super::l1_loss_with(x, t, r);
    /// Absolute differences, rounded near 0.
    smooth_l1_loss(beta: f64) => |x, t, r| super::smooth_l1_loss_with(x, t, beta, r);
    /// Kullback-Leibler divergence from log-probabilities.
    kl_div_loss(log_target: bool) => |x, t, r| super::kl_div_loss_with(x, t, log_target, r);
    /// Negative log-likelihood from log-probabilities.
    nll_loss(ignore_index: i64) => |x, t, r| super::nll_loss_with(x, t, None, ignore_index, r);
}

impl Tensor {
    /// Connectionist temporal classification of log-probabilities `[T, N, C]`.
    ///
    /// # Errors
    /// As for the function of this name; and when the reduction is none.
    pub fn ctc_loss(
        &self,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
        blank: i64,
        reduction: impl TryInto<Reduction>,
    ) -> Result<Tensor> {
        let r = self::reduction("ctc_loss", reduction)?;
        let [i, t] = [input_lengths, target_lengths].map(|l| Variable::constant(l.clone()));
        run(self, targets, |x, targets| super::ctc_loss_with(x, (targets, &i, &t), blank, false, r))
    }
}
