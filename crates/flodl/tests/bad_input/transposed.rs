//! Transposed convolutions of all ranks.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "ConvTranspose1d rank",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2]))),
        "conv_transpose1d: expected an input [N, C, L], got shape [2, 2, 2, 2]",
    ),
    (
        "ConvTranspose1d too few dims",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[5]))),
        "conv_transpose1d: expected an input [N, C, L], got shape [5]",
    ),
    (
        "ConvTranspose1d channels",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[1, 3, 5]))),
        "conv_transpose1d: shapes [1, 3, 5] and [2, 4, 3] do not fit: 3 input channels need a weight [3, C_out / 1 groups, ...]",
    ),
    (
        "ConvTranspose1d dtype",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&w(&[1, 2, 5]))),
        "conv_transpose1d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose1d integers",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&n(&[1, 2, 5]))),
        "conv_transpose1d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose1d no channels",
        || unit(ConvTranspose1d::new(0, 4, 3)),
        "ConvTranspose1d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose1d no output",
        || unit(ConvTranspose1d::new(2, -1, 3)),
        "ConvTranspose1d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose1d kernel 0",
        || unit(ConvTranspose1d::new(2, 4, 0)),
        "ConvTranspose1d: kernel [0] must be positive",
    ),
    (
        "ConvTranspose1d kernel -1",
        || unit(ConvTranspose1d::new(2, 4, -1)),
        "ConvTranspose1d: kernel [-1] must be positive",
    ),
    (
        "ConvTranspose1d stride 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_stride(0).done()),
        "ConvTranspose1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0], padding: [0], dilation: [1], groups: 1 }",
    ),
    (
        "ConvTranspose1d padding -1",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_padding(-1).done()),
        "ConvTranspose1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [-1], dilation: [1], groups: 1 }",
    ),
    (
        "ConvTranspose1d dilation 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_dilation(0).done()),
        "ConvTranspose1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [0], dilation: [0], groups: 1 }",
    ),
    (
        "ConvTranspose1d groups of inputs",
        || unit(ConvTranspose1d::configure(3, 4, 3).with_groups(2).done()),
        "ConvTranspose1d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose1d groups of outputs",
        || unit(ConvTranspose1d::configure(4, 3, 3).with_groups(2).done()),
        "ConvTranspose1d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose1d groups 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_groups(0).done()),
        "ConvTranspose1d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1], padding: [0], dilation: [1], groups: 0 }",
    ),
    (
        "ConvTranspose1d device",
        || unit(ConvTranspose1d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "ConvTranspose1d output padding",
        || {
            unit(
                ConvTranspose1d::configure(2, 4, 3)
                    .with_output_padding(1)
                    .done()?
                    .forward(&v(&[1, 2, 5])),
            )
        },
        "ConvTranspose1d: output_padding [1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose1d output padding -1",
        || {
            unit(
                ConvTranspose1d::configure(2, 4, 3)
                    .with_output_padding(-1)
                    .done()?
                    .forward(&v(&[1, 2, 5])),
            )
        },
        "ConvTranspose1d: output_padding [-1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose1d nothing left",
        || {
            unit(
                ConvTranspose1d::configure(2, 4, 3).with_padding(9).done()?.forward(&v(&[1, 2, 5])),
            )
        },
        "conv_transpose1d: expected an input that leaves a positive output size, got shape [1, 2, 5]",
    ),
    (
        "ConvTranspose1d empty space",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[1, 2, 0]))),
        "conv_transpose1d: expected an input that leaves a positive output size, got shape [1, 2, 0]",
    ),
    (
        "ConvTranspose2d rank",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "conv_transpose2d: expected an input [N, C, H, W], got shape [2, 2, 2, 2, 2]",
    ),
    (
        "ConvTranspose2d too few dims",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[5, 5]))),
        "conv_transpose2d: expected an input [N, C, H, W], got shape [5, 5]",
    ),
    (
        "ConvTranspose2d channels",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[1, 3, 5, 5]))),
        "conv_transpose2d: shapes [1, 3, 5, 5] and [2, 4, 3, 3] do not fit: 3 input channels need a weight [3, C_out / 1 groups, ...]",
    ),
    (
        "ConvTranspose2d dtype",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&w(&[1, 2, 5, 5]))),
        "conv_transpose2d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose2d integers",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&n(&[1, 2, 5, 5]))),
        "conv_transpose2d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose2d no channels",
        || unit(ConvTranspose2d::new(0, 4, 3)),
        "ConvTranspose2d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose2d no output",
        || unit(ConvTranspose2d::new(2, -1, 3)),
        "ConvTranspose2d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose2d kernel 0",
        || unit(ConvTranspose2d::new(2, 4, 0)),
        "ConvTranspose2d: kernel [0, 0] must be positive",
    ),
    (
        "ConvTranspose2d kernel -1",
        || unit(ConvTranspose2d::new(2, 4, -1)),
        "ConvTranspose2d: kernel [-1, -1] must be positive",
    ),
    (
        "ConvTranspose2d stride 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_stride(0).done()),
        "ConvTranspose2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0, 0], padding: [0, 0], dilation: [1, 1], groups: 1 }",
    ),
    (
        "ConvTranspose2d padding -1",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_padding(-1).done()),
        "ConvTranspose2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [-1, -1], dilation: [1, 1], groups: 1 }",
    ),
    (
        "ConvTranspose2d dilation 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_dilation(0).done()),
        "ConvTranspose2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [0, 0], dilation: [0, 0], groups: 1 }",
    ),
    (
        "ConvTranspose2d groups of inputs",
        || unit(ConvTranspose2d::configure(3, 4, 3).with_groups(2).done()),
        "ConvTranspose2d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose2d groups of outputs",
        || unit(ConvTranspose2d::configure(4, 3, 3).with_groups(2).done()),
        "ConvTranspose2d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose2d groups 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_groups(0).done()),
        "ConvTranspose2d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 0 }",
    ),
    (
        "ConvTranspose2d device",
        || unit(ConvTranspose2d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "ConvTranspose2d output padding",
        || {
            unit(
                ConvTranspose2d::configure(2, 4, 3)
                    .with_output_padding(1)
                    .done()?
                    .forward(&v(&[1, 2, 5, 5])),
            )
        },
        "ConvTranspose2d: output_padding [1, 1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose2d output padding -1",
        || {
            unit(
                ConvTranspose2d::configure(2, 4, 3)
                    .with_output_padding(-1)
                    .done()?
                    .forward(&v(&[1, 2, 5, 5])),
            )
        },
        "ConvTranspose2d: output_padding [-1, -1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose2d nothing left",
        || {
            unit(
                ConvTranspose2d::configure(2, 4, 3)
                    .with_padding(9)
                    .done()?
                    .forward(&v(&[1, 2, 5, 5])),
            )
        },
        "conv_transpose2d: expected an input that leaves a positive output size, got shape [1, 2, 5, 5]",
    ),
    (
        "ConvTranspose2d empty space",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[1, 2, 0, 0]))),
        "conv_transpose2d: expected an input that leaves a positive output size, got shape [1, 2, 0, 0]",
    ),
    (
        "ConvTranspose3d rank",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "conv_transpose3d: expected an input [N, C, D, H, W], got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "ConvTranspose3d too few dims",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[5, 5, 5]))),
        "conv_transpose3d: expected an input [N, C, D, H, W], got shape [5, 5, 5]",
    ),
    (
        "ConvTranspose3d channels",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[1, 3, 5, 5, 5]))),
        "conv_transpose3d: shapes [1, 3, 5, 5, 5] and [2, 4, 3, 3, 3] do not fit: 3 input channels need a weight [3, C_out / 1 groups, ...]",
    ),
    (
        "ConvTranspose3d dtype",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&w(&[1, 2, 5, 5, 5]))),
        "conv_transpose3d: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose3d integers",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&n(&[1, 2, 5, 5, 5]))),
        "conv_transpose3d: dtypes int64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "ConvTranspose3d no channels",
        || unit(ConvTranspose3d::new(0, 4, [3; 3])),
        "ConvTranspose3d: 0 input and 4 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose3d no output",
        || unit(ConvTranspose3d::new(2, -1, [3; 3])),
        "ConvTranspose3d: 2 input and -1 output channels must be positive and multiples of 1 groups",
    ),
    (
        "ConvTranspose3d kernel 0",
        || unit(ConvTranspose3d::new(2, 4, [0; 3])),
        "ConvTranspose3d: kernel [0, 0, 0] must be positive",
    ),
    (
        "ConvTranspose3d kernel -1",
        || unit(ConvTranspose3d::new(2, 4, [-1; 3])),
        "ConvTranspose3d: kernel [-1, -1, -1] must be positive",
    ),
    (
        "ConvTranspose3d stride 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_stride([0; 3]).done()),
        "ConvTranspose3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [0, 0, 0], padding: [0, 0, 0], dilation: [1, 1, 1], groups: 1 }",
    ),
    (
        "ConvTranspose3d padding -1",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_padding([-1; 3]).done()),
        "ConvTranspose3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [-1, -1, -1], dilation: [1, 1, 1], groups: 1 }",
    ),
    (
        "ConvTranspose3d dilation 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_dilation([0; 3]).done()),
        "ConvTranspose3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [0, 0, 0], dilation: [0, 0, 0], groups: 1 }",
    ),
    (
        "ConvTranspose3d groups of inputs",
        || unit(ConvTranspose3d::configure(3, 4, [3; 3]).with_groups(2).done()),
        "ConvTranspose3d: 3 input and 4 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose3d groups of outputs",
        || unit(ConvTranspose3d::configure(4, 3, [3; 3]).with_groups(2).done()),
        "ConvTranspose3d: 4 input and 3 output channels must be positive and multiples of 2 groups",
    ),
    (
        "ConvTranspose3d groups 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_groups(0).done()),
        "ConvTranspose3d: stride, dilation and groups must be positive and padding not negative, not ConvOptions { stride: [1, 1, 1], padding: [0, 0, 0], dilation: [1, 1, 1], groups: 0 }",
    ),
    (
        "ConvTranspose3d device",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).on_device(Device::CUDA(0)).done()),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    (
        "ConvTranspose3d output padding",
        || {
            unit(
                ConvTranspose3d::configure(2, 4, [3; 3])
                    .with_output_padding([1; 3])
                    .done()?
                    .forward(&v(&[1, 2, 5, 5, 5])),
            )
        },
        "ConvTranspose3d: output_padding [1, 1, 1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose3d output padding -1",
        || {
            unit(
                ConvTranspose3d::configure(2, 4, [3; 3])
                    .with_output_padding([-1; 3])
                    .done()?
                    .forward(&v(&[1, 2, 5, 5, 5])),
            )
        },
        "ConvTranspose3d: output_padding [-1, -1, -1] must not be negative, and smaller than stride or dilation",
    ),
    (
        "ConvTranspose3d nothing left",
        || {
            unit(
                ConvTranspose3d::configure(2, 4, [3; 3])
                    .with_padding([9; 3])
                    .done()?
                    .forward(&v(&[1, 2, 5, 5, 5])),
            )
        },
        "conv_transpose3d: expected an input that leaves a positive output size, got shape [1, 2, 5, 5, 5]",
    ),
    (
        "ConvTranspose3d empty space",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[1, 2, 0, 0, 0]))),
        "conv_transpose3d: expected an input that leaves a positive output size, got shape [1, 2, 0, 0, 0]",
    ),
];
