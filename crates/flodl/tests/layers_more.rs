//! Layers of two inputs, patches, unpooling, tables with all settings, padding modes, blur; and the
//! layers' functions on plain tensors. Reference values are PyTorch's.

use std::collections::HashMap;

use flodl::*;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

fn t(data: &[f64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_f64(data, shape, Device::CPU).unwrap(), false)
}

/// 1.5 · sin(0.7 · i) in this shape.
fn ramp(shape: &[i64]) -> Variable {
    let n: i64 = shape.iter().product();
    t(&(0..n).map(|i| (i as f64 * 0.7).sin() * 1.5).collect::<Vec<_>>(), shape)
}

fn ints(data: &[i64]) -> Tensor {
    Tensor::from_i64(data, &[data.len() as i64], Device::CPU).unwrap()
}

fn values(v: &Variable) -> Vec<f64> {
    v.data().to_f64_vec().unwrap()
}

#[track_caller]
fn close(got: &Variable, want: &[f64]) {
    near(&values(got), want, 1e-9);
}

#[track_caller]
fn near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i}: {g} is not {w}; all: {got:?}");
    }
}

#[track_caller]
fn fails<T>(result: Result<T>, message: &str) {
    match result {
        Ok(_) => panic!("expected the error {message:?}"),
        Err(e) => assert_eq!(e.to_string(), message),
    }
}

/// A layer's parameters in float64, with these values for the first one.
fn load(m: &dyn Module, weight: &Variable) {
    for (k, p) in m.parameters().iter().enumerate() {
        let data = if k == 0 { weight.data() } else { p.variable.data() };
        p.variable.set_data(data.to_dtype(DType::Float64).unwrap());
    }
}

fn gradient(p: &Parameter) -> Vec<f64> {
    p.variable.grad().unwrap().to_f64_vec().unwrap()
}

#[test]
fn convolutions_pad_as_asked() -> Checked {
    let conv = Conv1d::configure(2, 2, 4).with_same_padding().without_bias().done()?;
    load(&conv, &ramp(&[2, 2, 4]));
    let want = [
        7.5001498181,
        8.5408996499,
        5.3122425345,
        1.7187342774,
        -0.003509069,
        5.5547367318,
        4.1596396908,
        -0.7509465848,
        -3.2280433201,
        -2.4151439443,
    ];
    close(&conv.forward(&ramp(&[1, 2, 5]))?, &want);
    close(&conv.forward(&ramp(&[2, 5]))?, &want);
    let wide = Conv1d::configure(2, 2, 4).with_dilation(3).with_same_padding().without_bias();
    let wide = wide.done()?;
    load(&wide, &ramp(&[2, 2, 4]));
    close(
        &wide.forward(&ramp(&[1, 2, 5]))?,
        &[
            4.1116343963,
            3.4287637896,
            2.3314724662,
            2.2038121,
            1.4850545985,
            2.2668201997,
            1.5446895301,
            -0.1200730675,
            -0.6680919737,
            -1.095077694,
        ],
    );
    let mirror = Conv2d::configure(1, 1, [2, 3])
        .with_padding_mode(PaddingMode::Reflect)
        .with_same_padding()
        .without_bias()
        .done()?;
    load(&mirror, &ramp(&[1, 1, 2, 3]));
    close(
        &mirror.forward(&ramp(&[1, 1, 3, 4]))?,
        &[
            1.2764491013,
            4.1929165033,
            2.779547756,
            1.6908248721,
            -0.7486310404,
            -4.1728895238,
            -3.6937763798,
            -1.8542828355,
            -1.0296839565,
            2.5552123322,
            2.5805103332,
            1.1436626911,
        ],
    );
    let plain = Conv2d::configure(1, 1, 3).with_padding(1).done()?;
    let circular = Conv2d::configure(1, 1, 3)
        .with_padding(1)
        .with_padding_mode(PaddingMode::Circular)
        .done()?;
    assert_ne!(plain.structural_hash(), circular.structural_hash());
    assert_eq!(
        circular.forward(&ramp(&[0, 1, 3, 3]).to_dtype(DType::Float32)?)?.shape(),
        [0, 1, 3, 3]
    );
    fails(
        Conv1d::configure(1, 1, 3).with_same_padding().with_stride(2).done(),
        "Conv1d: same padding needs stride 1, not [2]",
    );
    let x = ramp(&[1, 1, 1, 3]).to_dtype(DType::Float32)?;
    let mirror = Conv2d::configure(1, 1, 3).with_padding(1).with_padding_mode(PaddingMode::Reflect);
    fails(
        mirror.done()?.forward(&x),
        "Conv2d: expected a dim 2 that reflection padding [1, 1] fits, got shape [1, 1, 1, 3]",
    );
    fails(circular.forward(&ramp(&[3])), "conv2d: expected an input [N, C, H, W], got shape [3]");
    assert_eq!(ConvTranspose1d::no_bias(2, 3, 3)?.parameters().len(), 1);
    Ok(())
}

#[test]
fn padding_that_cuts_off_is_pytorchs() -> Checked {
    let x = ramp(&[1, 4]);
    close(
        &pad(&x, &[-1, 2], PadMode::Circular)?,
        &[0.9663265309, 1.478174595, 1.29481405, 0.9663265309, 1.478174595],
    );
    close(
        &pad(&x, &[-2, 2], PadMode::Reflect)?,
        &[1.478174595, 1.29481405, 1.478174595, 0.9663265309],
    );
    close(&pad(&x, &[3, -2], PadMode::Replicate)?, &[0.0, 0.0, 0.0, 0.0, 0.9663265309]);
    for mode in 0..4 {
        let want = x.pad_mode(&[1, -1], mode, 0.5)?;
        assert_eq!(values(&want), x.data().pad_mode(&[1, -1], mode, 0.5)?.to_f64_vec()?);
    }
    fails(
        x.pad_mode(&[-2, 3], 3, 0.0),
        "pad: expected a dim 1 that circular padding [-2, 3] fits, got shape [1, 4]",
    );
    Ok(())
}

