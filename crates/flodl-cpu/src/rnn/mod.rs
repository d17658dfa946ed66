//! Recurrent networks: a single step of a cell, and whole sequences through all layers and
//! directions in one call.
//!
//! Both are matrix products and the same fused gates (`gates`). A sequence computes the input
//! products of all steps at once, then step by step the recurrent product, whose weight is packed
//! once, and the gates; its backward runs the steps in reverse and computes the gradients of the
//! weights at the end, over all steps at once. Sequences are time-major: `[steps, batch, …]`.
//!
//! Gates stand in PyTorch's order: reset, update, new (GRU), input, forget, cell, output (LSTM).

mod cell;
mod gates;
mod sequence;
#[cfg(test)]
mod tests;

pub use cell::{
    CellGeom, CellGrads, CellWeights, State, cell_backward, cell_forward, cell_weight_grads,
};
pub use sequence::{Reserve, SequenceGrads, sequence_backward, sequence_forward};

use std::sync::OnceLock;

use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Gemm, Mat, PackedB, gemm, gemm_packed};
use crate::math::FloatMath;
use crate::random::{ALIGN, Key};

/// Types that recurrent networks are computed in.
pub trait Float: Gemm + FloatMath {}
impl<T: Gemm + FloatMath> Float for T {}

/// The kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// h' = max(0, W x + b + U h + c).
    Relu,
    /// h' = tanh(W x + b + U h + c) (Elman, 1990).
    Tanh,
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997).
    Lstm,
    /// Gated recurrent unit (Cho et al., 2014), with the reset gate after the product.
    Gru,
}

impl Mode {
    /// Rows of the weights are this many times the hidden size.
    pub fn gates(self) -> usize {
        match self {
            Mode::Tanh | Mode::Relu => 1,
            Mode::Gru => 3,
            Mode::Lstm => 4,
        }
    }

    /// What a step keeps for its backward, besides its states, is this many times the hidden size.
    pub fn width(self) -> usize {
        match self {
            Mode::Tanh | Mode::Relu => 1,
            Mode::Gru | Mode::Lstm => 4,
        }
    }

    /// Whether there is a cell state.
    pub fn has_cell(self) -> bool {
        self == Mode::Lstm
    }
}

/// Sizes of a recurrent network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RnnGeom {
    /// The kind of cell.
    pub mode: Mode,
    /// Length of the sequence.
    pub steps: usize,
    /// Sequences at once.
    pub batch: usize,
    /// Size of the input of the first layer.
    pub input: usize,
    /// Size of the state.
    pub hidden: usize,
    /// Layers on top of each other.
    pub layers: usize,
    /// 1, or 2 with a second one that runs backwards.
    pub directions: usize,
    /// What of each layer's output but the last's is dropped before the next layer reads it, and
    /// the first of the [`RnnGeom::draws`] numbers that say where.
    pub dropout: Option<(f64, Key)>,
}

impl RnnGeom {
    /// Size of the input of a layer.
    pub fn layer_input(&self, layer: usize) -> usize {
        if layer == 0 { self.input } else { self.directions * self.hidden }
    }

    /// Steps times batch.
    pub fn rows(&self) -> usize {
        self.steps * self.batch
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.rows() * self.directions * self.hidden
    }

    /// Numbers that the dropout of one call draws.
    pub fn draws(&self) -> usize {
        self.layers.saturating_sub(1) * self.out_len().next_multiple_of(ALIGN)
    }

    /// The dropout of the input of a layer: none for the first.
    pub fn layer_dropout(&self, layer: usize) -> Option<(f64, Key)> {
        let below = layer.checked_sub(1)?;
        let (p, key) = self.dropout?;
        Some((p, key.skip((below * self.out_len().next_multiple_of(ALIGN)) as u64)))
    }

    /// Elements of a state of all layers and directions.
    pub fn state_len(&self) -> usize {
        self.layers * self.directions * self.batch * self.hidden
    }
}

/// Weights of one direction of one layer: `w_ih` `[gates · hidden, input]`, `w_hh`
/// `[gates · hidden, hidden]`, biases `[gates · hidden]`.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T> {
    /// From the input.
    pub w_ih: &'a [T],
    /// From the state.
    pub w_hh: &'a [T],
    /// Added to the input's product.
    pub b_ih: Option<&'a [T]>,
    /// Added to the state's product.
    pub b_hh: Option<&'a [T]>,
}

