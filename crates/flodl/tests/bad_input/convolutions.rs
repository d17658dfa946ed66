//! Convolutions of all ranks.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "Conv1d rank",
        || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2]))),
        "conv1d: expected an input [N, C, L], got shape [2, 2, 2, 2]",
    ),
    (
        "Conv1d too few dims",
        || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[5]))),
        "conv1d: expected an input [N, C, L], got shape [5]",
    ),
    (
        "Conv1d channels",
        || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[1, 3, 5]))),
        "conv1d: shapes [1, 3, 5] and [4, 2, 3] do not fit: 3 input channels need a weight [C_out, 3 / 1 groups, ...] with C_out a multiple of 1",
    ),
    (
        "Conv1d dtype",
        || unit(Conv1d::new(2, 4, 3)?.forward(&w(&[1, 2, 5]))),
        "conv1d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv1d integers",
        || unit(Conv1d::new(2, 4, 3)?.forward(&n(&[1, 2, 5]))),
        "conv1d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv1d no channels",
        || unit(Conv1d::new(0, 4, 3)),
        "Conv1d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "Conv1d no output",
        || unit(Conv1d::new(2, -1, 3)),
        "Conv1d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    ("Conv1d kernel 0", || unit(Conv1d::new(2, 4, 0)), "Conv1d: kernel [0] must be positive"),
    ("Conv1d kernel -1", || unit(Conv1d::new(2, 4, -1)), "Conv1d: kernel [-1] must be positive"),
    (
        "Conv1d stride 0",
        || unit(Conv1d::configure(2, 4, 3).with_stride(0).done()),
        "Conv1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0], padding: [0], dilation: [1], groups: 1 }",
    ),
    (
        "Conv1d padding -1",
        || unit(Conv1d::configure(2, 4, 3).with_padding(-1).done()),
        "Conv1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [-1], dilation: [1], groups: 1 }",
    ),
    (
        "Conv1d dilation 0",
        || unit(Conv1d::configure(2, 4, 3).with_dilation(0).done()),
        "Conv1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [0], dilation: [0], groups: 1 }",
    ),
    (
        "Conv1d groups of inputs",
        || unit(Conv1d::configure(3, 4, 3).with_groups(2).done()),
        "Conv1d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv1d groups of outputs",
        || unit(Conv1d::configure(4, 3, 3).with_groups(2).done()),
        "Conv1d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv1d groups 0",
        || unit(Conv1d::configure(2, 4, 3).with_groups(0).done()),
        "Conv1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [0], dilation: [1], groups: 0 }",
    ),
    (
        "Conv1d device",
        || unit(Conv1d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "Conv1d too small",
        || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[1, 2, 2]))),
        "conv1d: expected a padded input of at least the kernel's extent 3 in spatial dim 0, got shape [1, 2, 2]",
    ),
    (
        "Conv1d reflection",
        || {
            unit(
                Conv1d::configure(2, 4, 3)
                    .with_padding(5)
                    .with_padding_mode(PaddingMode::Reflect)
                    .done()?
                    .forward(&v(&[1, 2, 5])),
            )
        },
        "Conv1d: expected a dim 2 that reflection padding [5, 5] fits, got shape [1, 2, 5]",
    ),
    (
        "Conv2d rank",
        || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "conv2d: expected an input [N, C, H, W], got shape [2, 2, 2, 2, 2]",
    ),
    (
        "Conv2d too few dims",
        || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[5, 5]))),
        "conv2d: expected an input [N, C, H, W], got shape [5, 5]",
    ),
    (
        "Conv2d channels",
        || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[1, 3, 5, 5]))),
        "conv2d: shapes [1, 3, 5, 5] and [4, 2, 3, 3] do not fit: 3 input channels need a weight [C_out, 3 / 1 groups, ...] with C_out a multiple of 1",
    ),
    (
        "Conv2d dtype",
        || unit(Conv2d::new(2, 4, 3)?.forward(&w(&[1, 2, 5, 5]))),
        "conv2d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv2d integers",
        || unit(Conv2d::new(2, 4, 3)?.forward(&n(&[1, 2, 5, 5]))),
        "conv2d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv2d no channels",
        || unit(Conv2d::new(0, 4, 3)),
        "Conv2d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "Conv2d no output",
        || unit(Conv2d::new(2, -1, 3)),
        "Conv2d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    ("Conv2d kernel 0", || unit(Conv2d::new(2, 4, 0)), "Conv2d: kernel [0, 0] must be positive"),
    (
        "Conv2d kernel -1",
        || unit(Conv2d::new(2, 4, -1)),
        "Conv2d: kernel [-1, -1] must be positive",
    ),
    (
        "Conv2d stride 0",
        || unit(Conv2d::configure(2, 4, 3).with_stride(0).done()),
        "Conv2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0, 0], padding: [0, 0], dilation: [1, 1], groups: 1 }",
    ),
    (
        "Conv2d padding -1",
        || unit(Conv2d::configure(2, 4, 3).with_padding(-1).done()),
        "Conv2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [-1, -1], dilation: [1, 1], groups: 1 }",
    ),
    (
        "Conv2d dilation 0",
        || unit(Conv2d::configure(2, 4, 3).with_dilation(0).done()),
        "Conv2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [0, 0], dilation: [0, 0], groups: 1 }",
    ),
    (
        "Conv2d groups of inputs",
        || unit(Conv2d::configure(3, 4, 3).with_groups(2).done()),
        "Conv2d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv2d groups of outputs",
        || unit(Conv2d::configure(4, 3, 3).with_groups(2).done()),
        "Conv2d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv2d groups 0",
        || unit(Conv2d::configure(2, 4, 3).with_groups(0).done()),
        "Conv2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 0 }",
    ),
    (
        "Conv2d device",
        || unit(Conv2d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "Conv2d too small",
        || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[1, 2, 2, 2]))),
        "conv2d: expected a padded input of at least the kernel's extent 3 in spatial dim 0, got shape [1, 2, 2, 2]",
    ),
    (
        "Conv2d reflection",
        || {
            unit(
                Conv2d::configure(2, 4, 3)
                    .with_padding(5)
                    .with_padding_mode(PaddingMode::Reflect)
                    .done()?
                    .forward(&v(&[1, 2, 5, 5])),
            )
        },
        "Conv2d: expected a dim 3 that reflection padding [5, 5] fits, got shape [1, 2, 5, 5]",
    ),
    (
        "Conv3d rank",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "conv3d: expected an input [N, C, D, H, W], got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "Conv3d too few dims",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[5, 5, 5]))),
        "conv3d: expected an input [N, C, D, H, W], got shape [5, 5, 5]",
    ),
    (
        "Conv3d channels",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[1, 3, 5, 5, 5]))),
        "conv3d: shapes [1, 3, 5, 5, 5] and [4, 2, 3, 3, 3] do not fit: 3 input channels need a weight [C_out, 3 / 1 groups, ...] with C_out a multiple of 1",
    ),
    (
        "Conv3d dtype",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&w(&[1, 2, 5, 5, 5]))),
        "conv3d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv3d integers",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&n(&[1, 2, 5, 5, 5]))),
        "conv3d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "Conv3d no channels",
        || unit(Conv3d::new(0, 4, [3; 3])),
        "Conv3d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "Conv3d no output",
        || unit(Conv3d::new(2, -1, [3; 3])),
        "Conv3d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    (
        "Conv3d kernel 0",
        || unit(Conv3d::new(2, 4, [0; 3])),
        "Conv3d: kernel [0, 0, 0] must be positive",
    ),
    (
        "Conv3d kernel -1",
        || unit(Conv3d::new(2, 4, [-1; 3])),
        "Conv3d: kernel [-1, -1, -1] must be positive",
    ),
    (
        "Conv3d stride 0",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_stride([0; 3]).done()),
        "Conv3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0, 0, 0], padding: [0, 0, 0], dilation: [1, 1, 1], groups: 1 }",
    ),
    (
        "Conv3d padding -1",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_padding([-1; 3]).done()),
        "Conv3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [-1, -1, -1], dilation: [1, 1, 1], groups: 1 }",
    ),
    (
        "Conv3d dilation 0",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_dilation([0; 3]).done()),
        "Conv3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [0, 0, 0], dilation: [0, 0, 0], groups: 1 }",
    ),
    (
        "Conv3d groups of inputs",
        || unit(Conv3d::configure(3, 4, [3; 3]).with_groups(2).done()),
        "Conv3d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv3d groups of outputs",
        || unit(Conv3d::configure(4, 3, [3; 3]).with_groups(2).done()),
        "Conv3d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "Conv3d groups 0",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_groups(0).done()),
        "Conv3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [0, 0, 0], dilation: [1, 1, 1], groups: 0 }",
    ),
    (
        "Conv3d device",
        || unit(Conv3d::configure(2, 4, [3; 3]).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "Conv3d too small",
        || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[1, 2, 2, 2, 2]))),
        "conv3d: expected a padded input of at least the kernel's extent 3 in spatial dim 0, got shape [1, 2, 2, 2, 2]",
    ),
    (
        "Conv3d reflection",
        || {
            unit(
                Conv3d::configure(2, 4, [3; 3])
                    .with_padding([5; 3])
                    .with_padding_mode(PaddingMode::Reflect)
                    .done()?
                    .forward(&v(&[1, 2, 5, 5, 5])),
            )
        },
        "Conv3d: expected a dim 4 that reflection padding [5, 5] fits, got shape [1, 2, 5, 5, 5]",
    ),
];
