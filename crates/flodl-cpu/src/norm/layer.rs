//! Layer norm and RMS norm over dense rows.

use crate::alloc::{OutOfMemory, Scratch};
use crate::math::FloatMath;
use crate::reduce::{sum, sum2};
use crate::simd::{Arch, Kernel, dispatch};
use crate::threads::{GRAIN, SharedMut, parallel_for, parallel_rows};

/// Rows of one block whose weight gradients are summed apart; there are at most as many blocks.
const BLOCK_ROWS: usize = 16;
const MAX_BLOCKS: usize = 64;

/// What is added to the input before it is normalised, and where the sum goes.
pub struct Plus<'a, T> {
    /// As long as the input.
    pub other: &'a [T],
    /// As long as the input.
    pub sum: &'a mut [T],
}

struct Forward<'a, T, const CENTER: bool> {
    x: &'a [T],
    plus: Option<Plus<'a, T>>,
    columns: usize,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    eps: T,
    out: &'a mut [T],
    mean: &'a mut [T],
    rstd: &'a mut [T],
}

impl<T: FloatMath, const CENTER: bool> Kernel for Forward<'_, T, CENTER> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let count = T::from_f64(self.columns as f64);
        let mut plus = self.plus;
        let rows = self.x.chunks_exact(self.columns).zip(self.out.chunks_exact_mut(self.columns));
        for (r, (mut x, out)) in rows.enumerate() {
            if let Some(Plus { other, sum }) = &mut plus {
                let row = r * self.columns..(r + 1) * self.columns;
                let sum = &mut sum[row.clone()];
                for ((sum, &x), &y) in sum.iter_mut().zip(x).zip(&other[row]) {
                    *sum = x + y;
                }
                x = sum;
            }
            let mean = if CENTER { sum(x, |x| x) / count } else { T::ZERO };
            let square =
                if CENTER { sum(x, |x| (x - mean) * (x - mean)) } else { sum(x, |x| x * x) };
            let rstd = T::ONE / (square / count + self.eps).sqrt_();
            if CENTER {
                self.mean[r] = mean;
            }
            self.rstd[r] = rstd;
            match (self.weight, self.bias) {
                (Some(w), Some(b)) => {
                    for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
                        *out = ((x - mean) * rstd).mul_add_::<A>(w, b);
                    }
                }
                (Some(w), None) => {
                    for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
                        *out = (x - mean) * rstd * w;
                    }
                }
                (None, b) => {
                    for (out, &x) in out.iter_mut().zip(x) {
                        *out = (x - mean) * rstd;
                    }
                    for (out, &b) in out.iter_mut().zip(b.unwrap_or_default()) {
                        *out += b;
                    }
                }
            }
        }
    }
}

fn forward<T: FloatMath, const CENTER: bool>(
    x: &[T],
    plus: Option<Plus<'_, T>>,
    columns: usize,
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f64,
    out: &mut [T],
    mean: &mut [T],
    rstd: &mut [T],
) {
    let rows = rstd.len();
    assert!(x.len() == rows * columns && out.len() == x.len(), "rows and columns");
    assert!(!CENTER || mean.len() == rows, "length of the means");
    assert!(weight.is_none_or(|w| w.len() == columns), "length of the weight");
    assert!(bias.is_none_or(|b| b.len() == columns), "length of the bias");
    let fits = |p: &Plus<T>| p.other.len() == x.len() && p.sum.len() == x.len();
    assert!(plus.as_ref().is_none_or(fits), "length of what is added");
    if columns == 0 {
        return;
    }
    let (out, mean, rstd) = (SharedMut::new(out), SharedMut::new(mean), SharedMut::new(rstd));
    let (other, sum) = plus.map_or((None, &mut [][..]), |p| (Some(p.other), p.sum));
    let sum = SharedMut::new(sum);
    let eps = T::from_f64(eps);
    parallel_rows(rows, columns, |r| {
        let elements = r.start * columns..r.end * columns;
        let of_mean = if CENTER { r.clone() } else { 0..0 };
        // SAFETY: ranges of one region are disjoint.
        let (out, mean, rstd) =
            unsafe { (out.range(elements.clone()), mean.range(of_mean), rstd.range(r)) };
        let plus = other.map(|other| Plus {
            other: &other[elements.clone()],
            // SAFETY: as above; the sum is as long as the input.
            sum: unsafe { sum.range(elements.clone()) },
        });
        let x = &x[elements];
        dispatch(Forward::<T, CENTER> { x, plus, columns, weight, bias, eps, out, mean, rstd });
    });
}

