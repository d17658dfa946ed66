//! Padding, tables, resizing, patches, and layers of two inputs.

use flodl::*;

use super::case::{Case, Entry, Run, Try, many, one, unsupported};

fn pad_function(c: &Case) -> Run {
    let (x, padding) = (c.arg(0, "input").var()?, c.arg(1, "pad").ints()?);
    let value = c.arg(3, "value").f64_or(0.0)?;
    one(pad(
        &x,
        &padding,
        match c.arg(2, "mode").str_or("constant")? {
            "constant" => PadMode::Constant(value),
            "reflect" => PadMode::Reflect,
            "replicate" => PadMode::Replicate,
            "circular" => PadMode::Circular,
            other => return unsupported(format!("mode={other}")),
        },
    ))
}

/// A padding layer: one number for all sides, or two for each dim, the last dim first.
macro_rules! pad_layer {
    ($layer:ident, $d:tt $(, $value:literal)?) => {
        |c| {
            let sides = c.ctor("padding").ints()?;
            match (&sides[..], $d) {
                (&[n], _) => c.layer($layer::new(n $(, c.ctor($value).f64()?)?)),
                _ => pad_layer!(@sides c, $layer, $d, sides $(, $value)?),
            }
        }
    };
    (@sides $c:ident, $layer:ident, 1, $s:ident $(, $value:literal)?) => {
        $c.layer($layer::asymmetric($s[0], $s[1] $(, $c.ctor($value).f64()?)?))
    };
    (@sides $c:ident, $layer:ident, 2, $s:ident $(, $value:literal)?) => {
        $c.layer($layer::asymmetric($s[0], $s[1], $s[2], $s[3] $(, $c.ctor($value).f64()?)?))
    };
    (@sides $c:ident, $layer:ident, 3, $s:ident $(, $value:literal)?) => {
        $c.layer($layer::asymmetric(
            $s[0], $s[1], $s[2], $s[3], $s[4], $s[5] $(, $c.ctor($value).f64()?)?
        ))
    };
}

/// Modes of `interpolate` by PyTorch's names; `None` is the mean of areas.
fn mode(name: &str) -> Try<Option<Interpolation>> {
    Ok(Some(match name {
        "nearest" => Interpolation::Nearest,
        "nearest-exact" => Interpolation::NearestExact,
        "linear" | "bilinear" | "trilinear" => Interpolation::Linear,
        "bicubic" => Interpolation::Cubic,
        "area" => return Ok(None),
        other => return unsupported(format!("mode={other}")),
    }))
}

fn means(x: &Variable, size: &[i64]) -> Result<Variable> {
    match *size {
        [l] => adaptive_avg_pool(x, [l]),
        [h, w] => adaptive_avg_pool(x, [h, w]),
        [d, h, w] => adaptive_avg_pool(x, [d, h, w]),
        _ => Err(Error::new("more than three dims")),
    }
}

fn resize(c: &Case, name: &str, align_corners: bool) -> Run {
    let x = c.arg(0, "input").var()?;
    let spatial = x.shape()[2..].to_vec();
    let (size, factor) = (c.arg(1, "size"), c.arg(2, "scale_factor"));
    let recompute = c.arg(5, "recompute_scale_factor").bool_or(false)?;
    if c.arg(6, "antialias").bool_or(false)? {
        return unsupported("antialias=true");
    }
    let mut factors = Vec::new();
    let size = if size.is_none() {
        factors = factor.numbers()?;
        if factors.len() == 1 {
            factors = vec![factors[0]; spatial.len()];
        }
        spatial.iter().zip(&factors).map(|(&n, f)| (n as f64 * f).floor() as i64).collect()
    } else {
        match size.ints()? {
            list if list.len() == 1 => vec![list[0]; spatial.len()],
            list => list,
        }
    };
    one(match mode(name)? {
        None => means(&x, &size),
        Some(mode) if factors.is_empty() || recompute => {
            interpolate(&x, &size, mode, align_corners)
        }
        Some(mode) => interpolate_by(&x, &factors, mode, align_corners),
    })
}

