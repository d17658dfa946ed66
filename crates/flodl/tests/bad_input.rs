//! Wrong calls and the exact error of each, a file for each family. None may panic, and none may
//! give a result.

#[path = "bad_input/activations.rs"]
mod activations;
#[path = "bad_input/attention.rs"]
mod attention;
#[path = "bad_input/convolutions.rs"]
mod convolutions;
#[path = "bad_input/norms.rs"]
mod norms;
#[path = "bad_input/pools.rs"]
mod pools;
#[path = "bad_input/recurrent.rs"]
mod recurrent;
#[path = "bad_input/shapes.rs"]
mod shapes;
#[path = "bad_input/tables.rs"]
mod tables;
#[path = "bad_input/tensors.rs"]
mod tensors;
#[path = "bad_input/transposed.rs"]
mod transposed;
#[path = "bad_input/values.rs"]
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use flodl::*;

fn t(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, TensorOptions::default()).unwrap()
}

fn i(values: &[i64]) -> Tensor {
    Tensor::from_i64(values, &[values.len() as i64], Device::CPU).unwrap()
}

fn f(values: &[f32]) -> Tensor {
    Tensor::from_f32(values, &[values.len() as i64], Device::CPU).unwrap()
}

fn double(shape: &[i64]) -> Tensor {
    Tensor::ones(shape, DType::Float64.into()).unwrap()
}

fn v(shape: &[i64]) -> Variable {
    Variable::new(t(shape), true)
}

/// A variable of float64.
fn w(shape: &[i64]) -> Variable {
    Variable::new(double(shape), true)
}

/// A variable of integers, all 1.
fn n(shape: &[i64]) -> Variable {
    Variable::new(Tensor::ones(shape, DType::Int64.into()).unwrap(), false)
}

fn cuda() -> TensorOptions {
    TensorOptions { dtype: DType::Float32, device: Device::CUDA(0) }
}

/// A tensor of more elements than memory holds, on one element of memory.
fn huge() -> Tensor {
    t(&[1]).expand(&[1 << 59]).unwrap()
}

fn unit<T>(result: Result<T>) -> Result<()> {
    result.map(|_| ())
}

type Call = fn() -> Result<()>;
/// What a call is, the call, and its message.
type Row = (&'static str, Call, &'static str);

const TABLES: &[&[Row]] = &[
    tensors::CALLS,
    values::CALLS,
    convolutions::CALLS,
    transposed::CALLS,
    pools::CALLS,
    norms::CALLS,
    tables::CALLS,
    recurrent::CALLS,
    attention::CALLS,
    shapes::CALLS,
    activations::CALLS,
];

/// Calls whose message holds the bytes in use at the time.
const TOO_LARGE: &[(&str, Call)] = &[
    ("zeros", || unit(Tensor::zeros(&[1 << 45], Default::default()))),
    ("linspace", || unit(Tensor::linspace(0.0, 1.0, 1 << 58, Default::default()))),
    ("arange", || unit(Tensor::arange(0.0, 1e17, 1.0, Default::default()))),
    ("copy", || unit(huge().copy())),
    ("exp", || unit(huge().exp())),
    ("to_vec", || unit(huge().to_f32_vec())),
    ("sort", || unit(huge().sort(0, false))),
    ("eye", || unit(Tensor::eye(1 << 29, Default::default()))),
    ("multinomial", || unit(t(&[2]).multinomial(1 << 58, true))),
    ("one_hot", || unit(i(&[1]).one_hot(1 << 58))),
    ("pad", || unit(v(&[2]).pad(&[0, 1 << 58], 0.0))),
    ("repeat", || unit(v(&[2]).repeat(&[1 << 57]))),
];

fn run(name: &str, call: Call) -> String {
    match catch_unwind(AssertUnwindSafe(call)) {
        Err(_) => format!("{name} panicked"),
        Ok(Ok(())) => format!("{name} gave a result"),
        Ok(Err(e)) => e.to_string(),
    }
}

#[test]
fn every_wrong_call_has_its_error() {
    let mut faults = String::new();
    for (name, call, want) in TABLES.iter().copied().flatten() {
        let got = run(name, *call);
        if got != *want {
            faults += &format!("{name}: {got}\n    expected {want}\n");
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn what_does_not_fit_into_memory_is_an_error() {
    for (name, call) in TOO_LARGE {
        let got = run(name, *call);
        assert!(got.starts_with("out of memory on cpu: asked for "), "{name}: {got}");
    }
}
