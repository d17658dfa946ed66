use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kernel::{Form, Gemm, Kernel, Side};
use super::pack::{pack, packed_len};
use super::{
    Activation, Epilogue, Mat, Of, PackedB, Right, RowOp, gemm, gemm_act, gemm_batched, gemm_of,
    gemm_packed, product,
};
use crate::simd::Isa;

/// Small integers over 8, so that f32 sums of a few hundred products are exact in any order.
fn numbers<T: Gemm>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64((((i * 7919 + seed * 104729) % 31) as f64 - 15.0) / 8.0)).collect()
}

fn kernel_case<T: Gemm>(kernel: &Kernel<T>, rows: usize, cols: usize, k: usize, flags: usize) {
    let (a, b) = (numbers::<T>(rows * k, 1), numbers::<T>(k * cols, 2));
    let mut pa = vec![T::from_f64(99.0); kernel.packed_len(Side::A, rows, k)];
    let mut pb = vec![T::from_f64(99.0); kernel.packed_len(Side::B, cols, k)];
    // SAFETY: the sources have all their lines, and the panels room for them.
    unsafe {
        kernel.pack(Side::A, pa.as_mut_ptr(), a.as_ptr(), [k, 1], rows, k);
        kernel.pack(Side::B, pb.as_mut_ptr(), b.as_ptr(), [1, cols], cols, k);
    }
    let (row_bias, col_bias) = (numbers::<T>(rows, 3), numbers::<T>(cols, 4));
    let ldc = cols + 3;
    let start = numbers::<T>(rows * ldc, 5);
    let in_place = kernel.form == Form::Values;
    for direct in [false, true].into_iter().filter(|&direct| in_place || !direct) {
        let mut c = start.clone();
        let mut tile = kernel.tile(k, pa.as_ptr(), pb.as_ptr(), c.as_mut_ptr(), ldc);
        if direct {
            (tile.a, tile.a_row, tile.a_step) = (a.as_ptr(), k, 1);
            (tile.b, tile.b_step) = (b.as_ptr(), cols);
        }
        (tile.rows, tile.cols) = (rows, cols);
        tile.accumulate = flags & 1 != 0;
        tile.alpha = T::from_f64(if flags & 2 != 0 { 0.5 } else { 1.0 });
        if flags & 4 != 0 {
            tile.col_bias = col_bias.as_ptr();
        }
        if flags & 8 != 0 {
            tile.row_bias = row_bias.as_ptr();
        }
        tile.relu = flags & 16 != 0;
        // SAFETY: all buffers have the sizes that the tile names.
        unsafe { kernel.run(&tile) };
        for i in 0..rows {
            for j in 0..ldc {
                let mut want = start[i * ldc + j].to_f64();
                if j < cols {
                    let sum: f64 =
                        (0..k).map(|p| a[i * k + p].to_f64() * b[p * cols + j].to_f64()).sum();
                    let mut x = sum * tile.alpha.to_f64();
                    if flags & 1 != 0 {
                        x += want;
                    }
                    if flags & 4 != 0 {
                        x += col_bias[j].to_f64();
                    }
                    if flags & 8 != 0 {
                        x += row_bias[i].to_f64();
                    }
                    want = if flags & 16 != 0 { x.max(0.0) } else { x };
                }
                let got = c[i * ldc + j].to_f64();
                assert_eq!(got, want, "{:?} {rows}x{k}x{cols} {flags} ({i}, {j})", kernel.isa);
            }
        }
    }
}

fn kernel_cases<T: Gemm>() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let kernel = T::kernel(isa);
        for rows in 1..=kernel.mr {
            for cols in 1..=kernel.nr {
                for k in [0, 1, 3, 8, 21] {
                    kernel_case(kernel, rows, cols, k, (rows * 5 + cols * 3 + k) % 32);
                }
            }
        }
    }
    let Some(kernel) = T::split_kernel() else { return };
    for (rows, cols) in (1..=kernel.mr).flat_map(|rows| (1..=kernel.nr).map(move |c| (rows, c))) {
        for k in [0, 1, 32, 33, 70] {
            kernel_case(kernel, rows, cols, k, (rows * 5 + cols * 3 + k) % 32);
        }
    }
}

