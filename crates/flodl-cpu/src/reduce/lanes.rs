//! Folds of a dense slice over many lanes at once; the compiler may not reorder a plain sum of
//! floats, so the lanes are spelled out.

use crate::element::{Element, Float};

/// Lanes of a sum: four of the widest registers of `f32`, so that additions overlap.
pub(crate) const LANES: usize = 64;
/// Lanes of an extreme, which takes more than one instruction a step.
pub(crate) const FEW_LANES: usize = 32;

/// Folds `x` with `step` in lanes that begin at `start` and are joined pairwise with `join`.
#[inline(always)]
pub(crate) fn lane_fold<const L: usize, T: Element>(
    x: &[T],
    start: T,
    step: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut acc = [start; L];
    let mut chunks = x.chunks_exact(L);
    for chunk in &mut chunks {
        for j in 0..L {
            acc[j] = step(acc[j], chunk[j]);
        }
    }
    if x.len() < L {
        return x.iter().fold(start, |acc, &x| step(acc, x));
    }
    for (acc, &x) in acc.iter_mut().zip(chunks.remainder()) {
        *acc = step(*acc, x);
    }
    join_lanes(acc, join)
}

#[inline(always)]
fn join_lanes<const L: usize, T: Copy>(mut acc: [T; L], join: impl Fn(T, T) -> T) -> T {
    let mut half = L / 2;
    while half > 0 {
        for j in 0..half {
            acc[j] = join(acc[j], acc[j + half]);
        }
        half /= 2;
    }
    acc[0]
}

/// Σ f(x); for slices so short that plain lanes are accurate enough.
#[inline(always)]
pub(crate) fn sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> T {
    lane_fold::<LANES, T>(x, T::ZERO, |acc, x| acc + f(x), |a, b| a + b)
}

/// Σ f(x, y) over two slices of one length.
#[inline(always)]
pub(crate) fn sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut acc = [T::ZERO; LANES];
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    let (mut xs, mut ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (x, y) in (&mut xs).zip(&mut ys) {
        for j in 0..LANES {
            acc[j] += f(x[j], y[j]);
        }
    }
    for (acc, (&x, &y)) in acc.iter_mut().zip(xs.remainder().iter().zip(ys.remainder())) {
        *acc += f(x, y);
    }
    join_lanes(acc, |a, b| a + b)
}
