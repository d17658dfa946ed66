//! [`Graph`]: a compiled plan and its modules.

use std::cell::RefCell;
use std::rc::Rc;

use super::plan::{Plan, Step};
use crate::{
    Buffer, Device, Error, LoadReport, Module, Parameter, Result, Variable, load_checkpoint_file,
    save_checkpoint_file,
};

/// A model built by [`crate::FlowBuilder`].
pub struct Graph {
    modules: Vec<Rc<dyn Module>>,
    plan: Plan,
    label: Option<String>,
    hash: String,
    /// Values of the slots, kept between forwards for their capacity alone.
    slots: RefCell<Vec<Option<Variable>>>,
}

impl Graph {
    pub(super) fn new(modules: Vec<Rc<dyn Module>>, plan: Plan, label: Option<String>) -> Self {
        let hash = structural_hash(&modules, &plan);
        let slots = RefCell::new(Vec::with_capacity(plan.slots));
        Graph { modules, plan, label, hash, slots }
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

    /// Every parameter with its path: the number of the node along the stream, then the names
    /// below it, as in PyTorch's `nn.Sequential` (`0.weight`, `3.bias`). Shared ones appear once.
    pub fn named_parameters(&self) -> Vec<(String, Parameter)> {
        let mut named = Vec::new();
        for (i, module) in self.modules.iter().enumerate() {
            name_parameters(&i.to_string(), &**module, &mut named);
        }
        crate::nn::unique(named.into_iter(), |(_, p)| p.variable.id())
    }

    /// Every buffer with its path, as for [`Graph::named_parameters`].
    pub fn named_buffers(&self) -> Vec<(String, Buffer)> {
        let mut named = Vec::new();
        for (i, module) in self.modules.iter().enumerate() {
            name_buffers(&i.to_string(), &**module, &mut named);
        }
        crate::nn::unique(named.into_iter(), |(_, b)| b.id())
    }

    /// Writes parameters and buffers as `.safetensors`, atomically.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_checkpoint(&self, path: &str) -> Result<()> {
        let (params, buffers) = (self.named_parameters(), self.named_buffers());
        save_checkpoint_file(path, &params, &buffers, Some(&self.hash))
    }

    /// Reads parameters and buffers. The file is checked whole before anything changes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or does not fit this graph.
    pub fn load_checkpoint(&self, path: &str) -> Result<LoadReport> {
        let (params, buffers) = (self.named_parameters(), self.named_buffers());
        load_checkpoint_file(path, &params, &buffers, Some(&self.hash))
    }

    fn run(&self, input: &Variable, slots: &mut Vec<Option<Variable>>) -> Result<Variable> {
        slots.clear();
        slots.resize(self.plan.slots, None);
        slots[0] = Some(input.clone());
        fn value(slots: &[Option<Variable>], slot: usize) -> Result<&Variable> {
            slots[slot].as_ref().ok_or_else(|| Error::Graph(format!("slot {slot} is empty")))
        }
        for (step, free) in self.plan.steps.iter().zip(&self.plan.free) {
            let (output, result) = match *step {
                Step::Call { module, input, output } => {
                    (output, self.modules[module].forward(value(slots, input)?)?)
                }
                Step::Add { a, b, output } => (output, value(slots, a)?.add(value(slots, b)?)?),
            };
            slots[output] = Some(result);
            for &slot in free {
                slots[slot] = None;
            }
        }
        slots[self.plan.output].take().ok_or_else(|| Error::Graph("no output was computed".into()))
    }
}

impl Module for Graph {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        // Taken out, so that a graph that contains itself finds fresh slots.
        let mut slots = self.slots.take();
        let result = self.run(input, &mut slots);
        slots.clear();
        self.slots.replace(slots);
        result
    }

    fn name(&self) -> &str {
        self.label.as_deref().unwrap_or("Graph")
    }

    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        self.modules.clone()
    }

    fn structural_hash(&self) -> Option<String> {
        Some(self.hash.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

fn as_graph(module: &dyn Module) -> Option<&Graph> {
    module.as_any().and_then(|any| any.downcast_ref::<Graph>())
}

fn name_parameters(path: &str, module: &dyn Module, out: &mut Vec<(String, Parameter)>) {
    if let Some(graph) = as_graph(module) {
        out.extend(graph.named_parameters().into_iter().map(|(n, p)| (format!("{path}.{n}"), p)));
        return;
    }
    let children = module.sub_modules();
    for (i, child) in children.iter().enumerate() {
        name_parameters(&format!("{path}.{i}"), &**child, out);
    }
    // What no child has is the module's own.
    for p in module.parameters() {
        if !out.iter().any(|(_, q)| q.variable.id() == p.variable.id()) {
            let name =
                free_name(&format!("{path}.{}", p.name), |n| out.iter().any(|(m, _)| m == n));
            out.push((name, p));
        }
    }
}

fn name_buffers(path: &str, module: &dyn Module, out: &mut Vec<(String, Buffer)>) {
    if let Some(graph) = as_graph(module) {
        out.extend(graph.named_buffers().into_iter().map(|(n, b)| (format!("{path}.{n}"), b)));
        return;
    }
    let children = module.sub_modules();
    for (i, child) in children.iter().enumerate() {
        name_buffers(&format!("{path}.{i}"), &**child, out);
    }
    for b in module.buffers() {
        if !out.iter().any(|(_, c)| c.id() == b.id()) {
            let name =
                free_name(&format!("{path}.{}", b.name), |n| out.iter().any(|(m, _)| m == n));
            out.push((name, b));
        }
    }
}

/// A composite may own several parameters called `weight`; later ones get a number.
fn free_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    let mut n = 1;
    while taken(&name) {
        name = format!("{wanted}_{n}");
        n += 1;
    }
    name
}

/// FNV-1a over the steps and over every module's own text, shapes included.
fn structural_hash(modules: &[Rc<dyn Module>], plan: &Plan) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut feed = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    feed(&format!("{:?}", plan.steps));
    for module in modules {
        crate::walk_modules(&**module, &mut |m| {
            feed(m.name());
            feed(&m.structural_hash().unwrap_or_default());
            for p in m.parameters() {
                feed(&format!("{}{:?}", p.name, p.variable.shape()));
            }
        });
    }
    format!("{hash:016x}")
}
