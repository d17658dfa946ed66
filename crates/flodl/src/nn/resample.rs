//! Layers that resize or rearrange space.

use super::Module;
use crate::{
    Interpolation, IntoMode, Result, Variable, channel_shuffle, interpolate, interpolate_by,
    pixel_shuffle, pixel_unshuffle,
};

/// Moves channels to space: `[…, C · r², H, W]` becomes `[…, C, H · r, W · r]` (Shi et al., 2016).
/// Three channels at upscale 4 need 48 channels of input.
///
/// ```
/// use flodl::*;
/// let shuffle = PixelShuffle::new(4);
/// let x = Variable::new(Tensor::randn(&[1, 48, 8, 8], TensorOptions::default())?, false);
/// assert_eq!(shuffle.forward(&x)?.shape(), [1, 3, 32, 32]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelShuffle {
    upscale_factor: i64,
}

impl PixelShuffle {
    /// By this factor in height and width.
    pub fn new(upscale_factor: i64) -> Self {
        PixelShuffle { upscale_factor }
    }
}

impl Module for PixelShuffle {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        pixel_shuffle(input, self.upscale_factor)
    }

    fn name(&self) -> &str {
        "PixelShuffle"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// Moves space to channels: `[…, C, H · r, W · r]` becomes `[…, C · r², H, W]`; the inverse of
/// [`PixelShuffle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelUnshuffle {
    downscale_factor: i64,
}

impl PixelUnshuffle {
    /// By this factor in height and width.
    pub fn new(downscale_factor: i64) -> Self {
        PixelUnshuffle { downscale_factor }
    }
}

impl Module for PixelUnshuffle {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        pixel_unshuffle(input, self.downscale_factor)
    }

    fn name(&self) -> &str {
        "PixelUnshuffle"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// Mixes the channels of `[N, C, …]`: those of `groups` equal groups take turns (Zhang et al.,
/// 2018).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelShuffle {
    groups: i64,
}

impl ChannelShuffle {
    /// Of this many groups.
    pub fn new(groups: i64) -> Self {
        ChannelShuffle { groups }
    }
}

impl Module for ChannelShuffle {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        channel_shuffle(input, self.groups)
    }

    fn name(&self) -> &str {
        "ChannelShuffle"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Size(Vec<i64>),
    Factor(f64),
}

/// Resizes the spatial dims of `[N, C, …]` by interpolation. An unknown mode is an error of the
/// forward.
///
/// ```
/// use flodl::*;
/// let up = Upsample::new(&[64, 64], 1); // 0 nearest, 1 bilinear, 2 bicubic
/// let x = Variable::new(Tensor::randn(&[1, 3, 20, 31], TensorOptions::default())?, false);
/// assert_eq!(up.forward(&x)?.shape(), [1, 3, 64, 64]);
/// let twice = Upsample::with_scale(2.0, Interpolation::Nearest);
/// assert_eq!(twice.forward(&x)?.shape(), [1, 3, 40, 62]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    target: Target,
    mode: std::result::Result<Interpolation, i64>,
    align_corners: bool,
}

impl Upsample {
    /// To this size. The mode is an [`Interpolation`] or its number: 0 nearest, 1 linear (bilinear,
    /// trilinear), 2 cubic.
    pub fn new(output_size: &[i64], mode: impl IntoMode<Interpolation>) -> Self {
        let target = Target::Size(output_size.to_vec());
        Upsample { target, mode: mode.into_mode(), align_corners: false }
    }

    /// By this factor in each dim; a size becomes ⌊size · factor⌋.
    pub fn with_scale(scale_factor: f64, mode: impl IntoMode<Interpolation>) -> Self {
        let target = Target::Factor(scale_factor);
        Upsample { target, mode: mode.into_mode(), align_corners: false }
    }

    /// Whether the centres of the corner elements stay in place; they do not unless set.
    pub fn align_corners(mut self, align: bool) -> Self {
        self.align_corners = align;
        self
    }
}

impl Module for Upsample {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        match &self.target {
            Target::Size(size) => interpolate(input, size, self.mode, self.align_corners),
            Target::Factor(s) => {
                let factors = vec![*s; input.ndim().saturating_sub(2)];
                interpolate_by(input, &factors, self.mode, self.align_corners)
            }
        }
    }

    fn name(&self) -> &str {
        "Upsample"
    }

    fn structural_hash(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}
