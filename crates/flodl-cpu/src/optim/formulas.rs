//! What each rule does to an element.

use std::ops::Range;

use super::{Rule, Update};
use crate::math::FloatMath;
use crate::simd::{Arch, Kernel, dispatch};

/// The arithmetic of a rule with `N` states.
trait Formula<T: FloatMath, const N: usize>: Copy {
    /// The new parameter and states; `g` is scaled already.
    fn apply<A: Arch>(self, p: T, g: T, state: [T; N]) -> (T, [T; N]);
}

struct Each<'a, F, T, const N: usize> {
    formula: F,
    scale: T,
    p: &'a mut [T],
    g: &'a [T],
    state: [*mut T; N],
}

/// Elements in a row before the other half of a range has its turn.
const RUN: usize = 64;

impl<F: Formula<T, N>, T: FloatMath, const N: usize> Each<'_, F, T, N> {
    #[inline(always)]
    fn some<A: Arch>(&mut self, range: Range<usize>) {
        for ((i, p), &g) in range.clone().zip(&mut self.p[range.clone()]).zip(&self.g[range]) {
            // SAFETY: `apply` made the states as long as the parameter.
            let old = self.state.map(|s| unsafe { *s.add(i) });
            let (new, state) = self.formula.apply::<A>(*p, g * self.scale, old);
            *p = new;
            for (at, value) in self.state.into_iter().zip(state) {
                // SAFETY: likewise.
                unsafe { *at.add(i) = value };
            }
        }
    }
}

impl<F: Formula<T, N>, T: FloatMath, const N: usize> Kernel for Each<'_, F, T, N> {
    type Out = ();
    /// Both halves in turn where there is no state: a core fetches four streams ahead as soon as two.
    /// With states there are as many without.
    #[inline(always)]
    fn run<A: Arch>(mut self) {
        let half = if N == 0 { self.p.len() / 2 / RUN * RUN } else { 0 };
        for at in (0..half).step_by(RUN) {
            self.some::<A>(at..at + RUN);
            self.some::<A>(half + at..half + at + RUN);
        }
        self.some::<A>(2 * half..self.p.len());
    }
}

#[derive(Clone, Copy)]
struct Sgd<T> {
    decay: T,
    lr: T,
    keep: T,
    enter: T,
    own: T,
    of_buffer: T,
}

impl<T: FloatMath> Formula<T, 0> for Sgd<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, _: [T; 0]) -> (T, [T; 0]) {
        let g = p.mul_add_::<A>(self.decay, g);
        (g.mul_add_::<A>(-self.lr, p), [])
    }
}

impl<T: FloatMath> Formula<T, 1> for Sgd<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [b]: [T; 1]) -> (T, [T; 1]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let buffer = b.mul_add_::<A>(self.keep, g * self.enter);
        let along = buffer.mul_add_::<A>(self.of_buffer, g * self.own);
        (along.mul_add_::<A>(-self.lr, p), [buffer])
    }
}

#[derive(Clone, Copy)]
struct Adam<T> {
    decay: T,
    shrink: T,
    rise1: T,
    beta2: T,
    rise2: T,
    eps: T,
    step_size: T,
    root: T,
}

impl<T: FloatMath> Adam<T> {
    #[inline(always)]
    fn moments<A: Arch>(self, p: T, g: T, m: T, v: T) -> (T, T) {
        let g = p.mul_add_::<A>(self.decay, g);
        let mean = self.rise1.mul_add_::<A>(g - m, m);
        (mean, (g * self.rise2).mul_add_::<A>(g, v * self.beta2))
    }

    #[inline(always)]
    fn moved(self, p: T, mean: T, square: T) -> T {
        let denominator = square.sqrt_() / self.root + self.eps;
        p * self.shrink - self.step_size * (mean / denominator)
    }
}

impl<T: FloatMath> Formula<T, 2> for Adam<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [m, v]: [T; 2]) -> (T, [T; 2]) {
        let (mean, square) = self.moments::<A>(p, g, m, v);
        (self.moved(p, mean, square), [mean, square])
    }
}

impl<T: FloatMath> Formula<T, 3> for Adam<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [m, v, largest]: [T; 3]) -> (T, [T; 3]) {
        let (mean, square) = self.moments::<A>(p, g, m, v);
        let largest = square.max_(largest);
        (self.moved(p, mean, largest), [mean, square, largest])
    }
}

