//! Gradients of a cell's weights over many steps at once.
//!
//! Each step's product for them is short along the batch, and writes all of a large matrix to add
//! little. So the backward of a step keeps its operands, and every few steps one product takes
//! them all.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::autograd::engine::add_to_leaf;
use crate::autograd::tape::{Ctx, take_sum};
use crate::backend::{CellGeom, engine};
use crate::shape::Layout;
use crate::tensor::{CellSpec, PackedWeights};
use crate::{Result, Tensor, Variable};

/// Steps that one product takes: then it reads and writes the weights' gradients rarely enough
/// (bench: `gru_seq`).
const STEPS: usize = 8;
/// Weights of fewer elements stay in the cache from step to step, and each step adds its own.
const LARGE: usize = 1 << 16;

/// What the steps of a cell share while its weights stay the same.
#[derive(Debug)]
pub(crate) struct Shared {
    pub weights: PackedWeights,
    pending: RefCell<Weak<RefCell<Pending>>>,
}

impl Shared {
    pub fn new(w_ih: &Tensor, w_hh: &Tensor) -> Result<Self> {
        Ok(Shared { weights: PackedWeights::new(w_ih, w_hh)?, pending: RefCell::default() })
    }

    /// Where this pass gathers the steps' operands; `None` where each step adds its own.
    /// `first` is the place of the first weight among the node's inputs.
    pub fn pending(
        &self,
        ctx: &Ctx<'_>,
        spec: CellSpec,
        geom: &CellGeom,
        params: &[Tensor],
        first: usize,
    ) -> Result<Option<Rc<RefCell<Pending>>>> {
        if geom.batch <= 3 || params[0].len().max(params[1].len()) < LARGE {
            return Ok(None);
        }
        let mut leaves = Vec::with_capacity(params.len());
        for i in 0..params.len() {
            let leaf = ctx.leaf(first + i);
            if leaf.is_none() && ctx.needs(first + i) {
                return Ok(None);
            }
            leaves.push(leaf);
        }
        if leaves.iter().all(Option::is_none) {
            return Ok(None);
        }
        if let Some(known) = self.pending.borrow().upgrade() {
            let same = |a: &Option<Variable>, b: &Option<Variable>| {
                a.as_ref().map(Variable::id) == b.as_ref().map(Variable::id)
            };
            let fits = {
                let p = known.borrow();
                p.geom == *geom && p.leaves.iter().zip(&leaves).all(|(a, b)| same(a, b))
            };
            if fits {
                return Ok(Some(known));
            }
        }
        let pending = Rc::new(RefCell::new(Pending::new(spec, *geom, params.to_vec(), leaves)?));
        *self.pending.borrow_mut() = Rc::downgrade(&pending);
        let last = pending.clone();
        ctx.at_end(move || last.borrow_mut().flush());
        Ok(Some(pending))
    }
}

/// Operands of the steps whose product is still to come.
#[derive(Debug)]
pub(crate) struct Pending {
    spec: CellSpec,
    geom: CellGeom,
    params: Vec<Tensor>,
    leaves: Vec<Option<Variable>>,
    sums: Tensor,
    x: Tensor,
    h: Tensor,
    steps: usize,
}

impl Pending {
    fn new(
        spec: CellSpec,
        geom: CellGeom,
        params: Vec<Tensor>,
        leaves: Vec<Option<Variable>>,
    ) -> Result<Self> {
        let (dtype, device) = (params[0].dtype(), params[0].device());
        let fresh = |width| Tensor::fresh(&[STEPS * geom.batch, width], dtype, device);
        let width = engine(device)?.rnn_cell_sums(&geom, dtype)?;
        let (sums, x, h) = (fresh(width)?, fresh(geom.input)?, fresh(geom.hidden)?);
        Ok(Pending { spec, geom, params, leaves, sums, x, h, steps: 0 })
    }

    /// Where the next step's gradients of sums go.
    pub fn sums(&mut self) -> (&mut Tensor, usize) {
        (&mut self.sums, self.steps * self.geom.batch)
    }

    /// Takes in the rest of a step whose gradients of sums are there.
    pub fn add(&mut self, x: &Tensor, h: Option<&Tensor>) -> Result<()> {
        let row = self.steps * self.geom.batch;
        let backend = x.backend()?;
        let part = |width: usize| Layout {
            offset: row * width,
            ..Layout::contiguous(&[self.geom.batch, width])
        };
        backend.copy_into(x.operand(), self.x.fresh_storage(), &part(self.geom.input))?;
        let to = part(self.geom.hidden);
        match h {
            Some(h) => backend.copy_into(h.operand(), self.h.fresh_storage(), &to)?,
            None => backend.fill(self.h.fresh_storage(), &to, x.dtype(), 0.0)?,
        }
        self.steps += 1;
        if self.steps == STEPS { self.flush() } else { Ok(()) }
    }

    /// Adds the gradients of what is there to the leaves.
    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.steps) * self.geom.batch;
        if rows == 0 {
            return Ok(());
        }
        let mut accumulate = [false; 4];
        let mut grads = Vec::with_capacity(4);
        for (i, (leaf, param)) in self.leaves.iter().zip(&self.params).enumerate() {
            let Some(leaf) = leaf else {
                grads.push(None);
                continue;
            };
            let sum = take_sum(leaf);
            accumulate[i] = sum.is_some();
            grads.push(Some(match sum {
                Some(sum) => sum,
                None => Tensor::fresh(param.dims(), param.dtype(), param.device())?,
            }));
        }
        let geom = CellGeom { batch: rows, ..self.geom };
        let part = |t: &Tensor| t.narrow(0, 0, rows as i64);
        let (sums, x, h) = (part(&self.sums)?, part(&self.x)?, part(&self.h)?);
        let operands = [&sums, &x, &h];
        self.spec.weight_grads(&geom, operands, &self.params, &mut grads, accumulate)?;
        for (leaf, gradient) in self.leaves.iter().zip(grads) {
            if let (Some(leaf), Some(gradient)) = (leaf, gradient) {
                add_to_leaf(leaf, Variable::constant(gradient))?;
            }
        }
        Ok(())
    }
}
