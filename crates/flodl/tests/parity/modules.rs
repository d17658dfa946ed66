//! PyTorch's layers: the constructor's arguments to our layer.

use flodl::*;

use super::case::{Case, Entry, unsupported};

/// Activations without settings.
macro_rules! plain {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |c| c.layer($name))),*]
    };
}

pub const PLAIN: &[Entry] = plain![
    ReLU,
    Sigmoid,
    Tanh,
    SiLU,
    SELU,
    Mish,
    Hardswish,
    Hardsigmoid,
    ReLU6,
    LogSigmoid,
    Softsign,
    Tanhshrink,
    Identity,
];

pub const LAYERS: &[Entry] = &[
    ("GELU", |c| match c.ctor("approximate").str_or("none")? {
        "tanh" => c.layer(GELU::tanh()),
        _ => c.layer(GELU),
    }),
    ("LeakyReLU", |c| c.layer(LeakyReLU::new(c.ctor("negative_slope").f64()?))),
    ("ELU", |c| c.layer(ELU::new(c.ctor("alpha").f64()?))),
    ("CELU", |c| c.layer(CELU::new(c.ctor("alpha").f64()?))),
    ("Softplus", |c| c.layer(Softplus::new(c.ctor("beta").f64()?, c.ctor("threshold").f64()?))),
    ("Hardtanh", |c| c.layer(Hardtanh::new(c.ctor("min_val").f64()?, c.ctor("max_val").f64()?))),
    ("Softshrink", |c| c.layer(Softshrink::new(c.ctor("lambd").f64()?))),
    ("Hardshrink", |c| c.layer(Hardshrink::new(c.ctor("lambd").f64()?))),
    ("Threshold", |c| c.layer(Threshold::new(c.ctor("threshold").f64()?, c.ctor("value").f64()?))),
    ("Softmax", |c| c.layer(Softmax::new(dim(c)?))),
    ("LogSoftmax", |c| c.layer(LogSoftmax::new(dim(c)?))),
    ("PReLU", |c| {
        c.ctor("init");
        c.layer(PReLU::new(c.ctor("num_parameters").i64()?, Device::CPU)?)
    }),
    ("Flatten", |c| c.layer(Flatten::new(c.ctor("start_dim").i32()?, c.ctor("end_dim").i32()?))),
    ("Dropout", |c| c.layer(Dropout::new(c.ctor("p").f64()?))),
    ("Dropout1d", |c| c.layer(Dropout1d::new(c.ctor("p").f64()?))),
    ("Dropout2d", |c| c.layer(Dropout2d::new(c.ctor("p").f64()?))),
    ("Dropout3d", |c| c.layer(Dropout3d::new(c.ctor("p").f64()?))),
    ("AlphaDropout", |c| c.layer(AlphaDropout::new(c.ctor("p").f64()?))),
    ("Linear", |c| {
        let (i, o) = (c.ctor("in_features").i64()?, c.ctor("out_features").i64()?);
        c.layer(match c.ctor("bias").bool_or(true)? {
            true => Linear::new(i, o)?,
            false => Linear::no_bias(i, o)?,
        })
    }),
];

/// The dim of a softmax; PyTorch's deprecated guess when there is none is not ours.
fn dim(c: &Case) -> super::case::Try<i32> {
    let dim = c.ctor("dim");
    if dim.is_none() { unsupported("dim=None") } else { dim.i32() }
}

/// Every layer that we have.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [PLAIN, LAYERS].into_iter().flatten()
}
