//! Optimizer steps, each one pass over parameter, gradient and state.

use crate::math::FloatMath;
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// What an Adam step needs to know; the names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Pull towards 0.
    pub weight_decay: f64,
    /// Whether the pull is on the parameter (AdamW) and not on the gradient (Adam).
    pub decoupled: bool,
    /// Whether to climb.
    pub maximize: bool,
    /// Number of this step, from 1.
    pub step: u64,
    /// Factor on the gradient, for clipping and loss scaling; 1 changes nothing.
    pub grad_scale: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            maximize: false,
            step: 1,
            grad_scale: 1.0,
        }
    }
}

/// What a step of gradient descent needs to know; the names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub lr: f64,
    /// Share of the last step that is kept; without, there is no state.
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    pub dampening: f64,
    /// Whether to look ahead.
    pub nesterov: bool,
    /// Pull towards 0, added to the gradient.
    pub weight_decay: f64,
    /// Whether to climb.
    pub maximize: bool,
    /// Whether this is the parameter's first step, in which the momentum starts as the gradient.
    pub first: bool,
    /// Factor on the gradient, for clipping and loss scaling; 1 changes nothing.
    pub grad_scale: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            maximize: false,
            first: true,
            grad_scale: 1.0,
        }
    }
}

/// The step's constants in the parameter's type.
#[derive(Clone, Copy)]
struct AdamFactors<T> {
    grad: T,
    decay: T,
    shrink: T,
    rise1: T,
    beta2: T,
    rise2: T,
    eps: T,
    step_size: T,
    root: T,
}

struct AdamKernel<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    m: &'a mut [T],
    v: &'a mut [T],
    f: AdamFactors<T>,
}

impl<T: FloatMath> Kernel for AdamKernel<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let f = self.f;
        let state = self.m.iter_mut().zip(self.v.iter_mut());
        for ((p, &g), (m, v)) in self.p.iter_mut().zip(self.g).zip(state) {
            let g = p.mul_add_::<A>(f.decay, g * f.grad);
            let mean = f.rise1.mul_add_::<A>(g - *m, *m);
            let square = (g * f.rise2).mul_add_::<A>(g, *v * f.beta2);
            let denominator = square.sqrt_() / f.root + f.eps;
            *p = *p * f.shrink - f.step_size * (mean / denominator);
            *m = mean;
            *v = square;
        }
    }
}

/// One step of Adam or AdamW: `m` and `v` are the running means of the gradient and its square.
///
/// # Panics
/// If the lengths differ.
pub fn adam<T: FloatMath>(options: &Adam, p: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n && v.len() == n, "lengths differ");
    let o = options;
    let step = o.step.min(i32::MAX as u64) as i32;
    let (decay, shrink) =
        if o.decoupled { (0.0, 1.0 - o.lr * o.weight_decay) } else { (o.weight_decay, 1.0) };
    let f = AdamFactors {
        grad: T::from_f64(if o.maximize { -o.grad_scale } else { o.grad_scale }),
        decay: T::from_f64(decay),
        shrink: T::from_f64(shrink),
        rise1: T::from_f64(1.0 - o.beta1),
        beta2: T::from_f64(o.beta2),
        rise2: T::from_f64(1.0 - o.beta2),
        eps: T::from_f64(o.eps),
        step_size: T::from_f64(o.lr / (1.0 - o.beta1.powi(step))),
        root: T::from_f64((1.0 - o.beta2.powi(step)).sqrt()),
    };
    let (p, m, v) = (SharedMut::new(p), SharedMut::new(m), SharedMut::new(v));
    parallel_ranges(n, GRAIN, |r| {
        // SAFETY: ranges of one region are disjoint.
        let (p, m, v) = unsafe { (p.range(r.clone()), m.range(r.clone()), v.range(r.clone())) };
        dispatch(AdamKernel { p, g: &g[r], m, v, f });
    });
}

struct SgdKernel<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    momentum: &'a mut [T],
    grad: T,
    decay: T,
    lr: T,
    keep: T,
    enter: T,
    nesterov: bool,
}

impl<T: FloatMath> Kernel for SgdKernel<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self { grad, decay, lr, keep, enter, .. } = self;
        if self.momentum.is_empty() {
            for (p, &g) in self.p.iter_mut().zip(self.g) {
                let g = p.mul_add_::<A>(decay, g * grad);
                *p = g.mul_add_::<A>(-lr, *p);
            }
            return;
        }
        // Nesterov's step is along g + momentum · buffer, the plain one along the buffer.
        let (own, of_buffer) = if self.nesterov { (T::ONE, keep) } else { (T::ZERO, T::ONE) };
        for ((p, &g), b) in self.p.iter_mut().zip(self.g).zip(self.momentum.iter_mut()) {
            let g = p.mul_add_::<A>(decay, g * grad);
            let buffer = b.mul_add_::<A>(keep, g * enter);
            let along = buffer.mul_add_::<A>(of_buffer, g * own);
            *p = along.mul_add_::<A>(-lr, *p);
            *b = buffer;
        }
    }
}

