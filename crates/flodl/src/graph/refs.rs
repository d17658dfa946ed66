//! Named values for the modules that take them, and state carried between forwards.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use super::plan::Slot;
use super::timing::Times;
use super::watch;
use super::{GraphExt, StateAdd};
use crate::{Error, Module, Result, Tensor, TensorOptions, Variable};

/// What the steps of a running pass see.
pub(super) struct Frame<'a> {
    pub slots: &'a [Option<Variable>],
    pub states: &'a [Option<Variable>],
    pub eye: Eye<'a>,
}

/// Who looks at what the modules of a node do.
#[derive(Clone, Copy)]
pub(super) enum Eye<'a> {
    Nobody,
    /// `watch` keeps the shapes.
    Watch,
    /// The times of this step's modules are added up here.
    Clock(&'a RefCell<Times>, usize),
}

impl<'a> Frame<'a> {
    #[inline]
    pub fn value(&self, slot: Slot) -> Result<&'a Variable> {
        match &self.slots[slot] {
            Some(v) => Ok(v),
            None => Err(Error::Graph(format!("slot {slot} is read before it is written"))),
        }
    }
}

impl Frame<'_> {
    /// Calls one of a node's modules.
    #[inline]
    pub fn part(&self, number: usize, f: impl FnOnce() -> Result<Variable>) -> Result<Variable> {
        match self.eye {
            Eye::Nobody => f(),
            Eye::Watch => watch::step(number, f),
            Eye::Clock(times, step) => {
                let start = Instant::now();
                let value = f()?;
                times.borrow_mut().add_part(step, number, start.elapsed());
                Ok(value)
            }
        }
    }
}

/// Where a named value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Earlier in the same pass.
    Slot(Slot),
    /// A forward reference: carried over from the last pass.
    State(usize),
}

/// The map for one module, made once. A pass refills its values in place and in the order in
/// which the map lists them, so that it neither hashes nor allocates.
pub(super) struct Refs {
    map: RefCell<HashMap<String, Variable>>,
    /// In the map's order.
    sources: Vec<(String, Source)>,
    /// For a graph that takes them: the slots of its inputs and where their values come from.
    places: Vec<(Slot, Source)>,
    /// Whether a state that is not there yet is left out; otherwise it is zeros.
    nothing_at_first: bool,
    /// Stands in the map between passes, so that it holds on to no values.
    blank: Variable,
}

impl Refs {
    pub fn new(wanted: Vec<(String, Source)>, module: &dyn Module) -> Result<Self> {
        let nothing_at_first = module.as_any().is_some_and(|a| a.is::<StateAdd>());
        let blank = Variable::constant(Tensor::zeros(&[0], TensorOptions::default())?);
        let map: HashMap<String, Variable> =
            wanted.iter().map(|(name, _)| (name.clone(), blank.clone())).collect();
        let source = |name: &String| wanted.iter().find(|(n, _)| n == name).map(|(_, s)| *s);
        let sources =
            map.keys().filter_map(|name| source(name).map(|s| (name.clone(), s))).collect();
        let place = |(name, slot): &(String, Slot)| source(name).map(|source| (*slot, source));
        let inputs = module.as_graph().map_or(&[][..], |graph| &graph.inputs);
        let places = inputs.iter().filter_map(place).collect();
        Ok(Refs { map: RefCell::new(map), sources, places, nothing_at_first, blank })
    }

    /// Whether a graph takes the values, which knows them by place and not by name.
    pub fn is_by_place(&self) -> bool {
        !self.places.is_empty()
    }

    /// Runs that graph.
    pub fn call_graph(
        &self,
        module: &dyn Module,
        input: &Variable,
        stream: &Variable,
        frame: &Frame<'_>,
    ) -> Result<Variable> {
        let Some(graph) = module.as_graph() else {
            return Err(Error::Graph(format!("{} is no longer a graph", module.name())));
        };
        graph.pass(|slots| {
            slots[0] = Some(input.clone());
            for &(slot, source) in &self.places {
                slots[slot] = Some(match self.get(source, frame) {
                    Some(value) => value.clone(),
                    None => Variable::zeros_like(stream)?,
                });
            }
            Ok(())
        })
    }

    /// Runs `f` with the values of this pass. `stream` gives the shape of the first zeros.
    pub fn with<R>(
        &self,
        stream: &Variable,
        frame: &Frame<'_>,
        f: impl FnOnce(&HashMap<String, Variable>) -> Result<R>,
    ) -> Result<R> {
        let missing = |&(_, source): &(String, Source)| self.get(source, frame).is_none();
        let map = self.map.try_borrow_mut();
        let (true, Ok(mut map)) =
            (!(self.nothing_at_first && self.sources.iter().any(missing)), map)
        else {
            // A first pass, or a module that runs its own graph again: a map of its own.
            let mut fresh = HashMap::new();
            for (name, source) in &self.sources {
                match self.get(*source, frame) {
                    Some(v) => _ = fresh.insert(name.clone(), v.clone()),
                    None if self.nothing_at_first => {}
                    None => _ = fresh.insert(name.clone(), Variable::zeros_like(stream)?),
                }
            }
            return f(&fresh);
        };
        for (value, (_, source)) in map.values_mut().zip(&self.sources) {
            *value = match self.get(*source, frame) {
                Some(v) => v.clone(),
                None => Variable::zeros_like(stream)?,
            };
        }
        let result = f(&map);
        for value in map.values_mut() {
            *value = self.blank.clone();
        }
        result
    }

    fn get<'a>(&self, source: Source, frame: &Frame<'a>) -> Option<&'a Variable> {
        match source {
            Source::Slot(slot) => frame.slots[slot].as_ref(),
            Source::State(state) => frame.states.get(state).and_then(Option::as_ref),
        }
    }

    /// The slots that are read.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.sources.iter().filter_map(|(_, source)| match *source {
            Source::Slot(slot) => Some(slot),
            Source::State(_) => None,
        })
    }
}
