//! `reset` and `detach_state` for every module of a tree, each once.
//!
//! The defaults of both walk the children, so a module that overrides one and forgets its children
//! would hide all that is below it. Here the walk goes by [`Module::sub_modules`] instead and calls
//! each module by itself; the defaults are told that they need not go on.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use super::Module;

/// Where a module is, and how large: a wrapper and its first field have one address.
type Place = (*const (), usize);

thread_local! {
    /// The module that a walk is calling, when the walk goes on to its children itself.
    static CALLED: Cell<Place> = const { Cell::new((std::ptr::null(), 0)) };
}

fn place<M: Module + ?Sized>(module: &M) -> Place {
    ((module as *const M).cast(), size_of_val(module))
}

/// Sets [`CALLED`] until it is dropped.
struct Calling(Place);

impl Calling {
    fn new(module: &dyn Module, has_children: bool) -> Self {
        // One that passes calls on without listing children is on its own.
        let none = (std::ptr::null(), 0);
        Calling(CALLED.replace(if has_children { place(module) } else { none }))
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        CALLED.set(self.0);
    }
}

/// The children to go on to: none when a walk that calls this very module does.
fn below<M: Module + ?Sized>(module: &M) -> Vec<Rc<dyn Module>> {
    if CALLED.get() == place(module) { Vec::new() } else { module.sub_modules() }
}

/// What a pointer calls is called in its stead.
pub(super) fn pass_on<P: Module, M: Module + ?Sized>(pointer: &P, module: &M) {
    if CALLED.get() == place(pointer) {
        CALLED.set(place(module));
    }
}

/// The default of [`Module::reset`].
pub(crate) fn reset_below<M: Module + ?Sized>(module: &M) {
    below(module).iter().for_each(|child| reset_all(&**child));
}

/// The default of [`Module::detach_state`].
pub(crate) fn detach_below<M: Module + ?Sized>(module: &M) {
    below(module).iter().for_each(|child| detach_all(&**child));
}

/// Resets a module and everything below it.
pub(crate) fn reset_all(module: &dyn Module) {
    each(module, |m| m.reset());
}

/// Detaches the state of a module and of everything below it.
pub(crate) fn detach_all(module: &dyn Module) {
    each(module, |m| m.detach_state());
}

fn each(module: &dyn Module, f: impl Fn(&dyn Module)) {
    let call = |module: &dyn Module, has_children: bool| {
        let _calling = Calling::new(module, has_children);
        f(module);
    };
    let (id, children) = (module.identity(), module.sub_modules());
    call(module, !children.is_empty());
    walk(children, id, &mut id.into_iter().collect(), &mut |m, has_children| {
        call(&**m, has_children);
    });
}

/// Goes through modules and everything below them, each before its children, and says of each
/// whether it has some. `seen` are the identities so far.
fn walk(
    modules: Vec<Rc<dyn Module>>,
    parent: Option<usize>,
    seen: &mut HashSet<usize>,
    f: &mut dyn FnMut(&Rc<dyn Module>, bool),
) {
    for module in modules {
        let id = module.identity();
        // One that gives itself the identity of its child is another.
        if id.is_some_and(|id| !seen.insert(id) && parent != Some(id)) {
            continue;
        }
        let children = module.sub_modules();
        f(&module, !children.is_empty());
        walk(children, id, seen, f);
    }
}

/// A module and everything below it, written down once so that a reset takes nothing from the heap.
pub(crate) struct Reach(Vec<(Rc<dyn Module>, bool)>);

impl Reach {
    pub fn new(module: &Rc<dyn Module>) -> Self {
        let mut all = Vec::new();
        walk(vec![module.clone()], None, &mut HashSet::new(), &mut |module, has_children| {
            all.push((module.clone(), has_children));
        });
        Reach(all)
    }

    /// Resets all of them.
    pub fn reset(&self) {
        for (module, has_children) in &self.0 {
            let _calling = Calling::new(&**module, *has_children);
            module.reset();
        }
    }
}
