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
        assert_eq!(y.softmax(-1).unwrap().dtype(), Float32);
        assert_eq!(y.log_softmax(-1).unwrap().dtype(), Float32);
        assert_eq!(layer_norm_opt(&y, None, None, 3, 1e-5).unwrap().dtype(), Float32);
        assert_eq!(group_norm_opt(&maps, 2, None, None, 1e-5).unwrap().dtype(), Float32);
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
        "GradScaler: unscale_ was called already since the last update()"
    );
    assert!(s.step(list, &mut || Ok(())).unwrap());
    assert!((p.variable.grad().unwrap().item().unwrap() - 1.0).abs() < 1e-5);
    s.update();
    s.unscale_(list).unwrap();
}
