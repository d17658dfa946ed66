//! Losses at extreme inputs, in both precisions, beside the numbers of
//! `scripts/loss_references.py`.

use flodl::*;
use serde_json::Value;

const REFERENCE: &str = include_str!("data/losses.json");

type Loss = fn(&Variable, &[i64]) -> Result<Variable>;

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| v.as_str().unwrap().parse().unwrap())
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(number).collect()
}

/// Numbers that repeat, in the shape and dtype of the input.
fn cycle(x: &Variable, of: &[f64]) -> Variable {
    let values: Vec<f64> = of.iter().copied().cycle().take(x.numel() as usize).collect();
    let t = Tensor::from_f64(&values, &x.shape(), Device::CPU).unwrap();
    Variable::new(t.to_dtype(x.dtype()).unwrap(), false)
}

fn halves(x: &Variable) -> Variable {
    cycle(x, &[0.0, 0.25, 1.0])
}

fn target(x: &Variable) -> Variable {
    cycle(x, &[-2.0, -1.0, 2.0])
}

fn signs(x: &Variable) -> Variable {
    cycle(x, &[1.0, -1.0])
}

fn ints(values: &[i64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_i64(values, shape, Device::CPU).unwrap(), false)
}

const EACH: Reduction = Reduction::None;

const TABLE: &[(&str, Loss)] = &[
    ("mse", |x, _| mse_loss_with(x, &target(x), EACH)),
    ("l1", |x, _| l1_loss_with(x, &target(x), EACH)),
    ("smooth_l1", |x, _| smooth_l1_loss_with(x, &target(x), 1.0, EACH)),
    ("huber", |x, _| huber_loss_with(x, &target(x), 1.0, EACH)),
    ("bce", |x, _| bce_loss_with(x, &halves(x), None, EACH)),
    ("bce_with_logits", |x, _| bce_with_logits_loss_with(x, &halves(x), None, None, EACH)),
    ("kl_div", |x, _| kl_div_loss_with(x, &halves(x), false, EACH)),
    ("poisson", |x, _| {
        let options = PoissonNll { reduction: EACH, ..PoissonNll::default() };
        poisson_nll_loss_with(x, &halves(x), options)
    }),
    ("poisson_rate", |x, _| {
        let options = PoissonNll { reduction: EACH, log_input: false, ..PoissonNll::default() };
        poisson_nll_loss_with(x, &halves(x), options)
    }),
    ("gaussian", |x, _| {
        gaussian_nll_loss_with(x, &target(x), &cycle(x, &[1.0]), false, 1e-6, EACH)
    }),
    ("gaussian_of_var", |x, _| {
        gaussian_nll_loss_with(&cycle(x, &[1.0]), &halves(x), x, false, 1e-6, EACH)
    }),
    ("hinge_embedding", |x, _| hinge_embedding_loss_with(x, &signs(x), 1.0, EACH)),
    ("soft_margin", |x, _| soft_margin_loss_with(x, &signs(x), EACH)),
    ("margin_ranking", |x, _| margin_ranking_loss_with(x, &target(x), &signs(x), 0.0, EACH)),
    ("cross_entropy", |x, classes| {
        let options = CrossEntropy { reduction: EACH, ..CrossEntropy::default() };
        cross_entropy_with(x, &ints(classes, &[6]), &options)
    }),
    ("nll", |x, classes| nll_loss_with(x, &ints(classes, &[6]), None, -100, EACH)),
    ("multi_margin", |x, classes| {
        let options = MultiMargin { reduction: EACH, ..MultiMargin::default() };
        multi_margin_loss_with(x, &ints(classes, &[6]), &options)
    }),
    ("multilabel_margin", |x, _| {
        let labels = [0, -1, 0, 2, 1, -1].repeat(3);
        multilabel_margin_loss_with(x, &ints(&labels, &[6, 3]), EACH)
    }),
    ("multilabel_soft_margin", |x, _| multilabel_soft_margin_loss_with(x, &halves(x), None, EACH)),
    ("cosine_embedding", |x, _| {
        let one = cycle(x, &[1.0]);
        cosine_embedding_loss_with(x, &one, &signs(&x.select(1, 0)?), 0.0, EACH)
    }),
    ("triplet_margin", |x, _| {
        let options = TripletMargin { reduction: EACH, ..TripletMargin::default() };
        triplet_margin_loss_with(x, &cycle(x, &[1.0]), &cycle(x, &[-1.0]), options)
    }),
];