#[derive(Clone, Copy)]
struct RmsProp<T> {
    decay: T,
    alpha: T,
    rise: T,
    eps: T,
    lr: T,
    momentum: T,
}

impl<T: FloatMath> RmsProp<T> {
    #[inline(always)]
    fn gradient<A: Arch>(self, p: T, g: T, v: T) -> (T, T) {
        let g = p.mul_add_::<A>(self.decay, g);
        (g, (g * self.rise).mul_add_::<A>(g, v * self.alpha))
    }
}

/// With the mean of gradients, with a buffer.
#[derive(Clone, Copy)]
struct Centered<T, const MOMENTUM: bool>(RmsProp<T>);

impl<T: FloatMath> Formula<T, 1> for RmsProp<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [v]: [T; 1]) -> (T, [T; 1]) {
        let (g, v) = self.gradient::<A>(p, g, v);
        (p - self.lr * (g / (v.sqrt_() + self.eps)), [v])
    }
}

impl<T: FloatMath> Formula<T, 2> for RmsProp<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [v, b]: [T; 2]) -> (T, [T; 2]) {
        let (g, v) = self.gradient::<A>(p, g, v);
        let b = b.mul_add_::<A>(self.momentum, g / (v.sqrt_() + self.eps));
        (p - self.lr * b, [v, b])
    }
}

impl<T: FloatMath> Formula<T, 2> for Centered<T, false> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [v, mean]: [T; 2]) -> (T, [T; 2]) {
        let (g, v) = self.0.gradient::<A>(p, g, v);
        let mean = self.0.rise.mul_add_::<A>(g - mean, mean);
        let deviation = (v - mean * mean).sqrt_() + self.0.eps;
        (p - self.0.lr * (g / deviation), [v, mean])
    }
}

impl<T: FloatMath> Formula<T, 3> for Centered<T, true> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [v, mean, b]: [T; 3]) -> (T, [T; 3]) {
        let (g, v) = self.0.gradient::<A>(p, g, v);
        let mean = self.0.rise.mul_add_::<A>(g - mean, mean);
        let deviation = (v - mean * mean).sqrt_() + self.0.eps;
        let b = b.mul_add_::<A>(self.0.momentum, g / deviation);
        (p - self.0.lr * b, [v, mean, b])
    }
}

#[derive(Clone, Copy)]
struct Adagrad<T> {
    lr: T,
    eps: T,
    decay: T,
}

impl<T: FloatMath> Formula<T, 1> for Adagrad<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [sum]: [T; 1]) -> (T, [T; 1]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let sum = g.mul_add_::<A>(g, sum);
        (p - self.lr * (g / (sum.sqrt_() + self.eps)), [sum])
    }
}

#[derive(Clone, Copy)]
struct Mixed<T> {
    rise1: T,
    beta2: T,
    rise2: T,
    eps: T,
    root: T,
    of_mean: T,
    of_grad: T,
    adaptive: bool,
    decay: T,
    shrink: T,
}

impl<T: FloatMath> Formula<T, 2> for Mixed<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [m, v]: [T; 2]) -> (T, [T; 2]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let mean = self.rise1.mul_add_::<A>(g - m, m);
        let square = (g * self.rise2).mul_add_::<A>(g, v * self.beta2);
        let denominator =
            if self.adaptive { square.sqrt_() * self.root + self.eps } else { T::ONE };
        let along = self.of_grad * g + self.of_mean * mean;
        (p * self.shrink - along / denominator, [mean, square])
    }
}

#[derive(Clone, Copy)]
struct Adamax<T> {
    lr: T,
    rise1: T,
    beta2: T,
    eps: T,
    decay: T,
}

impl<T: FloatMath> Formula<T, 2> for Adamax<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [m, u]: [T; 2]) -> (T, [T; 2]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let mean = self.rise1.mul_add_::<A>(g - m, m);
        let norm = (u * self.beta2).max_(g.abs_() + self.eps);
        (p - self.lr * (mean / norm), [mean, norm])
    }
}

#[derive(Clone, Copy)]
struct Adadelta<T> {
    lr: T,
    rho: T,
    rise: T,
    eps: T,
    decay: T,
}

