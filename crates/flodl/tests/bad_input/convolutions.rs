//! Convolutions and transposed convolutions of all ranks.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    ("Conv1d rank", || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2]))), ""),
    ("Conv1d too few dims", || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[5]))), ""),
    ("Conv1d channels", || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[1, 3, 5]))), ""),
    ("Conv1d dtype", || unit(Conv1d::new(2, 4, 3)?.forward(&w(&[1, 2, 5]))), ""),
    ("Conv1d integers", || unit(Conv1d::new(2, 4, 3)?.forward(&n(&[1, 2, 5]))), ""),
    ("Conv1d no channels", || unit(Conv1d::new(0, 4, 3)), ""),
    ("Conv1d no output", || unit(Conv1d::new(2, -1, 3)), ""),
    ("Conv1d kernel 0", || unit(Conv1d::new(2, 4, 0)), ""),
    ("Conv1d kernel -1", || unit(Conv1d::new(2, 4, -1)), ""),
    ("Conv1d stride 0", || unit(Conv1d::configure(2, 4, 3).with_stride(0).done()), ""),
    ("Conv1d padding -1", || unit(Conv1d::configure(2, 4, 3).with_padding(-1).done()), ""),
    ("Conv1d dilation 0", || unit(Conv1d::configure(2, 4, 3).with_dilation(0).done()), ""),
    ("Conv1d groups of inputs", || unit(Conv1d::configure(3, 4, 3).with_groups(2).done()), ""),
    ("Conv1d groups of outputs", || unit(Conv1d::configure(4, 3, 3).with_groups(2).done()), ""),
    ("Conv1d groups 0", || unit(Conv1d::configure(2, 4, 3).with_groups(0).done()), ""),
    ("Conv1d device", || unit(Conv1d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()), ""),
    ("Conv1d too small", || unit(Conv1d::new(2, 4, 3)?.forward(&v(&[1, 2, 2]))), ""),
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
        "",
    ),
    (
        "ConvTranspose1d rank",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2]))),
        "",
    ),
    ("ConvTranspose1d too few dims", || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[5]))), ""),
    (
        "ConvTranspose1d channels",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[1, 3, 5]))),
        "",
    ),
    ("ConvTranspose1d dtype", || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&w(&[1, 2, 5]))), ""),
    (
        "ConvTranspose1d integers",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&n(&[1, 2, 5]))),
        "",
    ),
    ("ConvTranspose1d no channels", || unit(ConvTranspose1d::new(0, 4, 3)), ""),
    ("ConvTranspose1d no output", || unit(ConvTranspose1d::new(2, -1, 3)), ""),
    ("ConvTranspose1d kernel 0", || unit(ConvTranspose1d::new(2, 4, 0)), ""),
    ("ConvTranspose1d kernel -1", || unit(ConvTranspose1d::new(2, 4, -1)), ""),
    (
        "ConvTranspose1d stride 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_stride(0).done()),
        "",
    ),
    (
        "ConvTranspose1d padding -1",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_padding(-1).done()),
        "",
    ),
    (
        "ConvTranspose1d dilation 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_dilation(0).done()),
        "",
    ),
    (
        "ConvTranspose1d groups of inputs",
        || unit(ConvTranspose1d::configure(3, 4, 3).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose1d groups of outputs",
        || unit(ConvTranspose1d::configure(4, 3, 3).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose1d groups 0",
        || unit(ConvTranspose1d::configure(2, 4, 3).with_groups(0).done()),
        "",
    ),
    (
        "ConvTranspose1d device",
        || unit(ConvTranspose1d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "",
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
        "",
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
        "",
    ),
    (
        "ConvTranspose1d nothing left",
        || {
            unit(
                ConvTranspose1d::configure(2, 4, 3).with_padding(9).done()?.forward(&v(&[1, 2, 5])),
            )
        },
        "",
    ),
    (
        "ConvTranspose1d empty space",
        || unit(ConvTranspose1d::new(2, 4, 3)?.forward(&v(&[1, 2, 0]))),
        "",
    ),
    ("Conv2d rank", || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2, 2]))), ""),
    ("Conv2d too few dims", || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[5, 5]))), ""),
    ("Conv2d channels", || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[1, 3, 5, 5]))), ""),
    ("Conv2d dtype", || unit(Conv2d::new(2, 4, 3)?.forward(&w(&[1, 2, 5, 5]))), ""),
    ("Conv2d integers", || unit(Conv2d::new(2, 4, 3)?.forward(&n(&[1, 2, 5, 5]))), ""),
    ("Conv2d no channels", || unit(Conv2d::new(0, 4, 3)), ""),
    ("Conv2d no output", || unit(Conv2d::new(2, -1, 3)), ""),
    ("Conv2d kernel 0", || unit(Conv2d::new(2, 4, 0)), ""),
    ("Conv2d kernel -1", || unit(Conv2d::new(2, 4, -1)), ""),
    ("Conv2d stride 0", || unit(Conv2d::configure(2, 4, 3).with_stride(0).done()), ""),
    ("Conv2d padding -1", || unit(Conv2d::configure(2, 4, 3).with_padding(-1).done()), ""),
    ("Conv2d dilation 0", || unit(Conv2d::configure(2, 4, 3).with_dilation(0).done()), ""),
    ("Conv2d groups of inputs", || unit(Conv2d::configure(3, 4, 3).with_groups(2).done()), ""),
    ("Conv2d groups of outputs", || unit(Conv2d::configure(4, 3, 3).with_groups(2).done()), ""),
    ("Conv2d groups 0", || unit(Conv2d::configure(2, 4, 3).with_groups(0).done()), ""),
    ("Conv2d device", || unit(Conv2d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()), ""),
    ("Conv2d too small", || unit(Conv2d::new(2, 4, 3)?.forward(&v(&[1, 2, 2, 2]))), ""),
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
        "",
    ),
    (
        "ConvTranspose2d rank",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[2, 2, 2, 2, 2]))),
        "",
    ),
    (
        "ConvTranspose2d too few dims",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[5, 5]))),
        "",
    ),
    (
        "ConvTranspose2d channels",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[1, 3, 5, 5]))),
        "",
    ),
    (
        "ConvTranspose2d dtype",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&w(&[1, 2, 5, 5]))),
        "",
    ),
    (
        "ConvTranspose2d integers",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&n(&[1, 2, 5, 5]))),
        "",
    ),
    ("ConvTranspose2d no channels", || unit(ConvTranspose2d::new(0, 4, 3)), ""),
    ("ConvTranspose2d no output", || unit(ConvTranspose2d::new(2, -1, 3)), ""),
    ("ConvTranspose2d kernel 0", || unit(ConvTranspose2d::new(2, 4, 0)), ""),
    ("ConvTranspose2d kernel -1", || unit(ConvTranspose2d::new(2, 4, -1)), ""),
    (
        "ConvTranspose2d stride 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_stride(0).done()),
        "",
    ),
    (
        "ConvTranspose2d padding -1",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_padding(-1).done()),
        "",
    ),
    (
        "ConvTranspose2d dilation 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_dilation(0).done()),
        "",
    ),
    (
        "ConvTranspose2d groups of inputs",
        || unit(ConvTranspose2d::configure(3, 4, 3).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose2d groups of outputs",
        || unit(ConvTranspose2d::configure(4, 3, 3).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose2d groups 0",
        || unit(ConvTranspose2d::configure(2, 4, 3).with_groups(0).done()),
        "",
    ),
    (
        "ConvTranspose2d device",
        || unit(ConvTranspose2d::configure(2, 4, 3).on_device(Device::CUDA(0)).done()),
        "",
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
        "",
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
        "",
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
        "",
    ),
    (
        "ConvTranspose2d empty space",
        || unit(ConvTranspose2d::new(2, 4, 3)?.forward(&v(&[1, 2, 0, 0]))),
        "",
    ),
    ("Conv3d rank", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[2, 2, 2, 2, 2, 2]))), ""),
    ("Conv3d too few dims", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[5, 5, 5]))), ""),
    ("Conv3d channels", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[1, 3, 5, 5, 5]))), ""),
    ("Conv3d dtype", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&w(&[1, 2, 5, 5, 5]))), ""),
    ("Conv3d integers", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&n(&[1, 2, 5, 5, 5]))), ""),
    ("Conv3d no channels", || unit(Conv3d::new(0, 4, [3; 3])), ""),
    ("Conv3d no output", || unit(Conv3d::new(2, -1, [3; 3])), ""),
    ("Conv3d kernel 0", || unit(Conv3d::new(2, 4, [0; 3])), ""),
    ("Conv3d kernel -1", || unit(Conv3d::new(2, 4, [-1; 3])), ""),
    ("Conv3d stride 0", || unit(Conv3d::configure(2, 4, [3; 3]).with_stride([0; 3]).done()), ""),
    (
        "Conv3d padding -1",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_padding([-1; 3]).done()),
        "",
    ),
    (
        "Conv3d dilation 0",
        || unit(Conv3d::configure(2, 4, [3; 3]).with_dilation([0; 3]).done()),
        "",
    ),
    ("Conv3d groups of inputs", || unit(Conv3d::configure(3, 4, [3; 3]).with_groups(2).done()), ""),
    (
        "Conv3d groups of outputs",
        || unit(Conv3d::configure(4, 3, [3; 3]).with_groups(2).done()),
        "",
    ),
    ("Conv3d groups 0", || unit(Conv3d::configure(2, 4, [3; 3]).with_groups(0).done()), ""),
    (
        "Conv3d device",
        || unit(Conv3d::configure(2, 4, [3; 3]).on_device(Device::CUDA(0)).done()),
        "",
    ),
    ("Conv3d too small", || unit(Conv3d::new(2, 4, [3; 3])?.forward(&v(&[1, 2, 2, 2, 2]))), ""),
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
        "",
    ),
    (
        "ConvTranspose3d rank",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[2, 2, 2, 2, 2, 2]))),
        "",
    ),
    (
        "ConvTranspose3d too few dims",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[5, 5, 5]))),
        "",
    ),
    (
        "ConvTranspose3d channels",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[1, 3, 5, 5, 5]))),
        "",
    ),
    (
        "ConvTranspose3d dtype",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&w(&[1, 2, 5, 5, 5]))),
        "",
    ),
    (
        "ConvTranspose3d integers",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&n(&[1, 2, 5, 5, 5]))),
        "",
    ),
    ("ConvTranspose3d no channels", || unit(ConvTranspose3d::new(0, 4, [3; 3])), ""),
    ("ConvTranspose3d no output", || unit(ConvTranspose3d::new(2, -1, [3; 3])), ""),
    ("ConvTranspose3d kernel 0", || unit(ConvTranspose3d::new(2, 4, [0; 3])), ""),
    ("ConvTranspose3d kernel -1", || unit(ConvTranspose3d::new(2, 4, [-1; 3])), ""),
    (
        "ConvTranspose3d stride 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_stride([0; 3]).done()),
        "",
    ),
    (
        "ConvTranspose3d padding -1",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_padding([-1; 3]).done()),
        "",
    ),
    (
        "ConvTranspose3d dilation 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_dilation([0; 3]).done()),
        "",
    ),
    (
        "ConvTranspose3d groups of inputs",
        || unit(ConvTranspose3d::configure(3, 4, [3; 3]).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose3d groups of outputs",
        || unit(ConvTranspose3d::configure(4, 3, [3; 3]).with_groups(2).done()),
        "",
    ),
    (
        "ConvTranspose3d groups 0",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).with_groups(0).done()),
        "",
    ),
    (
        "ConvTranspose3d device",
        || unit(ConvTranspose3d::configure(2, 4, [3; 3]).on_device(Device::CUDA(0)).done()),
        "",
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
        "",
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
        "",
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
        "",
    ),
    (
        "ConvTranspose3d empty space",
        || unit(ConvTranspose3d::new(2, 4, [3; 3])?.forward(&v(&[1, 2, 0, 0, 0]))),
        "",
    ),
];
