//! What is to be drawn: boxes and arrows, from a graph's plain data.

use std::time::Duration;

use super::layout::Point;
use crate::graph::timing::short;
use crate::{
    EdgeFrom, EdgeInfo, EdgeKind, GraphInfo, LoopEnd, MapOver, MergeOp, NodeInfo, NodeKind,
    PartInfo, PartRole,
};

/// What an item looks like.
pub(super) enum Shape {
    /// A box with a name and lines below it.
    Leaf,
    /// A rounded label: inputs, outputs, merges.
    Pill,
    /// A sign in a circle.
    Circle,
    /// Where a value enters or leaves a cluster.
    Dot,
    /// A box around a flow.
    Cluster(Flow),
}

/// What an item is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tint {
    Plain,
    Dense,
    Convolution,
    Norm,
    Recurrent,
    Attention,
    Route,
    Port,
}

/// A box with its place in the flow that holds it.
pub(super) struct Item {
    /// Path of the node in the graph, for tools that read the picture.
    pub id: String,
    pub title: String,
    pub lines: Vec<String>,
    /// Names of its value, drawn where it leaves.
    pub tags: Vec<String>,
    pub shape: Shape,
    pub tint: Tint,
    pub time: Option<Duration>,
    /// Width and height of what the item takes up, its tags included.
    pub size: Point,
    /// Width and height of the box alone, which stands at the top in the middle.
    pub body: Point,
    /// The middle of its upper edge.
    pub at: Point,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Stream,
    Reference,
    Carried,
    Repeat,
}

impl Link {
    /// Whether it leads backwards and is drawn at the side.
    pub fn is_back(self) -> bool {
        matches!(self, Link::Carried | Link::Repeat)
    }
}

pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    pub link: Link,
    /// Corners for backward edges, pairs of (end of straight, start of straight) for others.
    pub path: Vec<Point>,
}

/// Items and the edges between them.
#[derive(Default)]
pub(super) struct Flow {
    pub items: Vec<Item>,
    pub edges: Vec<Edge>,
    pub size: Point,
}

impl Flow {
    fn add(&mut self, item: Item) -> usize {
        self.items.push(item);
        self.items.len() - 1
    }

    fn link(&mut self, from: usize, to: usize, link: Link) {
        // A merge may read one branch twice; a second arrow on the first would not show.
        if !self.edges.iter().any(|e| (e.from, e.to, e.link) == (from, to, link)) {
            self.edges.push(Edge { from, to, link, path: Vec::new() });
        }
    }
}

fn item(id: &str, title: impl Into<String>, shape: Shape, tint: Tint) -> Item {
    Item {
        id: id.to_owned(),
        title: title.into(),
        lines: Vec::new(),
        tags: Vec::new(),
        shape,
        tint,
        time: None,
        size: Point::default(),
        body: Point::default(),
        at: Point::default(),
    }
}

/// The flow of a graph; `prefix` is its path, empty for the whole picture.
pub(super) fn sketch(info: &GraphInfo, prefix: &str) -> Flow {
    let mut flow = Flow::default();
    let whole = prefix.is_empty();
    let port = |name: &str, id: String| match (whole, name) {
        (true, name) => item(&id, name, Shape::Pill, Tint::Port),
        (false, "input" | "output") => item(&id, "", Shape::Dot, Tint::Port),
        (false, name) => item(&id, name, Shape::Pill, Tint::Port),
    };
    let reads_main = info.edges.iter().any(|e| e.from == EdgeFrom::Input(0))
        || info.output == EdgeFrom::Input(0);
    let mut inputs = Vec::new();
    for (i, name) in std::iter::once("input").chain(info.inputs.iter().map(|s| &**s)).enumerate() {
        let needed = i > 0 || reads_main || whole;
        inputs.push(needed.then(|| flow.add(port(name, format!("{prefix}input_{i}")))));
    }
    let mut ends: Vec<usize> = Vec::with_capacity(info.nodes.len());
    let mut starts: Vec<Vec<usize>> = Vec::with_capacity(info.nodes.len());
    for node in &info.nodes {
        let (entries, exit) = add_node(&mut flow, node, prefix);
        starts.push(entries);
        ends.push(exit);
    }
    let origin = |from: EdgeFrom| match from {
        EdgeFrom::Node(i) => Some(ends[i]),
        EdgeFrom::Input(i) => inputs.get(i).copied().flatten(),
    };
    for EdgeInfo { from, to, kind } in &info.edges {
        let Some(from) = origin(*from) else { continue };
        let (link, targets) = match kind {
            EdgeKind::Stream => (Link::Stream, &starts[*to][..]),
            // Named values go to the module that `using` speaks of: the last before the sum.
            EdgeKind::Reference(_) => (Link::Reference, named(info, *to, &starts)),
            EdgeKind::Carried(_) => (Link::Carried, named(info, *to, &starts)),
        };
        for &to in targets {
            flow.link(from, to, link);
        }
    }
    let output = flow.add(port("output", format!("{prefix}output")));
    if let Some(from) = origin(info.output) {
        flow.link(from, output, Link::Stream);
    }
    flow
}

