//! The tape: nodes, edges, and the switch that turns recording on and off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use smallvec::SmallVec;

use super::Variable;
use super::variable::GradFn;
use crate::{Result, Tensor};

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
    static NEXT_SEQ: Cell<u64> = const { Cell::new(1) };
    static DEAD: Dead = const { Dead::new() };
}

/// Most empty nodes that a thread keeps to record with. A long tape dies at once, and the system's
/// allocator takes longer to take so much and give it again than all else that recording does.
const SPARE: usize = 1024;

/// Gradients for the inputs of an operation, in their order; `None` where there is none.
pub type Grads = SmallVec<[Option<Variable>; 3]>;

/// The gradient function of an operation.
pub(crate) type BackwardFn = Box<dyn Fn(&Ctx<'_>) -> Result<Grads>>;

/// Where the gradient of one input goes.
#[derive(Clone)]
pub(crate) enum Edge {
    /// The input needs no gradient.
    None,
    /// Output `.1` of an earlier operation.
    Node(NodeRef, u32),
    /// A leaf, which accumulates.
    Leaf(Variable),
}

/// Where the gradients of all inputs go.
type Edges = SmallVec<[Edge; 2]>;

/// One recorded operation.
#[derive(Default)]
pub(crate) struct Node {
    pub name: &'static str,
    /// Counts up with every node of the thread: an input's node has a lower number.
    pub seq: u64,
    pub edges: RefCell<Edges>,
    pub backward: RefCell<Option<BackwardFn>>,
    /// Gradients of the outputs gathered so far in the running pass.
    pub pending: RefCell<SmallVec<[Option<Variable>; 1]>>,
    /// Number of the last pass that found this node.
    pub visited: Cell<u64>,
}

/// A handle on a node.
#[derive(Clone)]
pub(crate) struct NodeRef {
    /// `None` only while this is being dropped.
    node: Option<Rc<Node>>,
}

impl NodeRef {
    /// Whether two handles are on the same node.
    pub fn is(&self, other: &NodeRef) -> bool {
        std::ptr::eq::<Node>(&**self, &**other)
    }
}

impl std::ops::Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        self.node.as_deref().expect("a handle has its node until it is dropped")
    }
}

/// What a gradient function sees: the gradients of the outputs, and which inputs want one.
pub struct Ctx<'a> {
    pub(crate) node: &'a NodeRef,
    pub(crate) grads: RefCell<SmallVec<[Option<Variable>; 1]>>,
    /// Whether gradients are added to the leaves in this pass.
    pub(crate) to_leaves: bool,
    /// What is to be done at the end of the pass.
    pub(crate) later: &'a RefCell<Vec<Later>>,
}

/// Work for the end of a pass.
pub(crate) type Later = Box<dyn FnOnce() -> Result<()>>;

/// The gradient that a leaf has so far, moved out of it, if a kernel can add to it in place.
pub(crate) fn take_sum(leaf: &Variable) -> Option<Tensor> {
    let sum = leaf.take_grad()?;
    let own = sum.is_unshared() && !sum.requires_grad();
    let fits = |s: &Tensor| {
        let whole = s.is_unshared() && s.is_contiguous() && s.layout().offset == 0;
        whole && leaf.with_data(|d| d.dims() == s.dims() && d.dtype() == s.dtype())
    };
    if own && sum.with_data(fits) {
        return Some(sum.data());
    }
    leaf.put_grad(Some(sum));
    None
}

impl Ctx<'_> {
    /// The gradient of the only output, moved out, so that it may be worked on in place.
    pub fn grad(&self) -> Variable {
        self.grad_of(0).expect("the walker runs a node only when a gradient has arrived")
    }

    /// The gradient of output `i`, `None` if none has arrived.
    pub fn grad_of(&self, i: usize) -> Option<Variable> {
        self.grads.borrow_mut().get_mut(i).and_then(Option::take)
    }

    /// How many inputs the operation had.
    pub fn inputs(&self) -> usize {
        self.node.edges.borrow().len()
    }

    /// Whether input `i` wants a gradient.
    pub fn needs(&self, i: usize) -> bool {
        !matches!(self.node.edges.borrow()[i], Edge::None)
    }

    /// Leaf `i`, if this pass adds gradients to the leaves and records nothing.
    pub(crate) fn leaf(&self, i: usize) -> Option<Variable> {
        if !self.to_leaves || is_grad_enabled() {
            return None;
        }
        match &self.node.edges.borrow()[i] {
            Edge::Leaf(leaf) => Some(leaf.clone()),
            _ => None,
        }
    }

    /// Has `f` run when the pass has run all its nodes: there a gradient of leaves can be completed
    /// that nodes have only prepared.
    pub(crate) fn at_end(&self, f: impl FnOnce() -> Result<()> + 'static) {
        self.later.borrow_mut().push(Box::new(f));
    }

    /// A saved output as the variable that it was: connected to the tape when this pass records.
    pub fn output(&self, data: &Tensor) -> Variable {
        self.output_of(data, 0)
    }

    /// Saved output `i` as the variable that it was.
    pub fn output_of(&self, data: &Tensor, i: u32) -> Variable {
        if is_grad_enabled() {
            Variable::from_op(data.clone(), GradFn { node: self.node.clone(), output: i })
        } else {
            Variable::constant(data.clone())
        }
    }
}

