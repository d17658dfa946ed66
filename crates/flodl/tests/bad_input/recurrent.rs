//! Recurrent cells and networks.

use flodl::*;

use super::*;

pub const CALLS: &[Row] = &[
    ("GRUCell input 0", || unit(GRUCell::new(0, 3)), "GRUCell: input size 0 must be positive"),
    ("LSTM hidden -1", || unit(LSTM::new(3, -1, 1)), "LSTM: hidden size -1 must be positive"),
    ("GRU layers 0", || unit(GRU::new(3, 3, 0)), "GRU: number of layers 0 must be positive"),
    (
        "RNN dropout",
        || unit(RNN::configure(3, 3).with_dropout(1.5).done()),
        "RNN: dropout probability 1.5 is outside [0, 1]",
    ),
    (
        "LSTM dropout NaN",
        || unit(LSTM::configure(3, 3).with_dropout(f64::NAN).done()),
        "LSTM: dropout probability NaN is outside [0, 1]",
    ),
    (
        "RNN nonlinearity",
        || unit(RNN::new(3, 3, 1)?.nonlinearity("gelu")),
        "RNN: nonlinearity \"gelu\"; there are \"tanh\" and \"relu\"",
    ),
    (
        "GRUCell width",
        || unit(GRUCell::new(3, 5)?.forward_step(&v(&[2, 4]), None)),
        "GRUCell: expected an input [batch, 3] or [3], got shape [2, 4]",
    ),
    (
        "GRUCell rank",
        || unit(GRUCell::new(3, 5)?.forward(&v(&[1, 2, 3]))),
        "GRUCell: expected an input [batch, 3] or [3], got shape [1, 2, 3]",
    ),
    (
        "LSTMCell state",
        || unit(LSTMCell::new(3, 5)?.forward_step(&v(&[2, 3]), Some(&v(&[2, 5])))),
        "LSTMCell: expected a state [2, 10], h and c side by side, got shape [2, 5]",
    ),
    (
        "LSTMCell split",
        || unit(LSTMCell::new(3, 5)?.split_state(&v(&[2, 5]))),
        "LSTMCell: expected a state [..., 10], h and c side by side, got shape [2, 5]",
    ),
    (
        "GRU width",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 5]), None)),
        "GRU: expected an input [seq, batch, 3] or [seq, 3], got shape [4, 2, 5]",
    ),
    (
        "LSTM rank",
        || unit(LSTM::new(3, 5, 1)?.batch_first(true).forward(&v(&[3]))),
        "LSTM: expected an input [batch, seq, 3] or [seq, 3], got shape [3]",
    ),
    (
        "GRU no steps",
        || unit(GRU::new(3, 5, 1)?.forward(&v(&[0, 2, 3]))),
        "GRU: expected a sequence of at least one step, got shape [0, 2, 3]",
    ),
    (
        "GRU first state",
        || unit(GRU::new(3, 5, 2)?.forward_seq(&v(&[6, 4, 3]), Some(&v(&[2, 3, 5])))),
        "GRU: expected h_0 of [2, 4, 5], got shape [2, 3, 5]",
    ),
    (
        "GRU unbatched state",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&v(&[6, 3]), Some(&v(&[1, 6, 5])))),
        "GRU: expected h_0 of [1, 5], got shape [1, 6, 5]",
    ),
    (
        "LSTM cell state",
        || {
            let (h, c) = (v(&[1, 2, 5]), v(&[1, 2, 4]));
            unit(LSTM::new(3, 5, 1)?.forward_seq(&v(&[6, 2, 3]), Some((&h, &c))))
        },
        "LSTM: expected c_0 of [1, 2, 5], got shape [1, 2, 4]",
    ),
    (
        "GRU dtype",
        || unit(GRU::new(3, 5, 1)?.forward(&w(&[6, 2, 3]))),
        "GRU: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "GRUCell half",
        || unit(GRUCell::new(3, 5)?.forward(&v(&[2, 3]).to_dtype(DType::Float16)?)),
        "GRUCell: dtypes float16 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "GRUCell of integers",
        || unit(GRUCell::new(3, 5)?.forward(&n(&[2, 3]))),
        "GRUCell: expected a floating-point input, got dtype int64",
    ),
    (
        "gru_cell weights",
        || {
            let w = |r, c| v(&[r, c]);
            let b = v(&[15]);
            unit(gru_cell(&w(2, 3), &w(2, 5), &w(15, 3), &w(20, 5), &b, &b))
        },
        "gru_cell: expected weight_hh of [15, 5] (3 times hidden size 5 rows), got shape [20, 5]",
    ),
    (
        "lstm_cell state",
        || {
            let w = |r, c| v(&[r, c]);
            let b = v(&[20]);
            unit(lstm_cell(&w(2, 3), &w(2, 5), &w(3, 5), &w(20, 3), &w(20, 5), &b, &b))
        },
        "lstm_cell: expected a state c of [2, 5], batch and hidden, got shape [3, 5]",
    ),
    (
        "gru_seq weights",
        || {
            let p: Vec<Variable> = (0..3).map(|_| v(&[3, 1])).collect();
            unit(gru_seq(&v(&[2, 2, 1]), None, &p, &RnnOptions::default()))
        },
        "gru_seq: 3 weights; 1 layers of 1 directions have 2 without and 4 with biases",
    ),
    (
        "gru_seq layers 0",
        || {
            let options = RnnOptions { num_layers: 0, ..RnnOptions::default() };
            unit(gru_seq(&v(&[2, 2, 1]), None, &[], &options))
        },
        "gru_seq: 0 weights; 0 layers of 1 directions have 0 without and 0 with biases",
    ),
    (
        "RnnParams mode",
        || unit(RnnParams::new(&[], 9, 1, false, false)),
        "RnnParams: mode 9; there are 0 ReLU, 1 tanh, 2 LSTM and 3 GRU",
    ),
    (
        "lstm_seq layers",
        || {
            let t = v(&[1, 1, 1]).data();
            unit(t.lstm_seq(&t, &t, &[], -1, false, false))
        },
        "lstm_seq: number of layers -1 must be positive",
    ),
    (
        "gru_seq states",
        || {
            let t = v(&[1, 1, 1]).data();
            unit(t.gru_seq(&v(&[3, 1, 1]).data(), &[], 2, false, false))
        },
        "gru_seq: expected h_0 of [2 layers times 1 or 2 directions, batch, hidden], got shape [3, 1, 1]",
    ),
    (
        "gru_cell hidden 0",
        || {
            let w = |r, c| v(&[r, c]);
            let b = v(&[0]);
            unit(gru_cell(&w(2, 3), &w(2, 0), &w(0, 3), &w(0, 0), &b, &b))
        },
        "gru_cell: expected weights of at least one hidden unit, got shape [0, 0]",
    ),
    (
        "GRU device",
        || unit(GRU::on_device(128, 256, 2, true, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    ("RNNCell hidden 0", || unit(RNNCell::new(3, 0)), "RNNCell: hidden size 0 must be positive"),
    (
        "RNNCell input width",
        || unit(RNNCell::new(3, 5)?.forward_step(&v(&[2, 4]), None)),
        "RNNCell: expected an input [batch, 3] or [3], got shape [2, 4]",
    ),
    (
        "RNNCell double",
        || unit(RNNCell::new(3, 5)?.forward_step(&w(&[2, 3]), None)),
        "RNNCell: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "RNNCell integers",
        || unit(RNNCell::new(3, 5)?.forward_step(&n(&[2, 3]), None)),
        "RNNCell: expected a floating-point input, got dtype int64",
    ),
    (
        "RNNCell batch of the state",
        || unit(RNNCell::new(3, 5)?.forward_step(&v(&[2, 3]), Some(&v(&[4, 5])))),
        "RNNCell: expected a state [2, 5], h, got shape [4, 5]",
    ),
    (
        "RNNCell on CUDA",
        || unit(RNNCell::on_device(3, 5, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    ("GRUCell hidden 0", || unit(GRUCell::new(3, 0)), "GRUCell: hidden size 0 must be positive"),
    (
        "GRUCell input width",
        || unit(GRUCell::new(3, 5)?.forward_step(&v(&[2, 4]), None)),
        "GRUCell: expected an input [batch, 3] or [3], got shape [2, 4]",
    ),
    (
        "GRUCell double",
        || unit(GRUCell::new(3, 5)?.forward_step(&w(&[2, 3]), None)),
        "GRUCell: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "GRUCell integers",
        || unit(GRUCell::new(3, 5)?.forward_step(&n(&[2, 3]), None)),
        "GRUCell: expected a floating-point input, got dtype int64",
    ),
    (
        "GRUCell batch of the state",
        || unit(GRUCell::new(3, 5)?.forward_step(&v(&[2, 3]), Some(&v(&[4, 5])))),
        "GRUCell: expected a state [2, 5], h, got shape [4, 5]",
    ),
    (
        "GRUCell on CUDA",
        || unit(GRUCell::on_device(3, 5, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    ("LSTMCell hidden 0", || unit(LSTMCell::new(3, 0)), "LSTMCell: hidden size 0 must be positive"),
    (
        "LSTMCell input width",
        || unit(LSTMCell::new(3, 5)?.forward_step(&v(&[2, 4]), None)),
        "LSTMCell: expected an input [batch, 3] or [3], got shape [2, 4]",
    ),
    (
        "LSTMCell double",
        || unit(LSTMCell::new(3, 5)?.forward_step(&w(&[2, 3]), None)),
        "LSTMCell: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "LSTMCell integers",
        || unit(LSTMCell::new(3, 5)?.forward_step(&n(&[2, 3]), None)),
        "LSTMCell: expected a floating-point input, got dtype int64",
    ),
    (
        "LSTMCell batch of the state",
        || unit(LSTMCell::new(3, 5)?.forward_step(&v(&[2, 3]), Some(&v(&[4, 5])))),
        "LSTMCell: expected a state [2, 10], h and c side by side, got shape [4, 5]",
    ),
    (
        "LSTMCell on CUDA",
        || unit(LSTMCell::on_device(3, 5, Device::CUDA(0))),
        "cuda:0 is not available: this build of flodl has no CUDA engine; use Device::CPU",
    ),
    ("RNN input 0", || unit(RNN::new(0, 5, 1)), "RNN: input size 0 must be positive"),
    (
        "RNN input width",
        || unit(RNN::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 4]), None)),
        "RNN: expected an input [seq, batch, 3] or [seq, 3], got shape [4, 2, 4]",
    ),
    (
        "RNN scalar",
        || unit(RNN::new(3, 5, 1)?.forward(&v(&[]))),
        "RNN: expected an input [seq, batch, 3] or [seq, 3], got shape []",
    ),
    (
        "RNN double",
        || unit(RNN::new(3, 5, 1)?.forward_seq(&w(&[4, 2, 3]), None)),
        "RNN: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "RNN integers",
        || unit(RNN::new(3, 5, 1)?.forward_seq(&n(&[4, 2, 3]), None)),
        "RNN: expected a floating-point input, got dtype int64",
    ),
    (
        "RNN empty sequence",
        || unit(RNN::new(3, 5, 1)?.forward_seq(&v(&[0, 2, 3]), None)),
        "RNN: expected a sequence of at least one step, got shape [0, 2, 3]",
    ),
    (
        "RNN state width",
        || unit(RNN::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 3]), Some(&v(&[1, 2, 4])))),
        "RNN: expected h_0 of [1, 2, 5], got shape [1, 2, 4]",
    ),
    ("GRU input 0", || unit(GRU::new(0, 5, 1)), "GRU: input size 0 must be positive"),
    (
        "GRU input width",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 4]), None)),
        "GRU: expected an input [seq, batch, 3] or [seq, 3], got shape [4, 2, 4]",
    ),
    (
        "GRU scalar",
        || unit(GRU::new(3, 5, 1)?.forward(&v(&[]))),
        "GRU: expected an input [seq, batch, 3] or [seq, 3], got shape []",
    ),
    (
        "GRU double",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&w(&[4, 2, 3]), None)),
        "GRU: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "GRU integers",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&n(&[4, 2, 3]), None)),
        "GRU: expected a floating-point input, got dtype int64",
    ),
    (
        "GRU empty sequence",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&v(&[0, 2, 3]), None)),
        "GRU: expected a sequence of at least one step, got shape [0, 2, 3]",
    ),
    (
        "GRU state width",
        || unit(GRU::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 3]), Some(&v(&[1, 2, 4])))),
        "GRU: expected h_0 of [1, 2, 5], got shape [1, 2, 4]",
    ),
    ("LSTM input 0", || unit(LSTM::new(0, 5, 1)), "LSTM: input size 0 must be positive"),
    (
        "LSTM input width",
        || unit(LSTM::new(3, 5, 1)?.forward_seq(&v(&[4, 2, 4]), None)),
        "LSTM: expected an input [seq, batch, 3] or [seq, 3], got shape [4, 2, 4]",
    ),
    (
        "LSTM scalar",
        || unit(LSTM::new(3, 5, 1)?.forward(&v(&[]))),
        "LSTM: expected an input [seq, batch, 3] or [seq, 3], got shape []",
    ),
    (
        "LSTM double",
        || unit(LSTM::new(3, 5, 1)?.forward_seq(&w(&[4, 2, 3]), None)),
        "LSTM: dtypes float64 and float32 do not mix; cast one with to_dtype",
    ),
    (
        "LSTM integers",
        || unit(LSTM::new(3, 5, 1)?.forward_seq(&n(&[4, 2, 3]), None)),
        "LSTM: expected a floating-point input, got dtype int64",
    ),
    (
        "LSTM empty sequence",
        || unit(LSTM::new(3, 5, 1)?.forward_seq(&v(&[0, 2, 3]), None)),
        "LSTM: expected a sequence of at least one step, got shape [0, 2, 3]",
    ),
    (
        "LSTM state width",
        || {
            unit(
                LSTM::new(3, 5, 1)?
                    .forward_seq(&v(&[4, 2, 3]), Some((&v(&[1, 2, 4]), &v(&[1, 2, 4])))),
            )
        },
        "LSTM: expected h_0 of [1, 2, 5], got shape [1, 2, 4]",
    ),
];
