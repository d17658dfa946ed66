//! Patches of images as columns, and back.

use super::{IntoSizes, Module};
use crate::{Result, Variable, col2im, im2col};

/// Settings of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patches {
    kernel: [i64; 2],
    dilation: [i64; 2],
    padding: [i64; 2],
    stride: [i64; 2],
}

impl Patches {
    fn plain(kernel: [i64; 2]) -> Self {
        Patches { kernel, dilation: [1; 2], padding: [0; 2], stride: [1; 2] }
    }
}

/// The builder methods of both layers.
macro_rules! settings {
    ($layer:ident) => {
        impl $layer {
            /// Distance of neighbouring elements of a patch; 1 unless set.
            pub fn dilation(mut self, dilation: impl IntoSizes<2>) -> Self {
                self.patches.dilation = dilation.into_sizes();
                self
            }

            /// Zeros around the image; 0 unless set.
            pub fn padding(mut self, padding: impl IntoSizes<2>) -> Self {
                self.patches.padding = padding.into_sizes();
                self
            }

            /// Distance of neighbouring patches; 1 unless set.
            pub fn stride(mut self, stride: impl IntoSizes<2>) -> Self {
                self.patches.stride = stride.into_sizes();
                self
            }
        }
    };
}

/// Takes patches out of images, as columns: `[N, C, H, W]` becomes `[N, C · kernel, patches]`, rows
/// ordered (channel, kernel row, kernel column); without N likewise. A setting outside its domain is
/// an error of the forward.
///
/// ```
/// use flodl::*;
/// let unfold = Unfold::new([3, 3], [1, 1], [0, 0], [1, 1]); // kernel, dilation, padding, stride
/// let x = Variable::new(Tensor::randn(&[2, 3, 28, 28], TensorOptions::default())?, false);
/// assert_eq!(unfold.forward(&x)?.shape(), [2, 27, 676]);
/// let tiles = Unfold::with_kernel([4, 4]).stride([4, 4]);
/// assert_eq!(tiles.forward(&x)?.shape(), [2, 48, 49]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfold {
    patches: Patches,
}

impl Unfold {
    /// All settings; one number counts for both dims.
    pub fn new(
        kernel_size: impl IntoSizes<2>,
        dilation: impl IntoSizes<2>,
        padding: impl IntoSizes<2>,
        stride: impl IntoSizes<2>,
    ) -> Self {
        Self::with_kernel(kernel_size).dilation(dilation).padding(padding).stride(stride)
    }

    /// Neighbouring patches without padding.
    pub fn with_kernel(kernel_size: impl IntoSizes<2>) -> Self {
        Unfold { patches: Patches::plain(kernel_size.into_sizes()) }
    }
}

settings!(Unfold);

impl Module for Unfold {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let p = self.patches;
        im2col(input, p.kernel, p.dilation, p.padding, p.stride)
    }

    fn name(&self) -> &str {
        "Unfold"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// Adds columns back into images: `[N, C · kernel, patches]` becomes `[N, C, H, W]`; without N
/// likewise. Where patches overlap, their elements are summed, so it is the adjoint of [`Unfold`],
/// and its inverse only where they do not. A setting outside its domain is an error of the forward.
///
/// ```
/// use flodl::*;
/// // output size, kernel, dilation, padding, stride
/// let fold = Fold::new([28, 28], [3, 3], [1, 1], [0, 0], [1, 1]);
/// let x = Variable::new(Tensor::randn(&[2, 27, 676], TensorOptions::default())?, false);
/// assert_eq!(fold.forward(&x)?.shape(), [2, 3, 28, 28]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    output_size: [i64; 2],
    patches: Patches,
}

impl Fold {
    /// All settings; one number counts for both dims.
    pub fn new(
        output_size: impl IntoSizes<2>,
        kernel_size: impl IntoSizes<2>,
        dilation: impl IntoSizes<2>,
        padding: impl IntoSizes<2>,
        stride: impl IntoSizes<2>,
    ) -> Self {
        Self::with_kernel(output_size, kernel_size)
            .dilation(dilation)
            .padding(padding)
            .stride(stride)
    }

    /// From neighbouring patches without padding.
    pub fn with_kernel(output_size: impl IntoSizes<2>, kernel_size: impl IntoSizes<2>) -> Self {
        let patches = Patches::plain(kernel_size.into_sizes());
        Fold { output_size: output_size.into_sizes(), patches }
    }
}

settings!(Fold);

impl Module for Fold {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        let p = self.patches;
        col2im(input, self.output_size, p.kernel, p.dilation, p.padding, p.stride)
    }

    fn name(&self) -> &str {
        "Fold"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}
