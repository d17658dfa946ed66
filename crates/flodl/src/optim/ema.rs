//! Running averages of weights.

use std::io::{Read, Write};

use super::state::{self, StateKind, Stateful};
use crate::{Error, Parameter, Result, Tensor};

/// An exponential moving average of weights, which often generalises better than the weights
/// themselves (Polyak and Juditsky, 1992). Call [`update`](Self::update) after each step,
/// [`swap`](Self::swap) before evaluation and again after it.
///
/// ```
/// use flodl::*;
/// let layer = Linear::new(2, 1)?;
/// let mut ema = ExponentialMovingAverage::new(&layer.parameters(), 0.999)?;
/// // after optimizer.step():
/// ema.update()?;
/// ema.swap()?; // the layer has the averages now
/// ema.swap()?; // and its own weights again
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct ExponentialMovingAverage {
    params: Vec<Parameter>,
    averages: Vec<Tensor>,
    decay: f64,
    updates: u64,
    swapped: bool,
}

impl ExponentialMovingAverage {
    /// Averages that start as the weights are now.
    ///
    /// # Errors
    /// When `decay` is not in `[0, 1]`, or there is no memory for the copies.
    pub fn new(params: &[Parameter], decay: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&decay) {
            let what = format!("decay {decay} must be in [0, 1]");
            return Err(Error::invalid("ExponentialMovingAverage", what));
        }
        let params = crate::nn::unique(params.iter().cloned(), |p| p.variable.id());
        let averages = params.iter().map(|p| p.variable.data().copy()).collect::<Result<_>>()?;
        Ok(ExponentialMovingAverage { params, averages, decay, updates: 0, swapped: false })
    }

    /// Moves the averages towards the weights: decay · average + (1 - decay) · weight.
    ///
    /// # Errors
    /// While the averages are swapped in.
    pub fn update(&mut self) -> Result<()> {
        if self.swapped {
            let what = "the averages are in the model; swap() them back first";
            return Err(Error::invalid("ExponentialMovingAverage", what));
        }
        for (average, p) in self.averages.iter_mut().zip(&self.params) {
            average.mul_scalar_(self.decay)?;
            average.add_scaled_(&p.variable.data(), 1.0 - self.decay)?;
        }
        self.updates += 1;
        Ok(())
    }

    /// Exchanges the weights and the averages. No values are copied.
    ///
    /// # Errors
    /// None now; reserved for devices.
    pub fn swap(&mut self) -> Result<()> {
        for (average, p) in self.averages.iter_mut().zip(&self.params) {
            std::mem::swap(average, &mut p.variable.data_mut());
        }
        self.swapped = !self.swapped;
        Ok(())
    }

    /// Whether the model has the averages now.
    pub fn is_swapped(&self) -> bool {
        self.swapped
    }

    /// The averages, in the order of the parameters; while they are swapped in, the weights.
    pub fn averages(&self) -> &[Tensor] {
        &self.averages
    }

    /// How often [`update`](Self::update) was called.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

impl Stateful for ExponentialMovingAverage {
    fn state_kind(&self) -> StateKind {
        StateKind::Ema
    }

    fn save_state<W: Write>(&self, w: &mut W) -> Result<()> {
        if self.swapped {
            let what = "the averages are in the model; swap() them back first";
            return Err(Error::invalid("ExponentialMovingAverage", what));
        }
        let mut tensors = vec![("updates".to_owned(), state::counts(&[self.updates as i64])?)];
        for (i, t) in self.averages.iter().enumerate() {
            tensors.push((format!("{i}.average"), t.clone()));
        }
        state::write(StateKind::Ema, tensors, w)
    }

    fn load_state<R: Read>(&mut self, r: &mut R) -> Result<()> {
        let file = state::read(StateKind::Ema, r)?;
        let updates = file.counts("updates", 1)?[0] as u64;
        let mut averages = Vec::with_capacity(self.averages.len());
        for (i, old) in self.averages.iter().enumerate() {
            let t = file.get(&format!("{i}.average"))?;
            if t.shape() != old.shape() {
                return Err(Error::Shape {
                    op: "ExponentialMovingAverage",
                    expected: format!("average {i} of shape {:?}", old.shape()),
                    got: t.shape(),
                });
            }
            averages.push(t.to_device(old.device())?);
        }
        (self.averages, self.updates) = (averages, updates);
        Ok(())
    }
}
