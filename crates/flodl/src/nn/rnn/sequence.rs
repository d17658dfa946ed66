//! Layers that run whole sequences.

use std::cell::Cell;
use std::rc::Rc;

use super::{suffix, uniform_params};
use crate::autograd::ops::rnn::network;
use crate::backend::RnnMode;
use crate::nn::{Module, Parameter};
use crate::{Device, Error, Result, RnnOptions, Variable};

/// What the layers have in common. A clone shares weights and mode.
#[derive(Clone, Debug)]
struct Core {
    name: &'static str,
    mode: RnnMode,
    input_size: i64,
    hidden_size: i64,
    num_layers: usize,
    bias: bool,
    batch_first: bool,
    bidirectional: bool,
    dropout: f64,
    params: Vec<Parameter>,
    training: Rc<Cell<bool>>,
}

impl Core {
    /// Output, last h, and of an LSTM last c.
    fn run(&self, x: &Variable, states: [Option<&Variable>; 2]) -> Result<Vec<Variable>> {
        let shape = x.shape();
        let i = self.input_size;
        if !matches!(shape.len(), 2 | 3) || shape.last() != Some(&i) {
            let batched = if self.batch_first { "[batch, seq" } else { "[seq, batch" };
            return Err(Error::Shape {
                op: self.name,
                expected: format!("an input {batched}, {i}] or [seq, {i}]"),
                got: shape,
            });
        }
        let seq = if self.batch_first && shape.len() == 3 { 1 } else { 0 };
        if shape[seq] == 0 {
            return Err(Error::Shape {
                op: self.name,
                expected: "a sequence of at least one step".into(),
                got: shape,
            });
        }
        let runs = self.num_layers as i64 * self.directions();
        let mut want = vec![runs, self.hidden_size];
        if shape.len() == 3 {
            want.insert(1, shape[1 - seq]);
        }
        for (name, state) in ["h_0", "c_0"].into_iter().zip(states) {
            if let Some(state) = state
                && state.shape() != want
            {
                return Err(Error::Shape {
                    op: self.name,
                    expected: format!("{name} of {want:?}"),
                    got: state.shape(),
                });
            }
        }
        if shape.len() == 2 {
            let batch = if self.batch_first { 0 } else { 1 };
            let [h, c] = states.map(|s| s.map(|s| s.unsqueeze(1)).transpose());
            let (h, c) = (h?, c?);
            let out = self.run(&x.unsqueeze(batch)?, [h.as_ref(), c.as_ref()])?;
            let dims = [batch, 1, 1];
            return out.iter().zip(dims).map(|(v, d)| v.squeeze(d)).collect();
        }
        let params: Vec<&Variable> = self.params.iter().map(|p| &p.variable).collect();
        let options = RnnOptions {
            num_layers: self.num_layers,
            bidirectional: self.bidirectional,
            batch_first: self.batch_first,
            dropout: self.dropout,
            training: self.training.get(),
        };
        network(self.name, self.mode, x, states, &params, &options)
    }

    fn directions(&self) -> i64 {
        if self.bidirectional { 2 } else { 1 }
    }

    fn hash(&self) -> String {
        format!(
            "{}({}, {}, layers {}, bias {}, batch_first {}, bidirectional {}, dropout {}{})",
            self.name,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.batch_first,
            self.bidirectional,
            self.dropout,
            suffix(self.mode)
        )
    }
}

/// Settings of a recurrent layer; `done` makes it.
#[derive(Clone, Debug)]
pub struct RnnBuilder<L> {
    core: Core,
    device: Device,
    make: fn(Core) -> L,
}

impl<L> RnnBuilder<L> {
    fn new(
        make: fn(Core) -> L,
        name: &'static str,
        mode: RnnMode,
        input_size: i64,
        hidden_size: i64,
    ) -> Self {
        RnnBuilder {
            core: Core {
                name,
                mode,
                input_size,
                hidden_size,
                num_layers: 1,
                bias: true,
                batch_first: false,
                bidirectional: false,
                dropout: 0.0,
                params: Vec::new(),
                training: Rc::new(Cell::new(true)),
            },
            device: Device::CPU,
            make,
        }
    }

    /// Layers on top of each other; 1 unless set.
    pub fn with_layers(mut self, num_layers: usize) -> Self {
        self.core.num_layers = num_layers;
        self
    }

