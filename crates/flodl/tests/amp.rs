//! Autocast and loss scaling.

use flodl::*;

fn randn(shape: &[i64]) -> Variable {
    Variable::new(Tensor::randn(shape, TensorOptions::default()).unwrap(), true)
}

#[test]
fn guards_nest_and_end() {
    assert!(!is_autocast_enabled());
    {
        let _outer = AutocastGuard::new(DType::BFloat16);
        assert!(is_autocast_enabled() && is_autocast_enabled_for(0) && is_autocast_enabled_for(1));
        {
            let _off = AutocastGuard::new(DType::Float32);
            assert!(!is_autocast_enabled());
        }
        assert!(is_autocast_enabled());
        assert!(std::thread::spawn(|| !is_autocast_enabled()).join().unwrap());
    }
    assert!(!is_autocast_enabled());
    {
        let _cuda = AutocastGuard::for_device(1, DType::Float16);
        assert!(!is_autocast_enabled_for(0) && is_autocast_enabled_for(1));
        assert_eq!(randn(&[2, 2]).matmul(&randn(&[2, 2])).unwrap().dtype(), DType::Float32);
    }
    assert!(!is_autocast_enabled_for(-1) && !is_autocast_enabled_for(7));
    let panicked = std::panic::catch_unwind(|| autocast(DType::BFloat16, || panic!("inside")));
    assert!(panicked.is_err() && !is_autocast_enabled());
}

#[test]
fn products_are_low_and_what_needs_digits_is_high() {
    use DType::{BFloat16, Float32, Float64};
    let (x, w, b) = (randn(&[4, 8]), randn(&[3, 8]), randn(&[3]));
    let image = randn(&[1, 2, 6, 6]);
    let kernel = randn(&[4, 2, 3, 3]);
    autocast(BFloat16, || {
        let y = linear(&x, &w, Some(&b)).unwrap();
        assert_eq!(y.dtype(), BFloat16);
        assert_eq!(x.matmul(&w.t().unwrap()).unwrap().dtype(), BFloat16);
        let maps = conv2d(&image, &kernel, None, [1; 2], [0; 2], [1; 2], 1).unwrap();
        assert_eq!(maps.dtype(), BFloat16);
        assert_eq!(y.relu().unwrap().dtype(), BFloat16);
        // What stays in 16 bits is computed in 32: tests/amp_dtypes.rs has PyTorch's list.
        assert_eq!(y.softmax(-1).unwrap().dtype(), BFloat16);
        assert_eq!(layer_norm_opt(&y, None, None, 3, 1e-5).unwrap().dtype(), BFloat16);
        assert_eq!(group_norm_opt(&maps, 2, None, None, 1e-5).unwrap().dtype(), BFloat16);
        // A residual connection of both kinds.
        assert_eq!(y.add(&randn(&[4, 3])).unwrap().dtype(), Float32);
        let target =
            Variable::new(Tensor::from_i64(&[0, 1, 2, 0], &[4], Device::CPU).unwrap(), false);
        assert_eq!(cross_entropy_loss(&y, &target).unwrap().dtype(), Float32);
        assert_eq!(mse_loss(&y, &randn(&[4, 3])).unwrap().dtype(), Float32);
        let double = Variable::new(x.data().to_dtype(Float64).unwrap(), false);
        assert_eq!(double.matmul(&double.t().unwrap()).unwrap().dtype(), Float64);
    });
    assert_eq!(x.matmul(&w.t().unwrap()).unwrap().dtype(), Float32);
}

