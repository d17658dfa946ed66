//! The compiled form of a graph: numbered slots, and steps that read and write them.

use std::cell::RefCell;
use std::rc::Rc;

use super::describe::NodeKind;
use super::loops::Loop;
use super::map::Map;
use super::refs::{Frame, Refs};
use super::route::{Gate, Switch};
use crate::{Error, Module, Result, Variable};

/// Number of a slot that holds a value during a forward.
pub(super) type Slot = usize;

/// How the branches of a split become one stream again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeOp {
    /// Their sum.
    Add,
    /// Their mean.
    Mean,
    /// One behind the other along a dim.
    Cat(i32),
}

/// A module and the named values that it is handed.
pub(super) struct Callee {
    pub module: Rc<dyn Module>,
    /// Its number among the modules of its node.
    pub part: usize,
    pub refs: Option<Box<Refs>>,
}

impl Callee {
    #[inline]
    pub fn call(&self, input: &Variable, frame: &Frame<'_>) -> Result<Variable> {
        frame.part(self.part, || match &self.refs {
            None => self.module.forward(input),
            Some(refs) if refs.is_by_place() => refs.call_graph(&*self.module, input, input, frame),
            Some(refs) => refs.with(input, frame, |map| call_named(&*self.module, input, map)),
        })
    }
}

/// Calls a module that was seen to take named values when the graph was built.
pub(super) fn call_named(
    module: &dyn Module,
    input: &Variable,
    refs: &std::collections::HashMap<String, Variable>,
) -> Result<Variable> {
    match module.as_named_input() {
        Some(named) => named.forward_named(input, refs),
        None => Err(Error::Graph(format!("{} no longer takes named inputs", module.name()))),
    }
}

/// What a step computes.
pub(super) enum Op {
    Call(Callee),
    Also(Callee),
    AlsoWith { skip: Callee, main: Callee },
    Merge(Merge),
    Loop(Box<Loop>),
    Gate(Box<Gate>),
    Switch(Box<Switch>),
    Map(Box<Map>),
}

/// One step: each is one node, that is one word of the builder (a split is one for each branch).
pub(super) struct Step {
    pub op: Op,
    pub input: Slot,
    pub output: Slot,
    /// Slots that nobody reads after this step: emptied, so that memory is free early.
    pub free: Vec<Slot>,
}

impl Step {
    #[inline]
    pub fn run(&self, frame: &Frame<'_>) -> Result<Variable> {
        let input = frame.value(self.input)?;
        match &self.op {
            Op::Call(callee) => callee.call(input, frame),
            Op::Also(callee) => input.add(&callee.call(input, frame)?),
            Op::AlsoWith { skip, main } => skip.call(input, frame)?.add(&main.call(input, frame)?),
            Op::Merge(merge) => merge.run(frame),
            Op::Loop(l) => l.run(input, frame),
            Op::Gate(gate) => gate.run(input, frame),
            Op::Switch(switch) => switch.run(input, frame),
            Op::Map(map) => map.run(input, frame),
        }
    }

    /// Whether it adds two values.
    pub fn is_sum(&self) -> bool {
        match &self.op {
            Op::Also(_) | Op::AlsoWith { .. } => true,
            Op::Merge(merge) => merge.op == MergeOp::Add && merge.slots.len() == 2,
            _ => false,
        }
    }