    /// Whether input and output are `[batch, seq, …]`; off unless set.
    pub fn with_batch_first(mut self, batch_first: bool) -> Self {
        self.core.batch_first = batch_first;
        self
    }

    /// Whether each layer also runs backwards, its outputs beside the others; off unless set.
    pub fn with_bidirectional(mut self, bidirectional: bool) -> Self {
        self.core.bidirectional = bidirectional;
        self
    }

    /// Share of each layer's output but the last's that is dropped in training; 0 unless set.
    pub fn with_dropout(mut self, p: f64) -> Self {
        self.core.dropout = p;
        self
    }

    /// Leaves out the biases.
    pub fn without_bias(mut self) -> Self {
        self.core.bias = false;
        self
    }

    /// The device of the weights; the CPU unless set.
    pub fn on_device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Makes the layer.
    ///
    /// # Errors
    /// When a size is not positive, the dropout is outside `[0, 1]` or the device cannot be used.
    pub fn done(mut self) -> Result<L> {
        let core = &mut self.core;
        if core.num_layers == 0 {
            return Err(Error::invalid(core.name, "number of layers 0 must be positive"));
        }
        if !(0.0..=1.0).contains(&core.dropout) {
            let what = format!("dropout probability {} is outside [0, 1]", core.dropout);
            return Err(Error::invalid(core.name, what));
        }
        let mut input = core.input_size;
        for layer in 0..core.num_layers {
            for end in &["", "_reverse"][..core.directions() as usize] {
                core.params.extend(uniform_params(
                    core.name,
                    core.mode,
                    input,
                    core.hidden_size,
                    core.bias,
                    self.device,
                    &format!("_l{layer}{end}"),
                )?);
            }
            input = core.directions().checked_mul(core.hidden_size).unwrap_or(i64::MAX);
        }
        Ok((self.make)(self.core))
    }
}

macro_rules! sequence_layer {
    ($name:ident, $text:literal, $mode:expr) => {
        impl $name {
            /// With biases, sequence first, on the CPU.
            ///
            /// # Errors
            /// When a size is not positive.
            pub fn new(input_size: i64, hidden_size: i64, num_layers: usize) -> Result<Self> {
                Self::configure(input_size, hidden_size).with_layers(num_layers).done()
            }

            /// Like `new`, on a device, and batch first if so wished.
            ///
            /// # Errors
            /// When a size is not positive or the device cannot be used.
            pub fn on_device(
                input_size: i64,
                hidden_size: i64,
                num_layers: usize,
                batch_first: bool,
                device: Device,
            ) -> Result<Self> {
                Self::configure(input_size, hidden_size)
                    .with_layers(num_layers)
                    .with_batch_first(batch_first)
                    .on_device(device)
                    .done()
            }

            /// Starts a fluent description that `done` ends.
            pub fn configure(input_size: i64, hidden_size: i64) -> RnnBuilder<$name> {
                RnnBuilder::new($name, $text, $mode, input_size, hidden_size)
            }

            /// Whether input and output are `[batch, seq, …]`.
            pub fn batch_first(mut self, batch_first: bool) -> Self {
                self.0.batch_first = batch_first;
                self
            }

            /// Features of the input.
            pub fn input_size(&self) -> i64 {
                self.0.input_size
            }

            /// Features of the state of one direction.
            pub fn hidden_size(&self) -> i64 {
                self.0.hidden_size
            }

            /// Layers on top of each other.
            pub fn num_layers(&self) -> usize {
                self.0.num_layers
            }

            /// Whether each layer also runs backwards.
            pub fn is_bidirectional(&self) -> bool {
                self.0.bidirectional
            }
        }

        impl Module for $name {
            /// The output of the whole sequence, from states of zeros.
            fn forward(&self, input: &Variable) -> Result<Variable> {
                Ok(self.0.run(input, [None, None])?.remove(0))
            }

            fn parameters(&self) -> Vec<Parameter> {
                self.0.params.clone()
            }

            fn name(&self) -> &str {
                $text
            }

            fn set_training(&self, training: bool) {
                self.0.training.set(training);
            }

            fn structural_hash(&self) -> Option<String> {
                Some(self.0.hash())
            }

            fn identity(&self) -> Option<usize> {
                Some(self.0.params[0].variable.id())
            }
        }
    };
}