#[test]
fn layers_with_several_inputs_take_either_dtype() {
    let near = |low: Variable, high: &Variable| {
        let off = low.data().to_dtype(DType::Float32).unwrap().sub(&high.data()).unwrap();
        assert!(off.abs().unwrap().max().unwrap().item().unwrap() < 0.03);
    };
    let low = |x: &Variable| x.to_dtype(DType::BFloat16).unwrap();
    let (x, h, c) = (randn(&[6, 2, 8]), randn(&[2, 2, 4]), randn(&[2, 2, 4]));
    let (step, h1, c1) = (randn(&[2, 8]), randn(&[2, 4]), randn(&[2, 8]));
    let gru = GRU::configure(8, 4).with_layers(2).done().unwrap();
    let lstm = LSTM::configure(8, 4).with_layers(2).done().unwrap();
    let rnn = RNN::configure(8, 4).with_layers(2).done().unwrap();
    let cells = (GRUCell::new(8, 4).unwrap(), LSTMCell::new(8, 4).unwrap());
    let plain = RNNCell::new(8, 4).unwrap();
    let attention: Vec<MultiheadAttention> = vec![
        MultiheadAttention::new(8, 2).unwrap(),
        MultiheadAttention::new(8, 2).unwrap().add_bias_kv().unwrap().add_zero_attn(),
        MultiheadAttention::new(8, 2)
            .unwrap()
            .rotary(RotaryEmbedding::new(4, 16).unwrap())
            .unwrap(),
    ];
    type Take<'a> = &'a dyn Fn(&Variable) -> Variable;
    let run = |f: &dyn Fn(Take) -> Result<Variable>| {
        let high = f(&|x| x.clone()).unwrap();
        near(autocast(DType::BFloat16, || f(&|x| x.clone())).unwrap(), &high);
        near(autocast(DType::BFloat16, || f(&low)).unwrap(), &high);
    };
    // The state stays f32 in all, as one that is carried on does.
    run(&|to| Ok(gru.forward_seq(&to(&x), Some(&h))?.0));
    run(&|to| Ok(lstm.forward_seq(&to(&x), Some((&h, &c)))?.0));
    run(&|to| Ok(rnn.forward_seq(&to(&x), Some(&h))?.0));
    run(&|to| cells.0.forward_step(&to(&step), Some(&h1)));
    run(&|to| cells.1.forward_step(&to(&step), Some(&c1)));
    run(&|to| plain.forward_step(&to(&step), Some(&h1)));
    for mha in &attention {
        let mask = Tensor::zeros(&[2, 2], TensorOptions::default()).unwrap();
        for (causal, weights) in [(false, false), (true, false), (false, true)] {
            let options = AttentionOptions {
                is_causal: causal,
                need_weights: weights,
                attn_mask: (!causal).then(|| mask.clone()),
                ..AttentionOptions::default()
            };
            run(&|to| Ok(mha.forward_with(&to(&x), &to(&x), &to(&x), &options)?.0));
            // A query of one dtype, keys of the other.
            run(&|to| Ok(mha.forward_with(&to(&x), &x, &x, &options)?.0));
        }
    }
    // Gradients of f32 weights are f32, whatever the input was.
    let y = autocast(DType::BFloat16, || gru.forward_seq(&low(&x), None)).unwrap().0;
    y.sum().unwrap().backward().unwrap();
    let all = gru.parameters();
    assert!(all.iter().all(|p| p.variable.grad().unwrap().dtype() == DType::Float32));
}

#[test]
fn training_under_autocast_is_near_training_without() {
    let run = |low: bool| {
        manual_seed(5);
        let model = FlowBuilder::from(Linear::new(6, 16).unwrap())
            .through(LayerNorm::new(16).unwrap())
            .through(GELU)
            .through(Linear::new(16, 3).unwrap())
            .build()
            .unwrap();
        let x = Variable::new(Tensor::randn(&[32, 6], TensorOptions::default()).unwrap(), false);
        let y = Variable::new(x.data().narrow(1, 0, 3).unwrap().argmax(1, false).unwrap(), false);
        let mut o = Adam::new(&model.parameters(), 0.02);
        let loss = || cross_entropy_loss(&model.forward(&x)?, &y);
        for _ in 0..40 {
            let l = if low { autocast(DType::BFloat16, loss) } else { loss() }.unwrap();
            o.zero_grad();
            l.backward().unwrap();
            o.step().unwrap();
        }
        assert!(model.parameters().iter().all(|p| p.variable.dtype() == DType::Float32));
        loss().unwrap().item().unwrap()
    };
    let (full, low) = (run(false), run(true));
    assert!(full < 0.3 && (full - low).abs() < 0.05, "{full} {low}");
}

