//! Normalisation, dropout and padding.

use super::*;

/// Rows of this many values have mean 0 and biased variance 1.
#[track_caller]
fn normal(y: &Variable, row: usize) {
    for r in values(y).chunks(row) {
        let (mean, var) = mean_and_variance(r);
        assert!(mean.abs() < 1e-4 && (var - 1.0).abs() < 1e-2, "{mean} {var}");
    }
}

#[test]
fn layer_norm_is_over_the_last_dim() -> Checked {
    let row = LayerNorm::new(4)?.forward(&var(&[1.0, 2.0, 3.0, 4.0], &[1, 4]))?;
    close(&row, &[-1.341635, -0.447212, 0.447212, 1.341635], 1e-5);
    let norm = LayerNorm::new(512)?;
    normal(&norm.forward(&randn(&[2, 5, 512]))?, 512);
    let (weight, bias) = (norm.weight().unwrap(), norm.bias().unwrap());
    assert_eq!(values(&weight.variable), [1.0; 512]);
    assert_eq!(values(&bias.variable), [0.0; 512]);
    norm.forward(&randn(&[3, 512]))?.pow_scalar(2.0).and_then(|y| y.sum())?.backward()?;
    assert!(gradient(&weight.variable).iter().any(|&g| g != 0.0));
    assert!(gradient(&bias.variable).iter().any(|&g| g != 0.0));
    Ok(())
}

#[test]
fn rms_norm_subtracts_no_mean() -> Checked {
    let norm = RMSNorm::new(2)?;
    close(&norm.forward(&var(&[3.0, 4.0], &[1, 2]))?, &[0.848528, 1.131370], 1e-5);
    close(&norm.forward(&var(&[5.0, 5.0], &[1, 2]))?, &[1.0, 1.0], 1e-5);
    assert_eq!(norm.parameters().len(), 1);
    let tiny = var(&[1e-3, 1e-3], &[1, 2]);
    let custom = RMSNorm::new(2)?.eps(1e-6);
    close(&custom.forward(&tiny)?, &[0.5f64.sqrt(); 2], 1e-4);
    close(&RMSNorm::new(2)?.eps(1e-12).forward(&tiny)?, &[1.0; 2], 1e-4);
    Ok(())
}

#[test]
fn batch_norm_uses_the_batch_and_then_what_it_has_seen() -> Checked {
    manual_seed(1);
    let bn = BatchNorm::new(1)?;
    bn.forward(&var(&[1.0, 3.0], &[2, 1]))?;
    close(&Variable::new(bn.running_mean().unwrap(), false), &[0.2], 1e-6);
    close(&Variable::new(bn.running_var().unwrap(), false), &[1.1], 1e-6);
    let bn = BatchNorm::new(128)?;
    let x = randn(&[64, 128]).mul_scalar(3.0)?.add_scalar(2.0)?;
    let trained = bn.forward(&x)?;
    normal(&trained.transpose(0, 1)?.contiguous()?, 64);
    let batches = || bn.buffers()[2].get().item().unwrap();
    assert_eq!(batches(), 1.0);
    bn.eval();
    let before =
        (bn.running_mean().unwrap().to_f64_vec()?, bn.running_var().unwrap().to_f64_vec()?);
    let inferred = bn.forward(&x)?;
    assert_ne!(values(&inferred), values(&trained));
    let after = (bn.running_mean().unwrap().to_f64_vec()?, bn.running_var().unwrap().to_f64_vec()?);
    assert_eq!((before, batches()), (after, 1.0));
    bn.train();
    bn.forward(&x)?;
    assert_eq!(batches(), 2.0);
    let bn2d = BatchNorm2d::new(64)?;
    let y = bn2d.forward(&randn(&[3, 64, 4, 5]))?;
    normal(&y.permute(&[1, 0, 2, 3])?.contiguous()?, 60);
    Ok(())
}

#[test]
fn batch_norm_says_what_is_wrong() -> Checked {
    for (m, x) in [
        (Box::new(BatchNorm::new(6)?) as Box<dyn Module>, randn(&[4, 6])),
        (Box::new(BatchNorm2d::new(6)?), randn(&[2, 6, 3, 3])),
    ] {
        m.eval();
        fails(m.forward(&x), "in eval mode but has no running statistics");
        m.train();
        m.forward(&x)?;
        m.eval();
        m.forward(&x)?;
    }
    let bn2d = BatchNorm2d::new(6)?;
    fails(bn2d.forward(&randn(&[4, 6])), "[N, 6, H, W]");
    fails(bn2d.forward(&randn(&[2, 5, 3, 3])), "[N, 6, H, W]");
    fails(BatchNorm::new(6)?.forward(&randn(&[1, 6])), "more than one value per channel");
    bn2d.forward(&randn(&[1, 6, 2, 2]))?;
    Ok(())
}

