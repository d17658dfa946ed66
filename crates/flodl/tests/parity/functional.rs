//! PyTorch's `torch.nn.functional`: its name to our call.

use flodl::*;

use super::case::{Case, Entry, Try, one};

macro_rules! unary {
    ($($torch:literal => $name:ident),* $(,)?) => {
        &[$(($torch, |c| one(c.arg(0, "input").var()?.$name()))),*]
    };
}

pub const ACTIVATION: &[Entry] = unary![
    "relu" => relu, "relu6" => relu6, "sigmoid" => sigmoid, "tanh" => tanh, "silu" => silu,
    "mish" => mish, "selu" => selu, "hardswish" => hardswish, "hardsigmoid" => hardsigmoid,
    "logsigmoid" => log_sigmoid, "softsign" => softsign, "tanhshrink" => tanhshrink,
];

pub const OTHER: &[Entry] = &[
    ("gelu", |c| {
        let x = c.arg(0, "input").var()?;
        one(match c.arg(1, "approximate").str_or("none")? {
            "tanh" => x.gelu_tanh(),
            _ => x.gelu(),
        })
    }),
    ("elu", |c| one(c.arg(0, "input").var()?.elu(c.arg(1, "alpha").f64_or(1.0)?))),
    ("celu", |c| one(c.arg(0, "input").var()?.celu(c.arg(1, "alpha").f64_or(1.0)?))),
    ("leaky_relu", |c| {
        one(c.arg(0, "input").var()?.leaky_relu(c.arg(1, "negative_slope").f64_or(0.01)?))
    }),
    ("hardtanh", |c| {
        let (low, high) = (c.arg(1, "min_val").f64_or(-1.0)?, c.arg(2, "max_val").f64_or(1.0)?);
        one(c.arg(0, "input").var()?.hardtanh(low, high))
    }),
    ("softplus", |c| {
        let (beta, threshold) =
            (c.arg(1, "beta").f64_or(1.0)?, c.arg(2, "threshold").f64_or(20.0)?);
        one(c.arg(0, "input").var()?.softplus(beta, threshold))
    }),
    ("softshrink", |c| one(c.arg(0, "input").var()?.softshrink(c.arg(1, "lambd").f64_or(0.5)?))),
    ("hardshrink", |c| one(c.arg(0, "input").var()?.hardshrink(c.arg(1, "lambd").f64_or(0.5)?))),
    ("threshold", |c| {
        let (t, v) = (c.arg(1, "threshold").f64()?, c.arg(2, "value").f64()?);
        one(c.arg(0, "input").var()?.threshold(t, v))
    }),
    ("prelu", |c| one(c.arg(0, "input").var()?.prelu(&c.arg(1, "weight").var()?))),
    ("softmax", |c| one(cast(c)?.softmax(c.arg(1, "dim").i32()?))),
    ("softmin", |c| one(cast(c)?.neg()?.softmax(c.arg(1, "dim").i32()?))),
    ("log_softmax", |c| one(cast(c)?.log_softmax(c.arg(1, "dim").i32()?))),
    ("normalize", |c| {
        let (p, dim) = (c.arg(1, "p").f64_or(2.0)?, c.arg(2, "dim").i32_or(1)?);
        one(c.arg(0, "input").var()?.normalize(p, dim))
    }),
    ("cosine_similarity", |c| {
        let (dim, eps) = (c.arg(2, "dim").i64_or(1)?, c.arg(3, "eps").f64_or(1e-8)?);
        one(c.arg(0, "x1").var()?.cosine_similarity(&c.arg(1, "x2").var()?, dim, eps))
    }),
    ("linear", |c| {
        let bias = c.arg(2, "bias").opt_var()?;
        one(linear(&c.arg(0, "input").var()?, &c.arg(1, "weight").var()?, bias.as_ref()))
    }),
];

/// The input in the dtype that the call asks for.
fn cast(c: &Case) -> Try<Variable> {
    let x = c.arg(0, "input").var()?;
    match c.arg(9, "dtype").dtype()? {
        Some(dtype) => Ok(x.to_dtype(dtype)?),
        None => Ok(x),
    }
}

/// Every function that we have.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [ACTIVATION, OTHER].into_iter().flatten()
}
