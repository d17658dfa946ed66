use super::super::tests::{ONE, ZERO, geom, numbers, products};
use super::super::{ConvGeom, size};
use super::*;
use crate::element::Float;

fn close<T: Float>(what: &str, g: &ConvGeom, form: Form, got: &[T], want: &[f64]) {
    let tolerance = if size_of::<T>() == 4 { 5e-6 } else { 1e-14 };
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.to_f64() - want).abs();
        assert!(error <= tolerance * largest, "{what} at {i}: {got:?} for {want}, {form:?}, {g:?}");
    }
}

fn check<T: Gemm>(g: &ConvGeom) {
    let (x, w, dy) =
        (numbers::<T>(g.x_len(), 1), numbers::<T>(g.w_len(), 2), numbers::<T>(g.y_len(), 3));
    let (b, c) = (numbers::<T>(g.c_out, 4), numbers::<T>(g.c_in, 5));
    let mut y: Vec<f64> =
        (0..g.y_len()).map(|i| b[i / size(g.output) % g.c_out].to_f64()).collect();
    let mut dx: Vec<f64> = (0..g.x_len()).map(|i| c[i / size(g.input) % g.c_in].to_f64()).collect();
    let mut dw = vec![0.0; g.w_len()];
    products(g, |i, j, o| {
        y[o] += x[i].to_f64() * w[j].to_f64();
        dx[i] += dy[o].to_f64() * w[j].to_f64();
        dw[j] += dy[o].to_f64() * x[i].to_f64();
    });
    let forward = Pass::forward(g, &x, &w, Some(&b));
    let found = form(&forward).expect("a form");
    for &points in choices(found.taps) {
        let form = Form { points, ..found };
        let mut got = vec![T::NAN; g.y_len()];
        run(&[forward], form, &mut got).unwrap();
        close("forward", g, form, &got, &y);
        let mut got = vec![T::NAN; g.w_len()];
        weight(&forward, form, &dy, &mut got).unwrap();
        close("weight", g, form, &got, &dw);
        let mut got = vec![T::NAN; g.x_len()];
        let passes = Pass::backward(g, &dy, &w, Some(&c));
        if form.odd {
            // The phases have one to four taps.
            assert!(passes.iter().any(|pass| super::form(pass).is_none()));
            continue;
        }
        let found = super::form(&passes[0]).expect("a form");
        assert!(passes.iter().all(|pass| super::form(pass) == Some(found)));
        run(&passes, Form { points, ..found }, &mut got).unwrap();
        close("data", g, form, &got, &dx);
    }
}