#[test]
fn group_and_instance_norm_stay_within_a_sample() -> Checked {
    manual_seed(2);
    let gn = GroupNorm::new(4, 16)?;
    let x = randn(&[8, 16, 5, 3]);
    let y = gn.forward(&x)?;
    normal(&y, 60);
    let alone = gn.forward(&x.narrow(0, 3, 1)?)?;
    assert_eq!(values(&alone), values(&y.narrow(0, 3, 1)?));
    gn.eval();
    assert_eq!(values(&gn.forward(&x)?), values(&y));
    fails(GroupNorm::new(5, 16), "must be positive and divide 16 channels");
    let inn = InstanceNorm::new(64, true)?;
    normal(&inn.forward(&randn(&[2, 64, 9, 7]))?, 63);
    fails(inn.forward(&randn(&[2, 63, 9, 7])), "[2, 63, 9, 7]");
    Ok(())
}

type Drop = fn(f64) -> Box<dyn Module>;
const DROPS: [Drop; 3] = [
    |p| Box::new(Dropout::new(p)),
    |p| Box::new(Dropout2d::new(p)),
    |p| Box::new(AlphaDropout::new(p)),
];

#[test]
fn dropout_keeps_its_share_and_scales_it() -> Checked {
    manual_seed(7);
    let x = leaf(&randn(&[100_000]));
    for p in [0.1, 0.5, 0.9] {
        x.zero_grad();
        let drop = Dropout::new(p);
        let y = drop.forward(&x)?;
        let scale = 1.0 / (1.0 - p);
        let mut dropped = 0;
        for (&a, &b) in values(&x).iter().zip(&values(&y)) {
            if b == 0.0 {
                dropped += 1;
            } else {
                assert!((b - a * scale).abs() <= 1e-6 * a.abs() * scale, "{a} {b}");
            }
        }
        assert!((dropped as f64 / 1e5 - p).abs() < 0.01, "{dropped} of 100000 at {p}");
        y.sum()?.backward()?;
        for (&g, &b) in gradient(&x).iter().zip(&values(&y)) {
            assert!((g - if b == 0.0 { 0.0 } else { scale }).abs() < 1e-5);
        }
        let ones = var(&[1.0; 100_000], &[100_000]);
        let mean = drop.forward(&ones)?.mean()?.item()?;
        // Five standard errors.
        assert!((mean - 1.0).abs() < 5.0 * (p * scale / 1e5).sqrt(), "{mean} at {p}");
    }
    Ok(())
}

#[test]
fn channels_are_dropped_whole() -> Checked {
    manual_seed(8);
    let x = randn(&[40, 50, 4, 3]);
    let y = Dropout2d::new(0.1).forward(&x)?;
    let (x, y) = (values(&x), values(&y));
    let mut dropped = 0;
    for (a, b) in x.chunks(12).zip(y.chunks(12)) {
        let zero = b.iter().all(|&v| v == 0.0);
        dropped += usize::from(zero);
        assert!(zero || a.iter().zip(b).all(|(a, b)| (b - a / 0.9).abs() < 1e-6), "{a:?} {b:?}");
    }
    // 200 of 2000 are expected; 67 is five standard deviations.
    assert!((133..267).contains(&dropped), "{dropped}");
    Ok(())
}

