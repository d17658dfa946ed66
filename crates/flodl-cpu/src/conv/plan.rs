//! The one form that every convolution takes, and the padded pieces of the image it reads.
//!
//! A forward pass, and each phase of a gradient by data, is a [`Pass`]: every output reads taps at
//! fixed distances from the place `o * stride - pad` of the source. A [`Slab`] is a zero-padded
//! copy of a piece of the source, with each axis split in its stride's residues, so that adjacent
//! outputs read adjacent values whatever the stride.

use super::ConvGeom;
use crate::gemm::Gemm;
use crate::simd::Arch;

/// One spatial axis of a pass: output `o`, tap `j` reads source `o * stride + j * step - pad`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Length of the source.
    pub src: usize,
    /// Number of outputs.
    pub out: usize,
    pub stride: usize,
    pub pad: isize,
    pub taps: usize,
    pub step: usize,
    /// Kernel index of tap 0, and from a tap to the next.
    pub k_first: usize,
    pub k_step: isize,
    /// Place of output 0 in the destination, and from an output to the next.
    pub dst_first: usize,
    pub dst_step: usize,
    /// Length of the destination.
    pub dst: usize,
}

impl Axis {
    fn forward(g: &ConvGeom, i: usize) -> Self {
        Self {
            src: g.input[i],
            out: g.output[i],
            stride: g.stride[i],
            pad: g.padding[i] as isize,
            taps: g.kernel[i],
            step: g.dilation[i],
            k_first: 0,
            k_step: 1,
            dst_first: 0,
            dst_step: 1,
            dst: g.output[i],
        }
    }

    /// Place of an output in the destination.
    pub fn place(&self, output: usize) -> usize {
        self.dst_first + output * self.dst_step
    }

    /// What the source has at a place of the padded axis, if it is not padding.
    #[inline(always)]
    pub fn source(&self, padded: usize) -> Option<usize> {
        padded.checked_add_signed(-self.pad).filter(|&at| at < self.src)
    }

    /// How far tap 0 of a phase lies behind this axis's, which has as much padding or more.
    fn shift(&self, phase: &Self) -> usize {
        self.pad.abs_diff(phase.pad)
    }

