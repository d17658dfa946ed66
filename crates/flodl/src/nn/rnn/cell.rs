//! Cells: one step at a time.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::{suffix, uniform_params};
use crate::autograd::ops::rnn::{CellState, cell};
use crate::autograd::ops::rnn_sums::Shared;
use crate::backend::RnnMode;
use crate::nn::{Module, Parameter};
use crate::tensor::CellSpec;
use crate::{DType, Device, Error, Result, Variable, is_grad_enabled};

/// The packed form of the weights as it was last made.
///
/// While the tape records, only the steps on the tape hold the form, and with it the weights'
/// values: the optimizer finds weights that no one else holds, and works in place.
#[derive(Debug, Default)]
enum Cache {
    #[default]
    Empty,
    Tape(Weak<Shared>),
    Kept(Rc<Shared>),
}

/// What the cells have in common. A clone shares the weights.
#[derive(Clone, Debug)]
struct Core {
    name: &'static str,
    mode: RnnMode,
    input_size: i64,
    hidden_size: i64,
    /// weight_ih, weight_hh, and unless left out bias_ih, bias_hh.
    params: Vec<Parameter>,
    cache: Rc<RefCell<Cache>>,
}

impl Core {
    fn new(
        name: &'static str,
        mode: RnnMode,
        input_size: i64,
        hidden_size: i64,
        bias: bool,
        device: Device,
    ) -> Result<Self> {
        let params = uniform_params(name, mode, input_size, hidden_size, bias, device, "")?;
        Ok(Core { name, mode, input_size, hidden_size, params, cache: Rc::default() })
    }

    /// The packed weights, made anew if the weights have changed.
    fn packed(&self, recording: bool) -> Result<Rc<Shared>> {
        let (w_ih, w_hh) = (&self.params[0].variable, &self.params[1].variable);
        let fits = |p: &Shared| w_ih.with_data(|a| w_hh.with_data(|b| p.weights.is_of(a, b)));
        let mut cache = self.cache.borrow_mut();
        let known = match &*cache {
            Cache::Empty => None,
            Cache::Tape(weak) => weak.upgrade(),
            Cache::Kept(packed) => Some(packed.clone()),
        };
        let packed = match known.filter(|p| fits(p)) {
            Some(packed) => packed,
            None => Rc::new(w_ih.with_data(|a| w_hh.with_data(|b| Shared::new(a, b)))?),
        };
        *cache = match recording {
            true => Cache::Tape(Rc::downgrade(&packed)),
            false => Cache::Kept(packed.clone()),
        };
        Ok(packed)
    }

    /// A step from `[B, input]` or, without a batch, `[input]`.
    fn step(&self, x: &Variable, state: Option<&Variable>) -> Result<Variable> {
        let (width, parts) = match self.mode.has_cell() {
            true => (2 * self.hidden_size, "h and c side by side"),
            false => (self.hidden_size, "h"),
        };
        let shape = x.shape();
        if !matches!(shape.len(), 1 | 2) || shape.last() != Some(&self.input_size) {
            return Err(Error::Shape {
                op: self.name,
                expected: format!("an input [batch, {0}] or [{0}]", self.input_size),
                got: shape,
            });
        }
        let mut want = shape.clone();
        want[shape.len() - 1] = width;
        if let Some(state) = state
            && state.shape() != want
        {
            return Err(Error::Shape {
                op: self.name,
                expected: format!("a state {want:?}, {parts}"),
                got: state.shape(),
            });
        }
        if shape.len() == 1 {
            let state = state.map(|s| s.unsqueeze(0)).transpose()?;
            return self.step(&x.unsqueeze(0)?, state.as_ref())?.squeeze(0);
        }
        let params: Vec<&Variable> = self.params.iter().map(|p| &p.variable).collect();
        let recording = is_grad_enabled()
            && (x.requires_grad()
                || state.is_some_and(Variable::requires_grad)
                || params.iter().any(|p| p.requires_grad()));
        let spec = CellSpec { op: self.name, mode: self.mode };
        let computes = matches!(params[0].dtype(), DType::Float32 | DType::Float64);
        let packed = if computes { Some(self.packed(recording)?) } else { None };
        let state = match state {
            None => CellState::Zeros,
            Some(state) if self.mode.has_cell() => CellState::Joint(state),
            Some(h) => CellState::Parts([Some(h), None]),
        };
        let new = cell(spec, x, state, &params, true, packed)?;
        Ok(new.into_iter().next().expect("a cell gives back one state for each it takes"))
    }