fn named<'a>(info: &GraphInfo, node: usize, starts: &'a [Vec<usize>]) -> &'a [usize] {
    let at = usize::from(info.nodes[node].kind == NodeKind::Shortcut);
    &starts[node][at..=at]
}

/// Adds a node's items. Returns those that the stream goes into, and the one that it leaves.
fn add_node(flow: &mut Flow, node: &NodeInfo, prefix: &str) -> (Vec<usize>, usize) {
    let id = format!("{prefix}{}", node.id);
    // The box around a node's modules is not the first of them.
    let outer = format!("{id}.{}", node.kind.word());
    let part = |i: usize| of_part(&node.parts[i], prefix);
    let (entries, exit) = match node.kind {
        NodeKind::Module | NodeKind::Fork | NodeKind::Branch => {
            let at = flow.add(part(0));
            (vec![at], at)
        }
        NodeKind::Residual => {
            let (main, sum) = (flow.add(part(0)), flow.add(plus(&id)));
            flow.link(main, sum, Link::Stream);
            (vec![main, sum], sum)
        }
        NodeKind::Shortcut => {
            let (skip, main) = (flow.add(part(0)), flow.add(part(1)));
            let sum = flow.add(plus(&id));
            flow.link(skip, sum, Link::Stream);
            flow.link(main, sum, Link::Stream);
            (vec![skip, main], sum)
        }
        NodeKind::Merge(op) => {
            let at = flow.add(match op {
                MergeOp::Add => plus(&id),
                MergeOp::Mean => item(&id, "mean", Shape::Pill, Tint::Route),
                MergeOp::Cat(dim) => item(&id, format!("cat, dim {dim}"), Shape::Pill, Tint::Route),
            });
            (vec![at], at)
        }
        NodeKind::Loop(end) => {
            let at = flow.add(looped(node, end, &outer, prefix));
            (vec![at], at)
        }
        NodeKind::Gate | NodeKind::Switch => {
            let at = flow.add(routed(node, &outer, prefix));
            (vec![at], at)
        }
        NodeKind::Map(over, batched) => {
            let mut title = match over {
                MapOver::Entries => "map: each entry".to_owned(),
                MapOver::Slices(n) => format!("map: {n} slices"),
            };
            if batched {
                title.push_str(", batched");
            }
            let at = flow.add(around(&node.parts[0], None, title, &outer, prefix));
            (vec![at], at)
        }
    };
    let last = &mut flow.items[exit];
    last.tags.clone_from(&node.tags);
    // Modules have times of their own; a merge has none.
    if node.parts.is_empty() || matches!(last.shape, Shape::Cluster(_)) {
        last.time = node.time;
    }
    (entries, exit)
}

fn plus(id: &str) -> Item {
    item(&format!("{id}.sum"), "+", Shape::Circle, Tint::Route)
}

fn of_part(part: &PartInfo, prefix: &str) -> Item {
    let id = format!("{prefix}{}", part.path);
    if let Some(graph) = &part.graph {
        let title = graph.label.clone().unwrap_or_else(|| part.name.clone());
        let flow = sketch(graph, &format!("{id}."));
        let mut cluster = item(&id, title, Shape::Cluster(flow), Tint::Plain);
        cluster.lines.extend(details(part));
        cluster.time = part.time;
        return cluster;
    }
    let mut leaf = item(&id, part.name.clone(), Shape::Leaf, tint(part));
    leaf.lines.extend(details(part));
    leaf.time = part.time;
    leaf
}

/// Number of parameters, and the shape of the output, or the layer's sizes where none was seen.
fn details(part: &PartInfo) -> impl Iterator<Item = String> {
    let frozen = if part.frozen { ", frozen" } else { "" };
    let weights = (part.parameters > 0).then(|| format!("{}{frozen}", count(part.parameters)));
    let shape = part.shape.as_ref().map(|shape| format!("{shape:?}"));
    [weights, shape.or_else(|| part.sizes.clone())].into_iter().flatten()
}

/// A number of parameters: `20 parameters`, `1.3 M parameters`.
pub(super) fn count(n: i64) -> String {
    let short = match n {
        1 => return "1 parameter".into(),
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", n as f64 / 1e6),
        _ => format!("{:.1} G", n as f64 / 1e9),
    };
    format!("{short} parameters")
}