    /// The places of the input whose index plus padding is `phase` modulo the stride, as outputs
    /// of a pass over the gradient of the output; nothing if there are no such places.
    fn backward(g: &ConvGeom, i: usize, phase: usize) -> Option<Self> {
        let (s, p, d, kernel) = (g.stride[i], g.padding[i], g.dilation[i], g.kernel[i]);
        // Place `s t + phase - p` receives output `t - (k d - phase) / s` through each tap k
        // whose distance k d is `phase` modulo s.
        let first = p.saturating_sub(phase).div_ceil(s);
        let dst_first = s * first + phase - p;
        if dst_first >= g.input[i] {
            return None;
        }
        let common = gcd(s, d);
        let k_step = s / common;
        let taps = match (0..kernel.min(k_step)).find(|k| k * d % s == phase) {
            Some(k0) => (kernel - 1 - k0) / k_step + 1,
            None => 0,
        };
        let last = (0..kernel).rev().find(|k| k * d % s == phase).unwrap_or(0);
        let farthest = (last * d).saturating_sub(phase) / s;
        Some(Self {
            src: g.output[i],
            out: (g.input[i] - 1 - dst_first) / s + 1,
            stride: 1,
            pad: farthest as isize - first as isize,
            taps,
            step: d / common,
            k_first: last,
            k_step: -(k_step as isize),
            dst_first,
            dst_step: s,
            dst: g.input[i],
        })
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A convolution: `dst[n, g, m, o] = bias[g, m] + sum over c, taps of w * src[n, g, c, ...]`.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a, T> {
    pub batch: usize,
    pub groups: usize,
    pub src: &'a [T],
    /// Channels of a group in the source.
    pub src_ch: usize,
    /// Channels of a group in the destination.
    pub dst_ch: usize,
    pub axes: [Axis; 3],
    pub w: &'a [T],
    /// From a group, destination channel or source channel of the weight to the next.
    pub w_group: usize,
    pub w_row: usize,
    pub w_ch: usize,
    pub kernel: [usize; 3],
    /// One value per destination channel.
    pub bias: Option<&'a [T]>,
}

impl<'a, T: Gemm> Pass<'a, T> {
    /// The forward pass.
    pub fn forward(g: &ConvGeom, x: &'a [T], w: &'a [T], bias: Option<&'a [T]>) -> Self {
        let (src_ch, dst_ch, kernel) = (g.c_in / g.groups, g.c_out / g.groups, size(g.kernel));
        Self {
            batch: g.batch,
            groups: g.groups,
            src: x,
            src_ch,
            dst_ch,
            axes: [0, 1, 2].map(|i| Axis::forward(g, i)),
            w,
            w_group: dst_ch * src_ch * kernel,
            w_row: src_ch * kernel,
            w_ch: kernel,
            kernel: g.kernel,
            bias,
        }
    }

    /// The phases of the gradient by data, one for each residue of the strides.
    pub fn backward(g: &ConvGeom, dy: &'a [T], w: &'a [T], bias: Option<&'a [T]>) -> Vec<Self> {
        let (src_ch, dst_ch, kernel) = (g.c_out / g.groups, g.c_in / g.groups, size(g.kernel));
        let mut passes = Vec::new();
        for d in 0..g.stride[0] {
            for h in 0..g.stride[1] {
                for w_phase in 0..g.stride[2] {
                    let axis = |i: usize, phase| Axis::backward(g, i, phase);
                    let (Some(d), Some(h), Some(last)) = (axis(0, d), axis(1, h), axis(2, w_phase))
                    else {
                        continue;
                    };
                    passes.push(Self {
                        batch: g.batch,
                        groups: g.groups,
                        src: dy,
                        src_ch,
                        dst_ch,
                        axes: [d, h, last],
                        w,
                        w_group: dst_ch * src_ch * kernel,
                        w_row: kernel,
                        w_ch: dst_ch * kernel,
                        kernel: g.kernel,
                        bias,
                    });
                }
            }
        }
        passes
    }

    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.taps).product()
    }

    /// Length of the sum behind each output.
    pub fn k(&self) -> usize {
        self.src_ch * self.taps()
    }

    /// Outputs of a channel of an image.
    pub fn pixels(&self) -> usize {
        self.axes.iter().map(|a| a.out).product()
    }

    pub fn dst_plane(&self) -> usize {
        self.axes.iter().map(|a| a.dst).product()
    }

    pub fn src_plane(&self) -> usize {
        self.axes.iter().map(|a| a.src).product()
    }

    /// The number in the source of the plane behind depth `depth` of image `n`, if it is not padding:
    /// `plane` counts the channels of a group and the taps along the depth of each.
    pub fn source_plane(
        &self,
        group: usize,
        plane: usize,
        n: usize,
        depth: usize,
    ) -> Option<usize> {
        let d = &self.axes[0];
        let (channel, tap) = (plane / d.taps, plane % d.taps);
        let channel = (n * self.groups + group) * self.src_ch + channel;
        Some(channel * d.src + d.source(depth * d.stride + tap * d.step)?)
    }

    /// Whether the outputs of a channel lie one after the other.
    pub fn dense(&self) -> bool {
        self.axes.iter().all(|a| a.out == a.dst)
    }

    /// Whether the outputs of two phases alternate in each row.
    pub fn pairs_with(&self, next: &Self) -> bool {
        let same = |i: usize| self.axes[i].dst_first == next.axes[i].dst_first;
        let [a, b] = [self, next].map(|pass| pass.axes[2].dst_first);
        same(0) && same(1) && self.axes[2].dst_step == 2 && a < 2 && b == 1 - a
    }

