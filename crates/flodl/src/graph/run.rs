//! [`Graph`]: a compiled plan and its modules.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::builder::Tag;
use super::describe::NodeKind;
use super::epochs::Feed;
use super::fuse::{Fused, Ran};
use super::observe::Journal;
use super::plan::{Slot, Step, place};
use super::refs::{Eye, Frame, Source};
use super::timing::Times;
use super::watch::{self, Seen};
use crate::nn::{carried, detach_below, load_carried, reset_below};
use crate::{Device, Error, Module, NamedInputModule, Result, Tensor, Variable};

/// What is known of a node after compiling.
#[derive(Debug)]
pub(super) struct CompiledNode {
    pub kind: NodeKind,
    pub modules: Vec<usize>,
    pub inputs: Vec<Slot>,
    pub output: Slot,
    pub using: Vec<(String, Source)>,
}

/// A model built by [`crate::FlowBuilder`].
///
/// Its own work in a forward is to read and write numbered slots: it neither hashes nor compares
/// text nor allocates. The values of tags stay readable until the next forward.
pub struct Graph {
    pub(super) modules: Vec<Rc<dyn Module>>,
    pub(super) nodes: Vec<CompiledNode>,
    pub(super) steps: Vec<Step>,
    /// Chains of steps that may run as one, in their order, and whether they may.
    pub(super) fused: Vec<Fused>,
    pub(super) fusion: Cell<bool>,
    pub(super) output: Slot,
    pub(super) output_is_tagged: bool,
    pub(super) input_is_tagged: bool,
    pub(super) slot_count: usize,
    /// The inputs after the main one.
    pub(super) inputs: Vec<(String, Slot)>,
    pub(super) tags: Vec<Tag>,
    pub(super) groups: Vec<(String, Vec<String>)>,
    pub(super) internal: HashSet<String>,
    pub(super) label: Option<String>,
    pub(super) hash: String,
    /// Slots whose values are carried to the next forward, and the values.
    pub(super) carried: Vec<Slot>,
    pub(super) states: RefCell<Vec<Option<Variable>>>,
    /// Values of the slots: during a forward all, afterwards those with tags.
    pub(super) slots: RefCell<Vec<Option<Variable>>>,
    /// Its address tells this graph from others.
    pub(super) identity: Rc<()>,
    pub(super) steps_done: Cell<usize>,
    pub(super) epochs_done: Cell<usize>,
    pub(super) profiling: Cell<bool>,
    /// Steps of the last forward; a chain that ran as one is one.
    pub(super) steps_run: Cell<usize>,
    pub(super) times: RefCell<Times>,
    pub(super) source_config: RefCell<Option<String>>,
    /// What was observed in training.
    pub(super) journal: RefCell<Journal>,
    /// Where its batches come from.
    pub(super) feed: RefCell<Option<Feed>>,
    /// What the last watched forward showed.
    pub(super) seen: RefCell<Seen>,
}

impl Graph {
    /// Runs the graph on its main input and those that [`crate::FlowBuilder::input`] declares, in
    /// that order.
    ///
    /// # Errors
    /// When their number is wrong, or a module fails.
    pub fn forward_multi(&self, inputs: &[Variable]) -> Result<Variable> {
        if inputs.len() != self.inputs.len() + 1 {
            return Err(self.wrong_inputs(inputs.len()));
        }
        self.pass(|slots| {
            slots[0] = Some(inputs[0].clone());
            for ((_, slot), value) in self.inputs.iter().zip(&inputs[1..]) {
                slots[*slot] = Some(value.clone());
            }
            Ok(())
        })
    }

    #[cold]
    fn wrong_inputs(&self, got: usize) -> Error {
        let mut names = vec!["the main one"];
        names.extend(self.inputs.iter().map(|(name, _)| name.as_str()));
        Error::Graph(format!(
            "{}takes {} inputs ({}), got {got}; use forward_multi, or `using` in a parent graph",
            self.label().map_or(String::new(), |l| format!("\"{l}\" ")),
            names.len(),
            names.join(", ")
        ))
    }

