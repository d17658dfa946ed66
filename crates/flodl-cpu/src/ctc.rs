//! Connectionist temporal classification (Graves et al., 2006): the negative log-likelihood of a
//! label sequence over all its alignments, and its gradient, in the log domain.

use crate::alloc::{OutOfMemory, Scratch};
use crate::math::FloatMath;
use crate::threads::{SharedMut, parallel_rows};

/// A batch of sequences: log-probabilities `[time, batch, classes]` and targets one after another.
#[derive(Clone, Copy, Debug)]
pub struct Ctc<'a> {
    /// Steps of the longest sequence.
    pub time: usize,
    /// Number of sequences.
    pub batch: usize,
    /// Number of classes, the blank included.
    pub classes: usize,
    /// The class that stands for no label.
    pub blank: usize,
    /// All labels; the target of a sequence is a range of them.
    pub targets: &'a [i64],
    /// Where the target of each sequence begins.
    pub starts: &'a [usize],
    /// Labels in each target.
    pub target_lengths: &'a [usize],
    /// Steps of each sequence.
    pub input_lengths: &'a [usize],
}

impl Ctc<'_> {
    /// States of the longest target: labels with blanks around them.
    pub fn states(&self) -> usize {
        2 * self.target_lengths.iter().max().copied().unwrap_or(0) + 1
    }

    fn check(&self, log_probs: usize, nll: usize, alpha: usize) {
        let n = self.batch;
        assert_eq!(log_probs, self.time * n * self.classes, "log-probabilities");
        assert_eq!(alpha, n * self.time * self.states(), "alpha");
        assert!(nll == n && self.starts.len() == n, "one for each sequence");
        assert!(self.target_lengths.len() == n && self.input_lengths.len() == n, "lengths");
        assert!(self.input_lengths.iter().all(|&t| t <= self.time), "input lengths");
        assert!(self.blank < self.classes, "blank");
        let classes = self.classes as i64;
        assert!(self.targets.iter().all(|t| (0..classes).contains(t)), "targets");
    }

    /// The class of state `s` of sequence `n`.
    fn class(&self, n: usize, s: usize) -> usize {
        if s.is_multiple_of(2) { self.blank } else { self.targets[self.starts[n] + s / 2] as usize }
    }

    /// Whether state `s` can be entered from `s - 2`.
    fn skips(&self, n: usize, s: usize) -> bool {
        s >= 2 && s % 2 == 1 && self.class(n, s) != self.class(n, s - 2)
    }
}

/// ln(e^a + e^b).
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The negative log-likelihood of each target, infinite where no alignment fits, and the forward
/// variables `[batch, time, states]` that the gradient needs.
///
/// # Panics
/// If lengths do not fit.
pub fn ctc_forward<T: FloatMath>(o: &Ctc<'_>, log_probs: &[T], nll: &mut [T], alpha: &mut [T]) {
    o.check(log_probs.len(), nll.len(), alpha.len());
    let states = o.states();
    let (nll, alpha) = (SharedMut::new(nll), SharedMut::new(alpha));
    parallel_rows(o.batch, o.time * states * 16, |rows| {
        for n in rows {
            let size = o.time * states;
            // SAFETY: rows of one region are disjoint.
            let (nll, alpha) =
                unsafe { (nll.range(n..n + 1), alpha.range(n * size..(n + 1) * size)) };
            let (steps, used) = (o.input_lengths[n], 2 * o.target_lengths[n] + 1);
            alpha.fill(T::from_f64(f64::NEG_INFINITY));
            let lp = |t: usize, s: usize| {
                log_probs[(t * o.batch + n) * o.classes + o.class(n, s)].to_f64()
            };
            if steps == 0 {
                let none = if used == 1 { 0.0 } else { f64::INFINITY };
                nll[0] = T::from_f64(none);
                continue;
            }
            for (s, alpha) in alpha[..used.min(2)].iter_mut().enumerate() {
                *alpha = T::from_f64(lp(0, s));
            }
            for t in 1..steps {
                let (past, now) = alpha[(t - 1) * states..].split_at_mut(states);
                for s in 0..used {
                    let mut sum = past[s].to_f64();
                    if s >= 1 {
                        sum = log_add(sum, past[s - 1].to_f64());
                    }
                    if o.skips(n, s) {
                        sum = log_add(sum, past[s - 2].to_f64());
                    }
                    now[s] = T::from_f64(sum + lp(t, s));
                }
            }
            let last = &alpha[(steps - 1) * states..];
            let mut total = last[used - 1].to_f64();
            if used > 1 {
                total = log_add(total, last[used - 2].to_f64());
            }
            nll[0] = T::from_f64(-total);
        }
    });
}

