//! The multiply-adds of products, counted while somebody asks for them: tables of models do.

use std::cell::{Cell, RefCell};

use crate::{Tensor, Variable};

/// One product that was computed.
#[derive(Debug)]
pub(crate) struct Product {
    /// Id of the weight that it is the work of.
    pub weight: Option<usize>,
    /// Multiply-adds.
    pub count: i64,
    /// Shape of the result.
    pub shape: Vec<i64>,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static OWNER: Cell<Option<usize>> = const { Cell::new(None) };
    static PRODUCTS: RefCell<Vec<Product>> = const { RefCell::new(Vec::new()) };
}

/// Notes the product that gave `out`, with `count` multiply-adds, when somebody asks.
#[inline]
pub(crate) fn note(weight: Option<&Variable>, out: &Tensor, count: impl FnOnce() -> usize) {
    if ON.get() {
        let weight = OWNER.get().or(weight.map(Variable::id));
        let product = Product { weight, count: count() as i64, shape: out.shape() };
        PRODUCTS.with_borrow_mut(|all| all.push(product));
    }
}

/// Runs `f`, whose products are all the work of one weight.
pub(crate) fn of<R>(weight: &Variable, f: impl FnOnce() -> R) -> R {
    if !ON.get() {
        return f();
    }
    let _reset = Reset(OWNER.replace(Some(weight.id())));
    f()
}

struct Reset(Option<usize>);

impl Drop for Reset {
    fn drop(&mut self) {
        OWNER.set(self.0);
    }
}

/// Counting goes on until it is dropped.
pub(crate) struct Counting;

impl Counting {
    pub fn start() -> Self {
        ON.set(true);
        PRODUCTS.with_borrow_mut(Vec::clear);
        Counting
    }

    /// How many products were noted.
    pub fn mark() -> usize {
        PRODUCTS.with_borrow(Vec::len)
    }

    /// Shows the products since a mark.
    pub fn since<R>(mark: usize, f: impl FnOnce(&[Product]) -> R) -> R {
        PRODUCTS.with_borrow(|all| f(&all[mark.min(all.len())..]))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        ON.set(false);
        PRODUCTS.with_borrow_mut(Vec::clear);
    }
}