#[test]
fn tables_have_all_settings() -> Checked {
    let emb = Embedding::new(4, 2)?.max_norm(1.0).scale_grad_by_freq(true);
    load(&emb, &ramp(&[4, 2]));
    let words = Variable::new(ints(&[1, 3, 1, 2]), false);
    let y = emb.forward(&words)?;
    let rows = [
        0.7522206349,
        0.6589112342,
        -0.6636338368,
        -0.7480575039,
        0.7522206349,
        0.6589112342,
        0.5024822252,
        -0.5261748415,
    ];
    close(&y, &rows);
    y.sum()?.backward()?;
    near(&gradient(emb.weight()), &[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 1e-12);
    // Rows that were not looked up, or were short enough, stay as they are.
    let table = emb.weight().variable.data().to_f64_vec()?;
    near(&table[..4], &[0.0, 0.9663265309, 0.7522206349, 0.6589112342], 1e-9);
    let by_sum = Embedding::new(4, 2)?.norm_type(1.0).max_norm(1.0);
    load(&by_sum, &ramp(&[4, 2]));
    close(
        &by_sum.forward(&words)?,
        &[
            0.5330618805,
            0.4669380834,
            -0.4700983804,
            -0.5299015836,
            0.5330618805,
            0.4669380834,
            0.4884836673,
            -0.5115162355,
        ],
    );
    assert_ne!(emb.structural_hash(), by_sum.structural_hash());
    let given = Embedding::from_pretrained(ramp(&[4, 2]).data(), true)?.padding_idx(-1)?;
    assert!(given.weight().is_frozen());
    assert!(!given.forward(&words)?.requires_grad());
    fails(Embedding::new(4, 2)?.padding_idx(4), "Embedding: index 4 is out of range for size 4");
    fails(
        emb.forward(&Variable::new(ints(&[4]), false)),
        "embedding: index 4 is out of range for size 4",
    );
    fails(
        Embedding::new(4, 2)?.max_norm(-1.0).forward(&words),
        "Embedding: max_norm -1 must not be negative",
    );

    let bag = EmbeddingBag::new(5, 2)?.mode(Bag::Sum).include_last_offset(true).padding_idx(2)?;
    load(&bag, &ramp(&[5, 2]));
    let factors = t(&[0.5, 2.0, -1.0, 3.0, 1.0], &[5]);
    factors.set_requires_grad(true)?;
    let (indices, offsets) = (ints(&[0, 2, 4, 1, 3]), ints(&[0, 2, 2, 5]));
    let y = bag.forward_weighted(&indices, &offsets, &factors)?;
    close(&y, &[0.0, 0.4831632654, 0.0, 0.0, 4.0740600831, 2.3855423803]);
    y.mul(&ramp(&[3, 2]))?.sum()?.backward()?;
    near(
        &gradient(bag.weight()),
        &[
            0.0,
            0.4831632654,
            1.5074466757,
            -1.5785245246,
            0.0,
            0.0,
            0.5024822252,
            -0.5261748415,
            -0.5024822252,
            0.5261748415,
        ],
        1e-9,
    );
    near(
        &factors.grad().unwrap().to_f64_vec()?,
        &[0.9337869642, 0.0, -0.4890709745, 0.0614578822, 0.1184857713],
        1e-9,
    );
    let mean = EmbeddingBag::new(5, 2)?.scale_grad_by_freq(true);
    load(&mean, &ramp(&[5, 2]));
    let y = mean.forward_bag(&ints(&[0, 2, 0, 1, 3]), &ints(&[0, 2]), Bag::Mean)?;
    close(&y, &[0.2512411126, 0.2200758447, 0.0569369788, 0.2624872206]);
    y.mul(&ramp(&[2, 2]))?.sum()?.backward()?;
    // A row's share of its bag, over how often the row was looked up. (PyTorch divides by the count of
    // another row where an index before it in order is repeated.)
    near(
        &gradient(mean.weight()),
        &[
            0.2463624325,
            0.4573839744,
            0.492724865,
            0.4316046833,
            0.0,
            0.4831632654,
            0.492724865,
            0.4316046833,
            0.0,
            0.0,
        ],
        1e-9,
    );
    // Without weights the fused sums agree with the weighted ones.
    let ones = Variable::new(Tensor::ones(&[5], factors.data().options())?, false);
    close(
        &bag.forward_bag(&indices, &offsets, Bag::Sum)?,
        &values(&bag.forward_weighted(&indices, &offsets, &ones)?),
    );
    fails(
        mean.forward_bag(&ints(&[0]), &ints(&[0]), Bag::Max),
        "embedding_bag: scale_grad_by_freq does not go with mode max",
    );
    fails(
        bag.forward_weighted(&indices, &offsets, &t(&[1.0], &[1])),
        "embedding_bag: shapes [5] and [1] do not fit: every index needs a weight",
    );
    fails(
        bag.forward_bag(&indices, &ints(&[0, 6]), Bag::Sum),
        "embedding_bag: the last offset 6 must be in 0..=5",
    );
    let options = BagOptions { per_sample_weights: Some(ones), ..BagOptions::default() };
    fails(
        embedding_bag_opt(&bag.weight().variable, &indices, &ints(&[0]), Bag::Mean, &options),
        "embedding_bag: per_sample_weights go with mode sum only",
    );
    fails(
        bag.forward_bag(&indices, &offsets, 3),
        "embedding_bag: mode 3 is none of 0 (sum), 1 (mean), 2 (max)",
    );
    assert_ne!(bag.structural_hash(), mean.structural_hash());
    Ok(())
}

#[test]
fn samples_at_points() -> Checked {
    use GridMode::{Bicubic, Bilinear, Nearest};
    use GridPadding::{Border, Reflection, Zeros};
    let x = ramp(&[1, 1, 3, 4]);
    let grid = t(&[-1.3, -0.4, 0.2, 0.9, 0.0, 0.0, 1.1, -2.2], &[1, 2, 2, 2]);
    let table: &[(GridMode, GridPadding, bool, [f64; 4])] = &[
        (Bilinear, Zeros, false, [0.0, 0.5781450957, -0.9167692501, 0.0]),
        (Bilinear, Zeros, true, [0.1658191343, 0.5989726902, -0.9167692501, 0.0]),
        (Bilinear, Border, false, [0.2009928901, 0.8894539933, -0.9167692501, 1.29481405]),
        (Bilinear, Border, true, [0.3014893351, 0.5989726902, -0.9167692501, 1.29481405]),
        (Bilinear, Reflection, false, [0.2178261993, 0.8894539933, -0.9167692501, -0.586899538]),
        (Bilinear, Reflection, true, [0.1976907027, 0.5989726902, -0.9167692501, -0.8774380073]),
        (Nearest, Zeros, false, [0.0, 0.9854798981, -1.3073636586, 0.0]),
        (Nearest, Border, true, [0.5024822252, 0.9854798981, -1.3073636586, 1.29481405]),
        (Nearest, Reflection, false, [0.0, 0.9854798981, -1.3073636586, -1.4736789189]),
        (Bicubic, Zeros, false, [-0.0181836062, 0.8245809023, -0.9976137944, 0.0]),
        (Bicubic, Zeros, true, [0.2990511641, 0.6610372504, -0.9976137944, -0.1069995558]),
        (Bicubic, Border, false, [0.2993186205, 1.1186051817, -0.9976137944, 1.2861502642]),
        (Bicubic, Border, true, [0.5121066435, 0.6129162611, -0.9976137944, 1.2799102757]),
        (Bicubic, Reflection, false, [0.3040502381, 1.245404063, -0.9976137944, -0.9509613855]),
        (Bicubic, Reflection, true, [0.3473948295, 0.7326369532, -0.9976137944, -1.1547700524]),
    ];
    for (mode, padding, align, want) in table {
        close(&grid_sample(&x, &grid, *mode, *padding, *align)?, want);
        let tensor = x.data().grid_sample(&grid.data(), *mode, *padding, *align)?;
        near(&tensor.to_f64_vec()?, want, 1e-9);
    }
    assert_eq!(
        grid_sample(&ramp(&[0, 1, 3, 4]), &ramp(&[0, 2, 2, 2]), 0, 0, false)?.shape(),
        [0, 1, 2, 2]
    );
    let half =
        grid_sample(&x.to_dtype(DType::BFloat16)?, &grid.to_dtype(DType::BFloat16)?, 1, 1, true)?;
    assert_eq!(half.dtype(), DType::BFloat16);
    fails(
        grid_sample(&x, &grid, 3, 0, false),
        "grid_sample: mode 3 is none of 0 (bilinear), 1 (nearest), 2 (bicubic)",
    );
    fails(
        grid_sample(&x, &grid, 0, 5, false),
        "grid_sample: padding mode 5 is none of 0 (zeros), 1 (border), 2 (reflection)",
    );
    fails(
        grid_sample(&x, &ramp(&[2, 2, 2, 2]), 0, 0, false),
        "grid_sample: shapes [1, 1, 3, 4] and [2, 2, 2, 2] do not fit: 1 inputs need as many grids",
    );
    fails(
        grid_sample(&x, &ramp(&[1, 2, 2, 3]), 0, 0, false),
        "grid_sample: shapes [1, 1, 3, 4] and [1, 2, 2, 3] do not fit: an input [N, C, H, W] needs a \
         grid [N, rows, columns, 2]",
    );
    fails(
        grid_sample(&x, &grid.to_dtype(DType::Float32)?, 0, 0, false),
        "grid_sample: dtypes float64 and float32 do not mix; cast one with to_dtype",
    );
    fails(
        grid_sample(&ramp(&[1, 1, 0, 4]), &grid, 0, 0, false),
        "grid_sample: expected a height and width of at least 1, got shape [1, 1, 0, 4]",
    );
    // Points that are no numbers do not read outside the input.
    let nowhere = t(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300], &[1, 1, 2, 2]);
    for (mode, padding, align, _) in table {
        assert_eq!(grid_sample(&x, &nowhere, *mode, *padding, *align)?.numel(), 2);
    }
    Ok(())
}

