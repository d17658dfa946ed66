//! Names of parameters and buffers: paths that are the same in every run.

use std::collections::HashSet;
use std::rc::Rc;

use super::{Buffer, Module, Parameter};

/// Parameters or buffers: something with a name that a module owns.
pub(crate) trait State: Sized {
    fn of(module: &dyn Module) -> Vec<Self>;
    fn named(module: &dyn Module) -> Vec<(String, Self)>;
    fn id(&self) -> usize;
    fn name(&self) -> &str;
}

impl State for Parameter {
    fn of(module: &dyn Module) -> Vec<Self> {
        module.parameters()
    }
    fn named(module: &dyn Module) -> Vec<(String, Self)> {
        module.named_parameters()
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
    fn named(module: &dyn Module) -> Vec<(String, Self)> {
        module.named_buffers()
    }
    fn id(&self) -> usize {
        Buffer::id(self)
    }
    fn name(&self) -> &str {
        &self.name
    }
}

/// Everything in a module with its path, shared things once, where they come first: `names` are
/// those of the `children`, `all` is what the module has altogether.
pub(super) fn named<S: State>(
    children: Vec<Rc<dyn Module>>,
    names: Vec<String>,
    all: Vec<S>,
) -> Vec<(String, S)> {
    let mut namer = Namer { named: Vec::new(), ids: HashSet::new(), names: HashSet::new() };
    namer.level("", children, names, all);
    namer.named
}

struct Namer<S> {
    named: Vec<(String, S)>,
    ids: HashSet<usize>,
    names: HashSet<String>,
}

impl<S: State> Namer<S> {
    fn level(
        &mut self,
        prefix: &str,
        children: Vec<Rc<dyn Module>>,
        names: Vec<String>,
        all: Vec<S>,
    ) {
        for (i, child) in children.iter().enumerate() {
            let name = names.get(i).cloned().unwrap_or_else(|| i.to_string());
            let prefix = format!("{prefix}{name}.");
            self.level(&prefix, child.sub_modules(), child.sub_module_names(), S::of(&**child));
        }
        // What no child has is the module's own.
        for state in all {
            if self.ids.insert(state.id()) {
                let name = self.free_name(format!("{prefix}{}", state.name()));
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
