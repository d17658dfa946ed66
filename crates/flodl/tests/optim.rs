//! Optimizers beside their trajectories, which the parity suite compares with PyTorch's.

use flodl::*;

fn param(values: &[f64]) -> Parameter {
    let t = Tensor::from_f64(values, &[values.len() as i64], Device::CPU).unwrap();
    Parameter::new(t, "p")
}

fn set_grad(p: &Parameter, values: &[f64]) {
    let t = Tensor::from_f64(values, &[values.len() as i64], Device::CPU).unwrap();
    p.variable.set_grad(t.to_dtype(p.variable.dtype()).unwrap());
}

fn values(p: &Parameter) -> Vec<f64> {
    p.variable.data().to_f64_vec().unwrap()
}

type Make = fn(&[Parameter]) -> Box<dyn Optimizer>;

/// Every optimizer; matrices only for the last.
const ALL: &[(&str, Make)] = &[
    ("SGD", |p| Box::new(SGD::new(p, 0.1, 0.0))),
    ("SGD with momentum", |p| Box::new(SGD::new(p, 0.05, 0.5).nesterov(true))),
    ("Adam", |p| Box::new(Adam::new(p, 0.1))),
    ("Adam with amsgrad", |p| Box::new(Adam::new(p, 0.1).amsgrad(true))),
    ("AdamW", |p| Box::new(AdamW::new(p, 0.1, 0.001))),
    ("NAdam", |p| Box::new(NAdam::new(p, 0.1))),
    ("RAdam", |p| Box::new(RAdam::new(p, 0.3))),
    ("Adamax", |p| Box::new(Adamax::new(p, 0.1))),
    ("RMSprop", |p| Box::new(RMSprop::builder(p, 0.02).momentum(0.5).build())),
    ("Adagrad", |p| Box::new(Adagrad::new(p, 0.5))),
    ("Adadelta", |p| Box::new(Adadelta::new(p, 20.0))),
    ("Lion", |p| Box::new(Lion::new(p, 0.03))),
    ("ASGD", |p| Box::new(ASGD::new(p, 0.1))),
    ("Rprop", |p| Box::new(Rprop::new(p, 0.01))),
];

fn quadratic(p: &Parameter) -> Result<Variable> {
    p.variable.sub_scalar(3.0)?.square()?.sum()
}

#[test]
fn every_optimizer_finds_a_minimum() {
    for (name, make) in ALL {
        for dtype in [DType::Float32, DType::Float64] {
            let p = param(&[0.0, 5.0, -2.0]);
            cast_parameters(std::slice::from_ref(&p), dtype).unwrap();
            let mut o = make(std::slice::from_ref(&p));
            let first = quadratic(&p).unwrap().item().unwrap();
            for _ in 0..300 {
                o.zero_grad();
                quadratic(&p).unwrap().backward().unwrap();
                o.step().unwrap();
            }
            let last = quadratic(&p).unwrap().item().unwrap();
            assert!(last < 0.05 * first, "{name} {dtype}: {first} -> {last}");
            assert_eq!(p.variable.dtype(), dtype);
        }
    }
}

#[test]
fn muon_works_on_matrices_only() {
    let p = Parameter::new(Tensor::zeros(&[4, 3], TensorOptions::default()).unwrap(), "p");
    let mut o = Muon::new(std::slice::from_ref(&p), 0.02);
    for _ in 0..300 {
        o.zero_grad();
        quadratic(&p).unwrap().backward().unwrap();
        o.step().unwrap();
    }
    assert!(quadratic(&p).unwrap().item().unwrap() < 50.0);
    let vector = param(&[1.0]);
    set_grad(&vector, &[1.0]);
    let e = Muon::new(std::slice::from_ref(&vector), 0.1).step().unwrap_err().to_string();
    assert!(e.starts_with("Muon: expected matrices only"), "{e}");
}

#[test]
fn sixteen_bit_parameters_are_stepped_in_f32() {
    let p = param(&[1.0, 2.0]);
    cast_parameters(std::slice::from_ref(&p), DType::BFloat16).unwrap();
    let mut o = SGD::new(std::slice::from_ref(&p), 0.5, 0.9);
    set_grad(&p, &[1.0, -1.0]);
    o.step().unwrap();
    assert_eq!(values(&p), [0.5, 2.5]);
    assert_eq!(p.variable.dtype(), DType::BFloat16);
}