/// Layer norm of dense rows: `out = (x - mean) · rstd · weight + bias`, rstd being
/// 1 / sqrt(variance + eps). `mean` and `rstd` have one element a row. With `plus` the rows are
/// those of the sum, which is written in the same pass.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_forward<T: FloatMath>(
    x: &[T],
    plus: Option<Plus<'_, T>>,
    columns: usize,
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f64,
    out: &mut [T],
    mean: &mut [T],
    rstd: &mut [T],
) {
    forward::<T, true>(x, plus, columns, weight, bias, eps, out, mean, rstd);
}

/// RMS norm of dense rows: `out = x · rstd · weight`, rstd being 1 / sqrt(mean of x² + eps), one
/// element a row; of a sum with `plus`, as for [`layer_norm_forward`].
///
/// # Panics
/// If the lengths do not fit.
pub fn rms_norm_forward<T: FloatMath>(
    x: &[T],
    plus: Option<Plus<'_, T>>,
    columns: usize,
    weight: Option<&[T]>,
    eps: f64,
    out: &mut [T],
    rstd: &mut [T],
) {
    forward::<T, false>(x, plus, columns, weight, None, eps, out, &mut [], rstd);
}

struct Backward<'a, T, const CENTER: bool> {
    g: &'a [T],
    x: &'a [T],
    columns: usize,
    weight: Option<&'a [T]>,
    mean: &'a [T],
    rstd: &'a [T],
    /// Added to dx; empty where there is nothing.
    plus: &'a [T],
    dx: &'a mut [T],
    /// Partial gradients of weight and bias; empty where not wanted.
    dweight: &'a mut [T],
    dbias: &'a mut [T],
}

impl<T: FloatMath, const CENTER: bool> Kernel for Backward<'_, T, CENTER> {
    type Out = ();
    #[inline(always)]
    fn run<A: Arch>(self) {
        let columns = self.columns;
        let count = T::from_f64(columns as f64);
        self.dweight.fill(T::ZERO);
        self.dbias.fill(T::ZERO);
        let rows = self.g.chunks_exact(columns).zip(self.x.chunks_exact(columns)).enumerate();
        for (r, (g, x)) in rows {
            let mean = if CENTER { self.mean[r] } else { T::ZERO };
            let rstd = self.rstd[r];
            if !self.dweight.is_empty() {
                for ((d, &g), &x) in self.dweight.iter_mut().zip(g).zip(x) {
                    *d = g.mul_add_::<A>((x - mean) * rstd, *d);
                }
            }
            if !self.dbias.is_empty() {
                for (d, &g) in self.dbias.iter_mut().zip(g) {
                    *d += g;
                }
            }
            if self.dx.is_empty() {
                continue;
            }
            let dx = &mut self.dx[r * columns..][..columns];
            // g · weight goes through `dx`, so that the sums need no third operand.
            match self.weight {
                Some(w) => {
                    for ((dx, &g), &w) in dx.iter_mut().zip(g).zip(w) {
                        *dx = g * w;
                    }
                }
                None => dx.copy_from_slice(g),
            }
            let first = if CENTER { sum(dx, |g| g) / count } else { T::ZERO };
            let second = sum2(dx, x, |g, x| g * (x - mean)) * (rstd * rstd / count);
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = (*dx - first - (x - mean) * second) * rstd;
            }
            if !self.plus.is_empty() {
                for (dx, &more) in dx.iter_mut().zip(&self.plus[r * columns..]) {
                    *dx += more;
                }
            }
        }
    }
}

