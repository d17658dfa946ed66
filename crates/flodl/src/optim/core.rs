//! What all optimizers share: groups of parameters, their states, and the step, which is one call
//! for all parameters.

use std::cell::RefMut;
use std::collections::HashSet;
use std::fmt::Debug;

use super::{Optimizer, StateKind};
use crate::backend::{self, OptimUpdate, Rule};
use crate::{DType, Device, Error, Parameter, Result, Tensor};

/// What makes an optimizer that optimizer: the settings of a group, and the rule that they give.
///
/// A type of your own that implements this is an optimizer: `Optim<Mine>`.
pub trait Method: Clone + Debug + Default + 'static {
    /// Which optimizer it is, for saved states.
    const KIND: StateKind;
    /// Names of its states, for saved files; empty where there is none.
    const STATES: [&'static str; 3];
    /// Whether [`Method::whole`] does the step.
    const WHOLE: bool = false;

    /// What the step does to each element. `step` counts from 1 for each parameter; `carry` is a
    /// number of the parameter that starts at 1 and is kept from step to step.
    fn rule(&self, lr: f64, step: u64, carry: &mut f64) -> Rule;

    /// What the elements of a state are before the first step.
    fn initial(&self, _state: usize, _lr: f64) -> f64 {
        0.0
    }

    /// The setting that schedules of the momentum move.
    fn momentum_mut(&mut self) -> Option<&mut f64> {
        None
    }

    /// Whether to climb.
    fn climbs(&self) -> bool {
        false
    }

    /// A setting outside its domain, in words.
    fn fault(&self) -> Option<String> {
        None
    }

    /// The shape of a state of a parameter of this shape.
    fn state_shape(&self, _state: usize, param: &[i64]) -> Vec<i64> {
        param.to_vec()
    }

    /// One step on a parameter as a whole, for methods that are no rule on elements. States are
    /// there from the first step on, filled with [`Method::initial`], where the rule uses them.
    ///
    /// # Errors
    /// When the parameter is none that the method can work on.
    fn whole(
        &self,
        _lr: f64,
        _step: u64,
        _param: &mut Tensor,
        _grad: &Tensor,
        _state: &mut [Option<Tensor>; 3],
    ) -> Result<()> {
        Ok(())
    }
}

/// Parameters that share a learning rate and settings.
#[derive(Clone, Debug)]
pub(super) struct Group<M> {
    pub params: Vec<Parameter>,
    pub lr: f64,
    pub settings: M,
}

/// The state of one parameter.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub step: u64,
    pub carry: f64,
    pub state: [Option<Tensor>; 3],
}

impl Default for Slot {
    fn default() -> Self {
        Slot { step: 0, carry: 1.0, state: [None, None, None] }
    }
}

/// An optimizer: [`crate::Adam`], [`crate::SGD`] and the others are this with their method.
///
/// A parameter that is given twice, in one group or in several, is stepped once, in the first.
#[derive(Debug)]
pub struct Optim<M: Method> {
    pub(super) groups: Vec<Group<M>>,
    pub(super) slots: Vec<Slot>,
}

/// A parameter in a step.
struct Work<'a> {
    data: RefMut<'a, Tensor>,
    /// The values in the dtype of the computation, when the parameter has 16 bits.
    wide: Option<Tensor>,
    grad: Tensor,
    rule: Rule,
    sign: f64,
    slot: &'a mut Slot,
}

impl Work<'_> {
    fn place(&self) -> (Device, DType) {
        (self.grad.device(), self.grad.dtype())
    }

    fn update(&mut self) -> Result<OptimUpdate<'_>> {
        let [a, b, c] = &mut self.slot.state;
        Ok(OptimUpdate {
            rule: self.rule,
            grad_scale: self.sign,
            param: self.wide.as_mut().unwrap_or(&mut self.data).target()?,
            grad: self.grad.operand(),
            state: [
                a.as_mut().map(Tensor::target).transpose()?,
                b.as_mut().map(Tensor::target).transpose()?,
                c.as_mut().map(Tensor::target).transpose()?,
            ],
        })
    }
}

/// The dtype that a parameter's step is computed in.
pub(super) fn wide(dtype: DType) -> DType {
    if dtype.is_half() { DType::Float32 } else { dtype }
}

impl<M: Method> Optim<M> {
    /// One group with the method's defaults.
    pub(super) fn one(params: &[Parameter], lr: f64, settings: M) -> Self {
        OptimBuilder::with(settings).group(params, lr).build()
    }

    /// Learning rate of the first group.
    pub fn lr(&self) -> f64 {
        self.groups.first().map_or(0.0, |g| g.lr)
    }

    /// Learning rate of each group.
    pub fn group_lrs(&self) -> Vec<f64> {
        self.groups.iter().map(|g| g.lr).collect()
    }