    /// Multiplications in all.
    pub fn work(&self) -> usize {
        let outputs = self.batch * self.groups * self.dst_ch * self.pixels();
        outputs.saturating_mul(self.k().max(1))
    }

    /// Place of tap `t` (in the order d, h, w) in the kernel.
    pub fn kernel_index(&self, t: usize) -> usize {
        let [_, h, w] = self.axes;
        let places = [t / (h.taps * w.taps), t / w.taps % h.taps, t % w.taps];
        let at = |i: usize| {
            (self.axes[i].k_first as isize + places[i] as isize * self.axes[i].k_step) as usize
        };
        (at(0) * self.kernel[1] + at(1)) * self.kernel[2] + at(2)
    }

    /// The axis along which images are cut in bands: outputs of a band are adjacent.
    pub fn band_axis(&self) -> usize {
        self.axes.iter().position(|a| a.out > 1).unwrap_or(2)
    }
}

/// Product of sizes.
pub(super) fn size(sizes: [usize; 3]) -> usize {
    sizes.iter().product()
}

/// A padded piece of the source: `band` outputs of each axis, from an origin that may differ. The
/// phases of a gradient by data can share one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slab {
    /// Those of a phase, with the padding of the one that has most.
    axes: [Axis; 3],
    /// Residues of the stride that some tap falls on.
    residues: [usize; 3],
    /// Slots of a residue along each axis.
    run: [usize; 3],
    /// Slots along each axis: a run for each residue.
    extent: [usize; 3],
}

impl Slab {
    pub fn new(axes: [Axis; 3], band: [usize; 3]) -> Self {
        Self::shared([(axes, band)].into_iter())
    }

    /// A slab for phases, which differ in padding, taps and band only.
    ///
    /// # Panics
    /// If there is no phase.
    pub fn shared(phases: impl Iterator<Item = ([Axis; 3], [usize; 3])> + Clone) -> Self {
        let (mut axes, _) = phases.clone().next().expect("a slab serves a phase");
        let (mut residues, mut run) = ([1; 3], [0; 3]);
        for i in 0..3 {
            let stride = axes[i].stride;
            axes[i].pad = phases.clone().map(|(a, _)| a[i].pad).max().unwrap_or(0);
            for (phase, band) in phases.clone() {
                let reach =
                    axes[i].shift(&phase[i]) + phase[i].taps.saturating_sub(1) * phase[i].step;
                residues[i] = residues[i].max(stride.min(reach + 1));
                run[i] = run[i].max(band[i] + reach / stride);
            }
        }
        let extent = [0, 1, 2].map(|i| run[i] * residues[i]);
        Self { axes, residues, run, extent }
    }

    /// Values of one channel.
    pub fn plane(&self) -> usize {
        size(self.extent)
    }

    /// Place of an output of the band; a tap of a phase adds its [`Slab::tap`].
    pub fn place(&self, [d, h, w]: [usize; 3]) -> usize {
        (d * self.extent[1] + h) * self.extent[2] + w
    }

    /// Distance of tap `t` (in the order d, h, w) of a phase from the place of its output.
    pub fn tap(&self, phase: &[Axis; 3], t: usize) -> usize {
        let [_, h, w] = phase;
        let taps = [t / (h.taps * w.taps), t / w.taps % h.taps, t % w.taps];
        self.place([0, 1, 2].map(|i| {
            let at = self.axes[i].shift(&phase[i]) + taps[i] * phase[i].step;
            at % self.axes[i].stride * self.run[i] + at / self.axes[i].stride
        }))
    }

