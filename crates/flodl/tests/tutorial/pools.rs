//! Pools, rearrangements, resizing and sliding blocks.

use super::*;

#[test]
fn max_pools_take_the_largest() -> Checked {
    let image = count(&[1, 1, 4, 4]);
    close(&MaxPool2d::new(2).forward(&image)?, &[5.0, 7.0, 13.0, 15.0], 0.0);
    let pool = MaxPool2d::with_stride(3, 2).padding(1);
    assert_eq!(pool.forward(&randn(&[1, 2, 32, 32]))?.shape(), [1, 2, 16, 16]);
    assert_eq!(pool.forward(&randn(&[1, 2, 7, 7]))?.shape(), [1, 2, 4, 4]);
    let negative = image.sub_scalar(100.0)?;
    assert!(pool.forward(&negative)?.data().max()?.item()? < 0.0, "padding counts as -inf");
    assert_eq!(MaxPool2d::new(2).forward(&randn(&[2, 3, 5, 5]))?.shape(), [2, 3, 2, 2]);
    close(&MaxPool1d::new(2).forward(&var(&[1., 3., 2., 5.], &[1, 1, 4]))?, &[3.0, 5.0], 0.0);
    let x = leaf(&image);
    MaxPool2d::new(2).forward(&x)?.sum()?.backward()?;
    let marked: Vec<usize> =
        gradient(&x).iter().enumerate().filter(|(_, g)| **g == 1.0).map(|(i, _)| i).collect();
    assert_eq!(marked, [5, 7, 13, 15]);
    assert_eq!(gradient(&x).iter().sum::<f64>(), 4.0);
    Ok(())
}

#[test]
fn average_pools_take_the_mean() -> Checked {
    let image = count(&[1, 1, 4, 4]);
    close(&AvgPool2d::new(2).forward(&image)?, &[2.5, 4.5, 10.5, 12.5], 1e-6);
    let ones = var(&[1.0; 16], &[1, 1, 4, 4]);
    let pool = AvgPool2d::with_stride(3, 2).padding(1);
    close(&pool.count_include_pad(false).forward(&ones)?, &[1.0; 4], 1e-6);
    let counted = [4.0 / 9.0, 6.0 / 9.0, 6.0 / 9.0, 1.0];
    close(&pool.count_include_pad(true).forward(&ones)?, &counted, 1e-6);
    close(&pool.forward(&ones)?, &counted, 1e-6);
    let line = AvgPool1d::with_stride(3, 2).padding(1);
    assert_eq!(line.forward(&randn(&[2, 3, 8]))?.shape(), [2, 3, 4]);
    fails(line.forward(&randn(&[2, 3, 8, 8])), "[N, C, L] or without N, got shape [2, 3, 8, 8]");
    fails(MaxPool1d::new(2).forward(&randn(&[8])), "[N, C, L] or without N, got shape [8]");
    let x = leaf(&image);
    AvgPool2d::new(2).forward(&x)?.sum()?.backward()?;
    assert_eq!(gradient(&x), [0.25; 16]);
    Ok(())
}

#[test]
fn adaptive_pools_have_one_output_size() -> Checked {
    manual_seed(1);
    let input = randn(&[2, 3, 5, 9]);
    let mean = values(&input.mean_dims(&[2, 3], true)?);
    let pooled = adaptive_avg_pool2d(&input, [1, 1])?;
    assert_eq!(pooled.shape(), [2, 3, 1, 1]);
    close(&pooled, &mean, 1e-6);
    assert_eq!(values(&AdaptiveAvgPool2d::new([1, 1]).forward(&input)?), values(&pooled));
    for (h, w) in [(5, 9), (7, 7), (20, 31)] {
        let x = leaf(&randn(&[1, 2, h, w]));
        let data = x.data();
        let y = AdaptiveMaxPool2d::new(7, 7).forward(&x)?;
        assert_eq!(y.shape(), [1, 2, 7, 7]);
        // Window i of o over n begins at ⌊i·n/o⌋ and ends at ⌈(i+1)·n/o⌉.
        let window = |i: i64, n: i64| (i * n / 7, ((i + 1) * n + 6) / 7);
        let average = values(&AdaptiveAvgPool2d::new([7, 7]).forward(&x)?);
        let largest = values(&y);
        for i in 0..7 {
            for j in 0..7 {
                let ((top, bottom), (left, right)) = (window(i, h), window(j, w));
                let cut = data.select(1, 1)?.narrow(1, top, bottom - top)?;
                let cut = cut.narrow(2, left, right - left)?;
                let at = (49 + i * 7 + j) as usize;
                assert_eq!(largest[at], cut.max()?.item()?);
                assert!((average[at] - cut.mean()?.item()?).abs() < 1e-5);
            }
        }
        y.sum()?.backward()?;
        assert_eq!(gradient(&x).iter().sum::<f64>(), 98.0);
    }
    Ok(())
}

#[test]
fn gradients_go_through_adaptive_pools() -> Checked {
    let x = leaf(&randn(&[2, 3, 5, 9]));
    AdaptiveAvgPool2d::new([1, 1]).forward(&x)?.sum()?.backward()?;
    near(&gradient(&x), &[1.0 / 45.0; 270], 1e-6);
    x.zero_grad();
    AdaptiveMaxPool2d::new(1, 1).forward(&x)?.sum()?.backward()?;
    for (plane, slopes) in values(&x).chunks(45).zip(gradient(&x).chunks(45)) {
        let largest = plane.iter().cloned().fold(f64::MIN, f64::max);
        assert!(plane.iter().zip(slopes).all(|(v, &g)| g == f64::from(*v == largest)));
    }
    Ok(())
}