    /// One pass. Slots and states are taken out meanwhile, so that a module that runs its own
    /// graph again finds fresh ones instead of a panic.
    pub(super) fn pass(
        &self,
        fill: impl FnOnce(&mut [Option<Variable>]) -> Result<()>,
    ) -> Result<Variable> {
        let mut slots = self.slots.take();
        let mut states = self.states.take();
        slots.iter_mut().for_each(|slot| *slot = None);
        slots.resize(self.slot_count, None);
        let result = fill(&mut slots).and_then(|()| self.run(&mut slots, &states));
        match &result {
            Ok(_) => {
                states.resize(self.carried.len(), None);
                for (state, &slot) in states.iter_mut().zip(&self.carried) {
                    state.clone_from(&slots[slot]);
                }
                // The main input is the one slot that a plan may leave behind.
                if !self.input_is_tagged {
                    slots[0] = None;
                }
            }
            Err(_) => slots.iter_mut().for_each(|slot| *slot = None),
        }
        self.slots.replace(slots);
        self.states.replace(states);
        result
    }

    fn run(&self, slots: &mut [Option<Variable>], states: &[Option<Variable>]) -> Result<Variable> {
        if watch::is_on() {
            self.run_watched(slots, states)?;
        } else if self.profiling.get() {
            self.run_timed(slots, states)?;
        } else {
            self.run_fused(slots, states)?;
        }
        let output = &mut slots[self.output];
        let output = if self.output_is_tagged { output.clone() } else { output.take() };
        output.ok_or_else(|| Error::Graph("no output was computed".into()))
    }

    fn run_fused(&self, slots: &mut [Option<Variable>], states: &[Option<Variable>]) -> Result<()> {
        let chains: &[Fused] = if self.fusion.get() { &self.fused } else { &[] };
        let mut chains = chains.iter();
        let mut chain = chains.next();
        let (mut i, mut joined) = (0, 0);
        while let Some(step) = self.steps.get(i) {
            // Chains that begin inside one that ran are no more.
            while chain.is_some_and(|c| c.first < i) {
                chain = chains.next();
            }
            if let Some(fused) = chain.filter(|c| c.first == i) {
                chain = chains.next();
                let ran = fused.run(&self.steps, &Frame { slots, states, eye: Eye::Nobody });
                match ran.map_err(|e| self.failed(i, e))? {
                    Ran::Nothing => {}
                    Ran::First(value) => {
                        slots[step.output] = Some(value);
                        step.free.iter().for_each(|&slot| slots[slot] = None);
                        i += 1;
                        continue;
                    }
                    Ran::All(first, value) => {
                        slots[step.output] = first;
                        slots[self.steps[fused.last].output] = Some(value);
                        for &slot in self.steps[i..=fused.last].iter().flat_map(|s| &s.free) {
                            slots[slot] = None;
                        }
                        joined += fused.last - i;
                        i = fused.last + 1;
                        continue;
                    }
                }
            }
            run_step(step, slots, states, Eye::Nobody).map_err(|e| self.failed(i, e))?;
            i += 1;
        }
        self.steps_run.set(i - joined);
        Ok(())
    }

    /// Whether neighbouring nodes may run as one.
    pub fn fusion(&self) -> bool {
        self.fusion.get()
    }

    /// Whether neighbouring nodes may run as one, here and in every graph inside; see
    /// [`crate::FlowBuilder::fuse`].
    pub fn set_fusion(&self, enabled: bool) {
        self.each_graph(&mut |graph| {
            graph.fusion.set(enabled);
            graph.fused.iter().for_each(Fused::forget);
        });
    }

