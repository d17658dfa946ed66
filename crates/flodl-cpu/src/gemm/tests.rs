use super::kernel::{Gemm, Kernel};
use super::pack::{pack, packed_len};
use crate::simd::Isa;

/// Small integers over 8, so that f32 sums of a few hundred products are exact in any order.
fn numbers<T: Gemm>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64((((i * 7919 + seed * 104729) % 31) as f64 - 15.0) / 8.0)).collect()
}

fn kernel_case<T: Gemm>(kernel: &Kernel<T>, rows: usize, cols: usize, k: usize, flags: usize) {
    let (mr, nr) = (kernel.mr, kernel.nr);
    let (a, b) = (numbers::<T>(rows * k, 1), numbers::<T>(k * cols, 2));
    let mut pa = vec![T::from_f64(99.0); packed_len(mr, rows, k)];
    let mut pb = vec![T::from_f64(99.0); packed_len(nr, cols, k)];
    pack(kernel.isa, mr, &mut pa, &a, k, 1, rows, k);
    pack(kernel.isa, nr, &mut pb, &b, 1, cols, cols, k);
    let (row_bias, col_bias) = (numbers::<T>(rows, 3), numbers::<T>(cols, 4));
    let ldc = cols + 3;
    let start = numbers::<T>(rows * ldc, 5);
    for direct in [false, true] {
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
