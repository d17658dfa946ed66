//! Tensor operations: PyTorch's name to our call.

use flodl::{DType, Tensor, Variable};

use super::case::{Case, Entry, Out, Run, Try, many, one, unsupported};
use super::more;

/// The dims of `arg(index, "dim")` that a tensor of this rank has; all of them when absent.
fn dims(c: &Case, index: usize) -> Try<Vec<i32>> {
    let d = c.arg(index, "dim");
    let rank = c.arg(0, "input").var()?.ndim() as i32;
    if d.is_none() { Ok((0..rank).collect()) } else { d.dims() }
}

/// A unary method.
macro_rules! unary {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |c| one(c.arg(0, "input").var()?.$name()))),*]
    };
}

/// A binary method of variables.
macro_rules! binary {
    ($($torch:literal => $name:ident),* $(,)?) => {
        &[$(($torch, |c| {
            one(c.arg(0, "input").var()?.$name(&c.arg(1, "other").var()?))
        })),*]
    };
}

/// A binary method of tensors, without a gradient.
macro_rules! compare {
    ($($torch:literal => $name:ident),* $(,)?) => {
        &[$(($torch, |c| {
            one(c.arg(0, "input").tensor()?.$name(&c.arg(1, "other").tensor()?))
        })),*]
    };
}

pub const UNARY: &[Entry] = unary![
    exp, log, sqrt, rsqrt, abs, square, log1p, expm1, log2, log10, sin, cos, tan, asin, acos, atan,
    sinh, cosh, reciprocal, erf, erfc, sign, floor, ceil, trunc, frac, neg, relu, sigmoid, tanh,
    sinc,
];

pub const BINARY: &[Entry] = binary![
    "add" => add, "sub" => sub, "mul" => mul, "true_divide" => div, "pow" => pow,
    "atan2" => atan2, "maximum" => maximum, "minimum" => minimum, "matmul" => matmul,
    "mv" => matmul, "fmod" => fmod_tensor, "remainder" => remainder_tensor, "fmax" => fmax,
    "fmin" => fmin, "hypot" => hypot, "logaddexp" => logaddexp, "xlogy" => xlogy,
];

pub const COMPARE: &[Entry] = compare![
    "eq" => eq_tensor, "ne" => ne_tensor, "lt" => lt, "le" => le, "gt" => gt, "ge" => ge,
    "logical_and" => logical_and, "logical_or" => logical_or, "logical_xor" => logical_xor,
];

