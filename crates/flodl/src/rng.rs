//! Random numbers: one counter-based generator, one seed for everything.
//!
//! A draw takes the next stretch of a per-thread counter; element `i` of it depends only on the
//! seed and the counter, so the same seed gives the same numbers whatever the number of threads.

use std::cell::Cell;

use flodl_cpu::random::Key;

thread_local! {
    static STATE: Cell<Option<Key>> = const { Cell::new(None) };
}

/// Seeds every random number of this thread: initialisation, dropout, sampling, shuffling.
///
/// ```
/// use flodl::*;
/// manual_seed(7);
/// let a = Tensor::randn(&[3], TensorOptions::default())?.to_f32_vec()?;
/// manual_seed(7);
/// assert_eq!(a, Tensor::randn(&[3], TensorOptions::default())?.to_f32_vec()?);
/// # Ok::<(), Error>(())
/// ```
pub fn manual_seed(seed: u64) {
    STATE.set(Some(Key { seed, offset: 0 }));
}

/// The state of this thread's generator, to save with a checkpoint.
pub fn rng_state() -> (u64, u64) {
    let key = current();
    (key.seed, key.offset)
}

/// Restores a state saved by [`rng_state`].
pub fn set_rng_state((seed, offset): (u64, u64)) {
    STATE.set(Some(Key { seed, offset }));
}

fn current() -> Key {
    STATE.get().unwrap_or_else(|| {
        let key = Key { seed: entropy(), offset: 0 };
        STATE.set(Some(key));
        key
    })
}

/// The next `n` numbers of this thread's generator.
pub(crate) fn draw(n: usize) -> Key {
    let key = current();
    STATE.set(Some(key.skip(n as u64)));
    key
}

/// A seed that nobody chose.
fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A small generator of its own for user code: shuffling, sampling, augmentation.
///
/// ```
/// let mut a = flodl::Rng::seed(1);
/// let mut b = flodl::Rng::seed(1);
/// assert_eq!(a.usize(100), b.usize(100));
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    key: Key,
    buffer: [u32; 4],
    left: usize,
}

impl Rng {
    /// A generator whose numbers depend on the seed alone.
    pub fn seed(seed: u64) -> Self {
        Rng { key: Key { seed, offset: 0 }, buffer: [0; 4], left: 0 }
    }

    /// A generator seeded by the system.
    pub fn from_entropy() -> Self {
        Self::seed(entropy())
    }

    /// All that its next numbers depend on.
    pub(crate) fn words(&self) -> [u64; 5] {
        let [a, b, c, d] = self.buffer.map(u64::from);
        [self.key.seed, self.key.offset, a | b << 32, c | d << 32, self.left as u64]
    }

    /// The generator of [`Rng::words`]; none when they are not.
    pub(crate) fn from_words([seed, offset, ab, cd, left]: [u64; 5]) -> Option<Self> {
        let buffer = [ab as u32, (ab >> 32) as u32, cd as u32, (cd >> 32) as u32];
        (left <= 4).then_some(Rng { key: Key { seed, offset }, buffer, left: left as usize })
    }

    fn u32(&mut self) -> u32 {
        if self.left == 0 {
            let (s, o) = (self.key.seed, self.key.offset);
            let counter = [o as u32, (o >> 32) as u32, 0, 1];
            self.buffer = flodl_cpu::random::philox(counter, [s as u32, (s >> 32) as u32]);
            self.key = Key { seed: s, offset: o.wrapping_add(1) };
            self.left = 4;
        }
        self.left -= 1;
        self.buffer[self.left]
    }

    fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// A whole number in `0..n`, every one equally likely; 0 when `n` is 0.
    pub fn usize(&mut self, n: usize) -> usize {
        // Lemire's method: the high word of a product, rejecting the few biased draws.
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let reject = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.u64()) * u128::from(n);
            if product as u64 >= reject {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number in `[0, 1)`.
    pub fn f32(&mut self) -> f32 {
        (self.u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// A number in `[0, 1)`.
    pub fn f64(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the elements of a slice in random order.
    pub fn shuffle<T>(&mut self, slice: &mut [T]) {
        for i in (1..slice.len()).rev() {
            slice.swap(i, self.usize(i + 1));
        }
    }

    /// True with probability `p`.
    pub fn bernoulli(&mut self, p: f64) -> bool {
        self.f64() < p
    }

    /// A whole number in `low..high`; `low` when that is empty.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        low.wrapping_add(self.usize(high.saturating_sub(low).max(0) as usize) as i64)
    }

    /// A normally distributed number.
    pub fn normal(&mut self, mean: f64, std: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.f64()).ln()).sqrt();
        mean + std * radius * (std::f64::consts::TAU * self.f64()).cos()
    }
}

/// A seed for a generator of its own, drawn from this thread's.
pub(crate) fn draw_seed() -> u64 {
    let key = draw(1);
    let counter = [key.offset as u32, (key.offset >> 32) as u32, 0, 2];
    let words = flodl_cpu::random::philox(counter, [key.seed as u32, (key.seed >> 32) as u32]);
    u64::from(words[0]) << 32 | u64::from(words[1])
}