#[test]
fn tied_parameters_are_stepped_once() {
    let p = param(&[1.0]);
    let mut o = SGD::with_groups(0.0)
        .group(&[p.clone(), p.clone()], 0.1)
        .group(std::slice::from_ref(&p), 0.5)
        .build();
    set_grad(&p, &[1.0]);
    o.step().unwrap();
    assert_eq!(values(&p), [0.9]);
    set_grad(&p, &[3.0]);
    assert_eq!(clip_grad_norm(&[p.clone(), p.clone()], 10.0).unwrap(), 3.0);
}

#[test]
fn groups_have_settings_of_their_own() {
    let (a, b) = (param(&[1.0]), param(&[1.0]));
    let mut o = SGD::with_groups(0.0)
        .group(std::slice::from_ref(&a), 0.1)
        .group_with(std::slice::from_ref(&b), 0.2, |s| s.weight_decay(1.0).maximize(true))
        .build();
    for p in [&a, &b] {
        set_grad(p, &[1.0]);
    }
    o.step().unwrap();
    // Climbing: the gradient is -1 and the decay 1.
    assert_eq!((values(&a), values(&b)), (vec![0.9], vec![1.0]));
    o.set_group_lr(1, 0.5);
    o.set_group_lr(9, 0.5);
    o.scale_lr(2.0);
    assert_eq!(o.group_lrs(), [0.2, 1.0]);
    assert_eq!(o.lr(), 0.2);
}

#[test]
fn parameters_without_gradient_or_frozen_stay() {
    let (a, b, c) = (param(&[1.0]), param(&[1.0]), param(&[1.0]));
    let all = [a.clone(), b.clone(), c.clone()];
    let mut o = AdamW::new(&all, 0.1, 0.1);
    set_grad(&a, &[1.0]);
    set_grad(&b, &[1.0]);
    b.freeze().unwrap();
    o.step().unwrap();
    assert_ne!(values(&a), [1.0]);
    assert_eq!((values(&b), values(&c)), (vec![1.0], vec![1.0]));
    o.zero_grad();
    let before = values(&a);
    o.step().unwrap();
    assert_eq!(values(&a), before);
}

