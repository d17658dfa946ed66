//! Padding, patches, resizing, shuffles, reshapes and layers of two inputs.

use flodl::*;

use super::*;

fn square() -> Tensor {
    t(&[1, 1, 2, 2])
}

pub const CALLS: &[Row] = &[
    (
        "ZeroPad1d rank",
        || unit(ZeroPad1d::new(1).forward(&v(&[2, 2, 2, 2]))),
        "ZeroPad1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "ZeroPad1d too few dims",
        || unit(ZeroPad1d::new(1).forward(&v(&[5]))),
        "ZeroPad1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "ZeroPad1d size",
        || unit(ZeroPad1d::new(-2).forward(&v(&[1, 2, 3]))),
        "ZeroPad1d: expected a dim 2 that constant padding [-2, -2] fits, got shape [1, 2, 3]",
    ),
    (
        "ConstantPad1d rank",
        || unit(ConstantPad1d::new(1, 1.0).forward(&v(&[2, 2, 2, 2]))),
        "ConstantPad1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "ConstantPad1d too few dims",
        || unit(ConstantPad1d::new(1, 1.0).forward(&v(&[5]))),
        "ConstantPad1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "ConstantPad1d size",
        || unit(ConstantPad1d::new(-2, 1.0).forward(&v(&[1, 2, 3]))),
        "ConstantPad1d: expected a dim 2 that constant padding [-2, -2] fits, got shape [1, 2, 3]",
    ),
    (
        "ReflectionPad1d rank",
        || unit(ReflectionPad1d::new(1).forward(&v(&[2, 2, 2, 2]))),
        "ReflectionPad1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "ReflectionPad1d too few dims",
        || unit(ReflectionPad1d::new(1).forward(&v(&[5]))),
        "ReflectionPad1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "ReflectionPad1d size",
        || unit(ReflectionPad1d::new(3).forward(&v(&[1, 2, 3]))),
        "ReflectionPad1d: expected a dim 2 that reflection padding [3, 3] fits, got shape [1, 2, 3]",
    ),
    (
        "ReplicationPad1d rank",
        || unit(ReplicationPad1d::new(1).forward(&v(&[2, 2, 2, 2]))),
        "ReplicationPad1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "ReplicationPad1d too few dims",
        || unit(ReplicationPad1d::new(1).forward(&v(&[5]))),
        "ReplicationPad1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "ReplicationPad1d size",
        || unit(ReplicationPad1d::new(-2).forward(&v(&[1, 2, 3]))),
        "ReplicationPad1d: expected a dim 2 that replication padding [-2, -2] fits, got shape [1, 2, 3]",
    ),
    (
        "CircularPad1d rank",
        || unit(CircularPad1d::new(1).forward(&v(&[2, 2, 2, 2]))),
        "CircularPad1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "CircularPad1d too few dims",
        || unit(CircularPad1d::new(1).forward(&v(&[5]))),
        "CircularPad1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "CircularPad1d size",
        || unit(CircularPad1d::new(4).forward(&v(&[1, 2, 3]))),
        "CircularPad1d: expected a dim 2 that circular padding [4, 4] fits, got shape [1, 2, 3]",
    ),
    (
        "ZeroPad2d rank",
        || unit(ZeroPad2d::new(1).forward(&v(&[2, 2, 2, 2, 2]))),
        "ZeroPad2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "ZeroPad2d too few dims",
        || unit(ZeroPad2d::new(1).forward(&v(&[5, 5]))),
        "ZeroPad2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "ZeroPad2d size",
        || unit(ZeroPad2d::new(-2).forward(&v(&[1, 2, 3, 3]))),
        "ZeroPad2d: expected a dim 3 that constant padding [-2, -2] fits, got shape [1, 2, 3, 3]",
    ),
    (
        "ConstantPad2d rank",
        || unit(ConstantPad2d::new(1, 1.0).forward(&v(&[2, 2, 2, 2, 2]))),
        "ConstantPad2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "ConstantPad2d too few dims",
        || unit(ConstantPad2d::new(1, 1.0).forward(&v(&[5, 5]))),
        "ConstantPad2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "ConstantPad2d size",
        || unit(ConstantPad2d::new(-2, 1.0).forward(&v(&[1, 2, 3, 3]))),
        "ConstantPad2d: expected a dim 3 that constant padding [-2, -2] fits, got shape [1, 2, 3, 3]",
    ),
    (
        "ReflectionPad2d rank",
        || unit(ReflectionPad2d::new(1).forward(&v(&[2, 2, 2, 2, 2]))),
        "ReflectionPad2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "ReflectionPad2d too few dims",
        || unit(ReflectionPad2d::new(1).forward(&v(&[5, 5]))),
        "ReflectionPad2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "ReflectionPad2d size",
        || unit(ReflectionPad2d::new(3).forward(&v(&[1, 2, 3, 3]))),
        "ReflectionPad2d: expected a dim 3 that reflection padding [3, 3] fits, got shape [1, 2, 3, 3]",
    ),
    (
        "ReplicationPad2d rank",
        || unit(ReplicationPad2d::new(1).forward(&v(&[2, 2, 2, 2, 2]))),
        "ReplicationPad2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "ReplicationPad2d too few dims",
        || unit(ReplicationPad2d::new(1).forward(&v(&[5, 5]))),
        "ReplicationPad2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "ReplicationPad2d size",
        || unit(ReplicationPad2d::new(-2).forward(&v(&[1, 2, 3, 3]))),
        "ReplicationPad2d: expected a dim 3 that replication padding [-2, -2] fits, got shape [1, 2, 3, 3]",
    ),
    (
        "CircularPad2d rank",
        || unit(CircularPad2d::new(1).forward(&v(&[2, 2, 2, 2, 2]))),
        "CircularPad2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "CircularPad2d too few dims",
        || unit(CircularPad2d::new(1).forward(&v(&[5, 5]))),
        "CircularPad2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "CircularPad2d size",
        || unit(CircularPad2d::new(4).forward(&v(&[1, 2, 3, 3]))),
        "CircularPad2d: expected a dim 3 that circular padding [4, 4] fits, got shape [1, 2, 3, 3]",
    ),
    (
        "ZeroPad3d rank",
        || unit(ZeroPad3d::new(1).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "ZeroPad3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "ZeroPad3d too few dims",
        || unit(ZeroPad3d::new(1).forward(&v(&[5, 5, 5]))),
        "ZeroPad3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "ZeroPad3d size",
        || unit(ZeroPad3d::new(-2).forward(&v(&[1, 2, 3, 3, 3]))),
        "ZeroPad3d: expected a dim 4 that constant padding [-2, -2] fits, got shape [1, 2, 3, 3, 3]",
    ),
    (
        "ConstantPad3d rank",
        || unit(ConstantPad3d::new(1, 1.0).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "ConstantPad3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "ConstantPad3d too few dims",
        || unit(ConstantPad3d::new(1, 1.0).forward(&v(&[5, 5, 5]))),
        "ConstantPad3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "ConstantPad3d size",
        || unit(ConstantPad3d::new(-2, 1.0).forward(&v(&[1, 2, 3, 3, 3]))),
        "ConstantPad3d: expected a dim 4 that constant padding [-2, -2] fits, got shape [1, 2, 3, 3, 3]",
    ),
    (
        "ReflectionPad3d rank",
        || unit(ReflectionPad3d::new(1).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "ReflectionPad3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "ReflectionPad3d too few dims",
        || unit(ReflectionPad3d::new(1).forward(&v(&[5, 5, 5]))),
        "ReflectionPad3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "ReflectionPad3d size",
        || unit(ReflectionPad3d::new(3).forward(&v(&[1, 2, 3, 3, 3]))),
        "ReflectionPad3d: expected a dim 4 that reflection padding [3, 3] fits, got shape [1, 2, 3, 3, 3]",
    ),
    (
        "ReplicationPad3d rank",
        || unit(ReplicationPad3d::new(1).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "ReplicationPad3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "ReplicationPad3d too few dims",
        || unit(ReplicationPad3d::new(1).forward(&v(&[5, 5, 5]))),
        "ReplicationPad3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "ReplicationPad3d size",
        || unit(ReplicationPad3d::new(-2).forward(&v(&[1, 2, 3, 3, 3]))),
        "ReplicationPad3d: expected a dim 4 that replication padding [-2, -2] fits, got shape [1, 2, 3, 3, 3]",
    ),
    (
        "CircularPad3d rank",
        || unit(CircularPad3d::new(1).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "CircularPad3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "CircularPad3d too few dims",
        || unit(CircularPad3d::new(1).forward(&v(&[5, 5, 5]))),
        "CircularPad3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "CircularPad3d size",
        || unit(CircularPad3d::new(4).forward(&v(&[1, 2, 3, 3, 3]))),
        "CircularPad3d: expected a dim 4 that circular padding [4, 4] fits, got shape [1, 2, 3, 3, 3]",
    ),
    (
        "Unfold rank",
        || unit(Unfold::with_kernel(2).forward(&v(&[4, 5]))),
        "im2col: expected images [N, C, H, W] or [C, H, W], got shape [4, 5]",
    ),
    (
        "Unfold kernel 0",
        || unit(Unfold::with_kernel(0).forward(&v(&[1, 2, 4, 5]))),
        "im2col: kernel [0, 0], dilation [1, 1] and stride [1, 1] must be positive and padding [0, 0] not negative",
    ),
    (
        "Unfold stride 0",
        || unit(Unfold::with_kernel(2).stride(0).forward(&v(&[1, 2, 4, 5]))),
        "im2col: kernel [2, 2], dilation [1, 1] and stride [0, 0] must be positive and padding [0, 0] not negative",
    ),
    (
        "Unfold dilation 0",
        || unit(Unfold::with_kernel(2).dilation(0).forward(&v(&[1, 2, 4, 5]))),
        "im2col: kernel [2, 2], dilation [0, 0] and stride [1, 1] must be positive and padding [0, 0] not negative",
    ),
    (
        "Unfold padding -1",
        || unit(Unfold::with_kernel(2).padding(-1).forward(&v(&[1, 2, 4, 5]))),
        "im2col: kernel [2, 2], dilation [1, 1] and stride [1, 1] must be positive and padding [-1, -1] not negative",
    ),
    (
        "Unfold too small",
        || unit(Unfold::with_kernel(6).forward(&v(&[1, 2, 4, 5]))),
        "im2col: expected an image of which a patch of 6 fits into dim 0, got shape [4, 5]",
    ),
    (
        "Unfold integers",
        || unit(Unfold::with_kernel(2).forward(&n(&[1, 2, 4, 5]))),
        "im2col: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Fold rank",
        || unit(Fold::with_kernel([4, 5], 2).forward(&v(&[8]))),
        "col2im: expected columns [N, C * 4, 12] or without N, for the 12 patches of [2, 2] in an image of [4, 5], got shape [8]",
    ),
    (
        "Fold channels",
        || unit(Fold::with_kernel([4, 5], 2).forward(&v(&[1, 7, 12]))),
        "col2im: expected columns [N, C * 4, 12] or without N, for the 12 patches of [2, 2] in an image of [4, 5], got shape [1, 7, 12]",
    ),
    (
        "Fold blocks",
        || unit(Fold::with_kernel([4, 5], 2).forward(&v(&[1, 8, 11]))),
        "col2im: expected columns [N, C * 4, 12] or without N, for the 12 patches of [2, 2] in an image of [4, 5], got shape [1, 8, 11]",
    ),
    (
        "Fold kernel 0",
        || unit(Fold::with_kernel([4, 5], 0).forward(&v(&[1, 8, 12]))),
        "col2im: kernel [0, 0], dilation [1, 1] and stride [1, 1] must be positive and padding [0, 0] not negative",
    ),
    (
        "Fold size 0",
        || unit(Fold::with_kernel([0, 5], 2).forward(&v(&[1, 8, 12]))),
        "col2im: output size [0, 5] must be positive",
    ),
    (
        "PixelShuffle factor 0",
        || unit(PixelShuffle::new(0).forward(&v(&[1, 4, 2, 2]))),
        "pixel_shuffle: factor 0 must be positive",
    ),
    (
        "PixelShuffle channels",
        || unit(PixelShuffle::new(2).forward(&v(&[1, 6, 2, 2]))),
        "pixel_shuffle: expected channels that 4 divides, got shape [1, 6, 2, 2]",
    ),
    (
        "PixelShuffle rank",
        || unit(PixelShuffle::new(2).forward(&v(&[4, 2]))),
        "pixel_shuffle: expected an input [..., C, H, W], got shape [4, 2]",
    ),
    (
        "PixelUnshuffle factor 0",
        || unit(PixelUnshuffle::new(0).forward(&v(&[1, 4, 2, 2]))),
        "pixel_unshuffle: factor 0 must be positive",
    ),
    (
        "PixelUnshuffle size",
        || unit(PixelUnshuffle::new(2).forward(&v(&[1, 4, 3, 2]))),
        "pixel_unshuffle: expected a height and width that 2 divides, got shape [1, 4, 3, 2]",
    ),
    (
        "PixelUnshuffle rank",
        || unit(PixelUnshuffle::new(2).forward(&v(&[4, 2]))),
        "pixel_unshuffle: expected an input [..., C, H, W], got shape [4, 2]",
    ),
    (
        "ChannelShuffle groups 0",
        || unit(ChannelShuffle::new(0).forward(&v(&[1, 4, 2]))),
        "channel_shuffle: expected an input [N, C, ...] whose channels 0 groups divide, got shape [1, 4, 2]",
    ),
    (
        "ChannelShuffle groups",
        || unit(ChannelShuffle::new(3).forward(&v(&[1, 4, 2]))),
        "channel_shuffle: expected an input [N, C, ...] whose channels 3 groups divide, got shape [1, 4, 2]",
    ),
    (
        "ChannelShuffle rank",
        || unit(ChannelShuffle::new(2).forward(&v(&[4]))),
        "channel_shuffle: expected an input [N, C, ...] whose channels 2 groups divide, got shape [4]",
    ),
    (
        "Upsample rank",
        || unit(Upsample::new(&[4, 4], 1).forward(&v(&[1, 2, 3]))),
        "interpolate: expected an input [N, C, ...] whose 2 spatial dims are not empty, got shape [1, 2, 3]",
    ),
    (
        "Upsample mode",
        || unit(Upsample::new(&[4, 4], 7).forward(&v(&[1, 2, 3, 3]))),
        "interpolate: mode 7 is none of 0 (nearest), 1 (linear), 2 (cubic)",
    ),
    (
        "Upsample size 0",
        || unit(Upsample::new(&[0, 4], 0).forward(&v(&[1, 2, 3, 3]))),
        "interpolate: output size [0, 4] must be positive",
    ),
    (
        "Upsample empty space",
        || unit(Upsample::new(&[4, 4], 0).forward(&v(&[1, 2, 0, 3]))),
        "interpolate: expected an input [N, C, ...] whose 2 spatial dims are not empty, got shape [1, 2, 0, 3]",
    ),
    (
        "Upsample cubic line",
        || unit(Upsample::new(&[4], 2).forward(&v(&[1, 2, 3]))),
        "interpolate: cubic interpolation takes two spatial dims",
    ),
    (
        "Upsample nearest aligned",
        || unit(Upsample::new(&[4, 4], 0).align_corners(true).forward(&v(&[1, 2, 3, 3]))),
        "interpolate: align_corners has no meaning for nearest interpolation",
    ),
    (
        "Upsample scale",
        || unit(Upsample::with_scale(-1.0, Interpolation::Nearest).forward(&v(&[1, 2, 3, 3]))),
        "interpolate: scale factors [-1.0, -1.0] must be positive, one for each spatial dim",
    ),
    (
        "Flatten dims",
        || unit(Flatten::new(2, 1).forward(&v(&[2, 3, 4]))),
        "flatten: start_dim 2 comes after end_dim 1",
    ),
    (
        "Flatten dim",
        || unit(Flatten::new(1, 5).forward(&v(&[2, 3]))),
        "flatten: dim 5 is out of range for a tensor of 2 dims",
    ),
    (
        "Unflatten sizes",
        || unit(Unflatten::new(1, &[2, 2]).forward(&v(&[2, 6]))),
        "Unflatten: expected a dim 1 that sizes [2, 2] make up, got shape [2, 6]",
    ),
    (
        "Unflatten dim",
        || unit(Unflatten::new(3, &[2]).forward(&v(&[2, 6]))),
        "Unflatten: dim 3 is out of range for a tensor of 2 dims",
    ),
    (
        "Reshape sizes",
        || unit(Reshape::new(&[4]).forward(&v(&[2, 3]))),
        "reshape: shapes [2, 3] and [4] do not fit: 6 elements do not fill the new shape",
    ),
    (
        "Bilinear alone",
        || unit(Bilinear::new(3, 4, 2, true)?.forward(&v(&[2, 3]))),
        "Bilinear: takes two inputs: call forward_bilinear, or name the second one in a graph with using",
    ),
    (
        "Bilinear first",
        || unit(Bilinear::new(3, 4, 2, true)?.forward_bilinear(&v(&[2, 4]), &v(&[2, 4]))),
        "Bilinear: expected inputs [..., 3] and [..., 4], got shape [2, 4]",
    ),
    (
        "Bilinear second",
        || unit(Bilinear::new(3, 4, 2, true)?.forward_bilinear(&v(&[2, 3]), &v(&[2, 3]))),
        "Bilinear: expected inputs [..., 3] and [..., 4], got shape [2, 3]",
    ),
    (
        "Bilinear batch",
        || unit(Bilinear::new(3, 4, 2, true)?.forward_bilinear(&v(&[2, 3]), &v(&[5, 4]))),
        "bilinear: shapes [2, 3] and [5, 4] do not fit: inputs must be [..., 3] and [..., 4] with the same dims before",
    ),
    (
        "Bilinear dtype",
        || unit(Bilinear::new(3, 4, 2, true)?.forward_bilinear(&w(&[2, 3]), &w(&[2, 4]))),
        "bilinear: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Bilinear size 0",
        || unit(Bilinear::new(0, 4, 2, true)),
        "Bilinear: weight sizes [2, 0, 4] must be positive",
    ),
    (
        "CosineSimilarity alone",
        || unit(CosineSimilarity::new(1, 1e-8).forward(&v(&[2, 3]))),
        "CosineSimilarity: takes two inputs: call forward_pair, or name the second one in a graph with using",
    ),
    (
        "CosineSimilarity sizes",
        || unit(CosineSimilarity::new(1, 1e-8).forward_pair(&v(&[2, 3]), &v(&[2, 4]))),
        "cosine_similarity: shapes [2, 3] and [2, 4] do not fit: sizes 3 and 4 at dim 1 cannot be broadcast",
    ),
    (
        "CosineSimilarity dim",
        || unit(CosineSimilarity::new(2, 1e-8).forward_pair(&v(&[2, 3]), &v(&[2, 3]))),
        "norm: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "PairwiseDistance alone",
        || unit(PairwiseDistance::new(2.0).forward(&v(&[2, 3]))),
        "PairwiseDistance: takes two inputs: call forward_pair, or name the second one in a graph with using",
    ),
    (
        "PairwiseDistance sizes",
        || unit(PairwiseDistance::new(2.0).forward_pair(&v(&[2, 3]), &v(&[2, 4]))),
        "sub: shapes [2, 3] and [2, 4] do not fit: sizes 3 and 4 at dim 1 cannot be broadcast",
    ),
    (
        "GaussianBlur rank",
        || unit(GaussianBlur::new(1.0).forward(&v(&[3]))),
        "gaussian_blur_2d: expected an input [N, C, H, W] or [C, H, W], got shape [3]",
    ),
    (
        "GaussianBlur sigma",
        || unit(GaussianBlur::new(-1.0).forward(&v(&[1, 2, 4, 4]))),
        "gaussian_blur_2d: sigma -1 must not be negative, and below 1e6",
    ),
    (
        "Linear width",
        || unit(Linear::new(3, 4)?.forward(&v(&[2, 5]))),
        "Linear: expected an input [..., 3], got shape [2, 5]",
    ),
    (
        "Linear dtype",
        || unit(Linear::new(3, 4)?.forward(&w(&[2, 3]))),
        "linear: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Linear integers",
        || unit(Linear::new(3, 4)?.forward(&n(&[2, 3]))),
        "linear: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Linear scalar",
        || unit(Linear::new(3, 4)?.forward(&v(&[]))),
        "Linear: expected an input [..., 3], got shape []",
    ),
    (
        "Linear size -1",
        || unit(Linear::new(-1, 4)),
        "rand: expected sizes of at least 0, got shape [4, -1]",
    ),
    (
        "Linear device",
        || unit(Linear::on_device(3, 4, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "Unfold huge kernel",
        || unit(Unfold::with_kernel(i64::MAX).padding(i64::MAX).forward(&v(&[1, 2, 4, 5]))),
        "im2col: expected sizes of at least 0, got shape [1, 2, -1, 1]",
    ),
    (
        "Unfold huge padding",
        || unit(Unfold::with_kernel(2).padding(i64::MAX / 4).forward(&v(&[1, 2, 4, 5]))),
        "im2col: expected sizes of at least 0, got shape [1, 2, 4, -1]",
    ),
    (
        "conv2d huge padding",
        || unit(square().conv2d(&square(), None, [1; 2], [i64::MAX; 2], [1; 2], 1)),
        "conv2d: expected fewer elements than memory can address, got shape [1, 1, 9223372036854775806, 9223372036854775806]",
    ),
    (
        "conv2d huge dilation",
        || unit(square().conv2d(&square(), None, [1; 2], [0; 2], [i64::MAX; 2], 1)),
        "conv2d: expected a padded input of at least the kernel's extent 9223372036854775807 in spatial dim 0, got shape [1, 1, 2, 2]",
    ),
    (
        "conv_transpose2d huge stride",
        || {
            unit(square().conv_transpose2d(
                &square(),
                None,
                [i64::MAX; 2],
                [0; 2],
                [0; 2],
                [1; 2],
                1,
            ))
        },
        "conv_transpose2d: expected fewer elements than memory can address, got shape [1, 1, 9223372036854775807, 9223372036854775807]",
    ),
    (
        "max_pool2d huge kernel",
        || unit(square().max_pool2d([i64::MAX; 2], [1; 2], [0; 2], [1; 2], false)),
        "max_pool2d: expected an input that a window of [9223372036854775807, 9223372036854775807] fits into, got shape [1, 1, 2, 2]",
    ),
    (
        "max_pool2d huge dilation",
        || unit(square().max_pool2d([2; 2], [1; 2], [0; 2], [i64::MAX; 2], false)),
        "max_pool2d: expected an input that a window of [2, 2] fits into, got shape [1, 1, 2, 2]",
    ),
    (
        "adaptive_avg_pool2d huge",
        || unit(square().adaptive_avg_pool2d([i64::MAX; 2])),
        "adaptive_avg_pool2d: expected fewer elements than memory can address, got shape [1, 9223372036854775807, 9223372036854775807]",
    ),
    (
        "interpolate huge",
        || unit(square().interpolate(&[i64::MAX, 2], 0, false)),
        "interpolate: expected fewer elements than memory can address, got shape [1, 1, 9223372036854775807, 2]",
    ),
    (
        "pixel_shuffle huge",
        || unit(square().pixel_shuffle(i64::MAX)),
        "pixel_shuffle: expected channels that 9223372036854775807 divides, got shape [1, 1, 2, 2]",
    ),
    (
        "pixel_shuffle huge of nothing",
        || unit(t(&[1, 0, 2, 2]).pixel_shuffle(i64::MAX)),
        "pixel_shuffle: expected fewer elements than memory can address, got shape [1, 0, 9223372036854775807, 9223372036854775807]",
    ),
    (
        "pixel_unshuffle huge",
        || unit(square().pixel_unshuffle(i64::MAX)),
        "pixel_unshuffle: expected a height and width that 9223372036854775807 divides, got shape [1, 1, 2, 2]",
    ),
    (
        "Conv2d huge kernel",
        || unit(Conv2d::new(1, 1, i64::MAX)),
        "Conv2d: expected fewer elements than memory can address, got shape [1, 1, 9223372036854775807, 9223372036854775807]",
    ),
    (
        "Unflatten scalar",
        || unit(Unflatten::new(0, &[1]).forward(&v(&[]))),
        "Unflatten: dim 0 is out of range for a tensor of 0 dims",
    ),
    (
        "pad one side",
        || unit(v(&[1, 3]).pad(&[1], 0.0)),
        "pad: expected a tensor that padding [1] fits (a pair for each dim, the last dim's first), got shape [1, 3]",
    ),
    (
        "pad more dims",
        || unit(v(&[1, 3]).pad(&[1; 6], 0.0)),
        "pad: expected a tensor that padding [1, 1, 1, 1, 1, 1] fits (a pair for each dim, the last dim's first), got shape [1, 3]",
    ),
    (
        "pad mode",
        || unit(v(&[1, 3]).pad_mode(&[1, 1], 7, 0.0)),
        "pad: mode 7 is none of 0 (constant), 1 (reflect), 2 (replicate), 3 (circular)",
    ),
];
