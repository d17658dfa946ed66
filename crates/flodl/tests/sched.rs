//! Schedulers; their numbers are compared with PyTorch's in the parity suite.

use flodl::*;

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

#[test]
fn each_has_its_shape() {
    let s = StepDecay::new(1.0, 10, 0.1);
    near(s.lr(9), 1.0);
    near(s.lr(10), 0.1);
    let c = CosineScheduler::new(1.0, 0.2, 100);
    near(c.lr(0), 1.0);
    near(c.lr(50), 0.6);
    near(c.lr(100), 0.2);
    near(c.lr(10_000), 0.2);
    let w = WarmupScheduler::new(c, 1.0, 10);
    near(w.lr(0), 0.1);
    near(w.lr(9), 1.0);
    near(w.lr(10), 1.0);
    near(w.lr(110), 0.2);
    let o = OneCycleLR::new(1.0, 100);
    near(o.lr(0), 0.04);
    near(o.lr(29), 1.0);
    near(o.lr(99), 4e-6);
    near(o.lr(5000), 4e-6);
    near(o.momentum(0), 0.95);
    near(o.momentum(29), 0.85);
    near(o.momentum(5000), 0.95);
    near(o.base_momentum(0.7).max_momentum(0.8).momentum(29), 0.7);
    let y = CyclicLR::asymmetric(0.1, 1.0, 4, 6);
    near(y.momentum(4), 0.8);
    near(y.momentum(7), 0.85);
    let parts: Vec<Box<dyn Scheduler>> =
        vec![Box::new(ConstantLR::new(1.0, 0.1, 2)), Box::new(y.clone())];
    let after = SequentialLR::new(parts, &[3]).unwrap();
    assert_eq!((after.momentum(2), after.momentum(7)), (None, Some(0.8)));
    let after = WarmupScheduler::new(y.clone().cycle_momentum(false), 1.0, 10);
    assert_eq!(Scheduler::momentum(&after, 14), None);
    near(y.lr(0), 0.1);
    near(y.lr(4), 1.0);
    near(y.lr(10), 0.1);
    near(y.clone().mode(CyclicMode::Triangular2).lr(14), 0.55);
    let r = CosineAnnealingWarmRestarts::new(1.0, 2, 2, 0.0);
    for start in [0, 2, 6, 14] {
        near(r.lr(start), 1.0);
    }
    near(PolynomialLR::new(1.0, 10, 1.0).lr(5), 0.5);
    near(PolynomialLR::new(1.0, 10, 1.0).lr(50), 0.0);
    near(LambdaLR::new(2.0, |s| 1.0 / (s + 1) as f64).lr(3), 0.5);
}

#[test]
fn degenerate_settings_give_numbers() {
    let all: Vec<Box<dyn Scheduler>> = vec![
        Box::new(StepDecay::new(1.0, 0, 0.5)),
        Box::new(CosineScheduler::new(1.0, 0.0, 0)),
        Box::new(WarmupScheduler::new(ExponentialLR::new(1.0, 0.9), 1.0, 0)),
        Box::new(OneCycleLR::new(1.0, 0)),
        Box::new(OneCycleLR::new(1.0, 1)),
        Box::new(OneCycleLR::with_warmup_frac(1.0, 10, 0.0)),
        Box::new(OneCycleLR::with_warmup_frac(1.0, 10, 1.0)),
        Box::new(CyclicLR::asymmetric(0.1, 1.0, 0, 0)),
        Box::new(CosineAnnealingWarmRestarts::new(1.0, 0, 0, 0.0)),
        Box::new(CosineAnnealingLR::new(1.0, 0, 0.0)),
        Box::new(LinearLR::new(1.0, 0.5, 1.0, 0)),
        Box::new(PolynomialLR::new(1.0, 0, 1.0)),
    ];
    for (i, s) in all.iter().enumerate() {
        for step in [0, 1, 7, 1_000_000] {
            assert!(s.lr(step).is_finite(), "{i} at {step}: {}", s.lr(step));
        }
    }
}

#[test]
fn they_compose() {
    let chained = ChainedScheduler::new(
        0.1,
        vec![Box::new(ConstantLR::new(0.1, 0.5, 2)), Box::new(ExponentialLR::new(0.1, 0.9))],
    );
    near(chained.lr(1), 0.1 * 0.5 * 0.9);
    near(chained.lr(3), 0.1 * 0.9f64.powi(3));
    let two: Vec<Box<dyn Scheduler>> =
        vec![Box::new(ExponentialLR::new(1.0, 0.5)), Box::new(ExponentialLR::new(8.0, 0.5))];
    let s = SequentialLR::new(two, &[2]).unwrap();
    assert_eq!([0, 1, 2, 3].map(|i| s.lr(i)), [1.0, 0.5, 8.0, 4.0]);
    let e = SequentialLR::new(vec![], &[]).unwrap_err().to_string();
    assert!(e.starts_with("SequentialLR: 0 schedulers"), "{e}");
    let three = || -> Vec<Box<dyn Scheduler>> {
        (0..3).map(|_| Box::new(ExponentialLR::new(1.0, 0.5)) as Box<dyn Scheduler>).collect()
    };
    let e = SequentialLR::new(three(), &[5, 2]).unwrap_err().to_string();
    assert_eq!(e, "SequentialLR: milestones [5, 2] must rise");
}

#[test]
fn plateau_watches_and_resumes() {
    let new = || {
        PlateauScheduler::new(1.0, 1, 0.5, 0.3)
            .mode(PlateauMode::Max)
            .threshold(PlateauThreshold::Abs(0.1))
            .cooldown(2)
    };
    let mut s = new();
    let metrics = [0.5, 0.55, 0.55, 0.55, 0.5, 0.5, 0.5, f64::NAN, 0.9];
    let lrs = metrics.map(|m| s.observe(m));
    assert_eq!(lrs, [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]);
    let mut first = new();
    for &m in &metrics[..4] {
        first.observe(m);
    }
    let mut second = new();
    second.load_state(first.state()).unwrap();
    assert_eq!(metrics[4..].iter().map(|&m| second.observe(m)).collect::<Vec<_>>(), lrs[4..]);
    assert!(second.load_state([1.0, 0.0, 0.5, 0.0]).is_err());
    assert!(second.load_state([f64::NAN, 0.0, 0.0, 0.0]).is_err());
}

#[test]
fn schedulers_can_be_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Box<dyn Scheduler>>();
    check::<LambdaLR>();
}