#[test]
fn pixels_are_shuffled_and_back() -> Checked {
    let (there, back) = (PixelShuffle::new(2), PixelUnshuffle::new(2));
    let one = there.forward(&count(&[1, 4, 1, 1]))?;
    assert_eq!((one.shape(), values(&one)), (vec![1, 1, 2, 2], vec![0.0, 1.0, 2.0, 3.0]));
    let x = randn(&[2, 8, 3, 5]);
    let y = there.forward(&x)?;
    assert_eq!(y.shape(), [2, 2, 6, 10]);
    assert_eq!(values(&back.forward(&y)?), values(&x));
    assert_eq!(values(&there.forward(&back.forward(&y)?)?), values(&y));
    fails(there.forward(&randn(&[1, 6, 2, 2])), "[1, 6, 2, 2]");
    fails(back.forward(&randn(&[1, 1, 3, 2])), "[1, 1, 3, 2]");
    // Three channels need an upscale of 4 from 48.
    let four = FlowBuilder::from(Conv2d::new(3, 48, 3)?).through(PixelShuffle::new(4)).build()?;
    assert_eq!(four.forward(&randn(&[1, 3, 6, 6]))?.shape(), [1, 3, 16, 16]);
    Ok(())
}

#[test]
fn upsampling_has_pytorchs_values() -> Checked {
    let x = var(&[0.0, 1.0], &[1, 1, 1, 2]);
    let cases: [(i32, Interpolation, [f64; 4]); 3] = [
        (0, Interpolation::Nearest, [0.0, 0.0, 1.0, 1.0]),
        (1, Interpolation::Linear, [0.0, 0.25, 0.75, 1.0]),
        (2, Interpolation::Cubic, [-0.105469, 0.226563, 0.773437, 1.105469]),
    ];
    for (number, mode, want) in cases {
        let y = Upsample::new(&[1, 4], number).forward(&x)?;
        close(&y, &want, 1e-5);
        assert_eq!(values(&Upsample::new(&[1, 4], mode).forward(&x)?), values(&y));
        let up = Upsample::new(&[64, 64], number);
        for shape in [[1, 3, 5, 9], [2, 1, 64, 64], [1, 2, 100, 70]] {
            assert_eq!(up.forward(&randn(&shape))?.shape(), [shape[0], shape[1], 64, 64]);
        }
    }
    let corners = Upsample::new(&[1, 4], 1).align_corners(true).forward(&x)?;
    close(&corners, &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0], 1e-6);
    fails(Upsample::new(&[1, 4], 9).forward(&x), "mode");
    Ok(())
}

#[test]
fn blocks_are_cut_out_and_put_back() -> Checked {
    manual_seed(2);
    let unfold = Unfold::new([3, 3], [1, 1], [0, 0], [1, 1]);
    let fold = Fold::new([28, 28], [3, 3], [1, 1], [0, 0], [1, 1]);
    let x = randn(&[2, 3, 28, 28]);
    let columns = unfold.forward(&x)?;
    assert_eq!(columns.shape(), [2, 27, 676]);
    // Column 2·26 + 5 is the block at row 2 and column 5, channel after channel.
    let column = columns.data().select(0, 1)?.select(1, 57)?.to_f64_vec()?;
    let block = x.data().select(0, 1)?.narrow(1, 2, 3)?.narrow(2, 5, 3)?;
    assert_eq!(column, block.contiguous()?.to_f64_vec()?);
    let overlaps = fold.forward(&unfold.forward(&var(&[1.0; 784], &[1, 1, 28, 28]))?)?;
    let at = |i: usize, j: usize| values(&overlaps)[i * 28 + j];
    assert_eq!([at(0, 0), at(0, 5), at(1, 5), at(5, 5)], [1.0, 3.0, 6.0, 9.0]);
    let apart = Unfold::new([4, 4], [1, 1], [0, 0], [4, 4]);
    let together = Fold::new([28, 28], [4, 4], [1, 1], [0, 0], [4, 4]);
    assert_eq!(values(&together.forward(&apart.forward(&x)?)?), values(&x));
    // The gradient of one is the other.
    let (x, g) = (leaf(&x), randn(&[2, 27, 676]));
    unfold.forward(&x)?.mul(&g)?.sum()?.backward()?;
    near(&gradient(&x), &values(&fold.forward(&g)?), 1e-5);
    let (c, g) = (leaf(&g), randn(&[2, 3, 28, 28]));
    fold.forward(&c)?.mul(&g)?.sum()?.backward()?;
    near(&gradient(&c), &values(&unfold.forward(&g)?), 1e-5);
    let both = FlowBuilder::from(apart).through(together).build()?;
    assert_eq!(both.forward(&x)?.shape(), x.shape());
    let named = Unfold::with_kernel(3).dilation(1).padding(0).stride(1);
    assert_eq!(values(&named.forward(&x)?), values(&columns));
    let named = Fold::with_kernel(28, 3).dilation(1).padding(0).stride(1);
    assert_eq!(values(&named.forward(&columns)?), values(&fold.forward(&columns)?));
    Ok(())
}
