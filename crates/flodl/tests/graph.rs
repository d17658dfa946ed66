//! Graphs: every word of the builder, every mistake it finds, state, paths and files.

#[path = "graph/errors.rs"]
mod errors;
#[path = "graph/gradients.rs"]
mod gradients;
#[path = "graph/state.rs"]
mod state;
#[path = "graph/tree.rs"]
mod tree;
#[path = "graph/words.rs"]
mod words;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use flodl::*;

fn var(values: &[f64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_f64(values, shape, Device::CPU).unwrap(), true)
}

fn values(v: &Variable) -> Vec<f64> {
    v.data().to_f64_vec().unwrap()
}

/// Random f32 values.
fn randn(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), true)
}

fn linear_of(n: i64) -> Linear {
    Linear::new(n, n).unwrap()
}

fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance * (1.0 + y.abs()), "{x} and {y} in {a:?} and {b:?}");
    }
}

/// Output, gradient of the input and gradients of the parameters, of a function of one input.
fn passes(
    x: &Variable,
    parameters: &[Parameter],
    f: impl Fn(&Variable) -> Result<Variable>,
) -> Vec<Vec<f64>> {
    x.zero_grad();
    parameters.iter().for_each(|p| p.variable.zero_grad());
    let y = f(x).unwrap();
    y.mul(&y).unwrap().sum().unwrap().backward().unwrap();
    let grads = std::iter::once(x).chain(parameters.iter().map(|p| &p.variable));
    let grads = grads.map(|v| v.grad().map_or(vec![], |g| g.to_f64_vec().unwrap()));
    std::iter::once(values(&y)).chain(grads).collect()
}

/// The graph and the hand-written function agree in output and all gradients.
fn agree(graph: &Graph, x: &Variable, by_hand: impl Fn(&Variable) -> Result<Variable>) {
    let parameters = graph.parameters();
    let ours = passes(x, &parameters, |x| graph.forward(x));
    let theirs = passes(x, &parameters, by_hand);
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        close(a, b, 1e-5);
    }
}

/// Multiplies by a constant.
struct Times(f64);

impl Module for Times {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        input.mul_scalar(self.0)
    }
    fn name(&self) -> &str {
        "Times"
    }
}

/// The stream plus every reference times ten; remembers the names that came.
#[derive(Clone, Default)]
struct Sum {
    seen: Rc<Cell<Vec<String>>>,
}

impl Module for Sum {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        Ok(input.clone())
    }
    fn name(&self) -> &str {
        "Sum"
    }
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        Some(self)
    }
}

impl NamedInputModule for Sum {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        let mut names: Vec<String> = refs.keys().cloned().collect();
        names.sort();
        let mut sum = input.clone();
        for name in &names {
            sum = sum.add(&refs[name].mul_scalar(10.0)?)?;
        }
        self.seen.set(names);
        Ok(sum)
    }
}

/// Adds one, and counts calls of every kind.
#[derive(Clone, Default)]
struct Counter {
    forwards: Rc<Cell<usize>>,
    resets: Rc<Cell<usize>>,
    detaches: Rc<Cell<usize>>,
    training: Rc<Cell<Option<bool>>>,
}

impl Module for Counter {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.forwards.set(self.forwards.get() + 1);
        input.add_scalar(1.0)
    }
    fn name(&self) -> &str {
        "Counter"
    }
    fn reset(&self) {
        self.resets.set(self.resets.get() + 1);
    }
    fn detach_state(&self) {
        self.detaches.set(self.detaches.get() + 1);
    }
    fn set_training(&self, training: bool) {
        self.training.set(Some(training));
    }
}

/// A hand-written module around another.
struct Around(Rc<dyn Module>);

impl Module for Around {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        self.0.forward(input)
    }
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![self.0.clone()]
    }
}

fn build(flow: FlowBuilder) -> Graph {
    flow.build().unwrap()
}

fn error(flow: FlowBuilder) -> String {
    flow.build().err().expect("the graph should not build").to_string()
}
