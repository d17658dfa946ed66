//! L-BFGS, which calls the loss itself.

mod search;

use std::io::{Read, Write};

use self::search::{Point, strong_wolfe};
use super::state::{self, StateKind, Stateful};
use crate::{Error, Parameter, Result, Tensor, Variable};

/// A quasi-Newton method for problems without noise: limited-memory BFGS (Liu and Nocedal, 1989), as
/// PyTorch has it. A step evaluates the loss several times, so it takes a closure that clears the
/// gradients, computes the loss, calls `backward`, and gives the loss.
///
/// ```
/// use flodl::*;
/// let p = Parameter::new(Tensor::zeros(&[2], TensorOptions::default())?, "p");
/// let mut optimizer = LBFGS::new(std::slice::from_ref(&p), 1.0).strong_wolfe(true);
/// let loss = optimizer.step(&mut || {
///     p.variable.zero_grad();
///     let loss = p.variable.sub_scalar(3.0)?.square()?.sum()?;
///     loss.backward()?;
///     Ok(loss)
/// })?;
/// // The loss before the step; the step ends in the minimum.
/// assert_eq!(loss, 18.0);
/// assert!((p.variable.data().to_f32_vec()?[0] - 3.0).abs() < 1e-4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct LBFGS {
    params: Vec<Parameter>,
    lr: f64,
    max_iter: usize,
    max_eval: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history_size: usize,
    strong_wolfe: bool,
    memory: Memory,
}

/// What is kept from step to step.
#[derive(Clone, Debug, Default)]
struct Memory {
    evaluations: u64,
    iterations: u64,
    direction: Option<Tensor>,
    length: f64,
    /// Changes of the gradient and of the weights, oldest first, and one over their products.
    changes: Vec<Tensor>,
    moves: Vec<Tensor>,
    ro: Vec<f64>,
    diagonal: f64,
    gradient: Option<Tensor>,
    loss: f64,
}

/// The sum of products of two vectors.
fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    a.mul(b)?.sum()?.item()
}

/// The largest magnitude; 0 of nothing.
fn largest(t: &Tensor) -> Result<f64> {
    if t.numel() == 0 { Ok(0.0) } else { t.abs()?.max()?.item() }
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        })*
    };
}

impl LBFGS {
    /// PyTorch's defaults; its learning rate is 1.
    pub fn new(params: &[Parameter], lr: f64) -> Self {
        LBFGS {
            params: crate::nn::unique(params.iter().cloned(), |p| p.variable.id()),
            lr,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            strong_wolfe: false,
            memory: Memory::default(),
        }
    }

    options! {
        /// Iterations in a step at most; 20 unless set.
        max_iter: usize,
        /// Ends a step when no gradient is larger; 1e-7 unless set.
        tolerance_grad: f64,
        /// Ends a step when weights or loss change less; 1e-9 unless set.
        tolerance_change: f64,
        /// Changes that are remembered; 100 unless set.
        history_size: usize,
        /// Whether each iteration looks for a length that fulfils the strong Wolfe conditions; off
        /// unless set.
        strong_wolfe: bool,
    }

    /// Evaluations in a step at most; 1.25 times the iterations unless set.
    pub fn max_eval(mut self, max_eval: usize) -> Self {
        self.max_eval = Some(max_eval);
        self
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.lr
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// Evaluations of the loss so far.
    pub fn evaluations(&self) -> u64 {
        self.memory.evaluations
    }

    /// All gradients in one vector; zeros where there is none.
    fn gradient(&self) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(self.params.len());
        for p in &self.params {
            let part = match super::gradient("LBFGS", p)? {
                Some(g) => g,
                None => Tensor::zeros_like(&p.variable.data())?,
            };
            let wide = super::core::wide(part.dtype());
            parts.push(part.to_dtype(wide)?.reshape(&[-1])?);
        }
        Tensor::cat_many(&parts.iter().collect::<Vec<_>>(), 0)
    }