pub const REDUCE: &[Entry] = &[
    ("sum", |c| {
        let x = c.arg(0, "input").var()?;
        one(if c.arg(1, "dim").is_none() {
            x.sum()
        } else {
            x.sum_dims(&dims(c, 1)?, c.arg(2, "keepdim").bool_or(false)?)
        })
    }),
    ("mean", |c| {
        let x = c.arg(0, "input").var()?;
        one(if c.arg(1, "dim").is_none() {
            x.mean()
        } else {
            x.mean_dims(&dims(c, 1)?, c.arg(2, "keepdim").bool_or(false)?)
        })
    }),
    ("prod", |c| {
        let x = c.arg(0, "input").var()?;
        let d = c.arg(1, "dim");
        one(if d.is_none() {
            x.prod()
        } else {
            x.prod_dim(d.i32()?, c.arg(2, "keepdim").bool_or(false)?)
        })
    }),
    ("var", |c| one(variance(c)?.0)),
    ("std", |c| one(variance(c)?.0.and_then(|v| v.sqrt()))),
    ("var_mean", |c| {
        let (var, dims, keepdim) = variance(c)?;
        Ok(vec![var?.into(), c.arg(0, "input").var()?.mean_dims(&dims, keepdim)?.into()])
    }),
    ("max", |c| extreme(c, Variable::max, Variable::max_dim, Tensor::argmax, Variable::maximum)),
    ("min", |c| extreme(c, Variable::min, Variable::min_dim, Tensor::argmin, Variable::minimum)),
    ("amax", |c| {
        one(c.arg(0, "input").var()?.amax(&dims(c, 1)?, c.arg(2, "keepdim").bool_or(false)?))
    }),
    ("amin", |c| {
        one(c.arg(0, "input").var()?.amin(&dims(c, 1)?, c.arg(2, "keepdim").bool_or(false)?))
    }),
    ("argmax", |c| arg_extreme(c, Tensor::argmax)),
    ("argmin", |c| arg_extreme(c, Tensor::argmin)),
    ("any", |c| {
        let keepdim = c.arg(2, "keepdim").bool_or(false)?;
        one(c.arg(0, "input").tensor()?.any_dims(&dims(c, 1)?, keepdim))
    }),
    ("all", |c| {
        let keepdim = c.arg(2, "keepdim").bool_or(false)?;
        one(c.arg(0, "input").tensor()?.all_dims(&dims(c, 1)?, keepdim))
    }),
    ("count_nonzero", |c| {
        let (x, d) = (c.arg(0, "input").tensor()?, c.arg(1, "dim"));
        one(if d.is_none() { x.count_nonzero() } else { x.count_nonzero_dims(&d.dims()?) })
    }),
    ("cumsum", |c| one(c.arg(0, "input").var()?.cumsum(c.arg(1, "dim").i32()?))),
    ("cumprod", |c| one(c.arg(0, "input").var()?.cumprod(c.arg(1, "dim").i32()?))),
    ("logsumexp", |c| match *c.arg(1, "dim").dims()? {
        [d] => one(c.arg(0, "input").var()?.logsumexp(d, c.arg(2, "keepdim").bool_or(false)?)),
        _ => unsupported("several dims"),
    }),
    ("norm", |c| {
        let (x, p) = (c.arg(0, "input").var()?, c.arg(1, "p"));
        let p = if p.str_or("fro").is_ok_and(|p| p == "fro") { 2.0 } else { p.f64()? };
        one(x.norm_dims(p, &dims(c, 2)?, c.arg(3, "keepdim").bool_or(false)?))
    }),
    ("linalg.vector_norm", |c| {
        let (x, p) = (c.arg(0, "input").var()?, c.arg(1, "ord").f64_or(2.0)?);
        one(x.norm_dims(p, &dims(c, 2)?, c.arg(3, "keepdim").bool_or(false)?))
    }),
];

/// Variance, with the dims and whether they stay.
fn variance(c: &Case) -> Try<(flodl::Result<Variable>, Vec<i32>, bool)> {
    let x = c.arg(0, "input").var()?;
    // The second argument by place is `dim`, or `unbiased` where it is a bool.
    let unbiased_by_place = c.meta["fwd"]["args"][1].is_boolean();
    let over = if unbiased_by_place { (0..x.ndim() as i32).collect() } else { dims(c, 1)? };
    let unbiased = c.arg(if unbiased_by_place { 1 } else { 9 }, "unbiased").bool_or(true)?;
    let correction = c.arg(9, "correction").f64_or(f64::from(u8::from(unbiased)))?;
    let keepdim = c.arg(9, "keepdim").bool_or(false)?;
    Ok((x.var_dims(&over, correction, keepdim), over, keepdim))
}

/// `max` and `min`: of all, along a dim with indices, or of two tensors.
fn extreme(
    c: &Case,
    all: fn(&Variable) -> flodl::Result<Variable>,
    along: fn(&Variable, i32, bool) -> flodl::Result<Variable>,
    index: fn(&Tensor, i32, bool) -> flodl::Result<Tensor>,
    pair: fn(&Variable, &Variable) -> flodl::Result<Variable>,
) -> Run {
    let (x, second) = (c.arg(0, "input").var()?, c.arg(1, "dim"));
    if second.is_none() {
        return one(all(&x));
    }
    if second.is_tensor() {
        return one(pair(&x, &second.var()?));
    }
    let (dim, keepdim) = (second.i32()?, c.arg(2, "keepdim").bool_or(false)?);
    Ok(vec![along(&x, dim, keepdim)?.into(), index(&x.data(), dim, keepdim)?.into()])
}

