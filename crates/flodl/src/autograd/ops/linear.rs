//! Matrix products.

use smallvec::SmallVec;

use super::elementwise::fused;
use super::grad_by_composition;
use crate::autograd::amp;
use crate::autograd::tape::{Ctx, Grads, Saved, grads, record, take_sum, wants_grad};
use crate::autograd::work;
use crate::backend::{BinaryOp, SmoothOp, UnaryOp};
use crate::{Result, Tensor, Variable, is_grad_enabled};

impl Variable {
    /// The matrix product of the last two dims; the dims before them are broadcast, and 1-d
    /// operands count as a row on the left and a column on the right.
    ///
    /// # Errors
    /// When shapes do not fit, or dtypes or devices differ.
    pub fn matmul(&self, other: &Variable) -> Result<Variable> {
        let (rows, cols) = (self.ndim() == 1, other.ndim() == 1);
        if rows {
            let out = self.unsqueeze(0)?.matmul(other)?;
            return out.squeeze(if cols { 0 } else { -2 });
        }
        if cols {
            return self.matmul(&other.unsqueeze(1)?)?.squeeze(-1);
        }
        if let Some([a, b]) = amp::low([self, other])? {
            return a.matmul(&b);
        }
        let data = self.with_data(|a| other.with_data(|b| a.matmul(b)))?;
        work::note(None, &data, || data.len() * self.with_data(|a| a.dims()[a.ndim() - 1]));
        let (a, b) = (Saved::new(self), Saved::new(other));
        Ok(record("matmul", data, &[self, other], move |ctx| {
            let g = ctx.grad();
            let da = if ctx.needs(0) {
                Some(g.matmul(&b.get()?.transpose(-2, -1)?)?.sum_to(a.data().dims())?)
            } else {
                None
            };
            let db = if !ctx.needs(1) {
                None
            } else if b.data().ndim() == 2 && a.data().ndim() > 2 {
                // One matrix served all batches: one product over all rows instead of a sum.
                let (x, g) = (a.get()?.rows()?, g.rows()?);
                Some(x.transpose(0, 1)?.matmul(&g)?)
            } else {
                Some(a.get()?.transpose(-2, -1)?.matmul(&g)?.sum_to(b.data().dims())?)
            };
            Ok(grads![da, db])
        }))
    }

    /// beta · self + alpha · mat1 · mat2.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn addmm(
        &self,
        mat1: &Variable,
        mat2: &Variable,
        beta: f64,
        alpha: f64,
    ) -> Result<Variable> {
        let product = mat1.matmul(mat2)?.mul_scalar(alpha)?;
        if beta == 0.0 { Ok(product) } else { self.mul_scalar(beta)?.add(&product) }
    }

    /// The matrix product of two stacks of matrices.
    ///
    /// # Errors
    /// When an operand is not 3-d or shapes do not fit.
    pub fn bmm(&self, other: &Variable) -> Result<Variable> {
        if self.ndim() != 3 || other.ndim() != 3 || self.shape()[0] != other.shape()[0] {
            // The tensors' own check words the error.
            return Ok(Variable::constant(self.data().bmm(&other.data())?));
        }
        self.matmul(other)
    }

    /// Euclidean distances between the rows of two matrices (or stacks of them).
    ///
    /// # Errors
    /// When row lengths differ.
    pub fn cdist(&self, other: &Variable) -> Result<Variable> {
        self.cdist_p(other, 2.0)
    }

    /// p-norm distances between the rows of two matrices (or stacks of them).
    ///
    /// # Errors
    /// When row lengths differ.
    pub fn cdist_p(&self, other: &Variable, p: f64) -> Result<Variable> {
        if let Some([a, b]) = amp::high([self, other])? {
            return a.cdist_p(&b, p);
        }
        if self.ndim() < 2 || other.ndim() < 2 || self.shape().last() != other.shape().last() {
            return Ok(Variable::constant(self.data().cdist_p(&other.data(), p)?));
        }
        self.unsqueeze(-2)?.sub(&other.unsqueeze(-3)?)?.norm_p(p, -1, false)
    }

    /// All dims but the last joined into rows.
    pub(crate) fn rows(&self) -> Result<Variable> {
        if self.ndim() == 2 {
            return Ok(self.clone());
        }
        let shape = self.shape();
        let Some((&cols, lead)) = shape.split_last() else { return self.reshape(&[1, 1]) };
        self.reshape(&[lead.iter().product(), cols])
    }
}