fn upsample(c: &Case) -> Run {
    let name = c.ctor("mode").str_or("nearest")?;
    let align = c.ctor("align_corners").bool_or(false)?;
    c.ctor("recompute_scale_factor").only(false)?;
    let Some(mode) = mode(name)? else { return unsupported("mode=area") };
    let size = c.ctor("size");
    let layer = if size.is_none() {
        Upsample::with_scale(c.ctor("scale_factor").f64()?, mode)
    } else {
        Upsample::new(&size.ints()?, mode)
    };
    c.layer(layer.align_corners(align))
}

fn bag_of(name: &str) -> Try<Bag> {
    Ok(match name {
        "sum" => Bag::Sum,
        "mean" => Bag::Mean,
        "max" => Bag::Max,
        other => return unsupported(format!("mode={other}")),
    })
}

/// Indices and offsets as lists; a matrix of indices has a bag in each row.
fn bags(c: &Case, input: usize, offsets: usize, last: bool) -> Try<(Tensor, Tensor)> {
    let index = c.arg(input, "input").tensor()?;
    if let Some(offsets) = c.arg(offsets, "offsets").opt_tensor()? {
        return Ok((index, offsets));
    }
    let [n, size] = index.shape()[..] else { return unsupported("no offsets") };
    let offsets: Vec<i64> = (0..n + i64::from(last)).map(|i| i * size).collect();
    let offsets = Tensor::from_i64(&offsets, &[offsets.len() as i64], Device::CPU)?;
    Ok((index.reshape(&[-1])?, offsets))
}

fn embedding_bag_function(c: &Case) -> Run {
    c.arg(3, "max_norm").absent()?;
    c.arg(4, "norm_type").only(2.0)?;
    c.arg(7, "sparse").only(false)?;
    // The cases have the table first.
    let weight = c.arg(0, "weight").var()?;
    let factors = c.arg(8, "per_sample_weights").opt_var()?;
    let include_last_offset = c.arg(9, "include_last_offset").bool_or(false)?;
    let padding = c.arg(10, "padding_idx");
    let (index, offsets) = bags(c, 1, 2, include_last_offset)?;
    let options = BagOptions {
        padding_idx: if padding.is_none() { None } else { Some(padding.i64()?) },
        per_sample_weights: factors.map(|f| f.reshape(&[-1])).transpose()?,
        include_last_offset,
        scale_grad_by_freq: c.arg(5, "scale_grad_by_freq").bool_or(false)?,
    };
    let mode = bag_of(c.arg(6, "mode").str_or("mean")?)?;
    one(embedding_bag_opt(&weight, &index, &offsets, mode, &options))
}

fn embedding_bag_layer(c: &Case) -> Run {
    let mode = bag_of(c.ctor("mode").str_or("mean")?)?;
    let last = c.ctor("include_last_offset").bool_or(false)?;
    let mut layer =
        EmbeddingBag::new(c.ctor("num_embeddings").i64()?, c.ctor("embedding_dim").i64()?)?
            .mode(mode)
            .include_last_offset(last)
            .norm_type(c.ctor("norm_type").f64_or(2.0)?)
            .scale_grad_by_freq(c.ctor("scale_grad_by_freq").bool_or(false)?);
    if !c.ctor("max_norm").is_none() {
        layer = layer.max_norm(c.ctor("max_norm").f64()?);
    }
    if !c.ctor("padding_idx").is_none() {
        layer = layer.padding_idx(c.ctor("padding_idx").i64()?)?;
    }
    c.load(&layer)?;
    if c.arg(1, "offsets").is_none() {
        return one(layer.forward(&c.arg(0, "input").var()?));
    }
    let (index, offsets) = bags(c, 0, 1, last)?;
    one(layer.forward_bag(&index, &offsets, mode))
}

fn embedding_layer(c: &Case) -> Run {
    let mut layer =
        Embedding::new(c.ctor("num_embeddings").i64()?, c.ctor("embedding_dim").i64()?)?
            .norm_type(c.ctor("norm_type").f64_or(2.0)?)
            .scale_grad_by_freq(c.ctor("scale_grad_by_freq").bool_or(false)?);
    if !c.ctor("max_norm").is_none() {
        layer = layer.max_norm(c.ctor("max_norm").f64()?);
    }
    if !c.ctor("padding_idx").is_none() {
        layer = layer.padding_idx(c.ctor("padding_idx").i64()?)?;
    }
    c.layer(layer)
}

