//! [`Module`], the trait of every layer and model, and walks over trees of modules.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::names::named;
use super::{Buffer, Parameter};
use crate::{DType, Device, Error, Result, Variable, cast_parameters};

/// A layer or model: a function with state. Everything but [`Module::forward`] has a default that
/// walks [`Module::sub_modules`], so a composite declares its children and is done.
///
/// ```
/// use flodl::*;
/// use std::rc::Rc;
///
/// struct Mlp { fc1: Linear, fc2: Linear }
///
/// impl Module for Mlp {
///     fn forward(&self, input: &Variable) -> Result<Variable> {
///         self.fc2.forward(&self.fc1.forward(input)?.relu()?)
///     }
///     fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
///         vec![Rc::new(self.fc1.clone()), Rc::new(self.fc2.clone())]
///     }
/// }
///
/// let mlp = Mlp { fc1: Linear::new(784, 128)?, fc2: Linear::new(128, 10)? };
/// assert_eq!(mlp.parameters().len(), 4);
/// # Ok::<(), Error>(())
/// ```
pub trait Module {
    /// Computes the output.
    ///
    /// # Errors
    /// When the input does not fit; the message names the layer, what it expected and what came.
    fn forward(&self, input: &Variable) -> Result<Variable>;

    /// All learnable weights, shared ones once, in a fixed order.
    fn parameters(&self) -> Vec<Parameter> {
        let children = self.sub_modules();
        unique(children.iter().flat_map(|m| m.parameters()), |p| p.variable.id())
    }

    /// All state that is saved but not learned, shared ones once, in a fixed order.
    fn buffers(&self) -> Vec<Buffer> {
        let children = self.sub_modules();
        unique(children.iter().flat_map(|m| m.buffers()), Buffer::id)
    }

    /// What kind of module this is, for pictures and messages.
    fn name(&self) -> &str {
        "module"
    }

    /// The children. Clones that share their state with the originals are fine: walks identify a
    /// module by its state.
    fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
        vec![]
    }

    /// What the children are called, in the order of [`Module::sub_modules`]; their numbers unless
    /// said otherwise. [`children!`](crate::children) writes both.
    fn sub_module_names(&self) -> Vec<String> {
        (0..self.sub_modules().len()).map(|i| i.to_string()).collect()
    }

    /// Every parameter with its path, shared ones once: the names of the modules on the way and its
    /// own, joined by dots, as in PyTorch's `state_dict` (`encoder.0.weight`).
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        named(self.sub_modules(), self.sub_module_names(), self.parameters())
    }

    /// Every buffer with its path, as for [`Module::named_parameters`].
    fn named_buffers(&self) -> Vec<(String, Buffer)> {
        named(self.sub_modules(), self.sub_module_names(), self.buffers())
    }

    /// Moves parameters and buffers to a device. What cannot be moved stays where it is; use
    /// [`move_module`] to learn of it.
    fn move_to_device(&self, device: Device) {
        let _ = move_module(self.parameters(), self.buffers(), device);
        for child in self.sub_modules() {
            child.move_to_device(device);
        }
    }

    /// Switches between training and inference.
    fn set_training(&self, training: bool) {
        for child in self.sub_modules() {
            child.set_training(training);
        }
    }

    /// Switches to training: `set_training(true)`.
    fn train(&self) {
        self.set_training(true);
    }

    /// Switches to inference: `set_training(false)`.
    fn eval(&self) {
        self.set_training(false);
    }

    /// A value worth looking at from the last forward, such as an attention map.
    fn trace(&self) -> Option<Variable> {
        None
    }

    /// This module as one that takes named inputs besides the stream.
    fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
        None
    }

    /// This module as a loop body that publishes values.
    fn as_loop_body(&self) -> Option<&dyn LoopBody> {
        None
    }

    /// This module as its own type.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// A text that changes with everything that changes results besides the weights: for a layer
    /// its settings, such as strides and slopes.
    ///
    /// [`crate::Graph::structural_hash`] puts it together with the module's name, the names and
    /// shapes of its parameters and buffers, and its children, so none of these need be in it. A
    /// module of your own without settings leaves it as it is; one with settings that says nothing
    /// here lets a checkpoint be loaded into a model that computes something else.
    ///
    /// ```
    /// use flodl::*;
    /// struct Scaled { by: f64 }
    /// impl Module for Scaled {
    ///     fn forward(&self, input: &Variable) -> Result<Variable> {
    ///         input.mul_scalar(self.by)
    ///     }
    ///     fn structural_hash(&self) -> Option<String> {
    ///         Some(self.by.to_string())
    ///     }
    /// }
    /// let model = |by| FlowBuilder::from(Linear::new(2, 2)?).through(Scaled { by }).build();
    /// assert_ne!(model(0.5)?.structural_hash(), model(2.0)?.structural_hash());
    /// # Ok::<(), Error>(())
    /// ```
    fn structural_hash(&self) -> Option<String> {
        None
    }

    /// Clears per-forward state; loops call it before they iterate.
    fn reset(&self) {
        for child in self.sub_modules() {
            child.reset();
        }
    }

    /// Cuts the gradient of state that is carried between forwards, and keeps its values.
    fn detach_state(&self) {
        for child in self.sub_modules() {
            child.detach_state();
        }
    }

    /// Identity of the shared state: equal for clones of one layer. `None` for modules without
    /// state of their own.
    fn identity(&self) -> Option<usize> {
        None
    }
}

