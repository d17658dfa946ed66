//! Against a naive network in f64, and its gradients by finite differences.

use super::*;
use crate::random::{Drop, Key, dropout};
use crate::simd::Isa;

fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64 * 1.6 - 0.8
        })
        .collect()
}

/// All numbers of a problem.
#[derive(Clone)]
struct Net {
    geom: RnnGeom,
    x: Vec<f64>,
    h0: Option<Vec<f64>>,
    c0: Option<Vec<f64>>,
    /// w_ih, w_hh, b_ih, b_hh of each direction of each layer; biases may be empty.
    weights: Vec<[Vec<f64>; 4]>,
}

fn net(geom: RnnGeom, states: bool, bias: bool) -> Net {
    let rows = geom.mode.gates() * geom.hidden;
    let weights = (0..geom.layers * geom.directions)
        .map(|run| {
            let input = geom.layer_input(run / geom.directions);
            let b = if bias { rows } else { 0 };
            let lens = [rows * input, rows * geom.hidden, b, b];
            std::array::from_fn(|i| numbers((run * 4 + i) as u64 + 10, lens[i]))
        })
        .collect();
    let state = |seed| states.then(|| numbers(seed, geom.state_len()));
    let c0 = state(2).filter(|_| geom.mode.has_cell());
    Net { geom, x: numbers(1, geom.rows() * geom.input), h0: state(3), c0, weights }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Output, last states and last cell states.
fn naive(net: &Net) -> [Vec<f64>; 3] {
    let g = net.geom;
    let (n, gates) = (g.hidden, g.mode.gates());
    let mut input = net.x.clone();
    let (mut hn, mut cn) = (Vec::new(), Vec::new());
    for layer in 0..g.layers {
        if let Some((p, key)) = g.layer_dropout(layer) {
            let all = input.clone();
            dropout(key, Drop::plain(p), &all, &mut input, None);
        }
        let width = g.layer_input(layer);
        let mut out = vec![0.0; g.out_len()];
        for dir in 0..g.directions {
            let run = layer * g.directions + dir;
            let [w_ih, w_hh, b_ih, b_hh] = &net.weights[run];
            let part = run * g.batch * n..(run + 1) * g.batch * n;
            let zeros = vec![0.0; g.batch * n];
            let mut h = net.h0.as_ref().map_or(zeros.clone(), |s| s[part.clone()].to_vec());
            let mut c = net.c0.as_ref().map_or(zeros, |s| s[part].to_vec());
            for k in 0..g.steps {
                let t = if dir == 0 { k } else { g.steps - 1 - k };
                for b in 0..g.batch {
                    let x = &input[(t * g.batch + b) * width..][..width];
                    let old = h[b * n..(b + 1) * n].to_vec();
                    let dot = |w: &[f64], v: &[f64], r: usize| -> f64 {
                        w[r * v.len()..(r + 1) * v.len()].iter().zip(v).map(|(a, b)| a * b).sum()
                    };
                    let at = |v: &Vec<f64>, r: usize| v.get(r).copied().unwrap_or(0.0);
                    let i: Vec<f64> =
                        (0..gates * n).map(|r| dot(w_ih, x, r) + at(b_ih, r)).collect();
                    let u: Vec<f64> =
                        (0..gates * n).map(|r| dot(w_hh, &old, r) + at(b_hh, r)).collect();
                    for j in 0..n {
                        let gate = |q: usize| i[q * n + j] + u[q * n + j];
                        let new = match g.mode {
                            Mode::Tanh => gate(0).tanh(),
                            Mode::Relu => gate(0).max(0.0),
                            Mode::Gru => {
                                let (r, z) = (sigmoid(gate(0)), sigmoid(gate(1)));
                                let new = (i[2 * n + j] + r * u[2 * n + j]).tanh();
                                (1.0 - z) * new + z * old[j]
                            }
                            Mode::Lstm => {
                                let cell = sigmoid(gate(1)) * c[b * n + j]
                                    + sigmoid(gate(0)) * gate(2).tanh();
                                c[b * n + j] = cell;
                                sigmoid(gate(3)) * cell.tanh()
                            }
                        };
                        h[b * n + j] = new;
                        out[(t * g.batch + b) * g.directions * n + dir * n + j] = new;
                    }
                }
            }
            hn.extend(h);
            cn.extend(c);
        }
        input = out;
    }
    [input, hn, if g.mode.has_cell() { cn } else { vec![] }]
}

fn cast<T: Float>(v: &[f64]) -> Vec<T> {
    v.iter().map(|&v| T::from_f64(v)).collect()
}

type Outputs<T> = (Vec<T>, Vec<T>, Vec<T>, Vec<T>);

fn forward<T: Float>(net: &Net, keep: bool) -> Outputs<T> {
    let reserve = Reserve::new(net.geom, keep);
    let all: Vec<[Vec<T>; 4]> = net.weights.iter().map(|w| w.each_ref().map(|v| cast(v))).collect();
    let weights: Vec<Weights<T>> = all.iter().map(view).collect();
    let (x, h0, c0) = (cast(&net.x), net.h0.as_deref().map(cast), net.c0.as_deref().map(cast));
    let nan = |len| vec![T::NAN; len];
    let (mut out, mut hn) = (nan(net.geom.out_len()), nan(net.geom.state_len()));
    let mut cn = nan(if net.geom.mode.has_cell() { net.geom.state_len() } else { 0 });
    let mut memory = nan(reserve.len());
    let c = net.geom.mode.has_cell().then_some(&mut cn[..]);
    let states = [h0.as_deref(), c0.as_deref()];
    sequence_forward(&x, states, &weights, &mut out, &mut hn, c, &reserve, &mut memory).unwrap();
    (out, hn, cn, memory)
}

fn view<T: Float>(w: &[Vec<T>; 4]) -> Weights<'_, T> {
    let bias = |b: &'_ Vec<T>| !b.is_empty();
    Weights {
        w_ih: &w[0],
        w_hh: &w[1],
        b_ih: bias(&w[2]).then_some(&w[2][..]),
        b_hh: bias(&w[3]).then_some(&w[3][..]),
    }
}

