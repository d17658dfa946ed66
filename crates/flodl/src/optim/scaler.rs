//! Loss scaling for training in f16.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use super::state::{self, StateKind, Stateful};
use crate::{DType, Error, Parameter, Result, Variable};

/// Scales losses so that small gradients survive f16, skips steps whose gradients overflow, and
/// adapts the scale: half of it after an overflow, twice after 2,000 steps without one (Micikevicius
/// et al., 2017). bf16 has the range of f32 and needs no scaler.
///
/// Clip gradients after [`unscale_`](Self::unscale_), never before:
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(4, 1)?;
/// let params = layer.parameters();
/// let mut optimizer = SGD::new(&params, 0.1, 0.0);
/// let mut scaler = GradScaler::new();
/// let x = Variable::new(Tensor::randn(&[8, 4], TensorOptions::default())?, false);
/// optimizer.zero_grad();
/// let loss = autocast(DType::Float16, || layer.forward(&x)?.to_dtype(DType::Float32)?.square()?.mean())?;
/// scaler.scale(&loss)?.backward()?;
/// scaler.unscale_(&params)?;
/// clip_grad_norm(&params, 1.0)?;
/// scaler.step(&params, &mut || optimizer.step())?;
/// scaler.update();
/// # Ok::<(), Error>(())
/// ```
///
/// With several optimizers call [`step`](Self::step) for each with its own parameters, and
/// [`update`](Self::update) once after all of them: each parameter's gradient is unscaled once, and
/// an overflow skips the steps of those optimizers that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct GradScaler {
    scale: f64,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: u64,
    /// Steps since the last change of the scale.
    good: u64,
    /// Parameters whose gradients were unscaled since the last update, and whether these
    /// overflowed. Each optimizer has its own parameters, so this is PyTorch's state of each
    /// optimizer.
    unscaled: BTreeMap<usize, bool>,
    /// Parameters that were stepped since the last update.
    stepped: BTreeSet<usize>,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self::new()
    }
}

impl GradScaler {
    /// PyTorch's defaults: a scale of 65,536, growth 2, backoff 0.5, every 2,000 steps.
    pub fn new() -> Self {
        GradScaler {
            scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            good: 0,
            unscaled: BTreeMap::new(),
            stepped: BTreeSet::new(),
        }
    }

    /// The scale to start from.
    pub fn init_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Factor on the scale after an interval without overflow.
    pub fn growth_factor(mut self, factor: f64) -> Self {
        self.growth_factor = factor;
        self
    }

    /// Factor on the scale after an overflow.
    pub fn backoff_factor(mut self, factor: f64) -> Self {
        self.backoff_factor = factor;
        self
    }

    /// Steps without overflow before the scale grows.
    pub fn growth_interval(mut self, steps: u64) -> Self {
        self.growth_interval = steps;
        self
    }

    /// The loss times the scale, to call `backward` on.
    ///
    /// # Errors
    /// When the loss is not a float.
    pub fn scale(&self, loss: &Variable) -> Result<Variable> {
        loss.mul_scalar(self.scale)
    }

    /// The scale now.
    pub fn scale_factor(&self) -> f64 {
        self.scale
    }

    /// Divides the gradients by the scale, so that they can be looked at or clipped before
    /// [`step`](Self::step).
    ///
    /// # Errors
    /// When it was called already for one of the parameters since the last
    /// [`update`](Self::update), or after their step; when a gradient is f16, which a division may
    /// take to zero.
    pub fn unscale_(&mut self, params: &[Parameter]) -> Result<()> {
        for p in params {
            let what = match p.variable.id() {
                id if self.stepped.contains(&id) => "unscale_ was called after step",
                id if self.unscaled.contains_key(&id) => "unscale_ was called already",
                _ => continue,
            };
            return Err(misuse(what, p));
        }
        self.unscale_rest(params)
    }

