//! Convolution, pooling, padding and resizing: functions and layers of all ranks.

use flodl::*;

use super::case::{Case, Entry, Run, Try, one, unsupported};

/// The padding of a convolution, where `same` becomes numbers if both sides get as much.
fn padding<const D: usize>(
    c: &Case,
    index: usize,
    kernel: &[i64],
    dilation: [i64; D],
) -> Try<[i64; D]> {
    let p = c.arg(index, "padding");
    match p.str_or("numbers") {
        Ok("same") => {
            let total: [i64; D] = std::array::from_fn(|d| dilation[d] * (kernel[d] - 1));
            match total.iter().all(|t| t % 2 == 0) {
                true => Ok(total.map(|t| t / 2)),
                false => unsupported("padding=same with an even kernel"),
            }
        }
        Ok("valid") => Ok([0; D]),
        _ => p.array_or([0; D]),
    }
}

fn conv_function<const D: usize>(c: &Case) -> Run {
    let (x, w, b) =
        (c.arg(0, "input").var()?, c.arg(1, "weight").var()?, c.arg(2, "bias").opt_var()?);
    let dilation = c.arg(5, "dilation").array_or([1; D])?;
    let options = ConvOptions {
        stride: c.arg(3, "stride").array_or([1; D])?,
        padding: padding(c, 4, &w.shape()[2..], dilation)?,
        dilation,
        groups: c.arg(6, "groups").i64_or(1)?,
    };
    one(conv(&x, &w, b.as_ref(), &options))
}

fn conv_transpose_function<const D: usize>(c: &Case) -> Run {
    let (x, w, b) =
        (c.arg(0, "input").var()?, c.arg(1, "weight").var()?, c.arg(2, "bias").opt_var()?);
    let options = ConvOptions {
        stride: c.arg(3, "stride").array_or([1; D])?,
        padding: c.arg(4, "padding").array_or([0; D])?,
        dilation: c.arg(7, "dilation").array_or([1; D])?,
        groups: c.arg(6, "groups").i64_or(1)?,
    };
    let output_padding = c.arg(5, "output_padding").array_or([0; D])?;
    one(conv_transpose(&x, &w, b.as_ref(), &options, output_padding))
}

/// The windows of a pooling; `stride` defaults to the kernel.
fn windows<const D: usize>(c: &Case) -> Try<Windows<D>> {
    let kernel = c.arg(1, "kernel_size").array()?;
    Ok(Windows {
        kernel,
        stride: match c.arg(2, "stride") {
            s if s.is_list() && s.ints()?.is_empty() => kernel,
            s => s.array_or(kernel)?,
        },
        padding: c.arg(3, "padding").array_or([0; D])?,
        dilation: [1; D],
        ceil_mode: false,
    })
}

fn max_pool_function<const D: usize>(c: &Case) -> Run {
    let windows = Windows {
        dilation: c.arg(4, "dilation").array_or([1; D])?,
        ceil_mode: c.arg(5, "ceil_mode").bool_or(false)?,
        ..windows::<D>(c)?
    };
    let x = c.arg(0, "input").var()?;
    if c.arg(6, "return_indices").bool_or(false)? {
        return super::shapes::indexed(max_pool_with_indices(&x, &windows)?);
    }
    one(max_pool(&x, &windows))
}

fn avg_pool_function<const D: usize>(c: &Case) -> Run {
    let windows = Windows { ceil_mode: c.arg(4, "ceil_mode").bool_or(false)?, ..windows::<D>(c)? };
    let count_include_pad = c.arg(5, "count_include_pad").bool_or(true)?;
    let divisor = c.arg(6, "divisor_override");
    let divisor = if divisor.is_none() { None } else { Some(divisor.i64()?) };
    one(avg_pool(&c.arg(0, "input").var()?, &windows, count_include_pad, divisor))
}

/// The output size of an adaptive pooling; PyTorch's None keeps the input's size.
fn output_size<const D: usize>(c: &Case) -> Try<[i64; D]> {
    let size = c.arg(1, "output_size");
    let shape = c.arg(0, "input").var()?.shape();
    let own = &shape[shape.len() - D..];
    Ok(match &size.maybe_ints()?[..] {
        [one] => std::array::from_fn(|d| one.unwrap_or(own[d])),
        list => std::array::from_fn(|d| list[d].unwrap_or(own[d])),
    })
}

