//! Recurrent layers: cells against sequences, against PyTorch's numbers and the formulas, gradients
//! of first and second order, wrong input.

use std::rc::Rc;

use flodl::*;

fn tensor(values: impl Fn(f64) -> f64, shape: &[i64], dtype: DType) -> Tensor {
    let n = shape.iter().product::<i64>();
    let values: Vec<f64> = (0..n).map(|i| values(i as f64)).collect();
    Tensor::from_f64(&values, shape, Device::CPU).unwrap().to_dtype(dtype).unwrap()
}

/// Known numbers of a shape.
fn input(shape: &[i64], dtype: DType) -> Variable {
    Variable::new(tensor(|i| (0.9 * i).cos(), shape, dtype), true)
}

/// Gives a layer known weights.
fn fill(module: &dyn Module, dtype: DType) {
    for p in module.parameters() {
        let shift = p.name.len() as f64;
        let shape = p.variable.shape();
        p.variable.set_data(tensor(|i| (1.7 * i + shift).sin() * 0.5, &shape, dtype));
    }
}

fn parameter(module: &dyn Module, name: &str) -> Variable {
    module.parameters().into_iter().find(|p| p.name == name).unwrap().variable
}

fn values(v: &Variable) -> Vec<f64> {
    v.data().to_f64_vec().unwrap()
}

#[track_caller]
fn close(ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{ours:?} against {theirs:?}");
    }
}

const F64: DType = DType::Float64;

/// A layer's sequence in one form for all three kinds: output and last states.
type Sequence = Rc<dyn Fn(&Variable, &[Variable]) -> Result<Vec<Variable>>>;

/// The three kinds with a setting: name, states, layer and sequence.
fn layers(
    with: impl Fn(bool) -> (usize, bool, bool, bool),
) -> Vec<(&'static str, usize, Rc<dyn Module>, Sequence)> {
    fn set<L>(b: RnnBuilder<L>, (layers, both, first, bias): (usize, bool, bool, bool)) -> L {
        let b = b.with_layers(layers).with_bidirectional(both).with_batch_first(first);
        if bias { b } else { b.without_bias() }.done().unwrap()
    }
    let s = with(true);
    let gru = set(GRU::configure(3, 4), s);
    let lstm = set(LSTM::configure(3, 4), s);
    let tanh = set(RNN::configure(3, 4), s);
    let relu = set(RNN::configure(3, 4), s).nonlinearity("relu").unwrap();
    let (g, l, t, r) = (gru.clone(), lstm.clone(), tanh.clone(), relu.clone());
    let pair = |(o, h)| vec![o, h];
    vec![
        ("GRU", 1, Rc::new(gru), Rc::new(move |x, s| g.forward_seq(x, s.first()).map(pair))),
        (
            "LSTM",
            2,
            Rc::new(lstm),
            Rc::new(move |x, s| {
                let state = s.first().zip(s.get(1));
                l.forward_seq(x, state).map(|(o, (h, c))| vec![o, h, c])
            }),
        ),
        ("RNN", 1, Rc::new(tanh), Rc::new(move |x, s| t.forward_seq(x, s.first()).map(pair))),
        ("RNN relu", 1, Rc::new(relu), Rc::new(move |x, s| r.forward_seq(x, s.first()).map(pair))),
    ]
}

#[test]
fn steps_by_hand_from_the_formulas() {
    let half = |m: &dyn Module| {
        for p in m.parameters() {
            let shape = p.variable.shape();
            p.variable.set_data(tensor(|_| 0.5, &shape, F64));
        }
    };
    let one = Variable::new(tensor(|_| 1.0, &[1, 1], F64), false);
    let gru = GRUCell::new(1, 1).unwrap();
    half(&gru);
    let h = gru.forward_step(&one, None).unwrap();
    close(&values(&h), &[0.161855], 1e-6);
    close(&values(&gru.forward_step(&one, Some(&h)).unwrap()), &[0.288137], 1e-6);
    let lstm = LSTMCell::new(1, 1).unwrap();
    half(&lstm);
    let s = lstm.forward_step(&one, None).unwrap();
    close(&values(&s), &[0.514386, 0.740026], 1e-6);
    close(&values(&lstm.forward_step(&one, Some(&s)).unwrap()), &[0.761281, 1.434690], 1e-6);
}