fn distance(c: &Case) -> Try<PairwiseDistance> {
    Ok(PairwiseDistance::new(c.arg(2, "p").f64_or(2.0)?)
        .eps(c.arg(3, "eps").f64_or(1e-6)?)
        .keepdim(c.arg(4, "keepdim").bool_or(false)?))
}

fn response(c: &Case) -> Try<LocalResponseNorm> {
    Ok(LocalResponseNorm::new(c.arg(1, "size").i64()?)
        .alpha(c.arg(2, "alpha").f64_or(1e-4)?)
        .beta(c.arg(3, "beta").f64_or(0.75)?)
        .k(c.arg(4, "k").f64_or(1.0)?))
}

pub const FUNCTIONS: &[Entry] = &[
    ("pad", pad_function),
    ("interpolate", |c| {
        let name = c.arg(3, "mode").str_or("nearest")?;
        resize(c, name, c.arg(4, "align_corners").bool_or(false)?)
    }),
    ("upsample_nearest", |c| resize(c, "nearest", false)),
    ("upsample_bilinear", |c| resize(c, "bilinear", true)),
    ("pixel_shuffle", |c| {
        one(pixel_shuffle(&c.arg(0, "input").var()?, c.arg(1, "upscale_factor").i64()?))
    }),
    ("pixel_unshuffle", |c| {
        one(pixel_unshuffle(&c.arg(0, "input").var()?, c.arg(1, "downscale_factor").i64()?))
    }),
    ("channel_shuffle", |c| {
        one(channel_shuffle(&c.arg(0, "input").var()?, c.arg(1, "groups").i64()?))
    }),
    ("unfold", |c| {
        one(im2col(
            &c.arg(0, "input").var()?,
            c.arg(1, "kernel_size").array()?,
            c.arg(2, "dilation").array_or([1; 2])?,
            c.arg(3, "padding").array_or([0; 2])?,
            c.arg(4, "stride").array_or([1; 2])?,
        ))
    }),
    ("grid_sample", |c| {
        let mode = match c.arg(2, "mode").str_or("bilinear")? {
            "bilinear" => GridMode::Bilinear,
            "nearest" => GridMode::Nearest,
            _ => GridMode::Bicubic,
        };
        let padding = match c.arg(3, "padding_mode").str_or("zeros")? {
            "zeros" => GridPadding::Zeros,
            "border" => GridPadding::Border,
            _ => GridPadding::Reflection,
        };
        let align = c.arg(4, "align_corners").bool_or(false)?;
        let (x, grid) = (c.arg(0, "input").var()?, c.arg(1, "grid").var()?);
        one(grid_sample(&x, &grid, mode, padding, align))
    }),
    ("bilinear", |c| {
        let bias = c.arg(3, "bias").opt_var()?;
        let (x1, x2) = (c.arg(0, "input1").var()?, c.arg(1, "input2").var()?);
        one(bilinear(&x1, &x2, &c.arg(2, "weight").var()?, bias.as_ref()))
    }),
    ("pairwise_distance", |c| {
        one(distance(c)?.forward_pair(&c.arg(0, "x1").var()?, &c.arg(1, "x2").var()?))
    }),
    ("local_response_norm", |c| one(response(c)?.forward(&c.arg(0, "input").var()?))),
    ("embedding", |c| {
        let padding = c.arg(2, "padding_idx").i64_or(-1)?;
        let scale = c.arg(5, "scale_grad_by_freq").bool_or(false)?;
        // The cases have the table first.
        let (weight, index) = (c.arg(0, "weight").var()?, c.arg(1, "input").tensor()?);
        one(embedding_opt(&weight, &index, padding, scale))
    }),
    ("embedding_bag", embedding_bag_function),
];