/// x · Wᵀ + b in one call: x `[…, in]`, W `[out, in]`, b `[out]`, result `[…, out]`.
///
/// # Errors
/// When sizes, dtypes or devices differ.
pub fn linear(input: &Variable, weight: &Variable, bias: Option<&Variable>) -> Result<Variable> {
    if let Some([x, w]) = amp::low([input, weight])? {
        let bias = bias.map(|b| b.to_dtype(x.dtype())).transpose()?;
        return linear(&x, &w, bias.as_ref());
    }
    let data = with_operands(input, weight, bias, Tensor::linear)?;
    work::note(Some(weight), &data, || data.len() * weight.with_data(|w| w.dims()[1]));
    if !is_grad_enabled() {
        return Ok(Variable::constant(data));
    }
    let all = inputs(input, weight, bias);
    let (x, w) = (Saved::new(input), Saved::new(weight));
    Ok(record("linear", data, &all, move |ctx| {
        let g = ctx.grad();
        let dx = if ctx.needs(0) { Some(g.matmul(&w.get()?)?) } else { None };
        gradients(ctx, g, dx, &x)
    }))
}

/// Calls `f` with the values of a linear layer's inputs.
fn with_operands<R>(
    input: &Variable,
    weight: &Variable,
    bias: Option<&Variable>,
    f: impl FnOnce(&Tensor, &Tensor, Option<&Tensor>) -> R,
) -> R {
    input.with_data(|x| {
        weight.with_data(|w| match bias {
            Some(bias) => bias.with_data(|b| f(x, w, Some(b))),
            None => f(x, w, None),
        })
    })
}

fn inputs<'a>(
    input: &'a Variable,
    weight: &'a Variable,
    bias: Option<&'a Variable>,
) -> SmallVec<[&'a Variable; 3]> {
    [Some(input), Some(weight), bias].into_iter().flatten().collect()
}

/// Gradients of a linear layer's inputs from those of its output and its first input.
fn gradients(ctx: &Ctx<'_>, g: Variable, dx: Option<Variable>, x: &Saved) -> Result<Grads> {
    let rows = if g.ndim() == 1 { g.unsqueeze(0)? } else { g.rows()? };
    let dw = if ctx.needs(1) {
        let x = x.get()?;
        let x = if x.ndim() == 1 { x.unsqueeze(0)? } else { x.rows()? };
        add_product(ctx, 1, &rows.transpose(0, 1)?, &x)?
    } else {
        None
    };
    if ctx.inputs() == 2 {
        return Ok(grads![dx, dw]);
    }
    let db = if ctx.needs(2) { Some(rows.sum_dim(0, false)?) } else { None };
    Ok(grads![dx, dw, db])
}

/// The product of two matrices as the gradient of input `i`. Where that is a leaf that has a gradient
/// already, as the weight of a layer in a loop has, it is added to this, and nothing is left to
/// deliver: a gradient of its own would be written and read once more.
fn add_product(ctx: &Ctx<'_>, i: usize, a: &Variable, b: &Variable) -> Result<Option<Variable>> {
    if let Some(leaf) = ctx.leaf(i)
        && let Some(mut sum) = take_sum(&leaf)
    {
        let added = a.with_data(|a| b.with_data(|b| sum.addmm_(a, b)));
        leaf.put_grad(Some(Variable::constant(sum)));
        return added.map(|()| None);
    }
    a.matmul(b).map(Some)
}

/// An activation that may follow a linear layer in one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Relu,
    Sigmoid,
    Tanh,
    Gelu,
    GeluTanh,
    Silu,
}

