//! The fluent description of a graph. Nothing is checked here: `build` does, all at once.

use std::rc::Rc;

use super::describe::NodeKind;
use super::loops::LoopBuilder;
use super::map::MapBuilder;
use super::plan::{MergeOp, Node, Slot};
use super::{Graph, compile, plan};
use crate::{Module, Result};

/// A list of modules of different types, as [`FlowBuilder::split`], [`FlowBuilder::gate`] and
/// [`FlowBuilder::switch`] take it.
///
/// ```
/// use flodl::*;
/// let branches: Vec<Box<dyn Module>> = modules![Linear::new(4, 4)?, ReLU];
/// assert_eq!(branches.len(), 2);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! modules {
    ($($module:expr),* $(,)?) => {
        vec![$(Box::new($module) as Box<dyn $crate::Module>),*]
    };
}

/// A name for a value.
pub(super) struct Tag {
    pub name: String,
    pub slot: Slot,
    /// Number of nodes that stood before the tag.
    pub after: usize,
    /// The node that it names the value of.
    pub node: Option<usize>,
}

/// Describes a graph, piece by piece along its stream.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(4, 8)?)
///     .through(ReLU)
///     .tag("hidden")
///     .also(Linear::new(8, 8)?) // x + f(x)
///     .split(modules![Linear::new(8, 2)?, Linear::new(8, 2)?])
///     .merge(MergeOp::Mean)
///     .build()?;
/// let x = Variable::new(Tensor::ones(&[3, 4], TensorOptions::default())?, false);
/// assert_eq!(model.forward(&x)?.shape(), [3, 2]);
/// assert_eq!(model.tagged("hidden").unwrap().shape(), [3, 8]);
/// assert_eq!(model.named_parameters()[0].0, "0.weight");
/// # Ok::<(), Error>(())
/// ```
pub struct FlowBuilder {
    pub(super) modules: Vec<Rc<dyn Module>>,
    pub(super) nodes: Vec<Node>,
    pub(super) slots: usize,
    pub(super) stream: Slot,
    /// The value that `tag` names: the stream, or a fork's.
    last: Slot,
    /// Nodes of a split that is not merged yet.
    pub(super) open: Option<Vec<usize>>,
    pub(super) tags: Vec<Tag>,
    pub(super) groups: Vec<(String, Vec<String>)>,
    pub(super) inputs: Vec<(String, Slot)>,
    pub(super) internal: Vec<String>,
    pub(super) label: Option<String>,
    pub(super) verbose: bool,
    pub(super) fuse: bool,
    pub(super) problems: Vec<String>,
    /// Names that were refused, so that they are not missed as well. A group's stand for all of
    /// its members.
    pub(super) refused: Vec<String>,
    pub(super) refused_groups: Vec<String>,
}

impl Default for FlowBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FlowBuilder {
    /// A stream that starts with the input itself.
    pub fn new() -> Self {
        FlowBuilder {
            modules: Vec::new(),
            nodes: Vec::new(),
            slots: 1,
            stream: 0,
            last: 0,
            open: None,
            tags: Vec::new(),
            groups: Vec::new(),
            inputs: Vec::new(),
            internal: Vec::new(),
            label: None,
            verbose: false,
            fuse: true,
            problems: Vec::new(),
            refused: Vec::new(),
            refused_groups: Vec::new(),
        }
    }

    /// A stream that starts with a module.
    #[allow(clippy::should_implement_trait)]
    pub fn from(module: impl Module + 'static) -> Self {
        Self::new().through(module)
    }

    /// Names the graph. In a parent graph the name takes the place of the node's number in the
    /// paths of parameters (`encoder.0.weight`), and dotted paths lead to what is inside.
    pub fn label(mut self, name: &str) -> Self {
        self.label = Some(name.to_owned());
        self
    }

    /// Hides a tag from the paths of parent graphs.
    pub fn internal(mut self, tag: &str) -> Self {
        self.internal.push(tag.to_owned());
        self
    }

    /// Whether `build` prints what it has built.
    pub fn verbose(mut self, enabled: bool) -> Self {
        self.verbose = enabled;
        self
    }

