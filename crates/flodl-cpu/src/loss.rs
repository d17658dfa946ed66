//! Fused losses: cross-entropy on logits, and the mean squared error.
//!
//! Cross-entropy never writes probabilities in the forward pass: a row's maximum and ln Σ e^(x -
//! maximum) are all that its gradient needs besides the logits.

use crate::alloc::{OutOfMemory, Scratch};
use crate::math::FloatMath;
use crate::reduce::{long_sum2, max_and_log_sum, split_sum, sum, sum2};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{GRAIN, SharedMut, parallel_ranges, parallel_rows};

/// How the losses of rows become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// One loss a row.
    None,
    /// The sum divided by the weight of the rows that count.
    Mean,
    /// The sum.
    Sum,
}

macro_rules! from_number {
    ($($int:ty),*) => {$(
        /// PyTorch's numbers: 0 is none, 1 the mean, 2 the sum.
        impl TryFrom<$int> for Reduction {
            type Error = $int;

            fn try_from(code: $int) -> Result<Self, $int> {
                match code {
                    0 => Ok(Reduction::None),
                    1 => Ok(Reduction::Mean),
                    2 => Ok(Reduction::Sum),
                    other => Err(other),
                }
            }
        }
    )*};
}
from_number!(i64, i32);

/// What cross-entropy is asked for; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a, T> {
    /// A weight for each class; none means 1.
    pub weight: Option<&'a [T]>,
    /// Rows with this target do not count.
    pub ignore_index: i64,
    /// Share of the target that is spread over all classes, 0 to 1.
    pub smoothing: f64,
    /// How rows are combined.
    pub reduction: Reduction,
}

impl<T> Default for CrossEntropy<'_, T> {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl<T: FloatMath> CrossEntropy<'_, T> {
    /// The weight of a class.
    #[inline(always)]
    fn of(&self, class: usize) -> f64 {
        self.weight.map_or(1.0, |w| w[class].to_f64())
    }

    /// Σ of the class weights.
    fn total(&self, classes: usize) -> f64 {
        self.weight.map_or(classes as f64, |w| w.iter().map(|w| w.to_f64()).sum())
    }

    fn check(&self, logits: usize, classes: usize, targets: &[i64], lse: usize) {
        assert_eq!(logits, targets.len() * classes, "rows and classes");
        assert_eq!(lse, 2 * targets.len(), "a maximum and a logarithm for each row");
        assert!(self.weight.is_none_or(|w| w.len() == classes), "one weight a class");
    }

    /// The class of a row that counts.
    ///
    /// # Panics
    /// If it is not one of the classes; [`bad_target`] tells beforehand.
    #[inline(always)]
    fn class(&self, target: i64, classes: usize) -> Option<usize> {
        if target == self.ignore_index {
            return None;
        }
        let class = usize::try_from(target).ok().filter(|&c| c < classes);
        Some(class.expect("targets are checked before the kernel runs"))
    }
}

/// The first target that is neither a class nor `ignore_index`, and its row.
pub fn bad_target(targets: &[i64], classes: usize, ignore_index: i64) -> Option<(usize, i64)> {
    let bad = |t: i64| t != ignore_index && !(0..classes as i64).contains(&t);
    targets.iter().position(|&t| bad(t)).map(|row| (row, targets[row]))
}

struct RowLoss<'a, T> {
    x: &'a [T],
    class: Option<usize>,
    options: &'a CrossEntropy<'a, T>,
    total: f64,
}

impl<T: FloatMath> Kernel for RowLoss<'_, T> {
    /// The maximum and ln Σ e^(x - maximum), and the loss.
    type Out = ([T; 2], f64);
    #[inline(always)]
    fn run<A: Arch>(self) -> ([T; 2], f64) {
        let Self { x, class: Some(class), options, total } = self else {
            return ([T::ZERO; 2], 0.0);
        };
        let (max, log) = max_and_log_sum::<A, T>(x);
        let lse = [max, log];
        let at = ((max - x[class]).to_f64() + log.to_f64()) * options.of(class);
        if options.smoothing == 0.0 {
            return (lse, at);
        }
        let spread = match options.weight {
            Some(w) => sum2(x, w, |x, w| x * w).to_f64(),
            None => sum(x, |x| x).to_f64(),
        };
        let smooth = ((max.to_f64() + log.to_f64()) * total - spread) / x.len() as f64;
        (lse, (1.0 - options.smoothing) * at + options.smoothing * smooth)
    }
}

