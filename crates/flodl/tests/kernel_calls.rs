//! What is one kernel call stays one: calls of the engine are counted, whatever their size.

use flodl::backend::calls;
use flodl::*;

fn randn(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), true)
}

/// Calls of the engine that `f` makes, and its result.
fn counted<T>(f: impl FnOnce() -> Result<T>) -> (u64, T) {
    let before = calls();
    let result = f().unwrap();
    (calls() - before, result)
}

/// Calls of the backward from `y`.
fn backward(y: &Variable) -> u64 {
    let ones = Variable::new(Tensor::ones_like(&y.data()).unwrap(), false);
    counted(|| y.backward_with(BackwardOptions::default().gradient(ones))).0
}

#[test]
fn a_step_of_a_cell_is_one_call_forward_and_one_backward() {
    let (gru, lstm) = (GRUCell::new(5, 7).unwrap(), LSTMCell::new(5, 7).unwrap());
    let rnn = RNNCell::new(5, 7).unwrap();
    // Each has inputs of its own: a second gradient of a leaf is a call that adds it to the first.
    let [x1, x2, x3] = [[3, 5]; 3].map(|shape| randn(&shape));
    let [h1, h2, h3] = [[3, 7], [3, 14], [3, 7]].map(|shape| randn(&shape));
    let steps = [
        ("gru", counted(|| gru.forward_step(&x1, Some(&h1)))),
        ("lstm", counted(|| lstm.forward_step(&x2, Some(&h2)))),
        ("rnn", counted(|| rnn.forward_step(&x3, Some(&h3)))),
    ];
    for (name, (forward, y)) in &steps {
        assert_eq!((name, *forward, backward(y)), (name, 1, 1));
    }
}

/// Calls of a network's forward and backward over a sequence.
fn sequence(run: impl FnOnce(&Variable) -> Result<Variable>, steps: i64) -> (u64, u64) {
    let x = randn(&[steps, 3, 5]);
    let (forward, y) = counted(|| run(&x));
    let backward = backward(&y);
    assert!(x.grad().is_some());
    (forward, backward)
}

#[test]
fn a_sequence_through_all_layers_is_one_call_whatever_its_length() {
    for (steps, dropout, bidirectional) in
        [(5, 0.0, false), (50, 0.0, false), (5, 0.3, false), (50, 0.3, false), (50, 0.3, true)]
    {
        // New ones: a second gradient of a weight is a call that adds it to the first.
        let gru = GRU::configure(5, 7).with_layers(2).with_dropout(dropout);
        let gru = gru.with_bidirectional(bidirectional).done().unwrap();
        let lstm = LSTM::configure(5, 7).with_layers(2).with_dropout(dropout);
        let lstm = lstm.with_bidirectional(bidirectional).done().unwrap();
        let rnn = RNN::configure(5, 7).with_layers(2).with_dropout(dropout);
        let rnn = rnn.with_bidirectional(bidirectional).done().unwrap();
        let what = format!("{steps} steps, dropout {dropout}, both ways {bidirectional}");
        assert_eq!(sequence(|x| Ok(gru.forward_seq(x, None)?.0), steps), (1, 1), "GRU, {what}");
        assert_eq!(sequence(|x| Ok(lstm.forward_seq(x, None)?.0), steps), (1, 1), "LSTM, {what}");
        assert_eq!(sequence(|x| Ok(rnn.forward_seq(x, None)?.0), steps), (1, 1), "RNN, {what}");
    }
}