pub const LAYERS: &[Entry] = &[
    ("ZeroPad1d", pad_layer!(ZeroPad1d, 1)),
    ("ZeroPad2d", pad_layer!(ZeroPad2d, 2)),
    ("ZeroPad3d", pad_layer!(ZeroPad3d, 3)),
    ("ConstantPad1d", pad_layer!(ConstantPad1d, 1, "value")),
    ("ConstantPad2d", pad_layer!(ConstantPad2d, 2, "value")),
    ("ConstantPad3d", pad_layer!(ConstantPad3d, 3, "value")),
    ("ReflectionPad1d", pad_layer!(ReflectionPad1d, 1)),
    ("ReflectionPad2d", pad_layer!(ReflectionPad2d, 2)),
    ("ReflectionPad3d", pad_layer!(ReflectionPad3d, 3)),
    ("ReplicationPad1d", pad_layer!(ReplicationPad1d, 1)),
    ("ReplicationPad2d", pad_layer!(ReplicationPad2d, 2)),
    ("ReplicationPad3d", pad_layer!(ReplicationPad3d, 3)),
    ("CircularPad1d", pad_layer!(CircularPad1d, 1)),
    ("CircularPad2d", pad_layer!(CircularPad2d, 2)),
    ("CircularPad3d", pad_layer!(CircularPad3d, 3)),
    ("Upsample", upsample),
    ("PixelShuffle", |c| c.layer(PixelShuffle::new(c.ctor("upscale_factor").i64()?))),
    ("PixelUnshuffle", |c| c.layer(PixelUnshuffle::new(c.ctor("downscale_factor").i64()?))),
    ("ChannelShuffle", |c| c.layer(ChannelShuffle::new(c.ctor("groups").i64()?))),
    ("Unfold", |c| {
        c.layer(Unfold::new(
            c.ctor("kernel_size").array()?,
            c.ctor("dilation").array()?,
            c.ctor("padding").array()?,
            c.ctor("stride").array()?,
        ))
    }),
    ("Fold", |c| {
        c.layer(Fold::new(
            c.ctor("output_size").array()?,
            c.ctor("kernel_size").array()?,
            c.ctor("dilation").array()?,
            c.ctor("padding").array()?,
            c.ctor("stride").array()?,
        ))
    }),
    ("Bilinear", |c| {
        let sizes = ["in1_features", "in2_features", "out_features"].map(|n| c.ctor(n).i64());
        let [i1, i2, o] = sizes;
        let layer = Bilinear::new(i1?, i2?, o?, c.ctor("bias").bool_or(true)?)?;
        c.load(&layer)?;
        one(layer.forward_bilinear(&c.arg(0, "input1").var()?, &c.arg(1, "input2").var()?))
    }),
    ("PairwiseDistance", |c| {
        one(distance(c)?.forward_pair(&c.arg(0, "x1").var()?, &c.arg(1, "x2").var()?))
    }),
    ("CosineSimilarity", |c| {
        let layer = CosineSimilarity::new(c.ctor("dim").i64()?, c.ctor("eps").f64()?);
        one(layer.forward_pair(&c.arg(0, "x1").var()?, &c.arg(1, "x2").var()?))
    }),
    ("LocalResponseNorm", |c| c.layer(response(c)?)),
    ("Embedding", embedding_layer),
    ("EmbeddingBag", embedding_bag_layer),
    ("Softmin", |c| c.layer(Softmin::new(c.ctor("dim").i32()?))),
    ("Softmax2d", |c| c.layer(Softmax2d)),
    ("RReLU", |c| c.layer(RReLU::new(c.ctor("lower").f64()?, c.ctor("upper").f64()?))),
    ("Unflatten", |c| {
        c.layer(Unflatten::new(c.ctor("dim").i32()?, &c.ctor("unflattened_size").ints()?))
    }),
    ("FeatureAlphaDropout", |c| c.layer(FeatureAlphaDropout::new(c.ctor("p").f64()?))),
];

/// A result with indices, as a case that asks for them has it.
pub fn indexed((y, indices): (Variable, Tensor)) -> Run {
    let mut outs = many(Ok(vec![y]))?;
    outs.push(indices.into());
    Ok(outs)
}
