//! Random numbers from a counter: Philox 4x32-10.
//!
//! Element `i` of every call depends only on the key's seed and `offset + i`, so the same numbers
//! come whatever the number of threads, and a gradient can draw its forward's mask again instead
//! of saving it.

use std::ops::Range;

use crate::element::Float;
use crate::simd_fn;
use crate::threads::{GRAIN, SharedMut, parallel_ranges};

/// Where in the endless sequence of a seed a call draws. A call of `n` elements uses up
/// `offset .. offset + n`; calls are fastest when `offset` is a multiple of [`ALIGN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Chooses the sequence.
    pub seed: u64,
    /// Number of the first element.
    pub offset: u64,
}

impl Key {
    /// The key `n` elements further on.
    #[must_use]
    pub fn skip(self, n: u64) -> Self {
        Self { offset: self.offset.wrapping_add(n), ..self }
    }
}

/// Elements that one step of the vectorised generator makes.
pub const ALIGN: usize = 64;

const LANES: usize = 16;

/// Families of draws never share a counter, whatever their offsets.
#[derive(Clone, Copy)]
enum Family {
    Word32 = 0,
    Word64 = 1,
    Normal = 2,
    Retry = 3,
}

/// One Philox 4x32-10 block.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let a = u64::from(c0) * 0xD251_1F53;
        let b = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) =
            ((b >> 32) as u32 ^ c1 ^ k0, b as u32, (a >> 32) as u32 ^ c3 ^ k1, a as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// The 64 words of group `group`: word `16 w + j` is word `w` of block `16 group + j`.
#[inline(always)]
fn words(seed: u64, family: Family, group: u64) -> [u32; ALIGN] {
    let mut out = [[0u32; LANES]; 4];
    let key = [seed as u32, (seed >> 32) as u32];
    let (low, high) = ((group << 4) as u32, (group >> 28) as u32);
    #[allow(clippy::needless_range_loop)]
    for j in 0..LANES {
        // A group starts at a multiple of 16, so the low word does not carry.
        let w = philox([low + j as u32, high, family as u32, (group >> 60) as u32], key);
        out[0][j] = w[0];
        out[1][j] = w[1];
        out[2][j] = w[2];
        out[3][j] = w[3];
    }
    let mut flat = [0; ALIGN];
    for (f, o) in flat.chunks_exact_mut(LANES).zip(&out) {
        f.copy_from_slice(o);
    }
    flat
}

/// The groups of `per` elements that cover elements `start .. start + len`, each with the number
/// of its first wanted element and the range of the call that it covers.
struct Groups {
    start: u64,
    len: usize,
    per: usize,
    done: usize,
}

impl Groups {
    #[inline(always)]
    fn new(start: u64, len: usize, per: usize) -> Self {
        Self { start, len, per, done: 0 }
    }
}

impl Iterator for Groups {
    type Item = (u64, usize, Range<usize>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done == self.len {
            return None;
        }
        let e = self.start.wrapping_add(self.done as u64);
        let first = (e % self.per as u64) as usize;
        let from = self.done;
        self.done += (self.per - first).min(self.len - from);
        Some((e / self.per as u64, first, from..self.done))
    }
}

/// Zero-sized stand-ins for the input of a kernel that has none.
static NOTHING: [(); usize::MAX] = [(); usize::MAX];

/// Runs the body for each group of `$n` elements that covers a part of the call's; incomplete
/// groups go through temporaries, so that the body always has all. (A macro and not a function
/// with a closure: a closure that is not inlined loses the instruction set of its caller.)
macro_rules! map_groups {
    ($n:literal, $start:expr, $xs:expr, $outs:expr, |$group:ident, $x:ident, $out:ident| $body:block) => {
        let (xs, outs) = ($xs, $outs);
        let mut temp_x = [Default::default(); $n];
        let mut temp = [Default::default(); $n];
        for ($group, first, range) in Groups::new($start, outs.len(), $n) {
            let n = range.len();
            let part = &mut outs[range.clone()];
            let $x = if n == $n {
                xs[range].try_into().unwrap_or(&temp_x)
            } else {
                temp_x[first..first + n].copy_from_slice(&xs[range]);
                &temp_x
            };
            let $out: &mut [_; $n] = if n == $n {
                (&mut *part).try_into().unwrap_or(&mut temp)
            } else {
                &mut temp
            };
            $body
            if n != $n {
                part.copy_from_slice(&temp[first..first + n]);
            }
        }
    };
}

/// Runs `f(key of the range, range of out)` over ranges of `out` in parallel.
fn ranges<T: Send>(key: Key, out: &mut [T], f: impl Fn(Key, Range<usize>, &mut [T]) + Sync) {
    let shared = SharedMut::new(out);
    parallel_ranges(shared.len(), GRAIN / 2, |r| {
        // SAFETY: the ranges of one region are disjoint.
        let part = unsafe { shared.range(r.clone()) };
        f(key.skip(r.start as u64), r, part);
    });
}

/// The 64-bit words of a group: words 0 and 1 of its blocks, then words 2 and 3.
#[inline(always)]
fn join(w: &[u32; ALIGN], i: usize) -> u64 {
    let at = if i < LANES { i } else { i + LANES };
    u64::from(w[at]) << 32 | u64::from(w[at + LANES])
}

simd_fn! {
    fn uniform_range<A, (T: Float)>(key: Key, out: &'x mut [T]) {
        if size_of::<T>() == 4 {
            map_groups!(64, key.offset, &NOTHING, out, |group, _x, out| {
                let w = words(key.seed, Family::Word32, group);
                for (o, w) in out.iter_mut().zip(w) {
                    *o = T::from_f64(f64::from(w >> 8) * (1.0 / 16_777_216.0));
                }
            });
        } else {
            map_groups!(32, key.offset, &NOTHING, out, |group, _x, out| {
                let w = words(key.seed, Family::Word64, group);
                for (i, o) in out.iter_mut().enumerate() {
                    *o = T::from_f64((join(&w, i) >> 11) as f64 * 2f64.powi(-53));
                }
            });
        }
    }
}

/// Uniform numbers in [0, 1): multiples of 2^-24 for f32, of 2^-53 for f64.
pub fn uniform<T: Float>(key: Key, out: &mut [T]) {
    ranges(key, out, |key, _, out| uniform_range(key, out));
}

/// Natural logarithm of a positive normal number, to 1e-7 relative or 1e-7 absolute near 1.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // The mantissa is brought to [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2_f32;
    for c in [
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_7e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        0.333_333_3,
    ] {
        p = p * m + c;
    }
    m * z * p - 0.5 * z + m + e * std::f32::consts::LN_2
}