/// Last output, gradient of the first input, sum of the gradient of weight_hh_l0_reverse, gradient
/// of bias_ih_l1; the loss weighs the output by cos(0.9 i) and adds the sums of the last states.
type Want = [&'static [f64]; 4];
const GRU_WANT: Want = [
    &[
        -0.407851595967,
        -0.051652171416,
        0.023946143116,
        0.537076570484,
        -0.430806941285,
        -0.06427612617,
        0.018012910667,
        0.534927590107,
    ],
    &[-0.107437718408, 0.119026754632, 0.002995744651, 0.255259704744],
    &[0.508468431472],
    &[
        -0.154385900922,
        -0.041523473503,
        0.423041681516,
        0.040247267252,
        1.564335590299,
        2.042139913596,
    ],
];
const LSTM_WANT: Want = [
    &[
        -0.36509941041,
        -0.097683531714,
        -0.035955466222,
        0.144353197425,
        -0.365914771172,
        -0.095539931153,
        -0.044914140174,
        0.136986756993,
    ],
    &[-0.088147651434, 0.168802756246, -0.201614642953, 0.153867772571],
    &[0.361567371738],
    &[
        -1.243013218221,
        -0.376709395501,
        -0.443934480422,
        -0.138827493763,
        1.035897688131,
        1.783069426983,
        -0.293172174676,
        -0.08726109727,
    ],
];
const RNN_WANT: Want = [
    &[0.0, 0.0, 0.0, 0.857533990219, 0.0, 0.0, 0.0, 1.034467185409],
    &[-0.504472674438, -0.01673304694, -0.723091110956, -0.023984485413],
    &[1.833764870946],
    &[0.0, 0.0],
];

/// Numbers from torch.nn with the same weights and input, bidirectional, two layers.
#[test]
fn bidirectional_networks_are_pytorchs() {
    let check = |m: &dyn Module, out: &Variable, sum: Variable, x: &Variable, want: [&[f64]; 4]| {
        let weight = tensor(|i| (0.9 * i).cos(), &out.shape(), F64);
        let loss = out.mul(&Variable::new(weight, false)).unwrap().sum().unwrap();
        loss.add(&sum).unwrap().backward().unwrap();
        close(&values(&out.select(0, 2).unwrap()), want[0], 1e-10);
        close(&x.grad().unwrap().select(0, 0).unwrap().to_f64_vec().unwrap(), want[1], 1e-10);
        let dw = parameter(m, "weight_hh_l0_reverse").grad().unwrap();
        close(&dw.sum().unwrap().to_f64_vec().unwrap(), want[2], 1e-10);
        close(&parameter(m, "bias_ih_l1").grad().unwrap().to_f64_vec().unwrap(), want[3], 1e-10);
    };
    let x = input(&[3, 2, 2], F64);
    let gru = GRU::configure(2, 2).with_layers(2).with_bidirectional(true).done().unwrap();
    fill(&gru, F64);
    let (out, h) = gru.forward_seq(&x, None).unwrap();
    check(&gru, &out, h.sum().unwrap(), &x, GRU_WANT);
    let x = input(&[3, 2, 2], F64);
    let lstm = LSTM::configure(2, 2).with_layers(2).with_bidirectional(true).done().unwrap();
    fill(&lstm, F64);
    let (out, (h, c)) = lstm.forward_seq(&x, None).unwrap();
    check(&lstm, &out, h.sum().unwrap().add(&c.sum().unwrap()).unwrap(), &x, LSTM_WANT);
    let x = input(&[3, 2, 2], F64);
    let rnn = RNN::configure(2, 2).with_layers(2).with_bidirectional(true).done().unwrap();
    let rnn = rnn.nonlinearity("relu").unwrap();
    fill(&rnn, F64);
    let (out, h) = rnn.forward_seq(&x, None).unwrap();
    check(&rnn, &out, h.sum().unwrap(), &x, RNN_WANT);
}

#[test]
fn a_sequence_is_its_cell_stepped() {
    for dtype in [DType::Float32, F64] {
        let tolerance = if dtype == F64 { 1e-13 } else { 2e-6 };
        for batch in [1, 2, 5] {
            let gru = GRU::new(3, 4, 2).unwrap();
            fill(&gru, dtype);
            let x = input(&[6, batch, 3], dtype);
            let (out, h_n) = gru.forward_seq(&x, None).unwrap();
            let mut stream: Vec<Variable> = (0..6).map(|t| x.select(0, t).unwrap()).collect();
            for (layer, size) in [(0, 3), (1, 4)] {
                let cell = GRUCell::new(size, 4).unwrap();
                copy_weights(&gru, layer, &cell);
                let mut h = None;
                for step in &mut stream {
                    *step = cell.forward_step(step, h.as_ref()).unwrap();
                    h = Some(step.clone());
                }
                let last = values(&h_n.select(0, layer).unwrap());
                close(&last, &values(&h.unwrap()), tolerance);
            }
            close(&values(&out), &values(&Variable::stack(&stream, 0).unwrap()), tolerance);

            let lstm = LSTM::new(3, 4, 1).unwrap();
            fill(&lstm, dtype);
            let (out, (h_n, c_n)) = lstm.forward_seq(&x, None).unwrap();
            let cell = LSTMCell::new(3, 4).unwrap();
            copy_weights(&lstm, 0, &cell);
            let mut state = None;
            for t in 0..6 {
                let new = cell.forward_step(&x.select(0, t).unwrap(), state.as_ref()).unwrap();
                let (h, _) = cell.split_state(&new).unwrap();
                close(&values(&out.select(0, t).unwrap()), &values(&h), tolerance);
                state = Some(new);
            }
            let (h, c) = cell.split_state(&state.unwrap()).unwrap();
            close(&values(&h_n), &values(&h), tolerance);
            close(&values(&c_n), &values(&c), tolerance);
        }
    }
}

fn copy_weights(from: &dyn Module, layer: i64, to: &dyn Module) {
    for p in to.parameters() {
        let source = parameter(from, &format!("{}_l{layer}", p.name));
        p.variable.set_data(source.data());
    }
}

/// The gradient that many steps add up in a cell's weights is the sequence's.
#[test]
fn stepping_a_cell_sums_the_gradients_of_the_sequence() {
    for batch in [1, 6] {
        let (gru, cell) = (GRU::new(3, 4, 1).unwrap(), GRUCell::new(3, 4).unwrap());
        fill(&gru, F64);
        copy_weights(&gru, 0, &cell);
        let (x, y) = (input(&[20, batch, 3], F64), input(&[20, batch, 3], F64));
        gru.forward_seq(&x, None).unwrap().0.sum().unwrap().backward().unwrap();
        // Twice, so that the second pass adds to gradients that are there.
        for pass in 1..=2 {
            let mut h = None;
            let mut sum = Variable::new(Tensor::zeros(&[], F64.into()).unwrap(), false);
            for t in 0..20 {
                let new = cell.forward_step(&y.select(0, t).unwrap(), h.as_ref()).unwrap();
                sum = sum.add(&new.sum().unwrap()).unwrap();
                h = Some(new);
            }
            sum.backward().unwrap();
            for p in cell.parameters() {
                let want = parameter(&gru, &format!("{}_l0", p.name)).grad().unwrap();
                let want: Vec<f64> =
                    want.to_f64_vec().unwrap().iter().map(|g| g * f64::from(pass)).collect();
                close(&p.variable.grad().unwrap().to_f64_vec().unwrap(), &want, 1e-11);
            }
        }
        let twice: Vec<f64> = x.grad().unwrap().to_f64_vec().unwrap();
        let twice: Vec<f64> = twice.iter().map(|g| g * 2.0).collect();
        close(&y.grad().unwrap().to_f64_vec().unwrap(), &twice, 1e-11);
    }
}

/// Weights so large that several steps' gradients are computed at once.
#[test]
fn large_cells_sum_the_gradients_of_the_sequence() {
    let (input_size, hidden, batch, steps) = (7, 160, 5, 11);
    let (lstm, cell) =
        (LSTM::new(input_size, hidden, 1).unwrap(), LSTMCell::new(input_size, hidden).unwrap());
    fill(&lstm, F64);
    copy_weights(&lstm, 0, &cell);
    let (x, y) = (input(&[steps, batch, 7], F64), input(&[steps, batch, 7], F64));
    lstm.forward_seq(&x, None).unwrap().0.sum().unwrap().backward().unwrap();
    let run = || {
        let mut state = None;
        let mut sum = Variable::new(Tensor::zeros(&[], F64.into()).unwrap(), false);
        for t in 0..steps {
            let new = cell.forward_step(&y.select(0, t).unwrap(), state.as_ref()).unwrap();
            sum = sum.add(&cell.split_state(&new).unwrap().0.sum().unwrap()).unwrap();
            state = Some(new);
        }
        sum
    };
    let check = |times: f64| {
        for p in cell.parameters() {
            let want = parameter(&lstm, &format!("{}_l0", p.name)).grad().unwrap();
            let want: Vec<f64> = want.to_f64_vec().unwrap().iter().map(|g| g * times).collect();
            close(&p.variable.grad().unwrap().to_f64_vec().unwrap(), &want, 1e-10);
        }
    };
    run().backward().unwrap();
    check(1.0);
    // Someone holds a gradient; the tape stays for a second pass.
    let held = cell.parameters()[0].variable.grad().unwrap();
    let before = held.to_f64_vec().unwrap();
    let loss = run();
    loss.backward_with(BackwardOptions::default().retain_graph()).unwrap();
    check(2.0);
    assert_eq!(held.to_f64_vec().unwrap(), before);
    loss.backward().unwrap();
    check(3.0);
    // Gradients that are asked for by name stay out of the leaves, and are the same.
    let leaves: Vec<Variable> = cell.parameters().into_iter().map(|p| p.variable).collect();
    let refs: Vec<&Variable> = leaves.iter().collect();
    let found = grad(&[&run()], &refs, &[None], BackwardOptions::default()).unwrap();
    check(3.0);
    for (p, g) in cell.parameters().iter().zip(found) {
        let want = parameter(&lstm, &format!("{}_l0", p.name)).grad().unwrap();
        close(&values(&g.unwrap()), &want.to_f64_vec().unwrap(), 1e-10);
    }
    // A frozen weight gets none.
    cell.parameters()[0].freeze().unwrap();
    run().backward().unwrap();
    assert!(cell.parameters()[0].variable.grad().is_none());
    let want = parameter(&lstm, "bias_ih_l0").grad().unwrap().to_f64_vec().unwrap();
    let want: Vec<f64> = want.iter().map(|g| g * 4.0).collect();
    close(&parameter(&cell, "bias_ih").grad().unwrap().to_f64_vec().unwrap(), &want, 1e-10);
}

/// A gradient that someone else holds is not changed under them.
#[test]
fn gradients_held_elsewhere_stay() {
    let cell = GRUCell::new(3, 4).unwrap();
    let x = input(&[5, 3], DType::Float32);
    let run = || cell.forward_step(&x, None).unwrap().sum().unwrap().backward().unwrap();
    run();
    let w = parameter(&cell, "weight_ih");
    let held = w.grad().unwrap();
    let before = held.to_f32_vec().unwrap();
    run();
    assert_eq!(held.to_f32_vec().unwrap(), before);
    let twice: Vec<f32> = before.iter().map(|g| 2.0 * g).collect();
    assert_eq!(w.grad().unwrap().to_f32_vec().unwrap(), twice);
}

/// The packed weights of a cell follow the weights.
#[test]
fn a_cell_sees_changed_weights() {
    let cell = LSTMCell::new(3, 4).unwrap();
    let x = input(&[8, 3], DType::Float32);
    let mut optimizer = SGD::new(&cell.parameters(), 0.5, 0.0);
    for _ in 0..3 {
        let fresh = LSTMCell::new(3, 4).unwrap();
        for (to, from) in fresh.parameters().iter().zip(cell.parameters()) {
            to.variable.set_data(from.variable.data().copy().unwrap());
        }
        let ours = no_grad(|| cell.forward_step(&x, None)).unwrap();
        assert_eq!(values(&ours), values(&fresh.forward_step(&x, None).unwrap()));
        optimizer.zero_grad();
        cell.forward_step(&x, None).unwrap().sum().unwrap().backward().unwrap();
        optimizer.step().unwrap();
    }
}

#[test]
fn batch_first_unbatched_strided_and_zero_states() {
    for bias in [true, false] {
        let seq = layers(|_| (2, true, false, bias));
        let first = layers(|_| (2, true, true, bias));
        for ((name, states, a, run_a), (_, _, b, run_b)) in seq.into_iter().zip(first) {
            fill(&*a, F64);
            fill(&*b, F64);
            let x = input(&[5, 2, 3], F64);
            let out = run_a(&x, &[]).unwrap();
            assert_eq!(out[0].shape(), [5, 2, 8], "{name}");
            assert!(out[1..].iter().all(|s| s.shape() == [4, 2, 4]), "{name}");
            // A transposed view is an input like any other.
            let other = run_b(&x.transpose(0, 1).unwrap(), &[]).unwrap();
            assert_eq!(other[0].shape(), [2, 5, 8]);
            close(&values(&out[0]), &values(&other[0].transpose(0, 1).unwrap()), 1e-14);
            close(&values(&out[1]), &values(&other[1]), 1e-14);
            // Zeros are what `None` means.
            let zeros = Variable::new(Tensor::zeros(&[4, 2, 4], F64.into()).unwrap(), false);
            let explicit = run_a(&x, &vec![zeros; states]).unwrap();
            close(&values(&out[0]), &values(&explicit[0]), 1e-14);
            // One sequence without a batch.
            let alone = run_a(&x.select(1, 0).unwrap(), &[]).unwrap();
            assert_eq!(alone[0].shape(), [5, 8]);
            assert!(alone[1..].iter().all(|s| s.shape() == [4, 4]));
            close(&values(&alone[0]), &values(&out[0].select(1, 0).unwrap()), 1e-14);
            let again: Vec<Variable> = alone[1..].to_vec();
            assert_eq!(run_b(&x.select(1, 0).unwrap(), &again).unwrap()[0].shape(), [5, 8]);
            // A batch of none.
            let none = run_a(&input(&[5, 0, 3], F64), &[]).unwrap();
            assert_eq!(none[0].shape(), [5, 0, 8]);
            none[0].sum().unwrap().backward().unwrap();
            let grad = a.parameters()[0].variable.grad().unwrap();
            assert!(grad.to_f64_vec().unwrap().iter().all(|&g| g == 0.0));
        }
    }
}

#[test]
fn cells_take_one_row_and_no_row() {
    let cell = GRUCell::new(3, 4).unwrap();
    let x = input(&[5, 3], DType::Float32);
    let h = cell.forward_step(&x, None).unwrap();
    let h = cell.forward_step(&x, Some(&h)).unwrap();
    let row = x.select(0, 2).unwrap();
    let one = cell.forward_step(&row, None).unwrap();
    assert_eq!(one.shape(), [4]);
    let one = cell.forward_step(&row, Some(&one)).unwrap();
    close(&values(&one), &values(&h.select(0, 2).unwrap()), 1e-6);
    let none = cell.forward_step(&input(&[0, 3], DType::Float32), None).unwrap();
    assert_eq!(none.shape(), [0, 4]);
    none.sum().unwrap().backward().unwrap();
    let strided = input(&[3, 5], DType::Float32).transpose(0, 1).unwrap();
    let flat = strided.contiguous().unwrap();
    let (a, b) = (cell.forward_step(&strided, None), cell.forward_step(&flat, None));
    assert_eq!(values(&a.unwrap()), values(&b.unwrap()));
}

/// One node for a step and one for a sequence, however long.
#[test]
fn few_nodes() {
    let gru = GRUCell::new(3, 4).unwrap();
    let x = input(&[2, 3], DType::Float32).detach();
    let h = gru.forward_step(&x, None).unwrap();
    assert_eq!(h.grad_fn_name(), Some("GRUCell"));
    let lstm = LSTM::new(3, 4, 2).unwrap().batch_first(true);
    for steps in [5, 50] {
        let x = input(&[2, steps, 3], DType::Float32).detach();
        let (out, (h, c)) = lstm.forward_seq(&x, None).unwrap();
        for v in [out, h, c] {
            assert_eq!(v.grad_fn_name(), Some("LSTM"));
        }
    }
}

/// A weighted sum of several outputs.
fn score(outs: &[Variable]) -> Variable {
    let mut sum = Variable::new(Tensor::zeros(&[], F64.into()).unwrap(), false);
    for (k, v) in outs.iter().enumerate() {
        let weight = tensor(|i| (1.3 * i + k as f64).sin(), &v.shape(), F64);
        let term = v.mul(&Variable::new(weight, false)).unwrap().sum().unwrap();
        sum = sum.add(&term).unwrap();
    }
    sum
}

/// Compares first and second derivatives of `f` with differences, at some places of each leaf.
fn check_gradients(name: &str, leaves: &[Variable], f: &dyn Fn() -> Vec<Variable>) {
    let refs: Vec<&Variable> = leaves.iter().collect();
    let fused = grad(&[&score(&f())], &refs, &[None], BackwardOptions::default()).unwrap();
    let recorded = |create: bool| {
        let options = BackwardOptions::default();
        let options = if create { options.create_graph() } else { options };
        grad(&[&score(&f())], &refs, &[None], options).unwrap()
    };
    let projection = || {
        let grads: Vec<Variable> = recorded(true).into_iter().map(Option::unwrap).collect();
        score(&grads)
    };
    let second = grad(&[&projection()], &refs, &[None], BackwardOptions::default()).unwrap();
    for (k, leaf) in leaves.iter().enumerate() {
        let first = fused[k].as_ref().unwrap_or_else(|| panic!("{name}: no gradient {k}"));
        let composed = values(recorded(true)[k].as_ref().unwrap());
        close(&values(first), &composed, 1e-11);
        let base = leaf.data();
        let numbers = base.to_f64_vec().unwrap();
        for i in (0..numbers.len()).step_by((numbers.len() / 3).max(1)) {
            let at = |delta: f64, value: &dyn Fn() -> f64| {
                let mut moved = numbers.clone();
                moved[i] += delta;
                let moved = Tensor::from_f64(&moved, &base.shape(), Device::CPU).unwrap();
                leaf.set_data(moved);
                let result = value();
                leaf.set_data(base.clone());
                result
            };
            let slope = |value: &dyn Fn() -> f64| (at(1e-5, value) - at(-1e-5, value)) / 2e-5;
            let what = format!("{name}, leaf {k} at {i}");
            let near = |a: f64, b: f64| (a - b).abs() <= 2e-7 * b.abs().max(1.0);
            let numeric = slope(&|| score(&f()).item().unwrap());
            assert!(near(values(first)[i], numeric), "{what}: {} {numeric}", values(first)[i]);
            let numeric = slope(&|| projection().item().unwrap());
            let ours = second[k].as_ref().map_or(0.0, |s| values(s)[i]);
            assert!(near(ours, numeric), "{what}, second: {ours} {numeric}");
        }
    }
}

#[test]
fn sequences_have_first_and_second_derivatives() {
    for both in [false, true] {
        for (name, states, layer, run) in layers(|_| (2, both, true, true)) {
            fill(&*layer, F64);
            let x = input(&[2, 3, 3], F64);
            let runs = if both { 4 } else { 2 };
            let first: Vec<Variable> = (0..states)
                .map(|k| {
                    let t = tensor(|i| (0.7 * i + k as f64).sin() * 0.6, &[runs, 2, 4], F64);
                    Variable::new(t, true)
                })
                .collect();
            let mut leaves = vec![x.clone()];
            leaves.extend(first.clone());
            leaves.extend(layer.parameters().into_iter().map(|p| p.variable));
            check_gradients(name, &leaves, &|| run(&x, &first).unwrap());
            // Without states, and with a gradient of the output alone.
            leaves.drain(1..1 + states);
            check_gradients(name, &leaves, &|| run(&x, &[]).unwrap()[..1].to_vec());
        }
    }
}

#[test]
fn cells_have_first_and_second_derivatives() {
    let x = input(&[2, 3], F64);
    let h = Variable::new(tensor(|i| (0.7 * i).sin() * 0.6, &[2, 4], F64), true);
    let joint = Variable::new(tensor(|i| (0.7 * i).sin() * 0.6, &[2, 8], F64), true);
    let leaves = |m: &dyn Module, state: &Variable| {
        let mut all = vec![x.clone(), state.clone()];
        all.extend(m.parameters().into_iter().map(|p| p.variable));
        all
    };
    let gru = GRUCell::new(3, 4).unwrap();
    fill(&gru, F64);
    check_gradients("GRUCell", &leaves(&gru, &h), &|| {
        vec![gru.forward_step(&x, Some(&h)).unwrap()]
    });
    let lstm = LSTMCell::new(3, 4).unwrap();
    fill(&lstm, F64);
    check_gradients("LSTMCell", &leaves(&lstm, &joint), &|| {
        vec![lstm.forward_step(&x, Some(&joint)).unwrap()]
    });
    for kind in ["tanh", "relu"] {
        let rnn = RNNCell::no_bias(3, 4).unwrap().nonlinearity(kind).unwrap();
        fill(&rnn, F64);
        check_gradients("RNNCell", &leaves(&rnn, &h), &|| {
            vec![rnn.forward_step(&x, Some(&h)).unwrap()]
        });
    }
    let c = Variable::new(tensor(|i| (0.3 * i).cos() * 0.6, &[2, 4], F64), true);
    let p: Vec<Variable> = lstm.parameters().into_iter().map(|p| p.variable).collect();
    let mut all = vec![x.clone(), h.clone(), c.clone()];
    all.extend(p.clone());
    check_gradients("lstm_cell", &all, &|| {
        let (h, c) = lstm_cell(&x, &h, &c, &p[0], &p[1], &p[2], &p[3]).unwrap();
        vec![h, c]
    });
    // c alone gets a gradient.
    check_gradients("lstm_cell c", &all[..all.len() - 2], &|| {
        vec![lstm_cell(&x, &h, &c, &p[0], &p[1], &p[2], &p[3]).unwrap().1]
    });
    let p: Vec<Variable> = gru.parameters().into_iter().map(|p| p.variable).collect();
    let mut all = vec![x.clone(), h.clone()];
    all.extend(p.clone());
    check_gradients("gru_cell", &all, &|| {
        vec![gru_cell(&x, &h, &p[0], &p[1], &p[2], &p[3]).unwrap()]
    });
}

#[test]
fn functions_and_tensor_methods_agree_with_the_layers() {
    let lstm = LSTM::configure(3, 4).with_layers(2).with_bidirectional(true).done().unwrap();
    fill(&lstm, DType::Float32);
    let params: Vec<Variable> = lstm.parameters().into_iter().map(|p| p.variable).collect();
    let tensors: Vec<Tensor> = params.iter().map(Variable::data).collect();
    let x = input(&[5, 6, 3], DType::Float32);
    let zeros = Tensor::zeros(&[4, 6, 4], TensorOptions::default()).unwrap();
    let (out, (h, c)) = lstm.forward_seq(&x, None).unwrap();
    let t = x.data().lstm_seq(&zeros, &zeros, &tensors, 2, false, true).unwrap();
    for (ours, theirs) in [(&out, &t.0), (&h, &t.1), (&c, &t.2)] {
        assert_eq!(ours.data().to_f32_vec().unwrap(), theirs.to_f32_vec().unwrap());
    }
    let options = RnnOptions { num_layers: 2, bidirectional: true, ..RnnOptions::default() };
    let (again, _) = lstm_seq(&x, None, &params, &options).unwrap();
    assert_eq!(values(&again), values(&out));

    let cell = LSTMCell::new(3, 4).unwrap();
    let p: Vec<Tensor> = cell.parameters().iter().map(|p| p.variable.data()).collect();
    let (x, zero) = (x.select(0, 0).unwrap(), zeros.select(0, 0).unwrap());
    let (h, c) = x.data().lstm_cell(&zero, &zero, &p[0], &p[1], &p[2], &p[3]).unwrap();
    let state = cell.forward_step(&x, None).unwrap();
    let (h2, c2) = cell.split_state(&state).unwrap();
    close(&h.to_f64_vec().unwrap(), &values(&h2), 1e-6);
    close(&c.to_f64_vec().unwrap(), &values(&c2), 1e-6);
}

/// Half precision computes through f32, and keeps its dtype.
#[test]
fn half_precision_has_values_and_gradients() {
    let gru = GRU::new(3, 4, 1).unwrap();
    fill(&gru, DType::BFloat16);
    let x = input(&[5, 2, 3], DType::BFloat16);
    let (out, h) = gru.forward_seq(&x, None).unwrap();
    assert_eq!((out.dtype(), h.dtype()), (DType::BFloat16, DType::BFloat16));
    out.sum().unwrap().backward().unwrap();
    assert_eq!(parameter(&gru, "weight_hh_l0").grad().unwrap().dtype(), DType::BFloat16);
    let cell = LSTMCell::new(3, 4).unwrap();
    fill(&cell, DType::Float16);
    let state = cell.forward_step(&input(&[2, 3], DType::Float16), None).unwrap();
    assert_eq!(state.dtype(), DType::Float16);
}

#[test]
fn dropout_between_layers_works_in_training_only() {
    manual_seed(3);
    let lstm = LSTM::configure(8, 64).with_layers(2).with_dropout(0.4).done().unwrap();
    let plain = LSTM::new(8, 64, 2).unwrap();
    for (to, from) in plain.parameters().iter().zip(lstm.parameters()) {
        to.variable.set_data(from.variable.data());
    }
    let x = input(&[10, 16, 8], DType::Float32);
    let want = values(&plain.forward(&x).unwrap());
    lstm.eval();
    assert_eq!(values(&lstm.forward(&x).unwrap()), want);
    lstm.train();
    let (out, (h, _)) = lstm.forward_seq(&x, None).unwrap();
    assert_ne!(values(&out), want);
    assert_ne!(values(&out), values(&lstm.forward(&x).unwrap()));
    // The first layer is before the dropout, the last output after none: no zeros in it.
    let first = plain.forward_seq(&x, None).unwrap().1.0.select(0, 0).unwrap();
    assert_eq!(values(&h.select(0, 0).unwrap()), values(&first));
    assert!(values(&out).iter().all(|&v| v != 0.0));
    out.sum().unwrap().backward().unwrap();
    assert!(lstm.parameters().iter().all(|p| p.variable.grad().is_some()));

    // A linear second layer shows how many inputs it gets: the sum keeps its mean, and its
    // variance is that of dropout.
    let rnn = RNN::configure(1, 1).with_layers(2).with_dropout(0.4).without_bias().done().unwrap();
    let rnn = rnn.nonlinearity("relu").unwrap();
    for p in rnn.parameters() {
        let value = if p.name.starts_with("weight_ih") { 1.0 } else { 0.0 };
        p.variable.set_data(tensor(|_| value, &[1, 1], DType::Float32));
    }
    let ones = Variable::new(tensor(|_| 1.0, &[1, 20_000, 1], DType::Float32), false);
    let seen = values(&rnn.forward(&ones).unwrap());
    let dropped = seen.iter().filter(|&&v| v == 0.0).count() as f64 / 20_000.0;
    assert!((dropped - 0.4).abs() < 0.02, "{dropped}");
    assert!(seen.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.6).abs() < 1e-6));
    // All dropped: the second layer sees zeros.
    let rnn = RNN::configure(1, 1).with_layers(2).with_dropout(1.0).without_bias().done().unwrap();
    assert!(values(&rnn.forward(&ones).unwrap()).iter().all(|&v| v == 0.0));
}