/// Whether operations on variables are recorded now, on this thread.
pub fn is_grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

/// Turns recording off until it is dropped; guards nest.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::ones(&[2], TensorOptions::default())?, true);
/// {
///     let _guard = NoGradGuard::new();
///     assert!(!x.mul_scalar(2.0)?.requires_grad());
/// }
/// assert!(x.mul_scalar(2.0)?.requires_grad());
/// # Ok::<(), Error>(())
/// ```
pub struct NoGradGuard {
    _mode: GradMode,
}

impl NoGradGuard {
    /// Turns recording off.
    #[must_use = "recording is off only while the guard lives"]
    pub fn new() -> Self {
        NoGradGuard { _mode: GradMode::set(false) }
    }
}

impl Default for NoGradGuard {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `f` without recording: nothing it computes requires a gradient.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::ones(&[2], TensorOptions::default())?, true);
/// let y = no_grad(|| x.exp())?;
/// assert!(!y.requires_grad());
/// # Ok::<(), Error>(())
/// ```
pub fn no_grad<F, R>(f: F) -> R
where
    F: FnOnce() -> R,
{
    let _guard = GradMode::set(false);
    f()
}

/// Runs `f` with recording on, also inside [`no_grad`].
pub fn enable_grad<F, R>(f: F) -> R
where
    F: FnOnce() -> R,
{
    let _guard = GradMode::set(true);
    f()
}

/// Sets the mode and restores it when dropped, also when unwinding.
pub(crate) struct GradMode {
    before: bool,
    /// The mode belongs to this thread.
    not_send: std::marker::PhantomData<*const ()>,
}

impl GradMode {
    pub fn set(enabled: bool) -> Self {
        GradMode { before: GRAD_ENABLED.replace(enabled), not_send: std::marker::PhantomData }
    }
}

impl Drop for GradMode {
    fn drop(&mut self) {
        GRAD_ENABLED.set(self.before);
    }
}

