//! Arithmetic that has no answer.

use flodl::*;

use super::{Call, i, unit};

pub const CALLS: &[(&str, Call, &str)] = &[
    // Integers that cannot hold the answer.
    (
        "integers times a fraction",
        || unit(i(&[1]).mul_scalar(0.5)),
        "mul_scalar: 0.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers and a fraction",
        || unit(i(&[1]).add_scalar(-0.25)),
        "add_scalar: -0.25 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers less a fraction",
        || unit(i(&[1]).sub_scalar(0.25)),
        "sub_scalar: 0.25 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers times NaN",
        || unit(i(&[1]).mul_scalar(f64::NAN)),
        "mul_scalar: NaN is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers times too much",
        || unit(i(&[1]).mul_scalar(1e19)),
        "mul_scalar: 10000000000000000000 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers times a fraction in place",
        || i(&[1]).mul_scalar_(0.5),
        "mul_scalar_: 0.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers and infinity in place",
        || i(&[1]).add_scalar_(f64::INFINITY),
        "add_scalar_: inf is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers clamped between",
        || unit(i(&[1]).clamp(0.5, 3.0)),
        "clamp: 0.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers clamped below",
        || unit(i(&[1]).clamp_min(f64::NAN)),
        "clamp_min: NaN is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers clamped above",
        || unit(i(&[1]).clamp_max(2.5)),
        "clamp_max: 2.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "integers by a fraction",
        || unit(i(&[1]).fmod(0.5)),
        "fmod: 0.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    (
        "remainder by a fraction",
        || unit(i(&[1]).remainder(0.5)),
        "remainder: 0.5 is no whole number, and the tensor is int64; cast it with to_dtype(DType::Float32) first",
    ),
    ("fmod by 0", || unit(i(&[1]).fmod(0.0)), "fmod: an integer divided by 0 (ZeroDivisionError)"),
    (
        "remainder by 0",
        || unit(i(&[1]).remainder(0.0)),
        "remainder: an integer divided by 0 (ZeroDivisionError)",
    ),
    (
        "fmod by a 0 among others",
        || unit(i(&[1, 2]).fmod_tensor(&i(&[3, 0]))),
        "fmod_tensor: an integer divided by 0 (ZeroDivisionError)",
    ),
    (
        "remainder by a false",
        || unit(i(&[1, 2]).remainder_tensor(&i(&[3, 0]).to_dtype(DType::Bool)?)),
        "remainder_tensor: an integer divided by 0 (ZeroDivisionError)",
    ),
];
