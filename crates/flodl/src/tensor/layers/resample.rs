//! Interpolation to another size, samples at given points, and pixels moved between channels and
//! space.

use crate::backend::{
    FoldGeom, GridGeom, GridMode, GridPadding, Interpolation, IntoMode, ResampleGeom,
};
use crate::shape::Dims;
use crate::{DType, Error, Result, Tensor};

/// Checks an interpolation and works out its sizes.
pub(crate) fn resample_geometry(
    x: &Tensor,
    size: &[i64],
    scale: [Option<f64>; 3],
    mode: std::result::Result<Interpolation, i64>,
    align_corners: bool,
) -> Result<ResampleGeom> {
    let op = "interpolate";
    let mode = mode.map_err(|n| {
        Error::invalid(op, format!("mode {n} is none of 0 (nearest), 1 (linear), 2 (cubic)"))
    })?;
    x.check_float(op)?;
    let nearest = matches!(mode, Interpolation::Nearest | Interpolation::NearestExact);
    if nearest && align_corners {
        return Err(Error::invalid(op, "align_corners has no meaning for nearest interpolation"));
    }
    let rank = size.len();
    if mode == Interpolation::Cubic && rank != 2 {
        return Err(Error::invalid(op, "cubic interpolation takes two spatial dims"));
    }
    if size.iter().any(|&n| n < 1) {
        return Err(Error::invalid(op, format!("output size {size:?} must be positive")));
    }
    let dims = x.dims();
    if !(1..=3).contains(&rank) || dims.len() != rank + 2 || dims[2..].contains(&0) {
        return Err(Error::Shape {
            op,
            expected: format!("an input [N, C, ...] whose {rank} spatial dims are not empty"),
            got: x.shape(),
        });
    }
    crate::shape::sizes(op, &[&x.shape()[..2], size].concat())?;
    let mut g = ResampleGeom {
        planes: dims[0] * dims[1],
        input: [1; 3],
        output: [1; 3],
        scale,
        align_corners,
        mode,
    };
    g.input[3 - rank..].copy_from_slice(&dims[2..]);
    for (to, &n) in g.output[3 - rank..].iter_mut().zip(size) {
        *to = n as usize;
    }
    Ok(g)
}

/// Checks a sampling and works out its sizes; modes come as they were given.
pub(crate) fn grid_geometry(
    x: &Tensor,
    grid: &Tensor,
    mode: std::result::Result<GridMode, i64>,
    padding: std::result::Result<GridPadding, i64>,
    align_corners: bool,
) -> Result<GridGeom> {
    let op = "grid_sample";
    let mode = mode.map_err(|n| {
        Error::invalid(op, format!("mode {n} is none of 0 (bilinear), 1 (nearest), 2 (bicubic)"))
    })?;
    let padding = padding.map_err(|n| {
        let what = format!("padding mode {n} is none of 0 (zeros), 1 (border), 2 (reflection)");
        Error::invalid(op, what)
    })?;
    x.check_float(op)?;
    x.check_same(op, grid)?;
    let (n, c, m, input, points) = match (x.dims(), grid.dims()) {
        ([n, c, h, w], [m, points @ .., 2]) if points.len() == 2 => (n, c, m, [1, *h, *w], points),
        ([n, c, d, h, w], [m, points @ .., 3]) if points.len() == 3 => {
            (n, c, m, [*d, *h, *w], points)
        }
        _ => {
            return Err(Error::ShapeMismatch {
                op,
                lhs: x.shape(),
                rhs: grid.shape(),
                why: "an input [N, C, H, W] needs a grid [N, rows, columns, 2], and one of \
                      [N, C, D, H, W] a grid [N, planes, rows, columns, 3]"
                    .into(),
            });
        }
    };
    let rank = points.len();
    if rank == 3 && mode == GridMode::Bicubic {
        return Err(Error::invalid(op, "bicubic sampling takes inputs of two spatial dims"));
    }
    if n != m {
        return Err(Error::ShapeMismatch {
            op,
            lhs: x.shape(),
            rhs: grid.shape(),
            why: format!("{n} inputs need as many grids"),
        });
    }
    if input.contains(&0) {
        return Err(Error::Shape {
            op,
            expected: "spatial dims of at least 1".into(),
            got: x.shape(),
        });
    }
    let whole: Vec<usize> = [&[*n, *c], points].concat();
    crate::shape::sizes(op, &crate::shape::to_i64(&whole))?;
    Ok(GridGeom {
        batch: *n,
        channels: *c,
        rank,
        input,
        points: points.iter().product(),
        mode: match mode {
            GridMode::Bilinear => Interpolation::Linear,
            GridMode::Nearest => Interpolation::Nearest,
            GridMode::Bicubic => Interpolation::Cubic,
        },
        padding,
        align_corners,
    })
}