impl<T: FloatMath> Formula<T, 2> for Adadelta<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [v, acc]: [T; 2]) -> (T, [T; 2]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let square = (g * self.rise).mul_add_::<A>(g, v * self.rho);
        let delta = (acc + self.eps).sqrt_() / (square + self.eps).sqrt_() * g;
        let acc = (delta * self.rise).mul_add_::<A>(delta, acc * self.rho);
        (p - self.lr * delta, [square, acc])
    }
}

#[derive(Clone, Copy)]
struct Lion<T> {
    lr: T,
    rise1: T,
    rise2: T,
    shrink: T,
}

impl<T: FloatMath> Formula<T, 1> for Lion<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [m]: [T; 1]) -> (T, [T; 1]) {
        let along = self.rise1.mul_add_::<A>(g - m, m);
        (p * self.shrink - self.lr * sign(along), [self.rise2.mul_add_::<A>(g - m, m)])
    }
}

#[derive(Clone, Copy)]
struct Asgd<T> {
    eta: T,
    shrink: T,
    mu: T,
    decay: T,
}

impl<T: FloatMath> Formula<T, 1> for Asgd<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [average]: [T; 1]) -> (T, [T; 1]) {
        let g = p.mul_add_::<A>(self.decay, g);
        let p = p * self.shrink - self.eta * g;
        let average = if self.mu == T::ONE { p } else { average + (p - average) * self.mu };
        (p, [average])
    }
}

#[derive(Clone, Copy)]
struct Rprop<T> {
    eta_minus: T,
    eta_plus: T,
    min: T,
    max: T,
}

impl<T: FloatMath> Formula<T, 2> for Rprop<T> {
    #[inline(always)]
    fn apply<A: Arch>(self, p: T, g: T, [last, size]: [T; 2]) -> (T, [T; 2]) {
        let agree = g * last;
        let turned = agree < T::ZERO;
        let kept = if agree > T::ZERO { self.eta_plus } else { T::ONE };
        let size = size * if turned { self.eta_minus } else { kept };
        let size = size.max_(self.min).min_(self.max);
        let g = if turned { T::ZERO } else { g };
        (p - sign(g) * size, [g, size])
    }
}

/// -1, 0 or 1; NaN stays.
#[inline(always)]
fn sign<T: FloatMath>(x: T) -> T {
    let negative = if x < T::ZERO { -T::ONE } else { x };
    if x > T::ZERO { T::ONE } else { negative }
}

/// Runs a formula on a range, with the gradient times `scale`.
///
/// # Safety
/// The range lies in the update, the `N` states are as long as the parameter, and no one else
/// touches the range.
unsafe fn each<F: Formula<T, N>, T: FloatMath, const N: usize>(
    u: &Update<'_, T>,
    states: [usize; N],
    scale: f64,
    range: Range<usize>,
    formula: F,
) {
    // SAFETY: the caller's promise.
    let (p, g, state) = unsafe {
        let p = u.param.range(range.clone());
        (p, &u.grad[range.clone()], states.map(|k| u.state[k].as_mut_ptr().add(range.start)))
    };
    dispatch(Each { formula, scale: T::from_f64(scale), p, g, state });
}