#[test]
fn equals_the_direct_sum() {
    let plane = |h, w| [1, h, w];
    let same = [0, 1, 1];
    for g in [
        geom((2, 1, 3, 5), plane(8, 8), plane(3, 3), ONE, same, ONE),
        geom((3, 1, 17, 33), plane(7, 9), plane(3, 3), ONE, same, ONE),
        geom((9, 1, 20, 24), plane(4, 4), plane(3, 3), ONE, same, ONE),
        geom((2, 1, 8, 13), plane(30, 61), plane(3, 3), ONE, [0, 0, 2], ONE),
        geom((1, 1, 24, 40), plane(70, 66), plane(3, 3), ONE, same, ONE),
        geom((2, 3, 12, 18), plane(13, 11), plane(3, 3), ONE, same, ONE),
        geom((3, 1, 9, 7), plane(6, 11), plane(2, 2), ONE, ZERO, ONE),
        geom((3, 1, 8, 12), plane(16, 16), plane(4, 4), [1, 2, 2], same, ONE),
        geom((2, 2, 10, 14), plane(15, 18), plane(4, 4), [1, 2, 2], [0, 2, 0], ONE),
        geom((20, 1, 33, 25), plane(8, 8), plane(4, 4), [1, 2, 2], same, ONE),
        // Sizes that the parities share unevenly.
        geom((3, 1, 8, 12), plane(16, 16), plane(3, 3), [1, 2, 2], same, ONE),
        geom((2, 2, 10, 14), plane(15, 18), plane(3, 3), [1, 2, 2], [0, 0, 2], ONE),
        geom((8, 1, 33, 25), plane(8, 7), plane(3, 3), [1, 2, 2], same, ONE),
        geom((17, 1, 9, 26), plane(23, 40), plane(5, 5), [1, 2, 2], [0, 2, 1], ONE),
        geom((2, 1, 5, 7), [5, 9, 60], [3, 3, 3], [2, 2, 2], ONE, ONE),
        // Images in turn: whole turns and not, more of them than a block, few tiles side by side.
        geom((8, 1, 9, 14), plane(4, 4), plane(3, 3), ONE, same, ONE),
        geom((15, 1, 5, 8), plane(9, 7), plane(3, 3), ONE, same, ONE),
        geom((16, 2, 24, 26), plane(16, 13), plane(3, 3), ONE, [0, 0, 2], ONE),
        geom((40, 1, 40, 72), plane(8, 21), plane(3, 3), ONE, same, ONE),
        geom((8, 1, 6, 11), plane(6, 5), plane(2, 2), ONE, ZERO, ONE),
        geom((24, 1, 13, 25), plane(18, 16), plane(4, 4), [1, 2, 2], same, ONE),
        geom((23, 1, 10, 9), plane(11, 17), plane(4, 4), [1, 2, 2], [0, 2, 0], ONE),
        // Depths: padded, strided, dilated, of several images in turn, more of them than a block.
        geom((2, 1, 5, 9), [4, 9, 7], [3, 3, 3], ONE, ONE, ONE),
        geom((3, 2, 6, 8), [5, 8, 21], [2, 3, 3], ONE, ZERO, ONE),
        geom((1, 1, 7, 6), [6, 5, 6], [2, 2, 2], ONE, [2, 1, 0], ONE),
        geom((8, 1, 4, 9), [8, 8, 8], [3, 3, 3], [2, 1, 1], ONE, ONE),
        geom((15, 1, 9, 10), [5, 6, 5], [3, 3, 3], ONE, [2, 1, 1], [2, 1, 1]),
        geom((16, 2, 16, 24), [4, 12, 16], [1, 3, 3], ONE, [0, 1, 1], ONE),
        geom((9, 1, 6, 7), [6, 8, 10], [4, 4, 4], [2, 2, 2], ONE, ONE),
        geom((3, 1, 5, 4), [8, 8, 8], [4, 4, 4], [1, 2, 2], ONE, ONE),
        // Dilations: lengths that they divide and not, paddings of any residue, residues without
        // outputs, images in turn and not, depths.
        geom((2, 1, 5, 9), plane(16, 16), plane(3, 3), ONE, [0, 2, 2], [1, 2, 2]),
        geom((3, 1, 7, 6), plane(13, 70), plane(3, 3), ONE, [0, 1, 3], [1, 2, 2]),
        geom((8, 2, 8, 10), plane(17, 19), plane(3, 3), ONE, [0, 3, 4], [1, 3, 3]),
        geom((1, 1, 6, 8), plane(9, 10), plane(3, 3), ONE, ZERO, [1, 4, 4]),
        geom((9, 1, 12, 20), plane(11, 12), plane(2, 2), ONE, [0, 0, 5], [1, 5, 5]),
        geom((2, 1, 5, 7), [4, 9, 60], [3, 3, 3], ONE, [2, 2, 2], [2, 2, 2]),
    ] {
        check::<f32>(&g);
        check::<f64>(&g);
    }
}