fn backward<T: FloatMath, const CENTER: bool>(
    g: &[T],
    x: &[T],
    columns: usize,
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    plus: Option<&[T]>,
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    let rows = rstd.len();
    assert!(plus.is_none_or(|p| p.len() == x.len()), "length of what is added");
    assert!(x.len() == rows * columns && g.len() == x.len(), "rows and columns");
    assert!(!CENTER || mean.len() == rows, "length of the means");
    assert!(weight.is_none_or(|w| w.len() == columns), "length of the weight");
    assert!(dx.as_ref().is_none_or(|d| d.len() == x.len()), "length of dx");
    assert!(dweight.as_ref().is_none_or(|d| d.len() == columns), "length of dweight");
    assert!(dbias.as_ref().is_none_or(|d| d.len() == columns), "length of dbias");
    if columns == 0 {
        return Ok(());
    }
    let dx = dx.unwrap_or_default();
    let (dweight, dbias) = (dweight.unwrap_or_default(), dbias.unwrap_or_default());
    let (has_dx, of_weight, of_bias) = (!dx.is_empty(), dweight.len(), dbias.len());
    let step = BLOCK_ROWS.max(rows.div_ceil(MAX_BLOCKS));
    let blocks = rows.div_ceil(step);
    let slot = of_weight + of_bias;
    // A single block sums right into the results.
    let mut partial = Scratch::<T>::new(if blocks > 1 { blocks * slot } else { 0 })?;
    let run = |r: std::ops::Range<usize>, dx, dweight, dbias| {
        let elements = r.start * columns..r.end * columns;
        dispatch(Backward::<T, CENTER> {
            g: &g[elements.clone()],
            plus: plus.map_or(&[], |plus| &plus[elements.clone()]),
            x: &x[elements],
            columns,
            weight,
            mean: if CENTER { &mean[r.clone()] } else { mean },
            rstd: &rstd[r],
            dx,
            dweight,
            dbias,
        });
    };
    if blocks <= 1 {
        run(0..rows, dx, dweight, dbias);
        return Ok(());
    }
    {
        let (dx, shared) = (SharedMut::new(dx), SharedMut::new(&mut partial));
        let task = |i: usize| {
            let r = i * step..((i + 1) * step).min(rows);
            let elements = if has_dx { r.start * columns..r.end * columns } else { 0..0 };
            // SAFETY: each block has its own rows and its own partial sums.
            let (dx, sums) =
                unsafe { (dx.range(elements), shared.range(i * slot..(i + 1) * slot)) };
            let (dweight, dbias) = sums.split_at_mut(of_weight);
            run(r, dx, dweight, dbias);
        };
        if x.len() < 2 * GRAIN {
            (0..blocks).for_each(task);
        } else {
            parallel_for(blocks, task);
        }
    }
    let total = |out: &mut [T], at: usize| {
        out.fill(T::ZERO);
        for part in partial.chunks_exact(slot.max(1)) {
            out.iter_mut().zip(&part[at..]).for_each(|(out, &v)| *out += v);
        }
    };
    total(dweight, 0);
    total(dbias, of_weight);
    Ok(())
}

/// Gradients of [`layer_norm_forward`] from its input, the sum if there was one, and what it saved;
/// those not asked for cost nothing. `plus`, the gradient of the sum from elsewhere, is added to dx.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for partial sums.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward<T: FloatMath>(
    g: &[T],
    x: &[T],
    columns: usize,
    weight: Option<&[T]>,
    mean: &[T],
    rstd: &[T],
    plus: Option<&[T]>,
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
    dbias: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    backward::<T, true>(g, x, columns, weight, mean, rstd, plus, dx, dweight, dbias)
}