    /// Whether neighbouring nodes may run as one; they may unless this says `false`. Results differ
    /// by rounding only.
    ///
    /// A linear layer takes the activation behind it along, a batch norm of the batch's own statistics
    /// the ReLU, and a sum (`also`, `also_with`, a merge of two) the layer or RMS norm behind it, in
    /// training too. When nothing is recorded, a batch norm in inference is folded into the convolution
    /// or linear layer before it, and a ReLU after a convolution runs on its output in place. A value
    /// in between that has a tag or a second reader forbids it. Changed weights, statistics and modes
    /// are seen by the next forward. `false` reaches the graphs inside, which may be built already; `true` leaves them
    /// as they are. [`Graph::set_fusion`] changes it later.
    pub fn fuse(mut self, enabled: bool) -> Self {
        self.fuse = enabled;
        self
    }

    /// Passes the stream through a module.
    pub fn through(self, module: impl Module + 'static) -> Self {
        self.node(NodeKind::Module, vec![Rc::new(module)])
    }

    /// A side branch: the stream stays as it is, the module's output is reachable by its tag.
    pub fn fork(self, module: impl Module + 'static) -> Self {
        self.node(NodeKind::Fork, vec![Rc::new(module)])
    }

    /// A residual: the stream plus what the module makes of it.
    pub fn also(self, module: impl Module + 'static) -> Self {
        self.node(NodeKind::Residual, vec![Rc::new(module)])
    }

    /// Two branches of the stream, added: skip(x) + main(x). `using` after it goes to `main`.
    pub fn also_with(self, skip: impl Module + 'static, main: impl Module + 'static) -> Self {
        self.node(NodeKind::Shortcut, vec![Rc::new(skip), Rc::new(main)])
    }

    /// Names the value at this point.
    pub fn tag(mut self, name: &str) -> Self {
        if self.open.is_some() {
            self.problems.push(format!(
                "tag(\"{name}\") stands in an open split of several values: use tag_group, or \
                 merge first"
            ));
            self.refused.push(name.to_owned());
            return self;
        }
        let node = self.nodes.iter().position(|n| n.output == self.last);
        self.push_tag(name.to_owned(), self.last, node);
        self
    }

    /// Names the branches of the split before it: `name_0`, `name_1`, …
    pub fn tag_group(mut self, name: &str) -> Self {
        let Some(branches) = self.open.clone() else {
            self.problems.push(format!(
                "tag_group(\"{name}\") does not stand right after a split: use tag for one value"
            ));
            self.refused_groups.push(name.to_owned());
            return self;
        };
        if self.groups.iter().any(|(n, _)| n == name) {
            self.problems.push(format!("tag_group(\"{name}\") appears twice"));
            self.refused_groups.push(name.to_owned());
            return self;
        }
        if branches.is_empty() {
            self.refused_groups.push(name.to_owned());
        }
        let mut members = Vec::new();
        for (i, node) in branches.into_iter().enumerate() {
            let member = format!("{name}_{i}");
            self.push_tag(member.clone(), self.nodes[node].output, Some(node));
            members.push(member);
        }
        self.groups.push((name.to_owned(), members));
        self
    }

    fn push_tag(&mut self, name: String, slot: Slot, node: Option<usize>) {
        self.tags.push(Tag { name, slot, after: self.nodes.len(), node });
    }

    /// Declares more inputs, which [`Graph::forward_multi`] takes after the main one in this
    /// order. Their names are tags.
    pub fn input(mut self, names: &[&str]) -> Self {
        for &name in names {
            let slot = self.slot();
            // In the pass from the start, wherever it is declared.
            self.tags.push(Tag { name: name.to_owned(), slot, after: 0, node: None });
            self.inputs.push((name.to_owned(), slot));
        }
        self
    }

    /// Hands named values to the module before it, which must be a
    /// [`crate::NamedInputModule`] (or the body of a loop). A tag that appears later is a forward
    /// reference: its value is carried from one forward to the next, zeros of the stream's shape
    /// at first (nothing, for [`crate::StateAdd`]).
    pub fn using(mut self, refs: &[&str]) -> Self {
        let list = refs.join("\", \"");
        if self.open.is_some() {
            self.problems.push(format!(
                "using(\"{list}\") stands after a split: a graph with `using` inside may be a \
                 branch"
            ));
        } else if let Some(node) = self.nodes.last_mut() {
            node.using.extend(refs.iter().map(|&r| r.to_owned()));
        } else {
            self.problems.push(format!("using(\"{list}\") stands before any module"));
        }
        self
    }

    /// Parallel branches of the stream; [`FlowBuilder::merge`] joins them.
    pub fn split(mut self, modules: Vec<Box<dyn Module>>) -> Self {
        if modules.is_empty() {
            self.problems.push(format!("split after {} has no branches", self.place()));
        }
        let stream = self.stream_for("split");
        let mut branches = Vec::new();
        for module in modules {
            self.stream = stream;
            self = self.node(NodeKind::Branch, vec![Rc::from(module)]);
            branches.push(self.nodes.len() - 1);
        }
        self.open = Some(branches);
        self
    }