fn close<T: Float>(what: &str, ours: &[T], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let a = a.to_f64();
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what} at {i}: {a} against {b}");
    }
}

const MODES: [Mode; 4] = [Mode::Relu, Mode::Tanh, Mode::Gru, Mode::Lstm];

fn geoms() -> Vec<RnnGeom> {
    let sizes = [(5, 6, 4, 7, 2, 2), (1, 1, 3, 1, 1, 1), (3, 2, 5, 4, 3, 1), (4, 9, 2, 17, 1, 2)];
    MODES
        .into_iter()
        .flat_map(|mode| {
            sizes.map(|(steps, batch, input, hidden, layers, directions)| RnnGeom {
                mode,
                steps,
                batch,
                input,
                hidden,
                layers,
                directions,
                dropout: None,
            })
        })
        .chain(MODES.map(|mode| RnnGeom {
            mode,
            steps: 3,
            batch: 4,
            input: 2,
            hidden: 5,
            layers: 3,
            directions: 2,
            dropout: Some((0.4, Key { seed: 3, offset: 5 })),
        }))
        .collect()
}

#[test]
fn sequences_match_the_naive_network() {
    for geom in geoms() {
        for (states, bias) in [(true, true), (false, true), (true, false), (false, false)] {
            let net = net(geom, states, bias);
            let [out, hn, cn] = naive(&net);
            for keep in [true, false] {
                let ours = forward::<f64>(&net, keep);
                close(&format!("out {geom:?}"), &ours.0, &out, 1e-13);
                close(&format!("hn {geom:?}"), &ours.1, &hn, 1e-13);
                close(&format!("cn {geom:?}"), &ours.2, &cn, 1e-13);
                let ours = forward::<f32>(&net, keep);
                close(&format!("out {geom:?}"), &ours.0, &out, 3e-6);
                close(&format!("cn {geom:?}"), &ours.2, &cn, 3e-6);
            }
        }
    }
}

/// A weighted sum of everything that comes out.
fn score(net: &Net, by: &[Vec<f64>; 3]) -> f64 {
    let outs = naive(net);
    outs.iter().zip(by).flat_map(|(o, b)| o.iter().zip(b)).map(|(o, b)| o * b).sum()
}

