//! From the description to the plan: every check, then the steps.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use super::builder::FlowBuilder;
use super::describe::NodeKind;
use super::hash::structural_hash;
use super::loops::{Loop, LoopEnd};
use super::map::{Map, MapOver};
use super::pieces::{ArgmaxSelector, FixedSelector, SigmoidRouter, SoftmaxRouter};
use super::plan::{Callee, Merge, Node, Op, Slot, Step, mark_last_uses};
use super::refs::{Refs, Source};
use super::route::{Gate, Switch};
use super::run::CompiledNode;
use super::tree::as_graph;
use super::{Graph, GraphExt, fuse};
use crate::{Error, Module, Result};

pub(super) fn compile(mut flow: FlowBuilder) -> Result<Graph> {
    let mut problems = std::mem::take(&mut flow.problems);
    if flow.nodes.is_empty() && problems.is_empty() {
        problems.push("nothing to build: the graph has no modules".into());
    }
    if let Some(&first) = flow.open.as_ref().and_then(|branches| branches.first()) {
        let first = flow.describe(first);
        problems.push(format!("split with the branches from {first} on is never merged"));
    }
    check_names(&flow, &mut problems);
    let mut carried = Vec::new();
    let mut wired = Vec::new();
    for index in 0..flow.nodes.len() {
        check_node(&flow, index, &mut problems);
        wired.push(wire(&flow, index, &mut carried, &mut problems));
        if let Some(input) = over(&flow, index, &mut problems) {
            flow.nodes[index].inputs = vec![input];
        }
    }
    if !problems.is_empty() {
        return Err(Error::Graph(report(flow.label.as_deref(), &problems)));
    }

    let steps = flow.nodes.iter().zip(&wired).map(|(node, using)| step(&flow.modules, node, using));
    let mut steps = steps.collect::<Result<Vec<_>>>()?;
    let tagged: Vec<Slot> = flow.tags.iter().map(|t| t.slot).collect();
    let keep: Vec<Slot> = tagged.iter().copied().chain([flow.stream]).collect();
    let fused = fuse::find(&steps, flow.slots, &keep);
    mark_last_uses(&mut steps, flow.slots, &keep);
    let nodes = flow.nodes.into_iter().zip(wired).map(|(node, using)| CompiledNode {
        kind: node.kind,
        modules: node.modules,
        inputs: node.inputs,
        output: node.output,
        using,
    });
    let nodes: Vec<CompiledNode> = nodes.collect();
    let hash = structural_hash(&flow.modules, &nodes, &flow.inputs, &carried, flow.stream);
    let graph = Graph {
        modules: flow.modules,
        nodes,
        steps,
        fused,
        fusion: flow.fuse.into(),
        output: flow.stream,
        output_is_tagged: tagged.contains(&flow.stream),
        input_is_tagged: tagged.contains(&0),
        slot_count: flow.slots,
        inputs: flow.inputs,
        tags: flow.tags,
        groups: flow.groups,
        internal: flow.internal.into_iter().collect(),
        label: flow.label,
        hash,
        states: vec![None; carried.len()].into(),
        carried,
        slots: Default::default(),
        identity: Rc::new(()),
        steps_done: Default::default(),
        epochs_done: Default::default(),
        profiling: Default::default(),
        steps_run: Default::default(),
        feed: Default::default(),
        times: Default::default(),
        source_config: Default::default(),
        journal: Default::default(),
        seen: Default::default(),
    };
    if !flow.fuse {
        graph.set_fusion(false);
    }
    if flow.verbose {
        eprint!("{}", graph.outline());
    }
    Ok(graph)
}