#[test]
fn pools_give_indices_and_take_them_back() -> Checked {
    let (pool, unpool) = (MaxPool2d::new(2), MaxUnpool2d::new(2));
    let (y, places) = pool.forward_with_indices(&ramp(&[1, 1, 4, 4]))?;
    assert_eq!(places.to_i64_vec()?, [1, 2, 12, 11]);
    let mut want = [0.0; 16];
    for (v, &i) in values(&y).iter().zip(&[1, 2, 12, 11]) {
        want[i] = *v;
    }
    close(&unpool.forward_unpool(&y, &places)?, &want);
    assert_eq!(unpool.forward_sized(&y, &places, [5, 4])?.shape(), [1, 1, 5, 4]);
    let single = MaxUnpool1d::with_stride(3, 2).padding(1);
    assert_eq!(
        single
            .forward_unpool(&ramp(&[2, 3]), &ints(&[0, 1, 2, 0, 1, 2]).reshape(&[2, 3])?)?
            .shape(),
        [2, 5]
    );
    fails(
        unpool.forward_unpool(&y, &ints(&[1])),
        "max_unpool2d: shapes [1, 1, 2, 2] and [1] do not fit: every value needs an index",
    );
    fails(
        unpool.forward_sized(&y, &places, [3, 4]),
        "scatter: index 12 is out of range for size 12",
    );
    fails(
        unpool.forward_unpool(&y, &ramp(&[1, 1, 2, 2])),
        "max_unpool2d: expected integer indices, got dtype float64",
    );
    fails(
        unpool.forward(&y),
        "MaxUnpool2d: takes two inputs, the pooled values and their indices: call forward_unpool",
    );
    let (all, where_) = AdaptiveMaxPool1d::new(2).forward_with_indices(&ramp(&[1, 5]))?;
    close(&all, &[1.478174595, 1.478174595]);
    assert_eq!(where_.to_i64_vec()?, [2, 2]);

    let samples = t(&[0.3, 0.7], &[1, 1, 2]);
    close(
        &fractional_max_pool(&ramp(&[1, 1, 5, 6]), [2, 2], [3, 4], &samples)?,
        &[
            0.9663265309,
            1.478174595,
            1.29481405,
            1.4822523508,
            1.2818983621,
            0.4786475435,
            0.9854798981,
            1.4822523508,
            1.0043546433,
            1.4859110335,
            1.2686202467,
            1.4891496088,
        ],
    );
    let half = FractionalMaxPool2d::with_ratio(2, 0.5);
    assert_eq!(half.forward(&ramp(&[3, 8, 6]))?.shape(), [3, 4, 3]);
    assert_eq!(half.forward(&ramp(&[0, 3, 8, 6]))?.shape(), [0, 3, 4, 3]);
    fails(
        FractionalMaxPool2d::with_ratio(2, 1.0).forward(&ramp(&[3, 8, 6])),
        "FractionalMaxPool: output ratio 1 must be in (0, 1)",
    );
    fails(
        FractionalMaxPool2d::new(3, 5).forward(&ramp(&[1, 6, 8])),
        "fractional_max_pool2d: expected an input that [5, 5] windows of [3, 3] fit into, got shape \
         [1, 6, 8]",
    );
    fails(
        fractional_max_pool(&ramp(&[1, 1, 5, 6]), [2, 2], [3, 4], &t(&[0.3, 1.0], &[1, 1, 2])),
        "fractional_max_pool2d: samples must be [1, 1, 2] in [0, 1), not [1, 1, 2]",
    );
    Ok(())
}