#[test]
fn other_convolutions_have_no_form() {
    let x = vec![0.0f32; 4096];
    let plane = |h, w| [1, h, w];
    for g in [
        geom((1, 1, 2, 2), plane(8, 8), plane(3, 2), ONE, ZERO, ONE),
        geom((1, 1, 2, 2), plane(8, 8), plane(3, 3), [1, 3, 3], ZERO, ONE),
        geom((1, 1, 2, 2), plane(8, 8), plane(2, 2), [1, 2, 2], ZERO, ONE),
        geom((1, 1, 2, 2), plane(8, 8), plane(7, 7), [1, 2, 2], ZERO, ONE),
        geom((1, 1, 2, 2), plane(9, 9), plane(3, 3), ONE, ZERO, [1, 2, 1]),
        geom((1, 1, 2, 2), plane(9, 9), plane(4, 4), [1, 2, 2], ONE, [1, 2, 2]),
        geom((1, 1, 2, 2), plane(9, 9), plane(5, 5), ONE, ZERO, ONE),
        geom((1, 1, 2, 2), [3, 4, 4], [2, 3, 2], ONE, ZERO, ONE),
        geom((1, 1, 2, 2), [3, 4, 4], [3, 3, 3], [1, 2, 1], ONE, ONE),
    ] {
        assert_eq!(form(&Pass::forward(&g, &x[..g.x_len()], &x, None)), None, "{g:?}");
    }
}

/// What lanes do with vectors is what loops do.
struct Vectors;

impl simd::Kernel for Vectors {
    type Out = ();

    fn run<A: Arch>(self) {
        moves::<A, PIECE>();
        moves::<A, PAIR>();
        splits::<A, PIECE>();
        splits::<A, PAIR>();
    }
}

fn moves<A: Arch, const W: usize>() {
    let values = numbers::<f32>(6 * W, 1);
    // SAFETY: the places are inside.
    let read = |at: usize| unsafe { Lanes::<A, f32, W>::read(values[at..][..W].as_ptr()) };
    assert_eq!(read(3).0[..], values[3..][..W]);
    let halves = [5, 2 * W + 1].map(|at| values[at..][..PIECE].as_ptr());
    // SAFETY: likewise.
    let both = unsafe { Lanes::<A, f32, W>::read_pieces(halves) };
    assert_eq!(both.0[..PIECE], values[5..][..PIECE]);
    assert_eq!(both.0[PIECE..], values[2 * W + 1..][..W - PIECE]);
    for count in 0..=W {
        let mut got = [0.5f32; PAIR + 1];
        // SAFETY: there is room for all of them.
        unsafe { both.write_first(got.as_mut_ptr(), count) };
        assert_eq!(got[..count], both.0[..count]);
        assert!(got[count..].iter().all(|&v| v == 0.5), "{got:?} after {count}");
    }
    let rows = [0, 1, 2, 3, 4].map(|i| read(i * W));
    for rows in [&rows[..2], &rows[..4], &rows] {
        let mut got = [0.0f32; 5 * PAIR];
        Lanes::interleave(rows, 0.25, &mut got);
        for (i, got) in got[..rows.len() * W].iter().enumerate() {
            assert_eq!(*got, rows[i % rows.len()].0[i / rows.len()] + 0.25, "value {i}");
        }
    }
}

fn splits<A: Arch, const W: usize>() {
    let values = numbers::<f32>(200, 2);
    for (run, before, len) in
        [(8, 0, 32), (8, 1, 31), (16, 1, 40), (16, 70, 9), (24, 3, 90), (24, 0, 0), (40, 1, 200)]
    {
        let mut got = vec![0.5f32; 4 * run + 1];
        if !Lanes::<A, f32, W>::split4(&values[..len], before, &mut got, run) {
            continue;
        }
        for place in 0..4 * run {
            let at = place.checked_sub(before).filter(|&at| at < len);
            let want = at.map_or(0.0, |at| values[at]);
            assert_eq!(got[place % 4 * run + place / 4], want, "{place} of {run}, {before}, {len}");
        }
        assert_eq!(got[4 * run], 0.5);
    }
}

#[test]
fn vectors_equal_loops() {
    simd::dispatch(Vectors);
}