/// Two independent normal numbers from two words (Box and Muller).
#[inline(always)]
fn box_muller(a: u32, b: u32) -> (f32, f32) {
    let u = (a as f32 + 1.0) * (1.0 / 4_294_967_296.0);
    let r = (-2.0 * ln(u).min(0.0)).sqrt();
    // Two bits choose the quarter of the circle, the rest the angle in -pi/4 .. pi/4.
    let t = ((b << 2) as i32 as f32) * (std::f32::consts::FRAC_PI_4 / 2_147_483_648.0);
    let z = t * t;
    let s = t + t * z * (-0.166_666_55 + z * (8.332_161e-3 - z * 1.951_529_6e-4));
    let c = 1.0 - 0.5 * z + z * z * (4.166_664_6e-2 + z * (-1.388_731_6e-3 + z * 2.443_315_7e-5));
    let (x, y) = if b >> 31 == 0 { (c, s) } else { (-s, c) };
    let r = if b >> 30 & 1 == 0 { r } else { -r };
    (r * x, r * y)
}

simd_fn! {
    fn normal_range<A, (T: Float)>(key: Key, mean: T, std: T, out: &'x mut [T]) {
        if size_of::<T>() == 4 {
            map_groups!(64, key.offset, &NOTHING, out, |group, _x, out| {
                let w = words(key.seed, Family::Normal, group);
                for half in 0..2 {
                    let base = half * 2 * LANES;
                    for j in base..base + LANES {
                        let (x, y) = box_muller(w[j], w[j + LANES]);
                        out[j] = T::from_f64(f64::from(x)).mul_add_::<A>(std, mean);
                        out[j + LANES] = T::from_f64(f64::from(y)).mul_add_::<A>(std, mean);
                    }
                }
            });
        } else {
            map_groups!(32, key.offset, &NOTHING, out, |group, _x, out| {
                let w = words(key.seed, Family::Normal, group);
                for i in 0..LANES {
                    let u = ((join(&w, i) >> 11) as f64 + 1.0) * 2f64.powi(-53);
                    let t = (join(&w, i + LANES) >> 11) as f64 * 2f64.powi(-53);
                    let r = (-2.0 * u.ln()).sqrt();
                    let (s, c) = (std::f64::consts::TAU * t).sin_cos();
                    out[i] = T::from_f64(r * c).mul_add_::<A>(std, mean);
                    out[i + LANES] = T::from_f64(r * s).mul_add_::<A>(std, mean);
                }
            });
        }
    }
}

