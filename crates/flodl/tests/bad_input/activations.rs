//! Activations and dropout.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    (
        "SiLU of integers",
        || unit(SiLU.forward(&n(&[2]))),
        "silu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "GELU of integers",
        || unit(GELU.forward(&n(&[2]))),
        "gelu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "GELUTanh of integers",
        || unit(GELUTanh.forward(&n(&[2]))),
        "gelu_tanh: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Sigmoid of integers",
        || unit(Sigmoid.forward(&n(&[2]))),
        "sigmoid: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Tanh of integers",
        || unit(Tanh.forward(&n(&[2]))),
        "tanh: expected a floating-point tensor, got dtype int64",
    ),
    (
        "SELU of integers",
        || unit(SELU.forward(&n(&[2]))),
        "selu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Mish of integers",
        || unit(Mish.forward(&n(&[2]))),
        "mish: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Hardswish of integers",
        || unit(Hardswish.forward(&n(&[2]))),
        "hardswish: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Hardsigmoid of integers",
        || unit(Hardsigmoid.forward(&n(&[2]))),
        "hardsigmoid: expected a floating-point tensor, got dtype int64",
    ),
    (
        "LogSigmoid of integers",
        || unit(LogSigmoid.forward(&n(&[2]))),
        "log_sigmoid: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Softsign of integers",
        || unit(Softsign.forward(&n(&[2]))),
        "softsign: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Tanhshrink of integers",
        || unit(Tanhshrink.forward(&n(&[2]))),
        "tanhshrink: expected a floating-point tensor, got dtype int64",
    ),
    (
        "GeluApprox of integers",
        || unit(GELU::with_approximate(GeluApprox::Tanh).forward(&n(&[2]))),
        "gelu_tanh: expected a floating-point tensor, got dtype int64",
    ),
    (
        "ELU of integers",
        || unit(ELU::new(1.0).forward(&n(&[2]))),
        "elu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "CELU of integers",
        || unit(CELU::new(1.0).forward(&n(&[2]))),
        "celu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Softplus of integers",
        || unit(Softplus::new(1.0, 20.0).forward(&n(&[2]))),
        "softplus: expected a floating-point tensor, got dtype int64",
    ),
    (
        "LeakyReLU of integers",
        || unit(LeakyReLU::new(0.1).forward(&n(&[2]))),
        "leaky_relu: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Softshrink of integers",
        || unit(Softshrink::new(0.5).forward(&n(&[2]))),
        "softshrink: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Hardshrink of integers",
        || unit(Hardshrink::new(0.5).forward(&n(&[2]))),
        "hardshrink: expected a floating-point tensor, got dtype int64",
    ),
    ("CELU alpha 0", || unit(CELU::new(0.0).forward(&v(&[2]))), "celu: alpha must not be 0"),
    (
        "Softshrink below 0",
        || unit(Softshrink::new(-1.0).forward(&v(&[2]))),
        "softshrink: lambda -1 must not be negative",
    ),
    (
        "Hardtanh bounds",
        || unit(Hardtanh::new(2.0, 1.0).forward(&v(&[2]))),
        "hardtanh: min 2 must not be above max 1",
    ),
    (
        "Softmax dim",
        || unit(Softmax::new(2).forward(&v(&[2, 3]))),
        "softmax: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "Softmax of integers",
        || unit(Softmax::new(0).forward(&n(&[2]))),
        "softmax: expected a floating-point tensor, got dtype int64",
    ),
    (
        "LogSoftmax dim",
        || unit(LogSoftmax::new(2).forward(&v(&[2, 3]))),
        "log_softmax: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "LogSoftmax of integers",
        || unit(LogSoftmax::new(0).forward(&n(&[2]))),
        "log_softmax: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Softmin dim",
        || unit(Softmin::new(2).forward(&v(&[2, 3]))),
        "softmax: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "Softmin of integers",
        || unit(Softmin::new(0).forward(&n(&[2]))),
        "softmax: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Softmax2d rank",
        || unit(Softmax2d.forward(&v(&[2, 3]))),
        "Softmax2d: expected an input [N, C, H, W] or [C, H, W], got shape [2, 3]",
    ),
    (
        "GLU odd",
        || unit(GLU::new(1).forward(&v(&[2, 3]))),
        "glu: expected an even size of dim 1, got shape [2, 3]",
    ),
    (
        "GLU dim",
        || unit(GLU::new(2).forward(&v(&[2, 4]))),
        "glu: dim 2 is out of range for a tensor of 2 dims",
    ),
    (
        "SwiGLU odd",
        || unit(SwiGLU.forward(&v(&[2, 3]))),
        "SwiGLU: expected an even size of dim -1, got shape [2, 3]",
    ),
    (
        "GeGLU odd",
        || unit(GeGLU.forward(&v(&[2, 3]))),
        "GeGLU: expected an even size of dim -1, got shape [2, 3]",
    ),
    (
        "ReGLU odd",
        || unit(ReGLU.forward(&v(&[2, 3]))),
        "ReGLU: expected an even size of dim -1, got shape [2, 3]",
    ),
    (
        "PReLU weights -1",
        || unit(PReLU::new(-1, Device::CPU)),
        "PReLU: number of parameters -1 must be positive",
    ),
    (
        "PReLU weights 0",
        || unit(PReLU::new(0, Device::CPU)),
        "PReLU: number of parameters 0 must be positive",
    ),
    (
        "PReLU channels",
        || unit(PReLU::new(3, Device::CPU)?.forward(&v(&[2, 4]))),
        "prelu: shapes [2, 4] and [3] do not fit: the weight needs 1 element or one per entry of dim 1",
    ),
    (
        "PReLU dtype",
        || unit(PReLU::new(1, Device::CPU)?.forward(&w(&[2, 4]))),
        "prelu: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "RReLU bounds",
        || unit(RReLU::new(0.5, 0.1).forward(&v(&[2]))),
        "rrelu: bounds must be finite and in order, not 0.5 and 0.1",
    ),
    (
        "Dropout above 1",
        || unit(Dropout::new(1.5).forward(&v(&[2]))),
        "dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "Dropout NaN in eval",
        || {
            let layer = Dropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2])))
        },
        "dropout: probability NaN must be in [0, 1]",
    ),
    (
        "Dropout of integers",
        || unit(Dropout::new(0.5).forward(&n(&[2]))),
        "dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Dropout1d above 1",
        || unit(Dropout1d::new(1.5).forward(&v(&[2, 3, 4]))),
        "feature_dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "Dropout1d NaN in eval",
        || {
            let layer = Dropout1d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4])))
        },
        "feature_dropout: probability NaN must be in [0, 1]",
    ),
    (
        "Dropout1d of integers",
        || unit(Dropout1d::new(0.5).forward(&n(&[2, 3, 4]))),
        "feature_dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Dropout2d above 1",
        || unit(Dropout2d::new(1.5).forward(&v(&[2, 3, 4, 4]))),
        "feature_dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "Dropout2d NaN in eval",
        || {
            let layer = Dropout2d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4, 4])))
        },
        "feature_dropout: probability NaN must be in [0, 1]",
    ),
    (
        "Dropout2d of integers",
        || unit(Dropout2d::new(0.5).forward(&n(&[2, 3, 4, 4]))),
        "feature_dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Dropout3d above 1",
        || unit(Dropout3d::new(1.5).forward(&v(&[2, 3, 4, 4, 4]))),
        "feature_dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "Dropout3d NaN in eval",
        || {
            let layer = Dropout3d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4, 4, 4])))
        },
        "feature_dropout: probability NaN must be in [0, 1]",
    ),
    (
        "Dropout3d of integers",
        || unit(Dropout3d::new(0.5).forward(&n(&[2, 3, 4, 4, 4]))),
        "feature_dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "AlphaDropout above 1",
        || unit(AlphaDropout::new(1.5).forward(&v(&[2]))),
        "alpha_dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "AlphaDropout NaN in eval",
        || {
            let layer = AlphaDropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2])))
        },
        "alpha_dropout: probability NaN must be in [0, 1]",
    ),
    (
        "AlphaDropout of integers",
        || unit(AlphaDropout::new(0.5).forward(&n(&[2]))),
        "alpha_dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "FeatureAlphaDropout above 1",
        || unit(FeatureAlphaDropout::new(1.5).forward(&v(&[2, 3, 4]))),
        "feature_alpha_dropout: probability 1.5 must be in [0, 1]",
    ),
    (
        "FeatureAlphaDropout NaN in eval",
        || {
            let layer = FeatureAlphaDropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4])))
        },
        "feature_alpha_dropout: probability NaN must be in [0, 1]",
    ),
    (
        "FeatureAlphaDropout of integers",
        || unit(FeatureAlphaDropout::new(0.5).forward(&n(&[2, 3, 4]))),
        "feature_alpha_dropout: expected a floating-point tensor, got dtype int64",
    ),
    (
        "Dropout2d rank",
        || unit(Dropout2d::new(0.5).forward(&v(&[3]))),
        "feature_dropout: expected an input of at least 2 dims, [N, C, ...], got shape [3]",
    ),
    (
        "FeatureAlphaDropout rank",
        || unit(FeatureAlphaDropout::new(0.5).forward(&v(&[3]))),
        "feature_alpha_dropout: expected an input of at least 2 dims, [N, C, ...], got shape [3]",
    ),
];