/// Cross-entropy of logits [rows, classes] with a target class for each row.
///
/// `lse` gets the maximum and ln Σ e^(x - maximum) of each row, which the gradient needs; `out` has one element, or one a row
/// without reduction. Returns the weight of the rows that count, by which the mean divides; the
/// gradient takes it again. The mean of nothing is NaN.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the losses of the rows.
///
/// # Panics
/// If the lengths do not fit or a target is no class.
pub fn cross_entropy_forward<T: FloatMath>(
    options: &CrossEntropy<'_, T>,
    logits: &[T],
    classes: usize,
    targets: &[i64],
    lse: &mut [T],
    out: &mut [T],
) -> Result<f64, OutOfMemory> {
    options.check(logits.len(), classes, targets, lse.len());
    let rows = targets.len();
    let whole = options.reduction != Reduction::None;
    assert_eq!(out.len(), if whole { 1 } else { rows }, "length of the output");
    let total = options.total(classes);
    let mut held;
    let mut few = [0.0; 64];
    let losses = if rows <= few.len() {
        &mut few[..rows]
    } else {
        held = Scratch::<f64>::new(rows)?;
        &mut held[..]
    };
    {
        let (lse, losses) = (SharedMut::new(lse), SharedMut::new(losses));
        parallel_rows(rows, 4 * classes, |range| {
            for i in range {
                let x = &logits[i * classes..(i + 1) * classes];
                let class = options.class(targets[i], classes);
                // SAFETY: each row has its own elements.
                let (lse, loss) = unsafe { (lse.range(2 * i..2 * i + 2), losses.range(i..i + 1)) };
                let (pair, at) = dispatch(RowLoss { x, class, options, total });
                lse.copy_from_slice(&pair);
                loss[0] = at;
            }
        });
    }
    let counted = targets.iter().filter_map(|&t| options.class(t, classes));
    let weight: f64 = counted.map(|class| options.of(class)).sum();
    match options.reduction {
        Reduction::None => {
            out.iter_mut().zip(losses).for_each(|(out, loss)| *out = T::from_f64(*loss));
        }
        Reduction::Sum => out[0] = T::from_f64(losses.iter().sum()),
        Reduction::Mean => out[0] = T::from_f64(losses.iter().sum::<f64>() / weight),
    }
    Ok(weight)
}

struct RowGrad<'a, T> {
    x: &'a [T],
    max: T,
    log: T,
    /// What the probabilities are multiplied with, and what is taken off at every class.
    scale: T,
    smooth: T,
    weight: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: FloatMath> Kernel for RowGrad<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let Self { x, max, log, scale, smooth, weight, out } = self;
        match weight {
            Some(w) if smooth != T::ZERO => {
                for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
                    *out = (x - max - log).exp_normal_::<A>() * scale - smooth * w;
                }
            }
            _ => {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = (x - max - log).exp_normal_::<A>() * scale - smooth;
                }
            }
        }
    }
}

