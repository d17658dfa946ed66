//! Folds of a dense slice over many lanes at once; the compiler may not reorder a plain sum of
//! floats, so the lanes are spelled out.
//!
//! How they are spelled decides what the compiler makes of them: a fold of one slice is vectorised
//! as a loop over one long array of lanes, a fold of two as small arrays that are passed by value.
//! Each is up to four times slower in the other's form (bench: `elem_bench sum`, `norm`).

use crate::element::{Element, Float};

/// Lanes of a sum.
pub(crate) const LANES: usize = 64;
/// Lanes of an extreme, which takes more than one instruction a step.
pub(crate) const FEW_LANES: usize = 32;

/// Lanes that may live in memory, and then must not straddle cache lines.
#[repr(align(64))]
struct Aligned<T, const L: usize>([T; L]);

/// Lanes of one accumulator of two slices: the widest register of `f32`.
const W: usize = 16;
/// Accumulators side by side, so that operations overlap.
const N: usize = 4;

type Lanes<T> = [T; W];

#[inline(always)]
fn zip<T: Copy>(a: Lanes<T>, b: Lanes<T>, f: impl Fn(T, T) -> T) -> Lanes<T> {
    let mut out = a;
    for j in 0..W {
        out[j] = f(a[j], b[j]);
    }
    out
}

/// Joins the lanes of all accumulators pairwise.
#[inline(always)]
fn join_all<T: Copy>([a, b, c, d]: [Lanes<T>; N], join: impl Fn(T, T) -> T) -> T {
    let v = zip(zip(a, b, &join), zip(c, d, &join), &join);
    let v: [T; 8] = std::array::from_fn(|j| join(v[j], v[j + 8]));
    let v: [T; 4] = std::array::from_fn(|j| join(v[j], v[j + 4]));
    join(join(v[0], v[2]), join(v[1], v[3]))
}

/// Folds `x` with `step` in lanes that begin at `start` and are joined pairwise with `join`.
#[inline(always)]
pub(crate) fn lane_fold<const L: usize, T: Element>(
    x: &[T],
    start: T,
    step: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut chunks = x.chunks_exact(L);
    // The rest stays out of the lanes, which an index known only at run time would slow down.
    let rest = chunks.remainder().iter().fold(start, |acc, &x| step(acc, x));
    if x.len() < L {
        return rest;
    }
    let mut acc = Aligned([start; L]);
    for chunk in &mut chunks {
        #[allow(clippy::needless_range_loop)]
        for j in 0..L {
            acc.0[j] = step(acc.0[j], chunk[j]);
        }
    }
    let mut half = L / 2;
    while half > 0 {
        for j in 0..half {
            acc.0[j] = join(acc.0[j], acc.0[j + half]);
        }
        half /= 2;
    }
    join(acc.0[0], rest)
}

/// Σ f(x); for slices so short that plain lanes are accurate enough.
#[inline(always)]
pub(crate) fn sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> T {
    // As a sum over the slice and itself: see the head of the file.
    sum2(x, x, |x, _| f(x))
}

/// Σ f(x, y) over two slices of one length.
#[inline(always)]
pub(crate) fn sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> T {
    let n = x.len().min(y.len());
    let ((xs, x_rest), (ys, y_rest)) = (x[..n].as_chunks::<W>(), y[..n].as_chunks::<W>());
    let rest = x_rest.iter().zip(y_rest).fold(T::ZERO, |acc, (&x, &y)| acc + f(x, y));
    let add = |a: T, b: T| a + b;
    let [mut a, mut b, mut c, mut d] = [[T::ZERO; W]; N];
    let ((x_groups, x_few), (y_groups, y_few)) = (xs.as_chunks::<N>(), ys.as_chunks::<N>());
    for ([p, q, r, s], [t, u, v, w]) in x_groups.iter().zip(y_groups) {
        a = zip(a, zip(*p, *t, &f), add);
        b = zip(b, zip(*q, *u, &f), add);
        c = zip(c, zip(*r, *v, &f), add);
        d = zip(d, zip(*s, *w, &f), add);
    }
    for (p, t) in x_few.iter().zip(y_few) {
        a = zip(a, zip(*p, *t, &f), add);
    }
    join_all([a, b, c, d], add) + rest
}

/// Elements whose sum stays in their own type.
pub(crate) const SHORT: usize = 4096;

/// Σ f(x) of a slice of any length: short blocks are joined in `f64`.
#[inline(always)]
pub(crate) fn long_sum<T: Float>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    long_sum2(x, x, |x, _| f(x))
}

/// Σ f(x, y) of two slices of one length, like [`long_sum`].
#[inline(always)]
pub(crate) fn long_sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    // No adapter with a closure: one that is not inlined is compiled for the baseline.
    for (x, y) in x.chunks(SHORT).zip(y.chunks(SHORT)) {
        total += sum2(x, y, &f).to_f64();
    }
    total
}
