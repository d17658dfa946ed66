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
    ("Adafactor", |p| Box::new(Adafactor::new(p, 0.5))),
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
    /// A vector and a matrix in groups of their own, or the matrix alone.
    fn check<M: Method>(matrices: bool, start: impl Fn() -> OptimBuilder<M>) {
        for dtype in [DType::Float32, DType::Float64] {
            let matrix = Tensor::from_f64(&[0.3, -2.0, 5.0, 1.0, 0.7, -0.1], &[2, 3], Device::CPU);
            let all = [param(&[0.3, -2.0, 5.0]), Parameter::new(matrix.unwrap(), "m")];
            let all = if matrices { &all[1..] } else { &all[..] };
            cast_parameters(all, dtype).unwrap();
            let fresh = || {
                let groups = all.iter().enumerate().fold(start(), |groups, (i, p)| {
                    groups.group(std::slice::from_ref(p), 0.1 / (1 + i) as f64)
                });
                groups.build()
            };
            let mut o = fresh();
            let name = o.state_kind().name();
            let step = |o: &mut Optim<M>| {
                o.zero_grad();
                all.iter().for_each(|p| quadratic(p).unwrap().backward().unwrap());
                o.step().unwrap();
            };
            let now = || all.iter().map(values).collect::<Vec<_>>();
            (0..3).for_each(|_| step(&mut o));
            o.set_group_lr(all.len() - 1, 0.0123);
            let lrs = o.group_lrs();
            let weights: Vec<Tensor> =
                all.iter().map(|p| p.variable.data().copy().unwrap()).collect();
            let mut bytes = Vec::new();
            o.save_state(&mut bytes).unwrap();
            (0..3).for_each(|_| step(&mut o));
            let want = now();
            let mut again = fresh();
            again.load_state(&mut &bytes[..]).unwrap();
            assert_eq!(again.group_lrs(), lrs, "{name} {dtype}");
            all.iter().zip(weights).for_each(|(p, w)| p.variable.set_data(w));
            (0..3).for_each(|_| step(&mut again));
            assert_eq!(now(), want, "{name} {dtype}");
        }
    }
    check(false, || SGD::with_groups(0.9).dampening(0.2));
    check(false, || Adam::with_groups().amsgrad(true));
    check(false, || AdamW::with_groups(0.1));
    check(false, NAdam::with_groups);
    check(false, RAdam::with_groups);
    check(false, Adamax::with_groups);
    check(false, || RMSprop::with_groups().momentum(0.3).centered(true));
    check(false, || Adagrad::with_groups().lr_decay(0.1));
    check(false, Adadelta::with_groups);
    check(false, Lion::with_groups);
    check(false, || ASGD::with_groups().t0(1.0));
    check(false, Rprop::with_groups);
    check(false, || Adafactor::with_groups().weight_decay(0.1));
    check(true, Muon::with_groups);
}

/// Trajectories that `scripts/optim_references.py` writes.
#[test]
fn trajectories_beside_pytorchs_table() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("data/optim.json")).unwrap();
    let rows =
        |name: &str| -> Vec<Vec<f64>> { serde_json::from_value(cases[name].clone()).unwrap() };
    let row = |name: &str| -> Vec<f64> { serde_json::from_value(cases[name].clone()).unwrap() };
    let run = |case: &str, shape: &[i64], make: &Make, error: f64| {
        let [w, grads] = match shape.len() {
            1 => ["w", "grads"],
            _ => ["matrix", "matrix_grads"],
        };
        let tensor = |v: &[f64]| Tensor::from_f64(v, shape, Device::CPU).unwrap();
        let p = Parameter::new(tensor(&row(w)), "p");
        let mut o = make(std::slice::from_ref(&p));
        for (step, (g, want)) in rows(grads).iter().zip(rows(case)).enumerate() {
            p.variable.set_grad(tensor(g));
            o.step().unwrap();
            for (a, b) in values(&p).iter().zip(&want) {
                assert!((a - b).abs() <= error, "{case}, step {step}: {a} {b}");
            }
        }
    };
    let lion: Make = |p| Box::new(Lion::new(p, 0.01));
    run("lion", &[5], &lion, 1e-14);
    let decay: Make =
        |p| Box::new(Lion::builder(p, 0.03).betas(0.8, 0.95).weight_decay(0.1).build());
    run("lion_decay", &[5], &decay, 1e-14);
    let climb: Make = |p| Box::new(Lion::new(p, 0.01).weight_decay(0.05).maximize(true));
    run("lion_maximize", &[5], &climb, 1e-14);
    // Inside it computes in bfloat16, whose sums have another order in PyTorch.
    let muon: Make = |p| Box::new(Muon::new(p, 0.02).adjust_lr(MuonLr::MatchRmsAdamW));
    run("muon_match_rms_adamw", &[3, 6], &muon, 1e-3);
}

