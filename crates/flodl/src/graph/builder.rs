//! The fluent description of a graph.

use std::rc::Rc;

use super::Graph;
use super::plan::{Plan, Slot, Step};
use crate::{Error, Module, Result};

/// Describes a graph, piece by piece along its stream.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(4, 8)?)
///     .through(ReLU)
///     .also(Linear::new(8, 8)?) // x + f(x)
///     .through(Linear::new(8, 2)?)
///     .build()?;
/// let x = Variable::new(Tensor::ones(&[3, 4], TensorOptions::default())?, false);
/// assert_eq!(model.forward(&x)?.shape(), [3, 2]);
/// assert_eq!(model.named_parameters()[0].0, "0.weight");
/// # Ok::<(), Error>(())
/// ```
#[derive(Default)]
pub struct FlowBuilder {
    modules: Vec<Rc<dyn Module>>,
    steps: Vec<Step>,
    slots: usize,
    stream: Slot,
    label: Option<String>,
}

impl FlowBuilder {
    /// A stream that starts with the input itself.
    pub fn new() -> Self {
        FlowBuilder { slots: 1, ..Self::default() }
    }

    /// A stream that starts with a module.
    #[allow(clippy::should_implement_trait)]
    pub fn from(module: impl Module + 'static) -> Self {
        Self::new().through(module)
    }

    /// Names the graph.
    pub fn label(mut self, name: &str) -> Self {
        self.label = Some(name.to_owned());
        self
    }

    /// Passes the stream through a module.
    pub fn through(mut self, module: impl Module + 'static) -> Self {
        self.stream = self.call(module, self.stream);
        self
    }

    /// A residual: the stream plus what the module makes of it.
    pub fn also(mut self, module: impl Module + 'static) -> Self {
        let branch = self.call(module, self.stream);
        self.add(self.stream, branch);
        self
    }

    /// Two branches of the stream, added: skip(x) + main(x).
    pub fn also_with(mut self, skip: impl Module + 'static, main: impl Module + 'static) -> Self {
        let skip = self.call(skip, self.stream);
        let main = self.call(main, self.stream);
        self.add(skip, main);
        self
    }

    /// Checks the description and compiles it.
    ///
    /// # Errors
    /// When the graph has no modules.
    pub fn build(self) -> Result<Graph> {
        if self.modules.is_empty() {
            return Err(Error::Graph("nothing to build: the graph has no modules".into()));
        }
        let plan = Plan::new(self.steps, self.slots, self.stream);
        Ok(Graph::new(self.modules, plan, self.label))
    }

    fn slot(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    fn call(&mut self, module: impl Module + 'static, input: Slot) -> Slot {
        let output = self.slot();
        self.steps.push(Step::Call { module: self.modules.len(), input, output });
        self.modules.push(Rc::new(module));
        output
    }

    fn add(&mut self, a: Slot, b: Slot) {
        let output = self.slot();
        self.steps.push(Step::Add { a, b, output });
        self.stream = output;
    }
}