    /// Moves the weights along a direction.
    fn shift(&self, length: f64, direction: &Tensor) -> Result<()> {
        let mut start = 0;
        for p in &self.params {
            let n = p.variable.numel();
            let part = direction.narrow(0, start, n)?.reshape(&p.variable.shape())?;
            start += n;
            let mut data = p.variable.data_mut();
            let part = part.to_dtype(data.dtype())?;
            data.add_scaled_(&part, length)?;
        }
        Ok(())
    }

    fn weights(&self) -> Result<Vec<Tensor>> {
        self.params.iter().map(|p| p.variable.data().copy()).collect()
    }

    fn put(&self, weights: &[Tensor]) -> Result<()> {
        for (p, w) in self.params.iter().zip(weights) {
            *p.variable.data_mut() = w.copy()?;
        }
        Ok(())
    }

    /// The next direction: what the remembered changes make of the gradient.
    fn direction(&mut self, gradient: &Tensor) -> Result<Tensor> {
        let m = &mut self.memory;
        let (Some(last), Some(before)) = (&m.direction, &m.gradient) else {
            m.diagonal = 1.0;
            return gradient.neg();
        };
        let y = gradient.sub(before)?;
        let s = last.mul_scalar(m.length)?;
        let ys = dot(&y, &s)?;
        if ys > 1e-10 && self.history_size > 0 {
            if m.changes.len() >= self.history_size {
                m.changes.remove(0);
                m.moves.remove(0);
                m.ro.remove(0);
            }
            m.diagonal = ys / dot(&y, &y)?;
            m.changes.push(y);
            m.moves.push(s);
            m.ro.push(1.0 / ys);
        }
        let mut q = gradient.neg()?;
        let mut alphas = vec![0.0; m.changes.len()];
        for i in (0..m.changes.len()).rev() {
            alphas[i] = dot(&m.moves[i], &q)? * m.ro[i];
            q.add_scaled_(&m.changes[i], -alphas[i])?;
        }
        let mut r = q.mul_scalar(m.diagonal)?;
        for (i, alpha) in alphas.into_iter().enumerate() {
            let beta = dot(&m.changes[i], &r)? * m.ro[i];
            r.add_scaled_(&m.moves[i], alpha - beta)?;
        }
        Ok(r)
    }

    /// One step; gives the loss that it started from.
    ///
    /// # Errors
    /// When the closure fails, a setting is outside its domain, or a gradient's shape or dtype is
    /// not its parameter's.
    pub fn step(&mut self, closure: &mut dyn FnMut() -> Result<Variable>) -> Result<f64> {
        if self.lr.is_nan() || self.lr < 0.0 {
            return Err(Error::invalid("LBFGS", format!("lr {} must not be negative", self.lr)));
        }
        if self.params.is_empty() {
            return closure()?.item();
        }
        let max_eval = self.max_eval.unwrap_or(self.max_iter * 5 / 4);
        let first = closure()?.item()?;
        let (mut loss, mut evaluations) = (first, 1);
        self.memory.evaluations += 1;
        let mut gradient = self.gradient()?;
        let mut done = largest(&gradient)? <= self.tolerance_grad;
        for iteration in 1..=self.max_iter {
            if done {
                break;
            }
            self.memory.iterations += 1;
            let direction = self.direction(&gradient)?;
            let mut length = self.lr;
            if self.memory.iterations == 1 {
                length *= (1.0 / gradient.abs()?.sum()?.item()?).min(1.0);
            }
            let before = loss;
            let slope = dot(&gradient, &direction)?;
            self.memory.gradient = Some(gradient.clone());
            self.memory.loss = loss;
            self.memory.direction = Some(direction.clone());
            self.memory.length = length;
            if slope > -self.tolerance_change {
                break;
            }
            let mut used = 0;
            if self.strong_wolfe {
                let start = self.weights()?;
                let mut at = |length: f64| -> Result<Point> {
                    self.shift(length, &direction)?;
                    let loss = closure()?.item()?;
                    let gradient = self.gradient()?;
                    self.put(&start)?;
                    Ok(Point { length, loss, slope: dot(&gradient, &direction)?, gradient })
                };
                let here = Point { length: 0.0, loss, slope, gradient: gradient.clone() };
                let (least, reach) = (self.tolerance_change, largest(&direction)?);
                let most = max_eval.saturating_sub(evaluations);
                let (point, calls) = strong_wolfe(&mut at, here, length, reach, least, most)?;
                (loss, gradient, length, used) = (point.loss, point.gradient, point.length, calls);
                self.memory.length = length;
                self.shift(length, &direction)?;
                done = largest(&gradient)? <= self.tolerance_grad;
            } else {
                self.shift(length, &direction)?;
                // After the last iteration nobody asks for the loss.
                if iteration != self.max_iter {
                    loss = closure()?.item()?;
                    gradient = self.gradient()?;
                    done = largest(&gradient)? <= self.tolerance_grad;
                    used = 1;
                }
            }
            evaluations += used;
            self.memory.evaluations += used as u64;
            done |= evaluations >= max_eval
                || largest(&direction)? * length.abs() <= self.tolerance_change
                || (loss - before).abs() < self.tolerance_change;
        }
        Ok(first)
    }
}