#[test]
fn norms_of_any_batch_and_type() -> Checked {
    let norm = InstanceNorm1d::new(2, true)?.track_running_stats(true)?;
    for p in norm.parameters() {
        p.variable.set_data(p.variable.data().to_dtype(DType::Float64)?);
    }
    for b in &norm.buffers()[..2] {
        b.set(b.get().to_dtype(DType::Float64)?);
    }
    let want = [
        -1.6399552295,
        0.055255977,
        0.9531828647,
        0.6315163878,
        1.5399746946,
        0.2239070969,
        -0.7755487209,
        -0.9883330706,
    ];
    close(&norm.forward(&ramp(&[2, 4]))?, &want);
    near(&norm.buffers()[0].get().to_f64_vec()?, &[0.0934828794, -0.0701183798], 1e-9);
    near(&norm.buffers()[1].get().to_f64_vec()?, &[0.9433237008, 0.9814547589], 1e-9);
    norm.eval();
    close(
        &norm.forward(&ramp(&[2, 4]))?,
        &[
            -0.0962497047,
            0.898677322,
            1.4256746219,
            1.2368871302,
            0.5779821784,
            -0.4603426976,
            -1.2488734995,
            -1.4167518699,
        ],
    );
    fails(
        InstanceNorm2d::new(2, false)?.forward(&ramp(&[1, 2, 3, 3, 3])),
        "InstanceNorm2d: expected an input [N, 2, H, W] or without N, got shape [1, 2, 3, 3, 3]",
    );
    fails(
        InstanceNorm::new(2, false)?.forward(&ramp(&[2, 3])),
        "InstanceNorm: expected an input [N, 2, spatial...], got shape [2, 3]",
    );
    // 16-bit floats go through float32, with weights of either type.
    for dtype in [DType::Float16, DType::BFloat16] {
        let x = ramp(&[2, 4]).to_dtype(dtype)?;
        x.set_requires_grad(false)?;
        let layers: Vec<Box<dyn Module>> = vec![
            Box::new(LayerNorm::new(4)?),
            Box::new(RMSNorm::new(4)?),
            Box::new(GroupNorm::new(2, 4)?),
            Box::new(BatchNorm::new(4)?),
            Box::new(InstanceNorm1d::new(2, true)?),
        ];
        for layer in layers {
            let wide = layer.forward(&x.to_dtype(DType::Float32)?)?.to_dtype(dtype)?;
            let y = layer.forward(&x)?;
            assert_eq!(y.dtype(), dtype, "{}", layer.name());
            assert_eq!(values(&y), values(&wide), "{}", layer.name());
            y.to_dtype(DType::Float32)?.sum()?.backward()?;
            assert!(layer.parameters()[0].variable.grad().is_some(), "{}", layer.name());
            cast_all(&*layer, dtype)?;
            assert_eq!(layer.forward(&x)?.dtype(), dtype, "{}", layer.name());
            layer.eval();
            assert_eq!(layer.forward(&x)?.dtype(), dtype, "{}", layer.name());
        }
    }
    let one = ramp(&[2, 4]).to_dtype(DType::Float16)?;
    close(
        &layer_norm_opt(&one, None, None, 4, 1e-5)?,
        &[
            -1.6396484375,
            0.0550231934,
            0.9536132812,
            0.6313476562,
            1.5400390625,
            0.2237548828,
            -0.7758789062,
            -0.98828125,
        ],
    );
    // An empty batch is counted and changes nothing else.
    let bn = BatchNorm2d::new(2)?;
    let empty = Variable::new(Tensor::zeros(&[0, 2, 3, 3], Default::default())?, true);
    let y = bn.forward(&empty)?;
    assert_eq!(y.shape(), [0, 2, 3, 3]);
    y.sum()?.backward()?;
    assert_eq!(gradient(&bn.parameters()[0]), [0.0, 0.0]);
    assert_eq!(bn.running_mean().unwrap().to_f64_vec()?, [0.0, 0.0]);
    assert_eq!(bn.buffers()[2].get().item()?, 1.0);
    fails(
        bn.forward(&Variable::new(Tensor::zeros(&[1, 2, 1, 1], Default::default())?, false)),
        "BatchNorm2d: expected more than one value per channel in training, got shape [1, 2, 1, 1]",
    );
    let all = BatchNorm::new(2)?.cumulative_average();
    for b in &all.buffers()[..2] {
        b.set(b.get().to_dtype(DType::Float64)?);
    }
    for p in all.parameters() {
        p.variable.set_data(p.variable.data().to_dtype(DType::Float64)?);
    }
    all.forward(&ramp(&[3, 2]))?;
    all.forward(&ramp(&[4, 2]).mul_scalar(2.0)?)?;
    near(&all.running_mean().unwrap().to_f64_vec()?, &[0.4984327604, 0.3544826616], 1e-9);
    near(&all.running_var().unwrap().to_f64_vec()?, &[2.9713602337, 3.8321902167], 1e-9);
    Ok(())
}

fn cast_all(layer: &dyn Module, dtype: DType) -> Result<()> {
    for p in layer.parameters() {
        p.variable.set_data(p.variable.data().to_dtype(dtype)?);
        p.variable.zero_grad();
    }
    Ok(())
}