/// A rearrangement: a shape to see the input in, an order of its dims, the shape of the result.
struct Rearranged {
    parts: [i64; 6],
    order: [i64; 6],
    shape: Vec<i64>,
    /// Whether channels move to space.
    grows: bool,
}

impl Rearranged {
    /// The same as patches of r · r pixels.
    fn patches(&self) -> FoldGeom {
        let [n, c, a, b, d, e] = self.parts.map(|n| n as usize);
        let (r, output) = if self.grows { (a, [d, e]) } else { (b, [a, d]) };
        FoldGeom {
            batch: n,
            channels: c,
            input: output.map(|n| n * r),
            output,
            kernel: [r, r],
            stride: [r, r],
            padding: [0, 0],
            dilation: [1, 1],
        }
    }
}

/// Leading dims together, channels, height, width.
fn image(op: &'static str, input: &Tensor, factor: i64) -> Result<[i64; 4]> {
    if factor < 1 {
        return Err(Error::invalid(op, format!("factor {factor} must be positive")));
    }
    match *input.dims() {
        [ref lead @ .., c, h, w] => {
            Ok([lead.iter().product::<usize>() as i64, c as i64, h as i64, w as i64])
        }
        _ => {
            Err(Error::Shape { op, expected: "an input [..., C, H, W]".into(), got: input.shape() })
        }
    }
}

/// How channels move to space.
fn shuffled(input: &Tensor, r: i64) -> Result<Rearranged> {
    let op = "pixel_shuffle";
    let [n, c, h, w] = image(op, input, r)?;
    let square = r.saturating_mul(r);
    if c % square != 0 {
        return Err(Error::Shape {
            op,
            expected: format!("channels that {square} divides"),
            got: input.shape(),
        });
    }
    // Without channels the factor is not bounded by them.
    let (h_out, w_out) = (h.saturating_mul(r), w.saturating_mul(r));
    let mut shape = input.shape();
    let at = shape.len() - 3;
    shape[at..].copy_from_slice(&[c / square, h_out, w_out]);
    Ok(Rearranged {
        parts: [n, c / square, r, r, h, w],
        order: [0, 1, 4, 2, 5, 3],
        shape,
        grows: true,
    })
}

/// How space moves to channels.
fn unshuffled(input: &Tensor, r: i64) -> Result<Rearranged> {
    let op = "pixel_unshuffle";
    let [n, c, h, w] = image(op, input, r)?;
    if h % r != 0 || w % r != 0 {
        return Err(Error::Shape {
            op,
            expected: format!("a height and width that {r} divides"),
            got: input.shape(),
        });
    }
    let mut shape = input.shape();
    let at = shape.len() - 3;
    shape[at..].copy_from_slice(&[c.saturating_mul(r).saturating_mul(r), h / r, w / r]);
    Ok(Rearranged {
        parts: [n, c, h / r, r, w / r, r],
        order: [0, 1, 3, 5, 2, 4],
        shape,
        grows: false,
    })
}

