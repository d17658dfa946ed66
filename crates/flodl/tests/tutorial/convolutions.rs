//! Linear layers and convolutions.

use super::*;

#[test]
fn linear_is_the_product_with_the_transposed_weight() -> Checked {
    manual_seed(1);
    let linear = Linear::new(784, 128)?;
    assert_eq!(linear.weight().variable.shape(), [128, 784]);
    let bias = &linear.bias().unwrap().variable;
    assert_eq!(bias.shape(), [128]);
    let weight = &linear.weight().variable;
    for batch in [1, 7, 64] {
        let x = randn(&[batch, 784]);
        let y = linear.forward(&x)?;
        assert_eq!(y.shape(), [batch, 128]);
        close(&y, &values(&x.matmul(&weight.transpose(0, 1)?)?.add(bias)?), 1e-5);
    }
    fails(linear.forward(&randn(&[2, 783])), "expected an input [..., 784], got shape [2, 783]");
    let bare = Linear::no_bias(784, 128)?;
    let x = randn(&[3, 784]);
    close(&bare.forward(&x)?, &values(&x.matmul(&bare.weight().variable.transpose(0, 1)?)?), 1e-5);
    assert_eq!(values(&bare.forward(&zeros(&[2, 784]))?), [0.0; 256]);
    let placed = Linear::on_device(784, 128, Device::CPU)?;
    assert_eq!(placed.weight().variable.device(), Device::CPU);
    Ok(())
}

#[test]
fn gradients_of_a_linear_layer_are_the_formulas() -> Checked {
    manual_seed(2);
    let linear = Linear::new(5, 3)?;
    let (x, g) = (leaf(&randn(&[4, 5])), randn(&[4, 3]));
    linear.forward(&x)?.mul(&g)?.sum()?.backward()?;
    let weight = &linear.weight().variable;
    near(&gradient(weight), &values(&g.transpose(0, 1)?.matmul(&x)?), 1e-5);
    near(&gradient(&linear.bias().unwrap().variable), &values(&g.sum_dim(0, false)?), 1e-5);
    near(&gradient(&x), &values(&g.matmul(weight)?), 1e-5);
    Ok(())
}

#[test]
fn shapes_of_convolutions() -> Checked {
    let run = |m: &dyn Module, shape: &[i64]| -> Result<Vec<i64>> {
        Ok(m.forward(&randn(shape))?.shape())
    };
    let conv = Conv1d::new(1, 16, 3)?;
    assert_eq!(run(&conv, &[2, 1, 20])?, [2, 16, 18]);
    fails(conv.forward(&randn(&[2, 3, 20])), "[2, 3, 20]");
    let strided = Conv1d::configure(3, 16, 5).with_stride(2).with_padding(2);
    assert_eq!(run(&strided.on_device(Device::CPU).done()?, &[2, 3, 100])?, [2, 16, 50]);
    let one = Conv2d::configure(3, 64, 3).with_padding(1).with_stride(2).done()?;
    let other = Conv2d::configure(3, 64, 3).with_stride(2).with_padding(1).done()?;
    assert_eq!(run(&one, &[2, 3, 32, 32])?, [2, 64, 16, 16]);
    assert_eq!(run(&other, &[2, 3, 32, 32])?, [2, 64, 16, 16]);
    assert_eq!(one.structural_hash(), other.structural_hash());
    let bare = Conv2d::build(3, 6, 3, false, [1, 1], [1, 1], [1, 1], 3, Device::CPU)?;
    assert_eq!(bare.parameters().len(), 1);
    assert_eq!(bare.weight().variable.shape(), [6, 1, 3, 3]);
    fails(Conv2d::configure(3, 64, 3).with_groups(2).done(), "groups");
    // A batch may be missing, as in PyTorch; other ranks are errors.
    let volume = Conv3d::new(1, 4, [3, 3, 3])?;
    assert_eq!(run(&volume, &[1, 5, 6, 7])?, [4, 3, 4, 5]);
    fails(volume.forward(&randn(&[5, 6, 7])), "[N, C, D, H, W], got shape [5, 6, 7]");
    let doubled = ConvTranspose2d::configure(4, 2, 4).with_stride(2).with_padding(1).done()?;
    assert_eq!(run(&doubled, &[1, 4, 8, 8])?, [1, 2, 16, 16]);
    assert_eq!(run(&ConvTranspose3d::new(4, 1, [3, 3, 3])?, &[1, 4, 2, 3, 4])?, [1, 1, 4, 5, 6]);
    Ok(())
}

/// Every kind has the same builder, with scalars and with one value per dim.
#[test]
fn all_convolutions_have_one_builder() -> Checked {
    macro_rules! build {
        ($($name:ident $d:literal),*) => {$(
            let all = $name::configure(4, 6, 3)
                .with_stride(2)
                .with_padding([1; $d])
                .with_dilation(1)
                .with_groups(2)
                .without_bias()
                .on_device(Device::CPU)
                .done()?;
            assert_eq!(all.parameters().len(), 1, stringify!($name));
            let mut shape = vec![2, 4];
            shape.extend([7; $d]);
            assert_eq!(all.forward(&randn(&shape))?.shape()[..2], [2, 6]);
        )*};
    }
    build!(Conv1d 1, Conv2d 2, Conv3d 3);
    build!(ConvTranspose1d 1, ConvTranspose2d 2, ConvTranspose3d 3);
    Ok(())
}

struct Setting {
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
    groups: usize,
}