#[test]
fn every_optimizer_climbs_if_asked() {
    fn check<M: Method>(matrix: bool, make: impl Fn(&[Parameter], bool) -> Optim<M>) {
        let shape: &[i64] = if matrix { &[2, 2] } else { &[4] };
        let start = Tensor::from_f64(&[0.5, -1.0, 2.0, 3.0], shape, Device::CPU).unwrap();
        let run = |climb: bool| {
            let p = Parameter::new(start.copy().unwrap(), "p");
            let mut o = make(std::slice::from_ref(&p), climb);
            for i in 0..5 {
                let g = start.mul_scalar(0.3).unwrap().add_scalar(f64::from(i) - 2.0).unwrap();
                p.variable.set_grad(if climb { g.neg().unwrap() } else { g });
                o.step().unwrap();
            }
            values(&p)
        };
        // Climbing along -g is descending along g, bit by bit.
        assert_eq!(run(true), run(false), "{}", M::KIND.name());
    }
    check(false, |p, up| SGD::new(p, 0.1, 0.9).weight_decay(0.1).maximize(up));
    check(false, |p, up| Adam::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| AdamW::new(p, 0.1, 0.1).maximize(up));
    check(false, |p, up| NAdam::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| RAdam::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| Adamax::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| RMSprop::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| Adagrad::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| Adadelta::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| Lion::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| ASGD::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(false, |p, up| Rprop::new(p, 0.1).maximize(up));
    check(true, |p, up| Adafactor::builder(p, 0.1).weight_decay(0.1).build().maximize(up));
    check(true, |p, up| Muon::new(p, 0.1).maximize(up));
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

#[test]
fn lbfgs_goes_pytorchs_way() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("data/optim.json")).unwrap();
    for (case, search, lr) in [("lbfgs_strong_wolfe", true, 1.0), ("lbfgs", false, 0.01)] {
        let want: Vec<Vec<f64>> = serde_json::from_value(cases[case].clone()).unwrap();
        let p = param(&[-1.2, 1.0, -0.5, 2.0]);
        let list = std::slice::from_ref(&p);
        let fresh = || LBFGS::new(list, lr).max_iter(4).history_size(3).strong_wolfe(search);
        let mut o = fresh();
        let mut valley = || {
            p.variable.zero_grad();
            let (a, b) = (p.variable.narrow(0, 0, 3)?, p.variable.narrow(0, 1, 3)?);
            let walls = b.sub(&a.square()?)?.square()?.mul_scalar(100.0)?;
            let loss = walls.add(&a.sub_scalar(1.0)?.square()?)?.sum()?;
            loss.backward()?;
            Ok(loss)
        };
        for (step, row) in want.iter().enumerate() {
            // Saved and loaded on the way, it goes on as it would have.
            if step == 5 {
                let mut bytes = Vec::new();
                o.save_state(&mut bytes).unwrap();
                o = fresh();
                o.load_state(&mut &bytes[..]).unwrap();
            }
            let loss = o.step(&mut valley).unwrap();
            for (a, b) in [loss].iter().chain(&values(&p)).zip(row) {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{case}, step {step}: {a} {b}");
            }
        }
    }
    let p = param(&[1.0]);
    let mut none = LBFGS::new(std::slice::from_ref(&p), -1.0);
    let error = none.step(&mut || p.variable.sum()).unwrap_err().to_string();
    assert_eq!(error, "LBFGS: lr -1 must not be negative");
    let mut bytes = Vec::new();
    LBFGS::new(&[param(&[1.0, 2.0])], 1.0).save_state(&mut bytes).unwrap();
    none.load_state(&mut &bytes[..]).unwrap();
    assert_eq!(none.lr(), 1.0);
}