fn arg_extreme(c: &Case, f: fn(&Tensor, i32, bool) -> flodl::Result<Tensor>) -> Run {
    let (x, dim) = (c.arg(0, "input").tensor()?, c.arg(1, "dim"));
    let keepdim = c.arg(2, "keepdim").bool_or(false)?;
    one(if dim.is_none() { f(&x.reshape(&[-1])?, 0, false) } else { f(&x, dim.i32()?, keepdim) })
}

pub const SHAPE: &[Entry] = &[
    ("reshape", |c| one(c.arg(0, "input").var()?.reshape(&c.arg(1, "shape").ints()?))),
    ("view", |c| one(c.arg(0, "input").var()?.reshape(&c.arg(1, "size").ints()?))),
    ("expand", |c| one(c.arg(0, "input").var()?.expand(&c.arg(1, "size").ints()?))),
    ("broadcast_to", |c| one(c.arg(0, "input").var()?.expand(&c.arg(1, "size").ints()?))),
    ("expand_as", |c| one(c.arg(0, "input").var()?.expand(&c.arg(1, "other").tensor()?.shape()))),
    ("permute", |c| one(c.arg(0, "input").var()?.permute(&c.arg(1, "dims").ints()?))),
    ("transpose", |c| {
        let (a, b) = (c.arg(1, "dim0").i32()?, c.arg(2, "dim1").i32()?);
        one(c.arg(0, "input").var()?.transpose(a, b))
    }),
    ("t", |c| {
        let x = c.arg(0, "input").var()?;
        one(if x.ndim() < 2 { Ok(x) } else { x.transpose(0, 1) })
    }),
    ("squeeze", |c| {
        let (x, d) = (c.arg(0, "input").var()?, c.arg(1, "dim"));
        one(if d.is_none() { x.squeeze_all() } else { x.squeeze_many(&d.dims()?) })
    }),
    ("unsqueeze", |c| one(c.arg(0, "input").var()?.unsqueeze(c.arg(1, "dim").i32()?))),
    ("flatten", |c| {
        let (a, b) = (c.arg(1, "start_dim").i32_or(0)?, c.arg(2, "end_dim").i32_or(-1)?);
        one(c.arg(0, "input").var()?.flatten(a, b))
    }),
    ("narrow", |c| {
        let (dim, start) = (c.arg(1, "dim").i32()?, c.arg(2, "start").i64()?);
        one(c.arg(0, "input").var()?.narrow(dim, start, c.arg(3, "length").i64()?))
    }),
    ("select", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").i64()?);
        one(c.arg(0, "input").var()?.select(dim, index))
    }),
    ("cat", |c| {
        let vars = c.arg(0, "tensors").vars()?;
        let refs: Vec<&Variable> = vars.iter().collect();
        one(Variable::cat_many(&refs, c.arg(1, "dim").i32_or(0)?))
    }),
    ("stack", |c| one(Variable::stack(&c.arg(0, "tensors").vars()?, c.arg(1, "dim").i32_or(0)?))),
    ("chunk", |c| {
        let (n, dim) = (c.arg(1, "chunks").i32()?, c.arg(2, "dim").i32_or(0)?);
        many(c.arg(0, "input").var()?.chunk(n, dim))
    }),
    ("split", |c| {
        let (x, size, dim) =
            (c.arg(0, "input").var()?, c.arg(1, "split_size"), c.arg(2, "dim").i32_or(0)?);
        many(if size.is_list() {
            x.split_sizes(&size.ints()?, dim)
        } else {
            x.split(size.i64()?, dim)
        })
    }),
    ("unbind", |c| {
        let (x, dim) = (c.arg(0, "input").var()?, c.arg(1, "dim").i32_or(0)?);
        many((0..x.data().size(dim)?).map(|i| x.select(dim, i)).collect())
    }),
    ("repeat", |c| one(c.arg(0, "input").var()?.repeat(&c.arg(1, "repeats").ints()?))),
    ("tile", |c| {
        // As repeat, but fewer numbers than dims count from the last one.
        let (x, mut reps) = (c.arg(0, "input").var()?, c.arg(1, "dims").ints()?);
        while reps.len() < x.ndim() {
            reps.insert(0, 1);
        }
        one(x.repeat(&reps))
    }),
    ("movedim", |c| match (&*c.arg(1, "source").ints()?, &*c.arg(2, "destination").ints()?) {
        ([a], [b]) => one(c.arg(0, "input").tensor()?.movedim(*a, *b)),
        (from, to) => {
            let x = c.arg(0, "input").var()?;
            let rank = x.ndim() as i64;
            if from.len() as i64 != rank {
                return unsupported("several dims");
            }
            let mut order = vec![0; from.len()];
            for (f, t) in from.iter().zip(to) {
                order[t.rem_euclid(rank) as usize] = *f;
            }
            one(x.permute(&order))
        }
    }),
    ("diagonal", |c| {
        let (a, b) = (c.arg(2, "dim1").i32_or(0)?, c.arg(3, "dim2").i32_or(1)?);
        one(c.arg(0, "input").var()?.diagonal(c.arg(1, "offset").i64_or(0)?, a, b))
    }),
];

