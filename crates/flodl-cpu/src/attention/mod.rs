//! Scaled dot-product attention, tiled: softmax(Q Kᵀ · scale + mask) V without the whole score
//! matrix (Dao et al., 2022; the online softmax is Milakov and Gimelshein's, 2018).
//!
//! Scores live in blocks of 128 queries by 256 keys, transposed: a row for each key. The
//! micro-kernel of [`crate::gemm`] then writes them from packed panels, the softmax runs down the
//! columns without any reduction across a vector, and the same block is an operand of the next
//! product as it lies. Only the output and the logarithm of each row's sum are kept; the gradient
//! computes the scores again.
//!
//! Each element is summed in an order that the sizes alone decide.

mod backward;
mod block;
mod forward;
#[cfg(test)]
mod tests;

pub use backward::backward;
pub use forward::forward;

use crate::element::Float;
use crate::random::{Key, bernoulli_mask};
use crate::threads;

/// Queries of one block of scores.
const QUERIES: usize = 128;
/// Keys of one block of scores: with [`QUERIES`] and heads of 64 all operands of a block stay in
/// the second-level cache.
const KEYS: usize = 256;
/// Queries that are handled side by side; a multiple of every kernel's tile.
const TILE: usize = 32;
/// Multiplications below which waking the team costs more than it saves.
const PARALLEL: usize = 1 << 18;

/// The sizes of a call and what it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Items of the batch.
    pub batch: usize,
    /// Heads of each item.
    pub heads: usize,
    /// Rows of Q and of the output.
    pub queries: usize,
    /// Rows of K and V.
    pub keys: usize,
    /// Elements of a row of Q and K.
    pub width: usize,
    /// Elements of a row of V and of the output.
    pub value_width: usize,
    /// Factor of the scores.
    pub scale: f64,
    /// Whether query i sees the keys up to i only.
    pub causal: bool,
    /// Probability that a weight is dropped, and where its draws come from; a call uses up
    /// [`Attention::draws`] of them.
    pub dropout: Option<(f64, Key)>,
}

impl Attention {
    /// Numbers that the dropout of one call draws.
    pub fn draws(&self) -> usize {
        self.batch * self.heads * self.queries.next_multiple_of(TILE) * self.keys
    }

    /// Multiplications of one of the products, over all heads.
    fn work(&self) -> usize {
        let scores = self.queries.saturating_mul(self.keys);
        (self.batch * self.heads).saturating_mul(scores).saturating_mul(self.width.max(8))
    }

    /// Draws of a tile: 1 where a weight of query `tile * TILE + j` and key `first + p` is kept,
    /// at `p * TILE + j`.
    fn keep(&self, p: f64, key: Key, head: usize, tile: usize, first: usize, out: &mut [u8]) {
        let tiles = self.queries.div_ceil(TILE);
        let at = ((head * tiles + tile) * self.keys + first) * TILE;
        bernoulli_mask(key.skip(at as u64), 1.0 - p, out);
    }

    /// The factors by which dropout multiplies the weights `[batch, heads, queries, keys]`: 0 or
    /// 1 / (1 - p). For a gradient made of plain operations.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn dropout_factors<T: Float>(&self, out: &mut [T]) {
        let (queries, keys) = (self.queries, self.keys);
        assert_eq!(out.len(), self.batch * self.heads * queries * keys, "length of the factors");
        let Some((p, key)) = self.dropout else { return out.fill(T::ONE) };
        let factor = kept(p);
        let mut row = [0; TILE];
        for head in 0..self.batch * self.heads {
            for tile in 0..queries.div_ceil(TILE) {
                for k in 0..keys {
                    self.keep(p, key, head, tile, k, &mut row);
                    let count = TILE.min(queries - tile * TILE);
                    for (j, &keep) in row[..count].iter().enumerate() {
                        let at = (head * queries + tile * TILE + j) * keys + k;
                        out[at] = if keep != 0 { T::from_f64(factor) } else { T::ZERO };
                    }
                }
            }
        }
    }
}