/// Runs an update's rule on a range.
///
/// # Safety
/// The range lies in the update, the states that the rule uses are as long as the parameter, and
/// no one else touches the range.
pub(super) unsafe fn apply<T: FloatMath>(u: &Update<'_, T>, range: Range<usize>) {
    let c = T::from_f64;
    let sign = |maximize: bool| if maximize { -1.0 } else { 1.0 };
    let scale = u.grad_scale;
    match u.rule {
        Rule::Sgd(o) => {
            // The first buffer is the gradient itself, without dampening.
            let keep = if o.first { 0.0 } else { o.momentum };
            let enter = if o.first { 1.0 } else { 1.0 - o.dampening };
            // Nesterov's step is along g + momentum · buffer, the plain one along the buffer.
            let (own, of_buffer) = if o.nesterov { (1.0, o.momentum) } else { (0.0, 1.0) };
            let scale = u.grad_scale * o.grad_scale * sign(o.maximize);
            let f = Sgd {
                decay: c(o.weight_decay),
                lr: c(o.lr),
                keep: c(keep),
                enter: c(enter),
                own: c(own),
                of_buffer: c(of_buffer),
            };
            // SAFETY: the caller's promise.
            unsafe {
                match o.momentum {
                    0.0 => each::<_, _, 0>(u, [], scale, range, f),
                    _ => each::<_, _, 1>(u, [0], scale, range, f),
                }
            }
        }
        Rule::Adam(o) => {
            let step = o.step.min(i32::MAX as u64) as i32;
            let (decay, shrink) = if o.decoupled {
                (0.0, 1.0 - o.lr * o.weight_decay)
            } else {
                (o.weight_decay, 1.0)
            };
            let scale = u.grad_scale * o.grad_scale * sign(o.maximize);
            let f = Adam {
                decay: c(decay),
                shrink: c(shrink),
                rise1: c(1.0 - o.beta1),
                beta2: c(o.beta2),
                rise2: c(1.0 - o.beta2),
                eps: c(o.eps),
                step_size: c(o.lr / (1.0 - o.beta1.powi(step))),
                root: c((1.0 - o.beta2.powi(step)).sqrt()),
            };
            // SAFETY: the caller's promise.
            unsafe {
                match o.amsgrad {
                    false => each::<_, _, 2>(u, [0, 1], scale, range, f),
                    true => each::<_, _, 3>(u, [0, 1, 2], scale, range, f),
                }
            }
        }
        Rule::RmsProp(o) => {
            let f = RmsProp {
                decay: c(o.weight_decay),
                alpha: c(o.alpha),
                rise: c(1.0 - o.alpha),
                eps: c(o.eps),
                lr: c(o.lr),
                momentum: c(o.momentum),
            };
            // SAFETY: the caller's promise.
            unsafe {
                match (o.centered, o.momentum != 0.0) {
                    (false, false) => each::<_, _, 1>(u, [0], scale, range, f),
                    (false, true) => each::<_, _, 2>(u, [0, 2], scale, range, f),
                    (true, false) => {
                        each::<_, _, 2>(u, [0, 1], scale, range, Centered::<T, false>(f));
                    }
                    (true, true) => {
                        each::<_, _, 3>(u, [0, 1, 2], scale, range, Centered::<T, true>(f));
                    }
                }
            }
        }
        Rule::Adagrad { lr, eps, weight_decay } => {
            let f = Adagrad { lr: c(lr), eps: c(eps), decay: c(weight_decay) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0], scale, range, f) }
        }
        Rule::Mixed {
            beta1,
            beta2,
            eps,
            root,
            of_mean,
            of_grad,
            adaptive,
            weight_decay,
            shrink,
        } => {
            let f = Mixed {
                rise1: c(1.0 - beta1),
                beta2: c(beta2),
                rise2: c(1.0 - beta2),
                eps: c(eps),
                root: c(root),
                of_mean: c(of_mean),
                of_grad: c(of_grad),
                adaptive,
                decay: c(weight_decay),
                shrink: c(shrink),
            };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0, 1], scale, range, f) }
        }
        Rule::Adamax { lr, beta1, beta2, eps, weight_decay } => {
            let (rise1, beta2) = (c(1.0 - beta1), c(beta2));
            let f = Adamax { lr: c(lr), rise1, beta2, eps: c(eps), decay: c(weight_decay) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0, 1], scale, range, f) }
        }
        Rule::Adadelta { lr, rho, eps, weight_decay } => {
            let (rho, rise) = (c(rho), c(1.0 - rho));
            let f = Adadelta { lr: c(lr), rho, rise, eps: c(eps), decay: c(weight_decay) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0, 1], scale, range, f) }
        }
        Rule::Lion { lr, beta1, beta2, weight_decay } => {
            let (rise1, rise2) = (c(1.0 - beta1), c(1.0 - beta2));
            let f = Lion { lr: c(lr), rise1, rise2, shrink: c(1.0 - lr * weight_decay) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0], scale, range, f) }
        }
        Rule::Asgd { eta, shrink, mu, weight_decay } => {
            let f = Asgd { eta: c(eta), shrink: c(shrink), mu: c(mu), decay: c(weight_decay) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0], scale, range, f) }
        }
        Rule::Rprop { eta_minus, eta_plus, min, max } => {
            let (eta_minus, eta_plus) = (c(eta_minus), c(eta_plus));
            let f = Rprop { eta_minus, eta_plus, min: c(min), max: c(max) };
            // SAFETY: the caller's promise.
            unsafe { each(u, [0, 1], scale, range, f) }
        }
    }
}