#[test]
fn gradients_accumulate_over_parts_of_a_batch() {
    let run = |parts: i64| {
        manual_seed(3);
        let layer = Linear::new(3, 2).unwrap();
        let x = Tensor::randn(&[8, 3], TensorOptions::default()).unwrap();
        let mut o = SGD::new(&layer.parameters(), 0.1, 0.0);
        let size = 8 / parts;
        for i in 0..parts {
            let part = Variable::new(x.narrow(0, i * size, size).unwrap(), false);
            let loss = layer.forward(&part).unwrap().square().unwrap().mean().unwrap();
            loss.div_scalar(parts as f64).unwrap().backward().unwrap();
        }
        o.step().unwrap();
        layer.parameters()[0].variable.data().to_f64_vec().unwrap()
    };
    for (a, b) in run(1).iter().zip(run(4)) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_saved_state_goes_on_exactly() {
    fn check<M: Method>(make: impl Fn(&[Parameter]) -> Optim<M>) {
        let name = make(&[]).state_kind().name();
        let p = param(&[0.3, -2.0, 5.0]);
        let list = std::slice::from_ref(&p);
        let mut o = make(list);
        let step = |o: &mut Optim<M>| {
            o.zero_grad();
            quadratic(&p).unwrap().backward().unwrap();
            o.step().unwrap();
        };
        (0..3).for_each(|_| step(&mut o));
        o.set_lr(0.0123);
        let (mut bytes, weights) = (Vec::new(), p.variable.data().copy().unwrap());
        o.save_state(&mut bytes).unwrap();
        (0..3).for_each(|_| step(&mut o));
        let want = values(&p);
        let mut again = make(list);
        again.load_state(&mut &bytes[..]).unwrap();
        assert_eq!(again.lr(), 0.0123);
        p.variable.set_data(weights);
        (0..3).for_each(|_| step(&mut again));
        assert_eq!(values(&p), want, "{name}");
    }
    check(|p| SGD::new(p, 0.1, 0.9).dampening(0.2));
    check(|p| Adam::new(p, 0.1).amsgrad(true));
    check(|p| AdamW::new(p, 0.1, 0.1));
    check(|p| NAdam::new(p, 0.1));
    check(|p| RAdam::new(p, 0.1));
    check(|p| Adamax::new(p, 0.1));
    check(|p| RMSprop::builder(p, 0.1).momentum(0.3).centered(true).build());
    check(|p| Adagrad::new(p, 0.1).lr_decay(0.1));
    check(|p| Adadelta::new(p, 1.0));
    check(|p| Lion::new(p, 0.1));
    check(|p| ASGD::new(p, 0.1).t0(1.0));
    check(|p| Rprop::new(p, 0.1));
}

#[test]
fn a_wrong_state_is_refused_and_changes_nothing() {
    let (p, other) = (param(&[1.0, 2.0]), param(&[1.0]));
    let mut o = Adam::new(std::slice::from_ref(&p), 0.1);
    set_grad(&p, &[1.0, 1.0]);
    o.step().unwrap();
    let mut bytes = Vec::new();
    o.save_state(&mut bytes).unwrap();
    let fails = |r: Result<()>| r.unwrap_err().to_string();
    let mut adamw = AdamW::new(std::slice::from_ref(&p), 0.1, 0.0);
    assert_eq!(
        fails(adamw.load_state(&mut &bytes[..])),
        "optimizer state: holds the state of Adam, not of AdamW"
    );
    let mut small = Adam::new(std::slice::from_ref(&other), 0.5);
    assert_eq!(
        fails(small.load_state(&mut &bytes[..])),
        "optimizer state: 0.exp_avg has shape [2], p has [1]"
    );
    assert_eq!(small.lr(), 0.5);
    let mut two = Adam::new(&[p.clone(), other], 0.1);
    assert_eq!(
        fails(two.load_state(&mut &bytes[..])),
        "optimizer state: step has 1 entries, not 2"
    );
    assert!(o.load_state(&mut &bytes[..bytes.len() / 2]).is_err());
    assert!(o.load_state(&mut &b"nonsense"[..]).is_err());
}

#[test]
fn states_go_to_files_and_migrate() {
    let dir = std::env::temp_dir().join(format!("flodl_optim_{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let p = param(&[1.0]);
    let list = std::slice::from_ref(&p);
    let mut adam = Adam::new(list, 0.1);
    set_grad(&p, &[1.0]);
    adam.step().unwrap();
    adam.save_state_to(&path("adam")).unwrap();
    adam.load_state_file(&path("adam")).unwrap();
    migrate_optim_state_file(&path("adam"), &path("adamw"), StateKind::AdamW).unwrap();
    AdamW::new(list, 0.1, 0.0).load_state_file(&path("adamw")).unwrap();
    let e = migrate_optim_state_file(&path("adam"), &path("x"), StateKind::Sgd).unwrap_err();
    assert!(e.to_string().ends_with("the state of Adam cannot serve SGD"), "{e}");
    assert!(migrate_optim_state_file(&path("none"), &path("x"), StateKind::Sgd).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn reset_state_starts_over() {
    let p = param(&[1.0]);
    let mut o = Adam::new(std::slice::from_ref(&p), 0.1);
    let run = |o: &mut Adam| {
        p.variable.set_data(Tensor::from_f64(&[1.0], &[1], Device::CPU).unwrap());
        for g in [1.0, -0.5] {
            set_grad(&p, &[g]);
            o.step().unwrap();
        }
        values(&p)
    };
    let first = run(&mut o);
    assert_ne!(run(&mut o), first);
    o.reset_state();
    assert_eq!(run(&mut o), first);
}

#[test]
fn clipping_is_pytorchs_also_where_norms_are_not_finite() {
    let p = param(&[0.0, 0.0]);
    let list = std::slice::from_ref(&p);
    let grad = || p.variable.grad().unwrap().to_f64_vec().unwrap();
    set_grad(&p, &[3.0, 4.0]);
    assert_eq!(clip_grad_norm(list, 10.0).unwrap(), 5.0);
    assert_eq!(grad(), [3.0, 4.0]);
    set_grad(&p, &[f64::INFINITY, 1.0]);
    let e = clip_grad_norm_with(list, 1.0, 2.0, true).unwrap_err().to_string();
    assert!(e.contains("inf"), "{e}");
    assert_eq!(grad(), [f64::INFINITY, 1.0]);
    assert_eq!(clip_grad_norm(list, 1.0).unwrap(), f64::INFINITY);
    assert!(grad()[0].is_nan() && grad()[1] == 0.0);
    set_grad(&p, &[f64::NAN, 1.0]);
    assert!(clip_grad_norm(list, 1.0).unwrap().is_nan());
    assert!(grad().iter().all(|g| g.is_nan()));
    set_grad(&p, &[-3.0, 0.5]);
    assert_eq!(clip_grad_value(list, 1.0).unwrap(), 3.0);
    assert_eq!(grad(), [-1.0, 0.5]);
    assert_eq!(
        clip_grad_norm(list, -1.0).unwrap_err().to_string(),
        "clip_grad_norm: max_norm -1 must not be negative"
    );
    assert_eq!(
        clip_grad_value(list, f64::NAN).unwrap_err().to_string(),
        "clip_grad_value: max_val NaN must not be negative"
    );
    assert_eq!(clip_grad_norm(&[], 1.0).unwrap(), 0.0);
}

#[test]
fn averages_swap_in_and_out() {
    let p = param(&[1.0]);
    let mut ema = ExponentialMovingAverage::new(&[p.clone(), p.clone()], 0.5).unwrap();
    p.variable.set_data(Tensor::from_f64(&[3.0], &[1], Device::CPU).unwrap());
    ema.update().unwrap();
    assert_eq!(ema.averages().len(), 1);
    ema.swap().unwrap();
    assert_eq!(values(&p), [2.0]);
    assert!(ema.update().unwrap_err().to_string().contains("swap() them back first"));
    assert!(ema.save_state(&mut Vec::new()).is_err());
    ema.swap().unwrap();
    assert_eq!(values(&p), [3.0]);
    let mut bytes = Vec::new();
    ema.save_state(&mut bytes).unwrap();
    let mut other = ExponentialMovingAverage::new(std::slice::from_ref(&p), 0.5).unwrap();
    other.load_state(&mut &bytes[..]).unwrap();
    assert_eq!((other.updates(), other.averages()[0].item().unwrap()), (1, 2.0));
    assert!(ExponentialMovingAverage::new(&[], 1.5).is_err());
}

#[test]
fn wrong_settings_are_errors_before_anything_changes() {
    let p = param(&[1.0]);
    let list = std::slice::from_ref(&p);
    set_grad(&p, &[1.0]);
    let error = |o: &mut dyn Optimizer| o.step().unwrap_err().to_string();
    assert_eq!(error(&mut SGD::new(list, -1.0, 0.0)), "SGD: lr -1 must not be negative");
    assert_eq!(error(&mut Adam::new(list, f64::NAN)), "Adam: lr NaN must not be negative");
    assert_eq!(error(&mut Adam::new(list, 0.1).betas(1.0, 0.9)), "Adam: beta 1 must be in [0, 1)");
    assert_eq!(
        error(&mut SGD::new(list, 0.1, 0.0).nesterov(true)),
        "SGD: nesterov needs a momentum and no dampening"
    );
    let q = param(&[1.0, 2.0]);
    q.variable.set_grad(Tensor::from_f64(&[1.0], &[1], Device::CPU).unwrap());
    let e = error(&mut SGD::new(&[p.clone(), q.clone()], 0.1, 0.0));
    assert!(e.contains("the gradient of p must have its shape"), "{e}");
    q.variable.set_grad(Tensor::from_f32(&[1.0, 1.0], &[2], Device::CPU).unwrap());
    let e = error(&mut SGD::new(&[p.clone(), q], 0.1, 0.0));
    assert!(e.contains("do not mix"), "{e}");
    assert_eq!(values(&p), [1.0]);
    Adam::new(&[], 0.1).step().unwrap();
    let empty = param(&[]);
    set_grad(&empty, &[]);
    Adam::new(&[empty], 0.1).step().unwrap();
}