/// The gradient of [`cross_entropy_forward`] by the logits, in one pass over them.
///
/// `g` is the incoming gradient, one element, or one a row without reduction; `weight_total` is
/// what the forward pass returned.
///
/// # Panics
/// If the lengths do not fit or a target is no class.
pub fn cross_entropy_backward<T: FloatMath>(
    options: &CrossEntropy<'_, T>,
    g: &[T],
    logits: &[T],
    classes: usize,
    targets: &[i64],
    lse: &[T],
    weight_total: f64,
    out: &mut [T],
) {
    options.check(logits.len(), classes, targets, lse.len());
    assert_eq!(out.len(), logits.len(), "length of the output");
    let rows = targets.len();
    let each = options.reduction == Reduction::None;
    assert_eq!(g.len(), if each { rows } else { 1 }, "length of the incoming gradient");
    let total = options.total(classes);
    let out = SharedMut::new(out);
    let by = if options.reduction == Reduction::Mean { weight_total } else { 1.0 };
    parallel_rows(rows, 3 * classes, |range| {
        for i in range {
            let r = i * classes..(i + 1) * classes;
            // SAFETY: each row has its own elements.
            let out = unsafe { out.range(r.clone()) };
            let Some(class) = options.class(targets[i], classes) else {
                out.fill(T::ZERO);
                continue;
            };
            let g = g[if each { i } else { 0 }].to_f64() / by;
            let smooth = g * options.smoothing / classes as f64;
            let hit = g * (1.0 - options.smoothing) * options.of(class);
            dispatch(RowGrad {
                x: &logits[r],
                max: lse[2 * i],
                log: lse[2 * i + 1],
                scale: T::from_f64(hit + smooth * total),
                smooth: T::from_f64(smooth),
                weight: options.weight,
                out,
            });
            out[class] -= T::from_f64(hit);
        }
    });
}

struct Squares<'a, T>(&'a [T], &'a [T]);

impl<T: FloatMath> Kernel for Squares<'_, T> {
    type Out = f64;
    #[inline(always)]
    fn run<A: Arch>(self) -> f64 {
        long_sum2(self.0, self.1, |x, y| (x - y) * (x - y))
    }
}

/// Σ (x - y)², divided by the number of elements if `mean`.
///
/// # Panics
/// If the lengths differ.
pub fn mse_forward<T: FloatMath>(x: &[T], y: &[T], mean: bool) -> T {
    assert_eq!(x.len(), y.len(), "operands differ in length");
    let total = split_sum(x.len(), |r| dispatch(Squares(&x[r.clone()], &y[r])));
    T::from_f64(if mean { total / x.len() as f64 } else { total })
}

struct Difference<'a, T>(&'a [T], &'a [T], T, &'a mut [T]);

impl<T: FloatMath> Kernel for Difference<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        for ((out, &x), &y) in self.3.iter_mut().zip(self.0).zip(self.1) {
            *out = (x - y) * self.2;
        }
    }
}