/// Normal numbers of the given mean and standard deviation.
pub fn normal<T: Float>(key: Key, mean: T, std: T, out: &mut [T]) {
    ranges(key, out, |key, _, out| normal_range(key, mean, std, out));
}

/// The words below the result make the share `p` of all; `p` strictly between 0 and 1.
fn threshold(p: f64) -> u32 {
    (p * 4_294_967_296.0).round().clamp(1.0, 4_294_967_295.0) as u32
}

simd_fn! {
    fn bernoulli_range<A>(key: Key, threshold: u32, out: &'x mut [u8]) {
        map_groups!(64, key.offset, &NOTHING, out, |group, _x, out| {
            let w = words(key.seed, Family::Word32, group);
            for (o, w) in out.iter_mut().zip(w) {
                *o = u8::from(w < threshold);
            }
        });
    }
}

/// 1 with probability `p`, else 0.
pub fn bernoulli_mask(key: Key, p: f64, out: &mut [u8]) {
    if p > 0.0 && p < 1.0 {
        let t = threshold(p);
        ranges(key, out, |key, _, out| bernoulli_range(key, t, out));
    } else {
        out.fill(u8::from(p >= 1.0));
    }
}

/// `out[i]` is 1 with probability `p[i]`, else 0.
pub fn bernoulli<T: Float>(key: Key, p: &[T], out: &mut [T]) {
    assert_eq!(p.len(), out.len());
    uniform(key, out);
    for (o, &p) in out.iter_mut().zip(p) {
        *o = if *o < p { T::ONE } else { T::ZERO };
    }
}

/// What becomes of an element: kept with probability `1 - p` it is `x * mul + add`, else `dropped`.
#[derive(Clone, Copy, Debug)]
pub struct Drop<T> {
    /// Probability that an element is dropped.
    pub p: f64,
    /// Factor of a kept element.
    pub mul: T,
    /// Added to a kept element.
    pub add: T,
    /// Value of a dropped element.
    pub dropped: T,
}

impl<T: Float> Drop<T> {
    /// Plain dropout: kept elements are scaled by `1 / (1 - p)`, dropped ones are 0. Its gradient
    /// is the same call, with the same key, on the gradient.
    pub fn plain(p: f64) -> Self {
        let mul = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        Self { p, mul: T::from_f64(mul), add: T::ZERO, dropped: T::ZERO }
    }

    #[inline(always)]
    fn keep(&self, x: T) -> T {
        x * self.mul + self.add
    }
}

simd_fn! {
    fn dropout_range<A, (T: Float)>(key: Key, d: Drop<T>, t: u32, x: &'x [T], y: &'x mut [T]) {
        map_groups!(64, key.offset, x, y, |group, x, y| {
            let w = words(key.seed, Family::Word32, group);
            for ((y, &x), w) in y.iter_mut().zip(x).zip(w) {
                let kept = d.keep(x);
                *y = if w < t { d.dropped } else { kept };
            }
        });
    }
}

simd_fn! {
    fn keep_range<A>(key: Key, t: u32, mask: &'x mut [u8]) {
        map_groups!(64, key.offset, &NOTHING, mask, |group, _x, mask| {
            let w = words(key.seed, Family::Word32, group);
            for (m, w) in mask.iter_mut().zip(w) {
                *m = u8::from(w >= t);
            }
        });
    }
}