/// Gradients of [`score`]: x, h0, c0, then the weights.
fn gradients<T: Float>(net: &Net, by: &[Vec<f64>; 3]) -> Vec<Vec<T>> {
    let reserve = Reserve::new(net.geom, true);
    let (out, _, _, memory) = forward::<T>(net, true);
    let all: Vec<[Vec<T>; 4]> = net.weights.iter().map(|w| w.each_ref().map(|v| cast(v))).collect();
    let weights: Vec<Weights<T>> = all.iter().map(view).collect();
    let (x, h0, c0) = (cast::<T>(&net.x), net.h0.as_deref().map(cast), net.c0.as_deref().map(cast));
    let by: Vec<Vec<T>> = by.iter().map(|b| cast(b)).collect();
    let nan = |like: Option<&Vec<f64>>| vec![T::NAN; like.map_or(0, Vec::len)];
    let (mut dx, mut dh) = (nan(Some(&net.x)), nan(net.h0.as_ref()));
    let mut dc = nan(net.c0.as_ref());
    let mut dw: Vec<[Vec<T>; 4]> =
        net.weights.iter().map(|w| w.each_ref().map(|v| nan(Some(v)))).collect();
    let some = |v: &'_ [T]| !v.is_empty();
    let grads = SequenceGrads {
        x: Some(&mut dx),
        h0: net.h0.is_some().then_some(&mut dh[..]),
        c0: net.c0.is_some().then_some(&mut dc[..]),
        weights: dw
            .iter_mut()
            .map(|[a, b, c, d]| WeightGrads {
                w_ih: Some(a),
                w_hh: Some(b),
                b_ih: some(c).then_some(&mut c[..]),
                b_hh: some(d).then_some(&mut d[..]),
                accumulate: [false; 4],
            })
            .collect(),
    };
    let states = [h0.as_deref(), c0.as_deref()];
    let given = [Some(&by[0][..]), Some(&by[1][..]), some(&by[2]).then_some(&by[2][..])];
    sequence_backward(&x, states, &weights, &out, &reserve, &memory, given, grads).unwrap();
    [dx, dh, dc].into_iter().chain(dw.into_iter().flatten()).collect()
}

#[test]
fn gradients_match_finite_differences() {
    for geom in geoms() {
        for (states, bias) in [(true, true), (false, false)] {
            let net = net(geom, states, bias);
            let state = geom.state_len();
            let cell = if geom.mode.has_cell() { state } else { 0 };
            let by = [numbers(90, geom.out_len()), numbers(91, state), numbers(92, cell)];
            let ours = gradients::<f64>(&net, &by);
            let single = gradients::<f32>(&net, &by);
            let slots = 3 + 4 * net.weights.len();
            for slot in 0..slots {
                let len = ours[slot].len();
                // A few of each are enough, from all over.
                for i in (0..len).step_by((len / 7).max(1)) {
                    let value = |delta: f64| {
                        let mut moved = net.clone();
                        let v = match slot {
                            0 => &mut moved.x,
                            1 => moved.h0.as_mut().unwrap(),
                            2 => moved.c0.as_mut().unwrap(),
                            _ => &mut moved.weights[(slot - 3) / 4][(slot - 3) % 4],
                        };
                        v[i] += delta;
                        score(&moved, &by)
                    };
                    let numeric = (value(1e-5) - value(-1e-5)) / 2e-5;
                    let what = format!("slot {slot} {geom:?}");
                    close(&what, &[ours[slot][i]], &[numeric], 1e-7);
                    close(&what, &[single[slot][i]], &[ours[slot][i]], 2e-4);
                }
            }
        }
    }
}

