//! Loops: a body applied several times, with gradients through all iterations.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::FlowBuilder;
use super::describe::NodeKind;
use super::plan::{Callee, call_named};
use super::refs::{Frame, Refs};
use crate::nn::{Published, Reach};
use crate::{Error, Module, Result, TraceEmit, Variable};

/// When a loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopEnd {
    /// After so many iterations.
    Times(usize),
    /// When the condition, asked before each iteration, says stop; at most so many.
    While(usize),
    /// When the condition, asked after each iteration, says stop; at most so many.
    Until(usize),
}

/// A loop whose end is still to be said. It does nothing until it is, and cannot be built:
///
/// ```compile_fail,E0599
/// use flodl::*;
/// let graph = FlowBuilder::new().loop_body(ReLU).build();
/// ```
#[must_use = "a loop needs an end: for_n, while_cond or until_cond"]
pub struct LoopBuilder {
    flow: FlowBuilder,
    body: Rc<dyn Module>,
}

impl LoopBuilder {
    pub(super) fn new(flow: FlowBuilder, body: Rc<dyn Module>) -> Self {
        LoopBuilder { flow, body }
    }

    /// `n` applications of the body; none passes the stream on.
    pub fn for_n(self, n: usize) -> FlowBuilder {
        self.flow.node(NodeKind::Loop(LoopEnd::Times(n)), vec![self.body])
    }

    /// Asks the condition before each iteration, and stops when it is above 0: 0 to `max_iter`
    /// iterations. Its values are kept as the trace `halt`, gradients included.
    pub fn while_cond(self, cond: impl Module + 'static, max_iter: usize) -> FlowBuilder {
        self.flow.node(NodeKind::Loop(LoopEnd::While(max_iter)), vec![self.body, Rc::new(cond)])
    }

    /// Asks the condition after each iteration, and stops when it is above 0: 1 to `max_iter`
    /// iterations. Its values are kept as the trace `halt`, gradients included.
    pub fn until_cond(self, cond: impl Module + 'static, max_iter: usize) -> FlowBuilder {
        self.flow.node(NodeKind::Loop(LoopEnd::Until(max_iter)), vec![self.body, Rc::new(cond)])
    }
}

/// A compiled loop and what its last run has published.
pub(super) struct Loop {
    pub body: Callee,
    pub cond: Option<Rc<dyn Module>>,
    pub end: LoopEnd,
    /// All that is reset before it iterates.
    reach: [Option<Reach>; 2],
    /// What the body published through `TraceEmit`.
    pub published: RefCell<Published>,
    /// The body's `trace()` after each iteration.
    pub traces: RefCell<Vec<Variable>>,
    /// What the condition said.
    pub halts: RefCell<Vec<Variable>>,
    /// What a body without named values is handed.
    nothing: HashMap<String, Variable>,
}

/// The named values for a body.
#[derive(Clone, Copy)]
enum Hand<'a> {
    Nothing,
    Map(&'a HashMap<String, Variable>),
    /// A graph takes them by their places.
    Graph(&'a Refs, &'a Variable),
}

impl Loop {
    pub fn new(body: Callee, cond: Option<Rc<dyn Module>>, end: LoopEnd) -> Self {
        let (published, traces, halts, nothing) = Default::default();
        let reach = [Some(Reach::new(&body.module)), cond.as_ref().map(Reach::new)];
        Loop { body, cond, end, reach, published, traces, halts, nothing }
    }

    pub fn run(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        self.reach.iter().flatten().for_each(Reach::reset);
        self.published.borrow_mut().clear();
        self.traces.borrow_mut().clear();
        self.halts.borrow_mut().clear();
        match &self.body.refs {
            None => self.iterate(input, Hand::Nothing, frame),
            Some(refs) if refs.is_by_place() => {
                self.iterate(input, Hand::Graph(refs, input), frame)
            }
            Some(refs) => refs.with(input, frame, |map| self.iterate(input, Hand::Map(map), frame)),
        }
    }

    fn iterate(&self, input: &Variable, hand: Hand<'_>, frame: &Frame<'_>) -> Result<Variable> {
        let (max, before, after) = match self.end {
            LoopEnd::Times(n) => (n, false, false),
            LoopEnd::While(n) => (n, true, false),
            LoopEnd::Until(n) => (n, false, true),
        };
        let mut x = input.clone();
        for _ in 0..max {
            if before && self.stop(&x, frame)? {
                break;
            }
            x = frame.part(0, || self.step(&x, hand, frame))?;
            if let Some(trace) = self.body.module.trace() {
                self.traces.borrow_mut().push(trace);
            }
            if after && self.stop(&x, frame)? {
                break;
            }
        }
        Ok(x)
    }

    fn step(&self, x: &Variable, hand: Hand<'_>, frame: &Frame<'_>) -> Result<Variable> {
        let module = &*self.body.module;
        if let Some(body) = module.as_loop_body() {
            // Taken out: the body may look at the graph's traces meanwhile.
            let mut published = self.published.take();
            let mut emit = TraceEmit::for_graph(&mut published);
            let refs = if let Hand::Map(map) = hand { map } else { &self.nothing };
            let y = body.step(x, refs, &mut emit);
            self.published.replace(published);
            return y;
        }
        match hand {
            Hand::Nothing => module.forward(x),
            Hand::Map(map) => call_named(module, x, map),
            Hand::Graph(refs, stream) => refs.call_graph(module, x, stream, frame),
        }
    }

    fn stop(&self, x: &Variable, frame: &Frame<'_>) -> Result<bool> {
        let Some(cond) = &self.cond else { return Ok(false) };
        let value = frame.part(1, || cond.forward(x))?;
        if value.numel() != 1 {
            return Err(Error::Graph(format!(
                "the loop's condition {} must return one number, it returned shape {:?}",
                cond.name(),
                value.shape()
            )));
        }
        let stop = value.item()? > 0.0;
        self.halts.borrow_mut().push(value);
        Ok(stop)
    }
}
