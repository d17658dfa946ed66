//! Gated linear units: one half of a dim gates the other.

use super::Module;
use crate::autograd::ops::halves;
use crate::{Result, Variable};

/// a · sigmoid(b) for the halves a and b of a dim (Dauphin et al., 2017); the last dim by default.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::randn(&[4, 6], TensorOptions::default())?, true);
/// assert_eq!(GLU::new(-1).forward(&x)?.shape(), [4, 3]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GLU {
    dim: i32,
}

impl GLU {
    /// Along this dim.
    pub fn new(dim: i32) -> Self {
        GLU { dim }
    }
}

impl Default for GLU {
    fn default() -> Self {
        GLU { dim: -1 }
    }
}

impl Module for GLU {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.glu(self.dim)
    }

    fn name(&self) -> &str {
        "GLU"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

macro_rules! gated {
    ($($(#[$doc:meta])* $name:ident => $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name;

        impl $name {
            /// The module, for those who like `new`.
            pub fn new() -> Self {
                $name
            }
        }

        impl Module for $name {
            fn forward(&self, input: &Variable) -> Result<Variable> {
                let (a, b) = halves(stringify!($name), input, -1)?;
                a.$method()?.mul(&b)
            }

            fn name(&self) -> &str {
                stringify!($name)
            }
        }
    )*};
}

gated! {
    /// silu(a) · b for the halves a and b of the last dim (Shazeer, 2020): input `[…, 2 · n]`,
    /// output `[…, n]`. The gate comes first, as in LLaMA's joint gate and up projection.
    ///
    /// ```
    /// use flodl::*;
    /// let feed_forward = FlowBuilder::from(Linear::no_bias(8, 2 * 16)?)
    ///     .through(SwiGLU)
    ///     .through(Linear::no_bias(16, 8)?)
    ///     .build()?;
    /// let x = Variable::new(Tensor::randn(&[4, 8], TensorOptions::default())?, false);
    /// assert_eq!(feed_forward.forward(&x)?.shape(), [4, 8]);
    /// # Ok::<(), Error>(())
    /// ```
    SwiGLU => silu;
    /// gelu(a) · b for the halves a and b of the last dim, with the exact GELU (Shazeer, 2020).
    GeGLU => gelu;
    /// relu(a) · b for the halves a and b of the last dim (Shazeer, 2020).
    ReGLU => relu;
}
