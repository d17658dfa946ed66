//! Metrics against scikit-learn's values; streams, resets and wrong input.

use flodl::*;
use serde_json::Value;

fn reference() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/metrics.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn floats(v: &Value, shape: &[i64]) -> Tensor {
    Tensor::from_f64(&numbers(v), shape, Device::CPU).unwrap()
}

fn ints(v: &Value) -> Tensor {
    let v: Vec<i64> = v.as_array().unwrap().iter().map(|x| x.as_i64().unwrap()).collect();
    Tensor::from_i64(&v, &[v.len() as i64], Device::CPU).unwrap()
}

/// Feeds in batches of uneven sizes; a reset before must leave no trace.
fn value(mut metric: impl Metric, p: &Tensor, t: &Tensor) -> f64 {
    metric.update(p, t).unwrap();
    metric.reset();
    assert!(metric.compute().is_err(), "{} of nothing", metric.name());
    let n = t.shape()[0];
    let mut at = 0;
    for size in [1, 0, 7, 13, n] {
        let size = size.min(n - at);
        metric.update(&p.narrow(0, at, size).unwrap(), &t.narrow(0, at, size).unwrap()).unwrap();
        at += size;
    }
    metric.compute().unwrap()
}

#[test]
fn values_are_those_of_scikit_learn() {
    let r = reference();
    let target = ints(&r["target"]);
    let (logits, probs) = (floats(&r["logits"], &[60, 4]), floats(&r["probs"], &[60, 4]));
    let (binary, scores) = (ints(&r["binary"]), floats(&r["scores"], &[60]));
    let (reg, guess) = (floats(&r["reg"], &[30, 2]), floats(&r["guess"], &[30, 2]));
    let e = &r["expect"];
    let check = |name: &str, got: f64| {
        let want = e[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
        assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{name}: {got}, not {want}");
    };
    check("accuracy", value(Accuracy::new(), &logits, &target));
    check("top2", value(TopKAccuracy::new(2).unwrap(), &logits, &target));
    check("top3", value(TopKAccuracy::new(3).unwrap(), &logits, &target));
    check("auroc", value(Auroc::binary(), &scores, &binary));
    check("ap", value(AveragePrecision::binary(), &scores, &binary));
    for (name, average) in [("macro", Average::Macro), ("weighted", Average::Weighted)] {
        let auroc = Auroc::one_vs_rest(4, average).unwrap();
        check(&format!("auroc {name}"), value(auroc, &probs, &target));
        let ap = AveragePrecision::one_vs_rest(4, average).unwrap();
        check(&format!("ap {name}"), value(ap, &probs, &target));
    }
    check("perplexity", value(Perplexity::new(), &logits, &target));
    check("mse", value(MeanSquaredError::new(), &guess, &reg));
    check("mae", value(MeanAbsoluteError::new(), &guess, &reg));
    check("rmse", value(RootMeanSquaredError::new(), &guess, &reg));
    check("r2", value(R2Score::new(), &guess, &reg));
    let first = |t: &Tensor| t.select(1, 0).unwrap();
    check("r2 first", value(R2Score::new(), &first(&guess), &first(&reg)));
    for (name, average) in
        [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)]
    {
        let (p, r, f) = (
            Precision::new(4, average).unwrap(),
            Recall::new(4, average).unwrap(),
            F1::new(4, average).unwrap(),
        );
        check(&format!("precision {name}"), value(p, &logits, &target));
        check(&format!("recall {name}"), value(r, &logits, &target));
        check(&format!("f1 {name}"), value(f, &logits, &target));
    }
    let mut m = ConfusionMatrix::new(4).unwrap();
    m.update(&logits, &target).unwrap();
    let counts: Vec<f64> = (0..16).map(|i| m.count(i / 4, i % 4) as f64).collect();
    assert_eq!(counts, numbers(&e["confusion"]));
    for (name, got) in [
        ("precision", m.precision_per_class()),
        ("recall", m.recall_per_class()),
        ("f1", m.f1_per_class()),
    ] {
        let want = numbers(&e[format!("{name} classes")]);
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-12), "{name} {got:?}");
    }
    let is_one = |t: &Tensor| t.eq_scalar(1.0).unwrap().to_dtype(DType::Int64).unwrap();
    let said = is_one(&logits.argmax(1, false).unwrap());
    check("precision binary", value(Precision::new(2, Average::Binary).unwrap(), &said, &binary));
    check("recall binary", value(Recall::new(2, Average::Binary).unwrap(), &said, &binary));
    check("f1 binary", value(F1::new(2, Average::Binary).unwrap(), &said, &binary));
}

