//! Gates, where all experts run and their outputs are weighted, and switches, where one branch
//! runs.

use std::rc::Rc;

use super::plan::Callee;
use super::refs::Frame;
use crate::{Error, Module, Result, Variable};

/// A compiled gate.
pub(super) struct Gate {
    pub router: Callee,
    pub experts: Vec<Rc<dyn Module>>,
}

impl Gate {
    pub fn run(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        let weights = self.router.call(input, frame)?;
        let n = self.experts.len();
        if weights.shape().last() != Some(&(n as i64)) {
            return Err(Error::Shape {
                op: "gate",
                expected: format!("a router output [..., {n}], one weight for each expert"),
                got: weights.shape(),
            });
        }
        // One node on the tape for all the columns, so that their gradients meet once.
        let columns = weights.split(1, -1)?;
        let mut sum: Option<Variable> = None;
        for (expert, weight) in self.experts.iter().zip(&columns) {
            let output = expert.forward(input)?;
            let weighted = output.mul(&fit(weight, &output)?)?;
            sum = Some(match sum {
                None => weighted,
                Some(sum) => sum.add(&weighted)?,
            });
        }
        sum.ok_or_else(|| Error::Graph("a gate without experts".into()))
    }
}

/// A column of weights `[…, 1]` with as many dims as the output that it weighs.
fn fit(weight: &Variable, output: &Variable) -> Result<Variable> {
    let (have, want) = (weight.ndim(), output.ndim());
    if have > want {
        return Err(Error::Shape {
            op: "gate",
            expected: format!("experts' outputs of at least {have} dims, as the router's"),
            got: output.shape(),
        });
    }
    if have == want {
        return Ok(weight.clone());
    }
    let mut shape = weight.shape();
    shape.resize(want, 1);
    weight.reshape(&shape)
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
        self.branches[index as usize].forward(input)
    }
}
