//! The walker: from the newest node to the oldest, without recursion.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use smallvec::SmallVec;

use super::Variable;
use super::tape::{Ctx, Edge, GradMode, Later, NodeRef, is_grad_enabled, no_grad};
use crate::{Error, Result, Tensor};

thread_local! {
    static PASS: Cell<u64> = const { Cell::new(0) };
}

/// How a backward pass runs.
#[derive(Clone, Default)]
pub struct BackwardOptions {
    /// Gradient of the start, of its shape; `None` means 1 and needs a one-element start.
    pub gradient: Option<Variable>,
    /// Keep what the tape has saved, for another pass.
    pub retain_graph: bool,
    /// Record the pass itself, so that its gradients can be differentiated; keeps the tape too.
    pub create_graph: bool,
}

impl BackwardOptions {
    /// Keeps the tape for another pass.
    pub fn retain_graph(mut self) -> Self {
        self.retain_graph = true;
        self
    }

    /// Makes the gradients differentiable.
    pub fn create_graph(mut self) -> Self {
        self.create_graph = true;
        self.retain_graph = true;
        self
    }

    /// Starts from this gradient.
    pub fn gradient(mut self, gradient: Variable) -> Self {
        self.gradient = Some(gradient);
        self
    }
}

/// Adds gradients to the leaves below `root`.
pub(crate) fn backward(root: &Variable, options: BackwardOptions) -> Result<()> {
    let start = start_gradient(root, options.gradient.clone())?;
    walk(&[(root.clone(), start)], &[], &options).map(|_| ())
}

/// Gradients of `outputs` with respect to `inputs`, leaving every [`Variable::grad`] as it is.
/// `None` for an input that no output depends on.
///
/// `grad_outputs` holds one gradient per output, or `None` for 1 (then the output must have one
/// element). With `create_graph` in the options the results can be differentiated again.
///
/// # Errors
/// When an output does not require a gradient, shapes differ, or the tape was freed.
///
/// ```
/// use flodl::*;
/// let x = Variable::new(Tensor::full(&[1], 3.0, TensorOptions::default())?, true);
/// let y = x.pow_scalar(3.0)?;
/// let options = BackwardOptions::default().create_graph();
/// let first = grad(&[&y], &[&x], &[None], options)?.remove(0).unwrap();
/// let second = grad(&[&first], &[&x], &[None], Default::default())?.remove(0).unwrap();
/// assert_eq!((first.item()?, second.item()?), (27.0, 18.0));
/// # Ok::<(), Error>(())
/// ```
pub fn grad(
    outputs: &[&Variable],
    inputs: &[&Variable],
    grad_outputs: &[Option<Variable>],
    options: BackwardOptions,
) -> Result<Vec<Option<Variable>>> {
    if outputs.len() != grad_outputs.len() {
        return Err(Error::invalid(
            "grad",
            format!("{} outputs but {} grad_outputs", outputs.len(), grad_outputs.len()),
        ));
    }
    let roots = outputs
        .iter()
        .zip(grad_outputs)
        .map(|(&output, g)| Ok((output.clone(), start_gradient(output, g.clone())?)))
        .collect::<Result<Vec<_>>>()?;
    walk(&roots, inputs, &options)
}

fn start_gradient(root: &Variable, gradient: Option<Variable>) -> Result<Variable> {
    if !root.requires_grad() {
        return Err(Error::Autograd {
            op: "backward",
            what: "this variable does not require a gradient: nothing it was computed from does, \
                   or it was computed under no_grad"
                .into(),
        });
    }
    match gradient {
        None if root.numel() == 1 => {
            let ones = root.with_data(Tensor::ones_like)?;
            Ok(Variable::constant(ones))
        }
        None => Err(Error::Autograd {
            op: "backward",
            what: format!(
                "expected a one-element variable, got shape {:?}; reduce it with sum() or mean(), \
                 or pass a gradient",
                root.shape()
            ),
        }),
        Some(g) if g.shape() == root.shape() => Ok(g),
        Some(g) => Err(Error::ShapeMismatch {
            op: "backward",
            lhs: root.shape(),
            rhs: g.shape(),
            why: "the gradient must have the variable's shape".into(),
        }),
    }
}

