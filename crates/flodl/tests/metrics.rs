//! Scores against scikit-learn 1.9's, batch by batch as well as at once, and wrong input.

use flodl::*;

const TARGET: [i64; 15] = [0, 2, 1, 1, 0, 2, 2, 1, 0, 2, 1, 4, 4, 2, 0];
const SAID: [i64; 15] = [0, 2, 1, 0, 0, 1, 2, 1, 2, 2, 1, 4, 0, 2, 1];

fn ids(values: &[i64]) -> Tensor {
    Tensor::from_i64(values, &[values.len() as i64], Device::CPU).unwrap()
}

fn floats(values: &[f64], shape: &[i64]) -> Tensor {
    Tensor::from_f64(values, shape, Device::CPU).unwrap()
}

/// Scores `[12, 3]` by a formula, and their classes.
fn scores() -> (Tensor, Vec<i64>) {
    let score = |i: usize| {
        let (row, column) = (i / 3, i % 3);
        ((row * 7 + column * 5 + row * column * 3) % 11) as f64 / 10.0
    };
    let target = [2, 1, 1, 0, 2, 1, 0, 1, 2, 0, 1, 1];
    (floats(&(0..36).map(score).collect::<Vec<_>>(), &[12, 3]), target.to_vec())
}

#[track_caller]
fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-12, "{got} is not {want}");
}

#[track_caller]
fn all_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).for_each(|(&g, &w)| close(g, w));
}

/// Feeds a metric in three batches of rows.
fn streamed(metric: &mut impl Metric, prediction: &Tensor, target: &Tensor) -> f64 {
    metric.update(prediction, target).unwrap();
    metric.reset();
    let n = target.shape()[0];
    for (start, end) in [(0, 2), (2, 5), (5, n)] {
        let part = |t: &Tensor| t.narrow(0, start, end - start).unwrap();
        metric.update(&part(prediction), &part(target)).unwrap();
    }
    metric.compute().unwrap()
}

#[test]
fn labels() {
    let (said, target) = (ids(&SAID), ids(&TARGET));
    close(accuracy(&said, &target).unwrap(), 0.6666666666666666);
    close(streamed(&mut Accuracy::new(), &said, &target), 0.6666666666666666);
    for (average, want) in [
        (Average::Micro, [0.6666666666666666; 3]),
        (Average::Macro, [0.725, 0.6375, 0.6583333333333333]),
        (Average::Weighted, [0.6933333333333334, 0.6666666666666666, 0.6666666666666666]),
    ] {
        close(precision(&said, &target, average).unwrap(), want[0]);
        close(recall(&said, &target, average).unwrap(), want[1]);
        close(f1_score(&said, &target, average).unwrap(), want[2]);
    }
}

