//! Padding of the last dims.

use smallvec::SmallVec;

use crate::backend::{PadGeom, PadMode};
use crate::shape::Dims;
use crate::{Error, Result, Tensor};

/// What a padding does. A mirrored or repeated border continues what is cut off on the other side,
/// so there the cut comes last.
pub(crate) struct PadPlan {
    /// What is kept before borders are added: dim, start, length.
    pub cuts: SmallVec<[(i32, i64, i64); 2]>,
    pub steps: SmallVec<[PadStep; 1]>,
    /// What is kept after.
    pub late_cuts: SmallVec<[(i32, i64, i64); 2]>,
}

/// Borders of at most three neighbouring dims.
#[derive(Clone)]
pub(crate) struct PadStep {
    pub geom: PadGeom,
    /// Shapes before and after.
    pub from: Dims,
    pub to: Dims,
}

fn label(mode: PadMode<f64>) -> &'static str {
    match mode {
        PadMode::Constant(_) => "constant",
        PadMode::Reflect => "reflection",
        PadMode::Replicate => "replication",
        PadMode::Circular => "circular",
    }
}

/// The mode of a number.
pub(crate) fn pad_mode_of(mode: i32, value: f64) -> Result<PadMode<f64>> {
    match mode {
        0 => Ok(PadMode::Constant(value)),
        1 => Ok(PadMode::Reflect),
        2 => Ok(PadMode::Replicate),
        3 => Ok(PadMode::Circular),
        _ => Err(Error::invalid(
            "pad",
            format!(
                "mode {mode} is none of 0 (constant), 1 (reflect), 2 (replicate), 3 (circular)"
            ),
        )),
    }
}

/// Checks a padding of a tensor and works out its steps.
pub(crate) fn pad_plan(
    op: &'static str,
    x: &Tensor,
    padding: &[i64],
    mode: PadMode<f64>,
) -> Result<PadPlan> {
    if !padding.len().is_multiple_of(2) || padding.len() / 2 > x.ndim() {
        return Err(Error::Shape {
            op,
            expected: format!(
                "a tensor that padding {padding:?} fits (a pair for each dim, the last dim's first)"
            ),
            got: x.shape(),
        });
    }
    let mut dims = Dims::from_slice(x.dims());
    let (mut cuts, mut late_cuts) = (SmallVec::new(), SmallVec::new());
    let mut borders: SmallVec<[[usize; 2]; 4]> = SmallVec::new();
    for (k, sides) in padding.chunks_exact(2).enumerate() {
        let d = x.ndim() - 1 - k;
        let size = dims[d] as i64;
        let cut = sides
            .iter()
            .map(|&p| if p < 0 { p.saturating_neg() } else { 0 })
            .fold(0, i64::saturating_add);
        let early = matches!(mode, PadMode::Constant(_) | PadMode::Circular);
        let most = match mode {
            PadMode::Constant(_) => i64::MAX,
            PadMode::Reflect => (size - 1).max(0),
            PadMode::Replicate if size > 0 => i64::MAX,
            PadMode::Replicate => 0,
            PadMode::Circular => size.saturating_sub(cut),
        };
        if cut > size || sides.iter().any(|&p| p > most) {
            return Err(Error::Shape {
                op,
                expected: format!("a dim {d} that {} padding {sides:?} fits", label(mode)),
                got: x.shape(),
            });
        }
        let border = [sides[0].max(0) as usize, sides[1].max(0) as usize];
        let start = sides[0].min(0).saturating_neg();
        if cut > 0 && early {
            cuts.push((d as i32, start, size - cut));
            dims[d] = (size - cut) as usize;
        } else if cut > 0 {
            let length = (size - cut).saturating_add_unsigned((border[0] + border[1]) as u64);
            late_cuts.push((d as i32, start, length));
        }
        borders.push(border);
    }
    let mut grown = crate::shape::to_i64(&dims);
    for (size, b) in grown.iter_mut().rev().zip(&borders) {
        *size = size.saturating_add_unsigned(b[0] as u64).saturating_add_unsigned(b[1] as u64);
    }
    crate::shape::sizes(op, &grown)?;

    // The kernel takes three dims; further ones are padded one by one.
    let mut steps = SmallVec::new();
    let first = borders.len().min(3);
    if borders[..first].iter().flatten().any(|&b| b > 0) {
        let (lead, last) = dims.split_at(dims.len() - first);
        let mut geom =
            PadGeom { planes: lead.iter().product(), input: [1; 3], before: [0; 3], after: [0; 3] };
        geom.input[3 - first..].copy_from_slice(last);
        for (k, &[before, after]) in borders[..first].iter().enumerate() {
            (geom.before[2 - k], geom.after[2 - k]) = (before, after);
        }
        let mut to = Dims::from_slice(lead);
        to.extend_from_slice(&geom.output()[3 - first..]);
        steps.push(PadStep { geom, from: std::mem::replace(&mut dims, to.clone()), to });
    }
    for (k, &[before, after]) in borders.iter().enumerate().skip(3) {
        if before + after == 0 {
            continue;
        }
        let d = dims.len() - 1 - k;
        let geom = PadGeom {
            planes: dims[..d].iter().product(),
            input: [1, dims[d], dims[d + 1..].iter().product()],
            before: [0, before, 0],
            after: [0, after, 0],
        };
        let mut to = dims.clone();
        to[d] += before + after;
        steps.push(PadStep { geom, from: std::mem::replace(&mut dims, to.clone()), to });
    }
    Ok(PadPlan { cuts, steps, late_cuts })
}

impl Tensor {
    /// One step of a padding.
    pub(crate) fn pad_step(&self, step: &PadStep, mode: PadMode<f64>) -> Result<Tensor> {
        let x = self.contiguous()?;
        Tensor::build(&step.to, x.dtype(), x.device(), |b, out| {
            b.pad(&step.geom, mode, x.operand(), out)
        })
    }

    /// Adds a border of `value`: pairs of (before, after), the last dim's first. A negative number
    /// removes entries.
    ///
    /// # Errors
    /// When the pairs are not whole, more than the dims, or remove more than there is.
    ///
    /// ```
    /// use flodl::*;
    /// let t = Tensor::ones(&[1, 2], TensorOptions::default())?;
    /// assert_eq!(t.pad(&[1, 2], 0.0)?.to_f32_vec()?, [0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn pad(&self, padding: &[i64], value: f64) -> Result<Tensor> {
        self.pad_by(padding, PadMode::Constant(value))
    }

    /// [`Tensor::pad`] with what stands in the border to choose: 0 constant, 1 reflect, 2 replicate,
    /// 3 circular. A mirrored border is smaller than the dim, a circular one at most as large.
    ///
    /// # Errors
    /// When the padding does not suit the shape or the mode.
    pub fn pad_mode(&self, padding: &[i64], mode: i32, value: f64) -> Result<Tensor> {
        self.pad_by(padding, pad_mode_of(mode, value)?)
    }

    fn pad_by(&self, padding: &[i64], mode: PadMode<f64>) -> Result<Tensor> {
        let plan = pad_plan("pad", self, padding, mode)?;
        let mut x = self.clone();
        for (dim, start, length) in plan.cuts {
            x = x.narrow(dim, start, length)?;
        }
        for step in &plan.steps {
            x = x.pad_step(step, mode)?;
        }
        for (dim, start, length) in plan.late_cuts {
            x = x.narrow(dim, start, length)?;
        }
        Ok(x)
    }
}