#[test]
fn parameters_cast_once_for_all() {
    let layer = Linear::new(3, 2).unwrap();
    cast_parameters(&layer.parameters(), DType::BFloat16).unwrap();
    assert!(layer.parameters().iter().all(|p| p.variable.dtype() == DType::BFloat16));
    let index = Parameter::new(Tensor::from_i64(&[1], &[1], Device::CPU).unwrap(), "i");
    cast_parameters(std::slice::from_ref(&index), DType::BFloat16).unwrap();
    assert_eq!(index.variable.dtype(), DType::Int64);
}

#[test]
fn the_scaler_skips_backs_off_and_grows() {
    let p = Parameter::new(Tensor::ones(&[1], TensorOptions::default()).unwrap(), "p");
    let list = std::slice::from_ref(&p);
    let mut o = SGD::new(list, 1.0, 0.0);
    let mut s = GradScaler::new().init_scale(8.0).growth_interval(2);
    let train = |s: &mut GradScaler, o: &mut SGD, factor: f64| {
        o.zero_grad();
        let loss = p.variable.mul_scalar(factor).unwrap().sum().unwrap();
        s.scale(&loss).unwrap().backward().unwrap();
        let ran = s.step(list, &mut || o.step()).unwrap();
        s.update();
        ran
    };
    assert!(train(&mut s, &mut o, 0.25));
    assert_eq!(p.variable.item().unwrap(), 0.75);
    assert!(!train(&mut s, &mut o, f64::INFINITY));
    assert_eq!((p.variable.item().unwrap(), s.scale_factor()), (0.75, 4.0));
    assert!(train(&mut s, &mut o, 0.25));
    assert_eq!(s.scale_factor(), 4.0);
    assert!(train(&mut s, &mut o, 0.25));
    assert_eq!(s.scale_factor(), 8.0);
    let mut bytes = Vec::new();
    s.save_state(&mut bytes).unwrap();
    let mut other = GradScaler::new();
    other.load_state(&mut &bytes[..]).unwrap();
    assert_eq!(other, s);
}

#[test]
fn clipping_sees_unscaled_gradients() {
    let p = Parameter::new(Tensor::ones(&[1], TensorOptions::default()).unwrap(), "p");
    let list = std::slice::from_ref(&p);
    let mut s = GradScaler::new();
    let loss = p.variable.mul_scalar(3.0).unwrap().sum().unwrap();
    s.scale(&loss).unwrap().backward().unwrap();
    s.unscale_(list).unwrap();
    assert_eq!(clip_grad_norm(list, 1.0).unwrap(), 3.0);
    assert_eq!(
        s.unscale_(list).unwrap_err().to_string(),
        "GradScaler: unscale_ was called already for \"p\" since the last update()"
    );
    assert!(s.step(list, &mut || Ok(())).unwrap());
    assert!((p.variable.grad().unwrap().item().unwrap() - 1.0).abs() < 1e-5);
    s.update();
    s.unscale_(list).unwrap();
}

fn number(value: f32, name: &str) -> Parameter {
    Parameter::new(Tensor::from_f32(&[value], &[1], Device::CPU).unwrap(), name)
}