pub const OTHER: &[Entry] = &[
    ("div", |c| {
        let (a, b) = (c.arg(0, "input").var()?, c.arg(1, "other").var()?);
        match c.arg(2, "rounding_mode").str_or("none")? {
            "floor" => one(a.div(&b)?.floor()),
            "trunc" => one(a.div(&b)?.trunc()),
            _ => one(a.div(&b)),
        }
    }),
    ("clamp", |c| {
        let (low, high) = (c.arg(1, "min"), c.arg(2, "max"));
        if low.is_tensor() && high.is_tensor() {
            // Bounds as tensors are two choices between tensors.
            let x = c.arg(0, "input").var()?;
            let like = |v: Variable| v.to_dtype(x.dtype());
            return one(x.maximum(&like(low.var()?)?)?.minimum(&like(high.var()?)?));
        }
        one(c.arg(0, "input").var()?.clamp(low.f64()?, high.f64()?))
    }),
    // A bound as a tensor is the larger or smaller of two tensors.
    ("clamp_min", |c| one(c.arg(0, "input").var()?.maximum(&c.arg(1, "min").var()?))),
    ("clamp_max", |c| one(c.arg(0, "input").var()?.minimum(&c.arg(1, "max").var()?))),
    ("round", |c| one(c.arg(0, "input").var()?.round_decimals(c.arg(1, "decimals").i32_or(0)?))),
    ("isnan", |c| one(c.arg(0, "input").tensor()?.isnan())),
    ("isinf", |c| one(c.arg(0, "input").tensor()?.isinf())),
    ("isfinite", |c| one(c.arg(0, "input").tensor()?.isfinite())),
    ("logical_not", |c| one(c.arg(0, "input").tensor()?.logical_not())),
    ("mm", |c| one(c.arg(0, "input").var()?.matmul(&c.arg(1, "mat2").var()?))),
    ("bmm", |c| one(c.arg(0, "input").var()?.matmul(&c.arg(1, "mat2").var()?))),
    ("addmm", |c| {
        let (beta, alpha) = (c.arg(9, "beta").f64_or(1.0)?, c.arg(9, "alpha").f64_or(1.0)?);
        let product = c.arg(1, "mat1").var()?.matmul(&c.arg(2, "mat2").var()?)?;
        let bias = c.arg(0, "input").var()?.mul_scalar(beta)?;
        one(bias.add(&product.mul_scalar(alpha)?))
    }),
    ("baddbmm", |c| {
        let (beta, alpha) = (c.arg(9, "beta").f64_or(1.0)?, c.arg(9, "alpha").f64_or(1.0)?);
        let product = c.arg(1, "batch1").var()?.matmul(&c.arg(2, "batch2").var()?)?;
        let bias = c.arg(0, "input").var()?.mul_scalar(beta)?;
        one(bias.add(&product.mul_scalar(alpha)?))
    }),
    ("addbmm", |c| {
        let (beta, alpha) = (c.arg(9, "beta").f64_or(1.0)?, c.arg(9, "alpha").f64_or(1.0)?);
        let product = c.arg(1, "batch1").var()?.matmul(&c.arg(2, "batch2").var()?)?;
        let bias = c.arg(0, "input").var()?.mul_scalar(beta)?;
        one(bias.add(&product.sum_dim(0, false)?.mul_scalar(alpha)?))
    }),
    ("addcmul", |c| {
        let (a, b) = (c.arg(1, "tensor1").var()?, c.arg(2, "tensor2").var()?);
        one(c.arg(0, "input").var()?.addcmul(&a, &b, c.arg(9, "value").f64_or(1.0)?))
    }),
    ("addcdiv", |c| {
        let (a, b) = (c.arg(1, "tensor1").var()?, c.arg(2, "tensor2").var()?);
        let ratio = a.div(&b)?.mul_scalar(c.arg(9, "value").f64_or(1.0)?)?;
        one(c.arg(0, "input").var()?.add(&ratio))
    }),
    ("lerp", |c| {
        let (end, weight) = (c.arg(1, "end").var()?, c.arg(2, "weight"));
        let start = c.arg(0, "input").var()?;
        if weight.is_tensor() {
            return one(start.add(&end.sub(&start)?.mul(&weight.var()?)?));
        }
        one(start.lerp(&end, weight.f64()?))
    }),
    ("masked_fill", |c| {
        let (x, mask) = (c.arg(0, "input").var()?, c.arg(1, "mask").tensor()?);
        let value = c.arg(2, "value");
        one(if value.is_tensor() {
            x.masked_fill_tensor(&value.var()?, &mask)
        } else {
            x.masked_fill(&mask, value.f64()?)
        })
    }),
    // PyTorch's sample holds (input, condition, other).
    ("where", |c| {
        let (x, y) = (c.arg(0, "input").var()?, c.arg(2, "other").var()?);
        one(Variable::where_cond(&c.arg(1, "condition").tensor()?, &x, &y))
    }),
    ("gather", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").tensor()?);
        one(c.arg(0, "input").var()?.gather(dim, &index.to_dtype(DType::Int64)?))
    }),
    ("take_along_dim", |c| {
        let (x, index, dim) =
            (c.arg(0, "input").var()?, c.arg(1, "indices").tensor()?, c.arg(2, "dim"));
        one(if dim.is_none() {
            x.reshape(&[-1])?.gather(0, &index.reshape(&[-1])?)
        } else {
            x.gather(dim.i32()?, &index)
        })
    }),
    ("scatter", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").tensor()?);
        let (x, src) = (c.arg(0, "input").var()?, c.arg(3, "src"));
        one(if src.is_tensor() {
            x.scatter(dim, &index, &src.var()?)
        } else {
            x.scatter_value(dim, &index, src.f64()?)
        })
    }),
    ("scatter_add", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").tensor()?);
        one(c.arg(0, "input").var()?.scatter_add(dim, &index, &c.arg(3, "src").var()?))
    }),
    ("index_select", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").tensor()?);
        one(c.arg(0, "input").var()?.index_select(dim, &index))
    }),
    ("index_add", |c| {
        let (dim, index) = (c.arg(1, "dim").i32()?, c.arg(2, "index").tensor()?);
        let src = c.arg(3, "source").var()?.mul_scalar(c.arg(9, "alpha").f64_or(1.0)?)?;
        one(c.arg(0, "input").var()?.index_add(dim, &index, &src))
    }),
    ("cdist", |c| {
        c.arg(3, "compute_mode");
        let p = c.arg(2, "p").f64_or(2.0)?;
        one(c.arg(0, "x1").var()?.cdist_p(&c.arg(1, "x2").var()?, p))
    }),
];

/// Every operation that we have.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [UNARY, BINARY, COMPARE, REDUCE, SHAPE, OTHER, more::OPS].into_iter().flatten()
}

// A method that returns variables and one that returns tensors read alike in the tables.
const _: fn(Variable) -> Out = Out::from;