    /// Joins the branches of the split before it.
    pub fn merge(mut self, op: MergeOp) -> Self {
        let branches = self.open.take().unwrap_or_else(|| {
            self.problems.push(format!("merge after {} has no split before it", self.place()));
            Vec::new()
        });
        let mut inputs: Vec<Slot> = branches.iter().map(|&n| self.nodes[n].output).collect();
        if inputs.is_empty() {
            // Reported; what follows is checked as if there were a merge.
            inputs.push(self.stream);
        }
        self.push(NodeKind::Merge(op), vec![], inputs);
        self
    }

    /// A loop; say its end with `for_n`, `while_cond` or `until_cond`.
    pub fn loop_body(self, body: impl Module + 'static) -> LoopBuilder {
        LoopBuilder::new(self, Rc::new(body))
    }

    /// Runs the branch that the selector chooses, and no other. The selector returns one number
    /// for the whole batch; no gradient reaches it. `using` after it goes to the selector.
    pub fn switch(self, router: impl Module + 'static, branches: Vec<Box<dyn Module>>) -> Self {
        let mut modules: Vec<Rc<dyn Module>> = vec![Rc::new(router)];
        modules.extend(branches.into_iter().map(Rc::from));
        self.node(NodeKind::Switch, modules)
    }

    /// Runs all experts and sums their outputs, each weighted by its column of the router's
    /// output `[…, experts]`. `using` after it goes to the router.
    pub fn gate(self, router: impl Module + 'static, experts: Vec<Box<dyn Module>>) -> Self {
        let mut modules: Vec<Rc<dyn Module>> = vec![Rc::new(router)];
        modules.extend(experts.into_iter().map(Rc::from));
        self.node(NodeKind::Gate, modules)
    }

    /// A body applied to each of many parts; say which with `each`, `over` or `slices`.
    pub fn map(self, body: impl Module + 'static) -> MapBuilder {
        MapBuilder::new(self, Rc::new(body))
    }

    /// Checks the description and compiles it.
    ///
    /// # Errors
    /// When anything is wrong; the message lists every mistake and names its node and tag.
    pub fn build(self) -> Result<Graph> {
        compile::compile(self)
    }

    /// Appends a node that reads the stream.
    pub(super) fn node(mut self, kind: NodeKind, modules: Vec<Rc<dyn Module>>) -> Self {
        let word = kind.word();
        let input = self.stream_for(word);
        self.push(kind, modules, vec![input]);
        self
    }

    fn push(&mut self, kind: NodeKind, modules: Vec<Rc<dyn Module>>, inputs: Vec<Slot>) {
        let output = self.slot();
        let first = self.modules.len();
        let numbers = (first..first + modules.len()).collect();
        self.modules.extend(modules);
        self.last = output;
        if !matches!(kind, NodeKind::Fork) {
            self.stream = output;
        }
        let (using, over) = Default::default();
        self.nodes.push(Node { kind, modules: numbers, inputs, output, using, over });
    }

    /// Makes the last node a map over a tag.
    pub(super) fn over(mut self, tag: &str) -> Self {
        if let Some(node) = self.nodes.last_mut() {
            node.over = Some(tag.to_owned());
        }
        self
    }

    /// The stream, which an open split has several of.
    fn stream_for(&mut self, word: &str) -> Slot {
        if let Some(&first) = self.open.take().as_ref().and_then(|branches| branches.first()) {
            let first = self.describe(first);
            self.problems.push(format!(
                "split with the branches from {first} on is not merged before {word}: {word} \
                 needs one stream"
            ));
        }
        self.stream
    }

    fn slot(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    /// Whether a name was to be one, had it not been refused.
    pub(super) fn is_refused(&self, name: &str) -> bool {
        let in_group = |group: &String| {
            let number = name.strip_prefix(&**group).and_then(|rest| rest.strip_prefix('_'));
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        self.refused.iter().any(|n| n == name) || self.refused_groups.iter().any(in_group)
    }

    /// The last node, for messages.
    fn place(&self) -> String {
        match self.nodes.len() {
            0 => "the input".into(),
            n => self.describe(n - 1),
        }
    }

    /// A node's number and module, for messages.
    pub(super) fn describe(&self, node: usize) -> String {
        let node = &self.nodes[node];
        plan::place(node.kind, &node.modules, &self.modules)
    }
}