/// Factor of a kept weight.
fn kept(p: f64) -> f64 {
    if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 }
}

/// Rows of Q, K, V or of a gradient: the elements of a row are adjacent.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// The elements, from the first row on.
    pub data: &'a [T],
    /// From an item to the next, from a head to the next, from a row to the next.
    pub strides: [usize; 3],
}

impl<'a, T> Rows<'a, T> {
    /// Rows in the order (batch, row, head), as a projection to all heads gives them.
    pub fn heads_last(data: &'a [T], rows: usize, heads: usize, width: usize) -> Self {
        Self { data, strides: [rows * heads * width, width, heads * width] }
    }

    /// Whether all rows are there.
    fn holds(&self, g: &Attention, rows: usize, width: usize) -> bool {
        let sizes = [g.batch, g.heads, rows];
        if width == 0 || sizes.contains(&0) {
            return true;
        }
        let steps = sizes.iter().zip(&self.strides).try_fold(width - 1, |sum, (&n, &s)| {
            (n - 1).checked_mul(s).and_then(|step| step.checked_add(sum))
        });
        steps.is_some_and(|last| last < self.data.len())
    }

    /// The rows of one head.
    fn of_head(&self, g: &Attention, head: usize) -> HeadRows<'a, T> {
        let at = head / g.heads * self.strides[0] + head % g.heads * self.strides[1];
        HeadRows { data: &self.data[at.min(self.data.len())..], stride: self.strides[2] }
    }
}

/// The rows of one head, `stride` apart.
#[derive(Clone, Copy)]
struct HeadRows<'a, T> {
    data: &'a [T],
    stride: usize,
}

impl<'a, T> HeadRows<'a, T> {
    /// The elements from a row on.
    fn from(&self, row: usize) -> &'a [T] {
        &self.data[(row * self.stride).min(self.data.len())..]
    }
}

/// What is done to the scores before the softmax. Strides are those of (item, head, query, key),
/// 0 where one value serves all.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, T> {
    /// Nothing.
    None,
    /// Keys with a 0 are not seen.
    Keep(&'a [u8], [usize; 4]),
    /// The values are added.
    Add(&'a [T], [usize; 4]),
}

impl<T> Mask<'_, T> {
    fn check(&self, g: &Attention) {
        let (len, strides) = match self {
            Mask::None => return,
            Mask::Keep(data, strides) => (data.len(), strides),
            Mask::Add(data, strides) => (data.len(), strides),
        };
        let sizes = [g.batch, g.heads, g.queries, g.keys];
        if sizes.contains(&0) {
            return;
        }
        let last = sizes.iter().zip(strides).try_fold(0usize, |sum, (&n, &s)| {
            (n - 1).checked_mul(s).and_then(|step| step.checked_add(sum))
        });
        assert!(last.is_some_and(|last| last < len), "attention: the mask is too short");
    }
}

/// Where the gradients go.
pub enum Grads<'a, T> {
    /// dQ, dK, dV in the order (batch, row, head); those not wanted cost nothing.
    Each([Option<&'a mut [T]>; 3]),
    /// All three in one, as a joint projection to Q, K and V gives them: (batch, row, 3, head).
    /// Queries and keys are as many, and all rows as wide.
    Joint(&'a mut [T]),
}

/// Runs tasks on the team if the work is worth it; the first error of any.
fn region<E: Send>(
    parallel: bool,
    tasks: usize,
    f: impl Fn(usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if !parallel {
        return (0..tasks).try_for_each(f);
    }
    let failed = std::sync::Mutex::new(None);
    threads::parallel_for(tasks, |i| {
        if let Err(e) = f(i) {
            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(e);
        }
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

/// Cuts pieces off a task's scratch memory.
struct Pieces<'a, T>(&'a mut [T]);

impl<'a, T> Pieces<'a, T> {
    fn of(scratch: &'a mut [T]) -> Self {
        Pieces(scratch)
    }

    fn take(&mut self, len: usize) -> &'a mut [T] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        piece
    }
}
