//! ONNX operators that are ours in another form: other attributes, orders of axes, paddings.

use flodl::*;

use super::case::{Try, unsupported};
use super::onnx::{Call, Node, one};

/// What ONNX pads before and behind each spatial dim, from `pads` or `auto_pad`.
fn pads<const D: usize>(n: &Node, size: &[i64], windows: &Windows<D>) -> Try<[[i64; 2]; D]> {
    let auto = n.attr("auto_pad").str_or("NOTSET")?;
    let given = n.attr("pads");
    let given = if given.is_none() { vec![0; 2 * D] } else { given.ints()? };
    Ok(std::array::from_fn(|d| match auto {
        "SAME_UPPER" | "SAME_LOWER" => {
            let span = windows.dilation[d] * (windows.kernel[d] - 1) + 1;
            let out = (size[d] + windows.stride[d] - 1) / windows.stride[d];
            let all = ((out - 1) * windows.stride[d] + span - size[d]).max(0);
            let less = all / 2;
            if auto == "SAME_UPPER" { [less, all - less] } else { [all - less, less] }
        }
        _ => [given[d], given[D + d]],
    }))
}

/// An input padded as a node asks, and windows without padding.
pub fn padded<const D: usize>(
    n: &Node,
    kernel: [i64; D],
    value: f64,
) -> Try<(Variable, Windows<D>, Vec<i64>)> {
    let x = n.input(0)?;
    let windows = Windows {
        kernel,
        stride: n.attr("strides").array_or([1; D])?,
        padding: [0; D],
        dilation: n.attr("dilations").array_or([1; D])?,
        ceil_mode: n.attr("ceil_mode").bool_or(false)?,
    };
    let pairs = pads(n, &x.shape()[2..], &windows)?;
    let flat: Vec<i64> = pairs.iter().rev().flatten().copied().collect();
    Ok((x.pad(&flat, value)?, windows, flat))
}

/// Means over windows on explicit padding: what is not counted is left out of the divisor.
pub fn avg_pool_on_padding<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    let (x, windows, flat) = padded::<D>(n, n.attr("kernel_shape").array()?, 0.0)?;
    if windows.dilation != [1; D] {
        return unsupported("dilations");
    }
    if windows.ceil_mode {
        return unsupported("ceil_mode with such a padding");
    }
    let mean = avg_pool(&x, &windows, true, None)?;
    if n.attr("count_include_pad").bool_or(false)? {
        return Ok(vec![mean]);
    }
    let ones = Variable::new(Tensor::ones_like(&n.input(0)?.data())?, false);
    one(mean.div(&avg_pool(&ones.pad(&flat, 0.0)?, &windows, true, None)?))
}

/// Maxima, also of integers, and their places counted over the whole tensor.
pub fn max_pool_any<const D: usize>(n: &Node) -> Try<Vec<Variable>> {
    let home = n.input(0)?.dtype();
    let wide = Node { case: n.case, inputs: vec![Some(n.input(0)?.to_dtype(DType::Float32)?)] };
    let (x, windows, flat) =
        padded::<D>(&wide, n.attr("kernel_shape").array()?, f64::NEG_INFINITY)?;
    let (y, places) = max_pool_with_indices(&x, &windows)?;
    let mut outs = vec![y.to_dtype(home)?];
    let by_column = n.attr("storage_order").bool_or(false)?;
    if n.case.meta["node_outputs"].as_array().is_some_and(|o| o.len() > 1) {
        // Ours are places in a padded plane.
        let (planes, size) = (x.shape()[..2].iter().product::<i64>(), wide.input(0)?.shape());
        if D != 2 {
            return unsupported("indices of other than two dims");
        }
        let (rows, cols, wide_cols) = (size[2], size[3], x.shape()[3]);
        let each = places.numel() / planes;
        let found: Vec<i64> = places
            .to_i64_vec()?
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let (row, col) = (p / wide_cols - flat[2], p % wide_cols - flat[0]);
                let at = if by_column { col * rows + row } else { row * cols + col };
                at + i as i64 / each * rows * cols
            })
            .collect();
        let places = Tensor::from_i64(&found, &places.shape(), Device::CPU)?;
        outs.push(Variable::new(places, false));
    }
    Ok(outs)
}

