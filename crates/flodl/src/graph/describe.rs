//! A graph as plain data, for pictures and summaries.

use std::time::Duration;

use super::loops::LoopEnd;
use super::map::MapOver;
use super::plan::MergeOp;
use super::refs::Source;
use super::tree::as_graph;
use super::watch::{self, Path, Seen};
use super::{Graph, GraphExt};
use crate::Parameter;

/// What a node does: one word of the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `through`.
    Module,
    /// `fork`: the stream goes on beside it.
    Fork,
    /// One branch of a `split`.
    Branch,
    /// `also`: x + m(x).
    Residual,
    /// `also_with`: skip(x) + main(x).
    Shortcut,
    /// `merge`.
    Merge(MergeOp),
    /// `loop_body`.
    Loop(LoopEnd),
    /// `gate`.
    Gate,
    /// `switch`.
    Switch,
    /// `map`, and whether it is batched.
    Map(MapOver, bool),
}

impl NodeKind {
    /// The builder's word for it.
    pub fn word(self) -> &'static str {
        match self {
            NodeKind::Module => "through",
            NodeKind::Fork => "fork",
            NodeKind::Branch => "split",
            NodeKind::Residual => "also",
            NodeKind::Shortcut => "also_with",
            NodeKind::Merge(_) => "merge",
            NodeKind::Loop(_) => "loop",
            NodeKind::Gate => "gate",
            NodeKind::Switch => "switch",
            NodeKind::Map(..) => "map",
        }
    }
}

/// What a module is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartRole {
    /// The only module.
    Main,
    /// The first of `also_with`.
    Skip,
    /// The body of a loop or map.
    Body,
    /// The condition of a loop.
    Condition,
    /// The router of a gate, the selector of a switch.
    Router,
    /// An expert of a gate, a branch of a switch.
    Branch,
}

/// One module of a node.
#[derive(Clone, Debug)]
pub struct PartInfo {
    /// What it is to its node.
    pub role: PartRole,
    /// Its name in the paths of parameters: a number, or a sub-graph's label.
    pub path: String,
    /// What kind of module it is.
    pub name: String,
    /// Number of learnable values.
    pub parameters: i64,
    /// Whether all of its parameters are frozen.
    pub frozen: bool,
    /// Shape of its last output in the last [`Graph::watch`] or [`Graph::summary`].
    pub shape: Option<Vec<i64>>,
    /// Sizes of a layer with a weight: `4 → 8`, `3 → 16, 3×3`.
    pub sizes: Option<String>,
    /// Its time in the last forward under profiling; `None` if it did not run.
    pub time: Option<Duration>,
    /// The inside, when it is a graph.
    pub graph: Option<GraphInfo>,
}

/// One node: a step of the graph.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The path of its first module, or `merge` and a number.
    pub id: String,
    /// What it does.
    pub kind: NodeKind,
    /// Its modules; none for a merge.
    pub parts: Vec<PartInfo>,
    /// Names of its output.
    pub tags: Vec<String>,
    /// Shape of its last output in the last [`Graph::watch`] or [`Graph::summary`].
    pub shape: Option<Vec<i64>>,
    /// Time of the last forward under profiling.
    pub time: Option<Duration>,
}

/// Where an edge starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeFrom {
    /// An input of the graph: 0 is the main one.
    Input(usize),
    /// A node's output.
    Node(usize),
}

/// What an edge carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// The stream.
    Stream,
    /// A tagged value that `using` hands on within the pass.
    Reference(String),
    /// A tagged value that is carried to the next forward.
    Carried(String),
}

/// A value on its way to a node.
#[derive(Clone, Debug)]
pub struct EdgeInfo {
    /// Where it comes from.
    pub from: EdgeFrom,
    /// The node that reads it.
    pub to: usize,
    /// What it carries.
    pub kind: EdgeKind,
}

impl EdgeInfo {
    /// Whether it carries a value to the next forward.
    pub fn is_carried(&self) -> bool {
        matches!(self.kind, EdgeKind::Carried(_))
    }
}

/// A graph as plain data.
#[derive(Clone, Debug)]
pub struct GraphInfo {
    /// The graph's label.
    pub label: Option<String>,
    /// Names of the inputs after the main one.
    pub inputs: Vec<String>,
    /// The nodes in the order in which they run.
    pub nodes: Vec<NodeInfo>,
    /// The edges, by the node that they lead to.
    pub edges: Vec<EdgeInfo>,
    /// Where the output comes from.
    pub output: EdgeFrom,
    /// Groups of tags.
    pub groups: Vec<(String, Vec<String>)>,
}