#[test]
fn a_cell_is_a_sequence_of_one_step() {
    for mode in MODES {
        for (batch, input, hidden) in [(1, 3, 4), (2, 5, 7), (6, 4, 9)] {
            let (layers, directions, dropout) = (1, 1, None);
            let geom =
                RnnGeom { mode, steps: 1, batch, input, hidden, layers, directions, dropout };
            for states in [true, false] {
                let net = net(geom, states, true);
                let by = [numbers(90, batch * hidden), vec![0.0; batch * hidden], vec![]];
                let [out, _, cn] = naive(&net);
                let mut want = gradients::<f64>(&net, &{
                    let mut by = by.clone();
                    by[2] = if mode.has_cell() { numbers(92, batch * hidden) } else { vec![] };
                    by
                });
                let g = CellGeom { mode, batch, input, hidden };
                let ld = g.state();
                let state = |v: &Option<Vec<f64>>| -> Vec<f64> {
                    // Beside each other, as an LSTM's own output is.
                    let mut rows = vec![f64::NAN; batch * ld];
                    for (i, row) in v.iter().flat_map(|v| v.chunks(hidden)).enumerate() {
                        rows[i * ld..i * ld + hidden].copy_from_slice(row);
                    }
                    rows
                };
                let (h0, c0) = (state(&net.h0), state(&net.c0));
                let h = net.h0.is_some().then_some(State { data: &h0, ld });
                let c = net.c0.is_some().then_some(State { data: &c0, ld });
                let w = view(&net.weights[0]);
                for packed in [None, Some(&CellWeights::new())] {
                    let mut gates = vec![f64::NAN; g.gates_len()];
                    let mut new = vec![f64::NAN; batch * ld];
                    super::gates::CALLS.set([0; 2]);
                    cell_forward(&g, &net.x, [h, c], &w, packed, &mut gates, &mut new).unwrap();
                    assert_eq!(super::gates::CALLS.get(), [1, 0], "the gates of a step");
                    for i in 0..batch {
                        close(
                            "h",
                            &new[i * ld..i * ld + hidden],
                            &out[i * hidden..][..hidden],
                            1e-13,
                        );
                        if mode.has_cell() {
                            let cell = &new[i * ld + hidden..(i + 1) * ld];
                            close("c", cell, &cn[i * hidden..][..hidden], 1e-13);
                        }
                    }
                    let dc = numbers(92, batch * hidden);
                    let given = [
                        Some(State { data: &by[0], ld: hidden }),
                        mode.has_cell().then_some(State { data: &dc, ld: hidden }),
                    ];
                    let mut dx = vec![f64::NAN; net.x.len()];
                    let mut ds = vec![f64::NAN; new.len()];
                    let mut dw = net.weights[0].each_ref().map(|v| vec![f64::NAN; v.len()]);
                    let [a, b, c2, d] = &mut dw;
                    let weights = WeightGrads {
                        w_ih: Some(a),
                        w_hh: Some(b),
                        b_ih: Some(c2),
                        b_hh: Some(d),
                        accumulate: [false; 4],
                    };
                    let grads = CellGrads {
                        x: Some(&mut dx),
                        state: &mut ds,
                        wants_h: states,
                        weights,
                        sums: None,
                    };
                    cell_backward(&g, &net.x, [h, c], &w, packed, (&gates, &new), given, grads)
                        .unwrap();
                    assert_eq!(super::gates::CALLS.get(), [1, 1], "and of its backward");
                    close("dx", &dx, &want[0], 1e-12);
                    for (ours, want) in dw.iter().zip(&want[3..]) {
                        close("dw", ours, want, 1e-12);
                    }
                    for (i, row) in want[1].chunks(hidden).enumerate() {
                        close("dh", &ds[i * ld..i * ld + hidden], row, 1e-12);
                    }
                    for (i, row) in want[2].chunks(hidden).enumerate() {
                        close("dc", &ds[i * ld + hidden..(i + 1) * ld], row, 1e-12);
                    }
                }
                want.clear();
            }
        }
    }
}

/// Every instruction set gives the same values to rounding.
#[test]
fn gates_agree_on_all_instruction_sets() {
    use crate::simd::{Avx2, Avx512, Baseline, Kernel, supported};
    for mode in MODES {
        let (rows, hidden) = (3, 37);
        let width = mode.width() * hidden;
        let start: Vec<f32> = cast(&numbers(5, rows * width));
        let rec: Vec<f32> = cast(&numbers(6, rows * 3 * hidden));
        let prev: Vec<f32> = cast(&numbers(7, rows * hidden));
        let run = |isa: Isa| {
            let (mut g, mut h) = (start.clone(), vec![0f32; rows * hidden]);
            let mut c = h.clone();
            let step = gates::Forward {
                mode,
                hidden,
                gates: gates::RowsMut::new(&mut g, width),
                recurrent: gates::Rows::new(&rec, 3 * hidden),
                h_prev: gates::Rows::new(&prev, hidden),
                c_prev: gates::Rows::new(&prev, hidden),
                h: gates::RowsMut::new(&mut h, hidden),
                c: gates::RowsMut::new(&mut c, hidden),
            };
            let run = gates::Run { step, rows: 0..rows };
            match isa {
                Isa::Baseline => run.run::<Baseline>(),
                Isa::Avx2 => run.run::<Avx2>(),
                Isa::Avx512 => run.run::<Avx512>(),
            }
            g.extend(h);
            g.extend(c);
            g.iter().map(|&v| v as f64).collect::<Vec<f64>>()
        };
        let base = run(Isa::Baseline);
        for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|&isa| isa <= supported()) {
            close(&format!("{mode:?}"), &run(isa), &base, 1e-6);
        }
    }
}

#[test]
fn an_empty_batch_gives_zero_gradients() {
    for mode in MODES {
        let (layers, directions, dropout) = (2, 2, None);
        let geom =
            RnnGeom { mode, steps: 2, batch: 0, input: 3, hidden: 4, layers, directions, dropout };
        let net = net(geom, true, true);
        let by = [vec![], vec![], vec![]];
        let grads = gradients::<f32>(&net, &by);
        assert!(grads.iter().flatten().all(|&g| g == 0.0));
    }
}