/// Declares the children of a module of your own: its fields, by the names they have in PyTorch's
/// `state_dict`. Written inside `impl Module`, it stands for [`Module::sub_modules`] and
/// [`Module::sub_module_names`]; a field that is called otherwise there is given as `name: field`.
///
/// ```
/// use flodl::*;
///
/// struct Mlp { fc1: Linear, norm: LayerNorm, last: Linear }
///
/// impl Module for Mlp {
///     fn forward(&self, input: &Variable) -> Result<Variable> {
///         self.last.forward(&self.norm.forward(&self.fc1.forward(input)?)?.relu()?)
///     }
///     children!(fc1, norm, fc2: last);
/// }
///
/// let (fc1, norm) = (Linear::new(4, 8)?, LayerNorm::new(8)?);
/// let mlp = Mlp { fc1, norm, last: Linear::no_bias(8, 2)? };
/// let names: Vec<String> = mlp.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["fc1.weight", "fc1.bias", "norm.weight", "norm.bias", "fc2.weight"]);
/// # Ok::<(), Error>(())
/// ```
#[macro_export]
macro_rules! children {
    (@child $this:ident $field:ident) => { std::rc::Rc::new($this.$field.clone()) };
    (@child $this:ident $name:ident $field:ident) => { std::rc::Rc::new($this.$field.clone()) };
    ($($first:ident $(: $second:ident)?),* $(,)?) => {
        fn sub_modules(&self) -> Vec<std::rc::Rc<dyn $crate::Module>> {
            vec![$($crate::children!(@child self $first $($second)?)),*]
        }
        fn sub_module_names(&self) -> Vec<String> {
            vec![$(stringify!($first).to_owned()),*]
        }
    };
}

/// A module that receives named values besides the stream.
pub trait NamedInputModule: Module {
    /// Computes the output from the stream and the named values.
    ///
    /// # Errors
    /// When an input does not fit.
    fn forward_named(&self, input: &Variable, refs: &HashMap<String, Variable>)
    -> Result<Variable>;
}

/// Collects the values that a loop body publishes in one iteration.
pub struct TraceEmit<'a> {
    values: Option<&'a mut Vec<(String, Variable)>>,
}

impl<'a> TraceEmit<'a> {
    /// A collector that keeps nothing.
    pub fn discard() -> TraceEmit<'a> {
        TraceEmit { values: None }
    }

    /// A collector that appends to a list.
    pub fn collect(values: &'a mut Vec<(String, Variable)>) -> TraceEmit<'a> {
        TraceEmit { values: Some(values) }
    }

    /// Publishes a value under a name.
    pub fn publish(&mut self, name: &str, v: Variable) {
        if let Some(values) = &mut self.values {
            values.push((name.to_owned(), v));
        }
    }
}

/// A loop body that may publish named values in each iteration.
pub trait LoopBody: Module {
    /// One iteration.
    ///
    /// # Errors
    /// When an input does not fit.
    fn step(
        &self,
        input: &Variable,
        refs: &HashMap<String, Variable>,
        emit: &mut TraceEmit<'_>,
    ) -> Result<Variable>;
}

/// A loop body's `forward`: one step without references whose published values are dropped.
///
/// # Errors
/// As for the step.
pub fn forward_via_step<B: LoopBody + ?Sized>(body: &B, input: &Variable) -> Result<Variable> {
    body.step(input, &HashMap::new(), &mut TraceEmit::discard())
}

/// Visits a module and everything below it, depth first, shared children once.
pub fn walk_modules(module: &dyn Module, f: &mut dyn FnMut(&dyn Module)) {
    walk_modules_visited(module, &mut HashSet::new(), f);
}