/// The gradient of [`mse_forward`] by `x`, `2 g (x - y)`, divided as there; that by `y` is its
/// negative.
///
/// # Panics
/// If the lengths differ.
pub fn mse_backward<T: FloatMath>(g: T, x: &[T], y: &[T], mean: bool, out: &mut [T]) {
    assert!(x.len() == y.len() && x.len() == out.len(), "operands differ in length");
    let scale = 2.0 * g.to_f64() / if mean { x.len() as f64 } else { 1.0 };
    let out = SharedMut::new(out);
    parallel_ranges(x.len(), GRAIN, |r| {
        // SAFETY: ranges of one region are disjoint.
        let out = unsafe { out.range(r.clone()) };
        dispatch(Difference(&x[r.clone()], &y[r], T::from_f64(scale), out));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, k: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.05 - 2.0).collect()
    }

    /// PyTorch's definition, row by row.
    fn plain(o: &CrossEntropy<'_, f64>, x: &[f64], classes: usize, t: &[i64]) -> (Vec<f64>, f64) {
        let mut weight = 0.0;
        let w = |c: usize| o.weight.map_or(1.0, |w| w[c]);
        let losses = x.chunks(classes).zip(t).map(|(x, &t)| {
            if t == o.ignore_index {
                return 0.0;
            }
            let log_sum = x.iter().map(|x| x.exp()).sum::<f64>().ln();
            weight += w(t as usize);
            let nll = w(t as usize) * (log_sum - x[t as usize]);
            let smooth: f64 = (0..classes).map(|c| w(c) * (log_sum - x[c])).sum();
            (1.0 - o.smoothing) * nll + o.smoothing / classes as f64 * smooth
        });
        (losses.collect(), weight)
    }

    #[test]
    fn cross_entropy_and_its_gradient_agree_with_the_definition() {
        for (rows, classes) in [(1, 2), (5, 3), (70, 300), (4, 1)] {
            let x = values(rows * classes, 31);
            let weight: Vec<f64> = (0..classes).map(|c| 0.5 + c as f64 / 7.0).collect();
            let mut targets: Vec<i64> = (0..rows).map(|i| (i * 7 % classes) as i64).collect();
            if rows > 2 {
                targets[1] = -100;
            }
            for weight in [None, Some(&weight[..])] {
                for smoothing in [0.0, 0.1] {
                    for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum] {
                        let o = CrossEntropy { weight, smoothing, reduction, ..Default::default() };
                        let n = if reduction == Reduction::None { rows } else { 1 };
                        let (mut lse, mut out) = (vec![0.0; 2 * rows], vec![0.0; n]);
                        let total =
                            cross_entropy_forward(&o, &x, classes, &targets, &mut lse, &mut out);
                        let total = total.expect("scratch memory");
                        let reduce = |x: &[f64]| {
                            let (losses, weight) = plain(&o, x, classes, &targets);
                            match reduction {
                                Reduction::None => losses,
                                Reduction::Sum => vec![losses.iter().sum()],
                                Reduction::Mean => vec![losses.iter().sum::<f64>() / weight],
                            }
                        };
                        for (a, b) in out.iter().zip(reduce(&x)) {
                            assert!((a - b).abs() < 1e-10 * (1.0 + b.abs()), "{a} {b}");
                        }
                        let g: Vec<f64> = values(n, 17);
                        let mut dx = vec![9.0; x.len()];
                        cross_entropy_backward(&o, &g, &x, classes, &targets, &lse, total, &mut dx);
                        let value = |i: usize, h: f64| -> f64 {
                            let mut x = x.clone();
                            x[i] += h;
                            reduce(&x).iter().zip(&g).map(|(l, g)| l * g).sum()
                        };
                        for i in (0..x.len()).step_by(x.len().div_ceil(13)) {
                            let want = (value(i, 1e-5) - value(i, -1e-5)) / 2e-5;
                            assert!(
                                (dx[i] - want).abs() < 2e-6 * (1.0 + want.abs()),
                                "{i}: {} {want}",
                                dx[i]
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn single_precision_and_masked_logits() {
        let x = [f32::NEG_INFINITY, 0.0, 0.0, 1e4, -1e4, f32::NEG_INFINITY];
        let (mut lse, mut out) = ([0.0; 4], [0.0]);
        let o = CrossEntropy::default();
        let w = cross_entropy_forward(&o, &x, 3, &[1, 0], &mut lse, &mut out);
        assert!(w == Ok(2.0) && (out[0] - 0.5 * 2f32.ln()).abs() < 1e-6);
        let mut dx = [9.0; 6];
        cross_entropy_backward(&o, &[1.0], &x, 3, &[1, 0], &lse, 2.0, &mut dx);
        let want = [0.0, -0.25, 0.25, 0.0, 0.0, 0.0];
        assert!(dx.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{dx:?}");
        let all = cross_entropy_forward(&o, &x, 3, &[-100, -100], &mut lse, &mut out);
        assert!(all == Ok(0.0) && out[0].is_nan());
        assert_eq!(bad_target(&[0, 2, -100, 3], 3, -100), Some((3, 3)));
        assert_eq!(bad_target(&[0, 2, -100], 3, -100), None);
    }

    #[test]
    fn squared_error() {
        let (x, y) = (values(200_000, 31), values(200_000, 17));
        let want: f64 = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum();
        assert!((mse_forward(&x, &y, false) - want).abs() < 1e-9 * want);
        assert!((mse_forward(&x, &y, true) - want / 2e5).abs() < 1e-12);
        let mut dx = vec![0.0; x.len()];
        mse_backward(0.5, &x, &y, true, &mut dx);
        assert!((dx[77] - (x[77] - y[77]) / 2e5).abs() < 1e-18);
        assert!(mse_forward::<f32>(&[], &[], true).is_nan());
    }
}