#[test]
fn patches_are_columns() -> Checked {
    let unfold = Unfold::new([3, 3], [1, 1], [0, 0], [1, 1]);
    let fold = Fold::new([28, 28], [3, 3], [1, 1], [0, 0], [1, 1]);
    let ones = Variable::new(Tensor::ones(&[1, 1, 28, 28], Default::default())?, false);
    let counts = fold.forward(&unfold.forward(&ones)?)?;
    for (at, want) in [([0, 0], 1.0), ([0, 5], 3.0), ([1, 5], 6.0), ([5, 5], 9.0)] {
        assert_eq!(counts.select(2, at[0])?.select(2, at[1])?.item()?, want, "{at:?}");
    }
    // Patches that touch are put back where they were.
    let x = ramp(&[2, 3, 8, 6]);
    let tiles = Unfold::with_kernel([4, 2]).stride([4, 2]).forward(&x)?;
    let back = Fold::with_kernel([8, 6], [4, 2]).stride([4, 2]).forward(&tiles)?;
    assert_eq!(values(&back), values(&x));
    // Each is the other's adjoint.
    let (k, d, p, s) = ([2, 3], [2, 1], [1, 2], [2, 1]);
    let columns = im2col(&x, k, d, p, s)?;
    let y = ramp(&columns.shape()).add_scalar(0.3)?;
    let left = columns.mul(&y)?.sum()?.item()?;
    let right = x.mul(&col2im(&y, [8, 6], k, d, p, s)?)?.sum()?.item()?;
    assert!((left - right).abs() < 1e-9 * left.abs(), "{left} and {right}");
    assert_eq!(unfold.forward(&ramp(&[3, 4, 5]))?.shape(), [27, 6]);
    assert_eq!(unfold.forward(&ramp(&[0, 3, 4, 5]))?.shape(), [0, 27, 6]);
    assert_eq!(fold.forward(&ramp(&[0, 9, 676]))?.shape(), [0, 1, 28, 28]);
    let model = FlowBuilder::from(Unfold::with_kernel(2).stride(2))
        .through(Fold::with_kernel(4, 2).stride(2))
        .build()?;
    let image = ramp(&[1, 1, 4, 4]);
    assert_eq!(values(&model.forward(&image)?), values(&image));
    let big = Unfold::with_kernel(5);
    fails(
        big.forward(&ramp(&[1, 1, 4, 4])),
        "im2col: expected an image of which a patch of 5 fits into dim 0, got shape [4, 4]",
    );
    fails(
        Unfold::with_kernel(0).forward(&ramp(&[1, 1, 4, 4])),
        "im2col: kernel [0, 0], dilation [1, 1] and stride [1, 1] must be positive and padding [0, \
         0] not negative",
    );
    fails(
        unfold.forward(&ramp(&[4, 4])),
        "im2col: expected images [N, C, H, W] or [C, H, W], got shape [4, 4]",
    );
    fails(
        fold.forward(&ramp(&[1, 9, 675])),
        "col2im: expected columns [N, C * 9, 676] or without N, for the 676 patches of [3, 3] in an \
         image of [28, 28], got shape [1, 9, 675]",
    );
    fails(
        Fold::with_kernel(0, 1).forward(&ramp(&[1, 1, 1])),
        "col2im: output size [0, 0] must be positive",
    );
    fails(
        unfold.forward(&Variable::new(
            Tensor::zeros(
                &[1, 1, 4, 4],
                TensorOptions { dtype: DType::Int64, ..Default::default() },
            )?,
            false,
        )),
        "im2col: expected a floating-point tensor, got dtype int64",
    );
    Ok(())
}

#[test]
fn layers_of_two_inputs() -> Checked {
    let bi = Bilinear::new(128, 64, 32, true)?;
    assert_eq!(bi.parameters().len(), 2);
    assert_eq!(Bilinear::new(128, 64, 32, false)?.parameters().len(), 1);
    let bound = 1.0 / 128f64.sqrt();
    for p in bi.parameters() {
        let largest = p.variable.data().abs()?.max()?.item()?;
        assert!(largest <= bound && largest > 0.8 * bound, "{}: {largest}", p.name);
    }
    let small = Bilinear::new(2, 3, 2, true)?;
    load(&small, &ramp(&[2, 2, 3]));
    let (x1, x2) = (ramp(&[4, 2]), ramp(&[4, 3]).add_scalar(0.2)?);
    let mut want = Vec::new();
    let (w, b) = (values(&small.weight().variable), values(&small.bias().unwrap().variable));
    for (r1, r2) in values(&x1).chunks(2).zip(values(&x2).chunks(3)) {
        for o in 0..2 {
            let terms = (0..6).map(|k| r1[k / 3] * w[6 * o + k] * r2[k % 3]);
            want.push(b[o] + terms.sum::<f64>());
        }
    }
    close(&small.forward_bilinear(&x1, &x2)?, &want);
    let refs = HashMap::from([("other".to_owned(), x2.clone())]);
    close(&small.as_named_input().unwrap().forward_named(&x1, &refs)?, &want);
    assert_eq!(small.forward_bilinear(&ramp(&[0, 2]), &ramp(&[0, 3]))?.shape(), [0, 2]);
    assert_eq!(small.forward_bilinear(&ramp(&[2]), &ramp(&[3]))?.shape(), [2]);
    // Other strides, the same result.
    let strided = ramp(&[2, 4]).transpose(0, 1)?;
    close(
        &small.forward_bilinear(&strided, &x2)?,
        &values(&small.forward_bilinear(&strided.contiguous()?, &x2)?),
    );
    fails(
        small.forward(&x1),
        "Bilinear: takes two inputs: call forward_bilinear, or name the second one in a graph with \
         using",
    );
    fails(
        small.forward_bilinear(&x1, &x1),
        "Bilinear: expected inputs [..., 2] and [..., 3], got shape [4, 2]",
    );
    fails(
        small.forward_bilinear(&x1, &ramp(&[5, 3])),
        "bilinear: shapes [4, 2] and [5, 3] do not fit: inputs must be [..., 2] and [..., 3] with \
         the same dims before",
    );
    fails(
        small.forward_bilinear(&x1, &x2.to_dtype(DType::Float32)?),
        "bilinear: dtypes float64 and float32 do not mix; cast one with to_dtype",
    );
    fails(Bilinear::new(0, 1, 1, true), "Bilinear: weight sizes [1, 0, 1] must be positive");
    let empty = HashMap::new();
    fails(
        small.as_named_input().unwrap().forward_named(&x1, &empty),
        "Bilinear: takes one named input, not 0",
    );
    let (a, b) = (ramp(&[2, 3]), ramp(&[2, 3]).add_scalar(1.0)?);
    close(&CosineSimilarity::default().forward_pair(&a, &b)?, &[0.949486165, 0.8410380807]);
    let distance = PairwiseDistance::new(1.5).keepdim(true);
    close(&distance.forward_pair(&a, &b)?, &[2.080081743, 2.080081743]);
    assert_ne!(distance.structural_hash(), PairwiseDistance::default().structural_hash());
    Ok(())
}