fn compare(name: &str, ours: &Tensor, want: &[f64], error: f64) {
    for (i, (a, &b)) in ours.to_f64_vec().unwrap().into_iter().zip(want).enumerate() {
        let near =
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= error * b.abs().max(1.0);
        assert!(near, "{name}, place {i}: {a}, not {b}");
    }
}

#[test]
fn extreme_inputs_give_pytorchs_numbers_in_both_precisions() {
    let reference: Value = serde_json::from_str(REFERENCE).unwrap();
    let classes: Vec<i64> = numbers(&reference["classes"]).iter().map(|&c| c as i64).collect();
    assert_eq!(reference["losses"].as_object().unwrap().len(), TABLE.len());
    for (name, loss) in TABLE {
        let known = &reference["losses"][*name];
        let input = numbers(&known["input"]);
        let n = input.len() as i64;
        let shape = if n == 18 { vec![6, 3] } else { vec![n] };
        // PyTorch adds 1e-12 to each squared length before it divides, which shows here.
        let fine = if *name == "cosine_embedding" { 1e-8 } else { 1e-10 };
        for (dtype, error) in [(DType::Float32, 2e-5), (DType::Float64, fine)] {
            let t = Tensor::from_f64(&input, &shape, Device::CPU).unwrap();
            let x = Variable::new(t.to_dtype(dtype).unwrap(), true);
            let y = loss(&x, &classes).unwrap();
            y.sum().unwrap().backward().unwrap();
            let of = &known[if dtype == DType::Float32 { "float32" } else { "float64" }];
            let (mut value, mut slope) = (numbers(&of["value"]), numbers(&of["grad"]));
            if *name == "triplet_margin" {
                // The last row is the difference of two equal lengths of 4e18: what PyTorch gives for
                // it is how it rounded them.
                value.truncate(5);
                slope.truncate(15);
            }
            compare(&format!("{name} {dtype}"), &y.data(), &value, error);
            let grad = x.grad().unwrap();
            compare(&format!("{name} {dtype} gradient"), &grad, &slope, error);
        }
    }
}

#[test]
fn focal_losses_are_their_formula_also_where_they_saturate() {
    let reference: Value = serde_json::from_str(REFERENCE).unwrap();
    let logits = numbers(&reference["logits"]);
    let n = logits.len() as i64;
    for (gamma, known) in reference["focal"].as_object().unwrap() {
        let gamma: f64 = gamma.parse().unwrap();
        let (value, grad) = (numbers(&known["value"]), numbers(&known["grad"]));
        for (dtype, error) in [(DType::Float32, 1e-5), (DType::Float64, 1e-12)] {
            let column = |values: &[f64]| {
                let t = Tensor::from_f64(values, &[n, 1], Device::CPU).unwrap();
                Variable::new(t.to_dtype(dtype).unwrap(), true)
            };
            let minus: Vec<f64> = logits.iter().map(|v| -v).collect();
            let negated: Vec<f64> = grad.iter().map(|v| -v).collect();
            let (up, down) = (column(&logits), column(&minus));
            // The binary one for either target, and the one of classes with one logit at 0.
            let (ones, zeros) = (cycle(&up, &[1.0]), cycle(&up, &[0.0]));
            let two = column(&logits);
            let rows = two.cat(&zeros, 1).unwrap();
            let zero = ints(&vec![0; n as usize], &[n]);
            for (name, x, y, slope) in [
                ("of 1", &up, focal_loss_with(&up, &ones, -1.0, gamma, EACH), &grad),
                ("of 0", &down, focal_loss_with(&down, &zeros, -1.0, gamma, EACH), &negated),
                ("of classes", &two, focal_loss_with(&rows, &zero, 1.0, gamma, EACH), &grad),
            ] {
                let y = y.unwrap();
                y.sum().unwrap().backward().unwrap();
                let name = format!("focal {name}, gamma {gamma} {dtype}");
                compare(&name, &y.data(), &value, error);
                compare(&format!("{name} gradient"), &x.grad().unwrap(), slope, error);
            }
        }
    }
}