/// One step of gradient descent; `momentum` is the buffer of the last steps, needed if
/// `options.momentum` is not 0.
///
/// # Panics
/// If the lengths differ, or the buffer is missing.
pub fn sgd<T: FloatMath>(options: &Sgd, p: &mut [T], g: &[T], momentum: Option<&mut [T]>) {
    let (o, n) = (options, p.len());
    assert_eq!(g.len(), n, "lengths differ");
    let momentum = if o.momentum == 0.0 { None } else { Some(momentum.unwrap_or_default()) };
    assert!(momentum.as_ref().is_none_or(|b| b.len() == n), "length of the momentum");
    let has_state = momentum.is_some();
    let momentum = momentum.unwrap_or_default();
    if o.first {
        // The first buffer is the gradient itself, without dampening.
        momentum.fill(T::ZERO);
    }
    let (p, momentum) = (SharedMut::new(p), SharedMut::new(momentum));
    parallel_ranges(n, GRAIN, |r| {
        let of_state = if has_state { r.clone() } else { 0..0 };
        // SAFETY: ranges of one region are disjoint.
        let (p, momentum) = unsafe { (p.range(r.clone()), momentum.range(of_state)) };
        dispatch(SgdKernel {
            p,
            g: &g[r],
            momentum,
            grad: T::from_f64(if o.maximize { -o.grad_scale } else { o.grad_scale }),
            decay: T::from_f64(o.weight_decay),
            lr: T::from_f64(o.lr),
            keep: T::from_f64(o.momentum),
            enter: T::from_f64(if o.first { 1.0 } else { 1.0 - o.dampening }),
            nesterov: o.nesterov,
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, k: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.02 - 1.0).collect()
    }

    #[test]
    fn adam_follows_pytorch() {
        for (decoupled, maximize) in [(false, false), (true, false), (false, true)] {
            let mut p = values(70_003, 31);
            let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
            let mut want: Vec<[f64; 3]> = p.iter().map(|&p| [p, 0.0, 0.0]).collect();
            for step in 1..4 {
                let g = values(p.len(), 17 + step as usize);
                let o = Adam {
                    lr: 0.01,
                    weight_decay: 0.1,
                    decoupled,
                    maximize,
                    step,
                    grad_scale: 0.5,
                    ..Default::default()
                };
                adam(&o, &mut p, &g, &mut m, &mut v);
                for ([p, m, v], &g) in want.iter_mut().zip(&g) {
                    let mut g = if maximize { -g * 0.5 } else { g * 0.5 };
                    if decoupled {
                        *p *= 1.0 - o.lr * o.weight_decay;
                    } else {
                        g += o.weight_decay * *p;
                    }
                    *m = o.beta1 * *m + (1.0 - o.beta1) * g;
                    *v = o.beta2 * *v + (1.0 - o.beta2) * g * g;
                    let (c1, c2) =
                        (1.0 - o.beta1.powi(step as i32), 1.0 - o.beta2.powi(step as i32));
                    *p -= o.lr / c1 * *m / (v.sqrt() / c2.sqrt() + o.eps);
                }
                for (got, [want, ..]) in p.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-12, "{got} {want}");
                }
            }
        }
    }

    #[test]
    fn sgd_follows_pytorch() {
        for (momentum, dampening, nesterov) in
            [(0.0, 0.0, false), (0.9, 0.0, false), (0.9, 0.3, false), (0.9, 0.0, true)]
        {
            let mut p = values(70_003, 31);
            let mut buffer = vec![f64::MAX; p.len()];
            let mut want: Vec<[f64; 2]> = p.iter().map(|&p| [p, 0.0]).collect();
            for step in 0..3 {
                let g = values(p.len(), 17 + step);
                let o = Sgd {
                    lr: 0.1,
                    momentum,
                    dampening,
                    nesterov,
                    weight_decay: 0.01,
                    first: step == 0,
                    ..Default::default()
                };
                sgd(&o, &mut p, &g, Some(&mut buffer));
                for ([p, b], &g) in want.iter_mut().zip(&g) {
                    let mut g = g + 0.01 * *p;
                    if momentum != 0.0 {
                        *b = if step == 0 { g } else { momentum * *b + (1.0 - dampening) * g };
                        g = if nesterov { g + momentum * *b } else { *b };
                    }
                    *p -= 0.1 * g;
                }
                for (got, [want, _]) in p.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-12, "{got} {want}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let run = || {
            let mut p: Vec<f32> = values(200_001, 31).iter().map(|&v| v as f32).collect();
            let g = p.clone();
            let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
            adam(&Adam::default(), &mut p, &g, &mut m, &mut v);
            p
        };
        let before = crate::threads::num_threads();
        crate::threads::set_num_threads(1);
        let alone = run();
        crate::threads::set_num_threads(3);
        assert_eq!(run(), alone);
        crate::threads::set_num_threads(before);
    }
}