/// Dropout of `x` into `y` in one pass. `mask`, if wanted, gets 1 where an element was kept.
///
/// The mask depends on the key and `p` alone, so the gradient may draw it again: `dropout(key,
/// Drop { add: 0, dropped: 0, ..d }, dy, dx, None)`.
pub fn dropout<T: Float>(key: Key, d: Drop<T>, x: &[T], y: &mut [T], mask: Option<&mut [u8]>) {
    assert_eq!(x.len(), y.len());
    if !(d.p > 0.0 && d.p < 1.0) {
        let keep = d.p <= 0.0;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = if keep { d.keep(x) } else { d.dropped };
        }
        if let Some(mask) = mask {
            mask.fill(u8::from(keep));
        }
        return;
    }
    let t = threshold(d.p);
    match mask {
        None => ranges(key, y, |key, r, y| dropout_range(key, d, t, &x[r], y)),
        Some(mask) => {
            assert_eq!(x.len(), mask.len());
            let mask = SharedMut::new(mask);
            ranges(key, y, |key, r, y| {
                // SAFETY: the ranges of one region are disjoint.
                let mask = unsafe { mask.range(r.clone()) };
                dropout_range(key, d, t, &x[r], y);
                keep_range(key, t, mask);
            });
        }
    }
}

/// Dropout of whole planes of `plane` neighbouring elements: plane `i` is dropped or kept as
/// element `i` of [`dropout`] would be. The gradient is the same call on the gradient.
pub fn dropout_planes<T: Float>(key: Key, d: Drop<T>, plane: usize, x: &[T], y: &mut [T]) {
    assert!(x.len() == y.len() && plane > 0 && x.len().is_multiple_of(plane));
    let t = if d.p > 0.0 && d.p < 1.0 { threshold(d.p) } else { 0 };
    let shared = SharedMut::new(y);
    crate::threads::parallel_rows(x.len() / plane, plane, |rows| {
        let (from, to) = (rows.start * plane, rows.end * plane);
        // SAFETY: the rows of one region are disjoint.
        let y = unsafe { shared.range(from..to) };
        let parts = y.chunks_exact_mut(plane).zip(x[from..to].chunks_exact(plane));
        for (row, (y, x)) in rows.zip(parts) {
            if d.p >= 1.0 || word(key.skip(row as u64)) < t {
                y.fill(d.dropped);
            } else {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = d.keep(x);
                }
            }
        }
    });
}

/// The 32-bit word of the key's first element.
fn word(key: Key) -> u32 {
    let (group, r) = (key.offset / ALIGN as u64, (key.offset % ALIGN as u64) as usize);
    let low = ((group << 4) as u32).wrapping_add((r % LANES) as u32);
    let counter = [low, (group >> 28) as u32, Family::Word32 as u32, (group >> 60) as u32];
    philox(counter, [key.seed as u32, (key.seed >> 32) as u32])[r / LANES]
}

/// An unbiased number below `bound` for element `element`, whose first word is `word` (Lemire).
/// A rejected word is replaced from a sequence of the element's own.
#[inline(always)]
fn below(seed: u64, element: u64, mut word: u64, bound: u64) -> u64 {
    let mut attempt = 0u32;
    loop {
        let product = u128::from(word) * u128::from(bound);
        let low = product as u64;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 64) as u64;
        }
        let counter =
            [element as u32, (element >> 32) as u32, Family::Retry as u32 | attempt << 2, 0];
        let w = philox(counter, [seed as u32, (seed >> 32) as u32]);
        word = u64::from(w[0]) << 32 | u64::from(w[1]);
        attempt += 1;
    }
}

/// Uniform integers in `low .. high`, without bias.
///
/// # Panics
/// If `low >= high` and `out` is not empty.
pub fn randint(key: Key, low: i64, high: i64, out: &mut [i64]) {
    assert!(low < high || out.is_empty(), "empty range");
    let bound = high.wrapping_sub(low) as u64;
    ranges(key, out, |key, _, out| {
        for (group, first, range) in Groups::new(key.offset, out.len(), 32) {
            let w = words(key.seed, Family::Word64, group);
            for (i, o) in out[range].iter_mut().enumerate() {
                let element = group * 32 + (first + i) as u64;
                let n = below(key.seed, element, join(&w, first + i), bound);
                *o = low.wrapping_add(n as i64);
            }
        }
    });
}

