//! Max and average pooling over one to three spatial dims, fixed windows and adaptive ones.
//!
//! One code serves all ranks: a missing dim has size, kernel and stride 1. Forward work is split
//! over output rows, backward work over planes, since windows of one plane may overlap.

mod avg;
mod max;

pub use avg::{
    AvgRule, adaptive_avg_pool, adaptive_avg_pool_backward, avg_pool, avg_pool_backward,
};
pub use max::{adaptive_max_pool, max_pool, max_pool_backward, max_unpool};

/// Geometry of a pooling call on `[planes, depth, height, width]`; see [`PoolGeom::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeom {
    /// Batch times channels.
    pub planes: usize,
    /// Input size, leading dims 1 for fewer than three.
    pub input: [usize; 3],
    /// Output size; the caller applies `ceil_mode` (see [`pool_output_size`]).
    pub output: [usize; 3],
    /// Window size.
    pub kernel: [usize; 3],
    /// Distance of neighbouring windows.
    pub stride: [usize; 3],
    /// How far windows reach over each edge of the input.
    pub padding: [usize; 3],
    /// Distance of neighbouring elements of a window (max pooling only).
    pub dilation: [usize; 3],
}

impl PoolGeom {
    /// Geometry of one to three spatial dims, given outermost first.
    ///
    /// # Panics
    /// If the slices differ in length or are longer than 3.
    pub fn new(
        planes: usize,
        input: &[usize],
        output: &[usize],
        kernel: &[usize],
        stride: &[usize],
        padding: &[usize],
        dilation: &[usize],
    ) -> Self {
        Self {
            planes,
            input: pad3(input, 1),
            output: pad3(output, 1),
            kernel: pad3(kernel, 1),
            stride: pad3(stride, 1),
            padding: pad3(padding, 0),
            dilation: pad3(dilation, 1),
        }
    }

    fn in_plane(&self) -> usize {
        self.input.iter().product()
    }

    fn out_plane(&self) -> usize {
        self.output.iter().product()
    }
}

/// One to three values as the last of three.
pub fn pad3(values: &[usize], missing: usize) -> [usize; 3] {
    let mut all = [missing; 3];
    all[3 - values.len()..].copy_from_slice(values);
    all
}

/// Number of windows along a dim; `None` where no window fits or the arguments make no sense.
///
/// With `ceil_mode` the last window may hang over the end, but must start inside the input or its
/// left padding.
pub fn pool_output_size(
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    ceil_mode: bool,
) -> Option<usize> {
    if kernel == 0 || stride == 0 || dilation == 0 || padding > kernel / 2 {
        return None;
    }
    let reach = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
    let room = input.checked_add(padding.checked_mul(2)?)?;
    let free = match room.checked_sub(reach) {
        Some(free) => free,
        // Rounding up, a window that is short by less than a stride still counts.
        None if ceil_mode && reach - room < stride => 0,
        None => return None,
    };
    let mut output = if ceil_mode { free.div_ceil(stride) } else { free / stride } + 1;
    if room < reach {
        output = 1;
    }
    if ceil_mode && (output - 1) * stride >= input + padding {
        output -= 1;
    }
    (output > 0).then_some(output)
}

/// The elements that adaptive window `o` of `output` covers: windows share the input evenly and
/// overlap where it does not divide.
#[inline(always)]
pub fn adaptive_window(o: usize, input: usize, output: usize) -> (usize, usize) {
    (o * input / output, ((o + 1) * input).div_ceil(output))
}

/// A row buffer of `len` values: on the stack for usual sizes, so that small calls do not allocate.
macro_rules! row_buffer {
    ($name:ident: [$t:ty; $len:expr]) => {
        let len: usize = $len;
        let mut stack = [<$t>::ZERO; 512];
        let mut heap = Vec::new();
        let $name: &mut [$t] = if len <= 512 {
            &mut stack[..len]
        } else {
            heap.resize(len, <$t>::ZERO);
            &mut heap
        };
    };
}
use row_buffer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes() {
        assert_eq!(pool_output_size(5, 2, 2, 0, 1, false), Some(2));
        assert_eq!(pool_output_size(5, 2, 2, 0, 1, true), Some(3));
        assert_eq!(pool_output_size(6, 3, 2, 1, 1, false), Some(3));
        assert_eq!(pool_output_size(6, 3, 2, 1, 1, true), Some(4));
        // The fourth window would start in the right padding.
        assert_eq!(pool_output_size(6, 2, 3, 1, 1, true), Some(3));
        assert_eq!(pool_output_size(5, 2, 3, 1, 1, true), Some(2));
        assert_eq!(pool_output_size(7, 3, 1, 0, 3, false), Some(1));
        assert_eq!(pool_output_size(6, 3, 1, 0, 3, false), None);
        assert_eq!(pool_output_size(6, 3, 2, 0, 3, true), Some(1));
        assert_eq!(pool_output_size(2, 3, 1, 0, 1, false), None);
        assert_eq!(pool_output_size(4, 3, 0, 0, 1, false), None);
        assert_eq!(pool_output_size(4, 3, 1, 2, 1, false), None);
    }

    #[test]
    fn adaptive_windows_cover() {
        let w = |o| adaptive_window(o, 5, 3);
        assert_eq!([w(0), w(1), w(2)], [(0, 2), (1, 4), (3, 5)]);
        assert_eq!(adaptive_window(2, 3, 7), (0, 2));
    }
}