/// Gradient of the above with respect to the log-probabilities, for `dy` of each sequence. As
/// PyTorch's it holds for log-probabilities that come from a log-softmax, so that it is 0 in sum.
/// With `zero_infinity` a sequence that fits no alignment gets none.
///
/// # Errors
/// [`OutOfMemory`] if there is no scratch memory for the backward variables.
///
/// # Panics
/// If lengths do not fit.
pub fn ctc_backward<T: FloatMath>(
    o: &Ctc<'_>,
    zero_infinity: bool,
    log_probs: &[T],
    nll: &[T],
    alpha: &[T],
    dy: &[T],
    dx: &mut [T],
) -> Result<(), OutOfMemory> {
    o.check(log_probs.len(), nll.len(), alpha.len());
    assert!(dx.len() == log_probs.len() && dy.len() == o.batch, "gradients");
    let states = o.states();
    let row = 2 * states + o.classes;
    let mut scratch = Scratch::<f64>::new(o.batch * row)?;
    let (scratch, dx) = (SharedMut::new(&mut scratch), SharedMut::new(dx));
    parallel_rows(o.batch, o.time * (states + o.classes) * 16, |rows| {
        for n in rows {
            // SAFETY: rows of one region are disjoint.
            let scratch = unsafe { scratch.range(n * row..(n + 1) * row) };
            let (beta, share) = scratch.split_at_mut(2 * states);
            let (mut now, mut next) = beta.split_at_mut(states);
            let alpha = &alpha[n * o.time * states..];
            let (steps, used) = (o.input_lengths[n], 2 * o.target_lengths[n] + 1);
            let (nll, dy) = (nll[n].to_f64(), dy[n].to_f64());
            let at = |t: usize| (t * o.batch + n) * o.classes;
            let nothing = zero_infinity && nll == f64::INFINITY;
            for t in (0..o.time).rev() {
                // SAFETY: each sequence has places of its own.
                let dx = unsafe { dx.range(at(t)..at(t) + o.classes) };
                if t >= steps || nothing {
                    dx.fill(T::ZERO);
                    continue;
                }
                let x = &log_probs[at(t)..at(t) + o.classes];
                for s in 0..used {
                    let own = x[o.class(n, s)].to_f64();
                    let sum = if t + 1 == steps {
                        if s + 2 >= used { 0.0 } else { f64::NEG_INFINITY }
                    } else {
                        let mut sum = next[s];
                        if s + 1 < used {
                            sum = log_add(sum, next[s + 1]);
                        }
                        if s + 2 < used && o.skips(n, s + 2) {
                            sum = log_add(sum, next[s + 2]);
                        }
                        sum
                    };
                    now[s] = sum + own;
                }
                share.fill(f64::NEG_INFINITY);
                for s in 0..used {
                    let class = o.class(n, s);
                    share[class] = log_add(share[class], alpha[t * states + s].to_f64() + now[s]);
                }
                for ((dx, x), share) in dx.iter_mut().zip(x).zip(share.iter()) {
                    let x = x.to_f64();
                    *dx = T::from_f64((x.exp() - (share + nll - x).exp()) * dy);
                }
                std::mem::swap(&mut now, &mut next);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ over all paths of `time` classes that collapse to the target.
    fn by_enumeration(p: &[Vec<f64>], target: &[i64], blank: usize) -> f64 {
        let (time, classes) = (p.len(), p[0].len());
        let mut total = 0.0;
        for code in 0..classes.pow(time as u32) {
            let path: Vec<usize> =
                (0..time).map(|t| code / classes.pow(t as u32) % classes).collect();
            let mut labels = Vec::new();
            for (t, &c) in path.iter().enumerate() {
                if c != blank && (t == 0 || path[t - 1] != c) {
                    labels.push(c as i64);
                }
            }
            if labels == target {
                total += path.iter().enumerate().map(|(t, &c)| p[t][c]).product::<f64>();
            }
        }
        -total.ln()
    }

    #[test]
    fn it_is_the_sum_over_all_alignments() {
        let p: Vec<Vec<f64>> = (0..5)
            .map(|t| {
                let raw: Vec<f64> = (0..3).map(|c| 1.0 + ((t * 3 + c) * 7 % 5) as f64).collect();
                let sum: f64 = raw.iter().sum();
                raw.iter().map(|v| v / sum).collect()
            })
            .collect();
        let log_probs: Vec<f64> = p.iter().flatten().map(|v| v.ln()).collect();
        for target in [&[1i64, 2][..], &[1, 1], &[2], &[], &[1, 1, 1]] {
            let o = Ctc {
                time: 5,
                batch: 1,
                classes: 3,
                blank: 0,
                targets: target,
                starts: &[0],
                target_lengths: &[target.len()],
                input_lengths: &[5],
            };
            let (mut nll, mut alpha) = ([0.0], vec![0.0; 5 * o.states()]);
            ctc_forward(&o, &log_probs, &mut nll, &mut alpha);
            let want = by_enumeration(&p, target, 0);
            assert!((nll[0] - want).abs() < 1e-12, "{target:?}: {} {want}", nll[0]);
            let mut dx = vec![0.0; 15];
            ctc_backward(&o, false, &log_probs, &nll, &alpha, &[1.0], &mut dx).unwrap();
            for t in 0..5 {
                let sum: f64 = dx[t * 3..t * 3 + 3].iter().sum();
                assert!(sum.abs() < 1e-12, "{target:?}: gradient of step {t} sums to {sum}");
            }
        }
    }
}
