//! Losses: derivatives against finite differences, extreme inputs, wrong input. Values are compared
//! with PyTorch's in the parity suite.

use flodl::*;

fn f64s(values: &[f64], shape: &[i64]) -> Tensor {
    Tensor::from_f64(values, shape, Device::CPU).unwrap()
}

fn leaf(values: &[f64], shape: &[i64]) -> Variable {
    Variable::new(f64s(values, shape), true)
}

fn fixed(values: &[f64], shape: &[i64]) -> Variable {
    Variable::new(f64s(values, shape), false)
}

fn ints(values: &[i64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_i64(values, shape, Device::CPU).unwrap(), false)
}

/// Numbers in `low..high` that repeat no pattern.
fn spread(n: usize, low: f64, high: f64) -> Vec<f64> {
    (0..n).map(|i| low + (high - low) * ((i as f64 * 0.618_034 + 0.137) % 1.0)).collect()
}

type Loss = Box<dyn Fn(&Variable) -> Result<Variable>>;

/// Every loss as a function of its first operand, where it is smooth, with its reductions.
fn table() -> Vec<(&'static str, Vec<f64>, Vec<i64>, Loss)> {
    let mut t: Vec<(&'static str, Vec<f64>, Vec<i64>, Loss)> = Vec::new();
    let x = spread(12, -2.0, 2.0);
    let p = spread(12, 0.05, 0.95);
    let shape = vec![3i64, 4];
    let y = || fixed(&spread(12, -1.9, 1.7).into_iter().rev().collect::<Vec<_>>(), &[3, 4]);
    let q = || fixed(&spread(12, 0.1, 0.9).into_iter().rev().collect::<Vec<_>>(), &[3, 4]);
    let sign = |n: usize| {
        fixed(&(0..n).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect::<Vec<_>>(), &[n as i64])
    };
    let signs = || {
        let v: Vec<f64> = (0..12).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
        fixed(&v, &[3, 4])
    };
    for r in [Reduction::None, Reduction::Mean, Reduction::Sum] {
        let mut add =
            |name, at: &[f64], loss: Loss| t.push((name, at.to_vec(), shape.clone(), loss));
        add("mse", &x, Box::new(move |v| mse_loss_with(v, &y(), r)));
        add("l1", &x, Box::new(move |v| l1_loss_with(v, &y(), r)));
        add("smooth_l1", &x, Box::new(move |v| smooth_l1_loss_with(v, &y(), 0.8, r)));
        add("huber", &x, Box::new(move |v| huber_loss_with(v, &y(), 0.8, r)));
        add("bce", &p, Box::new(move |v| bce_loss_with(v, &q(), None, r)));
        add("bce of target", &p, Box::new(move |v| bce_loss_with(&q(), v, None, r)));
        let w = f64s(&spread(4, 0.5, 2.0), &[4]);
        let w1 = w.clone();
        add("bce weight", &p, Box::new(move |v| bce_loss_with(v, &q(), Some(&w1), r)));
        add("bce logits", &x, Box::new(move |v| bce_with_logits_loss_with(v, &q(), None, None, r)));
        let w2 = w.clone();
        add(
            "bce logits pos",
            &x,
            Box::new(move |v| bce_with_logits_loss_with(v, &q(), Some(&w2), Some(&w2), r)),
        );
        add("kl", &x, Box::new(move |v| kl_div_loss_with(v, &q(), false, r)));
        add("kl of target", &p, Box::new(move |v| kl_div_loss_with(&y(), v, false, r)));
        add("kl log", &x, Box::new(move |v| kl_div_loss_with(v, &y(), true, r)));
        let w3 = w.clone();
        add(
            "nll",
            &x,
            Box::new(move |v| nll_loss_with(v, &ints(&[0, 3, 1], &[3]), Some(&w3), 1, r)),
        );
        let w4 = w.clone();
        add(
            "cross entropy",
            &x,
            Box::new(move |v| {
                let options = CrossEntropy {
                    weight: Some(w4.clone()),
                    label_smoothing: 0.1,
                    reduction: r,
                    ..CrossEntropy::default()
                };
                cross_entropy_with(v, &ints(&[0, 3, 1], &[3]), &options)
            }),
        );
        add(
            "cross entropy of probabilities",
            &x,
            Box::new(move |v| {
                let options = CrossEntropy { reduction: r, ..CrossEntropy::default() };
                cross_entropy_with(v, &q(), &options)
            }),
        );
        add("focal", &x, Box::new(move |v| focal_loss_with(v, &q(), 0.25, 2.0, r)));
        add(
            "focal classes",
            &x,
            Box::new(move |v| focal_loss_with(v, &ints(&[0, 3, 1], &[3]), 1.0, 2.0, r)),
        );
        add(
            "triplet",
            &x,
            Box::new(move |v| {
                let o = TripletMargin { swap: true, reduction: r, ..TripletMargin::default() };
                triplet_margin_loss_with(v, &y(), &q(), o)
            }),
        );
        add("cosine", &x, Box::new(move |v| cosine_embedding_loss_with(v, &y(), &sign(3), 0.1, r)));
        add("hinge", &x, Box::new(move |v| hinge_embedding_loss_with(v, &signs(), 1.1, r)));
        add("ranking", &x, Box::new(move |v| margin_ranking_loss_with(v, &y(), &signs(), 0.3, r)));
        add("soft margin", &x, Box::new(move |v| soft_margin_loss_with(v, &signs(), r)));
        let full = PoissonNll { full: true, reduction: r, ..PoissonNll::default() };
        add("poisson", &x, Box::new(move |v| poisson_nll_loss_with(v, &q(), full)));
        let rate = PoissonNll { log_input: false, ..full };
        add("poisson rate", &p, Box::new(move |v| poisson_nll_loss_with(v, &q(), rate)));
        add(
            "gaussian",
            &x,
            Box::new(move |v| gaussian_nll_loss_with(v, &y(), &q(), true, 1e-6, r)),
        );
        add(
            "gaussian of var",
            &p,
            Box::new(move |v| gaussian_nll_loss_with(&y(), &q(), v, true, 1e-6, r)),
        );
        add(
            "multilabel margin",
            &x,
            Box::new(move |v| {
                let t = ints(&[1, 3, -1, 0, 2, -1, 0, 0, 0, 1, 2, 3], &[3, 4]);
                multilabel_margin_loss_with(v, &t, r)
            }),
        );
        add(
            "multilabel soft margin",
            &x,
            Box::new(move |v| multilabel_soft_margin_loss_with(v, &q(), Some(&w), r)),
        );
        add(
            "multi margin",
            &x,
            Box::new(move |v| {
                let o = MultiMargin { p: 2, reduction: r, ..MultiMargin::default() };
                multi_margin_loss_with(v, &ints(&[0, 3, 1], &[3]), &o)
            }),
        );
    }
    t
}

/// A scalar of the loss that weights its elements differently.
fn scalar(loss: &Loss, v: &Variable) -> Variable {
    let l = loss(v).unwrap();
    let w = spread(l.numel() as usize, 0.5, 1.5);
    l.mul(&fixed(&w, &l.shape())).unwrap().sum().unwrap()
}

fn slope(loss: &Loss, values: &[f64], shape: &[i64]) -> Vec<f64> {
    let x = leaf(values, shape);
    scalar(loss, &x).backward().unwrap();
    x.grad().unwrap().to_f64_vec().unwrap()
}

const H: f64 = 1e-5;

fn differences(values: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    (0..values.len())
        .map(|i| {
            let at = |d: f64| {
                let mut v = values.to_vec();
                v[i] += d;
                f(&v)
            };
            (at(H) - at(-H)) / (2.0 * H)
        })
        .collect()
}

fn close(name: &str, ours: &[f64], want: &[f64]) {
    for (i, (a, b)) in ours.iter().zip(want).enumerate() {
        assert!((a - b).abs() < 1e-6 * (1.0 + b.abs()), "{name} at {i}: {a} instead of {b}");
    }
}

#[test]
fn first_derivatives_are_right() {
    for (name, values, shape, loss) in table() {
        let want = differences(&values, |v| scalar(&loss, &leaf(v, &shape)).item().unwrap());
        close(name, &slope(&loss, &values, &shape), &want);
    }
}

#[test]
fn second_derivatives_are_right() {
    for (name, values, shape, loss) in table() {
        let weights = fixed(&spread(values.len(), -1.0, 1.0), &shape);
        let x = leaf(&values, &shape);
        let l = scalar(&loss, &x);
        let options = BackwardOptions::default().create_graph();
        let g = grad(&[&l], &[&x], &[None], options).unwrap().remove(0).unwrap();
        close(name, &g.data().to_f64_vec().unwrap(), &slope(&loss, &values, &shape));
        let along = g.mul(&weights).unwrap().sum().unwrap();
        let second = if along.requires_grad() {
            along.backward().unwrap();
            x.grad().map_or(vec![0.0; values.len()], |g| g.to_f64_vec().unwrap())
        } else {
            vec![0.0; values.len()]
        };
        let w = weights.data().to_f64_vec().unwrap();
        let want = differences(&values, |v| {
            slope(&loss, v, &shape).iter().zip(&w).map(|(g, w)| g * w).sum()
        });
        close(name, &second, &want);
    }
}

#[test]
fn strided_and_f32_inputs_give_the_same() {
    for (name, values, shape, loss) in table() {
        let want = loss(&leaf(&values, &shape)).unwrap().data().to_f64_vec().unwrap();
        let turned = f64s(&values, &shape).t().unwrap().contiguous().unwrap();
        let strided = Variable::new(turned.t().unwrap(), true);
        assert!(!strided.data().is_contiguous());
        close(name, &loss(&strided).unwrap().data().to_f64_vec().unwrap(), &want);
        scalar(&loss, &strided).backward().unwrap();
        let g = strided.grad().unwrap().to_f64_vec().unwrap();
        close(name, &g, &slope(&loss, &values, &shape));
    }
}

#[test]
fn extreme_inputs_give_pytorchs_numbers() {
    let big = leaf(&[1e4, -1e4, 1e4, -1e4], &[4]);
    let y = fixed(&[1.0, 0.0, 0.0, 1.0], &[4]);
    let each = bce_with_logits_loss_with(&big, &y, None, None, Reduction::None).unwrap();
    assert_eq!(each.data().to_f64_vec().unwrap(), [0.0, 0.0, 1e4, 1e4]);
    each.sum().unwrap().backward().unwrap();
    assert_eq!(big.grad().unwrap().to_f64_vec().unwrap(), [0.0, 0.0, 1.0, -1.0]);
    let signs = fixed(&[1.0, -1.0, -1.0, 1.0], &[4]);
    let each = soft_margin_loss_with(&big, &signs, Reduction::None).unwrap();
    assert_eq!(each.data().to_f64_vec().unwrap(), [0.0, 0.0, 1e4, 1e4]);
    let edge = leaf(&[0.0, 1.0, 0.0, 1.0], &[4]);
    let each = bce_loss_with(&edge, &y, None, Reduction::None).unwrap();
    assert_eq!(each.data().to_f64_vec().unwrap(), [100.0, 100.0, 0.0, 0.0]);
    let logits = leaf(&[1e4, -1e4, 0.0, -1e4, 1e4, 0.0], &[2, 3]);
    let loss = cross_entropy_loss(&logits, &ints(&[0, 0], &[2])).unwrap();
    assert_eq!(loss.item().unwrap(), 1e4);
    loss.backward().unwrap();
    assert!(logits.grad().unwrap().all_finite().unwrap());
    let far = leaf(&[f64::INFINITY, f64::NEG_INFINITY], &[2]);
    let zero = fixed(&[0.0, 0.0], &[2]);
    for loss in [
        smooth_l1_loss(&far, &zero, 1.0),
        huber_loss(&far, &zero, 1.0),
        l1_loss(&far, &zero),
        mse_loss(&far, &zero),
    ] {
        assert_eq!(loss.unwrap().item().unwrap(), f64::INFINITY);
    }
    let certain = fixed(&[1.0, 0.0], &[2]);
    let lp = leaf(&[0.0, -700.0], &[2]);
    assert_eq!(kl_div_loss(&lp, &certain).unwrap().item().unwrap(), 0.0);
    let ignored = leaf(&[f64::NEG_INFINITY, 0.0, -1.0, -2.0], &[2, 2]);
    let loss = nll_loss_with(&ignored, &ints(&[-100, 0], &[2]), None, -100, Reduction::Mean);
    assert_eq!(loss.unwrap().item().unwrap(), 1.0);
}

#[test]
fn ctc_handles_impossible_targets() {
    let lp = Variable::new(f64s(&spread(2 * 3, -1.0, 0.0), &[2, 1, 3]), true);
    let x = lp.log_softmax(-1).unwrap();
    let (t, il, tl) = (ints(&[1, 2, 1], &[1, 3]), ints(&[2], &[1]), ints(&[3], &[1]));
    assert_eq!(ctc_loss(&x, &t, &il, &tl, 0).unwrap().item().unwrap(), f64::INFINITY);
    let loss = ctc_loss_with(&x, (&t, &il, &tl), 0, true, Reduction::Mean).unwrap();
    assert_eq!(loss.item().unwrap(), 0.0);
    loss.backward().unwrap();
    assert_eq!(lp.grad().unwrap().to_f64_vec().unwrap(), [0.0; 6]);
}

#[test]
fn ctc_gradients_are_right() {
    let values = spread(5 * 2 * 4, -1.0, 1.0);
    let loss: Loss = Box::new(|v| {
        let x = v.log_softmax(-1)?;
        let t = ints(&[1, 1, 0, 3, 2, 1], &[2, 3]);
        let lengths = (ints(&[5, 4], &[2]), ints(&[2, 3], &[2]));
        ctc_loss_with(&x, (&t, &lengths.0, &lengths.1), 0, false, Reduction::None)
    });
    let shape = [5, 2, 4];
    let want = differences(&values, |v| scalar(&loss, &leaf(v, &shape)).item().unwrap());
    close("ctc", &slope(&loss, &values, &shape), &want);
    let x = leaf(&values, &shape);
    let options = BackwardOptions::default().create_graph();
    let e = grad(&[&scalar(&loss, &x)], &[&x], &[None], options).err().unwrap().to_string();
    assert!(e.contains("ctc_loss"), "{e}");
}

#[test]
fn empty_batches_and_single_rows() {
    for n in [0i64, 1] {
        let x = leaf(&spread(n as usize * 4, 0.1, 0.9), &[n, 4]);
        let y = fixed(&spread(n as usize * 4, 0.2, 0.8), &[n, 4]);
        let c = ints(&vec![2; n as usize], &[n]);
        for loss in [
            mse_loss(&x, &y),
            l1_loss(&x, &y),
            huber_loss(&x, &y, 1.0),
            bce_loss(&x, &y),
            bce_with_logits_loss(&x, &y),
            kl_div_loss(&x, &y),
            cross_entropy_loss(&x, &c),
            nll_loss(&x, &c),
            multi_margin_loss(&x, &c),
        ] {
            // The mean of nothing is NaN, as in PyTorch.
            let loss = loss.unwrap();
            assert_eq!(loss.item().unwrap().is_nan(), n == 0);
            loss.backward().unwrap();
        }
        let sum = mse_loss_with(&x, &y, Reduction::Sum).unwrap().item().unwrap();
        assert_eq!(sum == 0.0, n == 0);
    }
}

#[test]
fn modules_and_tensor_methods_are_the_functions() {
    let (x, y) = (leaf(&spread(6, 0.1, 0.9), &[2, 3]), fixed(&spread(6, 0.2, 0.8), &[2, 3]));
    let same = |a: Result<Variable>, b: Result<Variable>| {
        assert_eq!(a.unwrap().item().unwrap(), b.unwrap().item().unwrap());
    };
    same(MSELoss::new().forward(&x, &y), mse_loss(&x, &y));
    same(HuberLoss::new().delta(0.1).forward(&x, &y), huber_loss(&x, &y, 0.1));
    let w = f64s(&[1.0, 2.0, 3.0], &[3]);
    same(
        BCEWithLogitsLoss::new().pos_weight(w.clone()).reduction(Reduction::Sum).forward(&x, &y),
        bce_with_logits_loss_with(&x, &y, None, Some(&w), Reduction::Sum),
    );
    same(
        KLDivLoss::new().reduction(KlReduction::BatchMean).forward(&x, &y),
        kl_div_loss_with(&x, &y, false, Reduction::Sum).unwrap().div_scalar(2.0),
    );
    let (a, b) = (x.data(), y.data());
    let by_number = a.mse_loss(&b, 2).unwrap().item().unwrap();
    assert_eq!(by_number, a.mse_loss(&b, Reduction::Sum).unwrap().item().unwrap());
    assert_eq!(a.smooth_l1_loss(&b, 0, 1.0).unwrap().shape(), [2, 3]);
    let e = a.l1_loss(&b, 3).unwrap_err().to_string();
    assert_eq!(e, "l1_loss: reduction must be 0 (none), 1 (mean) or 2 (sum)");
}

#[test]
fn wrong_input_is_told() {
    let x = fixed(&spread(6, 0.1, 0.9), &[2, 3]);
    let short = fixed(&[0.5; 3], &[3]);
    let single = Variable::new(x.data().to_dtype(DType::Float32).unwrap(), false);
    let error = |r: Result<Variable>| r.err().unwrap().to_string();
    for (op, r) in [
        ("mse_loss", mse_loss(&x, &short)),
        ("l1_loss", l1_loss(&x, &short)),
        ("bce_loss", bce_loss(&x, &short)),
        ("kl_div_loss", kl_div_loss(&x, &short)),
    ] {
        let want = format!(
            "{op}: shapes [2, 3] and [3] do not fit: prediction and target must have one shape"
        );
        assert_eq!(error(r), want);
    }
    assert_eq!(
        error(l1_loss(&x, &single)),
        "l1_loss: dtypes float64 and float32 do not mix; cast one with to_dtype"
    );
    assert_eq!(
        error(nll_loss(&x, &ints(&[0, 3], &[2]))),
        "nll_loss: target 3 at place 1 is none of 3 classes"
    );
    assert!(error(cross_entropy_loss(&x, &ints(&[0, 3], &[2]))).contains('3'));
    assert_eq!(
        error(nll_loss(&x, &ints(&[0], &[1]))),
        "nll_loss: shapes [2, 3] and [1] do not fit: targets need the shape [2]"
    );
    assert!(error(nll_loss(&x, &fixed(&[0.0, 1.0], &[2]))).contains("classes as integers"));
    assert_eq!(
        error(bce_loss(&fixed(&[1.5], &[1]), &fixed(&[1.0], &[1]))),
        "bce_loss: predictions must be in [0, 1]; bce_with_logits_loss takes logits"
    );
    assert!(error(bce_loss(&fixed(&[f64::NAN], &[1]), &fixed(&[1.0], &[1]))).contains("[0, 1]"));
    assert_eq!(error(smooth_l1_loss(&x, &x, -1.0)), "smooth_l1_loss: beta -1 must not be negative");
    assert_eq!(error(huber_loss(&x, &x, 0.0)), "huber_loss: delta 0 must be positive");
    assert_eq!(
        error(gaussian_nll_loss(&x, &x, &x.neg().unwrap())),
        "gaussian_nll_loss: a variance is negative"
    );
    assert!(error(triplet_margin_loss(&x, &short, &x, 1.0)).contains("number of dims"));
    assert!(error(cosine_embedding_loss(&x, &x, &short, 0.0)).contains("labels [N]"));
    assert_eq!(
        error(multilabel_margin_loss(&x, &ints(&[0, 7, -1, 0, 1, 2], &[2, 3]))),
        "multilabel_margin_loss: target 7 at place 1 is none of 3 classes"
    );
    let lp = fixed(&spread(12, -1.0, 0.0), &[4, 1, 3]);
    let ctc = |t: &[i64], il: i64, tl: i64| {
        let t = ints(t, &[1, t.len() as i64]);
        error(ctc_loss(&lp, &t, &ints(&[il], &[1]), &ints(&[tl], &[1]), 0))
    };
    assert_eq!(ctc(&[1], 9, 1), "ctc_loss: input lengths: 9 at place 0 is not in 0..=4");
    assert_eq!(ctc(&[1], 4, 2), "ctc_loss: target lengths: 2 at place 0 is not in 0..=1");
    assert!(ctc(&[0], 4, 1).contains("label 0 at place 0"));
    assert!(ctc(&[5], 4, 1).contains("label 5 at place 0"));
    let integer = ints(&[1, 2], &[2]);
    assert!(error(l1_loss(&integer, &integer)).contains("floating-point"));
}