#[test]
fn confusion_matrix() {
    let mut matrix = ConfusionMatrix::new(5);
    close(streamed(&mut matrix, &ids(&SAID), &ids(&TARGET)), 0.6666666666666666);
    let want = [2, 1, 1, 0, 0, 1, 3, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    assert_eq!(matrix.to_tensor().unwrap().to_i64_vec().unwrap(), want);
    all_close(&matrix.precision_per_class(), &[0.5, 0.6, 0.8, 0.0, 1.0]);
    all_close(&matrix.recall_per_class(), &[0.5, 0.75, 0.8, 0.0, 0.5]);
    let third = 0.6666666666666666;
    all_close(&matrix.f1_per_class(), &[0.5, third, 0.8, 0.0, third]);
    assert_eq!((0..5).map(|c| matrix.support(c)).collect::<Vec<_>>(), [4, 4, 5, 0, 2]);
    assert_eq!(matrix.total(), 15);
    assert_eq!((matrix.get(4, 0), matrix.get(7, 0)), (1, 0));
    let table =
        "   0 1 2 3 4\n0  2 1 1 . .\n1  1 3 . . .\n2  . 1 4 . .\n3  . . . . .\n4  1 . . . 1\n";
    assert_eq!(matrix.to_string(), table);
    let before = matrix.clone();
    let error = matrix.update(&ids(&[0, 5]), &ids(&[0, 0])).unwrap_err();
    assert_eq!(error.to_string(), "ConfusionMatrix: index 5 is out of range for size 5");
    assert_eq!(matrix, before, "a failed update counts nothing");
}

#[test]
fn rankings() {
    let (scores, target) = scores();
    let target = ids(&target);
    for (k, want) in [(1, 0.4166666666666667), (2, 0.9166666666666666), (3, 1.0)] {
        close(top_k_accuracy(&scores, &target, k).unwrap(), want);
        close(streamed(&mut TopKAccuracy::new(k).unwrap(), &scores, &target), want);
    }
    for (average, roc, precision) in [
        (Average::Macro, 0.6959876543209876, 0.6352292768959434),
        (Average::Weighted, 0.6226851851851852, 0.5965939153439154),
        (Average::Micro, 0.6631944444444444, 0.4639892565164304),
    ] {
        close(streamed(&mut RocAuc::with_average(average), &scores, &target), roc);
        let mut metric = AveragePrecision::with_average(average);
        close(streamed(&mut metric, &scores, &target), precision);
    }
    let p = scores.add_scalar(0.1).unwrap();
    let p = p.div(&p.sum_dim(1, true).unwrap()).unwrap();
    close(roc_auc(&p, &target).unwrap(), 0.7037037037037037);

    let last = scores.select(1, 2).unwrap();
    let is_last = target.eq_scalar(2.0).unwrap();
    close(roc_auc(&last, &is_last).unwrap(), 0.6851851851851851);
    close(average_precision(&last, &is_last).unwrap(), 0.42499999999999993);
    close(streamed(&mut RocAuc::new(), &last, &is_last), 0.6851851851851851);
    // Infinite scores are the highest and the lowest, not an error.
    let ends = floats(&[f64::NEG_INFINITY, 0.0, f64::INFINITY], &[3]);
    close(roc_auc(&ends, &ids(&[0, 0, 1])).unwrap(), 1.0);
}

#[test]
fn numbers() {
    let target = floats(&[3.0, -0.5, 2.0, 7.0, 4.25, 1e3], &[6]);
    let said = floats(&[2.5, 0.0, 2.0, 8.0, 4.0, 999.0], &[6]);
    close(mse(&said, &target).unwrap(), 0.4270833333333333);
    close(mae(&said, &target).unwrap(), 0.5416666666666666);
    close(rmse(&said, &target).unwrap(), 0.6535161308899218);
    close(r2_score(&said, &target).unwrap(), 0.9999969056502964);
    let mut errors = RegressionErrors::new();
    close(streamed(&mut errors, &said, &target), 0.4270833333333333);
    close(errors.r2().unwrap(), 0.9999969056502964);
    // A large common offset changes nothing: no cancellation.
    let far = |t: &Tensor| t.add_scalar(1e7).unwrap();
    let r2 = r2_score(&far(&said), &far(&target)).unwrap();
    assert!((r2 - 0.9999969056502964).abs() < 1e-9, "{r2}");
    let same = floats(&[2.0, 2.0], &[2]);
    close(r2_score(&same, &same).unwrap(), 1.0);
    close(r2_score(&floats(&[2.0, 3.0], &[2]), &same).unwrap(), 0.0);
}

#[test]
fn language_models() {
    let (scores, target) = scores();
    let logits = scores.mul_scalar(3.0).unwrap().sub_scalar(1.0).unwrap();
    let want = 2.9687716255571908;
    close(perplexity(&logits, &ids(&target)).unwrap(), want);
    let mut metric = Perplexity::new();
    close(streamed(&mut metric, &logits, &ids(&target)), want);
    close(metric.bits().unwrap(), want.log2());
    // Sequences, and padding that does not count.
    let mut padded = target.clone();
    padded[3] = -100;
    padded[8] = -100;
    let shaped = logits.reshape(&[3, 4, 3]).unwrap();
    let mut metric = Perplexity::new().ignore_index(-100);
    metric.update(&shaped, &ids(&padded).reshape(&[3, 4]).unwrap()).unwrap();
    let keep: Vec<i64> = (0..12).filter(|&i| i != 3 && i != 8).collect();
    let kept = ids(&keep.iter().map(|&i| target[i as usize]).collect::<Vec<_>>());
    let want = perplexity(&logits.index_select(0, &ids(&keep)).unwrap(), &kept).unwrap();
    close(metric.compute().unwrap(), want);
}

#[test]
fn strided_half_and_variables() {
    let (scores, target) = scores();
    let strided = scores.t().unwrap().contiguous().unwrap().t().unwrap();
    assert!(!strided.is_contiguous());
    let target = Variable::new(ids(&target), false);
    let want = accuracy(&scores, &target).unwrap();
    close(accuracy(&Variable::new(strided, true), &target).unwrap(), want);
    let wide = scores.to_dtype(DType::Float16).unwrap();
    close(roc_auc(&wide, &target).unwrap(), 0.6959876543209876);
}

#[test]
fn wrong_input() {
    let (scores, target) = scores();
    let (t, none) = (ids(&target), ids(&[]));
    let no_scores = scores.narrow(0, 0, 0).unwrap();
    let mut nan = scores.to_f64_vec().unwrap();
    nan[7] = f64::NAN;
    let nan = floats(&nan, &[12, 3]);
    let said = |r: Result<f64>| r.unwrap_err().to_string();
    for (got, want) in [
        (said(accuracy(&none, &none)), "accuracy: has no value before anything was counted"),
        (said(accuracy(&no_scores, &none)), "accuracy: has no value before anything was counted"),
        (
            said(accuracy(&scores, &ids(&[1, 2]))),
            "accuracy: shapes [12] and [2] do not fit: each prediction needs one target",
        ),
        (
            said(accuracy(&floats(&[0.5], &[1]), &ids(&[0]))),
            "accuracy: expected class ids (of an integer dtype) or scores [N, C, …], got shape [1]",
        ),
        (
            said(accuracy(&t, &floats(&[0.0], &[1]))),
            "accuracy: expected targets that are class ids, of an integer dtype, got dtype float64",
        ),
        (
            said(f1_score(&ids(&[1 << 40]), &ids(&[0]), Average::Macro)),
            "ConfusionMatrix: class 1099511627776 is not below 16384",
        ),
        (
            said(f1_score(&ids(&[-1]), &ids(&[0]), Average::Macro)),
            "ConfusionMatrix: index -1 is out of range for size 1",
        ),
        (said(top_k_accuracy(&scores, &t, 0)), "top_k_accuracy: k must be at least 1, not 0"),
        (said(top_k_accuracy(&scores, &t, 4)), "top_k_accuracy: k 4 is more than the 3 classes"),
        (said(roc_auc(&scores, &ids(&[3; 12]))), "roc_auc: index 3 is out of range for size 3"),
        (said(roc_auc(&scores, &ids(&[1; 12]))), "roc_auc: none of the 12 targets are of class 0"),
        (
            said(average_precision(&floats(&[0.5, 0.6], &[2]), &ids(&[1, 1]))),
            "average_precision: all of the 2 targets are of class 1",
        ),
        (said(roc_auc(&nan, &t)), "roc_auc: row 2 of the scores holds a NaN"),
        (
            said(mse(&scores, &t)),
            "RegressionErrors: shapes [12, 3] and [12] do not fit: each prediction needs one target",
        ),
        (
            said(r2_score(&floats(&[1.0], &[1]), &floats(&[1.0], &[1]))),
            "r2_score: needs at least two elements, got 1",
        ),
        (
            said(perplexity(&scores, &ids(&[9; 12]))),
            "perplexity: index 9 is out of range for size 3",
        ),
    ] {
        assert_eq!(got, want);
    }
}