#[test]
fn two_optimizers_share_a_scaler() {
    let (a, b) = (number(1.0, "a"), number(1.0, "b"));
    let (of_a, of_b) = (std::slice::from_ref(&a), std::slice::from_ref(&b));
    let (mut first, mut second) = (SGD::new(of_a, 1.0, 0.0), SGD::new(of_b, 1.0, 0.0));
    let mut s = GradScaler::new().init_scale(1024.0).growth_interval(1);
    let value = |p: &Parameter| p.variable.item().unwrap();
    let backward = |s: &GradScaler, by: [f64; 2]| {
        for (p, by) in [(&a, by[0]), (&b, by[1])] {
            p.variable.zero_grad();
            let loss = p.variable.mul_scalar(by).unwrap().sum().unwrap();
            s.scale(&loss).unwrap().backward().unwrap();
        }
    };
    // Both are unscaled, whichever is looked at before its step.
    backward(&s, [0.25, 0.5]);
    s.unscale_(of_b).unwrap();
    assert!(s.step(of_a, &mut || first.step()).unwrap());
    assert!(s.step(of_b, &mut || second.step()).unwrap());
    assert_eq!((value(&a), value(&b)), (0.75, 0.5));
    s.update();
    assert_eq!(s.scale_factor(), 2048.0);
    // An overflow in one skips that one alone, and lowers the scale of both.
    backward(&s, [f64::INFINITY, 0.25]);
    assert!(!s.step(of_a, &mut || first.step()).unwrap());
    assert!(s.step(of_b, &mut || second.step()).unwrap());
    assert_eq!((value(&a), value(&b)), (0.75, 0.25));
    s.update();
    assert_eq!(s.scale_factor(), 1024.0);
}

#[test]
fn the_scaler_refuses_what_pytorch_refuses() {
    let p = number(1.0, "p");
    let list = std::slice::from_ref(&p);
    let mut s = GradScaler::new();
    let loss = || p.variable.sum().unwrap();
    let error = |r: Result<bool>| r.unwrap_err().to_string();
    assert_eq!(
        error(s.step(list, &mut || Ok(()))),
        "GradScaler: no parameter has a gradient: call scale(loss)?.backward() before step"
    );
    s.scale(&loss()).unwrap().backward().unwrap();
    assert!(s.step(list, &mut || Ok(())).unwrap());
    assert_eq!(
        error(s.step(list, &mut || Ok(()))),
        "GradScaler: step was called already for \"p\" since the last update()"
    );
    assert_eq!(
        error(s.unscale_(list).map(|()| true)),
        "GradScaler: unscale_ was called after step for \"p\" since the last update()"
    );
    assert_eq!(p.variable.grad().unwrap().item().unwrap(), 1.0);
    s.update();
    s.update();
    assert_eq!(s.scale_factor(), 65536.0);
    cast_parameters(list, DType::Float16).unwrap();
    loss().backward().unwrap();
    let got = error(s.step(list, &mut || Ok(())));
    assert!(got.starts_with("GradScaler: the gradient of \"p\" is float16"), "{got}");
    assert_eq!(p.variable.grad().unwrap().item().unwrap(), 1.0);
}

#[test]
fn f16_learns_with_a_scaler_and_not_without() {
    // Gradients of this loss are below f16's smallest number until they are scaled.
    let run = |scaled: bool| {
        manual_seed(11);
        let model = Linear::new(4, 1).unwrap();
        let x = Variable::new(Tensor::randn(&[64, 4], TensorOptions::default()).unwrap(), false);
        let y = Variable::new(x.data().sum_dim(1, true).unwrap(), false);
        let params = model.parameters();
        let mut o = Adam::new(&params, 0.05);
        let mut s = GradScaler::new().init_scale(if scaled { 2f64.powi(24) } else { 1.0 });
        let mut ran = 0;
        let loss = || autocast(DType::Float16, || mse_loss(&model.forward(&x)?, &y)).unwrap();
        for _ in 0..200 {
            o.zero_grad();
            s.scale(&loss().mul_scalar(1e-8).unwrap()).unwrap().backward().unwrap();
            ran += usize::from(s.step(&params, &mut || o.step()).unwrap());
            s.update();
        }
        (loss().item().unwrap(), ran)
    };
    let (with, ran) = run(true);
    let (without, _) = run(false);
    assert!(with < 0.01 && ran > 150 && without > 0.5, "{with} in {ran} steps, {without}");
}
