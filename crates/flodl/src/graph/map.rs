//! Maps: a body applied to each of many parts.

use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;

use super::FlowBuilder;
use super::describe::NodeKind;
use super::plan::{Callee, with_room};
use super::refs::Frame;
use crate::{Error, Module, Result, Variable};

/// What a map's parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOver {
    /// The entries along dim 0, each kept as a batch of one.
    Entries,
    /// So many equal slices of the last dim.
    Slices(i64),
}

/// A map whose parts are still to be said. It does nothing until they are, and cannot be built:
///
/// ```compile_fail,E0599
/// use flodl::*;
/// let graph = FlowBuilder::new().map(ReLU).build();
/// ```
#[must_use = "a map needs to know over what: each, over or slices"]
pub struct MapBuilder {
    flow: FlowBuilder,
    body: Rc<dyn Module>,
    batched: bool,
}

impl MapBuilder {
    pub(super) fn new(flow: FlowBuilder, body: Rc<dyn Module>) -> Self {
        MapBuilder { flow, body, batched: false }
    }

    /// One call for all parts instead of one for each: the same for bodies that treat the entries
    /// of dim 0 independently, and much faster.
    pub fn batched(mut self) -> Self {
        self.batched = true;
        self
    }

    /// Over dim 0 of the stream: the body sees `[1, …]`, the results are joined along dim 0.
    pub fn each(self) -> FlowBuilder {
        let kind = NodeKind::Map(MapOver::Entries, self.batched);
        self.flow.node(kind, vec![self.body])
    }

    /// Over dim 0 of an earlier tagged value, which becomes the stream.
    pub fn over(self, tag: &str) -> FlowBuilder {
        let kind = NodeKind::Map(MapOver::Entries, self.batched);
        self.flow.node(kind, vec![self.body]).over(tag)
    }

    /// Over `n` equal slices of the last dim, whose results are joined along the last dim.
    pub fn slices(self, n: i64) -> FlowBuilder {
        let kind = NodeKind::Map(MapOver::Slices(n), self.batched);
        self.flow.node(kind, vec![self.body])
    }
}

/// A compiled map.
pub(super) struct Map {
    pub body: Callee,
    pub over: MapOver,
    pub batched: bool,
    /// Room for the parts' results, empty between forwards.
    results: RefCell<Vec<Variable>>,
}

impl Map {
    pub fn new(body: Callee, over: MapOver, batched: bool) -> Self {
        Map { body, over, batched, results: RefCell::default() }
    }

    pub fn run(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        if input.ndim() == 0 {
            return Err(Error::Shape {
                op: "map",
                expected: "at least one dim to map over".into(),
                got: vec![],
            });
        }
        match (self.over, self.batched) {
            (MapOver::Entries, true) => self.body.call(input, frame),
            (MapOver::Entries, false) => {
                if input.with_data(|t| t.dims()[0] == 0) {
                    // Nothing to call the body on one by one; an empty batch has the right shape.
                    return self.body.call(input, frame);
                }
                self.join(input.split(1, 0)?, 0, frame)
            }
            (MapOver::Slices(n), batched) => {
                let size = input.with_data(|t| t.dims().last().map_or(0, |&n| n as i64));
                if size % n != 0 || size == 0 {
                    return Err(Error::Shape {
                        op: "map",
                        expected: format!("a last dim that {n} slices divide"),
                        got: input.shape(),
                    });
                }
                if batched {
                    self.slices_at_once(input, n, size / n, frame)
                } else {
                    self.join(input.split(size / n, -1)?, -1, frame)
                }
            }
        }
    }

    fn join(&self, parts: Vec<Variable>, dim: i32, frame: &Frame<'_>) -> Result<Variable> {
        with_room(&self.results, |results| {
            for part in &parts {
                results.push(self.body.call(part, frame)?);
            }
            Variable::cat_all(results, dim)
        })
    }

    /// `[B, …, n·d]` as `[B·n, …, d]`, and the results back.
    fn slices_at_once(
        &self,
        input: &Variable,
        n: i64,
        size: i64,
        frame: &Frame<'_>,
    ) -> Result<Variable> {
        if input.ndim() == 1 {
            let row = input.unsqueeze(0)?;
            return self.slices_at_once(&row, n, size, frame)?.squeeze(0);
        }
        let mut shape = sizes(input);
        let (batch, last) = (shape[0], shape.len() - 1);
        shape[last] = n;
        shape.push(size);
        let cut = input.reshape(&shape)?.movedim(last as i64, 1)?;
        let mut rows = sizes(&cut);
        rows.remove(1);
        rows[0] = batch * n;
        let results = self.body.call(&cut.reshape(&rows)?, frame)?;
        let mut shape = sizes(&results);
        if shape.first() != Some(&(batch * n)) {
            return Err(Error::Shape {
                op: "map",
                expected: format!("a result of {} rows, as the body was given", batch * n),
                got: results.shape(),
            });
        }
        shape[0] = batch;
        shape.insert(1, n);
        let dims = shape.len() as i64;
        let back = results.reshape(&shape)?.movedim(1, dims - 2)?;
        let mut shape = sizes(&back);
        let size = shape.pop().unwrap_or(1);
        if let Some(last) = shape.last_mut() {
            *last *= size;
        }
        back.reshape(&shape)
    }
}

fn sizes(value: &Variable) -> SmallVec<[i64; 8]> {
    value.with_data(|t| t.dims().iter().map(|&n| n as i64).collect())
}
