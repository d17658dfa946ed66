//! The micro-kernel for the tile unit of Intel's AMX, where one instruction multiplies 16 rows of 32
//! numbers with 16 columns and adds them up: sixteen times what AVX-512 does.
//!
//! The unit takes numbers of 8 significant bits and sums in `f32`. Each operand comes as the sum of
//! three such numbers ([`super::split`]); of the nine products of these parts the six large ones are
//! added up, which leaves out less than 2⁻²³ of each product. Henry, Tang and Heinecke describe the
//! scheme in "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//! Computations" (2019). The sums are more exact than with AVX-512: 32 products are added up before
//! they meet a long sum, which so is rounded less often (see the test). Where a sum is infinite or NaN,
//! all sums of its tile are computed from the whole values instead. Parts, products and sums below
//! 2⁻¹²⁶ are 0.

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::kernel::{Form, Gemm, Kernel, LINE, Tile};
use super::split::{self, BLOCK, HALF, PART, STEPS, WIDTH};
use crate::simd::{self, Isa};

pub(super) static F32_AMX: Kernel<f32> =
    Kernel { isa: Isa::Avx512, mr: WIDTH, nr: WIDTH, form: Form::Split, run };

/// Lines of the cache that a block along k fetches ahead: what makes the tiles along a block of
/// eight panels fetch the next panel (bench: `gemm_bench`).
const AHEAD: usize = 12;

/// Lines of the cache that a tile of so many steps fetches ahead.
pub(super) fn lines_ahead(k: usize) -> usize {
    k.div_ceil(STEPS) * AHEAD
}

/// The sums of a tile, row by row.
type Sums = [[f32; WIDTH]; WIDTH];

#[repr(C, align(64))]
struct Lines<T>(T);

/// Computes a tile.
///
/// # Safety
/// As for [`Kernel::run`], with packed panels, where the system lets this process use the unit.
unsafe fn run(t: &Tile<f32>) {
    // SAFETY: the caller's promise.
    unsafe { Unit::start().run(t) };
}

/// Whether there is a unit. Without one, tests compute its sums with AVX-512, so that panels for it are
/// tested on more CPUs.
#[cfg(test)]
static THERE: std::sync::LazyLock<bool> = std::sync::LazyLock::new(simd::amx_supported);

/// The unit, ready on this thread until this is dropped.
pub(super) struct Unit(PhantomData<*const ()>);