    /// How many steps the last forward took; nodes that ran as one, as [`Graph::fusion`] allows,
    /// count as one. 0 before any forward. Those of graphs inside are theirs.
    ///
    /// ```
    /// use flodl::*;
    /// let model = FlowBuilder::from(Linear::new(2, 2)?).through(ReLU).through(Tanh).build()?;
    /// let x = Variable::new(Tensor::ones(&[1, 2], TensorOptions::default())?, false);
    /// no_grad(|| model.forward(&x))?;
    /// assert_eq!(model.steps_run(), 2);
    /// model.set_fusion(false);
    /// no_grad(|| model.forward(&x))?;
    /// assert_eq!(model.steps_run(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn steps_run(&self) -> usize {
        self.steps_run.get()
    }

    /// An error with the node in which it happened.
    #[cold]
    fn failed(&self, index: usize, source: Error) -> Error {
        let node = &self.nodes[index];
        let mut place = place(node.kind, &node.modules, &self.modules);
        let tags = self.tags.iter().filter(|t| t.node == Some(index));
        for tag in tags {
            place.push_str(&format!(", tag \"{}\"", tag.name));
        }
        Error::Node { node: place, source: Box::new(source) }
    }

    fn run_timed(&self, slots: &mut [Option<Variable>], states: &[Option<Variable>]) -> Result<()> {
        let _depth = Timed::enter(self);
        for (i, step) in self.steps.iter().enumerate() {
            let start = Instant::now();
            run_step(step, slots, states, Eye::Clock(&self.times, i))
                .map_err(|e| self.failed(i, e))?;
            self.times.borrow_mut().add(i, start.elapsed());
        }
        self.steps_run.set(self.steps.len());
        Ok(())
    }

    fn run_watched(
        &self,
        slots: &mut [Option<Variable>],
        states: &[Option<Variable>],
    ) -> Result<()> {
        let _inside = watch::Inside::new(watch::name(self));
        for (i, step) in self.steps.iter().enumerate() {
            let run = || step.run(&Frame { slots, states, eye: Eye::Watch });
            let value = watch::step(i, run).map_err(|e| self.failed(i, e))?;
            slots[step.output] = Some(value);
            step.free.iter().for_each(|&slot| slots[slot] = None);
        }
        self.steps_run.set(self.steps.len());
        Ok(())
    }

    /// Turns the timing of nodes on, here and in every graph inside.
    pub fn enable_profiling(&self) {
        self.each_graph(&mut |graph| graph.profiling.set(true));
    }

    /// Turns the timing of nodes off, here and in every graph inside; the times of the last timed
    /// forward stay.
    pub fn disable_profiling(&self) {
        self.each_graph(&mut |graph| graph.profiling.set(false));
    }

    /// Whether nodes are timed.
    pub fn profiling(&self) -> bool {
        self.profiling.get()
    }

    /// The time of each node in the last timed forward, in the order of [`Graph::describe`]; empty
    /// before there was one. A graph inside that runs several times in a forward of the outermost
    /// one, as a loop's body does, has the sums.
    pub fn node_times(&self) -> Vec<Duration> {
        self.times.borrow().nodes.clone()
    }

    /// The value of a tag in the last forward; `None` for an unknown tag and before any forward.
    /// The value stays alive, tape and all, until the next forward or [`Graph::clear_tagged`].
    pub fn tagged(&self, tag: &str) -> Option<Variable> {
        let tag = self.tags.iter().find(|t| t.name == tag)?;
        self.slots.borrow().get(tag.slot).cloned().flatten()
    }

    /// Lets go of the values of tags and of traces, here and in graphs inside.
    pub fn clear_tagged(&self) {
        self.each_graph(&mut |graph| {
            graph.slots.borrow_mut().iter_mut().for_each(|slot| *slot = None);
            graph.clear_traces();
        });
    }

    /// All tags, in the order in which they were given; named inputs among them.
    pub fn tag_names(&self) -> Vec<String> {
        self.tags.iter().map(|t| t.name.clone()).collect()
    }

    /// The tags of a group.
    pub fn tag_group(&self, name: &str) -> Option<&[String]> {
        let group = self.groups.iter().find(|(n, _)| n == name)?;
        Some(&group.1)
    }

    /// The name given by `label`.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// A text that changes with everything that changes results besides the weights.
    pub fn structural_hash(&self) -> &str {
        &self.hash
    }

    /// The first eight characters of [`Graph::structural_hash`].
    pub fn short_hash(&self) -> &str {
        &self.hash[..8.min(self.hash.len())]
    }

    /// Moves the model to a device; what cannot be moved stays where it is.
    pub fn set_device(&self, device: Device) {
        self.move_to_device(device);
    }

    /// Whether both are the same graph, not only equal ones.
    pub(super) fn is(&self, other: &Graph) -> bool {
        Rc::ptr_eq(&self.identity, &other.identity)
    }
}

