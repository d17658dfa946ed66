//! Convolution of any rank up to three, with stride, padding, dilation and groups, and its
//! gradients, which are transposed convolution and its gradients too.
//!
//! Everything but the gradient by weight is a set of passes (`plan`), computed as a matrix product
//! with patches packed on the way (`implicit`), place by place for small images (`positions`), from
//! the products of all pixels with all taps where outputs have few channels (`narrow`) or, where
//! sums are short, row by row (`direct`).

mod direct;
mod fold;
mod implicit;
mod narrow;
mod plan;
mod positions;
#[cfg(test)]
mod tests;
mod weight;
mod winograd;

pub use fold::{FoldGeom, fold, unfold};
pub use winograd::{WINOGRAD_ENV, set_winograd, winograd};

use crate::alloc::{OutOfMemory, Scratch};
use crate::element::Float;
use crate::gemm::Gemm;
use crate::threads::{self, SharedMut};
use plan::{Pass, size};

/// Sizes of a convolution; lower ranks have leading sizes of 1.
///
/// x is `[batch, c_in, input...]`, w `[c_out, c_in / groups, kernel...]` and y
/// `[batch, c_out, output...]`, all contiguous. For a transposed convolution "input" is what it
/// produces and "output" what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeom {
    /// Number of images.
    pub batch: usize,
    /// Parts of the channels that do not see each other; divides both channel counts.
    pub groups: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of y.
    pub c_out: usize,
    /// Spatial sizes of x.
    pub input: [usize; 3],
    /// Spatial sizes of y.
    pub output: [usize; 3],
    /// Sizes of the kernel, at least 1.
    pub kernel: [usize; 3],
    /// Steps between the places of adjacent outputs, at least 1.
    pub stride: [usize; 3],
    /// Zeros before the first value of each axis (and as many after the last as are read).
    pub padding: [usize; 3],
    /// Distances between adjacent taps, at least 1.
    pub dilation: [usize; 3],
}

/// Number of window positions along a dim, or `None` if the window does not fit once.
pub fn conv_output_size(
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let span = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let room = input.checked_add(padding.checked_mul(2)?)?.checked_sub(span)?;
    Some(room.checked_div(stride)? + 1)
}

impl ConvGeom {
    /// Number of values of x.
    pub fn x_len(&self) -> usize {
        self.batch * self.c_in * size(self.input)
    }

    /// Number of values of y.
    pub fn y_len(&self) -> usize {
        self.batch * self.c_out * size(self.output)
    }

    /// Number of weights.
    pub fn w_len(&self) -> usize {
        self.c_out * (self.c_in / self.groups.max(1)) * size(self.kernel)
    }

    fn check<T>(&self, x: &[T], w: &[T], y: &[T]) {
        assert!(
            self.groups > 0
                && self.c_in.is_multiple_of(self.groups)
                && self.c_out.is_multiple_of(self.groups),
            "conv: groups do not divide the channels"
        );
        let positive = |sizes: [usize; 3]| sizes.iter().all(|&s| s > 0);
        assert!(
            positive(self.kernel) && positive(self.stride) && positive(self.dilation),
            "conv: kernel, stride and dilation are at least 1"
        );
        assert!(x.len() == self.x_len(), "conv: x has the wrong length");
        assert!(w.len() == self.w_len(), "conv: w has the wrong length");
        assert!(y.len() == self.y_len(), "conv: y has the wrong length");
    }
}

/// `y = conv(x, w) + bias`: every output is the sum of a patch of x times the weight.
///
/// `bias` has a value for each channel of y.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for scratch; y is then incomplete.
///
/// # Panics
/// If a slice does not have its length, or the geometry is not one.
pub fn conv_forward<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x, w, y);
    assert!(bias.is_none_or(|b| b.len() == g.c_out), "conv: the bias has the wrong length");
    if y.is_empty() {
        return Ok(());
    }
    passes(&[Pass::forward(g, x, w, bias)], y)
}

/// The gradient by data: writes all of `dx`, plus `bias` where given, with a value for each
/// channel of x. That is the forward pass of a transposed convolution.
///
/// # Errors
/// As [`conv_forward`].
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_data<T: Gemm>(
    g: &ConvGeom,
    dy: &[T],
    w: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(dx, w, dy);
    assert!(bias.is_none_or(|b| b.len() == g.c_in), "conv: the bias has the wrong length");
    if dx.is_empty() {
        return Ok(());
    }
    passes(&Pass::backward(g, dy, w, bias), dx)
}

