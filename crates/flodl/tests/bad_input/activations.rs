//! Activations and dropout.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    ("SiLU of integers", || unit(SiLU.forward(&n(&[2]))), ""),
    ("GELU of integers", || unit(GELU.forward(&n(&[2]))), ""),
    ("GELUTanh of integers", || unit(GELUTanh.forward(&n(&[2]))), ""),
    ("Sigmoid of integers", || unit(Sigmoid.forward(&n(&[2]))), ""),
    ("Tanh of integers", || unit(Tanh.forward(&n(&[2]))), ""),
    ("SELU of integers", || unit(SELU.forward(&n(&[2]))), ""),
    ("Mish of integers", || unit(Mish.forward(&n(&[2]))), ""),
    ("Hardswish of integers", || unit(Hardswish.forward(&n(&[2]))), ""),
    ("Hardsigmoid of integers", || unit(Hardsigmoid.forward(&n(&[2]))), ""),
    ("LogSigmoid of integers", || unit(LogSigmoid.forward(&n(&[2]))), ""),
    ("Softsign of integers", || unit(Softsign.forward(&n(&[2]))), ""),
    ("Tanhshrink of integers", || unit(Tanhshrink.forward(&n(&[2]))), ""),
    (
        "GeluApprox of integers",
        || unit(GELU::with_approximate(GeluApprox::Tanh).forward(&n(&[2]))),
        "",
    ),
    ("ELU of integers", || unit(ELU::new(1.0).forward(&n(&[2]))), ""),
    ("CELU of integers", || unit(CELU::new(1.0).forward(&n(&[2]))), ""),
    ("Softplus of integers", || unit(Softplus::new(1.0, 20.0).forward(&n(&[2]))), ""),
    ("LeakyReLU of integers", || unit(LeakyReLU::new(0.1).forward(&n(&[2]))), ""),
    ("Softshrink of integers", || unit(Softshrink::new(0.5).forward(&n(&[2]))), ""),
    ("Hardshrink of integers", || unit(Hardshrink::new(0.5).forward(&n(&[2]))), ""),
    ("CELU alpha 0", || unit(CELU::new(0.0).forward(&v(&[2]))), ""),
    ("Softshrink below 0", || unit(Softshrink::new(-1.0).forward(&v(&[2]))), ""),
    ("Hardtanh bounds", || unit(Hardtanh::new(2.0, 1.0).forward(&v(&[2]))), ""),
    ("Softmax dim", || unit(Softmax::new(2).forward(&v(&[2, 3]))), ""),
    ("Softmax of integers", || unit(Softmax::new(0).forward(&n(&[2]))), ""),
    ("LogSoftmax dim", || unit(LogSoftmax::new(2).forward(&v(&[2, 3]))), ""),
    ("LogSoftmax of integers", || unit(LogSoftmax::new(0).forward(&n(&[2]))), ""),
    ("Softmin dim", || unit(Softmin::new(2).forward(&v(&[2, 3]))), ""),
    ("Softmin of integers", || unit(Softmin::new(0).forward(&n(&[2]))), ""),
    ("Softmax2d rank", || unit(Softmax2d.forward(&v(&[2, 3]))), ""),
    ("GLU odd", || unit(GLU::new(1).forward(&v(&[2, 3]))), ""),
    ("GLU dim", || unit(GLU::new(2).forward(&v(&[2, 4]))), ""),
    ("SwiGLU odd", || unit(SwiGLU.forward(&v(&[2, 3]))), ""),
    ("GeGLU odd", || unit(GeGLU.forward(&v(&[2, 3]))), ""),
    ("ReGLU odd", || unit(ReGLU.forward(&v(&[2, 3]))), ""),
    ("PReLU weights -1", || unit(PReLU::new(-1, Device::CPU)), ""),
    ("PReLU weights 0", || unit(PReLU::new(0, Device::CPU)), ""),
    ("PReLU channels", || unit(PReLU::new(3, Device::CPU)?.forward(&v(&[2, 4]))), ""),
    ("PReLU dtype", || unit(PReLU::new(1, Device::CPU)?.forward(&w(&[2, 4]))), ""),
    ("RReLU bounds", || unit(RReLU::new(0.5, 0.1).forward(&v(&[2]))), ""),
    ("Dropout above 1", || unit(Dropout::new(1.5).forward(&v(&[2]))), ""),
    (
        "Dropout NaN in eval",
        || {
            let layer = Dropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2])))
        },
        "",
    ),
    ("Dropout of integers", || unit(Dropout::new(0.5).forward(&n(&[2]))), ""),
    ("Dropout1d above 1", || unit(Dropout1d::new(1.5).forward(&v(&[2, 3, 4]))), ""),
    (
        "Dropout1d NaN in eval",
        || {
            let layer = Dropout1d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4])))
        },
        "",
    ),
    ("Dropout1d of integers", || unit(Dropout1d::new(0.5).forward(&n(&[2, 3, 4]))), ""),
    ("Dropout2d above 1", || unit(Dropout2d::new(1.5).forward(&v(&[2, 3, 4, 4]))), ""),
    (
        "Dropout2d NaN in eval",
        || {
            let layer = Dropout2d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4, 4])))
        },
        "",
    ),
    ("Dropout2d of integers", || unit(Dropout2d::new(0.5).forward(&n(&[2, 3, 4, 4]))), ""),
    ("Dropout3d above 1", || unit(Dropout3d::new(1.5).forward(&v(&[2, 3, 4, 4, 4]))), ""),
    (
        "Dropout3d NaN in eval",
        || {
            let layer = Dropout3d::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4, 4, 4])))
        },
        "",
    ),
    ("Dropout3d of integers", || unit(Dropout3d::new(0.5).forward(&n(&[2, 3, 4, 4, 4]))), ""),
    ("AlphaDropout above 1", || unit(AlphaDropout::new(1.5).forward(&v(&[2]))), ""),
    (
        "AlphaDropout NaN in eval",
        || {
            let layer = AlphaDropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2])))
        },
        "",
    ),
    ("AlphaDropout of integers", || unit(AlphaDropout::new(0.5).forward(&n(&[2]))), ""),
    (
        "FeatureAlphaDropout above 1",
        || unit(FeatureAlphaDropout::new(1.5).forward(&v(&[2, 3, 4]))),
        "",
    ),
    (
        "FeatureAlphaDropout NaN in eval",
        || {
            let layer = FeatureAlphaDropout::new(f64::NAN);
            layer.eval();
            unit(layer.forward(&v(&[2, 3, 4])))
        },
        "",
    ),
    (
        "FeatureAlphaDropout of integers",
        || unit(FeatureAlphaDropout::new(0.5).forward(&n(&[2, 3, 4]))),
        "",
    ),
    ("Dropout2d rank", || unit(Dropout2d::new(0.5).forward(&v(&[3]))), ""),
    ("FeatureAlphaDropout rank", || unit(FeatureAlphaDropout::new(0.5).forward(&v(&[3]))), ""),
];