thread_local! {
    /// How many timed graphs are running, one inside the other.
    static TIMED: Cell<usize> = const { Cell::new(0) };
}

/// A timed graph that is running.
struct Timed;

impl Timed {
    fn enter(graph: &Graph) -> Self {
        if TIMED.replace(TIMED.get() + 1) == 0 {
            graph.each_graph(&mut |g| {
                let parts = g.nodes.iter().map(|n| n.modules.len());
                *g.times.borrow_mut() = Times::zero(parts);
            });
        }
        Timed
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        TIMED.set(TIMED.get() - 1);
    }
}

#[inline]
fn run_step(
    step: &Step,
    slots: &mut [Option<Variable>],
    states: &[Option<Variable>],
    eye: Eye<'_>,
) -> Result<()> {
    let value = step.run(&Frame { slots, states, eye })?;
    slots[step.output] = Some(value);
    for &slot in &step.free {
        slots[slot] = None;
    }
    Ok(())
}

impl Module for Graph {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        if !self.inputs.is_empty() {
            return Err(self.wrong_inputs(1));
        }
        self.pass(|slots| {
            slots[0] = Some(input.clone());
            Ok(())
        })
    }

    fn name(&self) -> &str {
        self.label.as_deref().unwrap_or("Graph")
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.modules.clone()
    }

    fn sub_module_names(&self) -> Vec<String> {
        (0..self.modules.len()).map(|number| self.module_path(number)).collect()
    }

    fn move_to_device(&self, device: Device) {
        let _ = crate::nn::move_module(self.parameters(), self.buffers(), device);
        for module in &self.modules {
            module.move_to_device(device);
        }
        for state in self.states.borrow_mut().iter_mut() {
            if let Some(Ok(moved)) = state.as_ref().map(|s| s.to_device(device)) {
                *state = Some(moved);
            }
        }
    }

    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        if self.inputs.is_empty() { None } else { Some(self) }
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }

    fn structural_hash(&self) -> Option<String> {
        Some(self.hash.clone())
    }

    fn reset(&self) {
        self.reset_own();
        reset_below(self);
    }

    fn detach_state(&self) {
        self.detach_own();
        detach_below(self);
    }

    fn carried_state(&self) -> Vec<(String, Option<Tensor>)> {
        self.own_carried().chain(carried(self.sub_modules(), self.sub_module_names())).collect()
    }

    fn load_carried_state(&self, values: &[(String, Tensor)]) -> Result<()> {
        self.load_own_carried(values);
        load_carried(self.sub_modules(), self.sub_module_names(), values)
    }

    fn identity(&self) -> Option<usize> {
        Some(Rc::as_ptr(&self.identity) as usize)
    }
}

/// A graph with inputs of its own takes them from its parent by their names.
impl NamedInputModule for Graph {
    fn forward_named(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
    ) -> Result<Variable> {
        self.pass(|slots| {
            slots[0] = Some(input.clone());
            for (name, slot) in &self.inputs {
                let value = refs.get(name);
                slots[*slot] =
                    Some(value.ok_or_else(|| self.wrong_inputs(refs.len() + 1))?.clone());
            }
            Ok(())
        })
    }
}