impl Unit {
    /// Makes the unit ready, which takes as long as a small tile.
    ///
    /// # Safety
    /// The system lets this process use the unit. This thread has no other one.
    #[inline]
    pub unsafe fn start() -> Self {
        #[cfg(test)]
        if !*THERE {
            return Unit(PhantomData);
        }
        // SAFETY: the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) SHAPES.0.as_ptr(), options(nostack, readonly)) };
        Unit(PhantomData)
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// As for [`Kernel::run`], with packed panels.
    #[inline]
    pub unsafe fn run(&self, t: &Tile<f32>) {
        for i in 0..t.rows {
            simd::prefetch(t.c.wrapping_add(i * t.ldc), WIDTH);
        }
        let mut sums = Lines(MaybeUninit::<Sums>::uninit());
        // SAFETY: the caller's promise; a CPU with the unit has AVX-512.
        unsafe {
            #[cfg(test)]
            if !*THERE {
                sums.0.write([[0.0; WIDTH]; WIDTH]);
                from_whole_values(t, sums.0.as_mut_ptr().cast());
                return finish(t, sums.0.as_mut_ptr().cast());
            }
            multiply(t, sums.0.as_mut_ptr().cast());
            finish(t, sums.0.as_mut_ptr().cast());
        }
    }
}

impl Drop for Unit {
    #[inline]
    fn drop(&mut self) {
        #[cfg(test)]
        if !*THERE {
            return;
        }
        // SAFETY: the CPU has the instruction. Without it the system saves the unit's state whenever
        // the thread is not running.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// What the tile registers hold: eight tiles of 16 rows of 64 bytes.
static SHAPES: Lines<[u8; 64]> = {
    let mut shapes = [0; 64];
    shapes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        shapes[16 + 2 * tile] = LINE as u8;
        shapes[48 + tile] = HALF as u8;
        tile += 1;
    }
    Lines(shapes)
};

/// Loads a tile of one part of A or B: `$at` bytes from its pointer.
macro_rules! load {
    (a0 $at:literal) => {
        concat!("tileloadd tmm4, [{a} + {line} + ", $at, "]\n")
    };
    (a1 $at:literal) => {
        concat!("tileloadd tmm5, [{a} + {line} + 1024 + ", $at, "]\n")
    };
    (b0 $at:literal) => {
        concat!("tileloadd tmm6, [{b} + {line} + ", $at, "]\n")
    };
    (b1 $at:literal) => {
        concat!("tileloadd tmm7, [{b} + {line} + 1024 + ", $at, "]\n")
    };
}

/// For each tile of C its name, the register, the tiles of A and B, and where it is among the sums.
macro_rules! add {
    (c00) => {
        "tdpbf16ps tmm0, tmm4, tmm6\n"
    };
    (c01) => {
        "tdpbf16ps tmm1, tmm4, tmm7\n"
    };
    (c10) => {
        "tdpbf16ps tmm2, tmm5, tmm6\n"
    };
    (c11) => {
        "tdpbf16ps tmm3, tmm5, tmm7\n"
    };
}

/// All products of a tile: what clears the sums, the products of a block along k, and what writes the
/// sums.
macro_rules! products {
    ($t:expr, $to:expr, [$($clear:literal)*], [$($block:expr,)*], [$($write:literal)*]) => {
        asm!(
            $($clear,)*
            "test {blocks}, {blocks}",
            "jz 3f",
            "2:",
            $($block,)*
            "add {a}, {block}",
            "add {b}, {block}",
            "add {ahead}, {fetched}",
            "dec {blocks}",
            "jnz 2b",
            "3:",
            $($write,)*
            a = inout(reg) $t.a => _,
            b = inout(reg) $t.b => _,
            ahead = inout(reg) $t.ahead.from => _,
            blocks = inout(reg) $t.k.div_ceil(STEPS) => _,
            to = in(reg) $to,
            line = in(reg) LINE,
            row = in(reg) WIDTH * size_of::<f32>(),
            block = const BLOCK * size_of::<f32>(),
            fetched = const AHEAD * LINE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}
const _: () = assert!(PART * size_of::<f32>() == 2048 && AHEAD == 12 && LINE == 64);

/// Writes the sums.
///
/// # Safety
/// As for [`run`]; `to` is writable for [`Sums`].
unsafe fn multiply(t: &Tile<f32>, to: *mut f32) {
    // SAFETY: the panels have all blocks of the tiles that these rows and columns lie in, in the order
    // that the offsets say. What a fetch names may be anywhere.
    unsafe {
        match (t.rows > HALF, t.cols > HALF) {
            // Every tile is loaded as soon as its register is free, between products that have theirs.
            (true, true) => products!(
                t, to,
                ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
                [
                    load!(b0 0), load!(a0 4096), add!(c00), load!(b1 0), add!(c01),
                    load!(a1 4096), add!(c10), load!(a0 2048), add!(c11),
                    "prefetcht1 [{ahead}]", "prefetcht1 [{ahead} + 64]", "prefetcht1 [{ahead} + 512]",
                    add!(c00), add!(c01), load!(a1 2048), add!(c10), load!(b0 2048), add!(c11),
                    "prefetcht1 [{ahead} + 128]", "prefetcht1 [{ahead} + 192]", "prefetcht1 [{ahead} + 576]",
                    add!(c00), load!(b1 2048), add!(c10), add!(c01), load!(a0 0), add!(c11),
                    "prefetcht1 [{ahead} + 256]", "prefetcht1 [{ahead} + 320]", "prefetcht1 [{ahead} + 640]",
                    add!(c00), add!(c01), load!(a1 0), add!(c10), load!(b0 4096), add!(c11),
                    "prefetcht1 [{ahead} + 384]", "prefetcht1 [{ahead} + 448]", "prefetcht1 [{ahead} + 704]",
                    add!(c00), load!(b1 4096), add!(c10), add!(c01), load!(b0 0), add!(c11),
                    add!(c00), load!(b1 0), add!(c10), add!(c01), add!(c11),
                ],
                [
                    "tilestored [{to} + {row}], tmm0"
                    "tilestored [{to} + {row} + 64], tmm1"
                    "tilestored [{to} + {row} + 2048], tmm2"
                    "tilestored [{to} + {row} + 2112], tmm3"
                ]
            ),
            (true, false) => products!(
                t, to,
                ["tilezero tmm0" "tilezero tmm2"],
                [
                    load!(b0 0), load!(a0 4096), add!(c00), load!(a1 4096), add!(c10),
                    load!(a0 2048), add!(c00), load!(a1 2048), add!(c10),
                    load!(b0 2048), add!(c00), add!(c10),
                    load!(a0 0), add!(c00), load!(a1 0), add!(c10),
                    load!(b0 4096), add!(c00), add!(c10),
                    load!(b0 0), add!(c00), add!(c10),
                ],
                ["tilestored [{to} + {row}], tmm0" "tilestored [{to} + {row} + 2048], tmm2"]
            ),
            (false, true) => products!(
                t, to,
                ["tilezero tmm0" "tilezero tmm1"],
                [
                    load!(a0 4096), load!(b0 0), add!(c00), load!(b1 0), add!(c01),
                    load!(a0 2048), add!(c00), add!(c01),
                    load!(b0 2048), add!(c00), load!(b1 2048), add!(c01),
                    load!(a0 0), add!(c00), add!(c01),
                    load!(b0 4096), add!(c00), load!(b1 4096), add!(c01),
                    load!(b0 0), add!(c00), load!(b1 0), add!(c01),
                ],
                ["tilestored [{to} + {row}], tmm0" "tilestored [{to} + {row} + 64], tmm1"]
            ),
            (false, false) => products!(
                t,
                to,
                ["tilezero tmm0"],
                [
                    load!(b0 0),
                    load!(a0 4096),
                    add!(c00),
                    load!(a0 2048),
                    add!(c00),
                    load!(b0 2048),
                    add!(c00),
                    load!(a0 0),
                    add!(c00),
                    load!(b0 4096),
                    add!(c00),
                    load!(b0 0),
                    add!(c00),
                ],
                ["tilestored [{to} + {row}], tmm0"]
            ),
        }
    }
}

/// Writes the tile of C.
///
/// # Safety
/// As for [`run`]; `sums` points to [`Sums`] whose rows and columns in the tile are there.
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn finish(t: &Tile<f32>, sums: *mut f32) {
    let halves = t.cols.div_ceil(HALF);
    let masks: [__mmask16; 2] = std::array::from_fn(|half| {
        ((1_u64 << t.cols.saturating_sub(half * HALF).min(HALF)) - 1) as _
    });
    let alpha = _mm512_set1_ps(t.alpha);
    // SAFETY: the caller's promise; masks cut what is not in the tile.
    unsafe {
        let mut bias = [_mm512_setzero_ps(); 2];
        if !t.col_bias.is_null() {
            for half in 0..halves {
                bias[half] = _mm512_maskz_loadu_ps(masks[half], t.col_bias.add(half * HALF));
            }
        }
        let mut whole = false;
        for i in 0..t.rows {
            let row = sums.add(i * WIDTH);
            let bounded = |half: usize| {
                split::unbounded(_mm512_maskz_loadu_ps(masks[half], row.add(half * HALF))) == 0
            };
            if !whole && !(0..halves).all(bounded) {
                from_whole_values(t, sums);
                whole = true;
            }
            for half in 0..halves {
                let (mask, c) = (masks[half], t.c.add(i * t.ldc + half * HALF));
                let mut x = _mm512_mul_ps(_mm512_loadu_ps(row.add(half * HALF)), alpha);
                if !t.row_bias.is_null() {
                    x = _mm512_add_ps(x, _mm512_set1_ps(*t.row_bias.add(i)));
                }
                if !t.col_bias.is_null() {
                    x = _mm512_add_ps(x, bias[half]);
                }
                if t.accumulate {
                    x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, c));
                }
                if t.relu {
                    // The second operand is the result when one is NaN.
                    x = _mm512_max_ps(_mm512_setzero_ps(), x);
                }
                _mm512_mask_storeu_ps(c, mask, x);
            }
        }
    }
}

/// The sums with AVX-512, as infinite and NaN values need it: of the parts of such a value some would
/// be multiplied by 0.
///
/// # Safety
/// As for [`finish`], with room for all sums.
#[cold]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) unsafe fn from_whole_values(t: &Tile<f32>, sums: *mut f32) {
    use super::kernel::Side::{A, B};
    let kernel = f32::kernel(Isa::Avx512);
    for block in 0..t.k.div_ceil(STEPS) {
        // SAFETY: the panels have these blocks, with the tiles that the rows and columns lie in; the
        // sums are the caller's.
        unsafe {
            let a = split::joined(A, t.a.add(block * BLOCK), t.rows);
            let b = split::joined(B, t.b.add(block * BLOCK), t.cols);
            for i in (0..t.rows).step_by(kernel.mr) {
                let (a, b) = (a.as_flattened().as_ptr(), b.as_flattened().as_ptr());
                let c = sums.add(i * WIDTH);
                let mut tile = kernel.tile(STEPS, a.add(i * WIDTH), b, c, WIDTH);
                (tile.a_row, tile.a_step, tile.b_step) = (WIDTH, 1, WIDTH);
                (tile.rows, tile.cols) = (kernel.mr.min(t.rows - i), WIDTH);
                tile.accumulate = block > 0;
                kernel.run(&tile);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::kernel::Side;

    #[test]
    fn sums_of_whole_values_need_no_tile_unit() {
        if simd::supported() < Isa::Avx512 {
            return;
        }
        for (rows, cols, k) in [(32, 32, 70), (17, 9, 32), (5, 32, 1)] {
            let a: Vec<f32> = (0..rows * k).map(|i| (i % 29) as f32 - 14.0).collect();
            let mut b: Vec<f32> = (0..cols * k).map(|i| (i % 23) as f32 / 8.0).collect();
            b[0] = f32::INFINITY;
            let mut pa = vec![0.0; split::packed_len(rows, k)];
            let mut pb = vec![0.0; split::packed_len(cols, k)];
            let mut c = vec![0.0; rows * cols];
            let mut sums = [[0.0; WIDTH]; WIDTH];
            let mut tile = F32_AMX.tile(k, pa.as_ptr(), pb.as_ptr(), c.as_mut_ptr(), cols);
            (tile.rows, tile.cols) = (rows, cols);
            // SAFETY: AVX-512 is there; the slices have the lengths that the sizes ask for.
            unsafe {
                split::pack(Side::A, pa.as_mut_ptr(), a.as_ptr(), [k, 1], rows, k);
                split::pack(Side::B, pb.as_mut_ptr(), b.as_ptr(), [k, 1], cols, k);
                from_whole_values(&tile, sums.as_flattened_mut().as_mut_ptr());
            }
            for (i, j) in (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))) {
                let want: f32 = (0..k).map(|p| a[i * k + p] * b[j * k + p]).sum();
                let got = sums[i][j];
                assert!(
                    got == want || got.is_nan() && want.is_nan(),
                    "({i}, {j}): {got}, not {want}"
                );
            }
        }
    }
}