    /// Copies one channel (`src`, at the start of the rest of its tensor) for the band that starts
    /// at the outputs `origin`.
    ///
    /// # Safety
    /// `dst` is writable for [`Slab::plane`] values and [`SPILL`] more, which may be overwritten.
    #[inline(always)]
    pub unsafe fn fill<A: Arch, T: Gemm>(&self, src: &[T], origin: [usize; 3], dst: *mut T) {
        // What each row takes from its line, found once where the stride has one residue.
        let span = (self.residues[2] == 1).then(|| self.span(origin[2], 0));
        let height = self.axes[1].src;
        let mut row = dst;
        // Loops, since a closure would be compiled without the vectors of the function around it.
        for residue in 0..self.residues[0] {
            for slot in 0..self.run[0] {
                let lines = self.line(0, origin[0] + slot, residue).map(|d| d * height);
                // SAFETY: the rows follow one another inside the plane.
                row = unsafe { self.fill_rows::<A, T>(src, lines, origin, span, row) };
            }
        }
    }

    /// Writes all rows of one depth, whose lines in the source begin with line `lines`, or zeros; gives
    /// the place after them.
    ///
    /// # Safety
    /// As for [`Self::fill`], for these rows.
    #[inline(always)]
    unsafe fn fill_rows<A: Arch, T: Gemm>(
        &self,
        src: &[T],
        lines: Option<usize>,
        origin: [usize; 3],
        span: Option<Span>,
        mut row: *mut T,
    ) -> *mut T {
        let (width, of_line) = (self.extent[2], self.axes[2].src);
        for residue in 0..self.residues[1] {
            for slot in 0..self.run[1] {
                // SAFETY: each row may spill over what comes after it, which is written later. The
                // spans lie inside a line.
                unsafe {
                    match (lines, self.line(1, origin[1] + slot, residue)) {
                        (Some(first), Some(h)) => {
                            let line = &src[(first + h) * of_line..];
                            self.fill_row::<A, T>(line, origin[2], span, row);
                        }
                        _ => zeros(row, width),
                    }
                    row = row.add(width);
                }
            }
        }
        row
    }

    /// The line of the source that a slot of a residue along an axis takes, if there is one.
    #[inline(always)]
    fn line(&self, axis: usize, slot: usize, residue: usize) -> Option<usize> {
        let a = &self.axes[axis];
        a.source(slot * a.stride + residue)
    }

    /// Writes the runs of a row, one for each residue of the last axis; with one of them, `span` is its.
    ///
    /// # Safety
    /// As for [`Self::fill_run`], for the whole row.
    #[inline(always)]
    unsafe fn fill_row<A: Arch, T: Gemm>(
        &self,
        line: &[T],
        origin: usize,
        span: Option<Span>,
        row: *mut T,
    ) {
        // SAFETY: the runs follow one another inside the row.
        unsafe {
            if let Some(span) = span {
                return self.fill_run::<A, T>(line, span, row);
            }
            for residue in 0..self.residues[2] {
                let span = self.span(origin, residue);
                self.fill_run::<A, T>(line, span, row.add(residue * self.run[2]));
            }
        }
    }

    /// What the slots of a residue of the last axis take from a line.
    #[inline(always)]
    fn span(&self, origin: usize, residue: usize) -> Span {
        let (a, run) = (&self.axes[2], self.run[2]);
        // Slot i holds source (origin + i) * stride + residue - pad.
        let start = (origin * a.stride + residue) as isize - a.pad;
        let first = ((-start).max(0) as usize).div_ceil(a.stride).min(run);
        let left = (a.src as isize - start).max(0) as usize;
        let end = left.div_ceil(a.stride).clamp(first, run);
        (first, end, (start + (first * a.stride) as isize).max(0) as usize)
    }

    /// Writes one run of slots: zeros, values of the line, zeros.
    ///
    /// # Safety
    /// `dst` is writable for the run and for [`SPILL`] values more, which nobody else uses; `span`
    /// is one that [`Self::span`] gave.
    #[inline(always)]
    unsafe fn fill_run<A: Arch, T: Gemm>(&self, line: &[T], span: Span, dst: *mut T) {
        let (first, end, from) = span;
        // SAFETY: inside the row, or spilling over what is written later.
        unsafe {
            zeros(dst, first);
            if end > first {
                gather::<A, T>(&line[from..], self.axes[2].stride, dst.add(first), end - first);
            }
            zeros(dst.add(end), self.run[2] - end);
        }
    }
}