fn looped(node: &NodeInfo, end: LoopEnd, id: &str, prefix: &str) -> Item {
    let title = match end {
        LoopEnd::Times(n) => format!("loop × {n}"),
        LoopEnd::While(n) => format!("loop while, at most {n}"),
        LoopEnd::Until(n) => format!("loop until, at most {n}"),
    };
    let condition = node.parts.iter().find(|p| p.role == PartRole::Condition);
    let first = matches!(end, LoopEnd::While(_));
    let mut cluster = around(&node.parts[0], condition.map(|c| (c, first)), title, id, prefix);
    if let Shape::Cluster(flow) = &mut cluster.shape {
        let last = flow.items.len() - 1;
        flow.link(last, 0, Link::Repeat);
    }
    cluster
}

/// A cluster around a module, with a condition before (`true`) or after it.
fn around(
    part: &PartInfo,
    condition: Option<(&PartInfo, bool)>,
    mut title: String,
    id: &str,
    prefix: &str,
) -> Item {
    // A graph alone is drawn straight into the cluster.
    if let (Some(graph), None) = (&part.graph, condition) {
        if let Some(label) = &graph.label {
            title = format!("{title}: {label}");
        }
        let flow = sketch(graph, &format!("{prefix}{}.", part.path));
        let mut cluster = item(id, title, Shape::Cluster(flow), Tint::Route);
        cluster.lines.extend(details(part));
        return cluster;
    }
    let mut flow = Flow::default();
    let mut last = flow.add(item(&format!("{id}.in"), "", Shape::Dot, Tint::Port));
    let mut chain = vec![of_part(part, prefix)];
    if let Some((condition, first)) = condition {
        let mut asked = of_part(condition, prefix);
        asked.tint = Tint::Route;
        asked.lines.insert(0, "condition".into());
        chain.insert(usize::from(!first), asked);
    }
    for next in chain {
        let next = flow.add(next);
        flow.link(last, next, Link::Stream);
        last = next;
    }
    let out = flow.add(item(&format!("{id}.out"), "", Shape::Dot, Tint::Port));
    flow.link(last, out, Link::Stream);
    item(id, title, Shape::Cluster(flow), Tint::Route)
}

fn routed(node: &NodeInfo, id: &str, prefix: &str) -> Item {
    let gate = node.kind == NodeKind::Gate;
    let mut flow = Flow::default();
    let start = flow.add(item(&format!("{id}.in"), "", Shape::Dot, Tint::Port));
    let mut parts = Vec::new();
    for part in &node.parts {
        let mut inner = of_part(part, prefix);
        if part.role == PartRole::Router {
            inner.tint = Tint::Route;
            inner.lines.insert(0, if gate { "router" } else { "selector" }.into());
        }
        let at = flow.add(inner);
        flow.link(start, at, Link::Stream);
        parts.push((at, part.role));
    }
    let word = if gate { "weighted sum" } else { "the selected" };
    let join = flow.add(item(&format!("{id}.join"), word, Shape::Pill, Tint::Route));
    for (at, role) in parts {
        flow.link(at, join, if role == PartRole::Router { Link::Reference } else { Link::Stream });
    }
    let out = flow.add(item(&format!("{id}.out"), "", Shape::Dot, Tint::Port));
    flow.link(join, out, Link::Stream);
    item(id, node.kind.word(), Shape::Cluster(flow), Tint::Route)
}

fn tint(part: &PartInfo) -> Tint {
    let name = part.name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
    match () {
        () if has(&["norm"]) => Tint::Norm,
        () if has(&["conv"]) => Tint::Convolution,
        () if has(&["lstm", "gru", "rnn"]) => Tint::Recurrent,
        () if has(&["attention", "transformer"]) => Tint::Attention,
        () if has(&["router", "selector", "halt", "stateadd"]) => Tint::Route,
        () if part.parameters > 0 => Tint::Dense,
        () => Tint::Plain,
    }
}

/// Adds each item's time to its lines; returns the longest of those that hold no others.
pub(super) fn show_times(flow: &mut Flow) -> Duration {
    let mut longest = Duration::ZERO;
    for item in &mut flow.items {
        if let Some(time) = item.time {
            // Circles and pills have no room for it, and take no time worth it.
            if matches!(item.shape, Shape::Leaf | Shape::Cluster(_)) {
                item.lines.push(short(time.as_secs_f64()));
            }
        }
        let own = item.time.unwrap_or_default();
        longest = longest.max(match &mut item.shape {
            Shape::Cluster(inner) => match show_times(inner) {
                Duration::ZERO => own,
                inner => inner,
            },
            _ => own,
        });
    }
    longest
}
