//! The losses, a row for each, differentiated in every operand that has a gradient.

use flodl::*;

use super::Values::{Any, Far, Positive};
use super::{Row, index};

/// Logarithms of probabilities are negative; any numbers will do here.
const XY: &[(&[i64], super::Values)] = &[(&[3, 4], Any), (&[3, 4], Any)];
/// The second operand is positive.
const XP: &[(&[i64], super::Values)] = &[(&[3, 4], Any), (&[3, 4], Positive)];
const PP: &[(&[i64], super::Values)] = &[(&[3, 4], Positive), (&[3, 4], Positive)];
const X: &[(&[i64], super::Values)] = &[(&[3, 4], Any)];
const XXX: &[(&[i64], super::Values)] = &[(&[3, 4], Any), (&[3, 4], Any), (&[3, 4], Any)];

fn classes() -> Variable {
    Variable::new(index(&[0, 3, 1], &[3]), false)
}

fn constant(values: &[f64], shape: &[i64]) -> Variable {
    Variable::new(Tensor::from_f64(values, shape, Device::CPU).unwrap(), false)
}

/// Weights of the four classes.
fn weight() -> Tensor {
    constant(&[0.5, 1.2, 0.8, 1.7], &[4]).data()
}

/// 1 and -1, as many as a shape holds.
fn signs(shape: &[i64]) -> Variable {
    let n = shape.iter().product::<i64>();
    let signs = (0..n).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect::<Vec<_>>();
    constant(&signs, shape)
}

/// Numbers from 0.1 to 0.8 as probabilities.
fn shares(v: &Variable) -> Result<Variable> {
    v.mul_scalar(0.4)
}

fn ctc(v: &Variable, reduction: Reduction) -> Result<Variable> {
    let targets = Variable::new(index(&[1, 1, 0, 3, 2, 1], &[2, 3]), false);
    let inputs = Variable::new(index(&[5, 4], &[2]), false);
    let lengths = Variable::new(index(&[2, 3], &[2]), false);
    ctc_loss_with(&v.log_softmax(-1)?, (&targets, &inputs, &lengths), 0, false, reduction)
}

