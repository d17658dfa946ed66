//! Gaussian blur as a layer.

use super::Module;
use crate::{Result, Variable, gaussian_blur_2d};

/// Blurs images `[N, C, H, W]` or `[C, H, W]` with a Gaussian, see [`gaussian_blur_2d`]. A deviation
/// outside its domain is an error of the forward.
///
/// ```
/// use flodl::*;
/// let blur = GaussianBlur::new(1.0);
/// let x = Variable::new(Tensor::randn(&[1, 3, 16, 16], TensorOptions::default())?, false);
/// assert_eq!(blur.forward(&x)?.shape(), [1, 3, 16, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianBlur {
    sigma: f64,
}

impl GaussianBlur {
    /// With this standard deviation in pixels.
    pub fn new(sigma: f64) -> Self {
        GaussianBlur { sigma }
    }
}

impl Module for GaussianBlur {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        gaussian_blur_2d(input, self.sigma)
    }

    fn name(&self) -> &str {
        "GaussianBlur"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}