/// The whole transposed convolution, cut or grown to the shape that was asked for.
pub fn conv_transpose_to<const D: usize>(
    n: &Node,
    options: &ConvOptions<D>,
    kernel: [i64; D],
) -> Try<Vec<Variable>> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let same = n.attr("auto_pad").str_or("NOTSET")?;
    let asked = n.attr("output_shape");
    n.attr("output_padding");
    let size: Vec<i64> = x.shape()[2..].to_vec();
    let wanted: [i64; D] = if asked.is_none() {
        std::array::from_fn(|d| size[d] * options.stride[d])
    } else {
        asked.array()?
    };
    let span =
        |d: usize| (size[d] - 1) * options.stride[d] + options.dilation[d] * (kernel[d] - 1) + 1;
    let more = std::array::from_fn(|d| (wanted[d] - span(d)).max(0));
    let mut y = conv_transpose(x, w, n.input(2).ok(), options, more)?;
    for (d, &size) in wanted.iter().enumerate() {
        let extra = (span(d) - size).max(0);
        let before = if same == "SAME_UPPER" { extra / 2 } else { extra - extra / 2 };
        y = y.narrow(2 + d as i32, before, size)?;
    }
    Ok(vec![y])
}

/// The place in one line of the first dims for each row of indices.
fn lines(x: &Variable, index: &Variable) -> Try<(Vec<Tensor>, Vec<i64>)> {
    let shape = index.shape();
    let (lead, dims) = shape.split_at(shape.len() - 1);
    let columns = index.data().reshape(&[-1, dims[0]])?.unbind(1)?;
    let mut out = lead.to_vec();
    out.extend(&x.shape()[dims[0] as usize..]);
    Ok((columns, out))
}

/// Sizes or factors of a resize, by axis; those that keep an axis are left out.
fn resize(n: &Node) -> Try<Vec<Variable>> {
    let x = n.input(0)?;
    let rank = x.ndim();
    let (mode, how) = (
        n.attr("mode").str_or("nearest")?,
        n.attr("coordinate_transformation_mode").str_or("half_pixel")?,
    );
    for (name, plain) in [("antialias", 0.0), ("exclude_outside", 0.0), ("cubic_coeff_a", -0.75)] {
        n.attr(name).only(plain)?;
    }
    n.attr("keep_aspect_ratio_policy").only("stretch")?;
    let axes = n.attr("axes");
    let axes = if axes.is_none() { (0..rank as i64).collect() } else { axes.ints()? };
    let given = if let Ok(scales) = n.input(2) { scales } else { n.input(3)? };
    let by_scale = n.input(2).is_ok();
    let mut values: Vec<f64> = vec![1.0; rank];
    if !by_scale {
        values = x.shape().iter().map(|&s| s as f64).collect();
    }
    for (&axis, v) in axes.iter().zip(given.data().to_f64_vec()?) {
        values[axis as usize] = v;
    }
    let values = &values[2..];
    let size: Vec<f64> = x.shape()[2..].iter().map(|&s| s as f64).collect();
    // How far apart two results lie among the elements, and how many there are.
    let steps: Vec<(f64, f64)> = size
        .iter()
        .zip(values)
        .map(|(&s, &v)| if by_scale { (1.0 / v, (s * v).floor()) } else { (s / v, v) })
        .collect();
    let align = how == "align_corners";
    let mode = match (mode, how) {
        ("nearest", "half_pixel") => {
            n.attr("nearest_mode").only("round_prefer_floor")?;
            // Between two elements the standard takes the first, PyTorch's nearest-exact the second.
            let tie = |&(step, count): &(f64, f64)| {
                (0..count as i64).any(|i| ((i as f64 + 0.5) * step).fract() == 0.0)
            };
            if steps.iter().any(tie) {
                return unsupported("a point half way between two elements");
            }
            Interpolation::NearestExact
        }
        ("linear", "half_pixel" | "align_corners") => Interpolation::Linear,
        ("linear", "pytorch_half_pixel") if steps.iter().all(|s| s.1 > 1.0) => {
            Interpolation::Linear
        }
        ("cubic", "half_pixel" | "align_corners") => Interpolation::Cubic,
        _ => return unsupported(format!("{mode} {how}")),
    };
    if by_scale {
        if align && size.iter().zip(values).any(|(s, v)| (s * v).fract() != 0.0) {
            return unsupported("align_corners of a size that is no whole number");
        }
        return one(interpolate_by(x, values, mode, align));
    }
    let size: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    one(interpolate(x, &size, mode, align))
}

/// Operators that are not here, and why.
pub const ABSENT: &[(&str, &str)] = &[
    ("Adam", "an optimizer's step as a node, with another place for epsilon than PyTorch's"),
    ("Momentum", "an optimizer's step as a node"),
    ("STFT", "Fourier transforms"),
];