    /// The two values that a sum adds, in their order.
    pub fn terms(&self, frame: &Frame<'_>) -> Result<Option<(Variable, Variable)>> {
        let input = frame.value(self.input)?;
        Ok(Some(match &self.op {
            Op::Also(callee) => (input.clone(), callee.call(input, frame)?),
            Op::AlsoWith { skip, main } => (skip.call(input, frame)?, main.call(input, frame)?),
            Op::Merge(Merge { op: MergeOp::Add, slots, .. }) => match slots[..] {
                [a, b] => (frame.value(a)?.clone(), frame.value(b)?.clone()),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// The slots that this step reads.
    pub fn reads(&self) -> Vec<Slot> {
        let mut slots = vec![self.input];
        let mut add = |c: &Callee| {
            if let Some(refs) = &c.refs {
                slots.extend(refs.slots());
            }
        };
        match &self.op {
            Op::Call(c) | Op::Also(c) => add(c),
            Op::AlsoWith { skip, main } => {
                add(skip);
                add(main);
            }
            Op::Merge(merge) => slots.extend(&merge.slots),
            Op::Loop(l) => add(&l.body),
            Op::Gate(g) => add(&g.router),
            Op::Switch(s) => add(&s.selector),
            Op::Map(m) => add(&m.body),
        }
        slots
    }
}

/// A compiled merge.
pub(super) struct Merge {
    op: MergeOp,
    slots: Vec<Slot>,
    /// Room for the values that are joined, empty between forwards.
    values: RefCell<Vec<Variable>>,
}

impl Merge {
    pub fn new(op: MergeOp, slots: Vec<Slot>) -> Self {
        let values = Vec::with_capacity(slots.len()).into();
        Merge { op, slots, values }
    }

    fn run(&self, frame: &Frame<'_>) -> Result<Variable> {
        let slots = &self.slots;
        if let MergeOp::Cat(dim) = self.op {
            return with_room(&self.values, |values| {
                for &slot in slots {
                    values.push(frame.value(slot)?.clone());
                }
                Variable::cat_all(values, dim)
            });
        }
        let mut sum = frame.value(slots[0])?.clone();
        for &slot in &slots[1..] {
            sum = sum.add(frame.value(slot)?)?;
        }
        if self.op == MergeOp::Mean && slots.len() > 1 {
            sum = sum.div_scalar(slots.len() as f64)?;
        }
        Ok(sum)
    }
}

/// Lends a step its list, which is empty and keeps its room. It is taken out: a module may run its
/// own graph again.
pub(super) fn with_room<R>(
    room: &RefCell<Vec<Variable>>,
    f: impl FnOnce(&mut Vec<Variable>) -> Result<R>,
) -> Result<R> {
    let mut values = room.take();
    let result = f(&mut values);
    values.clear();
    room.replace(values);
    result
}

/// Marks, for every step, the slots that it is the last to touch. `keep` are read after the pass.
pub(super) fn mark_last_uses(steps: &mut [Step], slots: usize, keep: &[Slot]) {
    let mut done = vec![false; slots];
    for &slot in keep {
        done[slot] = true;
    }
    for step in steps.iter_mut().rev() {
        let mut touched = step.reads();
        touched.push(step.output);
        for slot in touched {
            if !std::mem::replace(&mut done[slot], true) {
                step.free.push(slot);
            }
        }
    }
}

/// A node as the builder describes it; compiled into a [`Step`].
pub(super) struct Node {
    pub kind: NodeKind,
    /// Numbers of its modules.
    pub modules: Vec<usize>,
    /// The values it reads besides those of `using`.
    pub inputs: Vec<Slot>,
    pub output: Slot,
    /// Names that `using` hands it.
    pub using: Vec<String>,
    /// The tag that `over` names.
    pub over: Option<String>,
}

impl Node {
    /// Which of its modules gets the named values.
    pub fn named(&self) -> Option<usize> {
        match self.kind {
            NodeKind::Merge(_) => None,
            NodeKind::Shortcut => self.modules.get(1).copied(),
            _ => self.modules.first().copied(),
        }
    }
}

/// A node's number and module, for messages.
pub(super) fn place(kind: NodeKind, numbers: &[usize], modules: &[Rc<dyn Module>]) -> String {
    match (numbers.first(), kind) {
        (None, kind) => kind.word().to_owned(),
        (Some(&m), NodeKind::Module) => format!("node {m} ({})", modules[m].name()),
        (Some(&m), kind) => format!("node {m} ({} {})", kind.word(), modules[m].name()),
    }
}
