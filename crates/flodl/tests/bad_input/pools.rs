//! Pooling of all ranks.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "MaxPool1d rank",
        || unit(MaxPool1d::new(2).forward(&v(&[2, 2, 2, 2]))),
        "max_pool1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "MaxPool1d too few dims",
        || unit(MaxPool1d::new(2).forward(&v(&[5]))),
        "max_pool1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "MaxPool1d kernel 0",
        || unit(MaxPool1d::new(0).forward(&v(&[1, 2, 5]))),
        "max_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0], stride: [0], padding: [0], dilation: [1], ceil_mode: false }",
    ),
    (
        "MaxPool1d stride -1",
        || unit(MaxPool1d::with_stride(2, -1).forward(&v(&[1, 2, 5]))),
        "max_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2], stride: [-1], padding: [0], dilation: [1], ceil_mode: false }",
    ),
    (
        "MaxPool1d padding",
        || unit(MaxPool1d::new(2).padding(2).forward(&v(&[1, 2, 5]))),
        "max_pool1d: padding [2] is more than half of the kernel [2]",
    ),
    (
        "MaxPool1d padding -1",
        || unit(MaxPool1d::new(2).padding(-1).forward(&v(&[1, 2, 5]))),
        "max_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2], stride: [2], padding: [-1], dilation: [1], ceil_mode: false }",
    ),
    (
        "MaxPool1d too small",
        || unit(MaxPool1d::new(2).forward(&v(&[1, 2, 1]))),
        "max_pool1d: expected an input that a window of [2] fits into, got shape [1, 2, 1]",
    ),
    (
        "MaxPool1d empty space",
        || unit(MaxPool1d::new(2).forward(&v(&[1, 2, 0]))),
        "max_pool1d: expected spatial sizes of at least 1, got shape [1, 2, 0]",
    ),
    (
        "AvgPool1d rank",
        || unit(AvgPool1d::new(2).forward(&v(&[2, 2, 2, 2]))),
        "avg_pool1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "AvgPool1d too few dims",
        || unit(AvgPool1d::new(2).forward(&v(&[5]))),
        "avg_pool1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "AvgPool1d integers",
        || unit(AvgPool1d::new(2).forward(&n(&[1, 2, 5]))),
        "avg_pool1d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AvgPool1d kernel 0",
        || unit(AvgPool1d::new(0).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0], stride: [0], padding: [0], dilation: [1], ceil_mode: false }",
    ),
    (
        "AvgPool1d stride -1",
        || unit(AvgPool1d::with_stride(2, -1).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2], stride: [-1], padding: [0], dilation: [1], ceil_mode: false }",
    ),
    (
        "AvgPool1d padding",
        || unit(AvgPool1d::new(2).padding(2).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: padding [2] is more than half of the kernel [2]",
    ),
    (
        "AvgPool1d padding -1",
        || unit(AvgPool1d::new(2).padding(-1).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2], stride: [2], padding: [-1], dilation: [1], ceil_mode: false }",
    ),
    (
        "AvgPool1d too small",
        || unit(AvgPool1d::new(2).forward(&v(&[1, 2, 1]))),
        "avg_pool1d: expected an input that a window of [2] fits into, got shape [1, 2, 1]",
    ),
    (
        "AvgPool1d empty space",
        || unit(AvgPool1d::new(2).forward(&v(&[1, 2, 0]))),
        "avg_pool1d: expected spatial sizes of at least 1, got shape [1, 2, 0]",
    ),
    (
        "MaxPool1d dilation 0",
        || unit(MaxPool1d::new(2).dilation(0).forward(&v(&[1, 2, 5]))),
        "max_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2], stride: [2], padding: [0], dilation: [0], ceil_mode: false }",
    ),
    (
        "AvgPool1d divisor 0",
        || unit(AvgPool1d::new(2).divisor_override(0).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: divisor_override 0 must be positive",
    ),
    (
        "LPPool1d rank",
        || unit(LPPool1d::new(2.0, 2).forward(&v(&[2, 2, 2, 2]))),
        "avg_pool1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "LPPool1d kernel 0",
        || unit(LPPool1d::new(2.0, 0).forward(&v(&[1, 2, 5]))),
        "avg_pool1d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0], stride: [0], padding: [0], dilation: [1], ceil_mode: false }",
    ),
    (
        "LPPool1d norm 0",
        || unit(LPPool1d::new(0.0, 2).forward(&v(&[1, 2, 5]))),
        "LPPool: norm_type must not be 0",
    ),
    (
        "AdaptiveAvgPool1d rank",
        || unit(AdaptiveAvgPool1d::new(2).forward(&v(&[2, 2, 2, 2]))),
        "adaptive_avg_pool1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "AdaptiveAvgPool1d too few dims",
        || unit(AdaptiveAvgPool1d::new([None]).forward(&v(&[5]))),
        "adaptive_avg_pool1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "AdaptiveAvgPool1d size 0",
        || unit(AdaptiveAvgPool1d::new(0).forward(&v(&[1, 2, 5]))),
        "adaptive_avg_pool1d: output size [0] must be positive",
    ),
    (
        "AdaptiveAvgPool1d integers",
        || unit(AdaptiveAvgPool1d::new(2).forward(&n(&[1, 2, 5]))),
        "adaptive_avg_pool1d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveAvgPool1d empty space",
        || unit(AdaptiveAvgPool1d::new(2).forward(&v(&[1, 2, 0]))),
        "adaptive_avg_pool1d: expected spatial sizes of at least 1, got shape [1, 2, 0]",
    ),
    (
        "AdaptiveMaxPool1d rank",
        || unit(AdaptiveMaxPool1d::with_size(2).forward(&v(&[2, 2, 2, 2]))),
        "adaptive_max_pool1d: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "AdaptiveMaxPool1d too few dims",
        || unit(AdaptiveMaxPool1d::with_size([None]).forward(&v(&[5]))),
        "adaptive_max_pool1d: expected an input [N, C, L] or without N, got shape [5]",
    ),
    (
        "AdaptiveMaxPool1d size 0",
        || unit(AdaptiveMaxPool1d::with_size(0).forward(&v(&[1, 2, 5]))),
        "adaptive_max_pool1d: output size [0] must be positive",
    ),
    (
        "AdaptiveMaxPool1d integers",
        || unit(AdaptiveMaxPool1d::with_size(2).forward(&n(&[1, 2, 5]))),
        "adaptive_max_pool1d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveMaxPool1d empty space",
        || unit(AdaptiveMaxPool1d::with_size(2).forward(&v(&[1, 2, 0]))),
        "adaptive_max_pool1d: expected spatial sizes of at least 1, got shape [1, 2, 0]",
    ),
    (
        "FractionalMaxPool1d rank",
        || unit(FractionalMaxPool1d::new(2, 2).forward(&v(&[2, 2, 2, 2]))),
        "FractionalMaxPool: expected an input [N, C, L] or without N, got shape [2, 2, 2, 2]",
    ),
    (
        "FractionalMaxPool1d too large",
        || unit(FractionalMaxPool1d::new(2, 5).forward(&v(&[1, 2, 5]))),
        "fractional_max_pool1d: expected an input that [5] windows of [2] fit into, got shape [1, 2, 5]",
    ),
    (
        "FractionalMaxPool1d ratio",
        || unit(FractionalMaxPool1d::with_ratio(2, 1.5).forward(&v(&[1, 2, 5]))),
        "FractionalMaxPool: output ratio 1.5 must be in (0, 1)",
    ),
    (
        "MaxUnpool1d alone",
        || unit(MaxUnpool1d::new(2).forward(&v(&[1, 2, 5]))),
        "MaxUnpool1d: takes two inputs, the pooled values and their indices: call forward_unpool",
    ),
    (
        "MaxPool2d rank",
        || unit(MaxPool2d::new(2).forward(&v(&[2, 2, 2, 2, 2]))),
        "max_pool2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "MaxPool2d too few dims",
        || unit(MaxPool2d::new(2).forward(&v(&[5, 5]))),
        "max_pool2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "MaxPool2d kernel 0",
        || unit(MaxPool2d::new(0).forward(&v(&[1, 2, 5, 5]))),
        "max_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0], stride: [0, 0], padding: [0, 0], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool2d stride -1",
        || unit(MaxPool2d::with_stride(2, -1).forward(&v(&[1, 2, 5, 5]))),
        "max_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2], stride: [-1, -1], padding: [0, 0], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool2d padding",
        || unit(MaxPool2d::new(2).padding(2).forward(&v(&[1, 2, 5, 5]))),
        "max_pool2d: padding [2, 2] is more than half of the kernel [2, 2]",
    ),
    (
        "MaxPool2d padding -1",
        || unit(MaxPool2d::new(2).padding(-1).forward(&v(&[1, 2, 5, 5]))),
        "max_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2], stride: [2, 2], padding: [-1, -1], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool2d too small",
        || unit(MaxPool2d::new(2).forward(&v(&[1, 2, 1, 1]))),
        "max_pool2d: expected an input that a window of [2, 2] fits into, got shape [1, 2, 1, 1]",
    ),
    (
        "MaxPool2d empty space",
        || unit(MaxPool2d::new(2).forward(&v(&[1, 2, 0, 0]))),
        "max_pool2d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0]",
    ),
    (
        "AvgPool2d rank",
        || unit(AvgPool2d::new(2).forward(&v(&[2, 2, 2, 2, 2]))),
        "avg_pool2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "AvgPool2d too few dims",
        || unit(AvgPool2d::new(2).forward(&v(&[5, 5]))),
        "avg_pool2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "AvgPool2d integers",
        || unit(AvgPool2d::new(2).forward(&n(&[1, 2, 5, 5]))),
        "avg_pool2d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AvgPool2d kernel 0",
        || unit(AvgPool2d::new(0).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0], stride: [0, 0], padding: [0, 0], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool2d stride -1",
        || unit(AvgPool2d::with_stride(2, -1).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2], stride: [-1, -1], padding: [0, 0], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool2d padding",
        || unit(AvgPool2d::new(2).padding(2).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: padding [2, 2] is more than half of the kernel [2, 2]",
    ),
    (
        "AvgPool2d padding -1",
        || unit(AvgPool2d::new(2).padding(-1).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2], stride: [2, 2], padding: [-1, -1], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool2d too small",
        || unit(AvgPool2d::new(2).forward(&v(&[1, 2, 1, 1]))),
        "avg_pool2d: expected an input that a window of [2, 2] fits into, got shape [1, 2, 1, 1]",
    ),
    (
        "AvgPool2d empty space",
        || unit(AvgPool2d::new(2).forward(&v(&[1, 2, 0, 0]))),
        "avg_pool2d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0]",
    ),
    (
        "MaxPool2d dilation 0",
        || unit(MaxPool2d::new(2).dilation(0).forward(&v(&[1, 2, 5, 5]))),
        "max_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [0, 0], ceil_mode: false }",
    ),
    (
        "AvgPool2d divisor 0",
        || unit(AvgPool2d::new(2).divisor_override(0).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: divisor_override 0 must be positive",
    ),
    (
        "LPPool2d rank",
        || unit(LPPool2d::new(2.0, 2).forward(&v(&[2, 2, 2, 2, 2]))),
        "avg_pool2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "LPPool2d kernel 0",
        || unit(LPPool2d::new(2.0, 0).forward(&v(&[1, 2, 5, 5]))),
        "avg_pool2d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0], stride: [0, 0], padding: [0, 0], dilation: [1, 1], ceil_mode: false }",
    ),
    (
        "LPPool2d norm 0",
        || unit(LPPool2d::new(0.0, 2).forward(&v(&[1, 2, 5, 5]))),
        "LPPool: norm_type must not be 0",
    ),
    (
        "AdaptiveAvgPool2d rank",
        || unit(AdaptiveAvgPool2d::new(2).forward(&v(&[2, 2, 2, 2, 2]))),
        "adaptive_avg_pool2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "AdaptiveAvgPool2d too few dims",
        || unit(AdaptiveAvgPool2d::new([None; 2]).forward(&v(&[5, 5]))),
        "adaptive_avg_pool2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "AdaptiveAvgPool2d size 0",
        || unit(AdaptiveAvgPool2d::new(0).forward(&v(&[1, 2, 5, 5]))),
        "adaptive_avg_pool2d: output size [0, 0] must be positive",
    ),
    (
        "AdaptiveAvgPool2d integers",
        || unit(AdaptiveAvgPool2d::new(2).forward(&n(&[1, 2, 5, 5]))),
        "adaptive_avg_pool2d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveAvgPool2d empty space",
        || unit(AdaptiveAvgPool2d::new(2).forward(&v(&[1, 2, 0, 0]))),
        "adaptive_avg_pool2d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0]",
    ),
    (
        "AdaptiveMaxPool2d rank",
        || unit(AdaptiveMaxPool2d::with_size(2).forward(&v(&[2, 2, 2, 2, 2]))),
        "adaptive_max_pool2d: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "AdaptiveMaxPool2d too few dims",
        || unit(AdaptiveMaxPool2d::with_size([None; 2]).forward(&v(&[5, 5]))),
        "adaptive_max_pool2d: expected an input [N, C, H, W] or without N, got shape [5, 5]",
    ),
    (
        "AdaptiveMaxPool2d size 0",
        || unit(AdaptiveMaxPool2d::with_size(0).forward(&v(&[1, 2, 5, 5]))),
        "adaptive_max_pool2d: output size [0, 0] must be positive",
    ),
    (
        "AdaptiveMaxPool2d integers",
        || unit(AdaptiveMaxPool2d::with_size(2).forward(&n(&[1, 2, 5, 5]))),
        "adaptive_max_pool2d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveMaxPool2d empty space",
        || unit(AdaptiveMaxPool2d::with_size(2).forward(&v(&[1, 2, 0, 0]))),
        "adaptive_max_pool2d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0]",
    ),
    (
        "FractionalMaxPool2d rank",
        || unit(FractionalMaxPool2d::new(2, 2).forward(&v(&[2, 2, 2, 2, 2]))),
        "FractionalMaxPool: expected an input [N, C, H, W] or without N, got shape [2, 2, 2, 2, 2]",
    ),
    (
        "FractionalMaxPool2d too large",
        || unit(FractionalMaxPool2d::new(2, 5).forward(&v(&[1, 2, 5, 5]))),
        "fractional_max_pool2d: expected an input that [5, 5] windows of [2, 2] fit into, got shape [1, 2, 5, 5]",
    ),
    (
        "FractionalMaxPool2d ratio",
        || unit(FractionalMaxPool2d::with_ratio(2, 1.5).forward(&v(&[1, 2, 5, 5]))),
        "FractionalMaxPool: output ratio 1.5 must be in (0, 1)",
    ),
    (
        "MaxUnpool2d alone",
        || unit(MaxUnpool2d::new(2).forward(&v(&[1, 2, 5, 5]))),
        "MaxUnpool2d: takes two inputs, the pooled values and their indices: call forward_unpool",
    ),
    (
        "MaxPool3d rank",
        || unit(MaxPool3d::new(2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "max_pool3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "MaxPool3d too few dims",
        || unit(MaxPool3d::new(2).forward(&v(&[5, 5, 5]))),
        "max_pool3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "MaxPool3d kernel 0",
        || unit(MaxPool3d::new(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "max_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0, 0], stride: [0, 0, 0], padding: [0, 0, 0], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool3d stride -1",
        || unit(MaxPool3d::with_stride(2, -1).forward(&v(&[1, 2, 5, 5, 5]))),
        "max_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2, 2], stride: [-1, -1, -1], padding: [0, 0, 0], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool3d padding",
        || unit(MaxPool3d::new(2).padding(2).forward(&v(&[1, 2, 5, 5, 5]))),
        "max_pool3d: padding [2, 2, 2] is more than half of the kernel [2, 2, 2]",
    ),
    (
        "MaxPool3d padding -1",
        || unit(MaxPool3d::new(2).padding(-1).forward(&v(&[1, 2, 5, 5, 5]))),
        "max_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2, 2], stride: [2, 2, 2], padding: [-1, -1, -1], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "MaxPool3d too small",
        || unit(MaxPool3d::new(2).forward(&v(&[1, 2, 1, 1, 1]))),
        "max_pool3d: expected an input that a window of [2, 2, 2] fits into, got shape [1, 2, 1, 1, 1]",
    ),
    (
        "MaxPool3d empty space",
        || unit(MaxPool3d::new(2).forward(&v(&[1, 2, 0, 0, 0]))),
        "max_pool3d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0, 0]",
    ),
    (
        "AvgPool3d rank",
        || unit(AvgPool3d::new(2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "avg_pool3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "AvgPool3d too few dims",
        || unit(AvgPool3d::new(2).forward(&v(&[5, 5, 5]))),
        "avg_pool3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "AvgPool3d integers",
        || unit(AvgPool3d::new(2).forward(&n(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AvgPool3d kernel 0",
        || unit(AvgPool3d::new(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0, 0], stride: [0, 0, 0], padding: [0, 0, 0], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool3d stride -1",
        || unit(AvgPool3d::with_stride(2, -1).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2, 2], stride: [-1, -1, -1], padding: [0, 0, 0], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool3d padding",
        || unit(AvgPool3d::new(2).padding(2).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: padding [2, 2, 2] is more than half of the kernel [2, 2, 2]",
    ),
    (
        "AvgPool3d padding -1",
        || unit(AvgPool3d::new(2).padding(-1).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2, 2], stride: [2, 2, 2], padding: [-1, -1, -1], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "AvgPool3d too small",
        || unit(AvgPool3d::new(2).forward(&v(&[1, 2, 1, 1, 1]))),
        "avg_pool3d: expected an input that a window of [2, 2, 2] fits into, got shape [1, 2, 1, 1, 1]",
    ),
    (
        "AvgPool3d empty space",
        || unit(AvgPool3d::new(2).forward(&v(&[1, 2, 0, 0, 0]))),
        "avg_pool3d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0, 0]",
    ),
    (
        "MaxPool3d dilation 0",
        || unit(MaxPool3d::new(2).dilation(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "max_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [2, 2, 2], stride: [2, 2, 2], padding: [0, 0, 0], dilation: [0, 0, 0], ceil_mode: false }",
    ),
    (
        "AvgPool3d divisor 0",
        || unit(AvgPool3d::new(2).divisor_override(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: divisor_override 0 must be positive",
    ),
    (
        "LPPool3d rank",
        || unit(LPPool3d::new(2.0, 2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "avg_pool3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "LPPool3d kernel 0",
        || unit(LPPool3d::new(2.0, 0).forward(&v(&[1, 2, 5, 5, 5]))),
        "avg_pool3d: kernel, stride and dilation must be positive and padding not negative, not Windows { kernel: [0, 0, 0], stride: [0, 0, 0], padding: [0, 0, 0], dilation: [1, 1, 1], ceil_mode: false }",
    ),
    (
        "LPPool3d norm 0",
        || unit(LPPool3d::new(0.0, 2).forward(&v(&[1, 2, 5, 5, 5]))),
        "LPPool: norm_type must not be 0",
    ),
    (
        "AdaptiveAvgPool3d rank",
        || unit(AdaptiveAvgPool3d::new(2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "adaptive_avg_pool3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "AdaptiveAvgPool3d too few dims",
        || unit(AdaptiveAvgPool3d::new([None; 3]).forward(&v(&[5, 5, 5]))),
        "adaptive_avg_pool3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "AdaptiveAvgPool3d size 0",
        || unit(AdaptiveAvgPool3d::new(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "adaptive_avg_pool3d: output size [0, 0, 0] must be positive",
    ),
    (
        "AdaptiveAvgPool3d integers",
        || unit(AdaptiveAvgPool3d::new(2).forward(&n(&[1, 2, 5, 5, 5]))),
        "adaptive_avg_pool3d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveAvgPool3d empty space",
        || unit(AdaptiveAvgPool3d::new(2).forward(&v(&[1, 2, 0, 0, 0]))),
        "adaptive_avg_pool3d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0, 0]",
    ),
    (
        "AdaptiveMaxPool3d rank",
        || unit(AdaptiveMaxPool3d::with_size(2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "adaptive_max_pool3d: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "AdaptiveMaxPool3d too few dims",
        || unit(AdaptiveMaxPool3d::with_size([None; 3]).forward(&v(&[5, 5, 5]))),
        "adaptive_max_pool3d: expected an input [N, C, D, H, W] or without N, got shape [5, 5, 5]",
    ),
    (
        "AdaptiveMaxPool3d size 0",
        || unit(AdaptiveMaxPool3d::with_size(0).forward(&v(&[1, 2, 5, 5, 5]))),
        "adaptive_max_pool3d: output size [0, 0, 0] must be positive",
    ),
    (
        "AdaptiveMaxPool3d integers",
        || unit(AdaptiveMaxPool3d::with_size(2).forward(&n(&[1, 2, 5, 5, 5]))),
        "adaptive_max_pool3d: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AdaptiveMaxPool3d empty space",
        || unit(AdaptiveMaxPool3d::with_size(2).forward(&v(&[1, 2, 0, 0, 0]))),
        "adaptive_max_pool3d: expected spatial sizes of at least 1, got shape [1, 2, 0, 0, 0]",
    ),
    (
        "FractionalMaxPool3d rank",
        || unit(FractionalMaxPool3d::new(2, 2).forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "FractionalMaxPool: expected an input [N, C, D, H, W] or without N, got shape [2, 2, 2, 2, 2, 2]",
    ),
    (
        "FractionalMaxPool3d too large",
        || unit(FractionalMaxPool3d::new(2, 5).forward(&v(&[1, 2, 5, 5, 5]))),
        "fractional_max_pool3d: expected an input that [5, 5, 5] windows of [2, 2, 2] fit into, got shape [1, 2, 5, 5, 5]",
    ),
    (
        "FractionalMaxPool3d ratio",
        || unit(FractionalMaxPool3d::with_ratio(2, 1.5).forward(&v(&[1, 2, 5, 5, 5]))),
        "FractionalMaxPool: output ratio 1.5 must be in (0, 1)",
    ),
    (
        "MaxUnpool3d alone",
        || unit(MaxUnpool3d::new(2).forward(&v(&[1, 2, 5, 5, 5]))),
        "MaxUnpool3d: takes two inputs, the pooled values and their indices: call forward_unpool",
    ),
];