/// A random order of `0 .. out.len()` (Fisher and Yates).
pub fn randperm(key: Key, out: &mut [i64]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = i as i64;
    }
    let len = out.len();
    for (group, first, range) in Groups::new(key.offset, len, 32) {
        let w = words(key.seed, Family::Word64, group);
        for (i, at) in range.enumerate() {
            let element = group * 32 + (first + i) as u64;
            let j = below(key.seed, element, join(&w, first + i), (len - at) as u64);
            out.swap(at, at + j as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { seed: 0x1234_5678_9abc_def0, offset: 0 };

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    /// Element `i` from offset `o` is element 0 from offset `o + i`, across ranges and threads.
    fn check_position<T: Copy + PartialEq + std::fmt::Debug + Default>(
        draw: impl Fn(Key, &mut [T]),
    ) {
        let mut all = vec![T::default(); 100_003];
        draw(KEY.skip(7), &mut all);
        for i in [0, 1, 15, 16, 56, 57, 58, 64, 1000, 50_000, 99_999, 100_002] {
            let mut one = [T::default(); 3];
            draw(KEY.skip(7 + i as u64), &mut one);
            let n = (all.len() - i).min(3);
            assert_eq!(one[..n], all[i..i + n], "element {i}");
        }
    }

    #[test]
    fn numbers_depend_on_position_alone() {
        check_position::<f32>(uniform);
        check_position::<f64>(uniform);
        check_position::<f32>(|k, o| normal(k, 0.0, 1.0, o));
        check_position::<f64>(|k, o| normal(k, 0.0, 1.0, o));
        check_position::<u8>(|k, o| bernoulli_mask(k, 0.3, o));
        check_position::<i64>(|k, o| randint(k, -5, 1000, o));
        check_position::<i64>(|k, o| randint(k, i64::MIN / 2 - 9, i64::MAX, o));
        check_position::<u32>(|k, o| {
            o.iter_mut().enumerate().for_each(|(i, o)| *o = word(k.skip(i as u64)))
        });
    }

    fn moments(x: &[f64]) -> [f64; 4] {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let m = |k: i32| x.iter().map(|x| (x - mean).powi(k)).sum::<f64>() / n;
        [mean, m(2), m(3), m(4)]
    }

    fn close(got: [f64; 4], want: [f64; 4], tol: f64) {
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < tol, "{got:?} for {want:?}");
        }
    }

    #[test]
    fn distributions_have_their_moments() {
        let n = 400_000;
        let (mut a, mut b) = (vec![0f32; n], vec![0f64; n]);
        uniform(KEY, &mut a);
        uniform(KEY, &mut b);
        let wide = |a: &[f32]| a.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        assert!(a.iter().all(|&x| (0.0..1.0).contains(&x)));
        close(moments(&wide(&a)), [0.5, 1.0 / 12.0, 0.0, 1.0 / 80.0], 2e-3);
        close(moments(&b), [0.5, 1.0 / 12.0, 0.0, 1.0 / 80.0], 2e-3);
        normal(KEY, 0.0, 1.0, &mut a);
        normal(KEY, 0.0, 1.0, &mut b);
        close(moments(&wide(&a)), [0.0, 1.0, 0.0, 3.0], 3e-2);
        close(moments(&b), [0.0, 1.0, 0.0, 3.0], 3e-2);
        for lag in [1, 16, 32, 64] {
            let c: f32 = a.iter().zip(&a[lag..]).map(|(x, y)| x * y).sum::<f32>() / n as f32;
            assert!(c.abs() < 8e-3, "lag {lag}: {c}");
        }
        // The share within one and two standard deviations.
        for (k, want) in [(1.0, 0.682_689), (2.0, 0.954_5), (3.0, 0.997_3)] {
            let share = a.iter().filter(|x| x.abs() < k).count() as f64 / n as f64;
            assert!((share - want).abs() < 3e-3, "{share} within {k}");
        }
    }

    #[test]
    fn box_muller_is_accurate() {
        for i in 0..20_000u32 {
            let [a, b, ..] = philox([i, 0, 0, 0], [1, 2]);
            let a = if i % 3 == 0 { a >> (i % 31) } else { a };
            let (x, y) = box_muller(a, b);
            let r = (-2.0 * ((f64::from(a) + 1.0) / 2f64.powi(32)).ln()).sqrt();
            let r2 = (f64::from(x).powi(2) + f64::from(y).powi(2)).sqrt();
            // Close to r = 0 the word's rounding to f32 shows.
            assert!((r - r2).abs() < 4e-7 * r + 5e-8 / r.max(1e-4), "{r} {r2}");
        }
        for (x, want) in [(1.0, 0.0), (0.25, -1.386_294_4), (1e-9, -20.723_266_f32)] {
            assert!((ln(x) - want).abs() < 2e-6);
        }
    }

    #[test]
    fn dropout_keeps_the_share_and_repeats() {
        let x: Vec<f32> = (0..100_001).map(|i| 1.0 + i as f32).collect();
        let mut y = vec![0.0; x.len()];
        let mut mask = vec![9; x.len()];
        let d = Drop::plain(0.25);
        dropout(KEY.skip(3), d, &x, &mut y, Some(&mut mask));
        let mut again = vec![0.0; x.len()];
        dropout(KEY.skip(3), d, &x, &mut again, None);
        assert_eq!(y, again);
        let kept = mask.iter().filter(|&&m| m == 1).count() as f64 / x.len() as f64;
        assert!((kept - 0.75).abs() < 5e-3);
        for ((&x, &y), &m) in x.iter().zip(&y).zip(&mask) {
            assert_eq!(y, if m == 1 { x * d.mul } else { 0.0 });
        }
        dropout(KEY, Drop::plain(1.0), &[f32::INFINITY, 2.0], &mut y[..2], Some(&mut mask[..2]));
        assert_eq!((&y[..2], &mask[..2]), (&[0.0, 0.0][..], &[0, 0][..]));
        dropout(KEY, Drop::plain(0.0), &[3.0, 2.0], &mut y[..2], Some(&mut mask[..2]));
        assert_eq!((&y[..2], &mask[..2]), (&[3.0, 2.0][..], &[1, 1][..]));
        let alpha = Drop { p: 0.5, mul: 2.0f64, add: 1.0, dropped: -7.0 };
        let mut z = [0.0; 200];
        dropout(KEY, alpha, &[1.5; 200], &mut z, None);
        assert!(z.contains(&4.0) && z.contains(&-7.0) && z.iter().all(|z| [4.0, -7.0].contains(z)));
    }

    #[test]
    fn planes_go_as_their_element_would() {
        let mut mask = vec![0; 1000];
        dropout(KEY, Drop::plain(0.4), &[1.0f32; 1000], &mut [0.0; 1000], Some(&mut mask));
        let mut y = vec![0.0f32; 100_000];
        dropout_planes(KEY, Drop::plain(0.4), 100, &vec![3.0; 100_000], &mut y);
        for (plane, &m) in y.chunks(100).zip(&mask) {
            assert!(plane.iter().all(|&v| (v != 0.0) == (m == 1)));
        }
    }

    #[test]
    fn integers_are_in_range_and_even() {
        let mut out = vec![0; 60_000];
        randint(KEY, -2, 4, &mut out);
        for v in -2..4 {
            let n = out.iter().filter(|&&o| o == v).count();
            assert!((n as f64 - 10_000.0).abs() < 400.0, "{v}: {n}");
        }
        randint(KEY, i64::MIN, i64::MAX, &mut out);
        assert!(out.iter().any(|&o| o < 0) && out.iter().any(|&o| o > i64::MAX / 2));
        let mut p = vec![0; 1001];
        randperm(KEY, &mut p);
        let mut q = p.clone();
        q.sort_unstable();
        assert!(q.iter().enumerate().all(|(i, &v)| v == i as i64));
        assert!(p.iter().enumerate().filter(|&(i, &v)| v == i as i64).count() < 10);
        let mut seen = [0; 6];
        for i in 0..6000 {
            let mut p = [0; 3];
            randperm(KEY.skip(3 * i), &mut p);
            seen[(p[0] * 2 + i64::from(p[1] > p[2])) as usize] += 1;
        }
        assert!(seen.iter().all(|&n: &i32| (n - 1000).abs() < 150), "{seen:?}");
    }
}
