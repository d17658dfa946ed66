//! Convolution of ranks 1 to 3 by matrix products over one image's patches at a time.

use crate::alloc::{OutOfMemory, Scratch};
use crate::gemm::{Epilogue, Gemm, Mat, gemm};

/// Sizes of a convolution; lower ranks have leading dims of 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeom {
    /// Images.
    pub batch: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Input sizes.
    pub input: [usize; 3],
    /// Output sizes.
    pub output: [usize; 3],
    /// Kernel sizes.
    pub kernel: [usize; 3],
    /// Distance of windows.
    pub stride: [usize; 3],
    /// Zeros around the input.
    pub padding: [usize; 3],
    /// Distance of a window's elements.
    pub dilation: [usize; 3],
}

impl ConvGeom {
    fn volumes(&self) -> (usize, usize, usize) {
        let product = |d: [usize; 3]| d.iter().product::<usize>();
        (product(self.input), product(self.output), product(self.kernel))
    }

    /// Calls `f(patch row, output position, input position)` for every element of the patches of
    /// one channel that lies inside the input.
    fn each(&self, mut f: impl FnMut(usize, usize, Option<usize>)) {
        let [kd, kh, kw] = self.kernel;
        let [od, oh, ow] = self.output;
        for k in 0..kd * kh * kw {
            let tap = [k / (kh * kw), k / kw % kh, k % kw];
            for o in 0..od * oh * ow {
                let at = [o / (oh * ow), o / ow % oh, o % ow];
                let mut index = Some(0);
                for d in 0..3 {
                    let i = at[d] * self.stride[d] + tap[d] * self.dilation[d];
                    index = match (index, i.checked_sub(self.padding[d])) {
                        (Some(p), Some(i)) if i < self.input[d] => Some(p * self.input[d] + i),
                        _ => None,
                    };
                }
                f(k, o, index);
            }
        }
    }
}

/// y = conv(x, w) + bias.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of an image.
pub fn conv_forward<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<(), OutOfMemory> {
    let (inp, out, ker) = g.volumes();
    let (ci, co) = (g.c_in / g.groups, g.c_out / g.groups);
    let mut patches = Scratch::<T>::new(ci * ker * out)?;
    for n in 0..g.batch {
        for q in 0..g.groups {
            let x = &x[(n * g.c_in + q * ci) * inp..][..ci * inp];
            for c in 0..ci {
                g.each(|k, o, i| {
                    patches[(c * ker + k) * out + o] = i.map_or(T::ZERO, |i| x[c * inp + i]);
                });
            }
            let w = Mat::row_major(&w[q * co * ci * ker..][..co * ci * ker], ci * ker);
            let y = &mut y[(n * g.c_out + q * co) * out..][..co * out];
            let ep = Epilogue { row_bias: bias.map(|b| &b[q * co..][..co]), ..Epilogue::default() };
            gemm(co, out, ci * ker, w, Mat::row_major(&patches, out), y, out, &ep)?;
        }
    }
    Ok(())
}

/// dx from dy and w, plus a bias for each channel of x.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of an image.
pub fn conv_backward_data<T: Gemm>(
    g: &ConvGeom,
    dy: &[T],
    w: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) -> Result<(), OutOfMemory> {
    let (inp, out, ker) = g.volumes();
    let (ci, co) = (g.c_in / g.groups, g.c_out / g.groups);
    let mut patches = Scratch::<T>::new(ci * ker * out)?;
    for n in 0..g.batch {
        for q in 0..g.groups {
            let w = Mat::row_major(&w[q * co * ci * ker..][..co * ci * ker], ci * ker).t();
            let dy = Mat::row_major(&dy[(n * g.c_out + q * co) * out..][..co * out], out);
            gemm(ci * ker, out, co, w, dy, &mut patches, out, &Epilogue::default())?;
            let dx = &mut dx[(n * g.c_in + q * ci) * inp..][..ci * inp];
            for c in 0..ci {
                dx[c * inp..][..inp].fill(bias.map_or(T::ZERO, |b| b[q * ci + c]));
                g.each(|k, o, i| {
                    if let Some(i) = i {
                        dx[c * inp + i] += patches[(c * ker + k) * out + o];
                    }
                });
            }
        }
    }
    Ok(())
}

/// dw from x and dy.
///
/// # Errors
/// [`OutOfMemory`] without room for the patches of an image.
pub fn conv_backward_weight<T: Gemm>(
    g: &ConvGeom,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) -> Result<(), OutOfMemory> {
    let (inp, out, ker) = g.volumes();
    let (ci, co) = (g.c_in / g.groups, g.c_out / g.groups);
    let mut patches = Scratch::<T>::new(ci * ker * out)?;
    dw.fill(T::ZERO);
    for n in 0..g.batch {
        for q in 0..g.groups {
            let x = &x[(n * g.c_in + q * ci) * inp..][..ci * inp];
            for c in 0..ci {
                g.each(|k, o, i| {
                    patches[(c * ker + k) * out + o] = i.map_or(T::ZERO, |i| x[c * inp + i]);
                });
            }
            let dy = Mat::row_major(&dy[(n * g.c_out + q * co) * out..][..co * out], out);
            let dw = &mut dw[q * co * ci * ker..][..co * ci * ker];
            let ep = Epilogue { accumulate: true, ..Epilogue::default() };
            gemm(co, ci * ker, out, dy, Mat::row_major(&patches, out).t(), dw, ci * ker, &ep)?;
        }
    }
    Ok(())
}