/// The kernel draws the same elements in its forward, in its backward, and in the form made of plain
/// operations that gradients of gradients go through.
#[test]
fn dropout_between_layers_drops_the_same_each_way() {
    let builder = LSTM::configure(3, 4).with_layers(3).with_bidirectional(true).with_dropout(0.4);
    let lstm = builder.with_batch_first(true).done().unwrap();
    fill(&lstm, F64);
    let x = input(&[2, 5, 3], F64);
    let loss = || {
        manual_seed(9);
        let (out, (h, c)) = lstm.forward_seq(&x, None).unwrap();
        let weights = tensor(|i| (0.9 * i).cos(), &out.shape(), F64);
        let out = out.mul(&Variable::new(weights, false)).unwrap().sum().unwrap();
        out.add(&h.sum().unwrap()).unwrap().add(&c.sum().unwrap()).unwrap()
    };
    let mut leaves: Vec<Variable> = lstm.parameters().into_iter().map(|p| p.variable).collect();
    leaves.push(x.clone());
    let gradients = |options: BackwardOptions| -> Vec<Vec<f64>> {
        leaves.iter().for_each(Variable::zero_grad);
        loss().backward_with(options).unwrap();
        leaves.iter().map(|v| v.grad().unwrap().to_f64_vec().unwrap()).collect()
    };
    let fused = gradients(BackwardOptions::default());
    let composed = gradients(BackwardOptions::default().create_graph());
    for (a, b) in fused.iter().zip(&composed) {
        close(a, b, 1e-12);
    }
    let step = 1e-6;
    for (v, gradient) in leaves.iter().zip(&fused) {
        let start = v.data();
        for i in (0..gradient.len()).step_by(7) {
            let at = |by: f64| {
                let mut moved = start.to_f64_vec().unwrap();
                moved[i] += by;
                v.set_data(Tensor::from_f64(&moved, &start.shape(), Device::CPU).unwrap());
                loss().item().unwrap()
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((slope - gradient[i]).abs() < 1e-7, "{slope} against {}", gradient[i]);
        }
        v.set_data(start);
    }
}

#[test]
fn names_initialisation_and_state_of_the_layers() {
    let lstm = LSTM::configure(3, 16).with_layers(2).with_bidirectional(true).done().unwrap();
    let names: Vec<String> = lstm.parameters().into_iter().map(|p| p.name).collect();
    let mut want = Vec::new();
    for end in ["l0", "l0_reverse", "l1", "l1_reverse"] {
        for start in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
            want.push(format!("{start}_{end}"));
        }
    }
    assert_eq!(names, want);
    assert_eq!(parameter(&lstm, "weight_ih_l1").shape(), [64, 32]);
    for p in lstm.parameters() {
        let v = values(&p.variable);
        let largest = v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(largest <= 0.25 && largest > 0.2, "{} {largest}", p.name);
    }
    assert_eq!(GRUCell::new(2, 3).unwrap().parameters().len(), 4);
    assert_eq!(GRU::new(2, 3, 3).unwrap().parameters().len(), 12);
    let names: Vec<String> =
        GRUCell::no_bias(2, 3).unwrap().parameters().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["weight_ih", "weight_hh"]);
    // Clones share weights, and are one module to walks.
    let clone = lstm.clone();
    assert_eq!(clone.identity(), lstm.identity());
    assert_eq!(clone.parameters()[0].variable.id(), lstm.parameters()[0].variable.id());
    manual_seed(7);
    let a = values(&GRUCell::new(2, 3).unwrap().parameters()[0].variable);
    manual_seed(7);
    assert_eq!(a, values(&GRUCell::new(2, 3).unwrap().parameters()[0].variable));
    // Everything that changes results changes the hash.
    let hash = |b: RnnBuilder<LSTM>| b.done().unwrap().structural_hash().unwrap();
    let base = || LSTM::configure(3, 4);
    let all = [
        hash(base()),
        hash(LSTM::configure(4, 4)),
        hash(LSTM::configure(3, 5)),
        hash(base().with_layers(2)),
        hash(base().with_bidirectional(true)),
        hash(base().with_batch_first(true)),
        hash(base().with_dropout(0.5)),
        hash(base().without_bias()),
        RNN::new(3, 4, 1).unwrap().structural_hash().unwrap(),
        RNN::new(3, 4, 1).unwrap().nonlinearity("relu").unwrap().structural_hash().unwrap(),
        RNNCell::new(3, 4).unwrap().structural_hash().unwrap(),
        RNNCell::new(3, 4).unwrap().nonlinearity("relu").unwrap().structural_hash().unwrap(),
    ];
    let different: std::collections::HashSet<&String> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

/// Memory goes back when a step is done, and training in place makes no copies.
#[test]
fn a_recurrent_model_learns_to_count() {
    manual_seed(1);
    let gru = GRU::new(1, 16, 1).unwrap().batch_first(true);
    let head = Linear::new(16, 1).unwrap();
    let params: Vec<Parameter> = gru.parameters().into_iter().chain(head.parameters()).collect();
    let mut optimizer = Adam::new(&params, 0.02);
    let bits = Tensor::rand(&[64, 6, 1], TensorOptions::default()).unwrap().round().unwrap();
    let x = Variable::new(bits, false);
    let y = x.sum_dim(1, false).unwrap();
    let mut last = f64::INFINITY;
    for _ in 0..150 {
        let (_, h) = gru.forward_seq(&x, None).unwrap();
        let loss = mse_loss(&head.forward(&h.select(0, 0).unwrap()).unwrap(), &y).unwrap();
        optimizer.zero_grad();
        loss.backward().unwrap();
        optimizer.step().unwrap();
        last = loss.item().unwrap();
    }
    assert!(last < 0.05, "{last}");
}