/// One pass. With `inputs` empty it accumulates into leaves, else it returns gradients for them.
fn walk(
    roots: &[(Variable, Variable)],
    inputs: &[&Variable],
    options: &BackwardOptions,
) -> Result<Vec<Option<Variable>>> {
    let _mode = GradMode::set(options.create_graph);
    let keep = options.retain_graph || options.create_graph;
    let mut sink = Sink { inputs, found: vec![None; inputs.len()], way: HashSet::new() };
    let mut order = collect(roots, inputs);
    if !inputs.is_empty() {
        order = only_towards(inputs, order);
        sink.way = order.iter().map(|node| node.seq).collect();
    }
    for (root, gradient) in roots {
        deliver(&root.edge(), gradient.clone(), &mut sink)?;
    }
    let later = RefCell::default();
    let mut result = run(&order, keep, &mut sink, &later);
    for f in later.take() {
        result = result.and_then(|()| f());
    }
    // Nodes whose turn did not come (an error, or not on the way to an input) must not keep
    // gradients for the next pass.
    if result.is_err() || !inputs.is_empty() {
        let starts = roots.iter().filter_map(|(root, _)| root.grad_fn()).map(|f| &f.node);
        for node in order.iter().chain(starts) {
            node.pending.borrow_mut().iter_mut().for_each(|g| *g = None);
        }
    }
    result.map(|()| sink.found)
}

/// Every node that the roots depend on, newest first.
fn collect(roots: &[(Variable, Variable)], inputs: &[&Variable]) -> Vec<NodeRef> {
    let pass = PASS.get() + 1;
    PASS.set(pass);
    // A node older than every input cannot lie between a root and an input.
    let is_leaf = |v: &&&Variable| v.grad_fn().is_none();
    let oldest = if inputs.is_empty() || inputs.iter().any(|v| is_leaf(&v)) {
        0
    } else {
        inputs.iter().filter_map(|v| v.grad_fn()).map(|f| f.node.seq).min().unwrap_or(0)
    };
    let mut order: Vec<NodeRef> = Vec::new();
    let mut stack: SmallVec<[NodeRef; 8]> =
        roots.iter().filter_map(|(root, _)| root.grad_fn()).map(|f| f.node.clone()).collect();
    while let Some(node) = stack.pop() {
        if node.visited.replace(pass) == pass {
            continue;
        }
        if node.seq > oldest {
            for edge in node.edges.borrow().iter() {
                if let Edge::Node(next, _) = edge
                    && next.visited.get() != pass
                {
                    stack.push(next.clone());
                }
            }
        }
        order.push(node);
    }
    // A chain comes out sorted; only branches cost anything here.
    order.sort_by_key(|node| std::cmp::Reverse(node.seq));
    order
}

/// Keeps the nodes from which an input can be reached.
fn only_towards(inputs: &[&Variable], order: Vec<NodeRef>) -> Vec<NodeRef> {
    let wanted: HashSet<u64> =
        inputs.iter().filter_map(|v| v.grad_fn()).map(|f| f.node.seq).collect();
    let leaves: HashSet<usize> =
        inputs.iter().filter(|v| v.grad_fn().is_none()).map(|v| v.id()).collect();
    let mut leads = wanted.clone();
    let mut kept: Vec<NodeRef> = Vec::new();
    for node in order.into_iter().rev() {
        let reaches = node.edges.borrow().iter().any(|edge| match edge {
            Edge::None => false,
            Edge::Node(next, _) => leads.contains(&next.seq),
            Edge::Leaf(leaf) => leaves.contains(&leaf.id()),
        });
        if reaches || wanted.contains(&node.seq) {
            leads.insert(node.seq);
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

/// Where gradients end up.
struct Sink<'a> {
    inputs: &'a [&'a Variable],
    found: Vec<Option<Variable>>,
    /// With inputs, the nodes between them and the roots.
    way: HashSet<u64>,
}

impl Sink<'_> {
    /// Takes the gradient of a node's outputs if they are among the inputs.
    fn capture(&mut self, node: &NodeRef) {
        for (input, found) in self.inputs.iter().zip(&mut self.found) {
            if let Some(f) = input.grad_fn()
                && f.node.is(node)
            {
                *found = node.pending.borrow()[f.output as usize].clone();
            }
        }
    }
}

