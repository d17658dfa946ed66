//! What lives longer than a forward: carried state, counters, traces.

use super::plan::Op;
use super::tree::visit_graphs;
use super::{Graph, loops::Loop};
use crate::{Error, Module, Result, Tensor, Variable};

fn carried_name(number: usize) -> String {
    format!("carried.{number}")
}

impl Graph {
    /// Forgets all state that is carried between forwards, here and in every module below.
    pub fn reset_state(&self) {
        self.states.borrow_mut().iter_mut().for_each(|state| *state = None);
        for module in &self.modules {
            module.reset();
        }
    }

    /// Cuts the gradient of all state that is carried between forwards and keeps its values, here
    /// and in every module below: truncated backpropagation through time.
    pub fn detach_state(&self) {
        // A module that overrides `detach_state` may leave out graphs inside it.
        self.each_graph(&mut Graph::detach_own);
        for module in &self.modules {
            module.detach_state();
        }
    }

    /// The values that this graph itself carries, by their numbers.
    pub(super) fn own_carried(&self) -> impl Iterator<Item = (String, Option<Tensor>)> {
        let mut states = self.states.borrow().clone();
        states.resize(self.carried.len(), None);
        let named = |(i, v): (usize, Option<Variable>)| (carried_name(i), v.map(|v| v.data()));
        states.into_iter().enumerate().map(named)
    }

    pub(super) fn load_own_carried(&self, values: &[(String, Tensor)]) {
        let value = |i| {
            let (_, value) = values.iter().find(|(name, _)| *name == carried_name(i))?;
            Some(Variable::constant(value.clone()))
        };
        self.states.replace((0..self.carried.len()).map(value).collect());
    }

    fn detach_own(&self) {
        for state in self.states.borrow_mut().iter_mut().flatten() {
            *state = state.detach();
        }
    }

    /// Whether this graph or one inside it carries values between forwards.
    pub fn has_state(&self) -> bool {
        let mut any = false;
        self.each_graph(&mut |graph| any |= !graph.carried.is_empty());
        any
    }

    /// Visits this graph and every one below it.
    pub(super) fn each_graph(&self, f: &mut dyn FnMut(&Graph)) {
        visit_graphs(self, f);
    }

    /// Ends a training step: detaches the carried state and counts.
    pub fn end_step(&self) {
        self.detach_state();
        self.steps_done.set(self.steps_done.get() + 1);
    }

    /// Ends a sequence: forgets the carried state.
    pub fn end_sequence(&self) {
        self.reset_state();
    }

    /// Ends an epoch: forgets the carried state and counts.
    pub fn end_epoch(&self) {
        self.reset_state();
        self.epochs_done.set(self.epochs_done.get() + 1);
    }

    /// How often [`Graph::end_step`] was called.
    pub fn step_count(&self) -> usize {
        self.steps_done.get()
    }

    /// How often [`Graph::end_epoch`] was called.
    pub fn epoch_count(&self) -> usize {
        self.epochs_done.get()
    }

    fn loops(&self) -> impl Iterator<Item = (usize, &Loop)> {
        self.steps.iter().enumerate().filter_map(|(i, step)| match &step.op {
            Op::Loop(l) => Some((i, &**l)),
            _ => None,
        })
    }

    pub(super) fn clear_traces(&self) {
        for (_, l) in self.loops() {
            l.published.borrow_mut().clear();
            l.traces.borrow_mut().clear();
            l.halts.borrow_mut().clear();
        }
    }

    /// What the loops of this graph published in the last forward, oldest first, with gradients:
    /// the values that their bodies published under the name; else, if the name is `halt`, what
    /// their conditions said; else, if it is a loop's tag, its body's `trace()` after each
    /// iteration. `None` when there is nothing under the name; [`Graph::try_traces`] says why.
    pub fn traces(&self, name: &str) -> Option<Vec<Variable>> {
        if let Some(values) = self.traces_named(name) {
            return Some(values);
        }
        let tag = self.tags.iter().find(|t| t.name == name)?;
        let (_, l) = self.loops().find(|(i, _)| Some(*i) == tag.node)?;
        some(l.traces.borrow().clone())
    }

    /// [`Graph::traces`] with an error that lists the known names when there is nothing.
    ///
    /// # Errors
    /// When nothing was published under the name.
    pub fn try_traces(&self, name: &str) -> Result<Vec<Variable>> {
        self.traces(name).ok_or_else(|| {
            let mut known: Vec<String> = self
                .loops()
                .flat_map(|(i, l)| {
                    let published = l.published.borrow();
                    let mut names: Vec<String> = published.iter().map(|(n, _)| n.clone()).collect();
                    names.extend((!l.halts.borrow().is_empty()).then(|| HALT.to_owned()));
                    if !l.traces.borrow().is_empty() {
                        let tags = self.tags.iter().filter(|t| t.node == Some(i));
                        names.extend(tags.map(|t| t.name.clone()));
                    }
                    names
                })
                .collect();
            known.sort_unstable();
            known.dedup();
            Error::Graph(format!("no traces \"{name}\" from the last forward; there are {known:?}"))
        })
    }

    /// What the bodies published under a name through [`crate::TraceEmit`], and under `halt` what
    /// the conditions said.
    pub fn traces_named(&self, name: &str) -> Option<Vec<Variable>> {
        let mut values = Vec::new();
        for (_, l) in self.loops() {
            let published = l.published.borrow();
            values.extend(published.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()));
        }
        if values.is_empty() && name == HALT {
            values = self.loops().flat_map(|(_, l)| l.halts.borrow().clone()).collect();
        }
        some(values)
    }

    /// A loop body's `trace()` after each iteration, by the node's id: the number or label of its
    /// body in the paths of parameters.
    pub fn traces_by_node(&self, node_id: &str) -> Option<Vec<Variable>> {
        let is_it = |i: usize| {
            self.nodes[i].modules.first().is_some_and(|&m| self.module_path(m) == node_id)
        };
        let (_, l) = self.loops().find(|(i, _)| is_it(*i))?;
        some(l.traces.borrow().clone())
    }

    /// The last of [`Graph::traces`], or the `trace()` of the module that has the tag.
    pub fn last_trace(&self, tag: &str) -> Option<Variable> {
        if let Some(mut values) = self.traces(tag) {
            return values.pop();
        }
        let tag = self.tags.iter().find(|t| t.name == tag)?;
        let node = &self.nodes[tag.node?];
        node.modules.iter().find_map(|&m| self.modules[m].trace())
    }
}

/// The name under which the values of loops' conditions are kept.
const HALT: &str = "halt";

fn some(values: Vec<Variable>) -> Option<Vec<Variable>> {
    if values.is_empty() { None } else { Some(values) }
}