    /// The parameters, each once, in the order of their groups.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.groups.iter().flat_map(|g| &g.params)
    }

    /// Changes the settings of all groups.
    pub(super) fn each(mut self, change: impl Fn(&mut M)) -> Self {
        self.groups.iter_mut().for_each(|g| change(&mut g.settings));
        self
    }

    fn name() -> &'static str {
        M::KIND.name()
    }

    /// Gradients as the kernels want them. Everything that can be wrong is found here, before any
    /// parameter changes.
    fn gradients(&self) -> Result<Vec<Option<Tensor>>> {
        let op = Self::name();
        let mut found = Vec::with_capacity(self.slots.len());
        for group in &self.groups {
            if group.lr.is_nan() || group.lr < 0.0 {
                return Err(Error::invalid(op, format!("lr {} must not be negative", group.lr)));
            }
            if let Some(fault) = group.settings.fault() {
                return Err(Error::invalid(op, fault));
            }
            for p in &group.params {
                let grad = super::gradient(op, p)?;
                found.push(grad.map(|g| g.to_dtype(wide(g.dtype()))).transpose()?);
            }
        }
        Ok(found)
    }

    fn run(&mut self) -> Result<()> {
        let grads = self.gradients()?;
        let Optim { groups, slots } = self;
        let params = groups.iter().flat_map(|g| g.params.iter().map(move |p| (g, p)));
        let mut works = Vec::with_capacity(slots.len());
        for (((group, p), slot), grad) in params.zip(slots).zip(grads) {
            let Some(grad) = grad else { continue };
            let (lr, settings) = (group.lr, &group.settings);
            slot.step += 1;
            let rule = settings.rule(lr, slot.step, &mut slot.carry);
            for (k, used) in rule.states().into_iter().enumerate() {
                if used && slot.state[k].is_none() {
                    let shape = settings.state_shape(k, &grad.shape());
                    let initial = settings.initial(k, lr);
                    slot.state[k] = Some(Tensor::full(&shape, initial, grad.options())?);
                }
            }
            let mut data = p.variable.data_mut();
            let home = data.dtype();
            let mut wider = match home.is_half() {
                true => Some(data.to_dtype(wide(home))?),
                false => None,
            };
            if M::WHOLE {
                let grad = if settings.climbs() { grad.neg()? } else { grad };
                let values = wider.as_mut().unwrap_or(&mut data);
                settings.whole(lr, slot.step, values, &grad, &mut slot.state)?;
                if let Some(w) = wider {
                    *data = w.to_dtype(home)?;
                }
                continue;
            }
            let sign = if settings.climbs() { -1.0 } else { 1.0 };
            works.push(Work { data, wide: wider, grad, rule, sign, slot });
        }
        let mut rest = &mut works[..];
        while !rest.is_empty() {
            // As a rule all parameters are in one place, and this runs once.
            let place = rest[0].place();
            let same = rest.iter().take_while(|w| w.place() == place).count();
            let (now, later) = rest.split_at_mut(same);
            let updates = now.iter_mut().map(Work::update).collect::<Result<Vec<_>>>()?;
            backend::of(place.0)?.optim_step(place.1, updates)?;
            rest = later;
        }
        for w in &mut works {
            if let Some(values) = &w.wide {
                let home = w.data.dtype();
                *w.data = values.to_dtype(home)?;
            }
        }
        Ok(())
    }
}

impl<M: Method> Optimizer for Optim<M> {
    fn step(&mut self) -> Result<()> {
        self.run()
    }

    fn zero_grad(&self) {
        self.parameters().for_each(|p| p.variable.zero_grad());
    }

    fn lr(&self) -> f64 {
        self.lr()
    }

    fn group_lrs(&self) -> Vec<f64> {
        self.group_lrs()
    }

    fn set_lr(&mut self, lr: f64) {
        self.groups.iter_mut().for_each(|g| g.lr = lr);
    }

    fn set_group_lr(&mut self, group: usize, lr: f64) {
        if let Some(g) = self.groups.get_mut(group) {
            g.lr = lr;
        }
    }

    fn scale_lr(&mut self, factor: f64) {
        self.groups.iter_mut().for_each(|g| g.lr *= factor);
    }

    fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        for group in &mut self.groups {
            let Some(place) = group.settings.momentum_mut() else {
                let what = format!("{} has no momentum", Self::name());
                return Err(Error::invalid("set_momentum", what));
            };
            *place = momentum;
        }
        Ok(())
    }

    fn reset_state(&mut self) {
        self.slots.iter_mut().for_each(|s| *s = Slot::default());
    }

    fn save_state_to(&self, path: &str) -> Result<()> {
        super::Stateful::save_state_file(self, path)
    }
}

/// What a group has of its own.
type Own<M> = Box<dyn FnOnce(M) -> M>;