pub const TABLE: &[(&str, Call)] = &[
    ("Resize", resize),
    ("AffineGrid", |n| {
        let align = n.attr("align_corners").bool_or(false)?;
        one(affine_grid(n.input(0)?, &n.ints(1)?, align))
    }),
    ("Pad", |n| {
        let (x, pads) = (n.input(0)?, n.ints(1)?);
        let axes = n.axes(3, x.ndim())?;
        let mut pairs = vec![[0, 0]; x.ndim()];
        for (i, &axis) in axes.iter().enumerate() {
            pairs[axis.rem_euclid(x.ndim() as i32) as usize] = [pads[i], pads[axes.len() + i]];
        }
        let flat: Vec<i64> = pairs.into_iter().rev().flatten().collect();
        let mode = match n.attr("mode").str_or("constant")? {
            "constant" => PadMode::Constant(n.input(2).map_or(Ok(0.0), |v| v.item())?),
            "edge" => PadMode::Replicate,
            "reflect" => PadMode::Reflect,
            "wrap" => PadMode::Circular,
            other => return unsupported(other),
        };
        one(pad(x, &flat, mode))
    }),
    ("OneHot", |n| {
        let (depth, values) = (n.input(1)?.item()?, n.input(2)?.data());
        let axis = n.attr("axis").i64_or(-1)?;
        // Indices count from the end when negative; those beyond name nothing.
        let index = n.input(0)?.data().to_dtype(DType::Int64)?.unsqueeze(-1)?;
        let negative = index.lt_scalar(0.0)?;
        let index = Tensor::where_cond(&negative, &index.add_scalar(depth)?, &index)?;
        let classes = Tensor::arange(0.0, depth, 1.0, DType::Int64.into())?;
        let (off, on) = (values.select(0, 0)?, values.select(0, 1)?);
        let hot = Tensor::where_cond(&index.eq_tensor(&classes)?, &on, &off)?;
        Ok(vec![Variable::new(hot.movedim(-1, axis)?, false)])
    }),
    ("Col2Im", |n| {
        let (image, block) = (n.ints(1)?, n.ints(2)?);
        let (&[h, w], &[kh, kw]) = (&image[..], &block[..]) else {
            return unsupported("three dims");
        };
        let pads = n.attr("pads").array_or([0; 4])?;
        if pads[..2] != pads[2..] {
            return unsupported("another padding at each end");
        }
        let (dilation, stride) =
            (n.attr("dilations").array_or([1; 2])?, n.attr("strides").array_or([1; 2])?);
        one(col2im(n.input(0)?, [h, w], [kh, kw], dilation, [pads[0], pads[1]], stride))
    }),
    ("DepthToSpace", |n| {
        let (x, r) = (n.input(0)?, n.attr("blocksize").i64()?);
        if n.attr("mode").str_or("DCR")? == "CRD" {
            return one(pixel_shuffle(x, r));
        }
        // Here the channels of a block come first.
        let s = x.shape();
        let blocks = x.reshape(&[s[0], r * r, s[1] / (r * r), s[2], s[3]])?;
        one(pixel_shuffle(&blocks.transpose(1, 2)?.reshape(&s)?, r))
    }),
    ("MeanVarianceNormalization", |n| {
        let axes = n.attr("axes");
        let axes = if axes.is_none() { vec![0, 2, 3] } else { axes.dims()? };
        let x = n.input(0)?;
        let centred = x.sub(&x.mean_dims(&axes, true)?)?;
        one(centred.div(&x.var_dims(&axes, 0.0, true)?.sqrt()?.add_scalar(1e-9)?))
    }),
    ("Dropout", |n| {
        let ratio = n.input(1).map_or(Ok(0.5), |v| v.item())?;
        let training = n.input(2).map_or(Ok(0.0), |v| v.item())? != 0.0;
        n.attr("seed");
        n.attr("ratio");
        if training && ratio != 0.0 {
            return unsupported("another generator's random numbers");
        }
        let x = n.input(0)?;
        let y = dropout(x, ratio, training)?;
        let kept = Tensor::ones_like(&x.data())?.to_dtype(DType::Bool)?;
        Ok(vec![y, Variable::new(kept, false)])
    }),
    ("GatherND", |n| {
        n.attr("batch_dims").only(0)?;
        let (x, index) = (n.input(0)?, n.input(1)?);
        let (columns, out) = lines(x, index)?;
        let shape = x.shape();
        let (lead, rest) = shape.split_at(columns.len());
        let mut place = columns[0].mul_scalar(0.0)?;
        for (column, &size) in columns.iter().zip(lead) {
            place = place.mul_scalar(size as f64)?.add(column)?;
        }
        let rows = x.reshape(&[lead.iter().product(), rest.iter().product()])?;
        one(rows.index_select(0, &place)?.reshape(&out))
    }),
    ("ScatterND", |n| {
        let add = match n.attr("reduction").str_or("none")? {
            "none" => false,
            "add" => true,
            other => return unsupported(format!("reduction={other}")),
        };
        let (x, index) = (n.input(0)?, n.input(1)?);
        let (columns, out) = lines(x, index)?;
        let refs: Vec<&Tensor> = columns.iter().collect();
        let rows: Vec<i64> = [&[-1], &x.shape()[columns.len()..]].concat();
        let updates = n.input(2)?;
        debug_assert_eq!(updates.shape(), out);
        one(x.index_put(&refs, &updates.reshape(&rows)?, add))
    }),
];