impl Stateful for LBFGS {
    fn state_kind(&self) -> StateKind {
        StateKind::Lbfgs
    }

    fn save_state<W: Write>(&self, w: &mut W) -> Result<()> {
        let m = &self.memory;
        let numbers = [self.lr, m.length, m.diagonal, m.loss];
        let counts = [m.evaluations, m.iterations, m.ro.len() as u64].map(|n| n as i64);
        let mut tensors = vec![
            ("numbers".to_owned(), state::numbers(&numbers)?),
            ("counts".to_owned(), state::counts(&counts)?),
            ("ro".to_owned(), state::numbers(&m.ro)?),
        ];
        tensors.extend(m.direction.iter().map(|t| ("direction".to_owned(), t.clone())));
        tensors.extend(m.gradient.iter().map(|t| ("gradient".to_owned(), t.clone())));
        for (i, (y, s)) in m.changes.iter().zip(&m.moves).enumerate() {
            tensors.push((format!("{i}.change"), y.clone()));
            tensors.push((format!("{i}.move"), s.clone()));
        }
        state::write(StateKind::Lbfgs, tensors, w)
    }

    fn load_state<R: Read>(&mut self, r: &mut R) -> Result<()> {
        let file = state::read(StateKind::Lbfgs, r)?;
        let (numbers, counts) = (file.numbers("numbers", 4)?, file.counts("counts", 3)?);
        let n: i64 = self.params.iter().map(|p| p.variable.numel()).sum();
        let vector = |name: &str| -> Result<Tensor> {
            let t = file.get(name)?;
            if t.shape() == [n] {
                return Ok(t.clone());
            }
            let expected = format!("{name} of {n} numbers");
            Err(Error::Shape { op: "LBFGS", expected, got: t.shape() })
        };
        let known = counts[2].max(0);
        let all = |what: &str| -> Result<Vec<Tensor>> {
            (0..known).map(|i| vector(&format!("{i}.{what}"))).collect()
        };
        let memory = Memory {
            evaluations: counts[0] as u64,
            iterations: counts[1] as u64,
            direction: file.find("direction").map(|_| vector("direction")).transpose()?,
            length: numbers[1],
            changes: all("change")?,
            moves: all("move")?,
            ro: file.numbers("ro", known as usize)?,
            diagonal: numbers[2],
            gradient: file.find("gradient").map(|_| vector("gradient")).transpose()?,
            loss: numbers[3],
        };
        (self.lr, self.memory) = (numbers[0], memory);
        Ok(())
    }
}