fn report(label: Option<&str>, problems: &[String]) -> String {
    let whose = label.map_or(String::new(), |l| format!("\"{l}\": "));
    match problems {
        [one] => format!("{whose}{one}"),
        all => format!("{whose}{} mistakes:\n- {}", all.len(), all.join("\n- ")),
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<String> = names.map(|n| format!("\"{n}\"")).collect();
    match names.len() {
        0 => "there are none".into(),
        _ => format!("there are {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// Tags, labels and what is said of them.
fn check_names(flow: &FlowBuilder, problems: &mut Vec<String>) {
    let place = |node: Option<usize>| node.map_or("an input".into(), |n| flow.describe(n));
    for (i, tag) in flow.tags.iter().enumerate() {
        if let Some(first) = flow.tags[..i].iter().find(|t| t.name == tag.name) {
            problems.push(format!(
                "tag \"{}\" is given twice: to {} and to {}",
                tag.name,
                place(first.node),
                place(tag.node)
            ));
        }
        if tag.name.is_empty() || tag.name.contains('.') {
            problems.push(format!(
                "tag \"{}\" of {}: a name must not be empty or hold a dot, which separates the \
                 parts of a path",
                tag.name,
                place(tag.node)
            ));
        }
    }
    for name in &flow.internal {
        if !flow.tags.iter().any(|t| t.name == *name) && !flow.is_refused(name) {
            let known = quoted(flow.tags.iter().map(|t| t.name.as_str()));
            problems.push(format!("internal(\"{name}\") names no tag; {known}"));
        }
    }
    let bad = |label: &str| {
        label.is_empty() || label.contains('.') || label.bytes().all(|b| b.is_ascii_digit())
    };
    if let Some(label) = flow.label.as_deref().filter(|l| bad(l)) {
        problems.push(format!(
            "label \"{label}\" must not be empty, a number, or hold a dot: it is a part of paths"
        ));
    }
    let graphs = flow.modules.iter().enumerate();
    let labelled: Vec<(usize, &Graph, &str)> =
        graphs.filter_map(|(i, m)| as_graph(&**m).and_then(|g| Some((i, g, g.label()?)))).collect();
    for (i, &(number, graph, label)) in labelled.iter().enumerate() {
        // One graph may stand in several places.
        let other = |&&(_, g, l): &&(usize, &Graph, &str)| l == label && !graph.is(g);
        if let Some((first, ..)) = labelled[..i].iter().find(other) {
            problems.push(format!(
                "node {number} and node {first} are different graphs with the label \"{label}\""
            ));
        }
    }
}

/// What a node says by itself.
fn check_node(flow: &FlowBuilder, index: usize, problems: &mut Vec<String>) {
    let node = &flow.nodes[index];
    let place = flow.describe(index);
    match node.kind {
        NodeKind::Fork if !flow.tags.iter().any(|t| t.slot == node.output) => {
            problems.push(format!("{place} is a fork without a tag: nothing can reach it"));
        }
        NodeKind::Gate if node.modules.len() < 2 => {
            problems.push(format!("{place} has no experts"));
        }
        NodeKind::Switch if node.modules.len() < 2 => {
            problems.push(format!("{place} has no branches"));
        }
        NodeKind::Gate => {
            let have = node.modules.len() as i64 - 1;
            if let Some(want) = routes(&*flow.modules[node.modules[0]]).filter(|&n| n != have) {
                problems.push(format!("{place} weighs {want} experts, there are {have}"));
            }
        }
        NodeKind::Switch => {
            let have = node.modules.len() - 1;
            let router = &*flow.modules[node.modules[0]];
            if let Some(want) = routes(router).filter(|&n| n != have as i64) {
                problems.push(format!("{place} chooses from {want} branches, there are {have}"));
            }
            let fixed = router.as_any().and_then(|a| a.downcast_ref::<FixedSelector>());
            if let Some(fixed) = fixed.filter(|f| f.index() >= have) {
                problems.push(format!(
                    "{place} chooses branch {}, there are branches 0 to {}",
                    fixed.index(),
                    have - 1
                ));
            }
        }
        NodeKind::Loop(LoopEnd::Until(0)) => problems.push(format!(
            "{place}: until_cond runs at least once, so max_iter must be at least 1"
        )),
        NodeKind::Map(MapOver::Slices(n), _) if n < 1 => {
            problems.push(format!("{place}: slices({n}) must be at least 1"));
        }
        _ => {}
    }
    for &m in &node.modules {
        let extra = as_graph(&*flow.modules[m]).map_or(0, |g| g.inputs.len());
        if extra > 0 && (node.named() != Some(m) || node.using.is_empty()) {
            problems.push(format!(
                "{place}: module {m} is a graph with {extra} more inputs; hand them over with \
                 using"
            ));
        }
    }
}

/// Number of ways of the routers that are known here.
fn routes(router: &dyn Module) -> Option<i64> {
    let any = router.as_any()?;
    any.downcast_ref::<SoftmaxRouter>()
        .map(SoftmaxRouter::routes)
        .or_else(|| any.downcast_ref::<SigmoidRouter>().map(SigmoidRouter::routes))
        .or_else(|| any.downcast_ref::<ArgmaxSelector>().map(ArgmaxSelector::routes))
}

/// Where the values of a node's `using` come from. Tags that appear later become carried state.
fn wire(
    flow: &FlowBuilder,
    index: usize,
    carried: &mut Vec<Slot>,
    problems: &mut Vec<String>,
) -> Vec<(String, Source)> {
    let node = &flow.nodes[index];
    let place = flow.describe(index);
    if node.using.is_empty() {
        return Vec::new();
    }
    let list = node.using.join("\", \"");
    match node.named() {
        None => problems.push(format!("using(\"{list}\") of {place}: it has no module")),
        Some(m) => {
            let module = &*flow.modules[m];
            let body = matches!(node.kind, NodeKind::Loop(_)) && module.as_loop_body().is_some();
            if module.as_named_input().is_none() && !body {
                problems.push(format!(
                    "using(\"{list}\") of {place}: {} takes no named inputs (as_named_input)",
                    module.name()
                ));
            }
            check_inputs(module, node, &place, problems);
        }
    }
    let mut seen = HashSet::new();
    let mut wired = Vec::new();
    for name in &node.using {
        let Some(tag) = flow.tags.iter().find(|t| t.name == *name) else {
            if !flow.is_refused(name) {
                let known = quoted(flow.tags.iter().map(|t| t.name.as_str()));
                problems.push(format!("using(\"{name}\") of {place}: no such tag; {known}"));
            }
            continue;
        };
        if !seen.insert(name) {
            problems.push(format!("using(\"{name}\") of {place}: named twice"));
            continue;
        }
        let source = if tag.after <= index {
            Source::Slot(tag.slot)
        } else {
            let state = carried.iter().position(|&s| s == tag.slot).unwrap_or_else(|| {
                carried.push(tag.slot);
                carried.len() - 1
            });
            Source::State(state)
        };
        wired.push((name.clone(), source));
    }
    wired
}

/// A graph as module names its inputs, so they can be compared now.
fn check_inputs(module: &dyn Module, node: &Node, place: &str, problems: &mut Vec<String>) {
    let Some(graph) = module.as_graph().filter(|g| !g.inputs.is_empty()) else { return };
    for (name, _) in &graph.inputs {
        if !node.using.contains(name) {
            problems.push(format!("{place}: its input \"{name}\" is not among those of using"));
        }
    }
}

/// The value that a map's `over` names.
fn over(flow: &FlowBuilder, index: usize, problems: &mut Vec<String>) -> Option<Slot> {
    let name = flow.nodes[index].over.as_ref()?;
    let place = flow.describe(index);
    let earlier = || flow.tags.iter().filter(|t| t.after <= index);
    if let Some(tag) = earlier().find(|t| t.name == *name) {
        return Some(tag.slot);
    }
    if flow.is_refused(name) {
        return None;
    }
    let known = quoted(earlier().map(|t| t.name.as_str()));
    problems.push(format!("over(\"{name}\") of {place}: no such tag before it; {known}"));
    None
}

fn step(modules: &[Rc<dyn Module>], node: &Node, using: &[(String, Source)]) -> Result<Step> {
    let callee = |part: usize| -> Result<Callee> {
        let number = node.modules[part];
        let module = modules[number].clone();
        let refs = if node.named() == Some(number) && !using.is_empty() {
            Some(Box::new(Refs::new(using.to_vec(), &*module)?))
        } else {
            None
        };
        Ok(Callee { module, part, refs })
    };
    let others = || node.modules[1..].iter().map(|&m| modules[m].clone());
    let op = match node.kind {
        NodeKind::Module | NodeKind::Fork | NodeKind::Branch => Op::Call(callee(0)?),
        NodeKind::Residual => Op::Also(callee(0)?),
        NodeKind::Shortcut => Op::AlsoWith { skip: callee(0)?, main: callee(1)? },
        NodeKind::Merge(op) => Op::Merge(Merge::new(op, node.inputs.clone())),
        NodeKind::Loop(end) => Op::Loop(Box::new(Loop::new(callee(0)?, others().next(), end))),
        NodeKind::Gate => Op::Gate(Box::new(Gate::new(callee(0)?, others().collect()))),
        NodeKind::Switch => {
            Op::Switch(Box::new(Switch { selector: callee(0)?, branches: others().collect() }))
        }
        NodeKind::Map(over, batched) => Op::Map(Box::new(Map::new(callee(0)?, over, batched))),
    };
    Ok(Step { op, input: node.inputs[0], output: node.output, free: Vec::new() })
}