/// [`walk_modules`] that leaves out what is in `visited` and adds what it sees.
pub fn walk_modules_visited(
    module: &dyn Module,
    visited: &mut HashSet<usize>,
    f: &mut dyn FnMut(&dyn Module),
) {
    if let Some(id) = module.identity()
        && !visited.insert(id)
    {
        return;
    }
    f(module);
    for child in module.sub_modules() {
        walk_modules_visited(&*child, visited, f);
    }
}

/// All parameters of several modules, shared ones once.
pub fn collect_parameters(modules: &[&dyn Module]) -> Vec<Parameter> {
    unique(modules.iter().flat_map(|m| m.parameters()), |p| p.variable.id())
}

/// Moves parameters and buffers to a device.
///
/// # Errors
/// When the device cannot be used; then nothing has moved.
pub fn move_module(parameters: Vec<Parameter>, buffers: Vec<Buffer>, device: Device) -> Result<()> {
    device.check()?;
    for p in parameters {
        let moved = p.variable.data().to_device(device)?;
        p.variable.set_data(moved);
    }
    for b in buffers {
        b.to_device(device)?;
    }
    Ok(())
}

/// Casts all floating-point parameters and buffers of a module, PyTorch's `module.to(dtype)`:
/// running statistics too, which [`crate::cast_parameters`] does not reach. Gradients of what was
/// cast are cleared; integers stay.
///
/// # Errors
/// When the dtype is not a floating-point one, or there is no memory for it.
///
/// ```
/// use flodl::*;
/// let model = FlowBuilder::from(Linear::new(3, 4)?).through(BatchNorm::new(4)?).build()?;
/// cast_module(&model, DType::Float64)?;
/// let x = Variable::new(Tensor::randn(&[5, 3], DType::Float64.into())?, false);
/// assert_eq!(model.forward(&x)?.dtype(), DType::Float64);
/// let buffers: Vec<DType> = model.buffers().iter().map(|b| b.get().dtype()).collect();
/// assert_eq!(buffers, [DType::Float64, DType::Float64, DType::Int64]);
/// # Ok::<(), Error>(())
/// ```
pub fn cast_module(module: &dyn Module, dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        let expected = "a floating-point dtype".into();
        return Err(Error::DType { op: "cast_module", expected, got: dtype });
    }
    cast_parameters(&module.parameters(), dtype)?;
    for b in module.buffers() {
        let values = b.get();
        if values.dtype().is_float() && values.dtype() != dtype {
            b.set(values.to_dtype(dtype)?);
        }
    }
    Ok(())
}

pub(crate) fn unique<T>(items: impl Iterator<Item = T>, id: impl Fn(&T) -> usize) -> Vec<T> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(id(item))).collect()
}

/// Every other method, passed on to what the pointer points at.
macro_rules! delegate {
    () => {
        fn parameters(&self) -> Vec<Parameter> {
            (**self).parameters()
        }
        fn buffers(&self) -> Vec<Buffer> {
            (**self).buffers()
        }
        fn name(&self) -> &str {
            (**self).name()
        }
        fn sub_modules(&self) -> Vec<Rc<dyn Module>> {
            (**self).sub_modules()
        }
        fn sub_module_names(&self) -> Vec<String> {
            (**self).sub_module_names()
        }
        fn move_to_device(&self, device: Device) {
            (**self).move_to_device(device)
        }
        fn set_training(&self, training: bool) {
            (**self).set_training(training)
        }
        fn trace(&self) -> Option<Variable> {
            (**self).trace()
        }
        fn as_named_input(&self) -> Option<&dyn NamedInputModule> {
            (**self).as_named_input()
        }
        fn as_loop_body(&self) -> Option<&dyn LoopBody> {
            (**self).as_loop_body()
        }
        fn as_any(&self) -> Option<&dyn Any> {
            (**self).as_any()
        }
        fn structural_hash(&self) -> Option<String> {
            (**self).structural_hash()
        }
        fn reset(&self) {
            (**self).reset()
        }
        fn detach_state(&self) {
            (**self).detach_state()
        }
        fn identity(&self) -> Option<usize> {
            (**self).identity()
        }
    };
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        (**self).forward(input)
    }
    delegate!();
}

impl<M: Module + ?Sized> Module for Rc<M> {
    fn forward(&self, input: &Variable) -> Result<Variable> {
        (**self).forward(input)
    }
    delegate!();
}