impl Graph {
    /// The graph as plain data: nodes, edges, tags, parameter counts, sub-graphs inside.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(4, 4)?).tag("h").also(ReLU).build()?;
    /// let info = model.describe();
    /// assert_eq!(info.nodes[0].parts[0].parameters, 20);
    /// assert_eq!((info.nodes[0].tags[0].as_str(), info.nodes[1].kind), ("h", NodeKind::Residual));
    /// assert_eq!(info.edges[1].from, EdgeFrom::Node(0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn describe(&self) -> GraphInfo {
        self.describe_at(&self.seen.borrow(), &mut Path::new())
    }

    /// What it looks like at the place `path`, which a watched forward of the outermost graph has
    /// seen.
    fn describe_at(&self, seen: &Seen, path: &mut Path) -> GraphInfo {
        path.push(watch::name(self));
        let nodes = (0..self.nodes.len()).map(|i| self.describe_node(i, seen, path)).collect();
        path.pop();
        GraphInfo {
            label: self.label().map(str::to_owned),
            inputs: self.inputs.iter().map(|(name, _)| name.clone()).collect(),
            nodes,
            edges: self.edges(),
            output: self.origin(self.output),
            groups: self.groups.clone(),
        }
    }

    fn describe_node(&self, index: usize, seen: &Seen, path: &mut Path) -> NodeInfo {
        let node = &self.nodes[index];
        path.push(index);
        let parts: Vec<PartInfo> = node
            .modules
            .iter()
            .enumerate()
            .map(|(i, &m)| self.describe_part(index, i, m, seen, path))
            .collect();
        let shape = seen.shape(path);
        path.pop();
        let id = parts.first().map_or_else(|| format!("merge_{index}"), |p| p.path.clone());
        let tags = self.tags.iter().filter(|t| t.node == Some(index));
        NodeInfo {
            id,
            kind: node.kind,
            parts,
            tags: tags.map(|t| t.name.clone()).collect(),
            shape,
            time: self.times.borrow().nodes.get(index).copied(),
        }
    }

    fn describe_part(
        &self,
        node: usize,
        index: usize,
        number: usize,
        seen: &Seen,
        path: &mut Path,
    ) -> PartInfo {
        let role = match (self.nodes[node].kind, index) {
            (NodeKind::Shortcut, 0) => PartRole::Skip,
            (NodeKind::Loop(_), 0) | (NodeKind::Map(..), _) => PartRole::Body,
            (NodeKind::Loop(_), _) => PartRole::Condition,
            (NodeKind::Gate | NodeKind::Switch, 0) => PartRole::Router,
            (NodeKind::Gate | NodeKind::Switch, _) => PartRole::Branch,
            _ => PartRole::Main,
        };
        let module = &*self.modules[number];
        let parameters = module.parameters();
        path.push(index);
        let shape = seen.shape(path);
        let graph = module.as_graph().map(|graph| graph.describe_at(seen, path));
        path.pop();
        PartInfo {
            role,
            path: self.module_path(number),
            name: module.name().to_owned(),
            parameters: parameters.iter().map(|p| p.variable.numel()).sum(),
            frozen: !parameters.is_empty() && parameters.iter().all(crate::Parameter::is_frozen),
            shape,
            sizes: sizes(module.name(), &parameters),
            time: self.times.borrow().part(node, index),
            graph,
        }
    }

    fn edges(&self) -> Vec<EdgeInfo> {
        let mut edges = Vec::new();
        for (to, node) in self.nodes.iter().enumerate() {
            for &slot in &node.inputs {
                edges.push(EdgeInfo { from: self.origin(slot), to, kind: EdgeKind::Stream });
            }
            for (name, source) in &node.using {
                let (slot, kind) = match *source {
                    Source::Slot(slot) => (slot, EdgeKind::Reference(name.clone())),
                    Source::State(i) => (self.carried[i], EdgeKind::Carried(name.clone())),
                };
                edges.push(EdgeInfo { from: self.origin(slot), to, kind });
            }
        }
        edges
    }

    fn origin(&self, slot: usize) -> EdgeFrom {
        if let Some(node) = self.nodes.iter().position(|n| n.output == slot) {
            return EdgeFrom::Node(node);
        }
        let input = self.inputs.iter().position(|(_, s)| *s == slot);
        EdgeFrom::Input(input.map_or(0, |i| i + 1))
    }

    /// What a module is called in the paths of parameters.
    pub(super) fn module_path(&self, number: usize) -> String {
        match as_graph(&*self.modules[number]).and_then(Graph::label) {
            Some(label) => label.to_owned(),
            None => number.to_string(),
        }
    }
}

/// Channels or features in and out, then the kernel.
fn sizes(name: &str, parameters: &[Parameter]) -> Option<String> {
    let weight = parameters.iter().find(|p| p.name == "weight")?.variable.shape();
    let turned = name.starts_with("ConvTranspose");
    if name != "Linear" && name != "Embedding" && !name.starts_with("Conv") {
        return None;
    }
    let (&[a, b], kernel) = weight.split_first_chunk::<2>()?;
    // Weights stand as [out, in], but for embeddings and transposed convolutions.
    let (from, to) = if turned || name == "Embedding" { (a, b) } else { (b, a) };
    let kernel: Vec<String> = kernel.iter().map(i64::to_string).collect();
    let kernel = if kernel.is_empty() { String::new() } else { format!(", {}", kernel.join("×")) };
    Some(format!("{from} → {to}{kernel}"))
}
