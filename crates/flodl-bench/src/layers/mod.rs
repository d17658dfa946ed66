//! Single layers and operations in training mode: forward alone, and forward + backward to the
//! inputs and the parameters.

mod tiny;
mod typical;

use flodl::*;

use crate::Common;
use crate::rows::{self, Spec, Work};

/// Layer, shape, and how to make it; `None` for what does not exist yet. `b` batch, `k` kernel,
/// `s` stride, `p` padding, `g` groups, `d` dilation, `S` sequence length, `L` length.
type Entry = (&'static str, &'static str, Option<fn() -> Result<Work>>);

/// All rows: size class and entry.
fn entries() -> impl Iterator<Item = (&'static str, &'static Entry)> {
    let typical = typical::ROWS.iter().map(|e| ("typ", e));
    typical.chain(tiny::ROWS.iter().map(|e| ("tiny", e)))
}

fn name((size, (layer, shape, _)): (&str, &Entry)) -> String {
    format!("{size} {layer} {shape}")
}

fn input(shape: &[i64]) -> Result<Variable> {
    Ok(Variable::new(Tensor::randn(shape, TensorOptions::default())?, true))
}

fn indices(below: i64, shape: &[i64]) -> Result<Variable> {
    Ok(Variable::new(Tensor::randint(0, below, shape, DType::Int64.into())?, false))
}

fn parameters(module: &dyn Module) -> impl Iterator<Item = Variable> + use<> {
    module.parameters().into_iter().map(|p| p.variable)
}

/// A layer on a random input.
fn layer(module: impl Module + 'static, shape: &[i64]) -> Result<Work> {
    let leaves = std::iter::once(input(shape)?).chain(parameters(&module)).collect();
    Work::passes(leaves, move |v| module.forward(&v[0]))
}

/// An operation on random inputs.
fn op(shapes: &[&[i64]], call: fn(&[Variable]) -> Result<Variable>) -> Result<Work> {
    Work::passes(shapes.iter().map(|s| input(s)).collect::<Result<_>>()?, call)
}

fn cross_entropy(rows: i64, classes: i64) -> Result<Work> {
    let target = indices(classes, &[rows])?;
    Work::passes(vec![input(&[rows, classes])?], move |v| cross_entropy_loss(&v[0], &target))
}

fn mse(shape: &[i64]) -> Result<Work> {
    let target = input(shape)?.detach();
    Work::passes(vec![input(shape)?], move |v| mse_loss(&v[0], &target))
}

/// One step of an optimizer on parameters that have their gradients.
fn step<O: Optimizer + 'static>(
    tensors: usize,
    numel: i64,
    optimizer: fn(&[Parameter]) -> O,
) -> Result<Work> {
    let randn = || Tensor::randn(&[numel], TensorOptions::default());
    let params = (0..tensors)
        .map(|_| Ok(Parameter::new(randn()?, "p")))
        .collect::<Result<Vec<Parameter>>>()?;
    for p in &params {
        p.variable.set_grad(randn()?);
    }
    let mut optimizer = optimizer(&params);
    Work::call(move || optimizer.step())
}

fn embedding(count: i64, width: i64, shape: &[i64]) -> Result<Work> {
    let (module, x) = (Embedding::new(count, width)?, indices(count, shape)?);
    Work::passes(parameters(&module).collect(), move |_| module.forward(&x))
}

fn bags(mode: Bag, count: i64, width: i64, ids: i64, bags: i64) -> Result<Work> {
    let module = EmbeddingBag::new(count, width)?;
    let options = TensorOptions::from(DType::Int64);
    let offsets = Tensor::arange(0.0, ids as f64, (ids / bags) as f64, options)?;
    let (x, offsets) = (indices(count, &[ids])?, Variable::new(offsets, false));
    Work::passes(parameters(&module).collect(), move |_| module.forward_bag(&x, &offsets, mode))
}

/// A step of a GRU from a state that gets a gradient too.
fn gru_cell(inputs: i64, hidden: i64, batch: i64) -> Result<Work> {
    let module = GRUCell::new(inputs, hidden)?;
    let leaves = vec![input(&[batch, inputs])?, input(&[batch, hidden])?];
    let leaves = leaves.into_iter().chain(parameters(&module)).collect();
    Work::passes(leaves, move |v| module.forward_step(&v[0], Some(&v[1])))
}