/// The first slot of a run and the end of its slots with a value, and where in the line the first of
/// them is.
type Span = (usize, usize, usize);

/// Values that [`Slab::fill`] may write after its end, and that kernels may read there.
pub(super) const SPILL: usize = 32;

/// Values that go together in copies of unknown length.
const CHUNK: usize = 8;

/// Writes `len` zeros, and up to `CHUNK - 1` more.
///
/// # Safety
/// `dst` is writable for all of these, and nobody else uses them.
#[inline(always)]
unsafe fn zeros<T: Gemm>(dst: *mut T, len: usize) {
    // SAFETY: the caller has room for whole chunks.
    let zeros = |i: usize| unsafe { dst.add(i).cast::<[T; CHUNK]>().write([T::ZERO; CHUNK]) };
    // The first chunk by itself: a loop alone becomes a call, which costs more than the few zeros
    // beside a row.
    if len > 0 {
        zeros(0);
    }
    (CHUNK..len).step_by(CHUNK).for_each(zeros);
}

/// Copies `len` values that lie `stride` apart, and may write up to `CHUNK - 1` more.
///
/// # Safety
/// `len` is not 0; `dst` is writable for all of these, and nobody else uses them.
#[inline(always)]
unsafe fn gather<A: Arch, T: Gemm>(src: &[T], stride: usize, dst: *mut T, len: usize) {
    if stride == 1 && len.next_multiple_of(CHUNK) <= src.len() {
        for i in (0..len).step_by(CHUNK) {
            // SAFETY: whole chunks are in the source, and the caller has room for them.
            unsafe {
                let values = src.as_ptr().add(i).cast::<[T; CHUNK]>().read();
                dst.add(i).cast::<[T; CHUNK]>().write(values);
            }
        }
        return;
    }
    // SAFETY: the caller's promise.
    let done = if stride == 2 { unsafe { every_other::<A, T>(src, dst, len) } } else { 0 };
    if done >= len {
        return;
    }
    let src = &src[done * stride..(len - 1) * stride + 1];
    // SAFETY: the caller has room for `len` values.
    let dst = unsafe { std::slice::from_raw_parts_mut(dst.add(done), len - done) };
    if stride == 2 {
        for (to, from) in dst.iter_mut().zip(src.chunks(2)) {
            *to = from[0];
        }
    } else {
        for (to, from) in dst.iter_mut().zip(src.iter().step_by(stride)) {
            *to = *from;
        }
    }
}

/// Copies every second value of `src` by shuffles, in whole chunks while there are values: of a loop the
/// compiler makes gathers, which take longer. Gives their number, 0 without such shuffles.
///
/// # Safety
/// As for [`gather`].
#[inline(always)]
unsafe fn every_other<A: Arch, T: Gemm>(src: &[T], dst: *mut T, len: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if A::ISA >= crate::simd::Isa::Avx2 && size_of::<T>() == 4 {
        let chunks = len.div_ceil(CHUNK).min(src.len() / (2 * CHUNK));
        for i in (0..chunks * CHUNK).step_by(CHUNK) {
            // SAFETY: T is the only float of four bytes; two chunks are in the source, and the
            // caller has room for one; the CPU has AVX2, as `A` says.
            unsafe { every_other_avx(src.as_ptr().add(2 * i).cast(), dst.add(i).cast()) };
        }
        return chunks * CHUNK;
    }
    let _ = (src, dst, len);
    0
}

/// Copies every second of sixteen values.
///
/// # Safety
/// `src` is readable for 16 values and `dst` writable for 8; the CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx,avx2")]
unsafe fn every_other_avx(src: *const f32, dst: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    let (a, b) = unsafe { (_mm256_loadu_ps(src), _mm256_loadu_ps(src.add(CHUNK))) };
    // 0 2 8 10 | 4 6 12 14, whose pairs are then put in order.
    let pairs = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
    let ordered = _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(pairs));
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_ps(dst, ordered) };
}