pub const LOSSES: &[Row] = &[
    ("mse_loss", XY, |v| mse_loss(&v[0], &v[1])),
    ("mse_loss_with", XY, |v| mse_loss_with(&v[0], &v[1], Reduction::None)),
    ("l1_loss", XY, |v| l1_loss(&v[0], &v[1].mul_scalar(1.1)?)),
    ("l1_loss_with", XY, |v| l1_loss_with(&v[0], &v[1].mul_scalar(1.1)?, Reduction::None)),
    ("smooth_l1_loss", XY, |v| smooth_l1_loss(&v[0], &v[1].mul_scalar(1.1)?, 0.83)),
    ("smooth_l1_loss_with", XY, |v| {
        smooth_l1_loss_with(&v[0], &v[1].mul_scalar(1.1)?, 0.83, Reduction::None)
    }),
    ("huber_loss", XY, |v| huber_loss(&v[0], &v[1].mul_scalar(1.1)?, 0.83)),
    ("huber_loss_with", XY, |v| {
        huber_loss_with(&v[0], &v[1].mul_scalar(1.1)?, 0.83, Reduction::Sum)
    }),
    ("poisson_nll_loss", XP, |v| poisson_nll_loss(&v[0], &v[1], true)),
    ("poisson_nll_loss_with", PP, |v| {
        let options =
            PoissonNll { log_input: false, reduction: Reduction::None, ..PoissonNll::default() };
        poisson_nll_loss_with(&v[0], &v[1], options)
    }),
    ("poisson_nll_loss_with all terms", XP, |v| {
        // Above 1 the target has a term of its own.
        let options =
            PoissonNll { full: true, reduction: Reduction::None, ..PoissonNll::default() };
        poisson_nll_loss_with(&v[0], &v[1].add_scalar(1.0)?, options)
    }),
    ("gaussian_nll_loss", &[(&[3, 4], Any), (&[3, 4], Any), (&[3, 4], Positive)], |v| {
        gaussian_nll_loss(&v[0], &v[1], &v[2])
    }),
    ("gaussian_nll_loss_with", &[(&[3, 4], Any), (&[3, 4], Any), (&[3, 1], Positive)], |v| {
        gaussian_nll_loss_with(&v[0], &v[1], &v[2], true, 1e-6, Reduction::None)
    }),
    ("bce_loss", PP, |v| bce_loss(&shares(&v[0])?, &shares(&v[1])?)),
    ("bce_loss_with", PP, |v| {
        bce_loss_with(&shares(&v[0])?, &shares(&v[1])?, Some(&weight()), Reduction::None)
    }),
    ("bce_with_logits_loss", XP, |v| bce_with_logits_loss(&v[0], &shares(&v[1])?)),
    ("bce_with_logits_loss_with", XP, |v| {
        let (w, y) = (weight(), shares(&v[1])?);
        bce_with_logits_loss_with(&v[0], &y, Some(&w), Some(&w), Reduction::None)
    }),
    ("kl_div_loss", XP, |v| kl_div_loss(&v[0], &v[1])),
    ("kl_div_loss_with", XY, |v| kl_div_loss_with(&v[0], &v[1], true, Reduction::None)),
    ("nll_loss", X, |v| nll_loss(&v[0], &classes())),
    ("nll_loss_with", X, |v| nll_loss_with(&v[0], &classes(), Some(&weight()), 1, Reduction::None)),
    ("cross_entropy_loss", &[(&[3, 4], Far)], |v| cross_entropy_loss(&v[0], &classes())),
    ("cross_entropy_loss probabilities", XP, |v| cross_entropy_loss(&v[0], &v[1])),
    ("cross_entropy_with", X, |v| {
        let options = CrossEntropy { label_smoothing: 0.1, ..CrossEntropy::default() };
        cross_entropy_with(&v[0], &classes(), &options)
    }),
    ("cross_entropy_with weights and probabilities", XP, |v| {
        let options = CrossEntropy {
            weight: Some(weight()),
            label_smoothing: 0.1,
            reduction: Reduction::None,
            ..CrossEntropy::default()
        };
        cross_entropy_with(&v[0], &v[1], &options)
    }),
    ("focal_loss", XP, |v| focal_loss(&v[0], &shares(&v[1])?, 0.25, 2.0)),
    ("focal_loss_with", X, |v| focal_loss_with(&v[0], &classes(), 1.0, 1.7, Reduction::None)),
    ("triplet_margin_loss", XXX, |v| triplet_margin_loss(&v[0], &v[1], &v[2], 3.0)),
    ("triplet_margin_loss_with", XXX, |v| {
        let options = TripletMargin {
            swap: true,
            margin: 3.0,
            reduction: Reduction::None,
            ..TripletMargin::default()
        };
        triplet_margin_loss_with(&v[0], &v[1], &v[2], options)
    }),
    ("cosine_embedding_loss", XY, |v| cosine_embedding_loss(&v[0], &v[1], &signs(&[3]), -0.9)),
    ("cosine_embedding_loss_with", XY, |v| {
        cosine_embedding_loss_with(&v[0], &v[1], &signs(&[3]), -0.9, Reduction::None)
    }),
    ("hinge_embedding_loss", X, |v| hinge_embedding_loss(&v[0], &signs(&[3, 4]), 1.13)),
    ("hinge_embedding_loss_with", X, |v| {
        hinge_embedding_loss_with(&v[0], &signs(&[3, 4]), 1.13, Reduction::None)
    }),
    ("margin_ranking_loss", XY, |v| margin_ranking_loss(&v[0], &v[1], &signs(&[3, 4]), 0.33)),
    ("margin_ranking_loss_with", XY, |v| {
        margin_ranking_loss_with(&v[0], &v[1], &signs(&[3, 4]), 0.33, Reduction::None)
    }),
    ("soft_margin_loss", X, |v| soft_margin_loss(&v[0], &signs(&[3, 4]))),
    ("soft_margin_loss_with", X, |v| {
        soft_margin_loss_with(&v[0], &signs(&[3, 4]), Reduction::None)
    }),
    ("multilabel_soft_margin_loss", XP, |v| multilabel_soft_margin_loss(&v[0], &shares(&v[1])?)),
    ("multilabel_soft_margin_loss_with", XP, |v| {
        let (w, y) = (weight(), shares(&v[1])?);
        multilabel_soft_margin_loss_with(&v[0], &y, Some(&w), Reduction::None)
    }),
    ("multilabel_margin_loss", X, |v| {
        let y = Variable::new(index(&[1, 3, -1, 0, 2, -1, 0, 0, 0, 1, 2, 3], &[3, 4]), false);
        multilabel_margin_loss(&v[0], &y)
    }),
    ("multilabel_margin_loss_with", X, |v| {
        let y = Variable::new(index(&[1, 3, -1, 0, 2, -1, 0, 0, 0, 1, 2, 3], &[3, 4]), false);
        multilabel_margin_loss_with(&v[0], &y, Reduction::None)
    }),
    ("multi_margin_loss", X, |v| multi_margin_loss(&v[0], &classes())),
    ("multi_margin_loss_with", X, |v| {
        let options = MultiMargin { p: 2, reduction: Reduction::None, ..MultiMargin::default() };
        multi_margin_loss_with(&v[0], &classes(), &options)
    }),
    ("ctc_loss", &[(&[5, 2, 4], Any)], |v| {
        let targets = Variable::new(index(&[1, 1, 0, 3, 2, 1], &[2, 3]), false);
        let inputs = Variable::new(index(&[5, 4], &[2]), false);
        let lengths = Variable::new(index(&[2, 3], &[2]), false);
        ctc_loss(&v[0].log_softmax(-1)?, &targets, &inputs, &lengths, 0)
    }),
    ("ctc_loss_with", &[(&[5, 2, 4], Any)], |v| ctc(&v[0], Reduction::None)),
];