/// A step of an LSTM, whose state h and c side by side is one leaf here and two in the twin.
fn lstm_cell(inputs: i64, hidden: i64, batch: i64) -> Result<Work> {
    let module = LSTMCell::new(inputs, hidden)?;
    let leaves = vec![input(&[batch, inputs])?, input(&[batch, 2 * hidden])?];
    let leaves = leaves.into_iter().chain(parameters(&module)).collect();
    Work::passes(leaves, move |v| module.forward_step(&v[0], Some(&v[1])))
}

/// A whole training step of the smallest network.
fn train_step() -> Result<Work> {
    let model = FlowBuilder::from(Linear::new(16, 16)?)
        .through(ReLU)
        .through(Linear::new(16, 4)?)
        .build()?;
    let (x, y) = (input(&[1, 16])?.detach(), input(&[1, 4])?.detach());
    let mut adam = Adam::new(&model.parameters(), 1e-3);
    Work::call(move || {
        let loss = mse_loss(&model.forward(&x)?, &y)?;
        adam.zero_grad();
        loss.backward()?;
        adam.step()
    })
}

fn add_no_grad() -> Result<Work> {
    let (a, b) = (input(&[4, 4])?, input(&[4, 4])?);
    Work::call(move || no_grad(|| a.add(&b)))
}

fn linear_no_grad() -> Result<Work> {
    let (module, x) = (Linear::new(16, 16)?, input(&[1, 16])?.detach());
    Work::call(move || no_grad(|| module.forward(&x)))
}

/// Self-attention, with the weights beside the output or without.
fn attention(width: i64, heads: i64, steps: i64, batch: i64, weights: bool) -> Result<Work> {
    let module = MultiheadAttention::new(width, heads)?;
    let options = AttentionOptions { need_weights: weights, ..AttentionOptions::default() };
    let leaves = std::iter::once(input(&[batch, steps, width])?).chain(parameters(&module));
    Work::passes(leaves.collect(), move |v| {
        Ok(module.forward_with(&v[0], &v[0], &v[0], &options)?.0)
    })
}

/// What a graph itself costs: a forward of a hundred modules that do nothing.
fn empty_chain() -> Result<Work> {
    let chain = (1..100).fold(FlowBuilder::from(Identity), |flow, _| flow.through(Identity));
    let (model, x) = (chain.build()?, input(&[4])?.detach());
    Work::call(move || no_grad(|| model.forward(&x)))
}

fn wired(model: Graph) -> Result<Work> {
    let x = input(&[4])?.detach();
    Work::call(move || no_grad(|| model.forward(&x)))
}

/// Sums with a named value.
fn using() -> Result<Work> {
    let start = FlowBuilder::from(Identity).tag("x");
    wired((0..50).fold(start, |flow, _| flow.through(StateAdd).using(&["x"])).build()?)
}

fn split_merge() -> Result<Work> {
    let pair = |flow: FlowBuilder, _| flow.split(modules![Identity, Identity]).merge(MergeOp::Add);
    wired((0..50).fold(FlowBuilder::new(), pair).build()?)
}

/// Graphs in graphs, each with a node of its own.
fn nested() -> Result<Work> {
    let mut graph = FlowBuilder::from(Identity).build()?;
    for _ in 1..100 {
        graph = FlowBuilder::from(graph).through(Identity).build()?;
    }
    wired(graph)
}

/// The `layers` command.
pub fn run(common: &Common, steps: usize) -> crate::Result<()> {
    let specs = entries().map(|entry| {
        let build = entry.1.2.map(|build| Box::new(build) as Box<dyn Fn() -> Result<Work>>);
        Spec { name: name(entry), build, direct: false }
    });
    rows::run(common, steps, "layers.py", specs.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_twin_has_every_row_and_no_name_stands_twice() {
        let (_, twin) = crate::twin::SOURCES.iter().find(|s| s.0 == "layers.py").unwrap();
        let mut seen = HashSet::new();
        for entry in entries() {
            let name = name(entry);
            assert!(twin.contains(&format!("    \"{name}\": ")), "{name}");
            assert!(seen.insert(name));
        }
    }
}
