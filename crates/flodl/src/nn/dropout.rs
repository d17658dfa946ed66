//! Dropout layers. A probability outside `[0, 1]` is an error of the first forward.

use std::cell::Cell;
use std::rc::Rc;

use super::Module;
use crate::{Result, Variable, alpha_dropout, dropout, feature_alpha_dropout, feature_dropout};

macro_rules! dropouts {
    ($($(#[$doc:meta])* $name:ident => $function:ident $(, without a batch $unbatched:literal)?;)*) => {$(
        $(#[$doc])*
        /// A new one is in training mode; in eval mode it is the identity. Clones share the mode.
        #[derive(Clone, Debug)]
        pub struct $name {
            p: f64,
            training: Rc<Cell<bool>>,
        }

        impl $name {
            /// Drops with probability `p`. One outside `[0, 1]` or NaN is an error of the first
            /// forward, in eval mode too: a layer without weights is made without a `?`, also
            /// inside a chain of a [`crate::FlowBuilder`].
            pub fn new(p: f64) -> Self {
                $name { p, training: Rc::new(Cell::new(true)) }
            }

            /// The probability of being dropped.
            pub fn p(&self) -> f64 {
                self.p
            }
        }

        impl Module for $name {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                $(if input.ndim() == $unbatched {
                    let x = input.unsqueeze(0)?;
                    return $function(&x, self.p, self.training.get())?.squeeze(0);
                })?
                $function(input, self.p, self.training.get())
            }

            fn name(&self) -> &str {
                stringify!($name)
            }

            fn set_training(&self, training: bool) {
                self.training.set(training);
            }

            fn structural_hash(&self) -> Option<String> {
                Some(format!("{}({})", stringify!($name), self.p))
            }

            fn identity(&self) -> Option<usize> {
                Some(Rc::as_ptr(&self.training) as usize)
            }
        }
    )*};
}

dropouts! {
    /// Zeroes single elements and scales the others by 1 / (1 - p) (Srivastava et al., 2014).
    Dropout => dropout;
    /// Zeroes whole channels of `[N, C, L]` or `[C, L]` and scales the others by 1 / (1 - p).
    Dropout1d => feature_dropout, without a batch 2;
    /// Zeroes whole channels of `[N, C, H, W]` and scales the others by 1 / (1 - p).
    Dropout2d => feature_dropout;
    /// Zeroes whole channels of `[N, C, D, H, W]` or `[C, D, H, W]` and scales the others by
    /// 1 / (1 - p).
    Dropout3d => feature_dropout, without a batch 4;
    /// Dropout that keeps mean 0 and variance 1, for SELU networks (Klambauer et al., 2017).
    AlphaDropout => alpha_dropout;
    /// [`AlphaDropout`] of whole channels of `[N, C, …]`.
    FeatureAlphaDropout => feature_alpha_dropout;
}