impl Act {
    /// The operation by itself.
    fn apply(self, x: &Variable) -> Result<Variable> {
        match self {
            Act::Relu => x.relu(),
            Act::Sigmoid => x.sigmoid(),
            Act::Tanh => x.tanh(),
            Act::Gelu => x.gelu(),
            Act::GeluTanh => x.gelu_tanh(),
            Act::Silu => x.silu(),
        }
    }

    fn kernels(self) -> Kernels {
        match self {
            Act::Relu => Kernels::FromOutput(UnaryOp::Relu, BinaryOp::ReluGrad),
            Act::Sigmoid => Kernels::FromOutput(UnaryOp::Sigmoid, BinaryOp::SigmoidGrad),
            Act::Tanh => Kernels::FromOutput(UnaryOp::Tanh, BinaryOp::TanhGrad),
            Act::Gelu => Kernels::WithSlope(UnaryOp::Gelu, SmoothOp::Gelu),
            Act::GeluTanh => Kernels::WithSlope(UnaryOp::GeluTanh, SmoothOp::GeluTanh),
            Act::Silu => Kernels::WithSlope(UnaryOp::Silu, SmoothOp::Silu),
        }
    }
}

/// How an activation and its gradient are computed.
enum Kernels {
    /// The gradient reads the output.
    FromOutput(UnaryOp, BinaryOp),
    /// The derivative is computed with the output where a gradient is wanted, and kept in its stead.
    WithSlope(UnaryOp, SmoothOp),
}

/// An activation of [`linear`] in one operation: it is taken while the product is written, which is
/// not kept, and the tape has one node.
///
/// # Errors
/// As for [`linear`].
pub(crate) fn linear_act(
    input: &Variable,
    weight: &Variable,
    bias: Option<&Variable>,
    act: Act,
) -> Result<Variable> {
    if amp::is_active() || !with_operands(input, weight, bias, Tensor::ends_in_cache) {
        // Autocast's casts stand between the two; or the layer has errors to tell, or nothing to do.
        return act.apply(&linear(input, weight, bias)?);
    }
    let all = if is_grad_enabled() { inputs(input, weight, bias) } else { SmallVec::new() };
    let wanted = wants_grad(&all);
    // With what the gradient reads, and how, where one is wanted.
    type Made = (Tensor, Option<(Tensor, BinaryOp)>);
    let run = |x: &Tensor, w: &Tensor, b: Option<&Tensor>| -> Result<Made> {
        Ok(match act.kernels() {
            Kernels::WithSlope(_, op) if wanted => {
                let [data, slope] = x.linear_with_slope(w, b, op)?;
                (data, Some((slope, BinaryOp::Mul)))
            }
            Kernels::FromOutput(op, slope) if wanted => {
                let data = x.linear_act(w, b, op)?;
                (data.clone(), Some((data, slope)))
            }
            Kernels::WithSlope(op, _) | Kernels::FromOutput(op, _) => {
                (x.linear_act(w, b, op)?, None)
            }
        })
    };
    let (data, kept) = with_operands(input, weight, bias, run)?;
    work::note(Some(weight), &data, || data.len() * weight.with_data(|w| w.dims()[1]));
    let Some((kept, slope)) = kept else { return Ok(Variable::constant(data)) };
    let (x, w) = (Saved::new(input), Saved::new(weight));
    let given: SmallVec<[Saved; 1]> = bias.map(Saved::new).into_iter().collect();
    let name = "linear_act";
    Ok(record(name, data, &all, move |ctx| {
        let g = ctx.grad();
        if !is_grad_enabled() {
            if !ctx.needs(0) {
                return gradients(ctx, fused(slope, name, &g, &kept)?, None, &x);
            }
            let both = g.with_data(|g| g.binary_matmul((name, slope), &kept, w.data()))?;
            let [g, dx] = both.map(Variable::constant);
            return gradients(ctx, g, Some(dx), &x);
        }
        let (x, w) = (x.get()?, w.get()?);
        let bias = given.first().map(Saved::get).transpose()?;
        let compose = |v: &[Variable]| act.apply(&linear(&v[0], &v[1], v.get(2))?);
        grad_by_composition(&inputs(&x, &w, bias.as_ref()), compose, g)
    }))
}