impl<T> Weights<'_, T> {
    fn check(&self, mode: Mode, input: usize, hidden: usize) {
        let rows = mode.gates() * hidden;
        assert!(self.w_ih.len() == rows * input, "rnn: length of w_ih");
        assert!(self.w_hh.len() == rows * hidden, "rnn: length of w_hh");
        assert!(self.b_ih.is_none_or(|b| b.len() == rows), "rnn: length of b_ih");
        assert!(self.b_hh.is_none_or(|b| b.len() == rows), "rnn: length of b_hh");
    }
}

/// Gradients of [`Weights`]; `None` where not wanted.
#[derive(Debug)]
pub struct WeightGrads<'a, T> {
    /// Of `w_ih`.
    pub w_ih: Option<&'a mut [T]>,
    /// Of `w_hh`.
    pub w_hh: Option<&'a mut [T]>,
    /// Of `b_ih`.
    pub b_ih: Option<&'a mut [T]>,
    /// Of `b_hh`.
    pub b_hh: Option<&'a mut [T]>,
    /// Whether each of these, in this order, is added to instead of overwritten.
    pub accumulate: [bool; 4],
}

impl<T: Float> WeightGrads<'_, T> {
    fn check(&self, w: &Weights<T>, rows: usize) {
        let fits = |g: &Option<&mut [T]>, len: usize| g.as_ref().is_none_or(|g| g.len() == len);
        let matrices = fits(&self.w_ih, w.w_ih.len()) && fits(&self.w_hh, w.w_hh.len());
        assert!(matrices && fits(&self.b_ih, rows) && fits(&self.b_hh, rows), "rnn: gradients");
    }

    fn zero(&mut self) {
        let all = [&mut self.w_ih, &mut self.w_hh, &mut self.b_ih, &mut self.b_hh];
        for (g, add) in all.into_iter().zip(self.accumulate) {
            if let (Some(g), false) = (g, add) {
                g.fill(T::ZERO);
            }
        }
    }
}

/// Products of at most this many rows read a weight as it is: packing would cost more.
const FEW_ROWS: usize = 3;

/// A right-hand matrix that is packed when it is first used.
struct Packed<T: 'static>(OnceLock<PackedB<T>>);

impl<T: Float> Packed<T> {
    fn new() -> Self {
        Packed(OnceLock::new())
    }

    /// For products of about `m` rows.
    fn get(&self, m: usize, k: usize, n: usize, b: Mat<T>) -> Result<&PackedB<T>, OutOfMemory> {
        if let Some(packed) = self.0.get() {
            return Ok(packed);
        }
        let packed = PackedB::new(m, k, n, b)?;
        Ok(self.0.get_or_init(|| packed))
    }
}

/// C (+)= A B with B k×n, from a packed B if there are rows enough.
fn product<T: Float>(
    (m, n, k): (usize, usize, usize),
    a: Mat<T>,
    b: Mat<T>,
    packed: Option<&Packed<T>>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) -> Result<(), OutOfMemory> {
    match packed {
        Some(packed) if m > FEW_ROWS => gemm_packed(m, a, packed.get(m, k, n, b)?, c, ldc, ep),
        _ => gemm(m, n, k, a, b, c, ldc, ep),
    }
}

/// The bias of the input's product: a GRU's recurrent product keeps its own, elsewhere it is in.
fn input_bias<T: Float>(
    mode: Mode,
    w: &Weights<T>,
) -> Result<(Option<Scratch<T>>, bool), OutOfMemory> {
    match (w.b_ih, w.b_hh) {
        (Some(i), Some(h)) if mode != Mode::Gru => {
            let mut sum = Scratch::new(i.len())?;
            for ((sum, &i), &h) in sum.iter_mut().zip(i).zip(h) {
                *sum = i + h;
            }
            Ok((Some(sum), true))
        }
        (None, Some(h)) if mode != Mode::Gru => {
            let mut sum = Scratch::new(h.len())?;
            sum.copy_from_slice(h);
            Ok((Some(sum), true))
        }
        _ => Ok((None, false)),
    }
}

/// Elements from a row of gradients of sums to the next. Rows that are multiples of a page apart
/// would fall into the same few lines of the cache.
fn gradient_ld<T>(width: usize) -> usize {
    if (width * size_of::<T>()).is_multiple_of(4096) { width + 64 / size_of::<T>() } else { width }
}

