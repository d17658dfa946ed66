//! Recurrent networks.

use flodl_cpu::rnn as kernels;
use flodl_cpu::rnn::{CellWeights, Float, Reserve, State, WeightGrads, Weights};

use super::{Cpu, from_offset, slice, slice_mut};
use crate::backend::{
    CellGeom, CellGrads, CellSaved, Operand, PackedCell, Rnn, RnnGeom, RnnWeightGrads, RnnWeights,
    SequenceGrads, Storage,
};
use crate::dtype::float_type;
use crate::{DType, Result};

fn weights<'a, T: Float>(w: &RnnWeights<'a>) -> Weights<'a, T> {
    Weights {
        w_ih: slice(w.w_ih),
        w_hh: slice(w.w_hh),
        b_ih: w.biases.map(|b| slice(b[0])),
        b_hh: w.biases.map(|b| slice(b[1])),
    }
}

fn weight_grads<'a, T: Float>(
    w: &RnnWeights<'_>,
    grads: RnnWeightGrads<'a>,
    accumulate: [bool; 4],
) -> WeightGrads<'a, T> {
    let rows = w.w_hh.layout.shape[0];
    let [w_ih, w_hh, b_ih, b_hh] = grads;
    let part = |s: Option<&'a mut Storage>, len: usize| s.map(|s| slice_mut(s, len));
    WeightGrads {
        w_ih: part(w_ih, w.w_ih.layout.numel()),
        w_hh: part(w_hh, w.w_hh.layout.numel()),
        b_ih: part(b_ih, rows),
        b_hh: part(b_hh, rows),
        accumulate,
    }
}

/// A state whose rows may be apart.
fn state<'a, T: Float>(x: Operand<'a>) -> State<'a, T> {
    State { data: from_offset(x.storage, x.layout.offset), ld: x.layout.strides[0] }
}

impl Rnn for Cpu {
    fn rnn_reserve(&self, g: &RnnGeom, keep: bool) -> usize {
        Reserve::new(*g, keep).len()
    }

    fn rnn_forward(
        &self,
        g: &RnnGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        all: &[RnnWeights<'_>],
        [out, h, memory]: [&mut Storage; 3],
        c: Option<&mut Storage>,
        keep: bool,
    ) -> Result<()> {
        let reserve = Reserve::new(*g, keep);
        float_type!("rnn", x.dtype, T => {
            let all: Vec<Weights<T>> = all.iter().map(weights).collect();
            kernels::sequence_forward(
                slice(x),
                states.map(|s| s.map(slice)),
                &all,
                slice_mut(out, g.out_len()),
                slice_mut(h, g.state_len()),
                c.map(|c| slice_mut(c, g.state_len())),
                &reserve,
                slice_mut(memory, reserve.len()),
            )?;
        });
        Ok(())
    }

    fn rnn_backward(
        &self,
        g: &RnnGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        all: &[RnnWeights<'_>],
        out: Operand<'_>,
        memory: Operand<'_>,
        given: [Option<Operand<'_>>; 3],
        grads: SequenceGrads<'_>,
    ) -> Result<()> {
        let [h0, c0] = grads.states;
        float_type!("rnn", x.dtype, T => {
            let grads = kernels::SequenceGrads {
                x: grads.x.map(|s| slice_mut::<T>(s, x.layout.numel())),
                h0: h0.map(|s| slice_mut(s, g.state_len())),
                c0: c0.map(|s| slice_mut(s, g.state_len())),
                weights: all
                    .iter()
                    .zip(grads.weights)
                    .map(|(w, g)| weight_grads(w, g, [false; 4]))
                    .collect(),
            };
            let all: Vec<Weights<T>> = all.iter().map(weights).collect();
            kernels::sequence_backward(
                slice(x),
                states.map(|s| s.map(slice)),
                &all,
                slice(out),
                &Reserve::new(*g, true),
                slice(memory),
                given.map(|s| s.map(slice)),
                grads,
            )?;
        });
        Ok(())
    }

    fn rnn_pack(&self, dtype: DType) -> Result<PackedCell> {
        Ok(float_type!("rnn", dtype, T => Box::new(CellWeights::<T>::new())))
    }

    fn rnn_cell(
        &self,
        g: &CellGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        w: RnnWeights<'_>,
        packed: Option<&PackedCell>,
        [gates, out]: [&mut Storage; 2],
    ) -> Result<()> {
        float_type!("rnn_cell", x.dtype, T => kernels::cell_forward::<T>(
            g,
            slice(x),
            states.map(|s| s.map(state)),
            &weights(&w),
            packed.and_then(|p| p.downcast_ref()),
            slice_mut(gates, g.gates_len()),
            slice_mut(out, g.batch * g.state()),
        )?);
        Ok(())
    }

    fn rnn_cell_backward(
        &self,
        g: &CellGeom,
        x: Operand<'_>,
        states: [Option<Operand<'_>>; 2],
        w: RnnWeights<'_>,
        packed: Option<&PackedCell>,
        saved: CellSaved<'_>,
        given: [Option<Operand<'_>>; 2],
        grads: CellGrads<'_>,
    ) -> Result<()> {
        let CellGrads { x: dx, state: dstate, wants_h, weights: dw, accumulate, sums } = grads;
        float_type!("rnn_cell", x.dtype, T => kernels::cell_backward::<T>(
            g,
            slice(x),
            states.map(|s| s.map(state)),
            &weights(&w),
            packed.and_then(|p| p.downcast_ref()),
            (slice(saved.gates), slice(saved.out)),
            given.map(|s| s.map(state)),
            kernels::CellGrads {
                x: dx.map(|s| slice_mut(s, g.batch * g.input)),
                state: slice_mut(dstate, g.batch * g.state()),
                wants_h,
                weights: weight_grads(&w, dw, accumulate),
                sums: sums.map(|(s, row)| {
                    let ld = g.sums_ld::<T>();
                    &mut slice_mut(s, (row + g.batch) * ld)[row * ld..]
                }),
            },
        )?);
        Ok(())
    }

    fn rnn_cell_sums(&self, g: &CellGeom, dtype: DType) -> Result<usize> {
        Ok(float_type!("rnn_cell", dtype, T => g.sums_ld::<T>()))
    }

    fn rnn_cell_weights(
        &self,
        g: &CellGeom,
        [sums, x, h]: [Operand<'_>; 3],
        w: RnnWeights<'_>,
        grads: RnnWeightGrads<'_>,
        accumulate: [bool; 4],
    ) -> Result<()> {
        float_type!("rnn_cell", x.dtype, T => {
            let grads = weight_grads::<T>(&w, grads, accumulate);
            kernels::cell_weight_grads(g, slice(sums), slice(x), slice(h), grads)?;
        });
        Ok(())
    }
}
