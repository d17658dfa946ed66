//! Recurrent layers: cells that step ([`cell`]) and whole sequences ([`sequence`]).

mod cell;
mod sequence;

pub use cell::{GRUCell, LSTMCell, RNNCell};
pub use sequence::{GRU, LSTM, RNN, RnnBuilder};

use super::{Parameter, init};
use crate::backend::RnnMode;
use crate::{Device, Error, Result};

/// The mode that a nonlinearity's name means.
fn nonlinearity(op: &'static str, name: &str) -> Result<RnnMode> {
    match name {
        "tanh" => Ok(RnnMode::Tanh),
        "relu" => Ok(RnnMode::Relu),
        other => Err(Error::invalid(
            op,
            format!("nonlinearity {other:?}; there are \"tanh\" and \"relu\""),
        )),
    }
}

/// What a mode adds to the name of its layer in a structural hash.
fn suffix(mode: RnnMode) -> &'static str {
    if mode == RnnMode::Relu { ", relu" } else { "" }
}

/// Weights and biases of one direction of one layer, as PyTorch draws them.
fn uniform_params(
    op: &'static str,
    mode: RnnMode,
    input: i64,
    hidden: i64,
    bias: bool,
    device: Device,
    suffix: &str,
) -> Result<Vec<Parameter>> {
    for (name, size) in [("input size", input), ("hidden size", hidden)] {
        if size < 1 {
            return Err(Error::invalid(op, format!("{name} {size} must be positive")));
        }
    }
    let bound = 1.0 / (hidden as f64).sqrt();
    let rows = (mode.gates() as i64).checked_mul(hidden).ok_or_else(|| {
        Error::invalid(op, format!("hidden size {hidden} is more than memory can address"))
    })?;
    let shapes: [(&str, Vec<i64>); 4] = [
        ("weight_ih", vec![rows, input]),
        ("weight_hh", vec![rows, hidden]),
        ("bias_ih", vec![rows]),
        ("bias_hh", vec![rows]),
    ];
    let count = if bias { 4 } else { 2 };
    shapes[..count]
        .iter()
        .map(|(name, shape)| {
            let values = init::uniform(shape, -bound, bound, device)?;
            Ok(Parameter::new(values, &format!("{name}{suffix}")))
        })
        .collect()
}