#[test]
fn small_layers() -> Checked {
    let blur = GaussianBlur::new(0.9);
    let mut spot = vec![0.0; 81];
    spot[40] = 1.0;
    let y = blur.forward(&t(&spot, &[1, 1, 9, 9]))?;
    let weight = |i: i64| (-0.5 * (i as f64 / 0.9).powi(2)).exp();
    let sum: f64 = (-3..=3).map(weight).sum();
    let at = |r: i64, c: i64| {
        if r.abs() > 3 || c.abs() > 3 { 0.0 } else { weight(r) * weight(c) / (sum * sum) }
    };
    let want: Vec<f64> = (-4..=4).flat_map(|r| (-4..=4).map(move |c| at(r, c))).collect();
    near(&values(&y), &want, 1e-12);
    close(&blur.forward(&ramp(&[2, 4, 5]).mul_scalar(0.0)?.add_scalar(2.0)?)?, &[2.0; 40]);
    assert_eq!(
        values(&GaussianBlur::new(0.0).forward(&ramp(&[1, 1, 2, 2]))?),
        values(&ramp(&[1, 1, 2, 2]))
    );
    assert_eq!(blur.forward(&ramp(&[0, 3, 4, 4]))?.shape(), [0, 3, 4, 4]);
    fails(
        blur.forward(&ramp(&[1, 1, 3, 9])),
        "gaussian_blur_2d: expected a height and width above 3, three deviations of 0.9, got shape \
         [1, 1, 3, 9]",
    );
    fails(
        gaussian_blur_2d(&ramp(&[1, 4, 4]), f64::NAN),
        "gaussian_blur_2d: sigma NaN must not be negative, and below 1e6",
    );
    fails(
        gaussian_blur_2d(&ramp(&[4, 4]), 1.0),
        "gaussian_blur_2d: expected an input [N, C, H, W] or [C, H, W], got shape [4, 4]",
    );

    // All types move alike, and every bit stays as it is.
    for (r, shape) in [(2, [2, 8, 1, 3]), (3, [1, 9, 2, 2]), (1, [1, 2, 2, 2])] {
        let x = ramp(&shape).mul_scalar(100.0)?;
        let whole = x.data().to_dtype(DType::Int64)?;
        let want = whole.pixel_shuffle(r)?;
        let y = whole.to_dtype(DType::Float64)?.pixel_shuffle(r)?;
        assert_eq!((y.shape(), y.to_i64_vec()?), (want.shape(), want.to_i64_vec()?));
        assert_eq!(y.pixel_unshuffle(r)?.to_i64_vec()?, whole.to_i64_vec()?);
        assert_eq!(want.pixel_unshuffle(r)?.to_i64_vec()?, whole.to_i64_vec()?);
    }
    let zero = pixel_shuffle(&t(&[-0.0; 4], &[4, 1, 1]), 2)?;
    assert!(values(&zero).iter().all(|v| v.is_sign_negative()));
    assert_eq!(PixelShuffle::new(2).forward(&ramp(&[0, 4, 2, 2]))?.shape(), [0, 1, 4, 4]);

    let order: Vec<f64> = (0..6).map(f64::from).collect();
    close(
        &ChannelShuffle::new(3).forward(&t(&order, &[1, 6, 1]))?,
        &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0],
    );
    fails(
        ChannelShuffle::new(4).forward(&t(&order, &[1, 6, 1])),
        "channel_shuffle: expected an input [N, C, ...] whose channels 4 groups divide, got shape \
         [1, 6, 1]",
    );
    assert_eq!(Unflatten::new(-1, &[2, -1]).forward(&ramp(&[3, 6]))?.shape(), [3, 2, 3]);
    assert_eq!(Unflatten::new(0, &[3, 0]).forward(&ramp(&[0, 2]))?.shape(), [3, 0, 2]);
    for wrong in [&[2, 2][..], &[-1, -1], &[4, -1], &[], &[-2, -3], &[0, -1]] {
        fails(
            Unflatten::new(1, wrong).forward(&ramp(&[3, 6])),
            &format!("Unflatten: expected a dim 1 that sizes {wrong:?} make up, got shape [3, 6]"),
        );
    }

    let x = ramp(&[1, 3, 2, 2]);
    close(&Softmax2d.forward(&x)?.sum_dim(1, false)?, &[1.0; 4]);
    close(&Softmax2d.forward(&x.squeeze(0)?)?, &values(&Softmax2d.forward(&x)?));
    fails(
        Softmax2d.forward(&ramp(&[2, 2])),
        "Softmax2d: expected an input [N, C, H, W] or [C, H, W], got shape [2, 2]",
    );
    close(&Softmin::new(1).forward(&x)?, &values(&Softmax::new(1).forward(&x.neg()?)?));
    assert_eq!(size_of::<Softmax2d>(), 0);

    let rrelu = RReLU::new(0.1, 0.3);
    let negative = t(&vec![-1.0; 1000], &[1000]);
    let slopes: Vec<f64> = values(&rrelu.forward(&negative)?).iter().map(|v| -v).collect();
    assert!(slopes.iter().all(|s| (0.1..0.3).contains(s)));
    let mean = slopes.iter().sum::<f64>() / 1000.0;
    assert!((mean - 0.2).abs() < 0.02 && slopes[0] != slopes[1], "{mean}");
    assert_eq!(values(&rrelu.forward(&t(&[0.0, 2.5], &[2]))?), [0.0, 2.5]);
    rrelu.eval();
    close(&rrelu.forward(&t(&[-1.0, 2.0], &[2]))?, &[-0.2, 2.0]);
    fails(
        RReLU::new(0.5, 0.1).forward(&negative),
        "rrelu: bounds must be finite and in order, not 0.5 and 0.1",
    );

    // Whole channels fall, with a batch and without.
    let ones =
        |shape: &[i64]| Variable::new(Tensor::ones(shape, Default::default()).unwrap(), false);
    for (layer, shape) in [
        (Box::new(Dropout1d::new(0.5)) as Box<dyn Module>, &[64, 9][..]),
        (Box::new(Dropout1d::new(0.5)), &[2, 32, 9]),
        (Box::new(Dropout2d::new(0.5)), &[2, 32, 3, 3]),
        (Box::new(Dropout3d::new(0.5)), &[64, 3, 3, 1]),
        (Box::new(FeatureAlphaDropout::new(0.5)), &[2, 32, 9]),
    ] {
        let y = values(&layer.forward(&ones(shape))?);
        let planes: Vec<&[f64]> = y.chunks(9).collect();
        assert!(planes.iter().all(|p| p.iter().all(|v| v == &p[0])), "{}", layer.name());
        let kept = planes.iter().filter(|p| p[0] == planes[0][0]).count();
        assert!((10..=54).contains(&kept), "{}: {kept} of 64", layer.name());
        layer.eval();
        assert_eq!(values(&layer.forward(&ones(shape))?), vec![1.0; y.len()]);
    }
    fails(
        FeatureAlphaDropout::new(1.5).forward(&ones(&[2, 2])),
        "feature_alpha_dropout: probability 1.5 must be in [0, 1]",
    );
    Ok(())
}