    fn hash(&self) -> String {
        let bias = self.params.len() > 2;
        let end = suffix(self.mode);
        format!("{}({}, {}, bias {bias}{end})", self.name, self.input_size, self.hidden_size)
    }
}

macro_rules! cell_module {
    ($name:ident, $text:literal, $mode:expr) => {
        impl $name {
            /// With biases, on the CPU.
            ///
            /// # Errors
            /// When a size is not positive.
            pub fn new(input_size: i64, hidden_size: i64) -> Result<Self> {
                Self::on_device(input_size, hidden_size, Device::CPU)
            }

            /// With biases, on a device.
            ///
            /// # Errors
            /// When a size is not positive or the device cannot be used.
            pub fn on_device(input_size: i64, hidden_size: i64, device: Device) -> Result<Self> {
                Core::new($text, $mode, input_size, hidden_size, true, device).map(Self)
            }

            /// Without biases, on the CPU.
            ///
            /// # Errors
            /// When a size is not positive.
            pub fn no_bias(input_size: i64, hidden_size: i64) -> Result<Self> {
                Self::no_bias_on_device(input_size, hidden_size, Device::CPU)
            }

            /// Without biases, on a device.
            ///
            /// # Errors
            /// When a size is not positive or the device cannot be used.
            pub fn no_bias_on_device(
                input_size: i64,
                hidden_size: i64,
                device: Device,
            ) -> Result<Self> {
                Core::new($text, $mode, input_size, hidden_size, false, device).map(Self)
            }

            /// Features of the input.
            pub fn input_size(&self) -> i64 {
                self.0.input_size
            }

            /// Features of the state.
            pub fn hidden_size(&self) -> i64 {
                self.0.hidden_size
            }
        }

        impl Module for $name {
            /// One step from a state of zeros.
            fn forward(&self, input: &Variable) -> Result<Variable> {
                self.forward_step(input, None)
            }

            fn parameters(&self) -> Vec<Parameter> {
                self.0.params.clone()
            }

            fn name(&self) -> &str {
                $text
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

/// A cell of a gated recurrent network (Cho et al., 2014): with reset gate r and update gate z,
/// n = tanh(W x + b + r · (U h + c)) and h' = (1 - z) · n + z · h.
///
/// Parameters, uniform in ±1/√hidden: `weight_ih` `[3H, input]`, `weight_hh` `[3H, H]`, `bias_ih`
/// and `bias_hh` `[3H]`, gates in the order r, z, n. A step is one fused operation. A clone shares
/// the weights; [`Module::forward`] is a step from a state of zeros.
///
/// ```
/// use flodl::*;
/// let gru = GRUCell::new(128, 256)?;
/// let x = Variable::new(Tensor::randn(&[32, 128], TensorOptions::default())?, false);
/// let h = gru.forward_step(&x, None)?; // h starts as zeros
/// let h = gru.forward_step(&x, Some(&h))?;
/// assert_eq!(h.shape(), [32, 256]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GRUCell(Core);
cell_module!(GRUCell, "GRUCell", RnnMode::Gru);

impl GRUCell {
    /// One step: input `[B, input]`, state `[B, hidden]` (zeros if `None`), new state
    /// `[B, hidden]`; all may come without the batch.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_step(&self, x: &Variable, h: Option<&Variable>) -> Result<Variable> {
        self.0.step(x, h)
    }
}

/// A cell of a long short-term memory (Hochreiter and Schmidhuber, 1997): with input, forget and
/// output gates i, f, o, c' = f · c + i · tanh(g) and h' = o · tanh(c').
///
/// The state is one value `[B, 2 · hidden]`: h in the first `hidden` columns, c in the others
/// ([`LSTMCell::split_state`]). Parameters, uniform in ±1/√hidden: `weight_ih` `[4H, input]`,
/// `weight_hh` `[4H, H]`, `bias_ih` and `bias_hh` `[4H]`, gates in the order i, f, g, o. A step is
/// one fused operation. A clone shares the weights; [`Module::forward`] is a step from a state of
/// zeros.
///
/// ```
/// use flodl::*;
/// let lstm = LSTMCell::new(128, 256)?;
/// let x = Variable::new(Tensor::randn(&[32, 128], TensorOptions::default())?, false);
/// let state = lstm.forward_step(&x, None)?; // h and c start as zeros
/// let state = lstm.forward_step(&x, Some(&state))?;
/// let (h, c) = lstm.split_state(&state)?;
/// assert_eq!((h.shape(), c.shape()), (vec![32, 256], vec![32, 256]));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LSTMCell(Core);
cell_module!(LSTMCell, "LSTMCell", RnnMode::Lstm);

impl LSTMCell {
    /// One step: input `[B, input]`, state `[B, 2 · hidden]` (zeros if `None`), new state
    /// `[B, 2 · hidden]`; all may come without the batch.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_step(&self, x: &Variable, state: Option<&Variable>) -> Result<Variable> {
        self.0.step(x, state)
    }

    /// h and c of a state, each `[B, hidden]`.
    ///
    /// # Errors
    /// When the state is not `[…, 2 · hidden]`.
    pub fn split_state(&self, state: &Variable) -> Result<(Variable, Variable)> {
        let n = self.0.hidden_size;
        if state.shape().last() != Some(&(2 * n)) {
            return Err(Error::Shape {
                op: "LSTMCell",
                expected: format!("a state [..., {}], h and c side by side", 2 * n),
                got: state.shape(),
            });
        }
        Ok((state.narrow(-1, 0, n)?, state.narrow(-1, n, n)?))
    }

    /// The state made of h and c.
    ///
    /// # Errors
    /// When their shapes differ.
    pub fn join_state(&self, h: &Variable, c: &Variable) -> Result<Variable> {
        h.cat(c, -1)
    }
}

/// A cell of a plain recurrent network (Elman, 1990): h' = tanh(W x + b + U h + c), or with ReLU
/// in place of tanh.
///
/// Parameters, uniform in ±1/√hidden: `weight_ih` `[H, input]`, `weight_hh` `[H, H]`, `bias_ih` and
/// `bias_hh` `[H]`. A clone shares the weights; [`Module::forward`] is a step from a state of
/// zeros.
///
/// ```
/// use flodl::*;
/// let cell = RNNCell::new(10, 20)?.nonlinearity("relu")?;
/// let x = Variable::new(Tensor::randn(&[3, 10], TensorOptions::default())?, false);
/// let h = cell.forward_step(&x, None)?;
/// assert_eq!(cell.forward_step(&x, Some(&h))?.shape(), [3, 20]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RNNCell(Core);
cell_module!(RNNCell, "RNNCell", RnnMode::Tanh);

impl RNNCell {
    /// With `"tanh"`, the default, or `"relu"`.
    ///
    /// # Errors
    /// For any other name.
    pub fn nonlinearity(mut self, name: &str) -> Result<Self> {
        self.0.mode = super::nonlinearity("RNNCell", name)?;
        Ok(self)
    }

    /// One step: input `[B, input]`, state `[B, hidden]` (zeros if `None`), new state
    /// `[B, hidden]`; all may come without the batch.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward_step(&self, x: &Variable, h: Option<&Variable>) -> Result<Variable> {
        self.0.step(x, h)
    }
}
