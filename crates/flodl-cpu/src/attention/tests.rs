use super::backward::backward_with;
use super::forward::forward_with;
use super::*;
use crate::gemm::kernel::Gemm;
use crate::math::FloatMath;
use crate::simd::Isa;

fn values<T: Float>(n: usize, k: usize) -> Vec<T> {
    (0..n).map(|i| T::from_f64(((i * k + 7) % 103) as f64 * 0.02 - 1.0)).collect()
}

/// Inputs of one call, and what a plain computation gives for it.
struct Reference {
    out: Vec<f64>,
    lse: Vec<f64>,
    grads: [Vec<f64>; 3],
}

/// Q, K, V in the order (batch, row, head); additive mask `[B, H, L, S]`, factors of dropout.
fn reference(
    g: &Attention,
    [q, k, v, dout]: [&[f64]; 4],
    mask: &[f64],
    factors: &[f64],
) -> Reference {
    let (l, s, d, dv, h) = (g.queries, g.keys, g.width, g.value_width, g.heads);
    let mut out = vec![0.0; g.batch * h * l * dv];
    let mut lse = vec![0.0; g.batch * h * l];
    let mut grads = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
    for head in 0..g.batch * h {
        let (b, n) = (head / h, head % h);
        let at = |rows: usize, row: usize, width: usize| ((b * rows + row) * h + n) * width;
        for i in 0..l {
            let qi = &q[at(l, i, d)..][..d];
            let go = &dout[at(l, i, dv)..][..dv];
            let scores: Vec<f64> = (0..s)
                .map(|j| {
                    let dot: f64 = qi.iter().zip(&k[at(s, j, d)..]).map(|(a, b)| a * b).sum();
                    let hidden = g.causal && j > i;
                    if hidden {
                        f64::NEG_INFINITY
                    } else {
                        dot * g.scale + mask[(head * l + i) * s + j]
                    }
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|x| (x - max).exp()).sum();
            if max == f64::NEG_INFINITY {
                lse[head * l + i] = f64::INFINITY;
                continue;
            }
            lse[head * l + i] = max + total.ln();
            let w: Vec<f64> = scores.iter().map(|x| (x - max).exp() / total).collect();
            let factor = |j: usize| factors[(head * l + i) * s + j];
            let dw: Vec<f64> = (0..s)
                .map(|j| {
                    let vj = &v[at(s, j, dv)..][..dv];
                    go.iter().zip(vj).map(|(a, b)| a * b).sum::<f64>() * factor(j)
                })
                .collect();
            let delta: f64 = w.iter().zip(&dw).map(|(a, b)| a * b).sum();
            for j in 0..s {
                for c in 0..dv {
                    out[at(l, i, dv) + c] += w[j] * factor(j) * v[at(s, j, dv) + c];
                    grads[2][at(s, j, dv) + c] += w[j] * factor(j) * go[c];
                }
                let ds = w[j] * (dw[j] - delta) * g.scale;
                for c in 0..d {
                    grads[0][at(l, i, d) + c] += ds * k[at(s, j, d) + c];
                    grads[1][at(s, j, d) + c] += ds * q[at(l, i, d) + c];
                }
            }
        }
    }
    Reference { out, lse, grads }
}

fn close<T: Float>(what: &str, got: &[T], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let g = g.to_f64();
        let fits = g == *w || (g - w).abs() <= tolerance * (1.0 + w.abs());
        assert!(fits, "{what}[{i}]: {g} instead of {w}");
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Keep,
    KeepKeys,
    Add,
    AddShared,
}

fn check<T: FloatMath + Gemm>(isa: Isa, g: &Attention, kind: Kind, tolerance: f64) {
    let kernel = T::kernel(isa);
    let (b, h, l, s, d, dv) = (g.batch, g.heads, g.queries, g.keys, g.width, g.value_width);
    let q = values::<T>(b * l * h * d, 37);
    let k = values::<T>(b * s * h * d, 53);
    let v = values::<T>(b * s * h * dv, 29);
    let dout = values::<T>(b * l * h * dv, 71);
    let keep: Vec<u8> =
        (0..b * h * l * s).map(|i| u8::from(i % 7 != 3 && i / s % 11 != 5)).collect();
    let add = values::<T>(b * h * l * s, 13);
    let rows = [h * l * s, l * s, s, 1];
    let mask = match kind {
        Kind::None => Mask::None,
        Kind::Keep => Mask::Keep(&keep, rows),
        Kind::KeepKeys => Mask::Keep(&keep, [s, 0, 0, 1]),
        Kind::Add => Mask::Add(&add, rows),
        Kind::AddShared => Mask::Add(&add, [0, 0, s, 1]),
    };
    let bias: Vec<f64> = (0..b * h * l * s)
        .map(|i| {
            let (item, row, key) = (i / (h * l * s), i / s % l, i % s);
            let seen = |at: usize| if keep[at] != 0 { 0.0 } else { f64::NEG_INFINITY };
            match kind {
                Kind::None => 0.0,
                Kind::Keep => seen(i),
                Kind::KeepKeys => seen(item * s + key),
                Kind::Add => add[i].to_f64(),
                Kind::AddShared => add[row * s + key].to_f64(),
            }
        })
        .collect();
    let mut factors = vec![0.0; b * h * l * s];
    g.dropout_factors(&mut factors);
    let wide = |x: &[T]| x.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
    let (wq, wk, wv, wo) = (wide(&q), wide(&k), wide(&v), wide(&dout));
    let want = reference(g, [&wq, &wk, &wv, &wo], &bias, &factors);

    let view = |x, rows, width| Rows::heads_last(x, rows, h, width);
    let (rq, rk, rv) = (view(&q[..], l, d), view(&k[..], s, d), view(&v[..], s, dv));
    let (mut out, mut lse) = (vec![T::NAN; b * l * h * dv], vec![T::NAN; b * h * l]);
    forward_with(kernel, g, rq, rk, rv, mask, &mut out, &mut lse).unwrap();
    close("out", &out, &want.out, tolerance);
    close("lse", &lse, &want.lse, tolerance);

    let mut grads = [vec![T::NAN; q.len()], vec![T::NAN; k.len()], vec![T::NAN; v.len()]];
    let each = Grads::Each(grads.each_mut().map(|g| Some(&mut g[..])));
    let ro = view(&dout[..], l, dv);
    backward_with(kernel, g, rq, rk, rv, mask, &out, &lse, ro, each).unwrap();
    for (i, name) in ["dq", "dk", "dv"].into_iter().enumerate() {
        close(name, &grads[i], &want.grads[i], 4.0 * tolerance);
    }
    if l == s && d == dv {
        let mut joint = vec![T::NAN; b * l * 3 * h * d];
        let to = Grads::Joint(&mut joint);
        backward_with(kernel, g, rq, rk, rv, mask, &out, &lse, ro, to).unwrap();
        for (row, joint) in joint.chunks(3 * h * d).enumerate() {
            for (i, part) in joint.chunks(h * d).enumerate() {
                assert_eq!(part, &grads[i][row * h * d..][..h * d], "joint");
            }
        }
    }
}

fn sizes(batch: usize, heads: usize, queries: usize, keys: usize, width: usize) -> Attention {
    let scale = 1.0 / (width as f64).sqrt();
    let (value_width, causal, dropout) = (width, false, None);
    Attention { batch, heads, queries, keys, width, value_width, scale, causal, dropout }
}

fn all(isa: Isa) {
    let key = Key { seed: 5, offset: 64 };
    for g in [
        sizes(1, 1, 1, 1, 1),
        sizes(2, 3, 5, 7, 4),
        sizes(1, 2, 33, 33, 17),
        sizes(1, 1, 130, 270, 16),
        sizes(1, 2, 300, 40, 8),
        Attention { value_width: 5, ..sizes(2, 1, 9, 12, 3) },
    ] {
        for kind in [Kind::None, Kind::Keep, Kind::KeepKeys, Kind::Add, Kind::AddShared] {
            for causal in [false, true] {
                let g = Attention { causal, ..g };
                check::<f32>(isa, &g, kind, 2e-5);
                check::<f64>(isa, &g, kind, 1e-12);
            }
        }
        let g = Attention { dropout: Some((0.3, key)), ..g };
        check::<f32>(isa, &g, Kind::None, 2e-5);
        check::<f64>(isa, &Attention { causal: true, ..g }, Kind::Keep, 1e-12);
        check::<f64>(isa, &Attention { dropout: Some((1.0, key)), ..g }, Kind::None, 1e-12);
    }
}

#[test]
fn agrees_with_a_plain_computation_baseline() {
    all(Isa::Baseline);
}

#[test]
fn agrees_with_a_plain_computation_avx2() {
    all(Isa::Avx2);
}

#[test]
fn agrees_with_a_plain_computation_avx512() {
    all(Isa::Avx512);
}

#[test]
fn empty_calls_write_what_there_is() {
    for g in
        [sizes(0, 2, 3, 4, 5), sizes(1, 2, 0, 4, 5), sizes(1, 2, 3, 0, 5), sizes(1, 1, 3, 2, 0)]
    {
        for kind in [Kind::None, Kind::Keep, Kind::Add] {
            check::<f64>(Isa::Avx512, &g, kind, 1e-12);
        }
    }
}

#[test]
fn dropout_keeps_its_share() {
    let g = sizes(2, 2, 50, 60, 4);
    let g = Attention { dropout: Some((0.25, Key { seed: 3, offset: 0 })), ..g };
    let mut factors = vec![0.0f64; 2 * 2 * 50 * 60];
    g.dropout_factors(&mut factors);
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    assert!((mean - 1.0).abs() < 0.03, "{mean}");
    assert!(g.draws() >= factors.len());
}