/// A gated recurrent network of one or more layers over whole sequences; the cell is
/// [`crate::GRUCell`]'s (Cho et al., 2014).
///
/// Input `[seq, batch, input]`, or `[batch, seq, input]` with `batch_first`, or `[seq, input]`;
/// output with `directions · hidden` features. Parameters of layer k, uniform in ±1/√hidden:
/// `weight_ih_lk`, `weight_hh_lk`, `bias_ih_lk`, `bias_hh_lk`, and for the other direction the
/// same with `_reverse`. The whole sequence through all layers is one fused operation, the dropout
/// between them included. A clone shares the weights; [`Module::forward`] gives the output alone.
///
/// ```
/// use flodl::*;
/// let gru = GRU::new(128, 256, 2)?;
/// let x = Variable::new(Tensor::randn(&[5, 3, 128], TensorOptions::default())?, false);
/// let (output, h_n) = gru.forward_seq(&x, None)?;
/// assert_eq!((output.shape(), h_n.shape()), (vec![5, 3, 256], vec![2, 3, 256]));
///
/// let both = GRU::configure(128, 64).with_bidirectional(true).with_dropout(0.1).done()?;
/// assert_eq!(both.forward(&x)?.shape(), [5, 3, 128]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GRU(Core);
sequence_layer!(GRU, "GRU", RnnMode::Gru);

impl GRU {
    /// Output and last state `[layers · directions, batch, hidden]` from a first state of that
    /// shape (zeros if `None`).
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_seq(
        &self,
        input: &Variable,
        h_0: Option<&Variable>,
    ) -> Result<(Variable, Variable)> {
        two(self.0.run(input, [h_0, None])?)
    }
}

/// A long short-term memory of one or more layers over whole sequences; the cell is
/// [`crate::LSTMCell`]'s (Hochreiter and Schmidhuber, 1997).
///
/// Shapes, parameters and the rest as for [`GRU`].
///
/// ```
/// use flodl::*;
/// let lstm = LSTM::new(128, 256, 2)?.batch_first(true);
/// let x = Variable::new(Tensor::randn(&[3, 5, 128], TensorOptions::default())?, false);
/// let (output, (h_n, c_n)) = lstm.forward_seq(&x, None)?;
/// assert_eq!((output.shape(), h_n.shape()), (vec![3, 5, 256], vec![2, 3, 256]));
/// let (_, _) = lstm.forward_seq(&x, Some((&h_n, &c_n)))?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LSTM(Core);
sequence_layer!(LSTM, "LSTM", RnnMode::Lstm);

impl LSTM {
    /// Output and last states h and c, each `[layers · directions, batch, hidden]`, from first
    /// states of that shape (zeros if `None`).
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_seq(
        &self,
        input: &Variable,
        state_0: Option<(&Variable, &Variable)>,
    ) -> Result<(Variable, (Variable, Variable))> {
        let states = [state_0.map(|s| s.0), state_0.map(|s| s.1)];
        let mut out = self.0.run(input, states)?;
        let output = out.remove(0);
        Ok((output, two(out)?))
    }
}

/// A plain recurrent network of one or more layers over whole sequences, with tanh or ReLU; the
/// cell is [`crate::RNNCell`]'s (Elman, 1990).
///
/// Shapes, parameters and the rest as for [`GRU`].
///
/// ```
/// use flodl::*;
/// let rnn = RNN::new(8, 16, 1)?.nonlinearity("relu")?;
/// let x = Variable::new(Tensor::randn(&[5, 3, 8], TensorOptions::default())?, false);
/// let (output, h_n) = rnn.forward_seq(&x, None)?;
/// assert_eq!((output.shape(), h_n.shape()), (vec![5, 3, 16], vec![1, 3, 16]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RNN(Core);
sequence_layer!(RNN, "RNN", RnnMode::Tanh);

impl RNN {
    /// With `"tanh"`, the default, or `"relu"`.
    ///
    /// # Errors
    /// For any other name.
    pub fn nonlinearity(mut self, name: &str) -> Result<Self> {
        self.0.mode = super::nonlinearity("RNN", name)?;
        Ok(self)
    }

    /// Output and last state, as [`GRU::forward_seq`].
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_seq(
        &self,
        input: &Variable,
        h_0: Option<&Variable>,
    ) -> Result<(Variable, Variable)> {
        two(self.0.run(input, [h_0, None])?)
    }
}

fn two(v: Vec<Variable>) -> Result<(Variable, Variable)> {
    let mut v = v.into_iter();
    Ok((v.next().expect("the first of two"), v.next().expect("the second of two")))
}
