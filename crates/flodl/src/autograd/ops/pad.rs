//! Padding: its gradient is its transpose, and the gradient of that is the padding again.

use super::from_nothing;
use crate::autograd::amp;
use crate::tensor::{PadStep, pad_mode_of, pad_plan};
use crate::{DType, Result, Variable};

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
        pad(self, padding, pad_mode_of(mode, value)?)
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
    if matches!(mode, PadMode::Reflect | PadMode::Replicate)
        && let Some([x]) = amp::high([input])?
    {
        return pad_named(op, &x, padding, mode);
    }
    let plan = input.with_data(|x| pad_plan(op, x, padding, mode))?;
    let mut x = input.clone();
    for (dim, start, length) in plan.cuts {
        x = x.narrow(dim, start, length)?;
    }
    for step in plan.steps {
        x = forward(op, &x, step, mode)?;
    }
    for (dim, start, length) in plan.late_cuts {
        x = x.narrow(dim, start, length)?;
    }
    Ok(x)
}

fn forward(op: &'static str, x: &Variable, step: PadStep, mode: PadMode<f64>) -> Result<Variable> {
    let y = x.with_data(|t| t.pad_step(&step, mode))?;
    Ok(from_nothing(op, x, y, move |dy| transposed(op, &dy, &step, mode)))
}

fn transposed(
    op: &'static str,
    dy: &Variable,
    step: &PadStep,
    mode: PadMode<f64>,
) -> Result<Variable> {
    let home = dy.dtype();
    let dy = if home.is_half() { dy.to_dtype(DType::Float32)? } else { dy.clone() };
    let t = dy.with_data(|t| t.contiguous())?;
    let dx = crate::Tensor::build(&step.from, t.dtype(), t.device(), |b, out| {
        b.pad_backward(&step.geom, mode, t.operand(), out)
    })?;
    // The constant itself does not depend on the input.
    let linear = if let PadMode::Constant(_) = mode { PadMode::Constant(0.0) } else { mode };
    let step = step.clone();
    from_nothing(op, &dy, dx, move |g2| forward(op, &g2, step.clone(), linear)).to_dtype(home)
}
