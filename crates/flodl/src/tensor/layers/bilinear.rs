//! The bilinear form x1ᵀ · W · x2.

use crate::{Error, Result, Tensor};

/// Sizes of a checked bilinear form.
pub(crate) struct Bilinear {
    /// Leading dims together.
    pub batch: i64,
    pub in1: i64,
    pub in2: i64,
    pub out: i64,
    /// Of the result.
    pub shape: Vec<i64>,
}

impl Bilinear {
    /// Checks `[…, in1]`, `[…, in2]`, a weight `[out, in1, in2]` and a bias `[out]`.
    pub fn check(x1: &Tensor, x2: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let op = "bilinear";
        x1.check_float(op)?;
        x1.check_same(op, x2)?;
        x1.check_same(op, w)?;
        let &[out, in1, in2] = w.dims() else {
            return Err(Error::Shape {
                op,
                expected: "a weight [out, in1, in2]".into(),
                got: w.shape(),
            });
        };
        let fits = |x: &Tensor, n: usize| x.dims().last() == Some(&n);
        let lead = x1.dims().len().saturating_sub(1);
        if !fits(x1, in1)
            || !fits(x2, in2)
            || x1.dims()[..lead] != x2.dims()[..lead.min(x2.ndim())]
            || x1.ndim() != x2.ndim()
        {
            return Err(Error::ShapeMismatch {
                op,
                lhs: x1.shape(),
                rhs: x2.shape(),
                why: format!(
                    "inputs must be [..., {in1}] and [..., {in2}] with the same dims before"
                ),
            });
        }
        if let Some(b) = bias {
            x1.check_same(op, b)?;
            if b.dims() != [out] {
                let expected = format!("a bias of [{out}]");
                return Err(Error::Shape { op, expected, got: b.shape() });
            }
        }
        let mut shape = x1.shape();
        shape[lead] = out as i64;
        let batch = x1.dims()[..lead].iter().product::<usize>() as i64;
        Ok(Bilinear { batch, in1: in1 as i64, in2: in2 as i64, out: out as i64, shape })
    }
}

impl Tensor {
    /// y = x1ᵀ · W · x2 + b for each output: `[…, in1]`, `[…, in2]` and a weight `[out, in1, in2]`
    /// give `[…, out]`.
    ///
    /// # Errors
    /// When shapes or dtypes do not fit.
    pub fn bilinear(
        input1: &Tensor,
        input2: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let g = Bilinear::check(input1, input2, weight, bias)?;
        // As one GEMM over (out, in1) and one product of a matrix and a vector for each row.
        let flat = weight.reshape(&[g.out * g.in1, g.in2])?;
        let rows = input2.reshape(&[g.batch, g.in2])?.linear(&flat, None)?;
        let column = input1.reshape(&[g.batch, g.in1, 1])?;
        let y = rows.reshape(&[g.batch, g.out, g.in1])?.matmul(&column)?.reshape(&g.shape)?;
        match bias {
            Some(b) => y.add(b),
            None => Ok(y),
        }
    }
}