/// Wraps the result of a kernel, with a node behind it if any input requires a gradient.
pub(crate) fn record(
    name: &'static str,
    data: Tensor,
    inputs: &[&Variable],
    backward: impl Fn(&Ctx<'_>) -> Result<Grads> + 'static,
) -> Variable {
    if !wants_grad(inputs) {
        return Variable::constant(data);
    }
    let node = new_node(name, inputs, 1, Box::new(backward));
    Variable::from_op(data, GradFn { node, output: 0 })
}

/// Like [`record`] for an operation with several outputs.
pub(crate) fn record_many(
    name: &'static str,
    data: Vec<Tensor>,
    inputs: &[&Variable],
    backward: impl Fn(&Ctx<'_>) -> Result<Grads> + 'static,
) -> Vec<Variable> {
    if !wants_grad(inputs) {
        return data.into_iter().map(Variable::constant).collect();
    }
    let node = new_node(name, inputs, data.len(), Box::new(backward));
    data.into_iter()
        .enumerate()
        .map(|(i, t)| {
            if t.dtype().is_float() {
                Variable::from_op(t, GradFn { node: node.clone(), output: i as u32 })
            } else {
                Variable::constant(t)
            }
        })
        .collect()
}

/// Whether an operation on these inputs is to be recorded now.
pub(crate) fn wants_grad(inputs: &[&Variable]) -> bool {
    is_grad_enabled() && inputs.iter().any(|v| v.requires_grad())
}

fn new_node(
    name: &'static str,
    inputs: &[&Variable],
    outputs: usize,
    backward: BackwardFn,
) -> NodeRef {
    let seq = NEXT_SEQ.get();
    NEXT_SEQ.set(seq + 1);
    let spare = DEAD.try_with(|dead| dead.spare.borrow_mut().pop()).ok().flatten();
    let mut node = spare.unwrap_or_default();
    let new = Rc::get_mut(&mut node).expect("an empty node has no handle");
    new.name = name;
    new.seq = seq;
    // Most operations have two inputs and one output.
    match inputs {
        [a, b] => *new.edges.get_mut() = Edges::from_buf([a.edge(), b.edge()]),
        _ => new.edges.get_mut().extend(inputs.iter().map(|v| v.edge())),
    }
    *new.backward.get_mut() = Some(backward);
    match outputs {
        1 => new.pending.get_mut().push(None),
        _ => new.pending.get_mut().resize(outputs, None),
    }
    NodeRef { node: Some(node) }
}

/// Nodes without a handle.
struct Dead {
    /// With what they hold still to be dropped.
    full: RefCell<Vec<Rc<Node>>>,
    /// Empty, to be used again.
    spare: RefCell<Vec<Rc<Node>>>,
    emptying: Cell<bool>,
}

impl Dead {
    const fn new() -> Self {
        Dead {
            full: RefCell::new(Vec::new()),
            spare: RefCell::new(Vec::new()),
            emptying: Cell::new(false),
        }
    }

    /// Takes a node that lost its last handle. Dropping what the newest node of a long chain holds
    /// would recurse through all of it, along the edges and along the variables that gradient
    /// functions have saved. So nodes go to a list that the outermost drop empties.
    fn take(&self, node: Rc<Node>) {
        self.full.borrow_mut().push(node);
        if self.emptying.replace(true) {
            return;
        }
        while let Some(mut node) = self.next() {
            let Some(old) = Rc::get_mut(&mut node) else { continue };
            old.edges.get_mut().clear();
            *old.backward.get_mut() = None;
            old.pending.get_mut().clear();
            let mut spare = self.spare.borrow_mut();
            if spare.len() < SPARE {
                spare.push(node);
            }
        }
        self.emptying.set(false);
    }

    fn next(&self) -> Option<Rc<Node>> {
        self.full.borrow_mut().pop()
    }
}

impl Drop for NodeRef {
    #[inline]
    fn drop(&mut self) {
        if let Some(node) = self.node.take()
            && Rc::strong_count(&node) == 1
        {
            bury(node);
        }
    }
}

#[inline(never)]
fn bury(node: Rc<Node>) {
    let mut node = Some(node);
    // After the thread's locals are gone, plain recursion is all there is.
    let _ = DEAD.try_with(|dead| node.take().map(|node| dead.take(node)));
}

/// Gradients from variables and options, for the end of a gradient function.
macro_rules! grads {
    (@padded $len:literal: $($g:expr),*) => {
        $crate::autograd::tape::Grads::from_buf_and_len(
            [$(Option::<$crate::Variable>::from($g)),*],
            $len,
        )
    };
    ($a:expr $(,)?) => { $crate::autograd::tape::grads!(@padded 1: $a, None, None) };
    ($a:expr, $b:expr $(,)?) => { $crate::autograd::tape::grads!(@padded 2: $a, $b, None) };
    ($($g:expr),* $(,)?) => {
        $crate::autograd::tape::Grads::from_iter([$(Option::<$crate::Variable>::from($g)),*])
    };
}
pub(crate) use grads;

/// An input that a gradient function reads: the values as they were, and the variable they were.
pub(crate) struct Saved {
    var: Variable,
    data: Tensor,
}

impl Saved {
    pub fn new(var: &Variable) -> Self {
        Saved { var: var.clone(), data: var.data() }
    }

    /// The values at the time of the forward, even if the variable has others by now.
    pub fn data(&self) -> &Tensor {
        &self.data
    }

    /// The variable, to compute with. When this pass records, it must still have its values.
    pub fn get(&self) -> Result<Variable> {
        if self.var.with_data(|now| now.is_same_view(&self.data)) {
            return Ok(self.var.clone());
        }
        if is_grad_enabled() && self.var.requires_grad() {
            return Err(crate::Error::Autograd {
                op: "backward",
                what: "a variable was changed between the forward and this backward, which \
                       create_graph cannot follow"
                    .into(),
            });
        }
        Ok(Variable::constant(self.data.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorOptions;

    fn one() -> Tensor {
        Tensor::ones(&[1], TensorOptions::default()).unwrap()
    }

    fn spare() -> usize {
        DEAD.with(|dead| dead.spare.borrow().len())
    }

    #[test]
    fn a_dead_node_lets_go_of_what_it_held_and_is_used_again() {
        let x = Variable::new(one(), true);
        let held = Rc::new(());
        let saved = held.clone();
        let y = record("first", one(), &[&x, &x], move |ctx| {
            let _ = &saved;
            Ok(grads![ctx.grad(), ctx.grad()])
        });
        assert_eq!((Rc::strong_count(&held), spare()), (2, 0));
        drop(y);
        assert_eq!((Rc::strong_count(&held), spare()), (1, 1));

        let pass = |ctx: &Ctx<'_>| Ok(grads![ctx.grad_of(1), ctx.grad_of(0), None]);
        let outputs = record_many("second", vec![one(), one()], &[&x, &x, &x], pass);
        assert_eq!(spare(), 0);
        let node = &outputs[0].grad_fn().unwrap().node;
        assert_eq!((node.name, node.edges.borrow().len()), ("second", 3));
        assert_eq!(node.pending.borrow().len(), 2);
        outputs[1].backward().unwrap();
        assert_eq!(x.grad().unwrap().to_f32_vec().unwrap(), [1.0]);
    }

    #[test]
    fn only_so_many_dead_nodes_are_kept() {
        let x = Variable::new(one(), true);
        let mut y = x.clone();
        for _ in 0..2 * SPARE {
            y = y.add(&x).unwrap();
        }
        drop(y);
        assert_eq!(spare(), SPARE);
    }
}