#[test]
fn edges() {
    let t = |v: &[f64], s: &[i64]| Tensor::from_f64(v, s, Device::CPU).unwrap();
    let i = |v: &[i64]| Tensor::from_i64(v, &[v.len() as i64], Device::CPU).unwrap();
    // All scores equal: chance.
    assert_eq!(value(Auroc::binary(), &t(&[1.0; 4], &[4]), &i(&[0, 1, 0, 1])), 0.5);
    // Targets that do not differ.
    let mut r2 = R2Score::new();
    r2.update(&t(&[1.0, 2.0], &[2]), &t(&[1.5, 1.5], &[2])).unwrap();
    assert_eq!(r2.compute().unwrap(), 0.0);
    // A large offset does not eat the digits.
    let (a, b) =
        (t(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0], &[3]), t(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 4.0], &[3]));
    assert!((value(R2Score::new(), &a, &b) - (1.0 - 1.0 / (14.0 / 3.0))).abs() < 1e-9);
    // Padding is left out.
    let mut p = Perplexity::new().ignore_index(-100);
    let logits = Tensor::zeros(&[2, 3, 5], TensorOptions::default()).unwrap();
    let wanted = Tensor::from_i64(&[0, 1, -100, 4, -100, -100], &[2, 3], Device::CPU).unwrap();
    p.update(&logits, &wanted).unwrap();
    assert!((p.compute().unwrap() - 5.0).abs() < 1e-12);
    let mut m = ConfusionMatrix::new(3).unwrap();
    m.update(&i(&[0, 2, 2]), &i(&[0, 1, 2])).unwrap();
    let lines: Vec<String> = m.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["1", "|", ".", ".", "1"]);
}

#[test]
fn wrong_input_is_an_error_that_says_what() {
    let f = |s: &[i64]| Tensor::zeros(s, TensorOptions::default()).unwrap();
    let i = |v: &[i64]| Tensor::from_i64(v, &[v.len() as i64], Device::CPU).unwrap();
    let nan = Tensor::from_f32(&[f32::NAN, 0.0], &[2], Device::CPU).unwrap();
    let mut m = ConfusionMatrix::new(3).unwrap();
    let mut cases: Vec<(String, &str)> = Vec::new();
    let mut case =
        |r: Result<()>, want: &'static str| cases.push((r.unwrap_err().to_string(), want));
    case(m.update(&f(&[2, 3]), &i(&[0, 3])), "ConfusionMatrix: index 3 is out of range for size 3");
    case(
        m.update(&f(&[2, 3]), &i(&[0, -1])),
        "ConfusionMatrix: index -1 is out of range for size 3",
    );
    case(
        m.update(&f(&[2, 3]), &i(&[0])),
        "ConfusionMatrix: shapes [2, 3] and [1] do not fit: scores have the targets' shape and one dim more, of classes",
    );
    case(
        m.update(&f(&[2, 3]), &f(&[2])),
        "ConfusionMatrix: expected targets of class numbers (int64), got dtype float32",
    );
    case(
        m.update(&f(&[0, 0]), &i(&[])),
        "ConfusionMatrix: expected at least one class, got shape [0, 0]",
    );
    case(
        m.update(&i(&[0, 1]), &i(&[0])),
        "ConfusionMatrix: shapes [2] and [1] do not fit: predicted classes have the targets' shape",
    );
    assert_eq!(m.total(), 0);
    case(
        MeanSquaredError::new().update(&f(&[2, 1]), &f(&[2])),
        "MeanSquaredError: shapes [2, 1] and [2] do not fit: predictions and targets have one shape; broadcasting here hides mistakes",
    );
    case(Auroc::binary().update(&nan, &i(&[0, 1])), "Auroc: a score is NaN");
    case(
        Auroc::binary().update(&f(&[2]), &i(&[0, 2])),
        "Auroc: index 2 is out of range for size 2",
    );
    case(
        Auroc::one_vs_rest(3, Average::Macro).unwrap().update(&f(&[2, 4]), &i(&[0, 2])),
        "Auroc: expected scores of 3 classes, got shape [2, 4]",
    );
    case(TopKAccuracy::new(0).map(drop), "TopKAccuracy: k must be at least 1, not 0");
    case(ConfusionMatrix::new(0).map(drop), "ConfusionMatrix: at least one class is needed");
    case(F1::new(3, Average::Binary).map(drop), "F1: Average::Binary is for two classes, not 3");
    case(
        Auroc::one_vs_rest(3, Average::Micro).map(drop),
        "Auroc: Average::Micro has no meaning here",
    );
    let mut auroc = Auroc::binary();
    auroc.update(&f(&[2]), &i(&[1, 1])).unwrap();
    case(auroc.compute().map(drop), "Auroc: samples of class 1 and of others are needed");
    for (got, want) in cases {
        assert_eq!(got, want);
    }
}
