//! Gates, where all experts run and their outputs are weighted, and switches, where one branch
//! runs.

use std::cell::RefCell;
use std::rc::Rc;

use super::plan::{Callee, with_room};
use super::refs::Frame;
use crate::autograd::ops::mix;
use crate::{Error, Module, Result, Variable};

/// A compiled gate.
pub(super) struct Gate {
    pub router: Callee,
    pub experts: Vec<Rc<dyn Module>>,
    /// Room for the experts' outputs, empty between forwards.
    outputs: RefCell<Vec<Variable>>,
}

impl Gate {
    pub fn new(router: Callee, experts: Vec<Rc<dyn Module>>) -> Self {
        let outputs = Vec::with_capacity(experts.len()).into();
        Gate { router, experts, outputs }
    }

    pub fn run(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        let weights = self.router.call(input, frame)?;
        let n = self.experts.len();
        if weights.with_data(|w| w.dims().last() != Some(&n)) {
            return Err(Error::Shape {
                op: "gate",
                expected: format!("a router output [..., {n}], one weight for each expert"),
                got: weights.shape(),
            });
        }
        with_room(&self.outputs, |outputs| {
            for (i, expert) in self.experts.iter().enumerate() {
                outputs.push(frame.part(i + 1, || expert.forward(input))?);
            }
            mix(&weights, outputs)
        })
    }
}

/// A compiled switch.
pub(super) struct Switch {
    pub selector: Callee,
    pub branches: Vec<Rc<dyn Module>>,
}

impl Switch {
    pub fn run(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        let choice = self.selector.call(input, frame)?;
        let n = self.branches.len();
        if choice.numel() != 1 {
            return Err(Error::Shape {
                op: "switch",
                expected: "one number from the selector, a branch for the whole batch".into(),
                got: choice.shape(),
            });
        }
        let index = choice.item()?;
        if index.fract() != 0.0 || !(0.0..n as f64).contains(&index) {
            return Err(Error::Graph(format!(
                "switch: the selector chose branch {index}, there are branches 0 to {}",
                n - 1
            )));
        }
        let index = index as usize;
        frame.part(index + 1, || self.branches[index].forward(input))
    }
}