/// The functions on tensors are those on variables, for float32, float64 and 16 bits.
#[test]
fn tensors_have_the_layers_functions() -> Checked {
    type Pair = fn(&[Variable]) -> Result<(Tensor, Variable)>;
    let table: &[(&str, &[&[i64]], Pair)] = &[
        ("conv1d", &[&[2, 2, 6], &[4, 1, 3], &[4]], |v| {
            let d = v.iter().map(Variable::data).collect::<Vec<_>>();
            let bias = Some(&d[2]);
            let y = conv1d(&v[0], &v[1], Some(&v[2]), 2, 1, 1, 2)?;
            Ok((d[0].conv1d(&d[1], bias, 2, 1, 1, 2)?, y))
        }),
        ("conv2d", &[&[2, 5, 6], &[3, 2, 3, 2]], |v| {
            let y = conv2d(&v[0], &v[1], None, [1, 2], [1, 0], [1, 1], 1)?;
            Ok((v[0].data().conv2d(&v[1].data(), None, [1, 2], [1, 0], [1, 1], 1)?, y))
        }),
        ("conv3d", &[&[1, 1, 3, 4, 3], &[2, 1, 2, 2, 2]], |v| {
            let y = conv3d(&v[0], &v[1], None, [1; 3], [0; 3], [1; 3], 1)?;
            Ok((v[0].data().conv3d(&v[1].data(), None, [1; 3], [0; 3], [1; 3], 1)?, y))
        }),
        ("conv_transpose1d", &[&[2, 2, 4], &[2, 3, 3]], |v| {
            let y = conv_transpose1d(&v[0], &v[1], None, 2, 1, 1, 1, 1)?;
            Ok((v[0].data().conv_transpose1d(&v[1].data(), None, 2, 1, 1, 1, 1)?, y))
        }),
        ("conv_transpose2d", &[&[1, 2, 3, 3], &[2, 2, 2, 2], &[2]], |v| {
            let (b, s, p) = (v[2].data(), [2, 1], [0, 1]);
            let y = conv_transpose2d(&v[0], &v[1], Some(&v[2]), s, p, [1, 0], [1, 1], 1)?;
            let x = v[0].data();
            Ok((x.conv_transpose2d(&v[1].data(), Some(&b), s, p, [1, 0], [1, 1], 1)?, y))
        }),
        ("conv_transpose3d", &[&[1, 2, 2, 2, 2], &[2, 1, 2, 2, 2]], |v| {
            let y = conv_transpose3d(&v[0], &v[1], None, [2; 3], [0; 3], [0; 3], [1; 3], 1)?;
            let x = v[0].data();
            Ok((x.conv_transpose3d(&v[1].data(), None, [2; 3], [0; 3], [0; 3], [1; 3], 1)?, y))
        }),
        ("max_pool1d", &[&[2, 2, 7]], |v| {
            let y = max_pool1d(&v[0], 3, 2, 1, 1, true)?;
            Ok((v[0].data().max_pool1d(3, 2, 1, 1, true)?, y))
        }),
        ("max_pool2d", &[&[2, 5, 6]], |v| {
            let y = max_pool2d(&v[0], [2, 3], [2, 2], [1, 1], [1, 1], false)?;
            Ok((v[0].data().max_pool2d([2, 3], [2, 2], [1, 1], [1, 1], false)?, y))
        }),
        ("avg_pool1d", &[&[2, 2, 7]], |v| {
            let y = avg_pool1d(&v[0], 3, 2, 1, false, false)?;
            Ok((v[0].data().avg_pool1d(3, 2, 1, false, false)?, y))
        }),
        ("avg_pool2d", &[&[1, 2, 5, 6]], |v| {
            let y = avg_pool2d(&v[0], [2, 3], [2, 2], [1, 1], true, true)?;
            Ok((v[0].data().avg_pool2d([2, 3], [2, 2], [1, 1], true, true)?, y))
        }),
        ("adaptive_avg_pool2d", &[&[1, 2, 5, 6]], |v| {
            Ok((v[0].data().adaptive_avg_pool2d([2, 4])?, adaptive_avg_pool2d(&v[0], [2, 4])?))
        }),
        ("adaptive_max_pool2d", &[&[1, 2, 5, 6]], |v| {
            Ok((v[0].data().adaptive_max_pool2d([2, 4])?, adaptive_max_pool2d(&v[0], [2, 4])?))
        }),
        ("native_layer_norm", &[&[2, 3, 4], &[4], &[4]], |v| {
            let (w, b) = (v[1].data(), v[2].data());
            let (y, mean, rstd) = v[0].data().native_layer_norm(&w, &b, 4, 1e-5)?;
            assert_eq!((mean.shape(), rstd.shape()), (vec![2, 3, 1], vec![2, 3, 1]));
            Ok((y, layer_norm(&v[0], &v[1], &v[2], 4, 1e-5)?))
        }),
        ("group_norm", &[&[2, 4, 3], &[4], &[4]], |v| {
            let (w, b) = (v[1].data(), v[2].data());
            let y = v[0].data().group_norm(2, Some(&w), Some(&b), 1e-5)?;
            Ok((y, group_norm(&v[0], 2, &v[1], &v[2], 1e-5)?))
        }),
        ("batch_norm", &[&[3, 2, 4], &[2], &[2]], |v| {
            let (w, b) = (v[1].data(), v[2].data());
            let y = v[0].data().batch_norm(Some(&w), Some(&b), None, None, true, 0.1, 1e-5)?;
            Ok((y, batch_norm_train(&v[0], Some(&v[1]), Some(&v[2]), 1e-5)?.0))
        }),
        ("batch_norm given", &[&[3, 2, 4], &[2]], |v| {
            let (mean, var) = (v[1].data(), v[1].data().square()?);
            let x = v[0].data();
            let y = x.batch_norm(None, None, Some(&mean), Some(&var), false, 0.1, 1e-5)?;
            Ok((y, batch_norm_eval(&v[0], None, None, &mean, &var, 1e-5)?))
        }),
        ("instance_norm", &[&[3, 2, 4], &[2]], |v| {
            let w = v[1].data();
            let y = v[0].data().instance_norm(Some(&w), None, None, None, true, 0.1, 1e-5)?;
            Ok((y, instance_norm(&v[0], Some(&v[1]), None, None, None, true, 0.1, 1e-5)?))
        }),
        ("dropout", &[&[40]], |v| {
            manual_seed(5);
            let y = v[0].data().dropout(0.5, true)?;
            manual_seed(5);
            Ok((y, dropout(&v[0], 0.5, true)?))
        }),
        ("feature_dropout", &[&[2, 8, 3]], |v| {
            manual_seed(5);
            let y = v[0].data().feature_dropout(0.5, true)?;
            manual_seed(5);
            Ok((y, feature_dropout(&v[0], 0.5, true)?))
        }),
        ("embedding", &[&[4, 3]], |v| {
            let index = ints(&[2, 0, 3]);
            Ok((Tensor::embedding(&v[0].data(), &index, -1)?, embedding(&v[0], &index, -1)?))
        }),
        ("embedding_bag", &[&[4, 3]], |v| {
            let (index, offsets) = (ints(&[2, 0, 3]), ints(&[0, 1]));
            let y = embedding_bag(&v[0], &index, &offsets, 1)?;
            Ok((Tensor::embedding_bag(&v[0].data(), &index, &offsets, 1)?, y))
        }),
        ("interpolate", &[&[1, 2, 3, 4]], |v| {
            let y = interpolate(&v[0], &[5, 7], 1, false)?;
            Ok((v[0].data().interpolate(&[5, 7], 1, false)?, y))
        }),
        ("im2col", &[&[1, 2, 4, 5]], |v| {
            let y = im2col(&v[0], [2, 2], [1, 2], [1, 0], [1, 1])?;
            Ok((v[0].data().im2col([2, 2], [1, 2], [1, 0], [1, 1])?, y))
        }),
        ("col2im", &[&[1, 8, 9]], |v| {
            let y = col2im(&v[0], [4, 4], [2, 2], [1, 1], [0, 0], [1, 1])?;
            Ok((v[0].data().col2im([4, 4], [2, 2], [1, 1], [0, 0], [1, 1])?, y))
        }),
        ("pixel_shuffle", &[&[1, 8, 2, 3]], |v| {
            Ok((v[0].data().pixel_shuffle(2)?, pixel_shuffle(&v[0], 2)?))
        }),
        ("pixel_unshuffle", &[&[1, 2, 4, 6]], |v| {
            Ok((v[0].data().pixel_unshuffle(2)?, pixel_unshuffle(&v[0], 2)?))
        }),
        ("bilinear", &[&[3, 2], &[3, 4], &[2, 2, 4], &[2]], |v| {
            let d = v.iter().map(Variable::data).collect::<Vec<_>>();
            let y = bilinear(&v[0], &v[1], &v[2], Some(&v[3]))?;
            Ok((Tensor::bilinear(&d[0], &d[1], &d[2], Some(&d[3]))?, y))
        }),
        ("pad", &[&[1, 2, 4]], |v| Ok((v[0].data().pad(&[1, -1], 2.0)?, v[0].pad(&[1, -1], 2.0)?))),
    ];
    for (name, shapes, run) in table {
        for dtype in [DType::Float32, DType::Float64, DType::Float16, DType::BFloat16] {
            let inputs = |strided: bool| -> Result<Vec<Variable>> {
                shapes
                    .iter()
                    .map(|s| {
                        let x = ramp(s).add_scalar(0.1)?.to_dtype(dtype)?;
                        // The same values with other strides.
                        let last = s.len() as i32 - 1;
                        let other = x.transpose(0, last)?.contiguous()?.transpose(0, last)?;
                        Ok(if strided { other } else { x })
                    })
                    .collect()
            };
            let what = |e: Error| format!("{name} in {dtype}: {e}");
            let (tensor, variable) = run(&inputs(false)?).map_err(what)?;
            assert_eq!(tensor.dtype(), dtype, "{name}");
            assert_eq!(tensor.shape(), variable.shape(), "{name}");
            assert_eq!(tensor.to_f64_vec()?, values(&variable), "{name} in {dtype}");
            let (strided, _) = run(&inputs(true)?).map_err(what)?;
            assert_eq!(strided.to_f64_vec()?, values(&variable), "{name} in {dtype}, strided");
        }
    }
    let x = ramp(&[2, 2]).data();
    fails(x.dropout(2.0, false), "dropout: probability 2 must be in [0, 1]");
    fails(
        ints(&[1]).dropout(0.5, true),
        "dropout: expected a floating-point tensor, got dtype int64",
    );
    fails(
        x.conv2d(&x, None, [1; 2], [0; 2], [1; 2], 1),
        "conv2d: expected an input [N, C, H, W], got shape [2, 2]",
    );
    let scalar = Tensor::zeros(&[], x.options())?;
    fails(
        ramp(&[1, 1, 2, 2]).data().conv2d(&scalar, None, [1; 2], [0; 2], [1; 2], 1),
        "conv2d: expected a weight of 4 dims with a kernel of at least 1, got shape []",
    );
    let huge = ramp(&[1, 1, 2, 2]).data();
    assert_eq!(huge.max_pool2d([2; 2], [i64::MAX; 2], [0; 2], [1; 2], true)?.shape(), [1, 1, 1, 1]);
    // A step that is not taken has no size.
    let (one, far) = (ramp(&[1, 1, 1, 1]).add_scalar(1.0)?.data(), [i64::MAX; 2]);
    assert_eq!(huge.conv2d(&one, None, far, [0; 2], far, 1)?.shape(), [1, 1, 1, 1]);
    assert_eq!(
        one.conv_transpose2d(&huge, None, far, [0; 2], [1; 2], [1; 2], 1)?.shape(),
        [1, 1, 3, 3]
    );
    assert_eq!(huge.im2col([1; 2], far, [0; 2], far)?.shape(), [1, 1, 1]);
    assert_eq!(huge.avg_pool2d([1; 2], far, [0; 2], false, true)?.shape(), [1, 1, 1, 1]);
    assert!(Conv2d::configure(1, 1, 3).with_same_padding().with_dilation(i64::MAX).done().is_ok());
    Ok(())
}