    /// Unscales the gradients that are not yet.
    fn unscale_rest(&mut self, params: &[Parameter]) -> Result<()> {
        let params = crate::nn::unique(params.iter(), |p| p.variable.id());
        let rest: Vec<&Parameter> = params
            .into_iter()
            .filter(|p| !self.unscaled.contains_key(&p.variable.id()))
            .filter(|p| p.variable.grad().is_some())
            .collect();
        for p in &rest {
            if p.variable.grad().is_some_and(|g| g.dtype() == DType::Float16) {
                let what = format!(
                    "the gradient of {:?} is float16, in which small values vanish when they are \
                     unscaled; keep parameters in float32 and use autocast",
                    p.name
                );
                return Err(Error::invalid("GradScaler", what));
            }
        }
        super::scale_grads(&rest, 1.0 / self.scale)?;
        for p in rest {
            let overflow = match p.variable.grad() {
                Some(g) => !g.all_finite()?,
                None => false,
            };
            self.unscaled.insert(p.variable.id(), overflow);
        }
        Ok(())
    }

    /// Unscales the gradients unless that is done, and runs the optimizer's step unless one of them
    /// is infinite or NaN. Returns whether the step ran.
    ///
    /// # Errors
    /// When one of the parameters was stepped already since the last [`update`](Self::update), none
    /// has a gradient, or a gradient is f16; those of the step.
    pub fn step(
        &mut self,
        params: &[Parameter],
        step_fn: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let ids = || params.iter().map(|p| p.variable.id());
        if let Some(p) = params.iter().find(|p| self.stepped.contains(&p.variable.id())) {
            return Err(misuse("step was called already", p));
        }
        self.unscale_rest(params)?;
        let found: Vec<bool> = ids().filter_map(|id| self.unscaled.get(&id).copied()).collect();
        if found.is_empty() {
            let what = "no parameter has a gradient: call scale(loss)?.backward() before step";
            return Err(Error::invalid("GradScaler", what));
        }
        let overflow = found.contains(&true);
        if !overflow {
            step_fn()?;
        }
        self.stepped.extend(ids());
        Ok(!overflow)
    }

    /// Adapts the scale; call it once after the steps of all optimizers. Without a step or
    /// [`unscale_`](Self::unscale_) since the last call it changes nothing.
    pub fn update(&mut self) {
        if self.unscaled.values().any(|&overflow| overflow) {
            self.scale *= self.backoff_factor;
            self.good = 0;
        } else if !self.unscaled.is_empty() {
            self.good += 1;
            if self.good >= self.growth_interval {
                let grown = self.scale * self.growth_factor;
                self.scale = if (grown as f32).is_finite() { grown } else { self.scale };
                self.good = 0;
            }
        }
        self.unscaled.clear();
        self.stepped.clear();
    }
}

fn misuse(what: &str, p: &Parameter) -> Error {
    let what = format!("{what} for {:?} since the last update()", p.name);
    Error::invalid("GradScaler", what)
}

impl Stateful for GradScaler {
    fn state_kind(&self) -> StateKind {
        StateKind::GradScaler
    }

    fn save_state<W: Write>(&self, w: &mut W) -> Result<()> {
        let settings = [self.scale, self.growth_factor, self.backoff_factor];
        let tensors = vec![
            ("scale".to_owned(), state::numbers(&settings)?),
            ("steps".to_owned(), state::counts(&[self.growth_interval as i64, self.good as i64])?),
        ];
        state::write(StateKind::GradScaler, tensors, w)
    }

    fn load_state<R: Read>(&mut self, r: &mut R) -> Result<()> {
        let file = state::read(StateKind::GradScaler, r)?;
        let (settings, steps) = (file.numbers("scale", 3)?, file.counts("steps", 2)?);
        [self.scale, self.growth_factor, self.backoff_factor] =
            [settings[0], settings[1], settings[2]];
        (self.growth_interval, self.good) = (steps[0] as u64, steps[1] as u64);
        self.unscaled.clear();
        self.stepped.clear();
        Ok(())
    }
}