fn run(
    order: &[NodeRef],
    keep: bool,
    sink: &mut Sink<'_>,
    later: &RefCell<Vec<Later>>,
) -> Result<()> {
    for node in order {
        sink.capture(node);
        let grads = {
            let mut pending = node.pending.borrow_mut();
            if pending.iter().all(Option::is_none) {
                continue;
            }
            match &mut pending[..] {
                [only] => SmallVec::from_buf([only.take()]),
                all => all.iter_mut().map(Option::take).collect(),
            }
        };
        if !sink.inputs.is_empty() && !has_way(node, sink) {
            continue;
        }
        let backward = if keep { None } else { node.backward.borrow_mut().take() };
        let borrowed = node.backward.borrow();
        let function = backward.as_ref().or(borrowed.as_ref()).ok_or_else(|| Error::Autograd {
            op: node.name,
            what: "what backward needs was freed by an earlier backward; pass retain_graph to the \
                   first one"
                .into(),
        })?;
        let to_leaves = sink.inputs.is_empty();
        let grads = RefCell::new(grads);
        let ctx = Ctx { node, grads, to_leaves, later };
        let mut results = function(&ctx)?;
        drop(borrowed);
        drop(backward);
        let edges = node.edges.borrow();
        debug_assert_eq!(results.len(), edges.len(), "{}: gradients and inputs differ", node.name);
        for (edge, gradient) in edges.iter().zip(&mut results) {
            if let Some(gradient) = gradient.take() {
                deliver(edge, gradient, sink)?;
            }
        }
    }
    Ok(())
}

/// Whether running this node brings a gradient nearer to an input.
fn has_way(node: &NodeRef, sink: &Sink<'_>) -> bool {
    // The node of an input is run only when another input lies behind it.
    let is_input = sink.inputs.iter().any(|v| v.grad_fn().is_some_and(|f| f.node.is(node)));
    !is_input
        || sink.inputs.iter().any(|v| match v.grad_fn() {
            Some(f) => f.node.seq < node.seq,
            None => true,
        })
}

/// Hands a gradient on along an edge.
fn deliver(edge: &Edge, mut gradient: Variable, sink: &mut Sink<'_>) -> Result<()> {
    match edge {
        Edge::None => Ok(()),
        // A node behind the inputs may be in the middle of another pass, whose gradients it keeps.
        Edge::Node(node, _) if !sink.inputs.is_empty() && !sink.way.contains(&node.seq) => Ok(()),
        Edge::Node(node, output) => {
            accumulate(&mut node.pending.borrow_mut()[*output as usize], gradient)
        }
        Edge::Leaf(leaf) if sink.inputs.is_empty() => {
            // A gradient may be a broadcast view; what a leaf keeps is its own memory.
            if !gradient.with_data(Tensor::is_contiguous) && !gradient.requires_grad() {
                gradient = Variable::constant(gradient.with_data(Tensor::contiguous)?);
            }
            add_to_leaf(leaf, gradient)
        }
        Edge::Leaf(leaf) => {
            for (input, found) in sink.inputs.iter().zip(&mut sink.found) {
                if input.id() == leaf.id() {
                    accumulate(found, gradient.clone())?;
                }
            }
            Ok(())
        }
    }
}

/// Adds a gradient to a leaf's, which stays as it was on an error.
pub(crate) fn add_to_leaf(leaf: &Variable, gradient: Variable) -> Result<()> {
    let mut sum = leaf.take_grad();
    let added = accumulate(&mut sum, gradient);
    leaf.put_grad(sum);
    added
}

/// The first gradient is moved, later ones are added.
#[inline]
fn accumulate(slot: &mut Option<Variable>, gradient: Variable) -> Result<()> {
    match slot {
        Some(sum) => add_up(sum, &gradient),
        None => {
            *slot = Some(gradient);
            Ok(())
        }
    }
}

/// Adds a gradient to another, in place where nobody else holds that.
fn add_up(sum: &mut Variable, gradient: &Variable) -> Result<()> {
    let recorded = is_grad_enabled() && (sum.requires_grad() || gradient.requires_grad());
    let in_place = !recorded
        && sum.is_unshared()
        && sum.with_data(|s| s.is_unshared() && s.is_contiguous())
        && sum.has_dims_of(gradient);
    if in_place {
        return sum.with_data_mut(|s| gradient.with_data(|g| s.add_(g)));
    }
    *sum = if recorded { sum.add(gradient)? } else { no_grad(|| sum.add(gradient))? };
    Ok(())
}
