//! Names of parameters and buffers: paths that are the same in every run.

use std::collections::HashSet;

use super::Graph;
use super::tree::as_graph;
use crate::{Buffer, Module, Parameter};

/// Parameters or buffers: something with a name that a module owns.
pub(super) trait State: Sized {
    fn of(module: &dyn Module) -> Vec<Self>;
    fn id(&self) -> usize;
    fn name(&self) -> &str;
}

impl State for Parameter {
    fn of(module: &dyn Module) -> Vec<Self> {
        module.parameters()
    }
    fn id(&self) -> usize {
        self.variable.id()
    }
    fn name(&self) -> &str {
        &self.name
    }
}

impl State for Buffer {
    fn of(module: &dyn Module) -> Vec<Self> {
        module.buffers()
    }
    fn id(&self) -> usize {
        Buffer::id(self)
    }
    fn name(&self) -> &str {
        &self.name
    }
}

struct Namer<S> {
    named: Vec<(String, S)>,
    ids: HashSet<usize>,
    names: HashSet<String>,
}

/// Everything in a graph with its path, shared things once, where they come first.
pub(super) fn named<S: State>(graph: &Graph) -> Vec<(String, S)> {
    let mut namer = Namer { named: Vec::new(), ids: HashSet::new(), names: HashSet::new() };
    namer.graph("", graph);
    namer.named
}

/// What a module holds, with the path that it has in a graph.
pub(super) fn named_in<S: State>(graph: &Graph, numbers: &[usize]) -> Vec<(String, S)> {
    let of = |&n: &usize| S::of(&*graph.modules[n]).into_iter().map(|s| s.id()).collect::<Vec<_>>();
    let ids: HashSet<usize> = numbers.iter().flat_map(of).collect();
    named::<S>(graph).into_iter().filter(|(_, s)| ids.contains(&s.id())).collect()
}

impl<S: State> Namer<S> {
    fn graph(&mut self, prefix: &str, graph: &Graph) {
        for (i, module) in graph.modules.iter().enumerate() {
            self.module(&format!("{prefix}{}", graph.module_path(i)), &**module);
        }
    }

    fn module(&mut self, path: &str, module: &dyn Module) {
        if let Some(graph) = as_graph(module) {
            return self.graph(&format!("{path}."), graph);
        }
        for (i, child) in module.sub_modules().iter().enumerate() {
            self.module(&format!("{path}.{i}"), &**child);
        }
        // What no child has is the module's own.
        for state in S::of(module) {
            if self.ids.insert(state.id()) {
                let name = self.free_name(format!("{path}.{}", state.name()));
                self.named.push((name, state));
            }
        }
    }

    /// A composite may own several parameters called `weight`; later ones get a number.
    fn free_name(&mut self, wanted: String) -> String {
        let mut name = wanted.clone();
        let mut n = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{n}");
            n += 1;
        }
        name
    }
}