/// The products of the gradients of the sums, which cells and sequences share: `d` has `rows` rows
/// of `width · hidden`, [`gradient_ld`] apart (see [`gates::Backward::d`]).
struct Finish<'a, T> {
    mode: Mode,
    rows: usize,
    input: usize,
    hidden: usize,
    d: &'a [T],
}

impl<T: Float> Finish<'_, T> {
    fn ld(&self) -> usize {
        gradient_ld::<T>(self.mode.width() * self.hidden)
    }

    /// Blocks of the input product's gradient: first column in `d`, first row of the weight, rows.
    fn input_blocks(&self) -> ([(usize, usize, usize); 2], usize) {
        let n = self.hidden;
        match self.mode {
            Mode::Gru => ([(0, 0, 2 * n), (3 * n, 2 * n, n)], 2),
            mode => ([(0, 0, mode.gates() * n), (0, 0, 0)], 1),
        }
    }

    /// Gradient of the input: `[rows, input]`, added to if `accumulate`.
    fn input(
        &self,
        w_ih: &[T],
        packed: Option<&[Packed<T>; 2]>,
        dx: &mut [T],
        accumulate: bool,
    ) -> Result<(), OutOfMemory> {
        let (blocks, count) = self.input_blocks();
        for (i, &(col, row, len)) in blocks[..count].iter().enumerate() {
            let a = Mat::row_major(self.d.get(col..).unwrap_or(&[]), self.ld());
            let b = Mat::row_major(w_ih.get(row * self.input..).unwrap_or(&[]), self.input);
            let ep = Epilogue { accumulate: accumulate || i > 0, ..Epilogue::default() };
            let size = (self.rows, self.input, len);
            product(size, a, b, packed.map(|p| &p[i]), dx, self.input, &ep)?;
        }
        Ok(())
    }

    /// Gradient of the input's weight from the input `[rows, input]`.
    fn w_ih(&self, x: &[T], dw: &mut [T], accumulate: bool) -> Result<(), OutOfMemory> {
        let (blocks, count) = self.input_blocks();
        for &(col, row, len) in &blocks[..count] {
            let a = Mat::row_major(self.d.get(col..).unwrap_or(&[]), self.ld()).t();
            let b = Mat::row_major(x, self.input);
            let dw = &mut dw[row * self.input..];
            let ep = Epilogue { accumulate, ..Epilogue::default() };
            gemm(len, self.input, self.rows, a, b, dw, self.input, &ep)?;
        }
        Ok(())
    }

    /// Gradient of the state's weight from `rows` of states, for the rows of `d` from `first` on.
    fn w_hh(
        &self,
        first: usize,
        rows: usize,
        h: Mat<T>,
        dw: &mut [T],
        accumulate: bool,
    ) -> Result<(), OutOfMemory> {
        let n = self.hidden;
        let a = Mat::row_major(self.d.get(first * self.ld()..).unwrap_or(&[]), self.ld()).t();
        let ep = Epilogue { accumulate, ..Epilogue::default() };
        gemm(self.mode.gates() * n, n, rows, a, h, dw, n, &ep)
    }

    /// Gradients of the biases: sums over the rows.
    fn biases(&self, grads: &mut WeightGrads<T>) -> Result<(), OutOfMemory> {
        let sums = |first: usize, out: &mut [T], accumulate: bool| {
            let ones = Mat { data: &[T::ONE], row_stride: 0, col_stride: 0 };
            let b = Mat::row_major(self.d.get(first..).unwrap_or(&[]), self.ld());
            let ep = Epilogue { accumulate, ..Epilogue::default() };
            gemm(1, out.len(), self.rows, ones, b, out, out.len(), &ep)
        };
        let [_, _, add_i, add_h] = grads.accumulate;
        let n = self.hidden;
        if let Some(h) = grads.b_hh.as_deref_mut() {
            sums(0, h, add_h)?;
        }
        match (grads.b_ih.as_deref_mut(), grads.b_hh.as_deref()) {
            (None, _) => {}
            (Some(i), Some(h)) if self.mode != Mode::Gru && !add_i && !add_h => {
                i.copy_from_slice(h);
            }
            (Some(i), _) if self.mode == Mode::Gru => {
                let (same, new) = i.split_at_mut(2 * n);
                sums(0, same, add_i)?;
                sums(3 * n, new, add_i)?;
            }
            (Some(i), _) => sums(0, i, add_i)?,
        }
        Ok(())
    }
}
