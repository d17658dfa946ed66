//! The family of recurrent networks.

use std::any::Any;

pub use flodl_cpu::rnn::{CellGeom, Mode as RnnMode, RnnGeom};

use super::{Operand, Storage};
use crate::{DType, Result};

/// Weights of one direction of one layer, contiguous, in PyTorch's order and layout.
#[derive(Clone, Copy)]
pub struct RnnWeights<'a> {
    /// `[gates · hidden, input]`.
    pub w_ih: Operand<'a>,
    /// `[gates · hidden, hidden]`.
    pub w_hh: Operand<'a>,
    /// `[gates · hidden]` each.
    pub biases: Option<[Operand<'a>; 2]>,
}

/// Gradients of [`RnnWeights`] in that order; `None` where not wanted.
pub type RnnWeightGrads<'a> = [Option<&'a mut Storage>; 4];

/// An engine's own form of a cell's weights, made when first used. It belongs to the values that
/// the weights had then.
pub type PackedCell = Box<dyn Any + Send + Sync>;

/// What a cell's backward reads of its forward.
#[derive(Clone, Copy)]
pub struct CellSaved<'a> {
    /// The gates.
    pub gates: Operand<'a>,
    /// The new state.
    pub out: Operand<'a>,
}

/// Gradients that a cell's backward writes.
pub struct CellGrads<'a> {
    /// Of the input.
    pub x: Option<&'a mut Storage>,
    /// Of the state before, in the form of the new state; it is worked in.
    pub state: &'a mut Storage,
    /// Whether the gradient of h before is wanted.
    pub wants_h: bool,
    /// Of the weights.
    pub weights: RnnWeightGrads<'a>,
    /// Whether each of these is added to.
    pub accumulate: [bool; 4],
    /// Where the gradients of the gates' sums are kept for [`Rnn::rnn_cell_weights`], and in which
    /// row they begin.
    pub sums: Option<(&'a mut Storage, usize)>,
}

/// Gradients that a sequence's backward writes; `None` where not wanted.
pub struct SequenceGrads<'a> {
    /// Of the input.
    pub x: Option<&'a mut Storage>,
    /// Of the first states h and c.
    pub states: [Option<&'a mut Storage>; 2],
    /// Of the weights, as they stand.
    pub weights: Vec<RnnWeightGrads<'a>>,
}

/// Recurrent networks. Operands are contiguous, but for the states of cells, whose rows may be
/// apart; states that are `None` count as zeros.
pub trait Rnn {
    /// Elements that a sequence's forward needs besides its results, with those that a backward
    /// reads or without.
    fn rnn_reserve(&self, g: &RnnGeom, keep: bool) -> usize;
    /// A sequence through all layers and directions: x `[S, B, I]`, states `[L·D, B, H]`; `out` is
    /// the output `[S, B, D·H]`, the last h and the reserve, `c` the last c of an LSTM.
    fn rnn_forward(
        &self,
        g: &RnnGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        weights: &[RnnWeights<'_>],
        out: [&mut Storage; 3],
        c: Option<&mut Storage>,
        keep: bool,
    ) -> Result<()>;
    /// Its gradients, from those of output and last states.
    fn rnn_backward(
        &self,
        g: &RnnGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        weights: &[RnnWeights<'_>],
        out: Operand<'_>,
        reserve: Operand<'_>,
        given: [Option<Operand<'_>>; 3],
        grads: SequenceGrads<'_>,
    ) -> Result<()>;
    /// Room for the engine's own form of a cell's weights.
    fn rnn_pack(&self, dtype: DType) -> Result<PackedCell>;
    /// One step: x `[B, I]`, states `[B, H]`; `out` are gates and new state (of an LSTM `[B, 2H]`,
    /// h and c side by side).
    fn rnn_cell(
        &self,
        g: &CellGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        weights: RnnWeights<'_>,
        packed: Option<&PackedCell>,
        out: [&mut Storage; 2],
    ) -> Result<()>;
    /// Its gradients, from those of the new h and c.
    fn rnn_cell_backward(
        &self,
        g: &CellGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        weights: RnnWeights<'_>,
        packed: Option<&PackedCell>,
        saved: CellSaved<'_>,
        given: [Option<Operand<'_>>; 2],
        grads: CellGrads<'_>,
    ) -> Result<()>;
    /// Elements of a row of the gradients of the gates' sums.
    fn rnn_cell_sums(&self, g: &CellGeom, dtype: DType) -> Result<usize>;
    /// Gradients of the weights over many steps: rows of gradients of sums, of inputs and of states
    /// before (contiguous), `g.batch` of each.
    fn rnn_cell_weights(
        &self,
        g: &CellGeom,
        rows: [Operand<'_>; 3],
        weights: RnnWeights<'_>,
        grads: RnnWeightGrads<'_>,
        accumulate: [bool; 4],
    ) -> Result<()>;
}
