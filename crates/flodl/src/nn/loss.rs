//! Losses as objects that hold their options, under PyTorch's names. Each has `forward(prediction,
//! target)`; the functions of the same meaning take the options as arguments.
//!
//! ```
//! use flodl::*;
//! let criterion = CrossEntropyLoss::new().label_smoothing(0.1).reduction(Reduction::Sum);
//! let logits = Variable::new(Tensor::zeros(&[2, 4], TensorOptions::default())?, true);
//! let target = Variable::new(Tensor::from_i64(&[0, 3], &[2], Device::CPU)?, false);
//! let loss = criterion.forward(&logits, &target)?;
//! assert!((loss.item()? - 2.0 * 4f64.ln()).abs() < 1e-5);
//! # Ok::<(), Error>(())
//! ```

use crate::autograd::ops as f;
use crate::{KlReduction, Reduction, Result, Tensor, Variable};

/// A loss with options, each with its default, and how it is computed.
macro_rules! loss {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
        ($($arg:ident),+) => |$self:ident| $loss:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($field: $type,)*
        }

        impl $name {
            /// With PyTorch's defaults.
            pub fn new() -> Self {
                $name { $($field: $default,)* }
            }

            $($(#[$field_doc])*
            pub fn $field(mut self, $field: impl Into<$type>) -> Self {
                self.$field = $field.into();
                self
            })*

            /// The loss.
            ///
            /// # Errors
            /// When shapes, dtypes or options do not fit.
            pub fn forward(&$self, $($arg: &Variable),+) -> Result<Variable> {
                $loss
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

loss! {
    /// [`crate::mse_loss`] with options.
    MSELoss {
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| f::mse_loss_with(pred, target, self.reduction)
}

loss! {
    /// [`crate::l1_loss`] with options.
    L1Loss {
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| f::l1_loss_with(pred, target, self.reduction)
}

loss! {
    /// [`crate::smooth_l1_loss`] with options.
    SmoothL1Loss {
        /// Where the loss becomes linear.
        beta: f64 = 1.0,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| f::smooth_l1_loss_with(pred, target, self.beta, self.reduction)
}

loss! {
    /// [`crate::huber_loss`] with options.
    HuberLoss {
        /// Where the loss becomes linear.
        delta: f64 = 1.0,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| f::huber_loss_with(pred, target, self.delta, self.reduction)
}

loss! {
    /// [`crate::cross_entropy_loss`] with options.
    CrossEntropyLoss {
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// Targets of this class do not count.
        ignore_index: i64 = -100,
        /// Share of the target that is spread over all classes.
        label_smoothing: f64 = 0.0,
        /// How rows are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| {
        let options = f::CrossEntropy {
            weight: self.weight.clone(),
            ignore_index: self.ignore_index,
            label_smoothing: self.label_smoothing,
            reduction: self.reduction,
        };
        f::cross_entropy_with(pred, target, &options)
    }
}

loss! {
    /// [`crate::nll_loss`] with options.
    NLLLoss {
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// Targets of this class do not count.
        ignore_index: i64 = -100,
        /// How rows are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target) => |self| {
        f::nll_loss_with(input, target, self.weight.as_ref(), self.ignore_index, self.reduction)
    }
}

loss! {
    /// [`crate::bce_loss`] with options.
    BCELoss {
        /// A weight that broadcasts to the elements.
        weight: Option<Tensor> = None,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| {
        f::bce_loss_with(pred, target, self.weight.as_ref(), self.reduction)
    }
}

loss! {
    /// [`crate::bce_with_logits_loss`] with options.
    BCEWithLogitsLoss {
        /// A weight that broadcasts to the elements.
        weight: Option<Tensor> = None,
        /// A weight of positive targets.
        pos_weight: Option<Tensor> = None,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| {
        let (weight, pos) = (self.weight.as_ref(), self.pos_weight.as_ref());
        f::bce_with_logits_loss_with(pred, target, weight, pos, self.reduction)
    }
}

loss! {
    /// [`crate::kl_div_loss`] with options.
    KLDivLoss {
        /// Whether targets are log-probabilities.
        log_target: bool = false,
        /// How elements are combined; [`KlReduction::BatchMean`] is the mean divergence.
        reduction: KlReduction = KlReduction::Mean,
    }
    (input, target) => |self| f::kl_div_loss_with(input, target, self.log_target, self.reduction)
}

loss! {
    /// [`crate::ctc_loss`] with options.
    CTCLoss {
        /// The class that stands for no label.
        blank: i64 = 0,
        /// Whether infinite losses, of targets too long for their input, count as 0.
        zero_infinity: bool = false,
        /// How sequences are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (log_probs, targets, input_lengths, target_lengths) => |self| {
        let all = (targets, input_lengths, target_lengths);
        f::ctc_loss_with(log_probs, all, self.blank, self.zero_infinity, self.reduction)
    }
}

loss! {
    /// [`crate::focal_loss`] with options.
    FocalLoss {
        /// Weight of positive targets.
        alpha: f64 = 0.25,
        /// How much less easy cases count.
        gamma: f64 = 2.0,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (pred, target) => |self| {
        f::focal_loss_with(pred, target, self.alpha, self.gamma, self.reduction)
    }
}

loss! {
    /// [`crate::triplet_margin_loss`] with options.
    TripletMarginLoss {
        /// How much farther the negative must be.
        margin: f64 = 1.0,
        /// Order of the norm.
        p: f64 = 2.0,
        /// Added to differences.
        eps: f64 = 1e-6,
        /// Whether the distance from positive to negative counts if it is smaller.
        swap: bool = false,
        /// How triplets are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (anchor, positive, negative) => |self| {
        let options = f::TripletMargin {
            margin: self.margin,
            p: self.p,
            eps: self.eps,
            swap: self.swap,
            reduction: self.reduction,
        };
        f::triplet_margin_loss_with(anchor, positive, negative, options)
    }
}

loss! {
    /// [`crate::cosine_embedding_loss`] with options.
    CosineEmbeddingLoss {
        /// Largest cosine of unlike pairs that costs nothing.
        margin: f64 = 0.0,
        /// How pairs are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (x1, x2, label) => |self| {
        f::cosine_embedding_loss_with(x1, x2, label, self.margin, self.reduction)
    }
}

loss! {
    /// [`crate::hinge_embedding_loss`] with options.
    HingeEmbeddingLoss {
        /// Distance from which unlike pairs cost nothing.
        margin: f64 = 1.0,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, label) => |self| {
        f::hinge_embedding_loss_with(input, label, self.margin, self.reduction)
    }
}

loss! {
    /// [`crate::margin_ranking_loss`] with options.
    MarginRankingLoss {
        /// Lead from which a pair costs nothing.
        margin: f64 = 0.0,
        /// How pairs are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (x1, x2, label) => |self| {
        f::margin_ranking_loss_with(x1, x2, label, self.margin, self.reduction)
    }
}

loss! {
    /// [`crate::poisson_nll_loss`] with options.
    PoissonNLLLoss {
        /// Whether the input is the logarithm of the rate.
        log_input: bool = true,
        /// Whether to add Stirling's approximation of ln target!.
        full: bool = false,
        /// Added under the logarithm of a rate.
        eps: f64 = 1e-8,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target) => |self| {
        let options = f::PoissonNll {
            log_input: self.log_input,
            full: self.full,
            eps: self.eps,
            reduction: self.reduction,
        };
        f::poisson_nll_loss_with(input, target, options)
    }
}

loss! {
    /// [`crate::gaussian_nll_loss`] with options.
    GaussianNLLLoss {
        /// Whether to add the constant term.
        full: bool = false,
        /// Smallest variance.
        eps: f64 = 1e-6,
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target, var) => |self| {
        f::gaussian_nll_loss_with(input, target, var, self.full, self.eps, self.reduction)
    }
}

loss! {
    /// [`crate::multilabel_margin_loss`] with options.
    MultiLabelMarginLoss {
        /// How rows are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target) => |self| f::multilabel_margin_loss_with(input, target, self.reduction)
}

loss! {
    /// [`crate::multilabel_soft_margin_loss`] with options.
    MultiLabelSoftMarginLoss {
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// How rows are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target) => |self| {
        let weight = self.weight.as_ref();
        f::multilabel_soft_margin_loss_with(input, target, weight, self.reduction)
    }
}

loss! {
    /// [`crate::multi_margin_loss`] with options.
    MultiMarginLoss {
        /// Power of each margin, 1 or 2.
        p: i64 = 1,
        /// How much larger the target's score must be.
        margin: f64 = 1.0,
        /// A weight for each class.
        weight: Option<Tensor> = None,
        /// How rows are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, target) => |self| {
        let options = f::MultiMargin {
            p: self.p,
            margin: self.margin,
            weight: self.weight.clone(),
            reduction: self.reduction,
        };
        f::multi_margin_loss_with(input, target, &options)
    }
}

loss! {
    /// [`crate::soft_margin_loss`] with options.
    SoftMarginLoss {
        /// How elements are combined.
        reduction: Reduction = Reduction::Mean,
    }
    (input, label) => |self| f::soft_margin_loss_with(input, label, self.reduction)
}