impl Tensor {
    /// The interpolation of a checked input in float32 or float64.
    pub(crate) fn resampled(&self, g: &ResampleGeom) -> Result<Tensor> {
        let x = self.contiguous()?;
        let mut shape = Dims::from_slice(&x.dims()[..2]);
        shape.extend_from_slice(&g.output[5 - x.ndim()..]);
        Tensor::build(&shape, x.dtype(), x.device(), |b, out| b.resample(g, x.operand(), out))
    }

    /// The samples of a checked input in float32 or float64.
    pub(crate) fn sampled(&self, g: &GridGeom, grid: &Tensor) -> Result<Tensor> {
        let (x, grid) = (self.contiguous()?, grid.contiguous()?);
        let mut shape = Dims::from_slice(&[g.batch, g.channels]);
        shape.extend_from_slice(&grid.dims()[1..=g.rank]);
        Tensor::build(&shape, x.dtype(), x.device(), |b, out| {
            b.grid_sample(g, x.operand(), grid.operand(), out)
        })
    }

    /// Resizes the spatial dims of `[N, C, …]` by interpolation: mode 0 nearest, 1 linear, 2 cubic.
    ///
    /// # Errors
    /// When sizes do not fit, the mode is unknown, or `align_corners` is asked of a nearest mode.
    pub fn interpolate(
        &self,
        output_size: &[i64],
        mode: impl IntoMode<Interpolation>,
        align_corners: bool,
    ) -> Result<Tensor> {
        let scale = [None; 3];
        let g = resample_geometry(self, output_size, scale, mode.into_mode(), align_corners)?;
        self.through_f32(|x| x.resampled(&g))
    }

    /// Samples `[N, C, H, W]` at the points of a grid `[N, rows, columns, 2]`, or `[N, C, D, H, W]`
    /// at `[N, planes, rows, columns, 3]`, see [`grid_sample`](crate::grid_sample()): mode 0 bilinear, 1 nearest, 2 bicubic; outside the
    /// input 0 zeros, 1 its border, 2 its reflection.
    ///
    /// # Errors
    /// When shapes or dtypes do not fit, or a mode is unknown.
    pub fn grid_sample(
        &self,
        grid: &Tensor,
        mode: impl IntoMode<GridMode>,
        padding_mode: impl IntoMode<GridPadding>,
        align_corners: bool,
    ) -> Result<Tensor> {
        let (mode, padding) = (mode.into_mode(), padding_mode.into_mode());
        let g = grid_geometry(self, grid, mode, padding, align_corners)?;
        self.through_f32(|x| x.sampled(&g, &grid.to_dtype(x.dtype())?))
    }

    fn rearranged(&self, how: &Rearranged) -> Result<Tensor> {
        if matches!(self.dtype(), DType::Float32 | DType::Float64) {
            // Pixels move as patches that touch do.
            let (x, dims) = (self.contiguous()?, crate::shape::sizes("pixel_shuffle", &how.shape)?);
            let g = how.patches();
            return Tensor::build(&dims, x.dtype(), x.device(), |b, out| match how.grows {
                true => b.fold(&g, x.operand(), out),
                false => b.unfold(&g, x.operand(), out),
            });
        }
        self.reshape(&how.parts)?.permute(&how.order)?.reshape(&how.shape)
    }

    /// Moves channels to space: `[…, C · r², H, W]` becomes `[…, C, H · r, W · r]` (Shi et al.,
    /// 2016).
    ///
    /// # Errors
    /// When r² does not divide the channels.
    pub fn pixel_shuffle(&self, upscale_factor: i64) -> Result<Tensor> {
        self.rearranged(&shuffled(self, upscale_factor)?)
    }

    /// Moves space to channels: `[…, C, H · r, W · r]` becomes `[…, C · r², H, W]`; the inverse of
    /// [`Tensor::pixel_shuffle`].
    ///
    /// # Errors
    /// When r does not divide height and width.
    pub fn pixel_unshuffle(&self, downscale_factor: i64) -> Result<Tensor> {
        self.rearranged(&unshuffled(self, downscale_factor)?)
    }
}
