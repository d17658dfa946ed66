//! Norm and pooling layers.

use flodl::*;

use super::case::{Case, Entry, Run, Try};

fn batch_norm<const D: usize>(c: &Case) -> Run {
    let momentum = c.ctor("momentum");
    let mut layer = BatchNormNd::<D>::new(c.ctor("num_features").i64()?)?
        .eps(c.ctor("eps").f64()?)
        .affine(c.ctor("affine").bool_or(true)?)
        .track_running_stats(c.ctor("track_running_stats").bool_or(true)?);
    layer = match momentum.is_none() {
        true => layer.cumulative_average(),
        false => layer.momentum(momentum.f64()?),
    };
    c.layer(layer)
}

fn instance_norm<const D: usize>(c: &Case) -> Run {
    let (features, affine) = (c.ctor("num_features").i64()?, c.ctor("affine").bool_or(false)?);
    let layer = InstanceNormNd::<D>::new(features, affine)?
        .eps(c.ctor("eps").f64()?)
        .momentum(c.ctor("momentum").f64()?)
        .track_running_stats(c.ctor("track_running_stats").bool_or(false)?)?;
    c.layer(layer)
}

/// Kernel and stride of a pooling; the stride defaults to the kernel.
fn windows<const D: usize>(c: &Case) -> Try<([i64; D], [i64; D])> {
    let kernel = c.ctor("kernel_size").array()?;
    Ok((kernel, c.ctor("stride").array_or(kernel)?))
}

macro_rules! max_pool {
    ($layer:ident) => {
        |c| {
            let indexed = c.ctor("return_indices").bool_or(false)?;
            let (kernel, stride) = windows(c)?;
            let layer = $layer::with_stride(kernel, stride)
                .padding(c.ctor("padding").array()?)
                .dilation(c.ctor("dilation").array()?)
                .ceil_mode(c.ctor("ceil_mode").bool_or(false)?);
            if indexed {
                c.load(&layer)?;
                let x = c.arg(0, "input").var()?;
                return super::shapes::indexed(layer.forward_with_indices(&x)?);
            }
            c.layer(layer)
        }
    };
}

macro_rules! avg_pool {
    ($layer:ident) => {
        |c| {
            let (kernel, stride) = windows(c)?;
            let mut layer = $layer::with_stride(kernel, stride)
                .padding(c.ctor("padding").array()?)
                .ceil_mode(c.ctor("ceil_mode").bool_or(false)?)
                .count_include_pad(c.ctor("count_include_pad").bool_or(true)?);
            if !c.ctor("divisor_override").is_none() {
                layer = layer.divisor_override(c.ctor("divisor_override").i64()?);
            }
            c.layer(layer)
        }
    };
}

macro_rules! lp_pool {
    ($layer:ident) => {
        |c| {
            let (kernel, stride) = windows(c)?;
            let layer = $layer::with_stride(c.ctor("norm_type").f64()?, kernel, stride);
            c.layer(layer.ceil_mode(c.ctor("ceil_mode").bool_or(false)?))
        }
    };
}

fn output_size<const D: usize>(c: &Case) -> Try<[Option<i64>; D]> {
    let sizes = c.ctor("output_size").maybe_ints()?;
    Ok(std::array::from_fn(|d| sizes[if sizes.len() == 1 { 0 } else { d }]))
}

fn adaptive_avg<const D: usize>(c: &Case) -> Run
where
    AdaptiveAvgPool<D>: Module,
{
    c.layer(AdaptiveAvgPool::<D>::new(output_size::<D>(c)?))
}

fn adaptive_max<const D: usize>(c: &Case) -> Run
where
    AdaptiveMaxPool<D>: Module,
{
    let layer = AdaptiveMaxPool::<D>::with_size(output_size::<D>(c)?);
    if c.ctor("return_indices").bool_or(false)? {
        let x = c.arg(0, "input").var()?;
        return super::shapes::indexed(layer.forward_with_indices(&x)?);
    }
    c.layer(layer)
}

pub const LAYERS: &[Entry] = &[
    ("BatchNorm1d", batch_norm::<1>),
    ("BatchNorm2d", batch_norm::<2>),
    ("BatchNorm3d", batch_norm::<3>),
    ("InstanceNorm1d", instance_norm::<1>),
    ("InstanceNorm2d", instance_norm::<2>),
    ("InstanceNorm3d", instance_norm::<3>),
    ("LayerNorm", |c| {
        let mut layer = LayerNorm::over(&c.ctor("normalized_shape").ints()?)?
            .eps(c.ctor("eps").f64()?)
            .affine(c.ctor("elementwise_affine").bool_or(true)?);
        if !c.ctor("bias").bool_or(true)? {
            layer = layer.without_bias();
        }
        c.layer(layer)
    }),
    ("RMSNorm", |c| {
        let mut layer = RMSNorm::over(&c.ctor("normalized_shape").ints()?)?
            .affine(c.ctor("elementwise_affine").bool_or(true)?);
        if !c.ctor("eps").is_none() {
            layer = layer.eps(c.ctor("eps").f64()?);
        }
        c.layer(layer)
    }),
    ("GroupNorm", |c| {
        let layer = GroupNorm::new(c.ctor("num_groups").i64()?, c.ctor("num_channels").i64()?)?
            .eps(c.ctor("eps").f64()?)
            .affine(c.ctor("affine").bool_or(true)?);
        c.layer(layer)
    }),
    ("MaxPool1d", max_pool!(MaxPool1d)),
    ("MaxPool2d", max_pool!(MaxPool2d)),
    ("MaxPool3d", max_pool!(MaxPool3d)),
    ("AvgPool1d", avg_pool!(AvgPool1d)),
    ("AvgPool2d", avg_pool!(AvgPool2d)),
    ("AvgPool3d", avg_pool!(AvgPool3d)),
    ("LPPool1d", lp_pool!(LPPool1d)),
    ("LPPool2d", lp_pool!(LPPool2d)),
    ("LPPool3d", lp_pool!(LPPool3d)),
    ("AdaptiveAvgPool1d", adaptive_avg::<1>),
    ("AdaptiveAvgPool2d", adaptive_avg::<2>),
    ("AdaptiveAvgPool3d", adaptive_avg::<3>),
    ("AdaptiveMaxPool1d", adaptive_max::<1>),
    ("AdaptiveMaxPool2d", adaptive_max::<2>),
    ("AdaptiveMaxPool3d", adaptive_max::<3>),
];