fn adaptive_avg<const D: usize>(c: &Case) -> Run {
    one(adaptive_avg_pool::<D>(&c.arg(0, "input").var()?, output_size(c)?))
}

fn adaptive_max<const D: usize>(c: &Case) -> Run {
    if c.arg(2, "return_indices").bool_or(false)? {
        let x = c.arg(0, "input").var()?;
        return super::shapes::indexed(adaptive_max_pool_with_indices::<D>(&x, output_size(c)?)?);
    }
    one(adaptive_max_pool::<D>(&c.arg(0, "input").var()?, output_size(c)?))
}

pub const FUNCTIONS: &[Entry] = &[
    ("conv1d", conv_function::<1>),
    ("conv2d", conv_function::<2>),
    ("conv3d", conv_function::<3>),
    ("conv_transpose1d", conv_transpose_function::<1>),
    ("conv_transpose2d", conv_transpose_function::<2>),
    ("conv_transpose3d", conv_transpose_function::<3>),
    ("max_pool1d", max_pool_function::<1>),
    ("max_pool2d", max_pool_function::<2>),
    ("max_pool3d", max_pool_function::<3>),
    ("avg_pool1d", avg_pool_function::<1>),
    ("avg_pool2d", avg_pool_function::<2>),
    ("avg_pool3d", avg_pool_function::<3>),
    ("adaptive_avg_pool1d", adaptive_avg::<1>),
    ("adaptive_avg_pool2d", adaptive_avg::<2>),
    ("adaptive_avg_pool3d", adaptive_avg::<3>),
    ("adaptive_max_pool1d", adaptive_max::<1>),
    ("adaptive_max_pool2d", adaptive_max::<2>),
    ("adaptive_max_pool3d", adaptive_max::<3>),
];

/// A layer of one rank, with every setting that its builder shares with the other kind's.
macro_rules! builder {
    ($layer:ident, $d:literal, $c:ident) => {{
        let (i, o) = ($c.ctor("in_channels").i64()?, $c.ctor("out_channels").i64()?);
        let builder = $layer::configure(i, o, $c.ctor("kernel_size").array::<$d>()?)
            .with_stride($c.ctor("stride").array::<$d>()?)
            .with_dilation($c.ctor("dilation").array::<$d>()?)
            .with_groups($c.ctor("groups").i64()?);
        if $c.ctor("bias").bool_or(true)? { builder } else { builder.without_bias() }
    }};
}

macro_rules! conv {
    ($layer:ident, $d:literal) => {
        |c| {
            let p = c.ctor("padding");
            let layer = match p.str_or("numbers") {
                Ok("same") => builder!($layer, $d, c).with_same_padding(),
                Ok("valid") => builder!($layer, $d, c),
                _ => builder!($layer, $d, c).with_padding(p.array::<$d>()?),
            };
            let mode = match c.ctor("padding_mode").str_or("zeros")? {
                "reflect" => PaddingMode::Reflect,
                "replicate" => PaddingMode::Replicate,
                "circular" => PaddingMode::Circular,
                _ => PaddingMode::Zeros,
            };
            c.layer(layer.with_padding_mode(mode).done()?)
        }
    };
}

macro_rules! conv_transpose {
    ($layer:ident, $d:literal) => {
        |c| {
            c.ctor("padding_mode").only("zeros")?;
            let layer = builder!($layer, $d, c)
                .with_padding(c.ctor("padding").array::<$d>()?)
                .with_output_padding(c.ctor("output_padding").array::<$d>()?);
            c.layer(layer.done()?)
        }
    };
}

pub const LAYERS: &[Entry] = &[
    ("Conv1d", conv!(Conv1d, 1)),
    ("Conv2d", conv!(Conv2d, 2)),
    ("Conv3d", conv!(Conv3d, 3)),
    ("ConvTranspose1d", conv_transpose!(ConvTranspose1d, 1)),
    ("ConvTranspose2d", conv_transpose!(ConvTranspose2d, 2)),
    ("ConvTranspose3d", conv_transpose!(ConvTranspose3d, 3)),
];