#[test]
fn every_tile_size_on_every_instruction_set() {
    kernel_cases::<f32>();
    kernel_cases::<f64>();
}

fn pack_cases<T: Gemm>() {
    for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
        let kernel = T::kernel(isa);
        for width in [kernel.mr, kernel.nr, 5] {
            for count in [1, 2, width - 1, width, width + 1, 3 * width + 2] {
                for k in [1, 7, 8, 19] {
                    for (line, step) in [(1, count + 1), (k + 2, 1), (2, 2 * count), (3 * k, 3)] {
                        let src = numbers::<T>((count - 1) * line + (k - 1) * step + 1, 1);
                        let mut dst = vec![T::from_f64(99.0); packed_len(width, count, k)];
                        pack(kernel.isa, width, &mut dst, &src, line, step, count, k);
                        for (at, &got) in dst.iter().enumerate() {
                            let (i, p) = (at / (width * k) * width + at % width, at / width % k);
                            let want = if i < count { src[i * line + p * step] } else { T::ZERO };
                            assert_eq!(got, want, "{isa:?} {width} {count} {k} {line} {step}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn panels_hold_every_line_and_zeros() {
    pack_cases::<f32>();
    pack_cases::<f64>();
}

/// `act(alpha A B + bias (+ C))` in f64, in place of C.
fn naive<T: Gemm>(
    (m, n, k): (usize, usize, usize),
    a: Mat<T>,
    b: Mat<T>,
    c: &mut [T],
    ldc: usize,
    ep: &Epilogue<T>,
) {
    for i in 0..m {
        for j in 0..n {
            let term = |p: usize| {
                a.data[i * a.row_stride + p * a.col_stride].to_f64()
                    * b.data[p * b.row_stride + j * b.col_stride].to_f64()
            };
            let mut x = (0..k).map(term).sum::<f64>() * ep.alpha.to_f64();
            x += ep.bias.map_or(0.0, |bias| bias[j].to_f64());
            x += ep.row_bias.map_or(0.0, |bias| bias[i].to_f64());
            if ep.accumulate {
                x += c[i * ldc + j].to_f64();
            }
            if ep.activation == Activation::Relu {
                x = x.max(0.0);
            }
            c[i * ldc + j] = T::from_f64(x);
        }
    }
}

/// One product in one layout: bit 0 of `layout` transposes A, bit 1 B, bit 2 spreads all strides.
fn product_case<T: Gemm>((m, n, k): (usize, usize, usize), layout: usize, flags: usize) {
    let spread = if layout & 4 != 0 { 2 } else { 1 };
    let make = |rows: usize, cols: usize, transposed: bool| {
        if transposed {
            (rows * cols * spread, spread, rows * spread)
        } else {
            (rows * cols * spread, cols * spread, spread)
        }
    };
    let (a_len, a_row, a_col) = make(m, k, layout & 1 != 0);
    let (b_len, b_row, b_col) = make(k, n, layout & 2 != 0);
    let (a, b) = (numbers::<T>(a_len, 1), numbers::<T>(b_len, 2));
    let a = Mat { data: &a, row_stride: a_row, col_stride: a_col };
    let b = Mat { data: &b, row_stride: b_row, col_stride: b_col };
    let (bias, row_bias) = (numbers::<T>(n, 3), numbers::<T>(m, 5));
    let ep = Epilogue {
        accumulate: flags & 1 != 0,
        alpha: T::from_f64(if flags & 2 != 0 { -0.5 } else { 1.0 }),
        bias: (flags & 4 != 0).then_some(&bias[..]),
        row_bias: (flags % 7 == 3).then_some(&row_bias[..]),
        activation: if flags & 8 != 0 { Activation::Relu } else { Activation::None },
    };
    let ldc = n + flags % 3;
    let mut want = numbers::<T>(m * ldc, 4);
    let mut got = want.clone();
    let mut packed = want.clone();
    naive((m, n, k), a, b, &mut want, ldc, &ep);
    gemm(m, n, k, a, b, &mut got, ldc, &ep).unwrap();
    assert_eq!(got, want, "{m}x{k}x{n} layout {layout} flags {flags}");
    let pack = PackedB::new(m, k, n, b).unwrap();
    gemm_packed(m, a, &pack, &mut packed, ldc, &ep).unwrap();
    assert_eq!(packed, want, "packed {m}x{k}x{n} layout {layout} flags {flags}");

    // Each row is finished once, and only when it is complete.
    let times: Vec<AtomicUsize> = (0..m).map(|_| AtomicUsize::new(0)).collect();
    let negate = |rows: Range<usize>, c: &mut [T]| {
        for (row, c) in rows.zip(c.chunks_mut(ldc)) {
            assert_eq!(c[..n], want[row * ldc..][..n], "row {row} of {m}x{k}x{n}");
            times[row].fetch_add(1, Ordering::Relaxed);
            c[..n].iter_mut().for_each(|x| *x = T::ZERO - *x);
        }
    };
    let mut ended = [numbers::<T>(m * ldc, 4), numbers::<T>(m * ldc, 4)];
    for (b, c) in [Right::Plain(b), Right::Packed(&pack)].into_iter().zip(&mut ended) {
        product((m, n, k), a, b, c, ldc, &ep, Some(&negate)).unwrap();
    }
    assert!(times.iter().all(|t| t.load(Ordering::Relaxed) == 2), "{m}x{k}x{n}");
    for ended in ended {
        for (ended, want) in ended.chunks(ldc).zip(want.chunks(ldc)) {
            assert!(ended[..n].iter().zip(want).all(|(&e, &w)| e == T::ZERO - w), "{m}x{k}x{n}");
            assert_eq!(ended[n..], want[n..], "between the rows of {m}x{k}x{n}");
        }
    }
}

#[test]
fn an_operation_follows_the_product() {
    use crate::elementwise::{SmoothOp, UnaryOp, with_slope};
    for size in [(1, 70, 40), (3, 33, 100), (150, 170, 300), (40, 200, 1100), (700, 20, 90)] {
        let (m, n, k) = size;
        let (a, b) = (numbers::<f32>(m * k, 1), numbers::<f32>(k * n, 2));
        let (a, b) = (Mat::row_major(&a, k), Mat::row_major(&b, k).t());
        let bias = numbers::<f32>(n, 3);
        let ep = Epilogue { bias: Some(&bias), ..Epilogue::default() };
        let mut want = vec![0.0; m * n];
        gemm(m, n, k, a, b, &mut want, n, &ep).unwrap();
        let pack = PackedB::new(m, k, n, b).unwrap();
        for b in [Right::Plain(b), Right::Packed(&pack)] {
            let (mut slope, mut silu, mut only) = (want.clone(), want.clone(), want.clone());
            slope.fill(9.0);
            silu.fill(9.0);
            let then = RowOp::WithSlope(SmoothOp::Silu, &mut silu[..]);
            gemm_act(size, a, b, &mut slope, &ep, then).unwrap();
            let (mut x, mut y) = (want.clone(), want.clone());
            with_slope(SmoothOp::Silu, &mut x, &mut y);
            assert!(slope == x && silu == y, "{m}x{k}x{n}");
            gemm_act(size, a, b, &mut only, &ep, RowOp::Replace(UnaryOp::Square)).unwrap();
            assert!(only.iter().zip(&want).all(|(s, w)| *s == w * w), "{m}x{k}x{n}");
            gemm_act(size, a, b, &mut only, &ep, RowOp::Replace(UnaryOp::Relu)).unwrap();
            assert!(only.iter().zip(&want).all(|(r, w)| *r == w.max(0.0)), "{m}x{k}x{n} relu");
        }
    }
}

#[test]
fn sizes_around_the_tile_edges_in_every_layout() {
    let sizes = [1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 16, 17, 24, 25, 31, 32, 33, 40];
    for (x, &m) in sizes.iter().enumerate() {
        for (y, &n) in sizes.iter().enumerate() {
            for (z, &k) in [0, 1, 2, 7, 8, 16, 33].iter().enumerate() {
                let layout = (x + y * 3 + z * 5) % 8;
                product_case::<f32>((m, n, k), layout, (x * 7 + y * 3 + z) % 16);
                product_case::<f64>((m, n, k), (layout + 3) % 8, (x + y * 5 + z * 3) % 16);
            }
        }
    }
}

#[test]
fn large_products_in_every_layout() {
    for layout in 0..8 {
        product_case::<f32>((131, 203, 801), layout, layout + 7);
        product_case::<f64>((131, 203, 501), layout, layout);
        product_case::<f32>((2, 300, 500), layout, layout);
        product_case::<f32>((300, 3, 500), layout, layout + 1);
        product_case::<f32>((1, 301, 600), layout, layout + 2);
        product_case::<f64>((301, 1, 600), layout, layout + 3);
    }
    // Rows a page apart are packed; of the shared operand only a part at a time.
    for layout in 0..8 {
        product_case::<f32>((130, 200, 1024), layout, layout + 1);
        product_case::<f32>((200, 130, 1024), layout, layout + 3);
        product_case::<f64>((110, 60, 1536), layout, layout + 5);
    }
    product_case::<f32>((4100, 40, 9), 0, 5);
    product_case::<f32>((40, 4100, 9), 2, 7);
}

#[test]
fn long_sums_are_cut_in_parts() {
    use super::long::parts;
    assert_eq!([parts(16, 16, 8192), parts(64, 64, 8192), parts(16, 16, 100_000)], [16, 16, 32]);
    // Enough tiles, too short, too little work.
    assert_eq!([parts(10, 784, 4096), parts(64, 64, 2048), parts(4, 4, 1024)], [1, 1, 1]);
    for layout in 0..8 {
        for flags in [0, 7, 10, 13] {
            product_case::<f32>((16, 16, 4100), layout, flags);
            product_case::<f32>((5, 33, 3001), layout, flags + 2);
            product_case::<f64>((64, 64, 8192), layout, flags);
        }
    }
}

#[test]
fn empty_products() {
    let a = Mat { data: &[] as &[f32], row_stride: 0, col_stride: 1 };
    let ep = Epilogue::default();
    gemm(0, 4, 0, a, a, &mut [], 4, &ep).unwrap();
    let b = [1.0f32; 8];
    gemm(0, 4, 2, a, Mat::row_major(&b, 4), &mut [], 4, &ep).unwrap();
    let mut c = [7.0; 6];
    gemm(2, 3, 0, a, a, &mut c, 3, &ep).unwrap();
    assert_eq!(c, [0.0; 6]);
    let bias = [1.0, -2.0, 3.0];
    let ep = Epilogue { bias: Some(&bias), activation: Activation::Relu, ..ep };
    gemm(2, 3, 0, a, a, &mut c, 3, &ep).unwrap();
    assert_eq!(c, [1.0, 0.0, 3.0, 1.0, 0.0, 3.0]);
    gemm_batched(0, 2, 3, 0, a, 0, a, 0, &mut [], 6, 3, &ep).unwrap();
}

#[test]
fn relu_keeps_nan() {
    for (m, n) in [(1, 3), (3, 1), (5, 5), (20, 40)] {
        let (a, b) = (vec![f32::NAN; m * 2], vec![1.0; 2 * n]);
        let mut c = vec![0.0; m * n];
        let ep = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
        gemm(m, n, 2, Mat::row_major(&a, 2), Mat::row_major(&b, n), &mut c, n, &ep).unwrap();
        assert!(c.iter().all(|x| x.is_nan()), "{m}x{n}");
    }
}

#[test]
fn infinite_and_nan_values_stay_in_their_rows_and_columns() {
    let (m, n, k) = (70, 90, 200);
    let data = |len: usize| -> Vec<f32> { (0..len).map(|i| (i as f32).sin()).collect() };
    let (mut a, mut b) = (data(m * k), data(k * n));
    (a[3 * k + 7], a[40 * k + 150], a[41 * k]) = (f32::INFINITY, f32::NAN, -f32::INFINITY);
    // A NaN whose upper half is that of an infinity, and what only half of the bits would round to one.
    (b[9 * n + 33], b[60 * n + 80]) = (f32::from_bits(0x7F80_0001), f32::MAX);
    (b[7 * n + 5], b[11 * n + 6]) = (0.0, -f32::INFINITY);
    let mut c = vec![0.0; m * n];
    let (left, right) = (Mat::row_major(&a, k), Mat::row_major(&b, n));
    gemm(m, n, k, left, right, &mut c, n, &Epilogue::default()).unwrap();
    let mut some = [0; 3];
    for (at, &got) in c.iter().enumerate() {
        let terms = (0..k).map(|p| a[at / n * k + p] * b[p * n + at % n]);
        let (want, size) = (terms.clone().sum::<f32>(), terms.map(f32::abs).sum::<f32>());
        some[if want.is_nan() { 2 } else { usize::from(want.is_infinite()) }] += 1;
        let same = got == want || (got.is_nan() && want.is_nan());
        assert!(same || (got - want).abs() <= 1e-6 * size, "({}, {}): {got}", at / n, at % n);
    }
    assert!(some.iter().all(|&count| count > 50), "{some:?}");
}

/// Root of the mean square of the errors of a tile's sums, as a share of their terms' sizes.
fn error(kernel: &Kernel<f32>, k: usize, value: impl Fn(usize) -> f32) -> f64 {
    let (m, n) = (kernel.mr, kernel.nr);
    let a: Vec<f32> = (0..m * k).map(&value).collect();
    let b: Vec<f32> = (m * k..(m + n) * k).map(&value).collect();
    let mut pa = vec![0.0; kernel.packed_len(Side::A, m, k)];
    let mut pb = vec![0.0; kernel.packed_len(Side::B, n, k)];
    let mut c = vec![0.0; m * n];
    // SAFETY: all slices have the lengths that their sizes ask for.
    unsafe {
        kernel.pack(Side::A, pa.as_mut_ptr(), a.as_ptr(), [k, 1], m, k);
        kernel.pack(Side::B, pb.as_mut_ptr(), b.as_ptr(), [1, n], n, k);
        kernel.run(&kernel.tile(k, pa.as_ptr(), pb.as_ptr(), c.as_mut_ptr(), n));
    }
    let square = |at: usize| {
        let terms = (0..k).map(|p| f64::from(a[at / n * k + p]) * f64::from(b[p * n + at % n]));
        let (want, size) = (terms.clone().sum::<f64>(), terms.map(f64::abs).sum::<f64>());
        ((f64::from(c[at]) - want) / size).powi(2)
    };
    ((0..m * n).map(square).sum::<f64>() / (m * n) as f64).sqrt()
}

#[test]
fn sums_of_split_values_are_more_exact_than_plain_ones() {
    let Some(split) = f32::split_kernel() else { return };
    // 24 bits between -1 and 1.
    let noise = |i: usize| {
        let hash = (i as u32 + 1).wrapping_mul(0x9E37_79B1);
        let hash = (hash ^ hash >> 15).wrapping_mul(0x85EB_CA77);
        ((hash ^ hash >> 13) >> 7) as f32 / 16_777_216.0 - 1.0
    };
    for k in [64, 512] {
        let mixed = |i: usize| noise(i) * 10_f32.powf(6.0 * noise(3 * i + 1));
        let values: [&dyn Fn(usize) -> f32; 3] = [&noise, &|i| noise(i).abs(), &mixed];
        for (which, value) in values.into_iter().enumerate() {
            let (got, plain) = (error(split, k, value), error(Kernel::best(), k, value));
            assert!(got < plain, "{which}, sums of {k}: {got:e}, plain {plain:e}");
            assert!(got < 3e-7, "{which}, sums of {k}: {got:e}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for (m, n, k) in [
        (150, 170, 1100),
        (1, 900, 700),
        (900, 1, 700),
        (3, 700, 900),
        (700, 20, 90),
        (16, 16, 8192),
        (30, 33, 5000),
    ] {
        let data = |len: usize| -> Vec<f32> { (0..len).map(|i| (i as f32).sin()).collect() };
        let (a, b) = (data(m * k), data(k * n));
        let (a, b) = (Mat::row_major(&a, k), Mat::row_major(&b, k).t());
        let product = || {
            let mut c = vec![0.0; m * n];
            gemm(m, n, k, a, b, &mut c, n, &Epilogue::default()).unwrap();
            c
        };
        let team = product();
        // Inside a region there is one thread only.
        crate::threads::parallel_for(2, |_| assert_eq!(product(), team, "{m}x{k}x{n}"));
    }
}

#[test]
fn batches_with_and_without_broadcast() {
    for (batch, m, n, k) in [(1, 3, 4, 5), (3, 7, 9, 11), (40, 16, 33, 8), (2, 70, 50, 60)] {
        for layout in 0..8 {
            let shared_a = layout & 1 != 0;
            let shared_b = layout & 2 != 0;
            let a = numbers::<f32>(batch * m * k, 1);
            let b = numbers::<f32>(batch * k * n, 2);
            let (a_step, b_step) =
                (if shared_a { 0 } else { m * k }, if shared_b { 0 } else { k * n });
            let c_step = m * n + if layout & 4 != 0 { 5 } else { 0 };
            let mut c = vec![1.0; batch * c_step];
            let row_bias = numbers::<f32>(m, 3);
            let row_bias = (layout == 2 || layout == 5).then_some(&row_bias[..]);
            let ep = Epilogue { row_bias, ..Epilogue::default() };
            let (am, bm) = (Mat::row_major(&a, k), Mat::row_major(&b, k).t());
            gemm_batched(batch, m, n, k, am, a_step, bm, b_step, &mut c, c_step, n, &ep).unwrap();
            for i in 0..batch {
                let am = Mat::row_major(&a[i * a_step..], k);
                let bm = Mat::row_major(&b[i * b_step..], k).t();
                let mut want = vec![1.0; c_step];
                naive((m, n, k), am, bm, &mut want, n, &ep);
                assert_eq!(c[i * c_step..][..c_step], want, "{batch}x{m}x{k}x{n} item {i}");
            }
        }
    }
}

#[test]
fn an_operation_makes_the_left_matrix() {
    use crate::elementwise::BinaryOp;
    let small = [(1, 70, 40), (3, 33, 100), (9, 11, 5), (150, 170, 300), (40, 200, 1100)];
    for size in small.into_iter().chain([(700, 20, 90), (300, 400, 2100), (16, 16, 8192)]) {
        let (m, n, k) = size;
        let (x, y) = (numbers::<f32>(m * k, 1), numbers::<f32>(m * k, 5));
        let (b, old) = (numbers::<f32>(k * n, 2), numbers::<f32>(m * n, 4));
        let b = Mat::row_major(&b, n);
        let ep = Epilogue { accumulate: true, ..Epilogue::default() };
        let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        let mut want = old.clone();
        gemm(m, n, k, Mat::row_major(&sums, k), b, &mut want, n, &ep).unwrap();
        let pack = PackedB::new(m, k, n, b).unwrap();
        for b in [Right::Plain(b), Right::Packed(&pack)] {
            let (mut a, mut c) = (vec![9.0; m * k], old.clone());
            let of = Of { op: BinaryOp::Add, operands: [&x, &y] };
            gemm_of(size, of, &mut a, b, &mut c, &ep).unwrap();
            assert!(a == sums && c == want, "{m}x{k}x{n}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn random_products(
        m in 1usize..90, n in 1usize..90, k in 0usize..130, layout in 0usize..8, flags in 0usize..16
    ) {
        product_case::<f32>((m, n, k), layout, flags);
        product_case::<f64>((m, n, k), layout, flags);
    }
}
