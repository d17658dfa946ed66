//! What the modules' tutorial promises: every snippet compiles and runs, every statement is checked.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use flodl::*;

#[path = "tutorial/activations.rs"]
mod activations;
#[path = "tutorial/composition.rs"]
mod composition;
#[path = "tutorial/convolutions.rs"]
mod convolutions;
#[path = "tutorial/modules.rs"]
mod every_module;
#[path = "tutorial/norms.rs"]
mod norms;
#[path = "tutorial/pools.rs"]
mod pools;
#[path = "tutorial/snippets.rs"]
mod snippets;
#[path = "tutorial/tables.rs"]
mod tables;
#[path = "tutorial/weights.rs"]
mod weights;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

/// A float32 input without a gradient.
fn var(data: &[f64], shape: &[i64]) -> Variable {
    let data: Vec<f32> = data.iter().map(|&v| v as f32).collect();
    Variable::new(Tensor::from_f32(&data, shape, Device::CPU).unwrap(), false)
}

fn ints(data: &[i64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_i64(data, shape, Device::CPU).unwrap(), false)
}

fn randn(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), false)
}

fn zeros(shape: &[i64]) -> Variable {
    Variable::new(Tensor::zeros(shape, TensorOptions::default()).unwrap(), false)
}

/// 0, 1, 2, … in this shape.
fn count(shape: &[i64]) -> Variable {
    let n: i64 = shape.iter().product();
    var(&(0..n).map(|i| i as f64).collect::<Vec<_>>(), shape)
}

/// The same values as a leaf that gets a gradient.
fn leaf(v: &Variable) -> Variable {
    Variable::new(v.data(), true)
}

fn values(v: &Variable) -> Vec<f64> {
    v.data().to_f64_vec().unwrap()
}

fn gradient(v: &Variable) -> Vec<f64> {
    v.grad().expect("a gradient").to_f64_vec().unwrap()
}

#[track_caller]
fn close(got: &Variable, want: &[f64], tolerance: f64) {
    near(&values(got), want, tolerance);
}

#[track_caller]
fn near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i}: {g} is not {w}; got {got:?}");
    }
}

/// The call fails, and its message contains this.
#[track_caller]
fn fails<T>(result: Result<T>, message: &str) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains(message), "{error}");
}

/// Sets every parameter to one value.
fn fill(m: &dyn Module, value: f64) {
    for p in m.parameters() {
        let data = p.variable.data();
        p.variable.set_data(Tensor::full(&data.shape(), value, data.options()).unwrap());
    }
}

fn set(p: &Parameter, data: &[f64]) {
    p.variable.set_data(var(data, &p.variable.shape()).data());
}

fn parameter(m: &dyn Module, name: &str) -> Parameter {
    m.parameters().into_iter().find(|p| p.name == name).unwrap()
}

fn mean_and_variance(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
}