/// Computes passes, which write disjoint parts of `dst`, in the way that suits them.
fn passes<T: Gemm>(all: &[Pass<T>], dst: &mut [T]) -> Result<(), OutOfMemory> {
    if let Some(forms) =
        all.iter().map(|pass| winograd::suits(pass, false)).collect::<Option<Vec<_>>>()
    {
        let mut rest = all;
        for forms in forms.chunk_by(PartialEq::eq) {
            let (alike, others) = rest.split_at(forms.len());
            winograd::run(alike, forms[0], dst)?;
            rest = others;
        }
        return Ok(());
    }
    let work = all.iter().map(Pass::work).sum();
    if all.iter().all(|pass| direct::suits(pass, work)) {
        direct::run(all, dst)
    } else if narrow::suits(all) {
        narrow::run(all, dst)
    } else if positions::suits(all) {
        positions::run(all, dst)
    } else {
        implicit::run(all, dst)
    }
}

/// The gradient by weight: writes all of `dw`. For a transposed convolution x and dy swap roles.
///
/// The order of the sums depends on the sizes alone.
///
/// # Errors
/// As [`conv_forward`].
///
/// # Panics
/// As [`conv_forward`].
pub fn conv_backward_weight<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<(), OutOfMemory> {
    g.check(x, dw, dy);
    if dw.is_empty() {
        return Ok(());
    }
    if dy.is_empty() {
        dw.fill(T::ZERO);
        return Ok(());
    }
    let pass = Pass::forward(g, x, &[], None);
    if let Some(form) = winograd::suits(&pass, true) {
        return winograd::weight(&pass, form, dy, dw);
    }
    if direct::weight_suits(&pass) {
        direct::weight(&pass, dy, dw)
    } else {
        weight::run(&pass, dy, dw)
    }
}

/// The gradient of the bias: `db[c]` is the sum of `dy[n, c, s]` over n and s, for dy `[N, C, S]`.
///
/// Images are summed in parts that depend on the sizes alone.
///
/// # Errors
/// [`OutOfMemory`] if there is no room for partial sums.
///
/// # Panics
/// If a slice does not have the size that `dims` say.
pub fn channel_sums<T: Float>(dims: [usize; 3], dy: &[T], db: &mut [T]) -> Result<(), OutOfMemory> {
    let [batch, channels, spatial] = dims;
    assert_eq!(dy.len(), batch * channels * spatial, "channel_sums: dy has another size");
    assert_eq!(db.len(), channels, "channel_sums: db has another size");
    let images = SUM_GRAIN.div_ceil((channels * spatial).max(1)).min(batch.max(1));
    let parts = batch.div_ceil(images).clamp(1, SUM_PARTS);
    if parts == 1 {
        sum_images(0..batch, channels, spatial, dy, db);
        return Ok(());
    }
    let mut sums = Scratch::<T>::new(parts * channels)?;
    let shared = SharedMut::new(&mut sums);
    threads::parallel_for(parts, |part| {
        // SAFETY: each part has its own sums.
        let sums = unsafe { shared.range(part * channels..(part + 1) * channels) };
        let images = part * batch / parts..(part + 1) * batch / parts;
        sum_images(images, channels, spatial, dy, sums);
    });
    for (c, db) in db.iter_mut().enumerate() {
        let total: f64 = sums.iter().skip(c).step_by(channels).map(|v| v.to_f64()).sum();
        *db = T::from_f64(total);
    }
    Ok(())
}

/// Values that one part of [`channel_sums`] adds up at least.
const SUM_GRAIN: usize = 64 * 1024;
/// Most parts.
const SUM_PARTS: usize = 16;

crate::simd_fn! {
    /// Sums of the channels over some images. Planes are added up in f64, so that long sums stay
    /// exact.
    fn sum_images<A, (T: Float)>(
        images: std::ops::Range<usize>,
        channels: usize,
        spatial: usize,
        dy: &'x [T],
        db: &'x mut [T],
    ) {
        const LANES: usize = 64;
        for (c, db) in db.iter_mut().enumerate() {
            let mut sum = 0.0;
            for n in images.clone() {
                let plane = &dy[(n * channels + c) * spatial..][..spatial];
                for block in plane.chunks(8192) {
                    let mut lanes = [T::ZERO; LANES];
                    let mut chunks = block.chunks_exact(LANES);
                    for chunk in &mut chunks {
                        for (lane, &v) in lanes.iter_mut().zip(chunk) {
                            *lane += v;
                        }
                    }
                    let rest: T = chunks.remainder().iter().copied().sum();
                    if block.len() >= LANES {
                        sum += lanes.iter().map(|l| l.to_f64()).sum::<f64>();
                    }
                    sum += rest.to_f64();
                }
            }
            *db = T::from_f64(sum);
        }
    }
}