/// Gradients of [`rms_norm_forward`], as for [`layer_norm_backward`].
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for partial sums.
///
/// # Panics
/// If the lengths do not fit.
pub fn rms_norm_backward<T: FloatMath>(
    g: &[T],
    x: &[T],
    columns: usize,
    weight: Option<&[T]>,
    rstd: &[T],
    plus: Option<&[T]>,
    dx: Option<&mut [T]>,
    dweight: Option<&mut [T]>,
) -> Result<(), OutOfMemory> {
    backward::<T, false>(g, x, columns, weight, &[], rstd, plus, dx, dweight, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, k: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * k + 5) % 97) as f64 * 0.03 - 1.2).collect()
    }

    /// Σ g · norm(x), the function whose gradients the kernels give.
    fn loss(center: bool, x: &[f64], w: &[f64], b: &[f64], g: &[f64]) -> f64 {
        let n = w.len();
        let mut total = 0.0;
        for (x, g) in x.chunks(n).zip(g.chunks(n)) {
            let mean = if center { x.iter().sum::<f64>() / n as f64 } else { 0.0 };
            let var = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n as f64;
            let rstd = 1.0 / (var + 1e-5).sqrt();
            total += (0..n).map(|j| g[j] * ((x[j] - mean) * rstd * w[j] + b[j])).sum::<f64>();
        }
        total
    }

    #[test]
    fn forward_and_gradients_agree_with_the_definition() {
        for (rows, columns) in [(1, 1), (3, 7), (70, 40), (150, 33)] {
            let n = rows * columns;
            let (x, g) = (values(n, 31), values(n, 17));
            let (w, b) = (values(columns, 13), values(columns, 7));
            for center in [true, false] {
                let (mut out, mut dx) = (vec![0.0; n], vec![0.0; n]);
                let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
                let (mut dw, mut db) = (vec![9.0; columns], vec![9.0; columns]);
                let zero = vec![0.0; columns];
                let b = if center { &b } else { &zero };
                if center {
                    let (m, r) = (&mut mean[..], &mut rstd[..]);
                    layer_norm_forward(&x, None, columns, Some(&w), Some(b), 1e-5, &mut out, m, r);
                    let (dx, dw, db) = (Some(&mut dx[..]), Some(&mut dw[..]), Some(&mut db[..]));
                    let w = Some(&w[..]);
                    let r = layer_norm_backward(&g, &x, columns, w, &mean, &rstd, None, dx, dw, db);
                    assert!(r.is_ok());
                } else {
                    rms_norm_forward(&x, None, columns, Some(&w), 1e-5, &mut out, &mut rstd);
                    let (dx, dw) = (Some(&mut dx[..]), Some(&mut dw[..]));
                    let r = rms_norm_backward(&g, &x, columns, Some(&w), &rstd, None, dx, dw);
                    assert!(r.is_ok());
                }
                let total: f64 = out.iter().zip(&g).map(|(o, g)| o * g).sum();
                assert!((total - loss(center, &x, &w, b, &g)).abs() < 1e-9);
                let slope = |vary: &dyn Fn(f64) -> f64| (vary(1e-5) - vary(-1e-5)) / 2e-5;
                let close =
                    |a: f64, b: f64| assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} {b}");
                let bump = |v: &[f64], i: usize, h: f64| {
                    let mut v = v.to_vec();
                    v[i] += h;
                    v
                };
                for i in (0..n).step_by(n.div_ceil(11)) {
                    close(dx[i], slope(&|h| loss(center, &bump(&x, i, h), &w, b, &g)));
                }
                for j in (0..columns).step_by(columns.div_ceil(5)) {
                    close(dw[j], slope(&|h| loss(center, &x, &bump(&w, j, h), b, &g)));
                    if center {
                        close(db[j], slope(&|h| loss(center, &x, &w, &bump(b, j, h), &g)));
                    }
                }
            }
        }
    }

    #[test]
    fn single_precision_without_weights() {
        let (rows, columns) = (40, 1000);
        let x: Vec<f32> = values(rows * columns, 31).iter().map(|&v| v as f32 + 50.0).collect();
        let (mut out, mut mean, mut rstd) = (vec![0.0; x.len()], vec![0.0; rows], vec![0.0; rows]);
        layer_norm_forward(&x, None, columns, None, None, 1e-5, &mut out, &mut mean, &mut rstd);
        for (x, out) in x.chunks(columns).zip(out.chunks(columns)) {
            let m = x.iter().map(|&x| x as f64).sum::<f64>() / columns as f64;
            let v = x.iter().map(|&x| (x as f64 - m).powi(2)).sum::<f64>() / columns as f64;
            for (&x, &out) in x.iter().zip(out) {
                assert!((out as f64 - (x as f64 - m) / (v + 1e-5).sqrt()).abs() < 2e-5);
            }
        }
        let mut dx = vec![9.0; x.len()];
        let ones = vec![1.0; x.len()];
        let only = Some(&mut dx[..]);
        assert!(
            layer_norm_backward(&ones, &x, columns, None, &mean, &rstd, None, only, None, None)
                .is_ok()
        );
        assert!(dx.iter().all(|d| d.abs() < 1e-4));
    }

    #[test]
    fn a_sum_is_normalised_as_if_it_had_been_there() {
        for (rows, columns) in [(1, 1), (3, 7), (70, 40), (150, 33)] {
            let n = rows * columns;
            let (a, b, g) = (values(n, 31), values(n, 23), values(n, 17));
            let (w, more) = (values(columns, 13), values(n, 5));
            let added: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let stats = || (vec![0.0; n], vec![0.0; rows], vec![0.0; rows]);
            let (mut want, mut mean, mut rstd) = stats();
            let (mut out, mut mean_of_sum, mut rstd_of_sum) = stats();
            let mut sum = vec![9.0; n];
            for center in [true, false] {
                let plus = Plus { other: &b, sum: &mut sum };
                if center {
                    let (m, r) = (&mut mean[..], &mut rstd[..]);
                    layer_norm_forward(
                        &added,
                        None,
                        columns,
                        Some(&w),
                        None,
                        1e-5,
                        &mut want,
                        m,
                        r,
                    );
                    let (m, r) = (&mut mean_of_sum[..], &mut rstd_of_sum[..]);
                    layer_norm_forward(
                        &a,
                        Some(plus),
                        columns,
                        Some(&w),
                        None,
                        1e-5,
                        &mut out,
                        m,
                        r,
                    );
                } else {
                    rms_norm_forward(&added, None, columns, Some(&w), 1e-5, &mut want, &mut rstd);
                    let r = &mut rstd_of_sum;
                    rms_norm_forward(&a, Some(plus), columns, Some(&w), 1e-5, &mut out, r);
                }
                assert!(out == want && sum == added && rstd == rstd_of_sum);
                let (mut want, mut dx) = (vec![0.0; n], vec![0.0; n]);
                for (dx, plus) in [(&mut want, None), (&mut dx, Some(&more[..]))] {
                    let (dx, w) = (Some(&mut dx[..]), Some(&w[..]));
                    let done = if center {
                        layer_norm_backward(
                            &g, &added, columns, w, &mean, &rstd, plus, dx, None, None,
                        )
                    } else {
                        rms_norm_backward(&g, &added, columns, w, &rstd, plus, dx, None)
                    };
                    assert!(done.is_ok());
                }
                let same = dx.iter().zip(&want).zip(&more).all(|((d, w), m)| *d == w + m);
                assert!(same, "{rows} {columns} {center}");
            }
            assert_eq!(mean, mean_of_sum);
        }
    }
}