/// Whole channels: those of dropout are zero, those of alpha dropout constant.
#[test]
fn all_channel_dropouts_drop_their_share() -> Checked {
    manual_seed(10);
    let table: [(Box<dyn Module>, &[i64]); 3] = [
        (Box::new(Dropout1d::new(0.3)), &[40, 50, 12]),
        (Box::new(Dropout3d::new(0.3)), &[40, 50, 2, 2, 3]),
        (Box::new(FeatureAlphaDropout::new(0.3)), &[40, 50, 12]),
    ];
    for (m, shape) in table {
        let x = randn(shape);
        let y = m.forward(&x)?;
        let (a, b) = (values(&x), values(&y));
        let constant = |b: &&[f64]| b.iter().all(|v| v == &b[0]);
        let dropped = b.chunks(12).filter(constant).count();
        // 600 of 2000 are expected; 103 is five standard deviations.
        assert!((497..703).contains(&dropped), "{}: {dropped}", m.name());
        for (a, b) in a.chunks(12).zip(b.chunks(12)).filter(|(_, b)| !constant(b)) {
            // All of a kept channel is on one line.
            let slope = (b[1] - b[0]) / (a[1] - a[0]);
            assert!(a.iter().zip(b).all(|(u, v)| (v - b[0] - slope * (u - a[0])).abs() < 1e-3));
            assert!(m.name() == "FeatureAlphaDropout" || (b[0] - a[0] / 0.7).abs() < 1e-5);
        }
        let (mean, var) = mean_and_variance(&b);
        if m.name() == "FeatureAlphaDropout" {
            assert!(mean.abs() < 0.2 && (var - 1.0).abs() < 0.1, "{mean} {var}");
        }
        m.eval();
        assert_eq!(values(&m.forward(&x)?), a);
    }
    Ok(())
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() -> Checked {
    manual_seed(9);
    let x = randn(&[200_000]);
    for p in [0.05, 0.1, 0.5] {
        let (mean, var) = mean_and_variance(&values(&AlphaDropout::new(p).forward(&x)?));
        assert!(mean.abs() < 0.015 && (var - 1.0).abs() < 0.02, "{mean} {var} at {p}");
    }
    let y = values(&AlphaDropout::new(0.1).forward(&zeros(&[1000]))?);
    assert!(y.iter().all(|v| (v + 1.4577).abs() < 1e-3 || (v - 0.1620).abs() < 1e-3));
    assert!(y.iter().any(|&v| v < 0.0) && y.iter().any(|&v| v > 0.0));
    // Through a deep network of SELU with LeCun's weights the moments stay where they are.
    let mut y = randn(&[64, 256]);
    for _ in 0..16 {
        let linear = Linear::no_bias(256, 256)?;
        linear.weight().variable.set_data(init::normal(&[256, 256], 0.0, 1.0 / 16.0, Device::CPU)?);
        y = AlphaDropout::new(0.05).forward(&SELU.forward(&linear.forward(&y)?)?)?.detach();
    }
    let (mean, var) = mean_and_variance(&values(&y));
    assert!(mean.abs() < 0.2 && (0.6..1.6).contains(&var), "{mean} {var}");
    Ok(())
}

#[test]
fn dropouts_are_random_in_training_and_nothing_in_inference() -> Checked {
    let x = randn(&[6, 50, 2, 2]);
    for make in DROPS {
        let drop = make(0.5);
        manual_seed(3);
        let first = values(&drop.forward(&x)?);
        assert_ne!(values(&drop.forward(&x)?), first, "training is the mode of the start");
        manual_seed(3);
        assert_eq!(values(&drop.forward(&x)?), first);
        drop.eval();
        assert_eq!(values(&drop.forward(&x)?), values(&x));
        assert_eq!(values(&make(0.0).forward(&x)?), values(&x));
        assert!(values(&make(1.0).forward(&x)?).iter().all(|&v| v == 0.0));
        for p in [-0.1, 1.1, f64::NAN] {
            fails(make(p).forward(&x), &format!("probability {p} must be in [0, 1]"));
        }
    }
    Ok(())
}

#[test]
fn paddings_surround_and_reflect() -> Checked {
    let x = count(&[1, 1, 3, 3]);
    let y = ZeroPad2d::new(1).forward(&x)?;
    assert_eq!(y.shape(), [1, 1, 5, 5]);
    assert_eq!(y.data().sum()?.item()?, 36.0);
    let inside = y.narrow(2, 1, 3)?.narrow(3, 1, 3)?.contiguous()?;
    assert_eq!(values(&inside), values(&x));
    // Left, right, top, bottom.
    let y = ZeroPad2d::asymmetric(1, 0, 2, 0).forward(&x)?;
    assert_eq!(y.shape(), [1, 1, 5, 4]);
    assert_eq!(values(&y)[..12], [[0.0; 4], [0.0; 4], [0.0, 0.0, 1.0, 2.0]].concat());
    assert_eq!(ZeroPad2d::asymmetric(1, 1, 2, 2).forward(&x)?.shape(), [1, 1, 7, 5]);
    let y = ReflectionPad2d::new(1).forward(&x)?;
    assert_eq!(values(&y)[..5], [4.0, 3.0, 4.0, 5.0, 4.0]);
    let y = ReflectionPad2d::asymmetric(1, 1, 2, 2).forward(&x)?;
    assert_eq!(y.shape(), [1, 1, 7, 5]);
    assert_eq!(values(&y)[..5], [7.0, 6.0, 7.0, 8.0, 7.0]);
    fails(ReflectionPad2d::new(3).forward(&x), "[1, 1, 3, 3]");
    let model = FlowBuilder::from(ZeroPad2d::new(1))
        .through(ZeroPad2d::asymmetric(1, 1, 2, 2))
        .through(ReflectionPad2d::new(1))
        .through(ReflectionPad2d::asymmetric(1, 1, 2, 2))
        .build()?;
    let x = leaf(&x);
    assert_eq!(model.forward(&x)?.shape(), [1, 1, 15, 11]);
    ReflectionPad2d::new(1).forward(&x)?.sum()?.backward()?;
    assert_eq!(gradient(&x), [1.0, 3.0, 1.0, 3.0, 9.0, 3.0, 1.0, 3.0, 1.0]);
    Ok(())
}
