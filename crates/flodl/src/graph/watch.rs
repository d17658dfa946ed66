//! What a watched forward shows: shapes, sizes and multiply-adds of every node and of what is
//! inside, each at the place where it ran.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::autograd::work::{Counting, Product};
use crate::{Module, Parameter, Result, Variable};

/// A place: the identity of a graph, the number of a node and of one of its modules, and so on
/// inwards. A graph that stands in two places has two.
pub(super) type Path = Vec<usize>;

/// What happened at a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    /// Shape of the last output.
    pub shape: Vec<i64>,
    /// Bytes of all outputs.
    pub bytes: i64,
    /// Multiply-adds of all calls.
    pub work: i64,
    /// Those of each weight, and the shape of its last product.
    weights: HashMap<usize, (i64, Vec<i64>)>,
}

impl Call {
    fn add(&mut self, value: &Variable, products: &[Product]) {
        self.shape = value.shape();
        self.bytes += value.numel() * value.dtype().element_size() as i64;
        for product in products {
            self.work += product.count;
            if let Some(weight) = product.weight {
                let entry = self.weights.entry(weight).or_default();
                entry.0 += product.count;
                entry.1.clone_from(&product.shape);
            }
        }
    }

    /// The multiply-adds of these weights and the shape of their last product, if they had any.
    pub fn of(&self, parameters: &[Parameter]) -> Option<(i64, Vec<i64>)> {
        let mine = parameters.iter().filter_map(|p| self.weights.get(&p.variable.id()));
        mine.fold(None, |sum, (work, shape)| {
            Some((sum.map_or(0, |(sum, _)| sum) + work, shape.clone()))
        })
    }
}

/// All that one watched forward showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    calls: HashMap<Path, Call>,
}

impl Seen {
    pub fn at(&self, path: &[usize]) -> Option<&Call> {
        self.calls.get(path)
    }

    pub fn shape(&self, path: &[usize]) -> Option<Vec<i64>> {
        self.at(path).map(|call| call.shape.clone())
    }
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static NOW: RefCell<(Path, Seen)> = RefCell::default();
}

/// Whether a watched forward is running.
pub(super) fn is_on() -> bool {
    ON.get()
}

/// Watches what `f` runs.
pub(super) fn during<R>(f: impl FnOnce() -> R) -> (R, Seen) {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ON.set(false);
            NOW.take();
        }
    }
    let (_off, _counting) = (Off, Counting::start());
    ON.set(true);
    let result = f();
    let seen = NOW.with_borrow_mut(|now| std::mem::take(&mut now.1));
    (result, seen)
}

/// Goes one step inwards until it is dropped.
pub(super) struct Inside;

impl Inside {
    pub fn new(step: usize) -> Self {
        NOW.with_borrow_mut(|now| now.0.push(step));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        NOW.with_borrow_mut(|now| now.0.pop());
    }
}

/// Runs `f` one step inwards and keeps what it did.
pub(super) fn step(number: usize, f: impl FnOnce() -> Result<Variable>) -> Result<Variable> {
    let _inside = Inside::new(number);
    let mark = Counting::mark();
    let value = f()?;
    NOW.with_borrow_mut(|(path, seen)| {
        let call = seen.calls.entry(path.clone()).or_default();
        Counting::since(mark, |products| call.add(&value, products));
    });
    Ok(value)
}

/// What the place of a graph is called.
pub(super) fn name(graph: &super::Graph) -> usize {
    graph.identity().unwrap_or_default()
}
