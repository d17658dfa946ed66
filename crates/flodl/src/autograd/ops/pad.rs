//! Padding: its gradient is its transpose, and the gradient of that is the padding again.

use super::from_nothing;
use crate::backend::PadGeom;
use crate::shape::Dims;
use crate::{DType, Error, Result, Variable};

pub use crate::backend::PadMode;

impl Variable {
    /// Pads the last dims with a value: `padding` is before and after the last dim, before and
    /// after the one before it, and so on. Negative padding cuts off.
    ///
    /// # Errors
    /// When the list is odd or longer than the dims, or cuts off more than there is.
    pub fn pad(&self, padding: &[i64], value: f64) -> Result<Variable> {
        pad(self, padding, PadMode::Constant(value))
    }

    /// [`Variable::pad`] by a mode's number: 0 constant, 1 reflect, 2 replicate, 3 circular.
    ///
    /// # Errors
    /// As for [`pad`], and for other numbers.
    pub fn pad_mode(&self, padding: &[i64], mode: i32, value: f64) -> Result<Variable> {
        let mode = match mode {
            0 => PadMode::Constant(value),
            1 => PadMode::Reflect,
            2 => PadMode::Replicate,
            3 => PadMode::Circular,
            _ => {
                let what = format!(
                    "mode {mode} is none of 0 (constant), 1 (reflect), 2 (replicate), 3 (circular)"
                );
                return Err(Error::invalid("pad", what));
            }
        };
        pad(self, padding, mode)
    }
}

/// Pads the last dims: `padding` is before and after the last dim, before and after the one before
/// it, and so on. Negative padding cuts off. A mirrored border is smaller than the dim, a circular
/// one at most as large.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::from_f32(&[1.0, 2.0, 3.0], &[1, 3], Device::CPU)?, false);
/// let y = pad(&x, &[2, 1], PadMode::Reflect)?;
/// assert_eq!(y.data().to_f32_vec()?, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// When the list is odd or longer than the dims, or a border is too large for its dim.
pub fn pad(input: &Variable, padding: &[i64], mode: PadMode<f64>) -> Result<Variable> {
    pad_named("pad", input, padding, mode)
}

/// [`pad`] under the name of a layer.
pub(crate) fn pad_named(
    op: &'static str,
    input: &Variable,
    padding: &[i64],
    mode: PadMode<f64>,
) -> Result<Variable> {
    let shape = input.shape();
    if !padding.len().is_multiple_of(2) || padding.len() / 2 > shape.len() {
        return Err(Error::Shape {
            op,
            expected: format!(
                "a tensor that padding {padding:?} fits (a pair for each dim, the last dim's first)"
            ),
            got: shape,
        });
    }
    let mut x = input.clone();
    for (k, sides) in padding.chunks_exact(2).enumerate() {
        let (d, size) = (shape.len() - 1 - k, shape[shape.len() - 1 - k]);
        let cut = sides.iter().map(|&p| (-p).max(0)).sum::<i64>();
        let most = match mode {
            PadMode::Constant(_) => i64::MAX,
            PadMode::Reflect => size - 1,
            PadMode::Replicate => {
                if size > 0 {
                    i64::MAX
                } else {
                    0
                }
            }
            PadMode::Circular => size,
        };
        if cut > size || sides.iter().any(|&p| p > most) {
            return Err(Error::Shape {
                op,
                expected: format!("a dim {d} that {} padding {sides:?} fits", label(mode)),
                got: shape,
            });
        }
        if cut > 0 {
            x = x.narrow(d as i32, (-sides[0]).max(0), size - cut)?;
        }
    }
    let borders: Vec<usize> = padding.iter().map(|&p| p.max(0) as usize).collect();
    // The kernel takes three dims; further ones are padded one by one.
    let mut x = pad_planes(op, &x, &borders[..borders.len().min(6)], mode)?;
    for (k, sides) in borders.chunks_exact(2).enumerate().skip(3) {
        let mut dims = x.shape();
        let d = dims.len() - 1 - k;
        let lead: i64 = dims[..d].iter().product();
        let rest: i64 = dims[d + 1..].iter().product();
        let flat = x.reshape(&[lead, dims[d], rest])?;
        dims[d] += (sides[0] + sides[1]) as i64;
        x = pad_planes(op, &flat, &[0, 0, sides[0], sides[1]], mode)?.reshape(&dims)?;
    }
    Ok(x)
}

fn label(mode: PadMode<f64>) -> &'static str {
    match mode {
        PadMode::Constant(_) => "constant",
        PadMode::Reflect => "reflection",
        PadMode::Replicate => "replication",
        PadMode::Circular => "circular",
    }
}

/// Pads at most three last dims.
fn pad_planes(
    op: &'static str,
    x: &Variable,
    borders: &[usize],
    mode: PadMode<f64>,
) -> Result<Variable> {
    if borders.iter().all(|&b| b == 0) {
        return Ok(x.clone());
    }
    let dims = x.with_data(|t| Dims::from_slice(t.dims()));
    let (lead, last) = dims.split_at(dims.len() - borders.len() / 2);
    let mut g =
        PadGeom { planes: lead.iter().product(), input: [1; 3], before: [0; 3], after: [0; 3] };
    g.input[3 - last.len()..].copy_from_slice(last);
    for (k, sides) in borders.chunks_exact(2).enumerate() {
        (g.before[2 - k], g.after[2 - k]) = (sides[0], sides[1]);
    }
    forward(op, x, g, last.len(), mode)
}

fn forward(
    op: &'static str,
    x: &Variable,
    g: PadGeom,
    rank: usize,
    mode: PadMode<f64>,
) -> Result<Variable> {
    let t = x.with_data(|t| t.contiguous())?;
    let mut shape = Dims::from_slice(&t.dims()[..t.ndim() - rank]);
    shape.extend_from_slice(&g.output()[3 - rank..]);
    let y = crate::Tensor::build(&shape, t.dtype(), t.device(), |b, out| {
        b.pad(&g, mode, t.operand(), out)
    })?;
    let from = Dims::from_slice(t.dims());
    Ok(from_nothing(op, x, y, move |dy| transposed(op, &dy, g, rank, mode, &from)))
}

fn transposed(
    op: &'static str,
    dy: &Variable,
    g: PadGeom,
    rank: usize,
    mode: PadMode<f64>,
    from: &[usize],
) -> Result<Variable> {
    let home = dy.dtype();
    let dy = if home.is_half() { dy.to_dtype(DType::Float32)? } else { dy.clone() };
    let t = dy.with_data(|t| t.contiguous())?;
    let dx = crate::Tensor::build(from, t.dtype(), t.device(), |b, out| {
        b.pad_backward(&g, mode, t.operand(), out)
    })?;
    // The constant itself does not depend on the input.
    let linear = if let PadMode::Constant(_) = mode { PadMode::Constant(0.0) } else { mode };
    from_nothing(op, &dy, dx, move |g2| forward(op, &g2, g, rank, linear)).to_dtype(home)
}