/// A convolution over three dims, loop by loop.
fn naive(x: &Variable, w: &Variable, b: &Variable, s: &Setting) -> (Vec<i64>, Vec<f64>) {
    let size = |v: &Variable| v.shape().iter().map(|&n| n as usize).collect::<Vec<_>>();
    let (xs, ws) = (size(x), size(w));
    let (x, w, b) = (values(x), values(w), values(b));
    let out = |d: usize| {
        (xs[d + 2] + 2 * s.padding[d] - s.dilation[d] * (s.kernel[d] - 1) - 1) / s.stride[d] + 1
    };
    let outs = [out(0), out(1), out(2)];
    let positions = |sizes: [usize; 3]| {
        (0..sizes[0]).flat_map(move |i| {
            (0..sizes[1]).flat_map(move |j| (0..sizes[2]).map(move |k| [i, j, k]))
        })
    };
    let at = |sizes: &[usize], n: usize, c: usize, p: [usize; 3]| {
        (((n * sizes[1] + c) * sizes[2] + p[0]) * sizes[3] + p[1]) * sizes[4] + p[2]
    };
    let mut y = Vec::new();
    for n in 0..xs[0] {
        for o in 0..ws[0] {
            for p in positions(outs) {
                let mut sum = b[o];
                for c in 0..ws[1] {
                    for k in positions(s.kernel) {
                        let q: [usize; 3] =
                            std::array::from_fn(|d| p[d] * s.stride[d] + k[d] * s.dilation[d]);
                        if (0..3).all(|d| (s.padding[d]..xs[d + 2] + s.padding[d]).contains(&q[d]))
                        {
                            let q = std::array::from_fn(|d| q[d] - s.padding[d]);
                            let channel = o / (ws[0] / s.groups) * ws[1] + c;
                            sum += w[at(&ws, o, c, k)] * x[at(&xs, n, channel, q)];
                        }
                    }
                }
                y.push(sum);
            }
        }
    }
    let shape = [xs[0], ws[0], outs[0], outs[1], outs[2]].iter().map(|&n| n as i64).collect();
    (shape, y)
}

#[test]
fn convolutions_are_the_sums_they_stand_for() -> Checked {
    manual_seed(4);
    let sizes = |v: [usize; 3]| v.map(|n| n as i64);
    for (kernel, stride, padding, dilation, groups) in [
        ([2, 3, 3], [1, 1, 1], [0, 0, 0], [1, 1, 1], 1),
        ([3, 3, 3], [1, 2, 1], [1, 1, 1], [1, 1, 1], 1),
        ([1, 3, 2], [1, 2, 3], [0, 2, 1], [1, 2, 1], 2),
        ([2, 2, 3], [2, 1, 1], [1, 0, 2], [2, 1, 2], 4),
    ] {
        let s = Setting { kernel, stride, padding, dilation, groups };
        let conv = Conv3d::configure(4, 8, sizes(kernel))
            .with_stride(sizes(stride))
            .with_padding(sizes(padding))
            .with_dilation(sizes(dilation))
            .with_groups(groups as i64)
            .done()?;
        let (w, b) = (&conv.weight().variable, &conv.bias().unwrap().variable);
        let x = randn(&[2, 4, 5, 7, 6]);
        let y = conv.forward(&x)?;
        let (shape, want) = naive(&x, w, b, &s);
        assert_eq!(y.shape(), shape);
        close(&y, &want, 1e-4);
        // The same over two dims: those of depth 1.
        let flat = |v: [usize; 3]| [v[1] as i64, v[2] as i64];
        let conv = Conv2d::build(
            4,
            8,
            flat(kernel),
            true,
            flat(stride),
            flat(padding),
            flat(dilation),
            groups as i64,
            Device::CPU,
        )?;
        let (w, b) = (&conv.weight().variable, &conv.bias().unwrap().variable);
        let x = randn(&[2, 4, 9, 8]);
        let s = Setting {
            kernel: [1, kernel[1], kernel[2]],
            stride: [1, stride[1], stride[2]],
            padding: [0, padding[1], padding[2]],
            dilation: [1, dilation[1], dilation[2]],
            groups,
        };
        let (_, want) = naive(&x.unsqueeze(2)?, &w.unsqueeze(2)?, b, &s);
        close(&conv.forward(&x)?, &want, 1e-4);
    }
    Ok(())
}

#[test]
fn a_transposed_convolution_is_the_adjoint() -> Checked {
    manual_seed(5);
    macro_rules! adjoint {
        ($($conv:ident $transpose:ident $x:expr),*) => {$(
            let conv = $conv::configure(3, 5, 3).with_stride(2).with_padding(1);
            let conv = conv.without_bias().done()?;
            let back = $transpose::configure(5, 3, 3).with_stride(2).with_padding(1);
            let back = back.without_bias().done()?;
            back.weight().variable.set_data(conv.weight().variable.data());
            let x = randn(&$x);
            let there = conv.forward(&x)?;
            let y = randn(&there.shape());
            let (a, b) = (there.mul(&y)?.sum()?.item()?, x.mul(&back.forward(&y)?)?.sum()?.item()?);
            assert!((a - b).abs() < 1e-3, "{}: {a} {b}", stringify!($transpose));
        )*};
    }
    // Odd sizes, so that the way back ends at the size of the start.
    adjoint!(
        Conv1d ConvTranspose1d [2, 3, 9],
        Conv2d ConvTranspose2d [2, 3, 9, 7],
        Conv3d ConvTranspose3d [1, 3, 5, 7, 5]
    );
    Ok(())
}