/// Sets up an optimizer: settings for all groups, and groups with settings of their own.
///
/// ```
/// use flodl::*;
/// let (trunk, head) = (Linear::new(4, 4)?, Linear::new(4, 1)?);
/// let optimizer = Adam::with_groups()
///     .eps(1e-7)
///     .group(&trunk.parameters(), 1e-4)
///     .group_with(&head.parameters(), 1e-3, |s| s.weight_decay(0.01))
///     .build();
/// assert_eq!(optimizer.group_lrs(), [1e-4, 1e-3]);
/// # Ok::<(), Error>(())
/// ```
pub struct OptimBuilder<M: Method> {
    pub(super) settings: M,
    groups: Vec<(Vec<Parameter>, f64, Option<Own<M>>)>,
}

impl<M: Method> OptimBuilder<M> {
    pub(super) fn with(settings: M) -> Self {
        OptimBuilder { settings, groups: Vec::new() }
    }

    /// Adds a group.
    pub fn group(mut self, params: &[Parameter], lr: f64) -> Self {
        self.groups.push((params.to_vec(), lr, None));
        self
    }

    /// Adds a group that differs from the others in more than its learning rate.
    pub fn group_with(
        mut self,
        params: &[Parameter],
        lr: f64,
        settings: impl FnOnce(M) -> M + 'static,
    ) -> Self {
        self.groups.push((params.to_vec(), lr, Some(Box::new(settings))));
        self
    }

    /// The optimizer.
    pub fn build(self) -> Optim<M> {
        let mut known = HashSet::new();
        let mut groups = Vec::with_capacity(self.groups.len());
        for (params, lr, own) in self.groups {
            let params: Vec<_> =
                params.into_iter().filter(|p| known.insert(p.variable.id())).collect();
            let settings = self.settings.clone();
            let settings = own.map_or(settings.clone(), |own| own(settings));
            groups.push(Group { params, lr, settings });
        }
        Optim { groups, slots: vec![Slot::default(); known.len()] }
    }
}

impl<M: Method> Debug for OptimBuilder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OptimBuilder({:?}, {} groups)", self.settings, self.groups.len())
    }
}

/// Gives a method's settings, its builder and its optimizer a setter for each field.
macro_rules! setters {
    ([$($generics:tt)*] $method:ty { $($(#[$doc:meta])* $name:ident: $type:ty),* $(,)? }) => {
        impl<$($generics)*> $method {
            $($(#[$doc])* pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            })*
        }
        impl<$($generics)*> $crate::optim::OptimBuilder<$method> {
            $($(#[$doc])* pub fn $name(mut self, $name: $type) -> Self {
                self.settings.$name = $name;
                self
            })*
        }
        impl<$($generics)*> $crate::optim::Optim<$method> {
            $($(#[$doc])* pub fn $name(self, $name: $type) -> Self {
                self.each(|s| s.$name = $name)
            })*
        }
    };
}
pub(super) use setters;

/// The setter of two decay rates.
macro_rules! betas {
    ([$($generics:tt)*] $method:ty) => {
        impl<$($generics)*> $method {
            /// Decay rates of the two running means.
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.betas = (beta1, beta2);
                self
            }
        }
        impl<$($generics)*> $crate::optim::OptimBuilder<$method> {
            /// Decay rates of the two running means.
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.settings.betas = (beta1, beta2);
                self
            }
        }
        impl<$($generics)*> $crate::optim::Optim<$method> {
            /// Decay rates of the two running means.
            pub fn betas(self, beta1: f64, beta2: f64) -> Self {
                self.each(|s| s.betas = (beta1, beta2))
            }
        }
    };
}
pub(super) use betas;

/// The constructors that most optimizers have.
macro_rules! constructors {
    ($method:ty) => {
        impl $crate::optim::Optim<$method> {
            /// One group with PyTorch's defaults.
            pub fn new(params: &[$crate::Parameter], lr: f64) -> Self {
                Self::one(params, lr, <$method>::default())
            }

            /// One group and settings of your own.
            pub fn builder(
                params: &[$crate::Parameter],
                lr: f64,
            ) -> $crate::optim::OptimBuilder<$method> {
                $crate::optim::OptimBuilder::with(<$method>::default()).group(params, lr)
            }

            /// Groups and settings of your own.
            pub fn with_groups() -> $crate::optim::OptimBuilder<$method> {
                $crate::optim::OptimBuilder::with(<$method>::default())
            }
        }
    };
}
pub(super) use constructors;

/// What is wrong with decay rates.
pub(super) fn bad_betas((beta1, beta2): (f64, f64)) -> Option<String> {
    let bad = [beta1, beta2].into_iter().find(|b| !(0.0..1.0).contains(b))?;
    Some(format!("beta {bad} must be in [0, 1)"))
}
